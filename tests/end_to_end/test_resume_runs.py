"""Stopping, resuming and changing a training by the command line; and what a damaged run folder does."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from line_task import Fail

from podium.changes import read_changes
from podium.errors import MemoryFullError, TrainingDivergedError
from podium.locks import locked
from podium.runs import Run
from podium.training import run_training
from podium.training.checkpoints import CheckpointStore
from podium.training.classification import ClassificationTask

STAGE = {"unfreeze": "all", "batch_size": 4, "image_size": 32, "learning_rate": 0.005}
STAGES = [
    {**STAGE, "name": "first", "epochs": 2},
    {**STAGE, "name": "second", "epochs": 2, "schedule": "cosine"},
]
FULL = OSError(28, "No space left on device")


class EagerTask(ClassificationTask):
    """Without graphs, which take longer to make than a few steps of a small model."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options | {"eager": True})


@pytest.fixture(scope="module", autouse=True)
def _eager():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("podium.training.classification.ClassificationTask", EagerTask)
        yield


class Cars:
    """Commands on fold 0 of a member with two stages, or on an ensemble of it."""

    def __init__(self, folder, run_command):
        self.folder, self._run_command = folder, run_command

    def __call__(self, command, *options):
        config = "tiny/configs/tiny_ensemble.yaml" if command == "run" else "tiny/configs/tiny.yaml"
        return self._run_command(self.folder, command, config, "--data", "tiny/data", "--fold", 0, *options)

    def stop(self, command="train", *options):
        """Run a command that is stopped after its first step, as by a signal."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("podium.signals.StopCondition.reason", lambda _, seconds: "SIGTERM" if seconds else None)
            patch.setattr("podium.training.session.StageRun.seconds_until_first_stop", lambda _: 0.0)
            result = self(command, *options)
        assert result.code == 75, result
        return result

    @property
    def runs(self):
        return [Run(path.parent) for path in sorted(Path("runs").glob("*/fold0/config.yaml"))]

    @property
    def run(self):
        (run,) = self.runs
        return run

    def other_run(self, run):
        (other,) = (other for other in self.runs if other.path != run.path)
        return other


@pytest.fixture(scope="module")
def folders(make_tiny_competition, podium_in, tmp_path_factory):
    """A new competition with a member, the same after a training was stopped, and after it was resumed."""
    folder = tmp_path_factory.mktemp("cars") / "new"
    tiny = make_tiny_competition(folder / "tiny", train=16, test=4)
    tiny.ensemble([tiny.member(stages=STAGES)])
    stopped, trained = folder.with_name("stopped"), folder.with_name("trained")
    shutil.copytree(folder, stopped)
    Cars(stopped, podium_in).stop()
    shutil.copytree(stopped, trained)
    assert Cars(trained, podium_in)("train", "--resume").code == 0
    return {"new": folder, "stopped": stopped, "trained": trained}


@pytest.fixture
def cars_in(folders, podium_in, tmp_path, monkeypatch):
    """`cars_in("stopped")`: a copy of one of these folders, where the test is."""

    def copy(state):
        shutil.copytree(folders[state], tmp_path / state)
        monkeypatch.chdir(tmp_path / state)
        return Cars(tmp_path / state, podium_in)

    return copy


def files_of(run):
    return {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def flip(path, place=None, bit=0x10):
    """Flip a bit in the middle of a file, or at this place."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= bit
    path.write_bytes(content)


def assert_one_line(result, message):
    assert result.code == 1
    assert re.fullmatch(rf"podium: {message}\n", result.err), result.err
    assert "Traceback" not in result.out + result.err


# The same config


def test_stop_exits_with_75_and_prints_the_command_to_resume(cars_in):
    cars = cars_in("new")
    result = cars.stop("train", "--resume")
    assert "nothing to resume: training tiny fold 0 from scratch" in result.out
    message = re.fullmatch(
        rf"podium: SIGTERM: stopped at stage first, epoch 1 of 2, after step 1; saved in {cars.run.path};"
        r" resume with: (podium train .* --fold 0 --resume)\n",
        result.err,
    )
    assert message, result.err
    assert cars.run.state["command"] == message[1]
    assert cars.run.is_resumable


def test_stopped_training_is_resumed_only_with_resume(cars_in):
    cars = cars_in("stopped")
    run, before = cars.run, [path.name for path in cars.run.checkpoints]
    assert_one_line(cars("train"), rf"{run.path} contains a checkpoint of tiny fold 0: add --resume .*")
    assert [path.name for path in run.checkpoints] == before
    result = cars("train", "--resume")
    assert result.code == 0
    assert "resuming at stage first, epoch 1 of 2, after step 1" in result.out
    assert run.is_trained
    assert "already trained" in cars("train", "--resume").out


@pytest.mark.slow
def test_podium_run_resumes_automatically_to_the_same_files(cars_in):
    cars = cars_in("new")
    assert cars("run", "--runs", "uninterrupted").code == 0
    shutil.rmtree("submissions")  # the same answers a second time would be a problem
    cars.stop("run")
    result = cars("run")
    assert result.code == 0
    assert "resuming at stage first" in result.out
    run = cars.run
    predictions = [path.relative_to(run.path) for path in run.path.glob("predictions-*/*.csv")]
    for name in ("best.weights.h5", "history.csv", "confusion_matrix.csv", *predictions):
        other = "uninterrupted" / run.path.relative_to("runs") / name
        assert (run.path / name).read_bytes() == other.read_bytes(), name


def test_run_in_use_is_refused_and_its_holder_named(cars_in):
    cars = cars_in("stopped")
    with locked(cars.run.path):
        result = cars("train", "--resume")
    assert_one_line(result, rf"{cars.run.path} is in use by process \d+ on .* \(.*\): wait until it ends, .*")


def test_predictions_that_exceed_the_time_limit_are_not_begun(cars_in):
    cars = cars_in("trained")
    cars.run.update_state(seconds_per_image=1000.0)
    result = cars("run", "--time-limit", "3h")
    assert result.code == 75
    assert re.search(r"tiny fold 0 is trained; predict.*; \w+ .*with: podium run", result.err), result.err


@pytest.mark.parametrize("text", ["8", "0s", "-1h", "8h30", "soon"])
def test_invalid_time_limit_is_wrong_usage(cars_in, text):
    result = cars_in("new")("train", "--time-limit", text)
    assert result.code == 2
    assert "expected a time such as 8h30m" in result.err


# A changed config


def test_changed_config_continues_in_its_own_folder(cars_in):
    cars = cars_in("stopped")
    old, before = cars.run, files_of(cars.run)
    changes = ["stages.0.learning_rate=1e-4", "stages.1.epochs=1", "seed=42"]
    result = cars("train", "--resume", *(word for change in changes for word in ("--set", change)))
    assert result.code == 0, result.err
    new = cars.other_run(old)
    assert f"continues {old.path}, which is not modified" in result.out
    assert "stage first, from epoch 1 after step 1 on: learning_rate 0.005 -> 0.0001" in result.out
    assert "resuming at stage first, epoch 1 of 2, after step 1" in result.out
    recorded = pd.read_csv(new.path / "changes.csv")[["stage", "epoch", "step", "key"]]
    assert recorded.values.tolist() == [[0, 0, 1, "learning_rate"], [1, 0, 0, "epochs"]]
    history = pd.read_csv(new.history, keep_default_na=False)
    assert list(history["learning_rate"][:2]) == pytest.approx([1e-4, 1e-4])
    assert list(history["changes"]) == ["learning_rate 0.005 -> 0.0001 (after step 1)", "", "epochs 2 -> 1"]
    assert files_of(old) == before
    assert yaml.safe_load(new.config.read_text())["member"]["stages"][0]["learning_rate"] == 1e-4
    assert new.state["branched_from"] == str(old.path)


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ("backbone.alpha=0.5", "backbone.alpha 0.25 -> 0.5"),
        ("seed=7", "seed 42 -> 7"),
        ("stages.0.image_size=40", r"stages.0.image_size 32 -> 40 \(stage first has started\)"),
        ("competition.metric=log_loss", "metric accuracy -> log_loss"),
        ("competition.folds.count=3", "folds .*"),
    ],
)
def test_change_that_is_not_possible_is_refused_with_the_difference(cars_in, setting, difference):
    cars = cars_in("stopped")
    result = cars("train", "--resume", "--set", setting)
    message = rf"{cars.run.path} cannot be resumed with this config: {difference}\. .*omit --resume .*"
    assert_one_line(result, message)


@pytest.mark.slow
def test_changed_schedule_can_be_stopped_and_resumed(cars_in):
    cars = cars_in("stopped")
    old, options = cars.run, ["--resume", "--set", "stages.0.schedule={kind: step, every: 1}"]
    result = cars.stop("train", *options)
    assert 'stage first, from epoch 1 after step 1 on: schedule {"kind": "constant"} -> ' in result.out
    assert cars("train", *options).code == 0
    assert list(pd.read_csv(cars.other_run(old).history)["learning_rate"][:2]) == pytest.approx([0.005, 0.0005])


def test_changed_config_without_resume_starts_from_scratch_and_names_the_other_run(cars_in):
    cars = cars_in("stopped")
    old = cars.run
    result = cars.stop("train", "--set", "stages.0.learning_rate=1e-4")
    assert f"{old.path} was stopped with another config; starting from scratch" in result.out
    assert len(cars.runs) == 2


@pytest.mark.slow
def test_stage_can_be_added_to_a_trained_run(cars_in):
    cars = cars_in("trained")
    old, config = cars.run, Path("tiny/configs/tiny.yaml")
    content = yaml.safe_load(config.read_text())
    content["stages"].append({**STAGE, "name": "third", "epochs": 1, "learning_rate": 1e-12})
    config.write_text(yaml.safe_dump(content))
    result = cars("train", "--resume")
    assert result.code == 0, result.err
    assert "stage third, from epoch 1 on: stage null -> third" in result.out
    stages = pd.read_csv(cars.other_run(old).history)["stage"].tolist()
    assert stages == ["first", "first", "second", "second", "third"]
    assert cars("predict").code == 0
    assert old.is_trained


def test_requested_learning_rate_is_copied_to_a_changed_config(cars_in, podium_in):
    cars = cars_in("stopped")
    old = cars.run
    assert podium_in(cars.folder, "set", old.path, "learning_rate=1e-4").code == 0
    assert cars.stop("train", "--resume", "--set", "stages.0.epochs=1")
    assert "learning_rate 0.005 -> 0.0001" in map(str, read_changes(cars.other_run(old).path))


@pytest.mark.slow
def test_damaged_run_of_another_config_is_ignored(cars_in):
    cars = cars_in("stopped")
    good = cars.run
    bad = Run(good.path.parent.with_name("tiny-00000000") / "fold0")
    shutil.copytree(good.path, bad.path)
    for path in bad.checkpoints:
        path.write_bytes(b"")
        os.utime(path, (2**31, 2**31))  # the newest
    result = cars.stop("train", "--resume", "--set", "stages.0.learning_rate=1e-4")
    assert f"continues {good.path}" in result.out


# Failures: one line on stderr, exit code 1, and --resume continues


def test_full_disk_is_one_line_and_resume_continues(cars_in):
    cars = cars_in("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "save", Fail(np.save, FULL, 3))
        result = cars("train", "--resume")
    message = rf"the disk is full: a checkpoint in {cars.run.path}/checkpoints needs [0-9,]+ bytes, .*"
    assert_one_line(result, message)
    cars.stop("train", "--resume")


@pytest.mark.parametrize("error", [MemoryFullError, TrainingDivergedError])
def test_error_names_the_member_and_the_fold(error, cars_in, monkeypatch):
    def fail(*_):
        raise error("it went wrong")

    monkeypatch.setattr(run_training, "_train", fail)
    assert_one_line(cars_in("stopped")("train", "--resume"), "tiny fold 0: it went wrong")


@pytest.mark.parametrize("at", [1, *(pytest.param(at, marks=pytest.mark.slow) for at in (2, 3, 4))])
@pytest.mark.parametrize(
    "error",
    [FULL, OSError(30, "Read-only file system"), PermissionError(13, "Permission denied")],
    ids=lambda error: error.errno,
)
def test_run_folder_that_cannot_be_written_is_one_line(error, at, cars_in, monkeypatch):
    """Before the first step config.yaml, folds.csv and others are written again."""
    cars = cars_in("stopped")
    before = {path: path.read_bytes() for path in cars.run.checkpoints}
    folder = cars.run.path
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", Fail(tempfile.mkstemp, error, at, under=folder))
        result = cars("train", "--resume")
    assert_one_line(result, rf".*({error.strerror}|the disk is full).*")
    assert {path: path.read_bytes() for path in cars.run.checkpoints} == before


def test_damaged_checkpoint_is_reported_and_the_previous_one_used(cars_in):
    cars = cars_in("stopped")
    cars.stop("train", "--resume")
    newest, _ = cars.run.checkpoints
    flip(newest)
    result = cars.stop("train", "--resume")
    message = f"checkpoint {newest.name} is damaged (its checksum does not match): resuming from the one"
    assert message in result.out
    assert re.search("resuming at stage first, epoch 1 of 2, after step 1$", result.out, re.MULTILINE)


def test_without_a_valid_checkpoint_nothing_is_started(cars_in):
    cars = cars_in("stopped")
    flip(cars.run.checkpoints[0])
    before = files_of(cars.run)
    assert_one_line(cars("train", "--resume"), r"no checkpoint in .* can be used: .* is damaged .*")
    assert files_of(cars.run).keys() == before.keys()


def test_checkpoint_of_another_model_is_one_line(cars_in):
    cars = cars_in("stopped")
    store = CheckpointStore(cars.run.path)
    checkpoint = store.load_newest(None)
    store.write(checkpoint.progress, {name: array[..., None] for name, array in checkpoint.arrays.items()})
    assert_one_line(cars("train", "--resume"), ".* belongs to another model .*")


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("predict", "best"),
        ("train", "status"),
        *(
            pytest.param(command, key, marks=pytest.mark.slow)
            for command in ("train", "predict")
            for key in ("monitor", "score", "stage", "image_size")
        ),
    ],
)
def test_flipped_bit_in_state_json_is_no_traceback(command, key, cars_in):
    cars = cars_in("trained")
    path = cars.run.path / "state.json"
    flip(path, path.read_bytes().index(f'"{key}"'.encode()) + 1)
    result = cars(command)
    assert result.code in (0, 1)
    assert result.err.count("\n") == result.code
    assert "Traceback" not in result.out + result.err
    assert cars.run.best_weights.is_file()


@pytest.mark.parametrize("place", ["member:", "stages:", "inputs:", "learning_rate:", "metric:", "competition:"])
def test_flipped_bit_in_the_config_of_another_run_is_one_line(place, cars_in):
    """A changed config is compared with it."""
    cars = cars_in("stopped")
    run = cars.run
    flip(run.config, run.config.read_bytes().index(place.encode()), 0x80)
    before = files_of(run)
    assert_one_line(cars("train", "--resume", "--set", "stages.0.learning_rate=1e-3"), ".*")
    assert files_of(run) == before


def test_damaged_weights_are_not_used_for_predictions(cars_in):
    cars = cars_in("trained")
    flip(cars.run.best_weights)
    message = rf"{cars.run.best_weights} is damaged \(its checksum does not match\).*"
    assert_one_line(cars("predict"), message)
    assert not list(cars.run.path.glob("predictions-*"))


@pytest.mark.parametrize("lost", [["state.json"], ["state.json", "checkpoints"]])
def test_trained_weights_without_their_state_are_not_overwritten(cars_in, lost):
    cars = cars_in("trained")
    run, weights = cars.run, cars.run.best_weights.read_bytes()
    for name in lost:
        path = run.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert cars("train").code == 1
    assert cars("train", "--resume").code == (1 if "checkpoints" in lost else 0)
    assert run.best_weights.read_bytes() == weights
