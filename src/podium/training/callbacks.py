"""The trainer's Keras callbacks."""

import math
import time
from collections.abc import Sequence
from typing import Any

import keras

from podium.config.stage import Plateau
from podium.errors import TrainingDivergedError
from podium.files import check_free_space
from podium.models import devices
from podium.progress import Advance, format_seconds
from podium.training.averaging import AverageEpochs
from podium.training.checkpoints import Checkpoint, restore_metrics
from podium.training.learning_rate import LearningRate
from podium.training.session import StageRun
from podium.training.task import SupportsCharts

Logs = dict[str, Any] | None

COUNTERS = ("best", "wait", "cooldown_counter")
"""The attributes in which Keras's callbacks count over epochs."""


def stage_callbacks(stage_run: StageRun, advance: Advance) -> list[Any]:
    """The callbacks in the order needed at the end of an epoch: metrics, their users, reports, checkpoint."""
    session, stage, task = stage_run.session, stage_run.stage, stage_run.session.task
    counting: dict[str, Any] = {}
    if isinstance(stage.schedule, Plateau):
        counting["plateau"] = keras.callbacks.ReduceLROnPlateau(
            monitor=task.monitor,
            mode=task.mode,
            factor=stage.schedule.factor,
            patience=stage.schedule.patience,
            min_lr=stage.schedule.minimum,
            min_delta=0.0,
        )
    if stage.early_stopping is not None:
        counting["early_stopping"] = keras.callbacks.EarlyStopping(
            monitor=task.monitor, mode=task.mode, patience=stage.early_stopping
        )
    validation = Validation(stage_run)
    callbacks = [DivergenceCheck(stage_run), validation, LearningRate(stage_run), *counting.values()]
    callbacks += [History(stage_run)]
    if isinstance(task, SupportsCharts):
        callbacks += [Charts(stage_run, task)]
    if session.settings.tensorboard:
        from podium.training.tensorboard import tensorboard_callbacks

        callbacks += tensorboard_callbacks(stage_run)
    callbacks += [EpochReport(stage_run, advance)]
    if stage_run.epoch_weights:
        callbacks += [AverageEpochs(stage_run, validation, stage_run.epoch_weights)]
    return [*callbacks, Checkpoints(stage_run, counting)]


class DivergenceCheck(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Fails as soon as the loss is not finite, before anything is saved."""

    def __init__(self, stage_run: StageRun) -> None:
        super().__init__()
        self._stage_run = stage_run

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        assert logs is not None
        if math.isfinite(logs["loss"]):
            return
        session, key = self._stage_run.session, f"stages.{self._stage_run.number}.learning_rate"
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        raise TrainingDivergedError(
            f"the loss became {logs['loss']} in stage {self._stage_run.stage.name}, epoch {session.progress.epoch + 1},"
            f" at the learning rate {rate:.3g}; expected it to stay finite: lower {key} (--set {key}={rate / 10:.3g}"
            + (" --resume continues from the last checkpoint)" if session.run.checkpoints else ")")
        )


class Validation(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Adds the task's metrics to the epoch's logs, and saves the weights if they are the best so far.

    Where the optimizer keeps moving averages (`ema`), those are validated and saved; training continues without.
    """

    def __init__(self, stage_run: StageRun) -> None:
        super().__init__()
        self._stage_run, self._task = stage_run, stage_run.session.task
        self._has_averages = stage_run.stage.ema is not None
        self._weights: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        assert logs is not None
        if self._has_averages:
            self._weights = [keras.ops.convert_to_numpy(weight) for weight in self.model.trainable_weights]
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)
        logs.update(self.validate(epoch))
        if self._stage_run.epoch_weights:
            self._stage_run.epoch_weights.add(epoch, logs[self._task.monitor], self.model)
        self._restore_weights()

    def validate(self, epoch: int, averaged: Sequence[int] = ()) -> dict[str, float]:
        """The metrics of the model's weights, which are those after an epoch or the mean of several."""
        start = time.perf_counter()
        metrics = self._task.validate(self.model, self._stage_run.stage)
        self._stage_run.record_validation(time.perf_counter() - start)
        if self._is_best(metrics[self._task.monitor]):
            self._save_weights(epoch, metrics[self._task.monitor], averaged)
        return metrics

    def on_train_end(self, logs: Logs = None) -> None:
        """Keras ends every `fit` with the averages in the model, but an interrupted epoch has its own `fit`."""
        self._restore_weights()

    def _restore_weights(self) -> None:
        if self._has_averages:
            for weight, value in zip(self.model.trainable_weights, self._weights, strict=True):
                weight.assign(value)

    def _is_best(self, score: float) -> bool:
        best = self._stage_run.session.progress.best
        if best is None:
            return True
        return bool(score > best["score"] if self._task.mode == "max" else score < best["score"])

    def _save_weights(self, epoch: int, score: float, averaged: Sequence[int]) -> None:
        session, stage = self._stage_run.session, self._stage_run.stage
        weights = session.checkpoints.folder / ".writing-best.weights.h5"
        weights.parent.mkdir(exist_ok=True)
        # Uncompiled: an optimizer's variables would make the file three times as large.
        model = self._task.uncompiled(self._stage_run.setup.full_model)
        size = 65_536 + sum(4 * math.prod(weight.shape) + 4096 for weight in model.weights)  # including HDF5's metadata
        check_free_space(weights.parent, size)
        model.save_weights(weights, overwrite=True)
        session.progress.best = {
            "stage": stage.name,
            "epoch": epoch,
            **({"averaged": list(averaged)} if averaged else {}),
            "monitor": self._task.monitor,
            "score": float(score),
            "image_size": stage.image_size,
            "precision": session.progress.precision,
            **session.checkpoints.save_best(weights, self._stage_run.number, epoch, self._task.write_reports),
        }


class History(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Writes a row of history.csv for every epoch, with the changes made in it."""

    def __init__(self, stage_run: StageRun) -> None:
        super().__init__()
        self._stage_run = stage_run

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        assert logs is not None
        session, number = self._stage_run.session, self._stage_run.number
        changes = "; ".join(
            f"{change} (after step {change.step})" if change.step else str(change)
            for change in session.progress.changes
            if (change.stage, change.epoch) == (number, epoch)
        )
        metrics = {name: float(value) for name, value in logs.items()}
        stage = self._stage_run.stage.name
        session.progress.history.append({"epoch": epoch, **metrics, "stage": stage, "changes": changes})
        session.write_history()


class Charts(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Records the loss of every step, and draws the task's charts. Keras reports the mean loss of the epoch so far."""

    def __init__(self, stage_run: StageRun, task: SupportsCharts) -> None:
        super().__init__()
        self._session, self._task, self._batches = stage_run.session, task, stage_run.setup.batches
        self._total = 0.0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if batch == 0:  # a resumed epoch starts with some rows done
            rows = self._batches.rows_after(self._batches.steps_before)
            self._total = rows * float(self.model.metrics[0].result()) if rows else 0.0

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        assert logs is not None
        step = self._batches.steps_before + batch
        before, after = self._batches.rows_after(step), self._batches.rows_after(step + 1)
        total = after * float(logs["loss"])
        self._session.losses.append((total - self._total) / (after - before))
        self._total = total

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._task.draw_charts(self._session.run.path, self._session.losses, self._session.progress.history)


class EpochReport(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Advances the progress bar with every step, and prints a line for every epoch."""

    def __init__(self, stage_run: StageRun, advance: Advance) -> None:
        super().__init__()
        self._stage, self._batches, self._console = stage_run.stage, stage_run.setup.batches, stage_run.session.console
        self._advance = advance
        self._start = 0.0
        self._seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        assert logs is not None
        self._advance(1, f"{self._stage.name}  loss {logs['loss']:.4f}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        assert logs is not None
        done, seconds = epoch + 1, time.perf_counter() - self._start
        self._seconds.append(seconds)
        left = sum(self._seconds) / len(self._seconds) * (self._stage.epochs - done)
        metrics = " ".join(f"{name} {value:.4f}" for name, value in logs.items() if name != "learning_rate")
        self._console.print(
            f"  {self._stage.name} {done}/{self._stage.epochs}  {metrics}  lr {logs['learning_rate']:.2e}"
            f"  {seconds:.1f} s" + (f", {format_seconds(left)} left" if left >= 1 else ""),
            highlight=False,
        )


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps the progress up to date, writes checkpoints, and stops the training when requested."""

    def __init__(self, stage_run: StageRun, counting: dict[str, Any]) -> None:
        """`counting` contains the callbacks with counters, by name."""
        super().__init__()
        self._stage_run, self._session, self._counting = stage_run, stage_run.session, counting
        self._batches = stage_run.setup.batches
        self._saved_at = self._step_start = time.perf_counter()

    def on_train_begin(self, logs: Logs = None) -> None:
        """Keras has just reset the counters."""
        for name, counters in self._session.progress.counters.items():
            if name in self._counting:
                vars(self._counting[name]).update(counters)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Before Keras asks for the first batch."""
        self._batches.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._step_start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        progress, now = self._session.progress, time.perf_counter()
        progress.step = self._batches.steps_before + batch + 1
        progress.rows = self._batches.rows_after(progress.step)
        self._stage_run.record_step(now - self._step_start)
        if progress.step == self._batches.steps:  # saved by on_epoch_end
            return
        reason = self._session.options.stop_condition.reason(self._stage_run.seconds_until_next_stop())
        if reason or now - self._saved_at >= 60 * self._session.settings.save_every:
            self._save()
        if reason:
            self._session.stop(reason, self._stage_run.stage)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        progress, stage = self._session.progress, self._stage_run.stage
        progress.epoch, progress.step, progress.rows = epoch + 1, 0, 0
        progress.counters = {
            name: {counter: vars(callback)[counter] for counter in COUNTERS if counter in vars(callback)}
            for name, callback in self._counting.items()
        }
        self._batches.resume_after(0, 0)
        self._save()
        if on_epoch := self._session.options.on_epoch:
            on_epoch(progress.history)
        is_last = self.model.stop_training or progress.epoch >= stage.epochs
        self._session.stop_if_requested(stage, 0.0 if is_last else self._stage_run.seconds_until_next_stop())

    def _save(self) -> None:
        self._stage_run.save()
        if on_save := self._session.options.on_save:
            on_save()
        self._saved_at = time.perf_counter()


class RestoreMetrics(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Continues an interrupted epoch with the running loss and metrics of the checkpoint."""

    def __init__(self, checkpoint: Checkpoint, stage_run: StageRun) -> None:
        super().__init__()
        self._checkpoint, self._batches = checkpoint, stage_run.setup.batches

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Keras has just reset them. Some metrics and losses have no variables before their first batch; on
        several devices Keras has already built them."""
        if not devices.is_distributed(self.model):
            inputs, targets, *_ = self._batches[0]
            predictions = self.model(inputs, training=False)
            self.model.compute_metrics(inputs, targets, predictions)
            self.model.compute_loss(inputs, targets, predictions, None)
        restore_metrics(self.model, self._checkpoint)
