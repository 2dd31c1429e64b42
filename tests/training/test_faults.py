"""Failures during training: an error of podium's own, and afterwards the training resumes to the same end."""

import errno
import itertools
import os
import re
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from line_task import Fail, Stop, assert_same_weights, fit, stage, started, stopped, trained, watch
from rich.console import Console

from podium.changes import changes_file, read_changes, request_learning_rate
from podium.errors import DiskFullError, RunError
from podium.runs import Run
from podium.training.checkpoints import CheckpointStore

STAGES = [stage("one", epochs=2)]
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("uninterrupted"), STAGES)


@pytest.fixture(scope="module")
def before_last_step(tmp_path_factory):
    """A run that was stopped one step before its end, with two checkpoints in its second epoch."""
    run = started(tmp_path_factory.mktemp("before_last_step"))
    stopped(run, STAGES, 7, save_every=0)
    return run


@pytest.fixture
def run(before_last_step, tmp_path):
    """A copy of it."""
    return copy_of(before_last_step, tmp_path)


def copy_of(run, folder):
    copy = Run(folder / "run" / "fold0")
    shutil.copytree(run.path, copy.path)
    return copy


def assert_resumes_to_the_same_end(run, uninterrupted):
    fit(run, STAGES)
    assert run.is_trained
    assert_same_weights(run.best_weights, uninterrupted.best_weights)
    assert run.history.read_bytes() == uninterrupted.history.read_bytes()
    assert not list(run.path.rglob(".writing*"))


def names_in(run):
    return sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())


# A full disk


WRITES = [
    (os, "fsync"),
    (os, "posix_fallocate"),
    (tempfile, "mkstemp"),
    (shutil, "copyfile"),
    (np, "save"),
    (keras.Model, "save_weights"),
    *((Path, name) for name in ("mkdir", "rename", "replace", "write_text")),
]
"""Where a training needs disk space."""


def fill_the_disk(patch, at):
    """Let the n-th of all these calls and every later one fail; returns the list of failed calls."""
    count, failed = itertools.count(1), []

    def until_full(function):
        def call(*arguments, **options):
            if next(count) < at:
                return function(*arguments, **options)
            failed.append(function)
            raise FULL

        return call

    for place, name in WRITES:
        patch.setattr(place, name, until_full(getattr(place, name)))
    return failed


def fit_on_full_disk(run, at):
    """Train with the disk full from the n-th write on; returns whether there were so many writes."""
    message = ""
    with pytest.MonkeyPatch.context() as patch:
        failed = fill_the_disk(patch, at)
        try:
            fit(run, STAGES)
        except DiskFullError as error:
            message = str(error)
    if failed:
        assert re.search(rf"the disk is full: .* in {run.path}\S* needs [0-9,]+ bytes, [0-9,]+ more", message), at
    return bool(failed)


def left_in(run):
    """The position of the newest checkpoint, and the names of all files without digests."""
    checkpoint = CheckpointStore(run.path).load_newest(Console(quiet=True))
    position = (*checkpoint.progress.position, checkpoint.progress.is_complete) if checkpoint else ()
    return (position, *sorted(re.sub("[0-9a-f]{16}", "", name) for name in names_in(run)))


@pytest.mark.slow
def test_full_disk_at_any_write_loses_nothing(before_last_step, uninterrupted, tmp_path):
    """Resumed wherever an earlier write did not leave the same files."""
    seen, reached = set(), (0, 1, 3, False)
    for at in itertools.count(1):
        run = copy_of(before_last_step, tmp_path / str(at))
        if not fit_on_full_disk(run, at):
            break
        left = left_in(run)
        assert left[0] >= reached, at
        reached = left[0]
        if left not in seen:
            seen.add(left)
            assert_resumes_to_the_same_end(run, uninterrupted)
    assert at > 40
    assert reached == (0, 2, 0, True)


@pytest.mark.slow
def test_full_disk_before_the_first_checkpoint_can_start_again(uninterrupted, tmp_path):
    for at in itertools.count(1, 3):
        run = started(tmp_path / str(at))
        assert fit_on_full_disk(run, at)
        if run.checkpoints:
            break
    assert at > 15
    assert_resumes_to_the_same_end(run, uninterrupted)


@pytest.mark.parametrize("at", [2, 9, 30])
def test_full_disk_is_an_error_with_the_missing_bytes(run, at):
    """At the beginning, in the middle and at the end of a training."""
    assert fit_on_full_disk(run, at)
    assert left_in(run)[0] >= (0, 1, 3, False)


def test_full_disk_while_a_change_is_recorded_keeps_the_request(tmp_path, monkeypatch):
    run = started(tmp_path)
    with monkeypatch.context() as patch:
        watch(patch, Stop(2, lambda: request_learning_rate(run.path, 1e-3)))
        patch.setattr("podium.changes.write_table", Fail(None, FULL, 1))
        with pytest.raises(DiskFullError, match=f"the training in {run.path} needs"):
            fit(run, STAGES, save_every=0)
    assert read_changes(run.path) == []
    fit(run, STAGES)
    (change,) = read_changes(run.path)
    assert (change.position, change.after) == ((0, 0, 2), 1e-3)
    assert run.is_trained


def test_full_disk_in_hdf5_is_recognised_and_the_training_resumes(run, uninterrupted, monkeypatch):
    error = OSError("Unable to write (file write failed: errno = 28, error message = 'No space left on device')")
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save_weights", Fail(None, error, 1))
        with pytest.raises(DiskFullError, match="the disk is full: "):
            fit(run, STAGES)
    assert_resumes_to_the_same_end(run, uninterrupted)


@pytest.mark.parametrize("function", [(np, "save"), (tempfile, "mkstemp")], ids=lambda function: function[1])
def test_read_only_folder_keeps_the_checkpoints(run, function, monkeypatch):
    before = {path: path.read_bytes() for path in run.checkpoints}
    monkeypatch.setattr(*function, Fail(getattr(*function), OSError(30, "Read-only file system"), 1))
    with pytest.raises(OSError, match="Read-only file system"):
        fit(run, STAGES)
    assert {path: path.read_bytes() for path in run.checkpoints} == before


# Deleted and damaged files


@pytest.mark.slow
def test_any_single_file_can_be_deleted(before_last_step, uninterrupted, tmp_path):
    for name in names_in(before_last_step):
        run = copy_of(before_last_step, tmp_path / name.replace("/", "-"))
        (run.path / name).unlink()
        if name.endswith(".weights.h5"):  # both checkpoints refer to the same best weights
            before = names_in(run)
            with pytest.raises(RunError, match="lacks its best weights"):
                fit(run, STAGES)
            assert names_in(run) == before
        else:
            assert_resumes_to_the_same_end(run, uninterrupted)


def test_damaged_checkpoint_costs_only_the_steps_since_the_previous_one(run, uninterrupted):
    newest = run.checkpoints[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    assert left_in(run)[0] == (0, 1, 2, False)
    assert_resumes_to_the_same_end(run, uninterrupted)


def test_files_for_people_can_all_be_damaged(run, uninterrupted):
    """A training resumes from its checkpoints alone."""
    for name in ("state.json", "timings.json", "versions.json", "history.csv", "config.yaml"):
        (run.path / name).write_bytes(b'{"training": \xff')
    assert_resumes_to_the_same_end(run, uninterrupted)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"status": "trained"}'])
def test_damaged_state_json_does_not_count_as_trained(content, run):
    (run.path / "state.json").write_bytes(content)
    assert not run.is_trained
    assert run.is_resumable


def test_changes_are_known_without_their_file(tmp_path):
    """The checkpoint has them."""
    runs = [started(tmp_path / name) for name in ("uninterrupted", "stopped")]
    for run, train in zip(runs, (fit, lambda *arguments: stopped(*arguments, 6)), strict=True):
        with pytest.MonkeyPatch.context() as patch:
            watch(patch, Stop(2, lambda run=run: request_learning_rate(run.path, 1e-3)))
            train(run, STAGES)
    changes_file(runs[1].path).unlink()
    assert_resumes_to_the_same_end(runs[1], runs[0])


def test_damaged_changes_file_is_an_error_and_nothing_is_lost(run):
    (run.path / "changes.csv").write_text("stage,epoch\n1,\n")
    before = names_in(run)
    with pytest.raises(RunError, match=r"changes\.csv cannot be read .* fix it, or remove it to resume"):
        fit(run, STAGES)
    assert names_in(run) == before


@pytest.mark.parametrize("harm", [os.unlink, lambda path: path.write_bytes(b"")], ids=["deleted", "damaged"])
def test_stage_cannot_be_added_to_a_run_with_damaged_best_weights(harm, uninterrupted, tmp_path):
    run = copy_of(uninterrupted, tmp_path)
    harm(run.best_weights)
    before = names_in(run)
    with pytest.raises(RunError, match=r"lacks its best weights .* Nothing was changed"):
        fit(run, [*STAGES, stage("more")])
    assert names_in(run) == before
