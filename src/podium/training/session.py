"""One process's part of a training: where it stands, what it saves, and when it stops."""

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console

from podium.changes import merged, read_changes
from podium.config.stage import Precision, Stage
from podium.errors import MemoryFullError, StoppedError
from podium.files import write_table
from podium.models.devices import is_out_of_memory, resolved
from podium.runs import Run
from podium.signals import StopCondition
from podium.training.checkpoints import LOSSES, Arrays, Checkpoint, CheckpointStore
from podium.training.model_state import all_finite, size_of, taken_down
from podium.training.task import StageContext, StageSetup, Task
from podium.training.training_progress import Progress, spell_position

SPARE_SECONDS = 2.0
"""Of a time limit, for what no one measures: leaving the process, mostly."""
BYTES_A_SECOND = 50e6
"""How fast a state is saved, until one was."""


@dataclass
class Pace:
    """Seconds that things took in this process, to know whether one more fits."""

    step: float = 0.0
    saving: float | None = None
    validation: float | None = None


@dataclass
class Session:
    run: Run
    task: Task
    console: Console
    stop_condition: StopCondition
    save_every: float
    """Seconds between checkpoints within an epoch."""
    command: str
    """What a person types to go on."""
    tensorboard: bool
    saves: CheckpointStore
    saved: Checkpoint | None
    progress: Progress
    losses: "array[float]"
    """Of every step so far, where the task draws charts of them."""
    pace: Pace = field(default_factory=Pace)
    _counted_until: float = field(default_factory=time.perf_counter)

    @classmethod
    def open(
        cls,
        run: Run,
        task: Task,
        *,
        seed: int,
        console: Console,
        stop_condition: StopCondition,
        save_every: float,
        command: str,
        tensorboard: bool,
        precision: Precision = "auto",
        on_processors: Callable[[], str] = lambda: "float32",
    ) -> "Session":
        """Go on from the newest checkpoint that is whole, or begin. `on_processors` says what auto is without GPUs."""
        saves = CheckpointStore(run.path)
        saves.forget_unfinished()
        saved = saves.newest(console)
        saves.forget_orphans()
        progress = saved.progress if saved else Progress(seed, resolved(precision, on_processors))
        # Those before the state are part of it; of those ahead the file alone decides.
        made = [change for change in progress.changes if change.position < progress.position]
        progress.changes = merged(made, read_changes(run.path))
        losses = array("f", saved.part(LOSSES).get(0, ())) if saved else array("f")
        return cls(run, task, console, stop_condition, save_every, command, tensorboard, saves, saved, progress, losses)

    def watch(self, stage: Stage) -> StageContext:
        return StageContext(self.console, lambda seconds: self.stop_if_asked(stage, seconds))

    def pace_of(self, learner: StageSetup) -> None:
        """What was timed so far was another learner's; but predicting with the whole may have been timed just now."""
        self.pace.validation = None
        self.progress.seconds_per_image = learner.seconds_per_image or self.progress.seconds_per_image

    def note_validation(self, learner: StageSetup, seconds: float) -> None:
        self.pace.validation = seconds
        if learner.seconds_per_image is None:
            self.progress.seconds_per_image = seconds / max(self.task.validation_count, 1)

    def save(self, learner: StageSetup, stage: Stage, steps: int) -> None:
        """All that going on needs. Weights that are not finite are not worth it: what was saved before holds."""
        arrays = {**taken_down(learner), **self.losses_to_save()}
        if not all_finite(array for name, array in arrays.items() if name.startswith("model/")):
            return
        began = time.perf_counter()
        self.count_seconds()
        self.saves.write(self.progress, arrays)
        self.tell_state("training", stage, steps)
        self.pace.saving = max(self.pace.saving or 0.0, time.perf_counter() - began)

    def losses_to_save(self) -> Arrays:
        return {f"{LOSSES}/0": np.array(self.losses, np.float32)} if self.losses else {}

    def tell_state(self, status: str, stage: Stage, steps: int = 0) -> None:
        """Write state.json, for people and for commands that do not train; nothing before the first checkpoint."""
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
            saved_at=time.strftime("%Y-%m-%dT%H:%M:%S"),
            command=self.command,
        )

    def count_seconds(self) -> None:
        """Add the time since the last call to that of the stage under way."""
        now = time.perf_counter()
        name = self.progress.stage_name
        self.progress.seconds[name] = self.progress.seconds.get(name, 0.0) + now - self._counted_until
        self._counted_until = now

    def seconds_to_save(self, learner: StageSetup) -> float:
        if self.pace.saving is not None:
            return 1.5 * self.pace.saving
        return size_of(learner) / BYTES_A_SECOND + 1.0

    def seconds_to_begin(self, learner: StageSetup) -> float:
        """The first step of a stage and saving it; nothing where no step was timed yet."""
        first = self.progress.seconds_of_a_first_step
        return first + self.seconds_to_save(learner) + SPARE_SECONDS if first else 0.0

    def seconds_to_validate(self, stage: Stage) -> float:
        """As it last took; before the first time, as much as training on as many images."""
        if self.pace.validation is not None:
            return 1.2 * self.pace.validation
        a_image = self.progress.seconds_per_image or self.pace.step / stage.batch_size
        return 1.2 * a_image * self.task.validation_count

    def stop_if_asked(self, stage: Stage, seconds: float = 0.0) -> None:
        """Stop, where all is saved, if that is asked for or what comes next takes too many seconds."""
        reason = self.stop_condition.reason(seconds)
        if reason:
            self.stop(reason, stage)

    def stop(self, reason: str, stage: Stage) -> None:
        where, command = f"at {spell_position(stage, self.progress)}; saved in {self.run.path}", self.command
        if not self.run.checkpoints:
            where, command = f"before the first step of {self.run.path}", command.removesuffix(" --resume")
        raise StoppedError(f"{reason}: stopped {where}; go on with: {command}")

    @contextmanager
    def telling_of_full_memory(self, number: int, stage: Stage) -> Iterator[None]:
        """A batch of the stage that is too large for the memory there is comes out of the block as podium's error."""
        try:
            yield
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            smaller = f"stages.{number}.batch_size={max(1, stage.batch_size // 2)}"
            saved = " --resume goes on from what was saved" if self.run.checkpoints else ""
            raise MemoryFullError(
                f"the memory is full: a batch of {stage.batch_size} images of {stage.image_size} pixels does not fit,"
                f" at {spell_position(stage, self.progress)}; podium find-batch finds the largest that does; make the"
                f" batch smaller (--set {smaller}{saved})"
            ) from error

    def write_history(self) -> None:
        """history.csv, whole: what a broken-off epoch may have left there is not in it."""
        rows = self.progress.history
        figures = sorted({name for row in rows for name in row} - {"epoch", "changes"})
        write_table(self.run.history, ["epoch", *figures, "changes"], rows, fsync=False)
