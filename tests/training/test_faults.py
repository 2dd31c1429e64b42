"""Problems while a training goes on: it ends in one of podium's own errors, and what was saved before goes on to the
same end as without the problem."""

import errno
import gc
import itertools
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from line_task import Fail, Stop, assert_same_weights, fit, stage, started, stopped, trained, watch
from rich.console import Console

from podium.changes import changes_file, read_changes, request_learning_rate
from podium.cli import options
from podium.cli.main import main
from podium.errors import DiskFullError, MemoryFullError, RunError, TrainingDivergedError
from podium.runs import Run
from podium.training import run_training as training
from podium.training.callbacks import Checkpoints
from podium.training.checkpoints import CheckpointStore
from podium.training.classification import ClassificationTask

STAGES = [
    stage("one", epochs=2, optimizer="Adam", schedule={"kind": "plateau", "patience": 1}),
    stage("two", epochs=2, optimizer="Adam", image_size=32),
]
FULL = OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def _little_to_collect():
    """Each training collects garbage once, and TensorFlow's own objects would take most of its time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("whole"), STAGES)


def assert_same_end(run, whole):
    assert run.is_trained
    assert_same_weights(run.best_weights, whole.best_weights)
    assert run.history.read_bytes() == whole.history.read_bytes()


def goes_on_to_the_same_end(run, whole, stages=STAGES):
    fit(run, stages)
    assert_same_end(run, whole)
    assert not list(run.path.rglob(".writing*"))


# A full disk


SHORT = [stage("short", epochs=2)]
WRITES = [
    (os, "fsync"),
    (os, "posix_fallocate"),
    (tempfile, "mkstemp"),
    (shutil, "copyfile"),
    (np, "save"),
    (keras.Model, "save_weights"),
    *((Path, name) for name in ("mkdir", "rename", "replace", "write_text")),
]
"""Where a training asks the disk for room."""


def fill_the_disk(patch, at):
    """From the n-th of all these calls on, there is no room any more; gives the calls that were refused."""
    count, refused = itertools.count(1), []

    def until_full(function):
        def call(*arguments, **options):
            if next(count) < at:
                return function(*arguments, **options)
            refused.append(function)
            raise OSError(errno.ENOSPC, "No space left on device")

        return call

    for place, name in WRITES:
        patch.setattr(place, name, until_full(getattr(place, name)))
    return refused


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("short"), SHORT)


@pytest.fixture(scope="module")
def last_step(tmp_path_factory):
    """A run stopped one step before its end, with an epoch of its stage done."""
    run = started(tmp_path_factory.mktemp("last_step"))
    stopped(run, SHORT, 7)
    return run


def filled_at(run, at):
    """Go on with the disk full from the n-th write on; says whether it came so far."""
    with pytest.MonkeyPatch.context() as patch:
        refused = fill_the_disk(patch, at)
        try:
            fit(run, SHORT)
        except DiskFullError as error:
            told = str(error)
    if refused:
        assert re.search(rf"the disk is full: .* in {run.path}\S* needs [0-9,]+ bytes, [0-9,]+ more", told), at
    return bool(refused)


def left_in(run):
    """How far the newest state is, and which files there are, by their names without digests."""
    saved = CheckpointStore(run.path).load_newest(Console(quiet=True))
    stands = (*saved.progress.position, saved.progress.is_complete) if saved else ()
    return (stands, *sorted(re.sub("[0-9a-f]{16}", "", name) for name in names_in(run)))


@pytest.mark.parametrize("part", range(2))
def test_a_full_disk_at_any_write_ends_the_training_and_loses_nothing(part, last_step, short, tmp_path):
    """What it leaves is gone on with, wherever it is not what an earlier problem left already."""
    seen, reached = set(), (0, 1, 3, False)
    for at in itertools.count(part + 1, 2):
        run = Run(tmp_path / str(at) / "run" / "fold0")
        shutil.copytree(last_step.path, run.path)
        if not filled_at(run, at):
            break
        left = left_in(run)
        assert left[0] >= reached, at
        reached = left[0]
        if left not in seen:
            seen.add(left)
            goes_on_to_the_same_end(run, short, SHORT)
    assert at > 40
    assert_same_end(run, short)
    assert reached == (0, 2, 0, True)


def test_a_full_disk_before_anything_is_saved_lets_it_begin_again(short, tmp_path):
    for at in itertools.count(1, 3):
        run = started(tmp_path / str(at))
        assert filled_at(run, at)
        if run.checkpoints:
            break
    assert at > 15
    goes_on_to_the_same_end(run, short, SHORT)


def test_a_disk_that_fills_while_a_change_is_noted_loses_neither_run_nor_request(tmp_path, monkeypatch):
    run = started(tmp_path)
    with monkeypatch.context() as patch:
        watch(patch, Stop(2, lambda: request_learning_rate(run.path, 1e-3)))
        patch.setattr("podium.changes.write_table", Fail(None, FULL, 1))
        with pytest.raises(DiskFullError, match=f"the training in {run.path} needs"):
            fit(run, SHORT, save_every=0)
    assert read_changes(run.path) == []
    fit(run, SHORT)
    (change,) = read_changes(run.path)
    assert (change.position, change.after) == ((0, 0, 2), 1e-3)
    assert run.is_trained


def test_a_full_disk_that_hdf5_tells_of_is_told_as_one(whole, tmp_path, monkeypatch):
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
def test_a_folder_that_can_no_longer_be_written_to_loses_nothing(function, error, short, tmp_path, monkeypatch):
    run = started(tmp_path)
    stopped(run, SHORT, 6)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.suffix == ".npz"}
    monkeypatch.setattr(*function, Fail(getattr(*function), error, 1))
    with pytest.raises(type(error), match=error.strerror):
        fit(run, SHORT)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in before} == before
    goes_on_to_the_same_end(run, short, SHORT)


def names_in(run):
    return sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())


@pytest.mark.parametrize(("stages", "steps"), [("SHORT", 2), ("SHORT", 6), ("STAGES", 11)])
def test_any_one_file_may_be_deleted(stages, steps, whole, short, tmp_path):
    """Of a run stopped in its first epoch, in its second, and in its second stage."""
    stages, end = {"SHORT": (SHORT, short), "STAGES": (STAGES, whole)}[stages]
    first = started(tmp_path / "first")
    stopped(first, stages, steps, save_every=0)
    for name in names_in(first):
        copy = tmp_path / name.replace("/", "-") / "run" / "fold0"
        shutil.copytree(first.path, copy)
        (copy / name).unlink()
        run = type(first)(copy)
        if only_best_weights(first) == [name]:
            with pytest.raises(RunError, match="lacks its best weights"):
                fit(run, stages)
            assert names_in(run) == [other for other in names_in(first) if other != name]
        else:
            goes_on_to_the_same_end(run, end, stages)


def only_best_weights(run):
    """Where both states speak of the same best weights, nothing can make those again."""
    return [name for name in names_in(run) if name.endswith(".weights.h5")][:2]


@pytest.mark.parametrize("name", ["state.json", "timings.json", "versions.json", "history.csv", "config.yaml"])
def test_what_is_there_for_people_may_be_damaged(name, short, tmp_path):
    """Nothing goes on from it, so nothing depends on it."""
    run = started(tmp_path)
    stopped(run, SHORT, 6)
    (run.path / name).write_bytes(b'{"training": \xff')
    goes_on_to_the_same_end(run, short, SHORT)


def test_changes_that_were_made_are_known_without_their_file(tmp_path):
    """The checkpoint has them; what is ahead of it, the file alone."""
    runs = [started(tmp_path / name) for name in ("whole", "broken")]
    for run, end in zip(runs, (fit, lambda *arguments: stopped(*arguments, 6)), strict=True):
        with pytest.MonkeyPatch.context() as patch:
            watch(patch, Stop(2, lambda run=run: request_learning_rate(run.path, 1e-3)))
            end(run, SHORT)
    whole, broken = runs
    changes_file(broken.path).unlink()
    goes_on_to_the_same_end(broken, whole, SHORT)
    assert [change.position for change in read_changes(broken.path)] in ([], [(0, 0, 2)])


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"status": "trained"}'])
def test_a_damaged_state_json_does_not_matter(content, short, tmp_path):
    run = started(tmp_path)
    stopped(run, SHORT, 6)
    (run.path / "state.json").write_bytes(content)
    assert not run.is_trained
    goes_on_to_the_same_end(run, short, SHORT)


def test_damaged_changes_are_told_and_nothing_is_lost(short, tmp_path):
    run = started(tmp_path)
    stopped(run, SHORT, 6)
    (run.path / "changes.csv").write_text("stage,epoch\n1,\n")
    before = names_in(run)
    with pytest.raises(RunError, match=r"changes\.csv cannot be read .* mend it, or remove it to go on"):
        fit(run, SHORT)
    assert names_in(run) == before
    (run.path / "changes.csv").unlink()
    goes_on_to_the_same_end(run, short, SHORT)


@pytest.mark.parametrize(("stages", "steps"), [("SHORT", 6), ("STAGES", 11)])
def test_a_damaged_newest_state_costs_no_more_than_the_steps_since_the_one_before(
    stages, steps, whole, short, tmp_path
):
    stages, end = {"SHORT": (SHORT, short), "STAGES": (STAGES, whole)}[stages]
    run = started(tmp_path)
    stopped(run, stages, steps, save_every=0)
    newest = run.checkpoints[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    goes_on_to_the_same_end(run, end, stages)


@pytest.mark.parametrize("harm", [os.unlink, lambda path: flip(path)], ids=["deleted", "flipped"])
def test_the_best_weights_of_a_trained_run_are_not_gone_on_from_when_they_are_not_whole(harm, tmp_path):
    run = trained(tmp_path, SHORT)
    harm(run.best_weights)
    before = names_in(run)
    with pytest.raises(RunError, match=r"lacks its best weights .* Nothing was changed"):
        fit(run, [*SHORT, stage("more")])
    assert names_in(run) == before


def flip(path, place=None):
    """Another bit in the middle of the file, or at some place."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 0x10
    path.write_bytes(content)


# By the command line: one line on stderr, exit code 1, and --resume goes on


@pytest.fixture(scope="module")
def at_home(make_tiny_competition, tmp_path_factory):
    """Folders with a competition, a member, and a run of it: `stopped` after its first step, and `trained`."""
    home = tmp_path_factory.mktemp("home")
    tiny = make_tiny_competition(home / "tiny", train=24, test=4)
    settings = {
        "name": "all",
        "unfreeze": "all",
        "epochs": 1,
        "batch_size": 4,
        "image_size": 32,
        "learning_rate": 0.005,
    }
    tiny.member(stages=[settings])
    with pytest.MonkeyPatch.context() as patch:
        stop_in_the_first_step(patch)
        assert typed(home, "train") == 75
    shutil.copytree(home, home.with_name("trained"))
    assert typed(home.with_name("trained"), "train", "--resume") == 0
    return {"stopped": home, "trained": home.with_name("trained")}


def stop_in_the_first_step(patch):
    """As a signal does that comes within the first step that a process makes."""
    ended = Checkpoints.on_train_batch_end

    def asked_to_stop(self, batch, logs=None):
        self._session.stop_condition.request("SIGTERM")
        ended(self, batch, logs)

    patch.setattr(Checkpoints, "on_train_batch_end", asked_to_stop)


def eager_task(*arguments, **options):
    """For three steps, making graphs takes most of the time."""
    return ClassificationTask(*arguments, **options | {"eager": True})


def typed(folder, command, *more):
    """The command on the member's fold 0, in this folder; gives the exit code."""
    words = ["podium", command, "tiny/configs/tiny.yaml", "--data", "tiny/data", "--fold", "0", *more]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", words)
        patch.setattr(options, "debug_is_on", False)
        patch.setattr("podium.training.classification.ClassificationTask", eager_task)
        try:
            main()
        except SystemExit as ended:
            return ended.code or 0
    return 0


@pytest.fixture
def podium(at_home, tmp_path, capsys):
    """`run, podium = podium("stopped")`: a run folder of its own, and the commands on it."""

    def made(kind):
        shutil.copytree(at_home[kind], tmp_path / "home")
        (path,) = (tmp_path / "home").glob("runs/*/fold0")

        def run_command(*words):
            capsys.readouterr()
            code = typed(tmp_path / "home", *words)
            out, err = capsys.readouterr()
            return code, out, err

        return Run(path), run_command

    return made


def assert_told_in_one_line(ended, told):
    code, out, err = ended
    assert code == 1
    assert re.fullmatch(rf"podium: {told}\n", err), err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


def test_a_full_disk_is_told_in_one_line_and_resume_goes_on(podium, monkeypatch):
    run, podium = podium("stopped")
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", Fail(np.save, FULL, 3))
        ended = podium("train", "--resume")
    folder = re.escape(str(run.path.relative_to(run.path.parents[2])))
    told = rf"the disk is full: a checkpoint in {folder}/checkpoints needs [0-9,]+ bytes, [0-9,]+ more .*"
    assert_told_in_one_line(ended, told)
    assert podium("train", "--resume")[0] == 0
    assert run.is_trained


@pytest.mark.parametrize("kind", [MemoryFullError, TrainingDivergedError])
def test_what_went_wrong_says_whose_training_it_was(kind, podium, monkeypatch):
    _, podium = podium("stopped")

    def fails(*_):
        raise kind("it went wrong; make it smaller")

    monkeypatch.setattr(training, "_train", fails)
    assert_told_in_one_line(podium("train", "--resume"), "tiny fold 0: it went wrong; make it smaller")


@pytest.mark.parametrize("at", range(1, 5))
@pytest.mark.parametrize(
    "error",
    [FULL, OSError(30, "Read-only file system"), PermissionError(13, "Permission denied")],
    ids=lambda e: e.errno,
)
def test_a_folder_that_refuses_as_a_training_goes_on_is_told_in_one_line(error, at, podium, monkeypatch):
    """Before the first step: config.yaml, folds.csv and the others are written once more."""
    run, podium = podium("stopped")
    before = {path: path.read_bytes() for path in run.checkpoints}
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", Fail(tempfile.mkstemp, error, at, under=run.path))
        ended = podium("train", "--resume")
    assert_told_in_one_line(ended, rf".*({error.strerror}|the disk is full).*")
    assert {path: path.read_bytes() for path in run.checkpoints} == before


def test_a_read_only_run_folder_is_told_in_one_line(podium):
    run, podium = podium("stopped")
    folders = [run.path, run.path / "checkpoints"]
    for folder in folders:
        folder.chmod(0o555)
    may_write = os.access(run.path, os.W_OK)
    ended = podium("train", "--resume")
    for folder in folders:
        folder.chmod(0o755)
    if may_write:
        pytest.skip("root may write where no one may")
    assert_told_in_one_line(ended, "the system refused .*Permission denied.*")
    assert podium("train", "--resume")[0] == 0


def test_a_damaged_newest_state_is_told_and_the_one_before_gone_on_from(podium):
    run, podium = podium("stopped")
    with pytest.MonkeyPatch.context() as patch:
        stop_in_the_first_step(patch)
        assert podium("train", "--resume")[0] == 75
    newest, _ = run.checkpoints
    flip(newest)
    code, out, _ = podium("train", "--resume")
    assert code == 0
    assert (
        f"checkpoint {newest.name} is damaged (its bytes are not those that were saved): going on from the one" in out
    )
    assert re.search("going on from stage all, epoch 1 of 1, after step 1$", out, re.MULTILINE)


def test_without_a_whole_state_nothing_is_begun_anew(podium):
    run, podium = podium("stopped")
    flip(run.checkpoints[0])
    before = names_in(run)
    assert_told_in_one_line(podium("train", "--resume"), r"no checkpoint in .* can be used: .* is damaged .*")
    assert names_in(run) == before


@pytest.mark.parametrize("key", ["best", "monitor", "score", "stage", "status", "image_size"])
@pytest.mark.parametrize("command", ["train", "predict"])
def test_a_flipped_byte_in_state_json_of_a_trained_run_is_no_traceback(command, key, podium):
    run, podium = podium("trained")
    path = run.path / "state.json"
    flip(path, path.read_bytes().index(f'"{key}"'.encode()) + 1)
    code, out, err = podium(command)
    assert code in (0, 1)
    assert err.count("\n") == code
    assert "Traceback" not in out + err
    assert run.best_weights.is_file()


@pytest.mark.parametrize("place", ["member:", "stages:", "made_of:", "learning_rate:", "metric:", "competition:"])
@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_a_flipped_byte_in_the_config_of_another_run_is_told_in_one_line(place, bit, podium):
    """It is what a changed config is compared with."""
    run, podium = podium("stopped")
    content = bytearray(run.config.read_bytes())
    content[content.index(place.encode())] ^= bit
    run.config.write_bytes(content)
    before = names_in(run)
    ended = podium("train", "--resume", "--set", "stages.0.learning_rate=1e-3")
    assert_told_in_one_line(ended, ".*")
    assert names_in(run) == before


def test_weights_that_were_altered_predict_nothing(podium):
    run, podium = podium("trained")
    flip(run.best_weights)
    assert_told_in_one_line(podium("predict"), rf".*{run.best_weights.name}.*damaged.*")
    assert not list(run.path.glob("predictions-*"))
