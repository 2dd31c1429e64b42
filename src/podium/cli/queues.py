"""The table of a queue of jobs, which is kept up to date while they run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from podium.errors import ConfigError
from podium.jobs.queue import AnyQueue, OnRound

if TYPE_CHECKING:
    from podium.workflows.cluster import Cluster

On = Annotated[
    str | None,
    typer.Option(
        metavar="ray[://HOST:PORT]",
        help="Run on a Ray cluster: the one that this machine belongs to, else a cluster of this machine alone.",
        show_default="this process",
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="DIR|URL",
        help="With --on: where results and checkpoints are kept, for all machines: a shared folder, s3://…, gs://…",
        show_default="a folder of this machine",
    ),
]
CpusPerRun = Annotated[
    float | None,
    typer.Option(min=1, metavar="N", help="With --on: CPUs of each run.", show_default="those of a machine"),
]
GpusPerRun = Annotated[
    float | None,
    typer.Option(min=0, metavar="N", help="With --on: GPUs of each run.", show_default="1 if there are any"),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="With --on: return at once; the same command without it fetches the results.")
]

SUBMITTED = "the jobs are submitted; podium jobs shows them; {} without --detach fetches their results"


def cluster_of(
    on: str | None,
    storage: str | None,
    cpus: float | None,
    gpus: float | None,
    detach: bool,
    resume: bool,
    time_limit: float | None,
) -> "Cluster | None":
    if on is None:
        given = {"--storage": storage, "--cpus-per-run": cpus, "--gpus-per-run": gpus, "--detach": detach or None}
        if names := [name for name, value in given.items() if value is not None]:
            raise ConfigError(f"{names[0]} is for runs on a cluster: add --on ray, or remove it")
        return None
    if resume or time_limit is not None:
        given_option = "--resume" if resume else "--time-limit"
        raise ConfigError(f"{given_option} is for runs in this process: remove it, or --on")
    if on != "ray" and not on.startswith("ray://"):
        raise ConfigError(f"--on {on}: expected ray, or ray://HOST:PORT")
    from podium.cluster.ray_cluster import Resources
    from podium.workflows.cluster import Cluster

    return Cluster(on, storage, Resources(cpus, gpus), detach)


@contextmanager
def show_queue(console: Console) -> Iterator[OnRound]:
    """A table that is updated in place on a terminal; in a log, a line for each job that has changed."""
    if console.is_terminal:
        live = Live(console=console, auto_refresh=False)

        def show(queue: AnyQueue) -> None:
            live.start()  # not before the first round, and not after the last: progress bars are live, too
            live.update(queue_table(queue), refresh=True)
            if queue.is_finished or queue.is_stopped:
                live.stop()

        try:
            yield show
        finally:
            live.stop()
        return
    printed: dict[str, tuple[str, ...]] = {}

    def print_changes(queue: AnyQueue) -> None:
        for job in queue.jobs:
            now = (job.state, job.place, job.message)
            if printed.get(job.name) != now:
                printed[job.name] = now
                console.print("  ".join(filter(None, [job.name, *now])), highlight=False)

    yield print_changes


def queue_table(queue: AnyQueue) -> Table:
    title = f"{queue.config} ({queue.folder.name}{', stopped' if queue.is_stopped else ''})"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("job", "state", queue.place_heading, "message"):
        table.add_column(heading)
    for job in queue.jobs:
        table.add_row(job.name, job.state, job.place, job.message)
    return table
