"""The learning rate on the way: its schedule at every step, and changes of it, each from its position on."""

from typing import Any

import keras

from podium.changes import LEARNING_RATE, Change, forget_request, merged, requests, write_changes
from podium.config.stage import Stage
from podium.data.batches import EpochBatches
from podium.training.schedules import rate_at
from podium.training.session import Session
from podium.training.training_progress import spell_position

Logs = dict[str, Any] | None


class RateChanges(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Changes of the learning rate, each from its position on: those on record, and those that are asked for now.

    `stage` is the stage with the learning rate of the moment, from which its schedule goes on.
    """

    def __init__(self, session: Session, stage: Stage, batches: EpochBatches) -> None:
        super().__init__()
        self._session, self._stage, self._batches = session, stage, batches
        self.stage = self._of_the_moment()
        progress = session.progress
        self._ahead = [
            change
            for change in progress.changes
            if change.stage == progress.stage
            and change.position >= progress.position
            and change.key in (LEARNING_RATE, "schedule")
        ]

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._take_up_requests()
        position = self._session.progress.position
        due = [change for change in self._ahead if change.position <= position]
        if due:
            self._ahead = self._ahead[len(due) :]
            self.stage = self._of_the_moment()
            self.model.optimizer.learning_rate = self.rate()

    def rate(self) -> float:
        """What the schedule makes of the learning rate at this step."""
        progress = self._session.progress
        return rate_at(self.stage, progress.epoch + progress.step / self._batches.steps)

    def _of_the_moment(self) -> Stage:
        return self._stage.model_copy(update={"learning_rate": self._session.progress.learning_rate(self._stage)})

    def _take_up_requests(self) -> None:
        run, progress = self._session.run, self._session.progress
        for request in requests(run.path):
            if request.stage not in (None, self._stage.name):
                self._tell(
                    f"learning_rate {request.learning_rate:g} was asked for in stage {request.stage}: not changed"
                )
            # Noted in the file first: a kill in between leaves both, and the note counts.
            elif all(change.request != request.name for change in progress.changes):
                before = progress.learning_rate(self._stage)
                change = Change(
                    *progress.position, LEARNING_RATE, before, request.learning_rate, "set", request.at, request.name
                )
                progress.changes = merged(progress.changes, [change])
                self._ahead = merged(self._ahead, [change])
                write_changes(run.path, progress.changes)
                self._tell(f"{change}, as asked, from {spell_position(self._stage, progress)} on")
            forget_request(run.path, request.name)

    def _tell(self, text: str) -> None:
        self._session.console.print(f"  {text}", highlight=False)


class StepwiseScheduler(keras.callbacks.LearningRateScheduler):  # type: ignore[misc]  # Keras has no types
    """Keras's LearningRateScheduler, which also moves along within an epoch."""

    def __init__(self, rates: RateChanges) -> None:
        super().__init__(lambda epoch, _: rate_at(rates.stage, epoch))
        self._rates = rates

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.model.optimizer.learning_rate = self._rates.rate()
