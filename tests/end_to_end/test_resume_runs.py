"""StopCondition and going on as a person does it: by the command line, with the same config and with a changed one."""

import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from podium.locks import locked
from podium.runs import Run

STAGE = {"unfreeze": "all", "batch_size": 4, "image_size": 32, "learning_rate": 0.005}
STAGES = [
    {**STAGE, "name": "first", "epochs": 2},
    {**STAGE, "name": "second", "epochs": 2, "image_size": 40, "schedule": "cosine"},
]


@pytest.fixture
def cars(tiny_competition, podium):
    """`cars("train", "--resume")`: the command on a member of two stages, fold 0, or on an ensemble of it."""
    member = tiny_competition.member(stages=STAGES)
    ensemble = tiny_competition.ensemble([member])

    def typed(command, *options):
        config = ensemble if command == "run" else member
        return podium(command, config, "--data", tiny_competition.folder, "--fold", 0, *options)

    return typed


def stop(cars, command="train", *options):
    """As a signal does that comes within the first step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("podium.signals.StopCondition.reason", lambda _, seconds: "SIGTERM" if seconds else None)
        patch.setattr("podium.training.session.Session.seconds_to_begin", lambda *_: 0.0)
        ended = cars(command, *options)
    assert ended.code == 75, ended
    return ended


def runs():
    return [Run(path.parent) for path in sorted(Path("runs").glob("*/fold0/config.yaml"))]


def test_stop_exits_with_75_and_tells_the_command_that_goes_on(cars):
    ended = stop(cars)
    (run,) = runs()
    told = re.fullmatch(
        rf"podium: SIGTERM: stopped at stage first, epoch 1 of 2, after step 1; saved in {run.path};"
        r" go on with: (podium train .* --fold 0 --resume)\n",
        ended.err,
    )
    assert told, ended.err
    assert run.state["command"] == told[1]
    assert run.is_resumable


def test_train_does_not_begin_anew_where_something_is_saved_but_goes_on_when_told_to(cars):
    stop(cars)
    (run,) = runs()
    before = [path.name for path in run.checkpoints]
    ended = cars("train")
    assert ended.code == 1
    assert ended.err.startswith(f"podium: {run.path} holds the checkpoint of a training of tiny fold 0: add --resume")
    assert "--resume" in ended.err
    assert [path.name for path in run.checkpoints] == before
    ended = cars("train", "--resume")
    assert ended.code == 0
    assert "going on from stage first, epoch 1 of 2, after step 1" in ended.out
    assert run.is_trained
    assert "already trained" in cars("train", "--resume").out


def test_resume_with_nothing_to_go_on_from_begins_and_says_so(cars):
    ended = stop(cars, "train", "--resume")
    assert "nothing to go on from: tiny fold 0 starts at its beginning" in ended.out


def test_run_goes_on_by_itself_and_ends_as_one_that_was_not_stopped(cars):
    assert cars("run", "--runs", "whole").code == 0
    shutil.rmtree("submissions")  # the same answers a second time would be a problem
    stop(cars, "run")
    stop(cars, "run")
    ended = cars("run")
    assert ended.code == 0
    assert "going on from stage first" in ended.out
    (run,) = runs()
    for name in ("best.weights.h5", "history.csv", "confusion_matrix.csv", *_predictions(run)):
        assert (run.path / name).read_bytes() == (Path("whole") / run.path.relative_to("runs") / name).read_bytes()


def _predictions(run):
    return [path.relative_to(run.path) for path in run.path.glob("predictions-*/*.csv")]


def test_changed_config_goes_on_in_a_folder_of_its_own(cars):
    stop(cars)
    (old,) = runs()
    before = {path: path.read_bytes() for path in old.path.rglob("*") if path.is_file()}
    ended = cars(
        "train", "--resume", "--set", "stages.0.learning_rate=1e-4", "--set", "stages.1.epochs=1", "--set", "seed=42"
    )
    assert ended.code == 0, ended.err
    (new,) = (run for run in runs() if run.path != old.path)
    assert f"goes on from {old.path}, which stays as it is" in ended.out
    assert "stage first, from epoch 1 after step 1 on: learning_rate 0.005 -> 0.0001" in ended.out
    assert "going on from stage first, epoch 1 of 2, after step 1" in ended.out
    changes = pd.read_csv(new.path / "changes.csv")
    assert changes[["stage", "epoch", "step", "key"]].values.tolist() == [
        [0, 0, 1, "learning_rate"],
        [1, 0, 0, "epochs"],
    ]
    history = pd.read_csv(new.history, keep_default_na=False)
    assert list(history["learning_rate"][:2]) == pytest.approx([1e-4, 1e-4])
    assert list(history["changes"]) == ["learning_rate 0.005 -> 0.0001 (after step 1)", "", "epochs 2 -> 1"]
    assert {path: path.read_bytes() for path in old.path.rglob("*") if path.is_file()} == before
    assert yaml.safe_load(new.config.read_text())["member"]["stages"][0]["learning_rate"] == 1e-4
    assert new.state["branched_from"] == str(old.path)


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ("backbone.alpha=0.5", "backbone.alpha 0.25 -> 0.5"),
        ("head.dropout=0.5", "head.dropout 0 -> 0.5"),
        ("seed=7", "seed 42 -> 7"),
        ("stages.0.image_size=40", "stages.0.image_size 32 -> 40 (stage first has begun)"),
        ("competition.metric=log_loss", "metric accuracy -> log_loss"),
        ("competition.folds.count=3", "folds "),
    ],
)
def test_what_may_not_change_is_refused_with_the_difference(cars, setting, difference):
    stop(cars)
    (old,) = runs()
    ended = cars("train", "--resume", "--set", setting)
    assert ended.code == 1
    assert f"{old.path} cannot go on so: {difference}" in ended.err
    assert "leave out --resume" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert [run.path for run in runs()] == [old.path]


def test_a_schedule_may_change_and_the_run_be_stopped_again(cars):
    stop(cars)
    options = ["--resume", "--set", "stages.0.schedule={kind: step, every: 1}"]
    ended = stop(cars, "train", *options)
    assert 'stage first, from epoch 1 after step 1 on: schedule {"kind": "constant"} -> ' in ended.out
    ended = cars("train", *options)
    assert ended.code == 0, ended.err
    new = max(runs(), key=lambda run: run.saved_at)
    assert list(pd.read_csv(new.history)["learning_rate"][:2]) == pytest.approx([0.005, 0.0005])


def test_changed_config_without_resume_starts_anew_and_tells_of_the_other_run(cars):
    stop(cars)
    (old,) = runs()
    ended = stop(cars, "train", "--set", "stages.0.learning_rate=1e-4")
    assert f"{old.path} was stopped under another config; this one starts anew" in ended.out
    assert len(runs()) == 2


def test_a_trained_run_is_extended_by_a_stage_and_predicted_anew(cars, tiny_competition):
    assert cars("train").code == 0
    assert cars("predict").code == 0
    (old,) = runs()
    third = {**STAGE, "name": "third", "epochs": 1, "learning_rate": 1e-12}
    tiny_competition.member(stages=[*STAGES, third])
    ended = cars("train", "--resume")
    assert ended.code == 0, ended.err
    assert "stage third, from epoch 1 on: stage null -> third" in ended.out
    (new,) = (run for run in runs() if run.path != old.path)
    assert pd.read_csv(new.history)["stage"].tolist() == ["first", "first", "second", "second", "third"]
    assert cars("predict").code == 0
    assert old.is_trained


def test_a_run_in_use_is_refused_and_its_holder_named(cars):
    stop(cars)
    (run,) = runs()
    with locked(run.path):
        ended = cars("train", "--resume")
    assert ended.code == 1
    assert re.match(rf"podium: {run.path} is in use by process \d+ on .* \(.*\); one at a time", ended.err)


def test_time_that_does_not_suffice_for_predicting_is_told_before_it_begins(cars, monkeypatch):
    assert cars("train").code == 0
    (run,) = runs()
    run.update_state(seconds_per_image=1000.0)
    ended = cars("run", "--time-limit", "7h")
    assert ended.code == 75
    assert "tiny fold 0 is trained; predicting it takes about 26000 s more; go on with: podium run" in ended.err


@pytest.mark.parametrize("text", ["8", "0s", "-1h", "8h30", "soon"])
def test_a_time_limit_that_is_none_is_wrong_usage(cars, text):
    ended = cars("train", "--time-limit", text)
    assert ended.code == 2
    assert "expected a time such as 8h30m" in ended.err


def test_a_kept_state_of_another_model_is_told(cars):
    stop(cars)
    (run,) = runs()
    from podium.training.checkpoints import CheckpointStore

    saves = CheckpointStore(run.path)
    saved = saves.load_newest(None)
    arrays = {name: array[..., None] for name, array in saved.arrays.items()}
    saves.write(saved.progress, arrays)
    ended = cars("train", "--resume")
    assert ended.code == 1
    assert "is of another model" in ended.err
    assert "Traceback" not in ended.err


def test_weights_with_a_flipped_bit_are_not_predicted_with(cars):
    assert cars("train").code == 0
    (run,) = runs()
    weights = bytearray(run.best_weights.read_bytes())
    weights[len(weights) // 2] ^= 1
    run.best_weights.write_bytes(weights)
    ended = cars("predict")
    assert ended.code == 1
    assert ended.err.startswith(f"podium: {run.best_weights} is damaged (its bytes are not those that were saved)")


@pytest.mark.parametrize("lost", [["state.json"], ["state.json", "checkpoints"]])
def test_a_trained_run_that_lost_what_says_so_is_not_trained_over(cars, lost):
    assert cars("train").code == 0
    (run,) = runs()
    weights = run.best_weights.read_bytes()
    for name in lost:
        path = run.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert cars("train").code == 1
    assert run.best_weights.read_bytes() == weights
    assert cars("train", "--resume").code == (1 if "checkpoints" in lost else 0)
    assert run.best_weights.read_bytes() == weights


def test_a_rate_asked_for_while_stopped_goes_along_to_a_changed_config(cars, podium):
    stop(cars)
    (old,) = runs()
    assert podium("set", old.path, "learning_rate=1e-4").code == 0
    assert cars("train", "--resume", "--set", "stages.0.epochs=1").code == 0
    (new,) = (run for run in runs() if run.path != old.path)
    assert pd.read_csv(new.history)["learning_rate"][0] == pytest.approx(1e-4)


def test_another_run_that_is_damaged_is_passed_over(cars):
    stop(cars)
    (good,) = runs()
    bad = Run(good.path.parent.with_name("tiny-00000000") / "fold0")
    shutil.copytree(good.path, bad.path)
    for path in bad.checkpoints:
        path.write_bytes(b"")
        os.utime(path, (2**31, 2**31))  # the last saved
    ended = cars("train", "--resume", "--set", "stages.0.learning_rate=1e-4")
    assert ended.code == 0, ended.err
    assert f"goes on from {good.path}" in ended.out
