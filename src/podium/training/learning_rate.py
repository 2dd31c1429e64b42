"""The learning rate: its schedule at every step, and changes requested with `podium set` or made by resuming."""

import math
from typing import Any

import keras

from podium.changes import LEARNING_RATE, Change, delete_request, merge_changes, pending_requests, write_changes
from podium.config.stage import Cosine, Exponential, OneCycle, Plateau, Stage, Step
from podium.training.session import StageRun


def scheduled_rate(stage: Stage, peak: float, epochs_done: float) -> float:
    """The learning rate after this many epochs of the stage, for a schedule that starts at or rises to `peak`.

    Exponential and step change between epochs, cosine and one-cycle at every step. Plateau is Keras's
    ReduceLROnPlateau, and this returns only its initial value.
    """
    schedule = stage.schedule
    if isinstance(schedule, Exponential):
        return float(peak * schedule.decay ** math.floor(epochs_done))
    if isinstance(schedule, Step):
        return float(peak * schedule.factor ** (math.floor(epochs_done) // schedule.every))
    if isinstance(schedule, Cosine):
        # A dry run shortens stages.
        warmup = schedule.warmup_epochs if schedule.warmup_epochs < stage.epochs else stage.epochs / 2
        if epochs_done < warmup:
            return peak * max(epochs_done / warmup, 0.01)
        return _cosine(peak, peak * schedule.final, (epochs_done - warmup) / (stage.epochs - warmup))
    if isinstance(schedule, OneCycle):
        top = stage.epochs * schedule.warmup
        if epochs_done < top:
            return _cosine(peak / schedule.start, peak, epochs_done / top)
        return _cosine(peak, peak / schedule.end, (epochs_done - top) / (stage.epochs - top))
    return peak


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


class LearningRate(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Sets the optimizer's learning rate before every step; with a plateau schedule, only when it was changed."""

    def __init__(self, stage_run: StageRun) -> None:
        super().__init__()
        self._session, self._stage, self._batches = stage_run.session, stage_run.stage, stage_run.setup.batches
        self._next = self._session.progress.position
        """The first position whose changes are not yet applied."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._accept_requests()
        if not isinstance(self._stage.schedule, Plateau) or self._has_changed():
            progress = self._session.progress
            self.model.optimizer.learning_rate = scheduled_rate(
                self._stage, progress.learning_rate(self._stage), progress.epoch + progress.step / self._batches.steps
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _has_changed(self) -> bool:
        progress = self._session.progress
        first, self._next = self._next, (progress.stage, progress.epoch, progress.step + 1)
        return any(
            change.key in (LEARNING_RATE, "schedule") and first <= change.position <= progress.position
            for change in progress.changes
        )

    def _accept_requests(self) -> None:
        run, progress = self._session.run, self._session.progress
        for request in pending_requests(run.path):
            if request.stage not in (None, self._stage.name):
                self._print(f"learning_rate {request.learning_rate:g} was requested for stage {request.stage}: ignored")
            # The file is written first: if the process is killed in between, both exist, and the file counts.
            elif all(change.request != request.name for change in progress.changes):
                change = Change(
                    *progress.position,
                    LEARNING_RATE,
                    progress.learning_rate(self._stage),
                    request.learning_rate,
                    "set",
                    request.at,
                    request.name,
                )
                progress.changes = merge_changes(progress.changes, [change])
                write_changes(run.path, progress.changes)
                self._print(f"{change}, as requested, from {progress.describe(self._stage)} on")
            delete_request(run.path, request.name)

    def _print(self, text: str) -> None:
        self._session.console.print(f"  {text}", highlight=False)
