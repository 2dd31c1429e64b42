"""The trainer's callbacks: Keras's own, and the few that tie them to a run folder."""

import math
import os
import time
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from podium.config.stage import Plateau, Stage
from podium.errors import TrainingDivergedError
from podium.runs import Run
from podium.training.schedules import rate_at
from podium.training.task import StageBatches, Task

Logs = dict[str, Any] | None


def stage_callbacks(
    run: Run, task: Task, number: int, stage: Stage, batches: StageBatches, console: Console, tensorboard: bool
) -> list[Any]:
    """In the order in which an epoch's end needs them: figures, then those who act on them, then those who tell."""
    best = run.state.get("best")
    checkpoint = PlainCheckpoint(
        task,
        run.path / f"stage{number}.weights.h5",
        monitor=task.monitor,
        mode=task.mode,
        save_best_only=True,
        save_weights_only=True,
        initial_value_threshold=best["score"] if best else None,
    )
    callbacks: list[Any] = [
        EpochNumber(batches),
        Divergence(number, stage),
        Validation(task, number, stage),
        checkpoint,
        BestWeights(run, task, checkpoint, number, stage),
    ]
    if isinstance(stage.schedule, Plateau):
        plateau = stage.schedule
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor=task.monitor,
                mode=task.mode,
                factor=plateau.factor,
                patience=plateau.patience,
                min_lr=plateau.minimum,
                min_delta=0.0,
            )
        )
    else:
        callbacks.append(StepwiseScheduler(stage, len(batches)))
    if stage.early_stopping is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(monitor=task.monitor, mode=task.mode, patience=stage.early_stopping)
        )
    callbacks.append(HistoryLog(run, stage))
    if tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(run.path / "tensorboard" / f"{number}-{stage.name}"))
    callbacks.append(ProgressReport(stage, len(batches), console))
    return callbacks


class EpochNumber(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells the batches which epoch it is, before Keras asks for the first of them."""

    def __init__(self, batches: StageBatches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._batches.epoch = epoch


class Divergence(keras.callbacks.TerminateOnNaN):  # type: ignore[misc]
    """Keras's, which ends the epoch at once; then an error that names the learning rate, before anything is saved."""

    def __init__(self, number: int, stage: Stage) -> None:
        super().__init__()
        self._number, self._stage = number, stage

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if math.isfinite((logs or {}).get("loss", 0.0)):
            return
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        raise TrainingDivergedError(
            f"the loss became {logs and logs['loss']} in stage {self._stage.name}, epoch {epoch + 1}, at the learning"
            f" rate {rate:.3g}; a training that converges keeps it finite: lower stages.{self._number}.learning_rate"
            f" (--set stages.{self._number}.learning_rate={self._stage.learning_rate / 10:.3g})"
        )


class PlainCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Keras's, but of the weights alone: an optimizer's moments would make the file three times as large."""

    def __init__(self, task: Task, path: Path, **arguments: Any) -> None:
        super().__init__(path, **arguments)
        self._task = task

    def set_model(self, model: Any) -> None:
        super().set_model(self._task.plain(model))


class Validation(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds the task's own figures to the epoch's, in one pass over the validation rows."""

    def __init__(self, task: Task, number: int, stage: Stage) -> None:
        super().__init__()
        self._task, self._number, self._stage = task, number, stage
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        assert logs is not None
        logs.update(self._task.validate(self.model, self._stage))
        logs["seconds"] = round(time.perf_counter() - self._began, 2)


class BestWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Puts what ModelCheckpoint has saved in the best weights' place, whole, and notes which epoch it was."""

    def __init__(self, run: Run, task: Task, checkpoint: Any, number: int, stage: Stage) -> None:
        super().__init__()
        self._run, self._task, self._checkpoint = run, task, checkpoint
        self._number, self._stage = number, stage

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        saved = self._run.path / f"stage{self._number}.weights.h5"
        if not saved.is_file():
            return
        with saved.open("rb") as written:
            os.fsync(written.fileno())
        saved.replace(self._run.best_weights)
        self._task.report(self._run.path)
        self._run.save_state(
            best={
                "stage": self._stage.name,
                "epoch": epoch,
                "monitor": self._task.monitor,
                "score": float(self._checkpoint.best),
                "image_size": self._stage.image_size,
            }
        )


class StepwiseScheduler(keras.callbacks.LearningRateScheduler):  # type: ignore[misc]
    """Keras's LearningRateScheduler, which also moves along within an epoch."""

    def __init__(self, stage: Stage, steps: int) -> None:
        super().__init__(lambda epoch, _: rate_at(stage, epoch))
        self._stage, self._steps, self._epoch = stage, steps, 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.model.optimizer.learning_rate = rate_at(self._stage, self._epoch + batch / self._steps)


class HistoryLog(keras.callbacks.CSVLogger):  # type: ignore[misc]
    """Keras's, with the stage's name, and closed also when the training breaks off."""

    def __init__(self, run: Run, stage: Stage) -> None:
        super().__init__(run.history, append=True)
        self._stage = stage

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, {**(logs or {}), "stage": self._stage.name})

    def close(self) -> None:
        if self.csv_file:
            self.csv_file.close()


class ProgressReport(keras.callbacks.Callback):  # type: ignore[misc]
    """A bar with the time left on a terminal; in a log, a line an epoch."""

    def __init__(self, stage: Stage, steps: int, console: Console) -> None:
        super().__init__()
        self._stage, self._steps, self._console = stage, steps, console
        self._bar: Progress | None = None
        self._task_id: TaskID | None = None
        self._began = 0.0

    def on_train_begin(self, logs: Logs = None) -> None:
        self._began = time.perf_counter()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task_id = self._bar.add_task(self._stage.name, total=self._stage.epochs * self._steps)
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
        left = (time.perf_counter() - self._began) / done * (self._stage.epochs - done)
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
