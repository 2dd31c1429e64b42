"""`podium jobs`: what runs on Ray clusters and on Kaggle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, Json, Runs, make_console, print_json
from podium.cli.queues import queue_table
from podium.errors import PodiumError, RunError
from podium.jobs.queue import AnyQueue
from podium.kaggle.fleet import read_fleets
from podium.workflows.cluster import read_queues, refresh, stop_jobs

Stop = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Stop the jobs of this queue on its cluster; they save checkpoints first."),
]


def jobs(stop: Stop = None, as_json: Json = False, runs: Runs = Path("runs"), debug: Debug = False) -> None:
    """List the jobs that were started with --on ray or podium fleet up, with their states.

    The states of jobs on a Ray cluster are asked for; those on Kaggle are as of the last update by podium fleet up.
    The command that started jobs follows them again, and fetches their results.

    podium jobs
    """
    console, problems = make_console(), list[str]()
    queues = read_queues(runs)
    if stop is not None:
        found = [queue for queue in queues if queue.folder.name == stop]
        if not found:
            raise RunError(f"no jobs on a cluster are named {stop}; podium jobs lists all names")
        stop_jobs(found[0])
    for queue in queues:
        if not (queue.is_finished or queue.is_stopped):
            try:
                refresh(queue)
            except PodiumError as error:
                problems.append(f"{queue.folder.name}: {error}")
    fleets, unreadable = read_fleets(runs)
    every: Sequence[AnyQueue] = (*queues, *fleets)
    if as_json:
        print_json([each.describe() for each in every])
    else:
        for each in every:
            console.print(queue_table(each))
        if not every:
            console.print(f"no jobs in {runs}; podium run ENSEMBLE.yaml --on ray starts some")
    if problems or unreadable:
        raise RunError("; ".join([*problems, *unreadable]))
