"""Faults while a training goes on: it ends in one of podium's own errors, and what was saved before goes on to the
same end as without the fault."""

import os
import shutil
import tempfile

import numpy as np
import pytest
from line_task import Fail, assert_same_weights, fit, stage, started, stopped, trained

from podium.errors import DiskFullError, RunError

STAGES = [
    stage("one", epochs=2, optimizer="Adam", schedule={"kind": "plateau", "patience": 1}),
    stage("two", epochs=2, optimizer="Adam", image_size=32),
]
FULL = OSError(28, "No space left on device")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("whole"), STAGES)


def assert_same_end(run, whole):
    assert run.is_trained
    assert_same_weights(run.best_weights, whole.best_weights)
    assert run.history.read_bytes() == whole.history.read_bytes()


def goes_on_to_the_same_end(run, whole):
    fit(run, STAGES)
    assert_same_end(run, whole)
    assert not list(run.path.rglob(".writing*"))


@pytest.mark.parametrize("at", [1, 3, 8])
@pytest.mark.parametrize(
    "function",
    [(np, "save"), (os, "fsync"), (os, "posix_fallocate"), (tempfile, "mkstemp"), (shutil, "copyfile")],
    ids=lambda function: function[1],
)
def test_a_full_disk_ends_the_training_and_loses_nothing(function, at, whole, tmp_path, monkeypatch):
    run = started(tmp_path)
    fault = Fail(getattr(*function), FULL, at)
    monkeypatch.setattr(*function, fault)
    try:
        fit(run, STAGES)
    except DiskFullError as told:
        message = str(told)
    else:
        message = ""
    monkeypatch.undo()
    assert bool(message) == fault.has_struck
    if message:
        assert f"in {run.path}" in message
        assert "bytes" in message
    goes_on_to_the_same_end(run, whole)


def test_a_full_disk_that_hdf5_tells_of_is_told_as_one(whole, tmp_path, monkeypatch):
    import keras

    run = started(tmp_path)
    stopped(run, STAGES, 5)
    told = OSError("Unable to write (file write failed: errno = 28, error message = 'No space left on device')")
    monkeypatch.setattr(keras.Model, "save_weights", Fail(None, told, 1))
    with pytest.raises(DiskFullError, match="the disk is full: "):
        fit(run, STAGES)
    monkeypatch.undo()
    goes_on_to_the_same_end(run, whole)


@pytest.mark.parametrize("function", [(np, "save"), (tempfile, "mkstemp")], ids=lambda function: function[1])
@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), PermissionError(13, "Permission denied")])
def test_a_folder_that_can_no_longer_be_written_to_loses_nothing(function, error, whole, tmp_path, monkeypatch):
    """The command line tells these in one line: tests/end_to_end/test_resume.py."""
    run = started(tmp_path)
    stopped(run, STAGES, 6)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.suffix == ".npz"}
    monkeypatch.setattr(*function, Fail(getattr(*function), error, 1))
    with pytest.raises(type(error), match=error.strerror):
        fit(run, STAGES)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in before} == before
    goes_on_to_the_same_end(run, whole)


def names_in(run):
    return sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())


@pytest.mark.parametrize("steps", [2, 6, 11])
def test_any_one_file_may_be_deleted(steps, whole, tmp_path):
    """Of a run stopped in its first epoch, in its second, and in its second stage."""
    first = started(tmp_path / "first")
    stopped(first, STAGES, steps, save_every=0)
    for name in names_in(first):
        copy = tmp_path / name.replace("/", "-") / "run" / "fold0"
        shutil.copytree(first.path, copy)
        (copy / name).unlink()
        run = type(first)(copy)
        if only_best_weights(first) == [name]:
            with pytest.raises(RunError, match="lacks its best weights"):
                fit(run, STAGES)
            assert names_in(run) == [other for other in names_in(first) if other != name]
        else:
            goes_on_to_the_same_end(run, whole)


def only_best_weights(run):
    """Where both states speak of the same best weights, nothing can make those again."""
    return [name for name in names_in(run) if name.endswith(".weights.h5")][:2]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"status": "trained"}'])
def test_a_damaged_state_json_does_not_matter(content, whole, tmp_path):
    run = started(tmp_path)
    stopped(run, STAGES, 6)
    (run.path / "state.json").write_bytes(content)
    assert not run.is_trained
    goes_on_to_the_same_end(run, whole)


def test_damaged_changes_are_told_and_nothing_is_lost(whole, tmp_path):
    run = started(tmp_path)
    stopped(run, STAGES, 6)
    (run.path / "changes.csv").write_text("stage,epoch\n1,\n")
    before = names_in(run)
    with pytest.raises(RunError, match=r"changes\.csv cannot be read .* mend it, or remove it to go on"):
        fit(run, STAGES)
    assert names_in(run) == before
    (run.path / "changes.csv").unlink()
    goes_on_to_the_same_end(run, whole)


@pytest.mark.parametrize("steps", [6, 11])
def test_a_damaged_newest_state_costs_no_more_than_the_steps_since_the_one_before(steps, whole, tmp_path):
    run = started(tmp_path)
    stopped(run, STAGES, steps, save_every=0)
    newest = run.saved_states[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    goes_on_to_the_same_end(run, whole)
