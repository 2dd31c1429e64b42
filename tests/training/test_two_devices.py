"""Two devices give the loss of one, and a stopped training on them, or in half precision, resumes bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("two devices")  # one worker makes the results

HERE = Path(__file__).parents[1] / "helpers"


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """The results of all trainings, which one process runs."""
    done = subprocess.run(
        [sys.executable, HERE / "two_devices.py", tmp_path_factory.mktemp("all")],
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1] / 'src'}", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def same_within_rounding(one, other):
    for figure in ("loss", "val_loss", "accuracy"):
        assert one[figure] == pytest.approx(other[figure], rel=2e-5)


@pytest.mark.slow
def test_two_devices_have_the_loss_of_one(every):
    """The last batch of an epoch cannot be shared evenly."""
    same_within_rounding(every["one"], every["two"])
    same_within_rounding(every["frozen, one"], every["frozen, two"])  # the head alone, on cached features
    assert every["half, two"]["weights"] != every["two"]["weights"]  # half precision is another arithmetic
    assert every["half, two"]["loss"][0] == pytest.approx(every["two"]["loss"][0], rel=0.1)


@pytest.mark.slow
def test_gradients_of_two_devices_are_clipped_scaled_and_accumulated_together(every):
    lines = every["lines"]
    assert lines["whole"]["message"] == "on 2 GPUs"
    assert lines["whole, stopped"] == lines["whole"]  # each device's part of the metrics, too
    one, two = lines["clipped"]
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)  # clipped is the whole gradient, not a device's part
    assert lines["overflown"]["val_error"] < 10  # on the second device alone; neither takes that step
    one, two = lines["together"]
    assert two == lines["together, stopped"] == {**two, "message": f"{one['message']}, on 2 GPUs"}
    for figure in ("loss", "val_error"):  # of accumulated, clipped gradients, decayed rates and averaged weights
        assert two[figure] == pytest.approx(one[figure], rel=1e-5)
        assert lines["together, half"][figure] == pytest.approx(one[figure], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two, stopped", "frozen, two, stopped", "half, two, stopped", "rich, stopped"])
def test_stopped_training_resumes_to_the_same_bits(kind, every):
    assert every[kind] == every[kind.partition(", stopped")[0]]


@pytest.mark.slow
def test_moving_averages_are_the_same_on_two_devices(every):
    same_within_rounding(every["averages, one"], every["averages, two"])


@pytest.mark.slow
def test_mixed_and_weighted_rows_have_the_same_loss_on_two_devices(every):
    same_within_rounding(every["mixed, one"], every["mixed, two"])
    assert every["mixed, two"]["loss"] != every["two"]["loss"]


@pytest.mark.slow
def test_metadata_is_the_same_on_two_devices(every):
    same_within_rounding(every["metadata, one"], every["metadata, two"])
    assert every["metadata, one"]["loss"] != every["one"]["loss"]


@pytest.mark.slow
def test_bfloat16_trains(every):
    assert every["bfloat"]["loss"][1] < every["bfloat"]["loss"][0]
