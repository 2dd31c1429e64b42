"""Two devices give the loss of one, and a stopped training on them, or in half precision, resumes bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1] / "helpers"
STOPPED = ("two, stopped", "frozen, two, stopped", "half, two, stopped", "rich, stopped")


def results_of(folder):
    """Of all trainings, which one process runs: devices must be made before anything else."""
    done = subprocess.run(
        [sys.executable, HERE / "two_devices.py", folder],
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
def test_two_devices_have_the_loss_of_one_and_resume_to_the_same_bits(tmp_path, subtests):
    every = results_of(tmp_path)
    with subtests.test("the last batch of an epoch cannot be shared evenly"):
        same_within_rounding(every["one"], every["two"])
    with subtests.test("the head alone, on cached features"):
        same_within_rounding(every["frozen, one"], every["frozen, two"])
    with subtests.test("half precision is another arithmetic"):
        assert every["half, two"]["weights"] != every["two"]["weights"]
        assert every["half, two"]["loss"][0] == pytest.approx(every["two"]["loss"][0], rel=0.1)
    for kind in STOPPED:
        with subtests.test(kind):
            assert every[kind] == every[kind.removesuffix(", stopped")]
    for kind in ("averages", "mixed", "metadata"):
        with subtests.test(kind):
            same_within_rounding(every[f"{kind}, one"], every[f"{kind}, two"])
    with subtests.test("metadata and mixed rows have another loss"):
        assert every["metadata, one"]["loss"] != every["one"]["loss"]
        assert every["mixed, two"]["loss"] != every["two"]["loss"]
    with subtests.test("bfloat16 trains"):
        assert every["bfloat"]["loss"][1] < every["bfloat"]["loss"][0]
    lines = every["lines"]
    with subtests.test("metrics and gradients of all devices"):
        assert lines["whole"]["message"] == "on 2 GPUs"
        assert lines["whole, stopped"] == lines["whole"]  # each device's part of the metrics, too
        one, two = lines["clipped"]
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)  # the whole gradient is clipped, not a device's part
        assert lines["overflown"]["val_error"] < 10  # on the second device alone; neither takes that step
    with subtests.test("an embedding"):
        one, two = lines["placed"]
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    with subtests.test("accumulated, clipped gradients, decayed rates and averaged weights"):
        one, two = lines["together"]
        assert two == lines["together, stopped"] == {**two, "message": f"{one['message']}, on 2 GPUs"}
        for figure in ("loss", "val_error"):
            assert two[figure] == pytest.approx(one[figure], rel=1e-5)
            assert lines["together, half"][figure] == pytest.approx(one[figure], rel=0.02)
