"""The trainer's callbacks: Keras's own, and the few that tie them to a run folder."""

import math
import time
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from podium.config.stage import Plateau, Stage
from podium.console import is_notebook
from podium.data.batches import EpochBatches
from podium.errors import TrainingDivergedError
from podium.files import check_free_space
from podium.notebook import NotebookProgress
from podium.progress import format_seconds
from podium.training.checkpoint_callbacks import StateSaver
from podium.training.model_state import weights_file_size
from podium.training.rates import RateChanges, StepwiseScheduler
from podium.training.session import Session
from podium.training.task import StageSetup, SupportsCharts

Logs = dict[str, Any] | None


def stage_callbacks(session: Session, number: int, stage: Stage, learner: StageSetup) -> list[Any]:
    """In the order in which an epoch's end needs them: figures, those who act on them, those who tell and save.

    What counts over epochs goes on from the counters of the session's progress.
    """
    task, progress, batches = session.task, session.progress, learner.batches
    session.saves.folder.mkdir(exist_ok=True)
    checkpoint = PlainCheckpoint(
        task.plain(learner.whole),
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
        StepLosses(session, batches) if isinstance(task, SupportsCharts) else None,
        Divergence(session, number, stage),
        averages,
        Validation(session, learner, stage),
        checkpoint,
        BestWeights(session, checkpoint, number, stage),
        averages and averages.put_back,
        rates,
        None if isinstance(stage.schedule, Plateau) else StepwiseScheduler(rates),
        *counting.values(),
        HistoryLog(session, number, stage),
        Charts(session, task) if isinstance(task, SupportsCharts) else None,
        keras.callbacks.TensorBoard(session.run.path / "tensorboard" / f"{number}-{stage.name}")
        if session.tensorboard
        else None,
        ProgressReport(stage, batches, session.console),
        StateSaver(session, stage, learner, counting),
    ]
    return [callback for callback in callbacks if callback is not None]


class StepLosses(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """The loss of every step. Keras tells that of the epoch so far, each row counted once."""

    def __init__(self, session: Session, batches: EpochBatches) -> None:
        super().__init__()
        self._session, self._batches = session, batches
        self._total = 0.0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if batch == 0:  # of an epoch that was broken off, some is done already
            rows = self._batches.rows_after(self._batches.steps_before)
            self._total = rows * float(self.model.metrics[0].result()) if rows else 0.0

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        assert logs is not None
        step = self._batches.steps_before + batch
        before, after = self._batches.rows_after(step), self._batches.rows_after(step + 1)
        total = after * float(logs["loss"])
        self._session.losses.append((total - self._total) / (after - before))
        self._total = total


class Charts(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    def __init__(self, session: Session, task: SupportsCharts) -> None:
        super().__init__()
        self._session, self._task = session, task

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._task.draw(self._session.run.path, self._session.losses, self._session.progress.history)


class EpochNumber(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Tells the batches which epoch it is, before Keras asks for the first of them."""

    def __init__(self, batches: EpochBatches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._batches.epoch = epoch


class Divergence(keras.callbacks.TerminateOnNaN):  # type: ignore[misc]  # Keras has no types
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
            + (" --resume goes on from what was saved)" if self._session.run.checkpoints else ")")
        )


class PlainCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]  # Keras has no types
    """Keras's, but of the weights alone: an optimizer's moments would make the file three times as large."""

    def __init__(self, plain: Any, path: Path, **arguments: Any) -> None:
        super().__init__(path, **arguments)
        self._plain = plain

    def set_model(self, model: Any) -> None:
        super().set_model(self._plain)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        check_free_space(Path(self.filepath).parent, weights_file_size(self.model), "a file of weights")
        super().on_epoch_end(epoch, logs)


class Averages(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
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


class PutBack(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    def __init__(self, averages: Averages) -> None:
        super().__init__()
        self._averages = averages

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        for weight, raw in zip(self.model.trainable_weights, self._averages.raw, strict=True):
            weight.assign(raw)

    def on_train_end(self, logs: Logs = None) -> None:
        """Keras ends `fit` with the averages in the model; an epoch that was broken off has a `fit` of its own."""
        self.on_epoch_end(0)


class Validation(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Adds the task's own figures to the epoch's, in one pass over the validation rows."""

    def __init__(self, session: Session, learner: StageSetup, stage: Stage) -> None:
        super().__init__()
        self._session, self._learner, self._stage = session, learner, stage
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        assert logs is not None
        began = time.perf_counter()
        logs.update(self._session.task.validate(self.model, self._stage))
        ended = time.perf_counter()
        self._session.note_validation(self._learner, ended - began)
        logs["seconds"] = round(ended - self._began, 2)


class BestWeights(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
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
            "precision": self._session.progress.precision,
            **self._session.saves.keep_best(saved, self._number, epoch, task.report),
        }


class HistoryLog(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
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


def bar_on(console: Console) -> Progress | None:
    """A progress bar on a terminal or in a notebook; none in a log."""
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if console.is_terminal:
        return Progress(*columns, console=console, transient=True)
    return NotebookProgress(*columns) if is_notebook() and not console.quiet else None


class ProgressReport(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """A bar with the loss of the epoch so far and the time left on a terminal; in a log, a line an epoch."""

    def __init__(self, stage: Stage, batches: EpochBatches, console: Console) -> None:
        super().__init__()
        self._stage, self._batches, self._console = stage, batches, console
        self._bar: Progress | None = None
        self._task_id: TaskID | None = None
        self._seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self._bar is None and (bar := bar_on(self._console)):
            self._bar = bar
            total, done = (epochs * self._batches.steps for epochs in (self._stage.epochs, epoch))
            self._task_id = self._bar.add_task(
                self._stage.name, total=total, completed=done + self._batches.steps_before
            )
            self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._bar and self._task_id is not None:
            loss = f"  loss {logs['loss']:.4f}" if logs and "loss" in logs else ""
            self._bar.update(self._task_id, advance=1, description=f"{self._stage.name}{loss}")

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
            f"  {logs['seconds']:.1f} s" + (f", {format_seconds(left)} left" if left >= 1 else ""),
            highlight=False,
        )

    def on_train_end(self, logs: Logs = None) -> None:
        self.close()

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
