"""The learning rate range test of a stage: the loss of each step while the rate rises exponentially."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
from rich.console import Console

from podium.config.stage import Constant
from podium.data.batches import EpochBatches
from podium.errors import StoppedError
from podium.models import devices
from podium.progress import Advance, progress_bar
from podium.training.run_training import Trainable
from podium.training.session import Session
from podium.training.trainer import build_model, compile_stage, load_best_weights, train

SMOOTHING = 0.9
"""Of the running mean of the loss that ends the test."""
DIVERGED = 4.0
"""The test ends when the loss is this many times its lowest value, and above its first."""


def measure_losses(trial: Trainable, number: int, rates: Sequence[float], console: Console) -> list[float]:
    """The losses at these rates until they diverge, from the best weights in the run folder or the pretrained ones.

    The features of a frozen backbone are not cached: a test needs only some of the images.
    """
    session = _open(trial, console)
    stage = trial.settings.stages[number]
    stage = stage.model_copy(update={"views": stage.epochs if stage.unfreeze.is_none else None})
    task, progress = session.task, session.progress
    with session.options.stop_condition.defer_signals():
        model = build_model(task, stage, progress.seed, progress.precision, pretrained=progress.best is None)
        if progress.best:
            load_best_weights(session, model)
        progress.start_stage(number, stage)
        task.unfreeze(model, stage)
        with (
            session.explain_full_memory(number, stage),
            progress_bar(console, stage.name, len(rates)) as advance,
        ):
            setup = compile_stage(session, model, number, stage)
            test = _RangeTest(rates, setup.batches, session, advance)
            with devices.training_dataset(setup.model, setup.batches) as dataset:
                epochs = math.ceil(len(rates) / len(setup.batches))
                if setup.batches.mixing:  # all images, or the loss falls where the mixing ends
                    setup.batches.mixing = replace(setup.batches.mixing, epochs=epochs)
                setup.model.fit(dataset, epochs=epochs, callbacks=[test], shuffle=False, verbose=0)
    return test.losses


def train_one_epoch(trial: Trainable, number: int, console: Console) -> None:
    """Train one epoch of each stage up to this one, so that the next is tested on weights much like its own."""
    changes = {"epochs": 1, "schedule": Constant(kind="constant"), "views": None}
    stages = [stage.model_copy(update=changes) for stage in trial.settings.stages[: number + 1]]
    train(_open(trial, console), stages)


def _open(trial: Trainable, console: Console) -> Session:
    settings = trial.settings.model_copy(update={"tensorboard": False})
    task = trial.task(Console(quiet=True))
    return Session.open(trial.run, task, settings, trial.options, console, lambda: trial.precision_on_cpu(console))


class _RangeTest(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Sets the rate of every step, and records the loss of each."""

    def __init__(self, rates: Sequence[float], batches: EpochBatches, session: Session, advance: Advance) -> None:
        super().__init__()
        self._rates, self._batches, self._session, self._advance = rates, batches, session, advance
        self._mean, self._lowest = 0.0, math.inf
        self.losses: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.reset_metrics()  # Keras reports the mean loss since then
        self.model.optimizer.learning_rate = self._rates[len(self.losses)]

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        self.losses.append(float(logs["loss"]))
        self._advance(1, f"rate {self._rates[len(self.losses) - 1]:.1e}  loss {self.losses[-1]:.4f}")
        if reason := self._session.options.stop_condition.reason(0.0):
            raise StoppedError(f"{reason}: stopped before the range test ended; nothing was written")
        if self._has_diverged() or len(self.losses) == len(self._rates):
            self.model.stop_training = True

    def _has_diverged(self) -> bool:
        loss, steps = self.losses[-1], len(self.losses)
        if not math.isfinite(loss):
            return True
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * loss
        mean = self._mean / (1 - SMOOTHING**steps)
        self._lowest = min(self._lowest, mean)
        return mean > max(DIVERGED * self._lowest, self.losses[0])
