"""The table of a queue of jobs, which is kept up to date while they run."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from podium.jobs.queue import AnyQueue, OnRound


@contextmanager
def show_queue(console: Console) -> Iterator[OnRound]:
    """A table that is updated in place on a terminal; in a log, a line for each job that has changed."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda queue: live.update(queue_table(queue), refresh=True)
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
