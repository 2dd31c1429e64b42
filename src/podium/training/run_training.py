"""Training a classifier or a detector in its run folder, which is locked meanwhile."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console

from podium.config.stage import TrainingSettings
from podium.errors import MemoryFullError, TrainingDivergedError
from podium.files import SMALL_FILES, report_full_disk
from podium.locks import locked
from podium.options import RunOptions
from podium.runs import Run
from podium.signals import delay_keyboard_interrupt
from podium.training.resume import start_or_resume

if TYPE_CHECKING:
    from podium.training.task import Task


class Trainable(Protocol):
    """A member on one fold, or a detector: its config, its run folder, and how to build its task."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> TrainingSettings: ...

    @property
    def options(self) -> RunOptions: ...

    @property
    def run(self) -> Run: ...

    @property
    def resolved(self) -> dict[str, Any]:
        """The config as saved in the run folder; its `name` is that of the config file."""

    @property
    def folds_file(self) -> Path:
        """Which rows are for training and which for validation."""

    def task(self, console: Console) -> "Task": ...

    def precision_on_cpu(self, console: Console) -> str:
        """What `precision: auto` means on a CPU."""


def train_run(trainable: Trainable, console: Console, *, resume: bool = False) -> None:
    """Train, or resume a stopped training as `--resume` does. Does nothing if the run is already trained."""
    run = trainable.run
    with report_full_disk(run.path, SMALL_FILES, "the run folder"), locked(run.path) as dead_process:
        if dead_process:
            console.print(f"  {dead_process} was killed while it trained this run", highlight=False)
        if run.is_trained:
            return
        start_or_resume(trainable, console, resume=resume or trainable.options.resume)
        with _errors_with_name(trainable.name):
            _train(trainable, console)


@contextmanager
def _errors_with_name(name: str) -> Iterator[None]:
    """Prefix error messages with the name of the member or detector, since `podium run` trains several."""
    try:
        yield
    except (TrainingDivergedError, MemoryFullError) as error:
        raise type(error)(f"{name}: {error}") from error


def _train(trainable: Trainable, console: Console) -> None:
    settings, options = trainable.settings, trainable.options
    import_libraries(to_fork=not options.dry_run)  # a dry run needs only a few images
    from podium.training.session import Session
    from podium.training.trainer import train

    task = trainable.task(console)
    session = Session.open(trainable.run, task, settings, options, console, lambda: trainable.precision_on_cpu(console))
    train(session, settings.stages)
    best = trainable.run.best
    epochs = [epoch + 1 for epoch in best.get("averaged", [best["epoch"]])]
    epoch = f"epoch {epochs[0]}" if len(epochs) == 1 else f"mean of epochs {', '.join(map(str, epochs))}"
    console.print(f"  best: stage {best['stage']}, {epoch}, {best['monitor']} {best['score']:.4f}")


@cache
def import_libraries(*, to_fork: bool = True) -> None:
    """Import what training and prediction need, which takes seconds, in the fastest order.

    With `to_fork`, the fork server of the worker processes does its imports at the same time.
    """
    if to_fork:
        from podium.data.workers import start_fork_server

        start_fork_server()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no messages about missing GPUs and instruction sets
    with delay_keyboard_interrupt():
        import podium.models.classifier
        import podium.models.predictor
        import podium.training.trainer  # noqa: F401

    # These objects live until the process ends; each garbage collection of them would take a quarter of a second.
    gc.freeze()
