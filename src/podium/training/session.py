"""The training session of a process: its progress, the files it saves, and when it stops."""

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console

from podium.changes import merge_changes, read_changes, timestamp
from podium.config.stage import Stage, TrainingSettings
from podium.errors import MemoryFullError, StoppedError
from podium.files import write_table
from podium.models.devices import is_out_of_memory, resolve_precision
from podium.options import RunOptions
from podium.runs import Run
from podium.training.averaging import EpochWeights
from podium.training.checkpoints import (
    LOSSES,
    Arrays,
    Checkpoint,
    CheckpointStore,
    Progress,
    are_finite,
    capture,
    captured_size,
)
from podium.training.task import StageContext, StageSetup, Task

SPARE_SECONDS = 2.0
"""The part of a time limit reserved for unmeasured work, mostly process exit."""
BYTES_PER_SECOND = 50e6
"""Assumed speed of writing a checkpoint until one was written."""


@dataclass
class Session:
    run: Run
    task: Task
    settings: TrainingSettings
    options: RunOptions
    console: Console
    checkpoints: CheckpointStore
    restored: Checkpoint | None
    """The checkpoint that this process resumes from."""
    progress: Progress
    losses: "array[float]"
    """The loss of every step so far, recorded if the task draws charts."""
    _counted_until: float = field(default_factory=time.perf_counter)

    @classmethod
    def open(
        cls,
        run: Run,
        task: Task,
        settings: TrainingSettings,
        options: RunOptions,
        console: Console,
        precision_on_cpu: Callable[[], str] = lambda: "float32",
    ) -> "Session":
        """Resume from the newest valid checkpoint, or start."""
        checkpoints = CheckpointStore(run.path)
        checkpoints.delete_temporary_files()
        restored = checkpoints.load_newest(console)
        if restored:
            progress = restored.progress
            # The checkpoint contains the changes before it; later ones are only in changes.csv.
            earlier = [change for change in progress.changes if change.position < progress.position]
        else:
            progress, earlier = Progress(settings.seed, resolve_precision(settings.precision, precision_on_cpu)), []
        progress.changes = merge_changes(earlier, read_changes(run.path))
        losses = array("f", restored.part(LOSSES).get(0, ()) if restored else ())
        return cls(run, task, settings, options, console, checkpoints, restored, progress, losses)

    def context(self, stage: Stage) -> StageContext:
        return StageContext(self.console, lambda seconds: self.stop_if_requested(stage, seconds))

    def write_checkpoint(self, arrays: Arrays) -> None:
        """Write a checkpoint of these arrays, the losses and the progress."""
        self._count_seconds()
        losses: Arrays = {f"{LOSSES}/0": np.array(self.losses, np.float32)} if self.losses else {}
        self.checkpoints.write(self.progress, {**arrays, **losses})

    def _count_seconds(self) -> None:
        """Add the time since the last call to the current stage's."""
        now, name = time.perf_counter(), self.progress.stage_name
        self.progress.seconds[name] = self.progress.seconds.get(name, 0.0) + now - self._counted_until
        self._counted_until = now

    def update_state(self, status: str, stage: Stage, steps: int = 0) -> None:
        """Write state.json, which users and other commands read, once there is a checkpoint."""
        progress = self.progress
        if not self.run.checkpoints:
            return
        self.run.update_state(
            status=status,
            stage=stage.name,
            epoch=progress.epoch,
            epochs=stage.epochs,
            step=progress.step,
            steps=steps,
            best=progress.best,
            changes=len(progress.changes),
            seconds=round(sum(progress.seconds.values()), 3),
            seconds_per_image=progress.seconds_per_image,
            saved_at=timestamp(),
            command=self.options.command,
        )

    def write_history(self) -> None:
        """Write all of history.csv, which may contain rows of an epoch after the checkpoint."""
        rows = self.progress.history
        metrics = sorted({name for row in rows for name in row} - {"epoch", "changes"})
        write_table(self.run.history, ["epoch", *metrics, "changes"], rows, fsync=False)

    def stop_if_requested(self, stage: Stage, seconds: float = 0.0) -> None:
        """Stop if requested, or if the next `seconds` of work would exceed the time limit.

        Call it only when everything is saved.
        """
        if reason := self.options.stop_condition.reason(seconds):
            self.stop(reason, stage)

    def stop(self, reason: str, stage: Stage) -> None:
        where, command = f"at {self.progress.describe(stage)}; saved in {self.run.path}", self.options.command
        if not self.run.checkpoints:
            where, command = f"before the first step of {self.run.path}", command.removesuffix(" --resume")
        raise StoppedError(f"{reason}: stopped {where}; resume with: {command}")

    @contextmanager
    def explain_full_memory(self, number: int, stage: Stage) -> Iterator[None]:
        """Turn an out-of-memory error within the block into a MemoryFullError that names the batch size."""
        try:
            yield
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            smaller = f"stages.{number}.batch_size={max(1, stage.batch_size // 2)}"
            resume = " --resume continues from the last checkpoint" if self.run.checkpoints else ""
            raise MemoryFullError(
                f"out of memory: a batch of {stage.batch_size} images of {stage.image_size} pixels does not fit,"
                f" at {self.progress.describe(stage)}; podium find-batch finds the largest that does; make the"
                f" batch smaller (--set {smaller}{resume})"
            ) from error


@dataclass
class StageRun:
    """The current stage: its model and batches, and the time that its parts take."""

    session: Session
    number: int
    stage: Stage
    setup: StageSetup
    epoch_weights: EpochWeights | None = None
    """Those that the stage averages at its end, if it does."""
    _steps_timed: int = 0
    _step_seconds: float = 0.0
    _checkpoint_seconds: float | None = None
    _validation_seconds: float | None = None

    def __post_init__(self) -> None:
        progress = self.session.progress
        progress.seconds_per_image = self.setup.seconds_per_image or progress.seconds_per_image
        if self.stage.average:
            self.epoch_weights = EpochWeights(self.stage.average, self.session.task.mode)
            if self.session.restored and progress.position > (self.number, 0, 0):
                self.epoch_weights.restore(self.session.restored)

    def save(self) -> None:
        """Write a checkpoint, unless weights are not finite: then the previous checkpoint is kept."""
        arrays = capture(self.setup)
        if not are_finite(array for name, array in arrays.items() if name.startswith("model/")):
            return
        waited, batches = self.session.progress.seconds_waited, self.setup.batches
        waited[self.stage.name] = waited.get(self.stage.name, 0.0) + batches.seconds_waited
        batches.seconds_waited = 0.0
        start = time.perf_counter()
        self.session.write_checkpoint({**arrays, **(self.epoch_weights.capture() if self.epoch_weights else {})})
        self.session.update_state("training", self.stage, self.setup.batches.steps)
        self._checkpoint_seconds = max(self._checkpoint_seconds or 0.0, time.perf_counter() - start)

    def record_step(self, seconds: float) -> None:
        """Remember the slowest recent step. The first one includes tracing: it counts until there is a second."""
        self._steps_timed += 1
        if self._steps_timed == 1:
            progress = self.session.progress
            progress.first_step_seconds = max(progress.first_step_seconds, seconds)
        self._step_seconds = seconds if self._steps_timed <= 2 else max(seconds, 0.95 * self._step_seconds)

    def record_validation(self, seconds: float) -> None:
        self._validation_seconds = seconds
        if self.setup.seconds_per_image is None:
            self.session.progress.seconds_per_image = seconds / max(self.session.task.validation_count, 1)

    def seconds_until_first_stop(self) -> float:
        """The first step and its checkpoint; 0 if no first step was timed yet."""
        first = self.session.progress.first_step_seconds
        return first + self._seconds_to_save() + SPARE_SECONDS if first else 0.0

    def seconds_until_next_stop(self) -> float:
        """The next step, and everything after it before the training can stop again."""
        seconds = self._step_seconds + self._seconds_to_save() + SPARE_SECONDS
        if self.session.progress.step + 1 >= self.setup.batches.steps:
            seconds += self._seconds_to_validate() * (2 if self.epoch_weights else 1)
        return seconds

    def _seconds_to_save(self) -> float:
        if self._checkpoint_seconds is not None:
            return 1.5 * self._checkpoint_seconds
        return captured_size(self.setup) / BYTES_PER_SECOND + 1.0

    def _seconds_to_validate(self) -> float:
        """Based on the last validation or, before the first, on the training steps."""
        if self._validation_seconds is not None:
            return 1.2 * self._validation_seconds
        per_image = self.session.progress.seconds_per_image or self._step_seconds / self.stage.batch_size
        return 1.2 * per_image * self.session.task.validation_count
