"""`podium runs` and `podium set`: what is there, and changing it on the way."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from podium.changes import ask, changes_file, parse_request
from podium.cli.options import Debug, Runs, make_console
from podium.errors import RunError
from podium.locks import lock_holder
from podium.runs import BEST_WEIGHTS, Run
from podium.signals import format_duration


def runs(runs: Runs = Path("runs"), debug: Debug = False) -> None:
    """Tell of every run: how far it is, its best score, the time spent on it, and what would go on with it.

    podium runs
    """
    console = make_console()
    found = all_runs(runs)
    if not found:
        console.print(f"no runs in {runs}; podium train and podium run make them")
        return
    if not console.is_terminal:
        console.width = 1000  # in a log lines are never broken
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "stands at", "best"):
        table.add_column(heading, overflow="fold")
    table.add_column("time", justify="right", overflow="fold")
    for run in found:
        state = run.state
        seconds = state.get("seconds")
        table.add_row(
            str(run.path), standing(run, state), best_score(state), format_duration(seconds) if seconds else ""
        )
    console.print(table)
    stopped = [run for run in found if run.is_resumable and lock_holder(run.path) is None]
    for run in stopped:
        console.print(f"{run.path} goes on with: {run.state.get('command', 'podium train … --resume')}")


def all_runs(folder: Path) -> list[Run]:
    parts = ("config.yaml", "state.json", "checkpoints", BEST_WEIGHTS)
    return [Run(path) for path in sorted(folder.glob("*/fold[0-9]*")) if any((path / part).exists() for part in parts)]


def standing(run: Run, state: dict[str, Any]) -> str:
    """In a few words: done, going on, or where it was stopped."""
    changes = state.get("changes", 0)
    more = ", dry run" if state.get("dry_run") else ""
    more += f", of {state['limit']:,} rows" if state.get("limit") else ""
    more += ", changed on the way" if changes else ""
    if run.is_trained:
        predicted = any(run.path.glob("predictions-*/predictions.json"))
        return ("trained and predicted" if predicted else "trained") + more
    if not {"stage", "epoch", "epochs", "step", "steps"} <= state.keys():
        where = "saved" if run.checkpoints else "nothing saved yet"
    elif state["step"]:
        where = f"{state['stage']} {state['epoch'] + 1}/{state['epochs']}, step {state['step']} of {state['steps']}"
    else:
        where = f"{state['stage']} {state['epoch']}/{state['epochs']} done"
    holder = lock_holder(run.path)
    return where + more + (f"; {holder.split(' on ')[0]} is at it" if holder else "")


def best_score(state: dict[str, Any]) -> str:
    best = state.get("best")
    if not best:
        return ""
    return f"{best['monitor'].removeprefix('val_')} {best['score']:.4f} ({best['stage']} {best['epoch'] + 1})"


def set_(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/xception-1a2b3c4d/fold0.")],
    change: Annotated[str, typer.Argument(metavar="learning_rate=NUMBER", help="What to change.")],
    debug: Debug = False,
) -> None:
    """Change the learning rate of a run that is going on, from its next step; the run's schedule goes on from there.

    podium set runs/xception-1a2b3c4d/fold0 learning_rate=1e-5
    """
    rate = parse_request(change)
    one = Run(run)
    if not one.config.is_file():
        folds = ", ".join(str(path) for path in sorted(run.glob("fold[0-9]*")))
        raise RunError(f"{run} is no run folder" + (f"; name one of {folds}" if folds else "; podium runs lists them"))
    if one.is_trained:
        raise RunError(f"{run} is trained already; its learning rate changes nothing any more")
    ask(run, rate, one.state.get("stage"))
    holder = lock_holder(run)
    when = "from its next step on" if holder else "from its next step on, when it goes on"
    make_console().print(f"{run}: learning_rate {rate:g} {when}; {changes_file(run)} will note it")
