"""Progress of long work: a bar on a terminal or in a notebook, a line every minute in a log."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console

from podium.console import is_notebook

SECONDS_BETWEEN_LINES = 60.0
"""In a log."""
Item = TypeVar("Item")
Advance = Callable[[int, str | None], None]
"""Called with the amount done since the last call, and a new description or None."""


@contextmanager
def progress_bar(
    console: Console, description: str, total: int, completed: int = 0, *, is_bytes: bool = False
) -> Iterator[Advance]:
    """Show a progress bar within the block, if the console can."""
    if not _has_bar(console):
        yield lambda amount, description: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from podium.notebook import NotebookProgress

    count = DownloadColumn() if is_bytes else MofNCompleteColumn()
    columns = (TextColumn("  {task.description}", markup=False), BarColumn(), count, TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True) if console.is_terminal else NotebookProgress(*columns)
    with bar as progress:
        task = progress.add_task(description, total=total, completed=completed)
        yield lambda amount, description: progress.update(task, advance=amount, description=description)


def _has_bar(console: Console) -> bool:
    return console.is_terminal or (is_notebook() and not console.quiet)


@contextmanager
def show_progress(
    console: Console, description: str, total: int, format_count: Callable[[int], str] | None = None
) -> Iterator[Callable[[int], None]]:
    """Show progress towards about `total`. Yields a function to call with the amount so far, bytes by default."""
    format_count = format_count or format_size
    has_bar = _has_bar(console)
    if not has_bar:
        console.print(f"{description}, {format_count(total)}")
    done, printed_at = 0, time.monotonic()
    with progress_bar(console, description, total, is_bytes=format_count is format_size) as advance:

        def update(amount: int) -> None:
            nonlocal done, printed_at
            advance(amount - done, None)
            done = amount
            if not has_bar and time.monotonic() - printed_at >= SECONDS_BETWEEN_LINES:
                printed_at = time.monotonic()
                console.print(f"{description}: {format_count(done)} of about {format_count(total)}")

        yield update


def tracked(items: Iterable[Item], description: str, total: int, console: Console) -> Iterable[Item]:
    """The items, with a bar on a terminal; in a log, rich would print a blank line."""
    if not console.is_terminal:
        return items
    from rich.progress import track

    return track(items, f"  {description}", total=total, console=console, transient=True)


def format_size(size: int) -> str:
    for unit, bytes_ in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"


def format_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
