"""What is read from a kernel's report, its output and its log."""

import hashlib
import json

import pytest

from podium.errors import RunError
from podium.kernel.report import REPORT, Report, cause_of_failure, check_output, read_report

PODIUM = "podium.errors.DataError: no data for cars; attach it"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (["Traceback (most recent call last):", PODIUM], "no data for cars; attach it"),
        ([PODIUM, "ModuleNotFoundError: No module named 'podium'", "exiting"], "no data for cars; attach it"),
        (["podium.errors.DataError: first", "podium.errors.RunError: last"], "last"),
        (["\x1b[0;31mDataError\x1b[0m: in a notebook"], "in a notebook"),
        (
            ["ValueError: bad", "  warnings.warn(", "ResourceExhaustedError: OOM", "exiting"],
            "ResourceExhaustedError: OOM",
        ),
        (["the last line"], ""),
        ([], ""),
    ],
)
def test_the_cause_of_a_failure_is_the_last_error_of_podium_else_the_last_exception(log, cause):
    assert cause_of_failure(log) == cause


def report(checkpoint=None, status="training", boxes=None):
    entry = {"member": "tiny", "fold": 0, "run": "runs/tiny-12345678/fold0", "state": {"status": status}}
    return Report.model_validate({"status": "stopped", "boxes": boxes, "runs": [entry | {"checkpoint": checkpoint}]})


def checkpoint(number, content=b"arrays"):
    return f"checkpoint-{number:06d}-{hashlib.sha256(content).hexdigest()[:16]}.npz"


def test_progress_increases_with_each_checkpoint_and_when_training_ends():
    steps = [report(), report(checkpoint(1)), report(checkpoint(12)), report(checkpoint(12), "trained")]
    assert [step.progress for step in steps] == sorted(step.progress for step in steps)
    assert not any(steps[0].progress)
    assert report(boxes="runs/boxes/x").progress > report().progress


def test_output_without_its_checkpoint_or_with_a_damaged_one_is_refused(tmp_path):
    whole = report(checkpoint(3))
    path = tmp_path / "runs" / "tiny-12345678" / "fold0" / "checkpoints" / checkpoint(3)
    with pytest.raises(RunError, match=r"lacks runs/tiny-12345678/fold0/checkpoints/checkpoint-000003-"):
        check_output(tmp_path, whole)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"arrays")
    check_output(tmp_path, whole)
    path.write_bytes(b"others")
    with pytest.raises(RunError, match="is damaged: its checksum does not match"):
        check_output(tmp_path, whole)


@pytest.mark.parametrize("name", ["../checkpoint-000001-0123456789abcdef.npz", "best.weights.h5", ""])
def test_a_report_with_an_impossible_checkpoint_is_refused(name, tmp_path):
    entry = {"member": "tiny", "fold": 0, "run": "runs/tiny-12345678/fold0", "checkpoint": name}
    (tmp_path / REPORT).write_text(json.dumps({"status": "stopped", "runs": [entry]}))
    with pytest.raises(RunError, match="is not a valid report"):
        read_report(tmp_path)
