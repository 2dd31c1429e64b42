"""Stopped at a chosen step, gone on, changed on the way: what comes out is what an unbroken training gives."""

import time
from io import StringIO
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from line_task import LineTask, Rates, Stop, assert_same_weights, fit, stage, started, stopped, trained, watch
from rich.console import Console

from podium.changes import Change, ask, read_changes, write_changes
from podium.errors import StoppedError, TrainingDivergedError
from podium.signals import StopCondition
from podium.training.checkpoints import Checkpoint, CheckpointStore
from podium.training.model_state import take_up_model
from podium.training.training_progress import Progress

STAGES = [
    stage("one", epochs=3, optimizer="Adam", schedule={"kind": "plateau", "patience": 1, "factor": 0.5}),
    stage("two", epochs=3, optimizer="Adam", image_size=32, schedule="cosine", early_stopping=2),
]
STEPS = 4
"""Of an epoch: sixteen rows in batches of four."""


def assert_same_end(run, whole):
    assert_same_weights(run.best_weights, whole.best_weights)
    assert run.history.read_bytes() == whole.history.read_bytes()
    assert best_of(run) == best_of(whole)


def best_of(run):
    """Without the digest: Keras numbers the line's models, and their files hold the number."""
    return {key: value for key, value in run.state["best"].items() if key != "digest"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("whole"), STAGES)


@pytest.mark.parametrize("steps", range(1, 6 * STEPS))
def test_wherever_it_was_stopped_it_ends_as_if_it_had_not_been(steps, whole, tmp_path):
    run = started(tmp_path)
    stopped(run, STAGES, steps)
    fit(run, STAGES)
    assert run.is_trained
    assert_same_end(run, whole)


def test_stopped_at_every_step_it_still_ends_the_same(whole, tmp_path):
    run = started(tmp_path)
    for _ in range(6 * STEPS - 2):  # an epoch's last step and its end are one stop
        if run.is_trained:
            break
        try:
            stop_condition = StopCondition()
            stop_condition.request("SIGTERM")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("podium.training.session.Session.stop_if_asked", lambda *_: None)
                fit(run, STAGES, stop_condition=stop_condition)
        except StoppedError:
            continue
    fit(run, STAGES)
    assert_same_end(run, whole)


def test_saved_within_an_epoch_without_being_asked_to_stop(tmp_path, monkeypatch):
    seen = []
    run = started(tmp_path)
    watch(monkeypatch, Stop(3, lambda: seen.extend(path.name for path in run.checkpoints)))
    fit(run, [stage(epochs=1)], save_every=0)
    assert [name[:12] for name in seen] == ["checkpoint-000002", "checkpoint-000001"]


def test_stop_tells_where_it_stands_and_the_command_that_goes_on(tmp_path):
    run = started(tmp_path)
    told = stopped(run, STAGES, 3 * STEPS + 2)
    assert told == (
        f"SIGTERM: stopped at stage two, epoch 1 of 3, after step 2; saved in {run.path};"
        " go on with: podium train tiny.yaml --resume"
    )
    assert (run.state["stage"], run.state["epoch"], run.state["step"], run.state["steps"]) == ("two", 0, 2, 4)
    assert run.is_resumable


def test_going_on_says_from_where(tmp_path):
    run, log = started(tmp_path), StringIO()
    stopped(run, STAGES, STEPS + 1)
    fit(run, STAGES, console=Console(file=log, width=200))
    assert "  going on from stage one, epoch 2 of 3, after step 1" in log.getvalue().splitlines()


def test_a_training_that_is_over_only_writes_what_is_missing(whole, tmp_path):
    run = trained(tmp_path, STAGES)
    (run.path / "state.json").unlink()
    fit(run, STAGES, LineTask(errors=[]))
    assert run.is_trained
    assert_same_end(run, whole)


def test_only_what_a_further_stage_needs_is_kept_in_the_end(whole):
    saved = CheckpointStore(whole.path).newest(Console(quiet=True))
    assert saved.progress.is_complete
    assert not saved.part("optimizer")
    assert [path.name for path in (whole.path / "checkpoints").iterdir()] == [saved.path.name]


# Counters


def test_plateau_and_patience_count_on(tmp_path):
    plateau = {"kind": "plateau", "patience": 2, "factor": 0.5}
    stages = [stage(epochs=9, schedule=plateau, early_stopping=4)]
    errors = [1.0, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6]
    whole = trained(tmp_path / "whole", stages, LineTask(errors=errors))
    assert len(pd.read_csv(whole.history)) == 6
    run = started(tmp_path / "broken")
    stopped(run, stages, 3 * STEPS + 1, LineTask(errors=errors[:3]))
    fit(run, stages, LineTask(errors=errors[3:]))
    assert_same_end(run, whole)


def test_a_worse_epoch_after_the_break_does_not_replace_the_best(tmp_path):
    run, stages = started(tmp_path), [stage(epochs=4)]
    stopped(run, stages, 2 * STEPS + 1, LineTask(errors=[2.0, 1.0]))
    fit(run, stages, LineTask(errors=[1.5, 1.1]))
    assert (run.state["best"]["epoch"], run.state["best"]["score"]) == (1, 1.0)


# Moving averages


EMA = [stage(epochs=3, learning_rate=0.3, optimizer={"name": "SGD", "use_ema": True, "ema_momentum": 0.9})]


def test_moving_averages_are_what_is_kept_as_best(tmp_path):
    raw = [stage(epochs=3, learning_rate=0.3)]
    averaged, plain = trained(tmp_path / "ema", EMA), trained(tmp_path / "raw", raw)
    losses = [pd.read_csv(run.history)["loss"].tolist() for run in (averaged, plain)]
    assert losses[0] == losses[1]  # it trains on as if there were no averages
    assert averaged.state["best"]["score"] > plain.state["best"]["score"]  # averages lag behind


@pytest.mark.parametrize("steps", [STEPS - 2, STEPS + 1, 2 * STEPS])
def test_moving_averages_survive_a_stop(steps, tmp_path):
    run = started(tmp_path / "broken")
    stopped(run, EMA, steps)
    fit(run, EMA)
    assert_same_end(run, trained(tmp_path / "whole", EMA))


# Time


@pytest.fixture
def clock(monkeypatch):
    """A clock of its own, that moves only when a test moves it."""
    clock = SimpleNamespace(now=0.0, strftime=time.strftime)
    clock.monotonic = clock.perf_counter = lambda: clock.now
    for name in ("signals", "training.session", "training.callbacks", "training.checkpoint_callbacks"):
        monkeypatch.setattr(f"podium.{name}.time", clock)
    return clock


def test_time_limit_stops_early_enough_to_validate_and_to_save(tmp_path, monkeypatch, clock):
    """A step takes ten seconds, a validation thirty."""

    class Slow(LineTask):
        def validate(self, model, stage):
            clock.now += 30
            return super().validate(model, stage)

    def step(batch, logs=None):
        clock.now += 10

    watch(monkeypatch, keras.callbacks.LambdaCallback(on_train_batch_end=step))
    told = r"--time-limit 3m20s: stopped at stage one, epoch 3 of 3, after step 3;"
    with pytest.raises(StoppedError, match=told):
        fit(started(tmp_path), STAGES, Slow(), stop_condition=StopCondition(time_limit=200))
    assert clock.now == 2 * (4 * 10 + 30) + 3 * 10  # one more step and the validation after it would end at 210


def test_at_least_one_step_is_done_however_short_the_time(tmp_path, clock):
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


def test_learning_rate_set_on_the_way_holds_from_the_next_step(tmp_path, monkeypatch):
    run, rates, stages = started(tmp_path), Rates(), [stage(epochs=2, learning_rate=0.1)]
    watch(monkeypatch, rates, Stop(STEPS + 2, lambda: ask(run.path, 1e-3)))
    fit(run, stages)
    assert rates.seen == pytest.approx([0.1] * (STEPS + 2) + [1e-3] * 2)
    table = pd.read_csv(run.history, keep_default_na=False)
    assert list(table["learning_rate"]) == pytest.approx([0.1, 1e-3])
    assert list(table["changes"]) == ["", "learning_rate 0.1 -> 0.001 (after step 2)"]
    (change,) = read_changes(run.path)
    assert (change.position, change.before, change.after, change.by) == ((0, 1, 2), 0.1, 1e-3, "set")
    assert run.state["changes"] == 1


@pytest.mark.parametrize("schedule", ["constant", {"kind": "plateau", "patience": 9}, "cosine"])
def test_learning_rate_that_was_set_survives_a_stop(schedule, tmp_path, monkeypatch):
    stages = [stage(epochs=3, optimizer="Adam", schedule=schedule)]
    whole, run = started(tmp_path / "whole"), started(tmp_path / "broken")
    with monkeypatch.context() as patch:
        watch(patch, Stop(STEPS + 2, lambda: ask(whole.path, 1e-3)))
        fit(whole, stages)
    with monkeypatch.context() as patch:
        watch(patch, Stop(STEPS + 2, lambda: ask(run.path, 1e-3)))
        stopped(run, stages, 2 * STEPS + 1)
    seen = rates_of(run, stages, monkeypatch)
    assert len(seen) == STEPS - 1
    assert max(seen) <= 1.0001e-3
    assert_same_end(run, whole)


def test_change_is_made_again_at_its_step_when_an_earlier_state_is_gone_back_to(tmp_path, monkeypatch):
    stages = [stage(epochs=2)]
    whole, run = started(tmp_path / "whole"), started(tmp_path / "broken")
    with monkeypatch.context() as patch:
        watch(patch, Stop(STEPS + 2, lambda: ask(whole.path, 1e-3)))
        fit(whole, stages)
    stopped(run, stages, STEPS + 1)
    # What a process leaves that noted the change, acted on it, and was killed before it saved.
    write_changes(run.path, read_changes(whole.path))
    seen = rates_of(run, stages, monkeypatch)
    assert seen == pytest.approx([0.1, 1e-3, 1e-3])
    assert_same_end(run, whole)


def test_request_that_was_noted_already_is_not_made_twice(tmp_path, monkeypatch):
    run, stages = started(tmp_path), [stage(epochs=2)]
    stopped(run, stages, STEPS + 1)
    path = ask(run.path, 1e-3)
    write_changes(run.path, [Change(0, 1, 2, "learning_rate", 0.1, 1e-3, "set", "then", path.stem)])
    assert rates_of(run, stages, monkeypatch) == pytest.approx([0.1, 1e-3, 1e-3])
    assert len(read_changes(run.path)) == 1
    assert not path.exists()


def test_request_after_the_last_step_changes_nothing_and_says_so(tmp_path, monkeypatch):
    run, log = started(tmp_path), StringIO()
    watch(monkeypatch, Stop(STEPS, lambda: ask(run.path, 1e-3)))
    fit(run, [stage(epochs=1)], console=Console(file=log, width=200))
    assert "learning_rate 0.001 was asked for after the last step: nothing changed" in log.getvalue()
    assert not read_changes(run.path)


def test_request_that_was_made_in_the_stage_before_is_not_taken_for_this_one(tmp_path, monkeypatch):
    run, log, rates = started(tmp_path), StringIO(), Rates()
    stages = [stage("head", epochs=1, learning_rate=0.1), stage("all", epochs=1, learning_rate=0.01)]
    watch(monkeypatch, rates, Stop(STEPS, lambda: ask(run.path, 0.5, "head")))
    fit(run, stages, console=Console(file=log, width=200))
    assert rates.seen == pytest.approx([0.1] * STEPS + [0.01] * STEPS)
    assert "learning_rate 0.5 was asked for in stage head: not changed" in log.getvalue()


def test_request_of_a_stopped_run_holds_from_its_first_step(tmp_path, monkeypatch):
    run, stages = started(tmp_path), [stage(epochs=2)]
    stopped(run, stages, STEPS + 1)
    ask(run.path, 1e-3)
    assert rates_of(run, stages, monkeypatch) == pytest.approx([1e-3] * 3)


def test_plateau_goes_down_from_the_rate_that_was_set(tmp_path, monkeypatch):
    run, plateau = started(tmp_path), {"kind": "plateau", "patience": 1, "factor": 0.5}
    watch(monkeypatch, Stop(1, lambda: ask(run.path, 0.02)))
    fit(run, [stage(epochs=4, schedule=plateau)], LineTask(errors=[1.0] * 4))
    assert list(pd.read_csv(run.history)["learning_rate"]) == pytest.approx([0.02, 0.02, 0.01, 0.005])


def test_schedule_goes_on_from_the_rate_that_was_set(tmp_path, monkeypatch):
    run, rates = started(tmp_path), Rates()
    watch(monkeypatch, rates, Stop(STEPS, lambda: ask(run.path, 0.01)))
    fit(run, [stage(epochs=2, learning_rate=0.1, schedule="cosine")])
    expected = [rate * (1 + np.cos(np.pi * step / 8)) / 2 for step, rate in enumerate([0.1] * 4 + [0.01] * 4)]
    assert rates.seen == pytest.approx(expected, rel=1e-5)


# Other changes of a stage under way


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


def test_more_epochs_go_on_as_if_they_had_been_asked_for_from_the_beginning(tmp_path):
    run = started(tmp_path / "broken")
    stopped(run, [stage(epochs=3)], 2 * STEPS + 1)
    fit(run, [stage(epochs=5)])
    assert_same_end(run, trained(tmp_path / "whole", [stage(epochs=5)]))


def test_fewer_epochs_end_the_stage_at_once(tmp_path):
    run = started(tmp_path)
    stopped(run, [stage(epochs=5)], 2 * STEPS + 1)
    fit(run, [stage(epochs=2)])
    assert run.is_trained
    assert len(pd.read_csv(run.history)) == 2


def test_more_patience_goes_on_with_a_stage_that_ended_early(tmp_path):
    errors = [1.0, 2.0, 3.0, 0.5]
    run, stages = started(tmp_path), [stage("one", epochs=4, early_stopping=2), stage("two", epochs=1)]
    stopped(run, stages, 3 * STEPS + 1, LineTask(errors=errors[:3]))
    assert run.state["stage"] == "two"
    again = started(tmp_path / "again")
    told = stopped(again, [stages[0]], 3 * STEPS, LineTask(errors=errors[:3]))
    assert "epoch 4 of 4" in told
    fit(again, [stages[0].model_copy(update={"early_stopping": 3})], LineTask(errors=errors[3:]))
    assert again.state["best"]["epoch"] == 3


def test_a_stage_may_be_added_to_a_trained_run(tmp_path):
    one, two = stage("one", epochs=2), stage("two", epochs=2, image_size=32)
    run = trained(tmp_path / "broken", [one])
    fit(run, [one, two])
    assert_same_end(run, trained(tmp_path / "whole", [one, two]))


def test_diverged_training_goes_on_from_what_was_saved_with_a_lower_rate(tmp_path):
    run = started(tmp_path)
    stages = [stage("good"), stage("bad", learning_rate=1e30)]
    with pytest.raises(TrainingDivergedError, match=r"--set stages\.1\.learning_rate=1e\+29 --resume goes on from"):
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
    saved = CheckpointStore(run.path).newest(Console(quiet=True))
    assert saved.progress.step == 1


def test_normalization_works_with_its_saved_statistics(tmp_path):
    """As EfficientNet's does, which keeps copies of its variables that assigning them does not reach."""

    def build():
        signals = keras.Input((4,))
        inner = keras.Model(signals, keras.layers.Normalization()(signals))
        return keras.Model(signals, inner(signals))

    signals = np.random.default_rng(0).normal(5, 3, (32, 4)).astype("float32")
    model, again = build(), build()
    model.layers[-1].layers[-1].adapt(signals)
    arrays = {f"model/{number:05d}": np.array(variable) for number, variable in enumerate(model.variables)}
    take_up_model(again, Checkpoint(tmp_path, Progress(seed=0), arrays))
    np.testing.assert_array_equal(again(signals), model(signals))
    assert abs(np.array(again(signals)).mean()) < 0.01
