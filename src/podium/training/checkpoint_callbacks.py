"""The callbacks that save where a training stands, stop it when asked to, and take up an epoch in its middle."""

import time
from collections.abc import Mapping
from typing import Any

import keras

from podium.config.stage import Stage
from podium.data.batches import EpochBatches
from podium.models import devices
from podium.training.checkpoints import Checkpoint
from podium.training.model_state import take_up_metrics
from podium.training.session import SPARE_SECONDS, Session
from podium.training.task import StageSetup

Logs = dict[str, Any] | None

COUNTERS = ("best", "wait", "cooldown_counter")
"""What Keras's callbacks count over epochs."""


class StateSaver(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps count of where the training stands, saves it, and stops it when asked to."""

    def __init__(self, session: Session, stage: Stage, learner: StageSetup, counting: Mapping[str, Any]) -> None:
        """`counting` are the callbacks with counters of their own, by name."""
        super().__init__()
        self._session, self._stage, self._learner, self._counting = session, stage, learner, counting
        self._batches = learner.batches
        self._saved_at = self._step_began = time.perf_counter()
        self._steps_here = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        """Keras has just set them to their beginnings."""
        for name, counters in self._session.progress.counters.items():
            if name in self._counting:
                vars(self._counting[name]).update(counters)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._step_began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        progress, now = self._session.progress, time.perf_counter()
        progress.step = self._batches.steps_before + batch + 1
        progress.rows = self._batches.rows_after(progress.step)
        self._note_step(now - self._step_began)
        # The last step is saved with the epoch's end, and a loss that is not finite ends the training.
        if progress.step == self._batches.steps or self.model.stop_training:
            return
        reason = self._session.stop_condition.reason(self._seconds_of_the_next_step())
        if reason or now - self._saved_at >= self._session.save_every:
            self._save()
        if reason:
            self._session.stop(reason, self._stage)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        progress = self._session.progress
        progress.epoch, progress.step, progress.rows = epoch + 1, 0, 0
        progress.counters = {
            name: {counter: vars(callback)[counter] for counter in COUNTERS if counter in vars(callback)}
            for name, callback in self._counting.items()
        }
        self._batches.resume_after(0, 0)
        self._save()
        is_last = self.model.stop_training or progress.epoch >= self._stage.epochs
        self._session.stop_if_asked(self._stage, 0.0 if is_last else self._seconds_of_the_next_step())

    def _save(self) -> None:
        self._session.save(self._learner, self._stage, self._batches.steps)
        self._saved_at = time.perf_counter()

    def _note_step(self, seconds: float) -> None:
        """The slowest lately. The first step also makes the graph, so it counts only until there is a second."""
        pace, progress = self._session.pace, self._session.progress
        self._steps_here += 1
        if self._steps_here == 1:
            progress.seconds_of_a_first_step = max(progress.seconds_of_a_first_step, seconds)
        pace.step = seconds if self._steps_here <= 2 else max(seconds, 0.95 * pace.step)

    def _seconds_of_the_next_step(self) -> float:
        """With all that follows it before the training can stop again."""
        needed = self._session.pace.step + self._session.seconds_to_save(self._learner) + SPARE_SECONDS
        if self._session.progress.step + 1 >= self._batches.steps:
            needed += self._session.seconds_to_validate(self._stage)
        return needed


class TakeUpMetrics(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """The epoch's running loss and accuracy go on where the checkpoint has them."""

    def __init__(self, saved: Checkpoint, batches: EpochBatches) -> None:
        super().__init__()
        self._saved, self._batches = saved, batches

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Keras has just set them to nothing. Some have no variables before they have seen a batch, those of a model's
        several losses too; on several devices Keras has shown them one already."""
        if not devices.are_several(self.model):
            images, targets = self._batches[0]
            answers = self.model(images, training=False)
            self.model.compute_metrics(images, targets, answers)
            self.model.compute_loss(images, targets, answers, None)
        take_up_metrics(self.model, self._saved)
