"""The trainer's callbacks: Keras's own, and the few that tie them to a run folder."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from podium.changes import LEARNING_RATE, Change, forget_request, merged, requests, write_changes
from podium.config.stage import Plateau, Stage
from podium.data.batches import EpochBatches
from podium.errors import TrainingDivergedError
from podium.training.progress import spell_position
from podium.training.saves import SavedState
from podium.training.schedules import rate_at
from podium.training.session import SPARE_SECONDS, Session, take_up_metrics
from podium.training.task import Task

Logs = dict[str, Any] | None

COUNTERS = ("best", "wait", "cooldown_counter")
"""What Keras's callbacks count over epochs."""


def stage_callbacks(session: Session, number: int, stage: Stage, batches: EpochBatches) -> list[Any]:
    """In the order in which an epoch's end needs them: figures, those who act on them, those who tell and save.

    What counts over epochs goes on from the counters of the session's progress.
    """
    task, progress = session.task, session.progress
    session.saves.folder.mkdir(exist_ok=True)
    checkpoint = PlainCheckpoint(
        task,
        session.saves.folder / ".writing-best.weights.h5",
        monitor=task.monitor,
        mode=task.mode,
        save_best_only=True,
        save_weights_only=True,
        initial_value_threshold=progress.best["score"] if progress.best else None,
    )
    averages = Averages() if stage.optimizer.arguments.get("use_ema") else None
    rates = RateChanges(session, stage, batches)
    counting: dict[str, Any] = {}
    if isinstance(stage.schedule, Plateau):
        plateau = stage.schedule
        counting["plateau"] = keras.callbacks.ReduceLROnPlateau(
            monitor=task.monitor,
            mode=task.mode,
            factor=plateau.factor,
            patience=plateau.patience,
            min_lr=plateau.minimum,
            min_delta=0.0,
        )
    if stage.early_stopping is not None:
        counting["early_stopping"] = keras.callbacks.EarlyStopping(
            monitor=task.monitor, mode=task.mode, patience=stage.early_stopping
        )
    callbacks = [
        EpochNumber(batches),
        Divergence(session, number, stage),
        averages,
        Validation(session, number, stage),
        checkpoint,
        BestWeights(session, checkpoint, number, stage),
        averages and averages.put_back,
        rates,
        None if isinstance(stage.schedule, Plateau) else StepwiseScheduler(rates),
        *counting.values(),
        HistoryLog(session, number, stage),
        keras.callbacks.TensorBoard(session.run.path / "tensorboard" / f"{number}-{stage.name}")
        if session.tensorboard
        else None,
        ProgressReport(stage, batches, session.console),
        StateSaver(session, stage, batches, counting),
    ]
    return [callback for callback in callbacks if callback is not None]


class EpochNumber(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells the batches which epoch it is, before Keras asks for the first of them."""

    def __init__(self, batches: EpochBatches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._batches.epoch = epoch


class Divergence(keras.callbacks.TerminateOnNaN):  # type: ignore[misc]
    """Keras's, which ends the epoch at once; then an error that names the learning rate, before anything is saved."""

    def __init__(self, session: Session, number: int, stage: Stage) -> None:
        super().__init__()
        self._session, self._number, self._stage = session, number, stage

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if math.isfinite((logs or {}).get("loss", 0.0)):
            return
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        raise TrainingDivergedError(
            f"the loss became {logs and logs['loss']} in stage {self._stage.name}, epoch {epoch + 1}, at the learning"
            f" rate {rate:.3g}; a training that converges keeps it finite: lower stages.{self._number}.learning_rate"
            f" (--set stages.{self._number}.learning_rate={rate / 10:.3g}"
            + (" --resume goes on from what was saved)" if self._session.run.saved_states else ")")
        )


class PlainCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Keras's, but of the weights alone: an optimizer's moments would make the file three times as large."""

    def __init__(self, task: Task, path: Path, **arguments: Any) -> None:
        super().__init__(path, **arguments)
        self._task = task

    def set_model(self, model: Any) -> None:
        super().set_model(self._task.plain(model))


class Averages(keras.callbacks.Callback):  # type: ignore[misc]
    """Where the optimizer keeps moving averages (`use_ema`), they are what is validated and kept as best.

    The model has them from here until `put_back`, the callback that comes after those; then it trains on as it was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.put_back = PutBack(self)
        self.raw: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.raw = [keras.ops.convert_to_numpy(weight) for weight in self.model.trainable_weights]
        self.model.optimizer.finalize_variable_values(self.model.trainable_weights)


class PutBack(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, averages: Averages) -> None:
        super().__init__()
        self._averages = averages

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        for weight, raw in zip(self.model.trainable_weights, self._averages.raw, strict=True):
            weight.assign(raw)

    def on_train_end(self, logs: Logs = None) -> None:
        """Keras ends `fit` with the averages in the model; an epoch that was broken off has a `fit` of its own."""
        self.on_epoch_end(0)


class Validation(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds the task's own figures to the epoch's, in one pass over the validation rows."""

    def __init__(self, session: Session, number: int, stage: Stage) -> None:
        super().__init__()
        self._session, self._number, self._stage = session, number, stage
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        assert logs is not None
        began, task = time.perf_counter(), self._session.task
        logs.update(task.validate(self.model, self._stage))
        ended = time.perf_counter()
        self._session.progress.seconds_a_picture = (ended - began) / max(task.validation_count, 1)
        logs["seconds"] = round(ended - self._began, 2)


class BestWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps what ModelCheckpoint has saved, beside the best weights before it, and notes which epoch it was."""

    def __init__(self, session: Session, checkpoint: PlainCheckpoint, number: int, stage: Stage) -> None:
        super().__init__()
        self._session, self._checkpoint = session, checkpoint
        self._number, self._stage = number, stage

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        saved = Path(self._checkpoint.filepath)
        if not saved.is_file():
            return
        task = self._session.task
        self._session.progress.best = {
            "stage": self._stage.name,
            "epoch": epoch,
            "monitor": task.monitor,
            "score": float(self._checkpoint.best),
            "image_size": self._stage.image_size,
            **self._session.saves.keep_best(saved, self._number, epoch, task.report),
        }


class RateChanges(keras.callbacks.Callback):  # type: ignore[misc]
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
        for name, rate, at in requests(run.path):
            # Noted in the file first: a kill in between leaves both, and the note counts.
            if all(change.request != name for change in progress.changes):
                before = progress.learning_rate(self._stage)
                change = Change(*progress.position, LEARNING_RATE, before, rate, "set", at, name)
                progress.changes = merged(progress.changes, [change])
                self._ahead = merged(self._ahead, [change])
                write_changes(run.path, progress.changes)
                self._session.console.print(
                    f"  {change}, as asked, from {spell_position(self._stage, progress)} on", highlight=False
                )
            forget_request(run.path, name)


class StepwiseScheduler(keras.callbacks.LearningRateScheduler):  # type: ignore[misc]
    """Keras's LearningRateScheduler, which also moves along within an epoch."""

    def __init__(self, rates: RateChanges) -> None:
        super().__init__(lambda epoch, _: rate_at(rates.stage, epoch))
        self._rates = rates

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.model.optimizer.learning_rate = self._rates.rate()


class HistoryLog(keras.callbacks.Callback):  # type: ignore[misc]
    """A row of history.csv for every epoch, with what was changed in it."""

    def __init__(self, session: Session, number: int, stage: Stage) -> None:
        super().__init__()
        self._session, self._number, self._stage = session, number, stage

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        progress = self._session.progress
        # Without the seconds: a run that was stopped and went on has the same history as one that was not.
        figures = {name: float(value) for name, value in (logs or {}).items() if name != "seconds"}
        changed = "; ".join(
            f"{change} (after step {change.step})" if change.step else str(change)
            for change in progress.changes_of(self._number, epoch)
        )
        progress.history.append({"epoch": epoch, **figures, "stage": self._stage.name, "changes": changed})
        self._session.write_history()


class StateSaver(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps count of where the training stands, saves it, and stops it when asked to."""

    def __init__(self, session: Session, stage: Stage, batches: EpochBatches, counting: Mapping[str, Any]) -> None:
        """`counting` are the callbacks with counters of their own, by name."""
        super().__init__()
        self._session, self._stage, self._batches, self._counting = session, stage, batches, counting
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
        reason = self._session.stopping.reason(self._seconds_of_the_next_step())
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
        self._batches.go_on_after(0, 0)
        self._save()
        is_last = self.model.stop_training or progress.epoch >= self._stage.epochs
        self._session.stop_if_asked(self._stage, 0.0 if is_last else self._seconds_of_the_next_step())

    def _save(self) -> None:
        self._session.save(self.model, self._stage, self._batches.steps)
        self._saved_at = time.perf_counter()

    def _note_step(self, seconds: float) -> None:
        """The slowest lately. The first step also makes the graph, so it counts only until there is a second."""
        pace = self._session.pace
        self._steps_here += 1
        pace.step = seconds if self._steps_here <= 2 else max(seconds, 0.95 * pace.step)

    def _seconds_of_the_next_step(self) -> float:
        """With all that follows it before the training can stop again."""
        needed = self._session.pace.step + self._session.seconds_to_save(self.model) + SPARE_SECONDS
        if self._session.progress.step + 1 >= self._batches.steps:
            needed += self._session.seconds_to_validate(self._stage)
        return needed


class TakeUpMetrics(keras.callbacks.Callback):  # type: ignore[misc]
    """The epoch's running loss and accuracy go on where the saved state has them."""

    def __init__(self, saved: SavedState, task: Task, batches: EpochBatches) -> None:
        super().__init__()
        self._saved, self._task, self._batches = saved, task, batches

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Keras has just set them to nothing. Some have no variables before they have seen a batch."""
        pictures, targets = self._batches[0]
        self.model.compute_metrics(pictures, targets, self.model(pictures, training=False))
        take_up_metrics(self.model, self._saved)


class ProgressReport(keras.callbacks.Callback):  # type: ignore[misc]
    """A bar with the time left on a terminal; in a log, a line an epoch."""

    def __init__(self, stage: Stage, batches: EpochBatches, console: Console) -> None:
        super().__init__()
        self._stage, self._batches, self._console = stage, batches, console
        self._bar: Progress | None = None
        self._task_id: TaskID | None = None
        self._seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self._console.is_terminal and self._bar is None:
            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            total, done = (epochs * self._batches.steps for epochs in (self._stage.epochs, epoch))
            self._task_id = self._bar.add_task(
                self._stage.name, total=total, completed=done + self._batches.steps_before
            )
            self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._bar and self._task_id is not None:
            self._bar.advance(self._task_id)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        figures = " ".join(
            f"{name} {value:.4f}" for name, value in (logs or {}).items() if name not in ("seconds", "learning_rate")
        )
        logs = logs or {}
        done = epoch + 1
        self._seconds.append(logs["seconds"])
        left = sum(self._seconds) / len(self._seconds) * (self._stage.epochs - done)
        self._console.print(
            f"  {self._stage.name} {done}/{self._stage.epochs}  {figures}  lr {logs.get('learning_rate', 0):.2e}"
            f"  {logs['seconds']:.1f} s" + (f", {spell_seconds(left)} left" if left >= 1 else ""),
            highlight=False,
        )

    def on_train_end(self, logs: Logs = None) -> None:
        self.close()

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None


def spell_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
