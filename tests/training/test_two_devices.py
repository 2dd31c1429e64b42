"""Two devices give the loss of one, and a stopped training on them, or in half precision, resumes bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1] / "helpers"


def results_of(folder, which):
    done = subprocess.run(
        [sys.executable, HERE / "two_devices.py", folder, which],
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1] / 'src'}", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    return results_of(tmp_path_factory.mktemp("all"), "all")


def same_within_rounding(one, other):
    for figure in ("loss", "val_loss", "accuracy"):
        assert one[figure] == pytest.approx(other[figure], rel=2e-5)


@pytest.mark.slow
def test_two_devices_have_the_loss_of_one_and_resume_to_the_same_bits(tmp_path):
    """In one process. The last batch of an epoch cannot be shared evenly."""
    some = results_of(tmp_path, "some")
    same_within_rounding(some["one"], some["two"])
    same_within_rounding(some["frozen, one"], some["frozen, two"])  # the head alone, on cached features
    for kind in ("two, stopped within an epoch", "half, stopped", "frozen, two, stopped within an epoch"):
        assert some[kind] == some[kind.partition(", stopped")[0]]
    assert some["half"]["weights"] != some["one"]["weights"]  # half precision is another arithmetic
    assert some["half"]["loss"][0] == pytest.approx(some["one"]["loss"][0], rel=0.1)
    lines = some["lines"]
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
@pytest.mark.parametrize(
    "kind", ["two, stopped after an epoch", "rich, stopped", "half, two, stopped", "metadata, two, stopped"]
)
def test_stopped_training_resumes_to_the_same_bits(kind, every):
    assert every[kind] == every[kind.partition(", stopped")[0]]


@pytest.mark.slow
def test_moving_averages_are_the_same_on_two_devices(every):
    same_within_rounding(every["averages, one"], every["averages, two"])


@pytest.mark.slow
def test_mixed_and_weighted_rows_have_the_same_loss_on_two_devices(every):
    same_within_rounding(every["mixed, one"], every["mixed, two"])
    assert every["samples"]["loss"] != every["mixed, two"]["loss"]


@pytest.mark.slow
def test_metadata_is_the_same_on_two_devices(every):
    same_within_rounding(every["metadata, one"], every["metadata, two"])
    assert every["metadata, one"]["loss"] != every["one"]["loss"]


@pytest.mark.slow
def test_bfloat16_trains(every):
    assert every["bfloat"]["loss"][1] < every["bfloat"]["loss"][0]
