"""Train the folds of a member."""

from pathlib import Path

from rich.console import Console

import podium
from podium.config.loading import Member
from podium.console import make_console
from podium.errors import ConfigError
from podium.files import link_or_copy
from podium.locks import locked
from podium.options import RunOptions
from podium.runs import Run
from podium.signals import StopCondition, parse_duration
from podium.training.run_training import train_run
from podium.workflows.fold_runs import FoldRun, fold_runs
from podium.workflows.prepare import prepare


def train(
    member: Member | str | Path,
    fold: int = 0,
    *,
    data: str | Path | None = None,
    runs: str | Path = "runs",
    limit: int | None = None,
    dry_run: bool = False,
    resume: bool = False,
    time_limit: float | str | None = None,
    console: Console | None = None,
) -> FoldRun:
    """Train one fold of a member, stage after stage.

    If this fold was trained before with the same config, the finished run is returned; if it was stopped, training
    continues from the last checkpoint.

    Args:
        member: From `load_member` or `make_member`, or a member file.
        fold: The number of the fold to validate on.
        data: The folder of the competition's data. By default PODIUM_DATA, else `data/<slug>`.
        runs: Where run folders are created.
        limit: Train on at most this many rows, with all classes represented.
        dry_run: Train one epoch per stage on a few small images, to check that everything works.
        resume: Continue a stopped run of this member even if its config has changed since.
        time_limit: Stop in time to have saved a checkpoint after so many seconds, or a text such as "8h30m".
        console: Where to print. By default the notebook or the terminal; `Console(quiet=True)` prints nothing.

    Returns:
        The run, with `score`, `history`, `path` and `load_model()`.

    Raises:
        PodiumError: If the config, the data or the machine has a problem; the message says what to do.
        StoppedError: If the training was interrupted or reached the time limit. A checkpoint is saved.
    """
    options = RunOptions(
        data=Path(data) if data is not None else None,
        runs=Path(runs),
        folds=(fold,),
        limit=limit,
        dry_run=dry_run,
        resume=resume,
        stop_condition=StopCondition(seconds_of(time_limit)),
        command="the same podium.train(…) call",
        live_page=True,
    )
    loaded = member if isinstance(member, Member) else podium.load_member(member)
    return train_member(loaded, options, console or make_console(), resume=True)[0]


def train_member(member: Member, options: RunOptions, console: Console, *, resume: bool = False) -> list[FoldRun]:
    """Train the folds named in the options, one after another."""
    folds = fold_runs(member, prepare(member.competition, options, console, [member]), options)
    for fold_run in folds:
        train_if_needed(fold_run, console, resume=resume)
    return folds


def train_if_needed(fold_run: FoldRun, console: Console, *, resume: bool = False) -> None:
    """Train a fold, unless it is trained already.

    `resume` continues a run that was stopped with the same config; without it, only `options.resume` does.
    """
    if fold_run.is_trained:
        best = fold_run.run.best
        score = f"{best['monitor']} {best['score']:.4f}"
        console.print(f"{fold_run.name}: already trained with this config, {score}, skipped ({fold_run.path})")
    elif twin := trained_twin(fold_run):
        take_weights(fold_run, twin, console)
    elif fold_run.settings.soup:
        from podium.workflows.soup import make_soup  # a kernel without a soup does not have it

        make_soup(fold_run, console)
    elif fold_run.options.live_page and not fold_run.options.dry_run:
        from podium.workflows.live_page import train_with_page  # no kernel has it

        train_with_page(fold_run, console, resume=resume)
    else:
        train_run(fold_run, console, resume=resume)


def trained_twin(fold_run: FoldRun) -> Run | None:
    """A finished run of another member file with the same digest: only its name and how it predicts differ."""
    runs = fold_run.options.runs.glob(f"*-{fold_run.resolved['digest']}/{fold_run.path.name}")
    others = (Run(path) for path in sorted(runs) if path != fold_run.path)
    return next((run for run in others if run.is_trained and not run.state.get("changes")), None)


def take_weights(fold_run: FoldRun, twin: Run, console: Console) -> None:
    """Finish a run with the weights and the reports of its twin."""
    run = fold_run.run
    with locked(run.path):
        twin.check_best_weights()
        run.start(fold_run.resolved, fold_run.folds_file)
        for file in twin.path.iterdir():
            if file.is_file() and file.name not in (run.config.name, "state.json"):
                link_or_copy(file, run.path / file.name)
        run.update_state(**twin.state)
    console.print(f"{fold_run.name}: already trained with these settings, weights taken from {twin.path}")


def seconds_of(time_limit: float | str | None) -> float | None:
    if not isinstance(time_limit, str):
        return time_limit
    try:
        return parse_duration(time_limit)
    except ValueError as error:
        raise ConfigError(f"time_limit: {error}") from None
