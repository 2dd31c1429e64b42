"""The range test on a regression line."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from line_task import LineTask, stage, started
from rich.console import Console

from podium.config.mixing import Mix
from podium.config.stage import TrainingSettings
from podium.data.mixing import Mixing
from podium.errors import StoppedError
from podium.options import RunOptions
from podium.runs import Run
from podium.training import range_test
from podium.training.range_test import measure_losses, train_one_epoch

QUIET = Console(quiet=True)


@dataclass
class Trial:
    run: Run
    settings: TrainingSettings
    options: RunOptions = field(default_factory=RunOptions)
    tasks: list = field(default_factory=list)

    def task(self, console):
        self.tasks.append(LineTask())
        return self.tasks[-1]


def trial(folder, *stages):
    return Trial(started(folder), TrainingSettings(stages=list(stages), precision="float32"))


def test_losses_of_rising_rates_end_when_they_diverge(tmp_path, monkeypatch):
    """The loss of the line is quadratic: it falls fastest near 0.5 and diverges above 1."""
    rates, seen = np.geomspace(1e-4, 100, 120).tolist(), []

    class Watched(range_test._RangeTest):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(float(self.model.optimizer.learning_rate))
            super().on_train_batch_end(batch, logs)

    monkeypatch.setattr(range_test, "_RangeTest", Watched)
    one = trial(tmp_path, stage())
    losses = measure_losses(one, 0, rates, QUIET)
    assert seen == pytest.approx(rates[: len(losses)], rel=1e-5)
    assert 60 < len(losses) < 120
    assert losses[-1] > losses[0] > 10 * min(losses)
    assert 0.05 < rates[int(np.argmin(losses))] < 3
    assert set(one.tasks[0].made[0].epochs_seen) >= set(range(len(losses) // 4))  # four steps each
    assert not one.run.checkpoints


def test_later_stage_is_tested_on_the_weights_of_the_ones_before(tmp_path):
    one = trial(tmp_path, stage("one", epochs=9), stage("two", image_size=32))
    train_one_epoch(one, 0, QUIET)
    assert one.run.state["epochs"] == 1
    first, _, _, _ = measure_losses(one, 1, [1e-9] * 4, QUIET)
    untrained, _, _, _ = measure_losses(trial(tmp_path / "new", stage()), 0, [1e-9] * 4, QUIET)
    assert first < untrained


def test_request_to_stop_ends_the_test(tmp_path):
    one = trial(tmp_path, stage())
    one.options.stop_condition.request("SIGINT")
    with pytest.raises(StoppedError, match="SIGINT: stopped before the range test ended; nothing was written"):
        measure_losses(one, 0, [1e-9] * 4, QUIET)


def test_all_batches_of_the_test_may_be_mixed(tmp_path):
    """A loss that falls because the mixing of the stage has ended would hide that the rate is too high."""
    one = trial(tmp_path, stage(epochs=2, mixup=1.0, plain_epochs=1))

    class Mixed(LineTask):
        def batches(self, number, stage):
            batches = super().batches(number, stage)
            batches.mixing = Mixing(Mix(alpha=1.0, probability=1e-9), None, epochs=1)
            return batches

    one.task = lambda console: one.tasks.append(Mixed()) or one.tasks[-1]
    measure_losses(one, 0, [1e-9] * 22, QUIET)
    (batches,) = one.tasks[0].made
    assert batches.mixing.epochs > max(batches.epochs_seen) >= 5
