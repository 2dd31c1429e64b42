"""`podium search`: better settings of a member."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from podium.cli.options import (
    Data,
    Debug,
    DryRun,
    Limit,
    MemberFile,
    Runs,
    Seed,
    Set,
    TimeLimit,
    make_console,
    make_options,
)
from podium.cli.queues import CpusPerRun, GpusPerRun, On, StorageOption, cluster_of, show_queue
from podium.workflows.search import Search, SearchResult, search_member, values_of

SHOWN = 10
"""Trials in the table."""


def search(
    member: MemberFile,
    trials: Annotated[
        int, typer.Option(metavar="N", min=1, help="Finished trials altogether, of all processes and calls.")
    ] = 20,
    fold: Annotated[
        list[int] | None,
        typer.Option(
            metavar="K",
            min=0,
            help="Train on this fold; repeatable, the score is then their mean.",
            show_default="the first fold",
        ),
    ] = None,
    startup: Annotated[int, typer.Option(metavar="N", min=1, help="Prune no trial before N are complete.")] = 5,
    warmup: Annotated[int, typer.Option(metavar="N", min=0, help="Prune no trial in its first N epochs.")] = 0,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="Write the best values as a new member file, with the comments of the old one.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    limit: Limit = None,
    dry_run: DryRun = False,
    time_limit: TimeLimit = None,
    set_: Set = None,
    seed: Seed = None,
    on: On = None,
    storage: StorageOption = None,
    cpus_per_run: CpusPerRun = None,
    gpus_per_run: GpusPerRun = None,
    debug: Debug = False,
) -> None:
    """Search for better settings: Optuna tries values of the keys under `search` in a member file.

    A trial is a training on one fold. After each epoch it is compared with the other trials, and ends early if its
    score is worse than their median. Ctrl-C saves a checkpoint; the same command resumes, also after a crash. It may
    run several times at once: the processes share the trials. With --on, the trials are tasks of a Ray cluster. Needs
    `pip install 'podium-kit\\[search]'`.

    podium search configs/members/demo_wide.yaml --trials 30 --write configs/members/demo_wide_best.yaml
    """
    console = make_console()
    options = make_options(data, runs, fold, limit, None, dry_run, False, time_limit)
    settings = Search(member, tuple(set_ or ()), seed, trials, startup, warmup)
    if cluster := cluster_of(on, storage, cpus_per_run, gpus_per_run, False, False, time_limit):
        from podium.workflows.cluster_search import search_on_cluster

        with show_queue(console) as show:
            result = search_on_cluster(settings, options, cluster, console, show, write)
    else:
        result = search_member(settings, options, console, write)
    _print_result(result, console)
    if write and write.exists():
        console.print(f"{write}: the best values; train with: podium train {write}", highlight=False)


def _print_result(result: SearchResult, console: Console) -> None:
    if not result.trials:
        console.print("no trial is finished yet")
        return
    complete = [trial for trial in result.trials if trial.value is not None and trial.state.name == "COMPLETE"]
    table = Table(box=None, pad_edge=False)
    keys = list(values_of(result.trials[0]))
    for heading in ("trial", result.score, *keys, "run"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for trial in complete[:SHOWN]:
        values = values_of(trial)
        run = trial.user_attrs["run"]
        table.add_row(str(trial.number), f"{trial.value:.4f}", *(values[key] for key in keys), run)
    console.print(table)
    console.print(f"{len(complete)} trials complete, {len(result.trials) - len(complete)} pruned")
    if result.importances:
        shares = ", ".join(f"{key} {share:.2f}" for key, share in result.importances.items())
        console.print(f"importance: {shares}", highlight=False)
    console.print(f"{result.folder / 'trials.csv'}\n{result.folder / 'search.png'}")
