"""One training in its run folder: begun, or gone on with; locked, timed, saved. Whatever it is of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console

from podium.config.settings import decisive_keys
from podium.config.stage import TrainingSettings
from podium.errors import MemoryFullError, RunError, TrainingDivergedError
from podium.files import SMALL_FILES, report_full_disk
from podium.locks import locked
from podium.options import RunOptions
from podium.runs import Run, versions
from podium.training.libraries import import_libraries

if TYPE_CHECKING:
    from podium.training.task import Task


class Trainable(Protocol):
    """A member on one fold, or a detector: what decides its weights, and the folder that holds them."""

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
        """The config as it is saved in the run folder; its `name` is that of the config's file."""

    @property
    def folds_file(self) -> Path:
        """Which rows train and which validate."""

    def task(self, console: Console) -> "Task": ...

    def precision_on_cpu(self, console: Console) -> str:
        """What `precision: auto` means there."""


def train_run(one: Trainable, console: Console, *, resume: bool = False) -> None:
    """Train it, or go on where it was stopped: with --resume, or `resume`."""
    with report_full_disk(one.run.path, SMALL_FILES, "the run folder"), locked(one.run.path) as left_by:
        if left_by:
            console.print(f"  taken over from {left_by}, which is gone", highlight=False)
        if one.run.is_trained:
            return
        _begin(one, console, resume)
        with _named(one):
            _train(one, console)


@contextmanager
def _named(one: Trainable) -> Iterator[None]:
    """What went wrong says whose training it was: a `podium run` trains several."""
    try:
        yield
    except (TrainingDivergedError, MemoryFullError) as error:
        raise type(error)(f"{one.name}: {error}") from error


def _begin(one: Trainable, console: Console, resume: bool) -> None:
    """A run folder to train in: the one there is, a copy of another's state, or a new one."""
    from podium.training.resume import branch, find_source, other_runs, tell_changes

    folds = one.folds_file
    if one.run.checkpoints:
        if not (one.options.resume or resume):
            raise RunError(
                f"{one.run.path} holds the checkpoint of a training of {one.name}: add --resume to go on from it, or"
                " move that folder away to start anew"
            )
        _tell_other_versions(one.run, console)
        one.run.describe(one.resolved, folds)
        return
    if one.run.best_weights.is_file():
        raise RunError(
            f"{one.run.path} holds weights, but neither a checkpoint nor a state.json that says what they are: put"
            " those back, or move that folder away to start anew"
        )
    if one.options.resume and not one.run.state:  # else it has begun anew before, on purpose
        source = find_source(one.run, one.resolved, decisive_keys(type(one.settings)), console)
        if source:
            branch(source, one.run, one.resolved, folds)
            tell_changes(source, one.run, one.resolved, console)
            return
    if one.options.resume:
        console.print(f"  nothing to go on from: {one.name} starts at its beginning")
    else:
        for other in other_runs(one.run, one.resolved["name"]):
            if other.is_resumable:
                console.print(
                    f"  {other.path} was stopped under another config; this one starts anew, --resume would go on from"
                    " there",
                    highlight=False,
                )
    one.run.start(one.resolved, folds)


def _tell_other_versions(run: Run, console: Console) -> None:
    """Bit for bit holds only with the libraries that it began with."""
    before, now = run.versions, versions()
    others = [
        f"{name} {before[name]} -> {now[name]}"
        for name in ("tensorflow", "keras", "numpy")
        if before.get(name, now[name]) != now[name]
    ]
    if others:
        console.print(f"  begun with other versions ({', '.join(others)}): the end may differ in bits", highlight=False)


def _train(one: Trainable, console: Console) -> None:
    settings, options = one.settings, one.options
    import_libraries(to_fork=not options.dry_run)  # which takes a few images
    from podium.training.session import Session
    from podium.training.trainer import train

    session = Session.open(
        one.run,
        one.task(console),
        seed=settings.seed,
        console=console,
        stop_condition=options.stop_condition,
        save_every=60 * settings.save_every,
        command=options.command,
        tensorboard=settings.tensorboard,
        precision=settings.precision,
        on_processors=lambda: one.precision_on_cpu(console),
    )
    train(session, settings.stages)
    best = one.run.state["best"]
    console.print(f"  best: stage {best['stage']}, epoch {best['epoch'] + 1}, {best['monitor']} {best['score']:.4f}")
