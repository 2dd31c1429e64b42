"""A training that was stopped and resumed, or changed on the way, ends as an uninterrupted one."""

import time
from io import StringIO
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from line_task import LineTask, Rates, Stop, assert_same_weights, fit, stage, started, stopped, trained, watch
from rich.console import Console

from podium.changes import Change, read_changes, request_learning_rate, write_changes
from podium.errors import StoppedError, TrainingDivergedError
from podium.signals import StopCondition
from podium.training.checkpoints import Checkpoint, CheckpointStore, Progress, restore_model

STAGES = [
    stage("one", epochs=3, optimizer="Adam", schedule={"kind": "plateau", "patience": 1, "factor": 0.5}),
    stage("two", epochs=3, optimizer="Adam", image_size=32, schedule="cosine", early_stopping=2),
]
STEPS = 4
"""In an epoch: sixteen rows in batches of four."""
EVERY_STEP = range(1, 6 * STEPS)
SOME_STEPS = (2, 3 * STEPS, 4 * STEPS + 1)
"""Within an epoch, between the stages, within the second stage."""


def assert_same_end(run, uninterrupted):
    assert_same_weights(run.best_weights, uninterrupted.best_weights)
    assert run.history.read_bytes() == uninterrupted.history.read_bytes()
    assert best_of(run) == best_of(uninterrupted)


def best_of(run):
    """Without the digest: Keras numbers models, and their weight files contain the number."""
    return {key: value for key, value in run.state["best"].items() if key != "digest"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("uninterrupted"), STAGES)


@pytest.mark.parametrize(
    "steps", [pytest.param(step, marks=[] if step in SOME_STEPS else pytest.mark.slow) for step in EVERY_STEP]
)
def test_training_stopped_after_any_step_resumes_to_the_same_end(steps, uninterrupted, tmp_path):
    run = started(tmp_path)
    stopped(run, STAGES, steps)
    fit(run, STAGES)
    assert run.is_trained
    assert_same_end(run, uninterrupted)


@pytest.mark.slow
def test_training_stopped_after_every_step_resumes_to_the_same_end(uninterrupted, tmp_path):
    run = started(tmp_path)
    for _ in range(6 * STEPS - 2):  # the last step of an epoch and its end are one stop
        if run.is_trained:
            break
        try:
            stop_condition = StopCondition()
            stop_condition.request("SIGTERM")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("podium.training.session.Session.stop_if_requested", lambda *_: None)
                fit(run, STAGES, stop_condition=stop_condition)
        except StoppedError:
            continue
    fit(run, STAGES)
    assert_same_end(run, uninterrupted)


def test_checkpoints_are_written_within_an_epoch(tmp_path, monkeypatch):
    seen = []
    run = started(tmp_path)
    watch(monkeypatch, Stop(3, lambda: seen.extend(path.name for path in run.checkpoints)))
    fit(run, [stage(epochs=1)], save_every=0)
    assert [name[:17] for name in seen] == ["checkpoint-000002", "checkpoint-000001"]


def test_stop_and_resume_report_the_position(tmp_path):
    run, log = started(tmp_path), StringIO()
    message = stopped(run, STAGES, 3 * STEPS + 2)
    assert message == (
        f"SIGTERM: stopped at stage two, epoch 1 of 3, after step 2; saved in {run.path};"
        " resume with: podium train tiny.yaml --resume"
    )
    assert (run.state["stage"], run.state["epoch"], run.state["step"], run.state["steps"]) == ("two", 0, 2, 4)
    assert run.is_resumable
    fit(run, STAGES, console=Console(file=log, width=200))
    assert "  resuming at stage two, epoch 1 of 3, after step 2" in log.getvalue().splitlines()


def test_trained_run_without_its_state_file_trains_nothing(tmp_path):
    stages = [stage(epochs=1)]
    run = trained(tmp_path, stages)
    history = run.history.read_bytes()
    (run.path / "state.json").unlink()
    fit(run, stages, LineTask(errors=[]))
    assert run.is_trained
    assert run.history.read_bytes() == history


def test_last_checkpoint_has_only_what_another_stage_needs(uninterrupted):
    checkpoint = CheckpointStore(uninterrupted.path).load_newest(Console(quiet=True))
    assert checkpoint.progress.is_complete
    assert not checkpoint.part("optimizer")
    assert [path.name for path in (uninterrupted.path / "checkpoints").iterdir()] == [checkpoint.path.name]


# Counters


def test_counters_of_plateau_and_early_stopping_are_restored(tmp_path):
    plateau = {"kind": "plateau", "patience": 2, "factor": 0.5}
    stages = [stage(epochs=9, schedule=plateau, early_stopping=4)]
    errors = [1.0, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6]
    uninterrupted = trained(tmp_path / "whole", stages, LineTask(errors=errors))
    assert len(pd.read_csv(uninterrupted.history)) == 6
    run = started(tmp_path / "stopped")
    stopped(run, stages, 3 * STEPS + 1, LineTask(errors=errors[:3]))
    fit(run, stages, LineTask(errors=errors[3:]))
    assert_same_end(run, uninterrupted)


def test_worse_epoch_after_resuming_does_not_replace_the_best(tmp_path):
    run, stages = started(tmp_path), [stage(epochs=4)]
    stopped(run, stages, 2 * STEPS + 1, LineTask(errors=[2.0, 1.0]))
    fit(run, stages, LineTask(errors=[1.5, 1.1]))
    assert (run.state["best"]["epoch"], run.state["best"]["score"]) == (1, 1.0)


# Moving averages


EMA = [stage(epochs=2, learning_rate=0.3, ema=0.9)]


def test_moving_averages_are_validated_and_saved_but_not_trained_on(tmp_path):
    raw = [stage(epochs=2, learning_rate=0.3)]
    averaged, plain = trained(tmp_path / "ema", EMA), trained(tmp_path / "raw", raw)
    losses = [pd.read_csv(run.history)["loss"].tolist() for run in (averaged, plain)]
    assert losses[0] == losses[1]
    assert averaged.state["best"]["score"] > plain.state["best"]["score"]  # averages lag behind


@pytest.mark.parametrize("steps", [STEPS + 1, *(pytest.param(n, marks=pytest.mark.slow) for n in (STEPS - 2, STEPS))])
def test_moving_averages_are_restored(steps, tmp_path):
    run = started(tmp_path / "stopped")
    stopped(run, EMA, steps)
    fit(run, EMA)
    assert_same_end(run, trained(tmp_path / "whole", EMA))


# Time


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves."""
    clock = SimpleNamespace(now=0.0, strftime=time.strftime)
    clock.monotonic = clock.perf_counter = lambda: clock.now
    for name in ("signals", "training.session", "training.callbacks"):
        monkeypatch.setattr(f"podium.{name}.time", clock)
    return clock


def test_time_limit_leaves_time_to_validate_and_to_save(tmp_path, monkeypatch, clock):
    """A step takes ten seconds, a validation thirty."""

    class Slow(LineTask):
        def validate(self, model, stage):
            clock.now += 30
            return super().validate(model, stage)

    def step(batch, logs=None):
        clock.now += 10

    watch(monkeypatch, keras.callbacks.LambdaCallback(on_train_batch_end=step))
    message = r"--time-limit 3m20s: stopped at stage one, epoch 3 of 3, after step 3;"
    with pytest.raises(StoppedError, match=message):
        fit(started(tmp_path), STAGES, Slow(), stop_condition=StopCondition(time_limit=200))
    assert clock.now == 2 * (4 * 10 + 30) + 3 * 10  # one more step and the validation after it would end at 210


def test_one_step_is_trained_with_the_shortest_time_limit(tmp_path, clock):
    run = started(tmp_path)
    with pytest.raises(StoppedError, match="after step 1"):
        fit(run, STAGES, stop_condition=StopCondition(time_limit=1.0))


# Another learning rate on the way


def rates_of(run, stages, monkeypatch, **options):
    rates = Rates()
    with monkeypatch.context() as patch:
        watch(patch, rates)
        fit(run, stages, **options)
    return rates.seen


def test_requested_learning_rate_takes_effect_at_the_next_step(tmp_path, monkeypatch):
    run, rates, stages = started(tmp_path), Rates(), [stage(epochs=2, learning_rate=0.1)]
    watch(monkeypatch, rates, Stop(STEPS + 2, lambda: request_learning_rate(run.path, 1e-3)))
    fit(run, stages)
    assert rates.seen == pytest.approx([0.1] * (STEPS + 2) + [1e-3] * 2)
    table = pd.read_csv(run.history, keep_default_na=False)
    assert list(table["learning_rate"]) == pytest.approx([0.1, 1e-3])
    assert list(table["changes"]) == ["", "learning_rate 0.1 -> 0.001 (after step 2)"]
    (change,) = read_changes(run.path)
    assert (change.position, change.before, change.after, change.by) == ((0, 1, 2), 0.1, 1e-3, "set")
    assert run.state["changes"] == 1


@pytest.mark.parametrize(
    "schedule",
    ["cosine", *(pytest.param(s, marks=pytest.mark.slow) for s in ("constant", {"kind": "plateau", "patience": 9}))],
)
def test_requested_learning_rate_is_restored(schedule, tmp_path, monkeypatch):
    stages = [stage(epochs=3, optimizer="Adam", schedule=schedule)]
    whole, run = started(tmp_path / "whole"), started(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        watch(patch, Stop(STEPS + 2, lambda: request_learning_rate(whole.path, 1e-3)))
        fit(whole, stages)
    with monkeypatch.context() as patch:
        watch(patch, Stop(STEPS + 2, lambda: request_learning_rate(run.path, 1e-3)))
        stopped(run, stages, 2 * STEPS + 1)
    seen = rates_of(run, stages, monkeypatch)
    assert len(seen) == STEPS - 1
    assert max(seen) <= 1.0001e-3
    assert_same_end(run, whole)


def test_change_is_made_again_at_its_step_after_resuming_from_an_earlier_checkpoint(tmp_path, monkeypatch):
    stages = [stage(epochs=2)]
    whole, run = started(tmp_path / "whole"), started(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        watch(patch, Stop(STEPS + 2, lambda: request_learning_rate(whole.path, 1e-3)))
        fit(whole, stages)
    stopped(run, stages, STEPS + 1)
    # As if a process had recorded the change, made it, and was killed before the next checkpoint.
    write_changes(run.path, read_changes(whole.path))
    seen = rates_of(run, stages, monkeypatch)
    assert seen == pytest.approx([0.1, 1e-3, 1e-3])
    assert_same_end(run, whole)


def test_recorded_request_is_not_made_twice(tmp_path, monkeypatch):
    run, stages = started(tmp_path), [stage(epochs=2)]
    stopped(run, stages, STEPS + 1)
    path = request_learning_rate(run.path, 1e-3)
    write_changes(run.path, [Change(0, 1, 2, "learning_rate", 0.1, 1e-3, "set", "then", path.stem)])
    assert rates_of(run, stages, monkeypatch) == pytest.approx([0.1, 1e-3, 1e-3])
    assert len(read_changes(run.path)) == 1
    assert not path.exists()


def test_request_after_the_last_step_has_no_effect_and_is_reported(tmp_path, monkeypatch):
    run, log = started(tmp_path), StringIO()
    watch(monkeypatch, Stop(STEPS, lambda: request_learning_rate(run.path, 1e-3)))
    fit(run, [stage(epochs=1)], console=Console(file=log, width=200))
    assert "learning_rate 0.001 was requested after the last step: no effect" in log.getvalue()
    assert not read_changes(run.path)


def test_request_made_in_an_earlier_stage_does_not_change_the_next(tmp_path, monkeypatch):
    run, log, rates = started(tmp_path), StringIO(), Rates()
    stages = [stage("head", epochs=1, learning_rate=0.1), stage("all", epochs=1, learning_rate=0.01)]
    watch(monkeypatch, rates, Stop(STEPS, lambda: request_learning_rate(run.path, 0.5, "head")))
    fit(run, stages, console=Console(file=log, width=200))
    assert rates.seen == pytest.approx([0.1] * STEPS + [0.01] * STEPS)
    assert "learning_rate 0.5 was requested for stage head: ignored" in log.getvalue()


def test_request_for_a_stopped_run_takes_effect_when_it_is_resumed(tmp_path, monkeypatch):
    run, stages = started(tmp_path), [stage(epochs=2)]
    stopped(run, stages, STEPS + 1)
    request_learning_rate(run.path, 1e-3)
    assert rates_of(run, stages, monkeypatch) == pytest.approx([1e-3] * 3)


def test_plateau_continues_from_the_requested_rate(tmp_path, monkeypatch):
    run, plateau = started(tmp_path), {"kind": "plateau", "patience": 1, "factor": 0.5}
    watch(monkeypatch, Stop(1, lambda: request_learning_rate(run.path, 0.02)))
    fit(run, [stage(epochs=4, schedule=plateau)], LineTask(errors=[1.0] * 4))
    assert list(pd.read_csv(run.history)["learning_rate"]) == pytest.approx([0.02, 0.02, 0.01, 0.005])


def test_schedule_continues_from_the_requested_rate(tmp_path, monkeypatch):
    run, rates = started(tmp_path), Rates()
    watch(monkeypatch, rates, Stop(STEPS, lambda: request_learning_rate(run.path, 0.01)))
    fit(run, [stage(epochs=2, learning_rate=0.1, schedule="cosine")])
    expected = [rate * (1 + np.cos(np.pi * step / 8)) / 2 for step, rate in enumerate([0.1] * 4 + [0.01] * 4)]
    assert rates.seen == pytest.approx(expected, rel=1e-5)


# Other changes of the current stage


def test_every_row_is_seen_once_when_the_batch_size_changes_within_an_epoch(tmp_path):
    run = started(tmp_path)

    class Watched(LineTask):
        rows = ()

        def batches(self, number, stage):
            made = super().batches(number, stage)
            whole = made.batch
            self.rows = rows = []
            made.batch = lambda chosen, epoch: rows.append((epoch, tuple(chosen))) or whole(chosen, epoch)
            return made

    first, second = Watched(), Watched()
    stopped(run, [stage(epochs=2)], STEPS + 1, first)
    fit(run, [stage(epochs=2, batch_size=6)], second)
    done = first.batches(0, stage()).order(1)[:4]
    seen = list(dict.fromkeys(chosen for epoch, chosen in second.rows if epoch == 1))
    assert sorted([*done, *(row for chosen in seen for row in chosen)]) == list(range(16))
    assert [len(chosen) for chosen in seen] == [6, 6]


@pytest.mark.slow
def test_more_epochs_give_the_same_end_as_if_requested_from_the_start(tmp_path):
    run = started(tmp_path / "stopped")
    stopped(run, [stage(epochs=2)], STEPS + 1)
    fit(run, [stage(epochs=3)])
    assert_same_end(run, trained(tmp_path / "whole", [stage(epochs=3)]))


def test_fewer_epochs_end_the_stage_at_once(tmp_path):
    run = started(tmp_path)
    stopped(run, [stage(epochs=5)], 2 * STEPS + 1)
    fit(run, [stage(epochs=2)])
    assert run.is_trained
    assert len(pd.read_csv(run.history)) == 2


@pytest.mark.slow
def test_more_patience_continues_a_stage_that_ended_early(tmp_path):
    errors = [1.0, 2.0, 3.0, 0.5]
    run, stages = started(tmp_path), [stage("one", epochs=4, early_stopping=2), stage("two", epochs=1)]
    stopped(run, stages, 3 * STEPS + 1, LineTask(errors=errors[:3]))
    assert run.state["stage"] == "two"
    again = started(tmp_path / "again")
    message = stopped(again, [stages[0]], 3 * STEPS, LineTask(errors=errors[:3]))
    assert "epoch 4 of 4" in message
    fit(again, [stages[0].model_copy(update={"early_stopping": 3})], LineTask(errors=errors[3:]))
    assert again.state["best"]["epoch"] == 3


@pytest.mark.slow
def test_stage_can_be_added_to_a_trained_run(tmp_path):
    one, two = stage("one", epochs=1), stage("two", epochs=1, image_size=32)
    run = trained(tmp_path / "extended", [one])
    fit(run, [one, two])
    assert_same_end(run, trained(tmp_path / "whole", [one, two]))


@pytest.mark.slow
def test_diverged_training_can_be_resumed_with_a_lower_rate(tmp_path):
    run = started(tmp_path)
    stages = [stage("good"), stage("bad", learning_rate=1e30)]
    with pytest.raises(TrainingDivergedError, match=r"--set stages\.1\.learning_rate=1e\+29 --resume continues from"):
        fit(run, stages)
    fit(run, [stages[0], stage("bad", learning_rate=0.01)])
    assert_same_end(run, trained(tmp_path / "whole", [stages[0], stage("bad", learning_rate=0.01)]))


def test_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    class Ruin(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.trainable_weights[0].assign(np.full((1, 1), np.nan))

    run = started(tmp_path)
    watch(monkeypatch, Ruin())
    with pytest.raises(TrainingDivergedError):
        fit(run, [stage(epochs=1)], save_every=0)
    checkpoint = CheckpointStore(run.path).load_newest(Console(quiet=True))
    assert checkpoint.progress.step == 1


def test_normalization_uses_restored_statistics(tmp_path):
    """EfficientNet has such a layer, which computes with copies of its variables."""

    def build():
        signals = keras.Input((4,))
        inner = keras.Model(signals, keras.layers.Normalization()(signals))
        return keras.Model(signals, inner(signals))

    signals = np.random.default_rng(0).normal(5, 3, (32, 4)).astype("float32")
    model, again = build(), build()
    model.layers[-1].layers[-1].adapt(signals)
    arrays = {f"model/{number:05d}": np.array(variable) for number, variable in enumerate(model.variables)}
    restore_model(again, Checkpoint(tmp_path, Progress(seed=0), arrays))
    np.testing.assert_array_equal(again(signals), model(signals))
    assert abs(np.array(again(signals)).mean()) < 0.01
