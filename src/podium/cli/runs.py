"""`podium runs` and `podium set`: list run folders, and change a run during training."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from podium.changes import changes_file, parse_request, request_learning_rate
from podium.cli.options import Debug, Json, Runs, make_console, print_json
from podium.errors import RunError
from podium.locks import lock_holder
from podium.runs import Run, all_runs
from podium.signals import format_duration

RESUME = "podium train … --resume"
"""Shown for a run whose state.json is damaged."""


def runs(runs: Runs = Path("runs"), json: Json = False, debug: Debug = False) -> None:
    """List every run: its progress, its best score, the time spent on it, and the command that resumes it.

    podium runs
    """
    console, found = make_console(), all_runs(runs)
    if json:
        print_json([as_json(run) for run in found])
        return
    if not found:
        console.print(f"no runs in {runs}; start one with podium train or podium run")
        return
    if not console.is_terminal:
        console.width = 1000  # do not wrap lines in a log
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "progress", "best"):
        table.add_column(heading, overflow="fold")
    table.add_column("time", justify="right", overflow="fold")
    for run in found:
        seconds = run.state.get("seconds")
        table.add_row(
            str(run.path), describe_progress(run), describe_best(run), format_duration(seconds) if seconds else ""
        )
    console.print(table)
    for run in found:
        if run.is_resumable and lock_holder(run.path) is None:
            console.print(f"resume {run.path} with: {run.state.get('command', RESUME)}")


def as_json(run: Run) -> dict[str, Any]:
    """The content of state.json, and the status derived from the run folder."""
    holder = lock_holder(run.path)
    is_stopped = run.is_resumable and holder is None
    return {
        "path": run.path,
        **run.state,
        "is_trained": run.is_trained,
        "is_predicted": is_predicted(run),
        "process": holder,
        "command": run.state.get("command", RESUME) if is_stopped else None,
    }


def is_predicted(run: Run) -> bool:
    return any(run.path.glob("predictions-*/predictions.json"))


def describe_progress(run: Run) -> str:
    """In a few words: finished, in progress, or where it was stopped."""
    state = run.state
    notes = ", dry run" if state.get("dry_run") else ""
    notes += f", {state['limit']:,} rows" if state.get("limit") else ""
    notes += ", config changed" if state.get("changes") else ""
    if run.is_trained:
        return ("trained and predicted" if is_predicted(run) else "trained") + notes
    if not {"stage", "epoch", "epochs", "step", "steps"} <= state.keys():
        where = "checkpoint" if run.checkpoints else "no checkpoint yet"
    elif state["step"]:
        where = f"{state['stage']} {state['epoch'] + 1}/{state['epochs']}, step {state['step']} of {state['steps']}"
    else:
        where = f"{state['stage']} {state['epoch']}/{state['epochs']} finished"
    holder = lock_holder(run.path)
    return where + notes + (f"; in use by {holder.split(' on ')[0]}" if holder else "")


def describe_best(run: Run) -> str:
    best = run.state.get("best")
    if not best:
        return ""
    return f"{best['monitor'].removeprefix('val_')} {best['score']:.4f} ({best['stage']} {best['epoch'] + 1})"


def set_(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/xception-1a2b3c4d/fold0.")],
    change: Annotated[str, typer.Argument(metavar="learning_rate=NUMBER", help="The new learning rate.")],
    debug: Debug = False,
) -> None:
    """Change the learning rate of a training run from its next step on; its schedule continues from there.

    podium set runs/xception-1a2b3c4d/fold0 learning_rate=1e-5
    """
    rate, folder = parse_request(change), Run(run)
    if not folder.config.is_file():
        folds = ", ".join(str(path) for path in sorted(run.glob("fold[0-9]*")))
        raise RunError(
            f"{run} is not a run folder" + (f"; expected one of {folds}" if folds else "; podium runs lists them")
        )
    if folder.is_trained:
        raise RunError(f"{run} is trained already; a new learning rate would have no effect")
    request_learning_rate(run, rate, folder.state.get("stage"))
    when = "from its next step on" if lock_holder(run) else "from its next step on, once it is resumed"
    make_console().print(f"{run}: learning_rate {rate:g} {when}; it will be recorded in {changes_file(run)}")
