"""How far something is that takes long: a bar on a terminal, a line a minute in a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

A_LINE_EVERY = 60.0
"""Seconds between two lines of a log."""


@contextmanager
def show_progress(
    console: Console, what: str, size: int, spell: Callable[[int], str] | None = None
) -> Iterator[Callable[[int], None]]:
    """Say how much of about `size` is done: a bar on a terminal, a line a minute in a log. Bytes, or what `spell`
    says."""
    if console.is_terminal:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        amount = DownloadColumn() if spell is None else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(what, total=size)
            yield lambda done: progress.update(task, completed=done)
            progress.update(task, completed=size)
        return
    spell = spell or format_size
    console.print(f"{what}, {spell(size)}")
    told_at = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= A_LINE_EVERY:
            told_at = time.monotonic()
            console.print(f"{what}: {spell(done)} of about {spell(size)}")

    yield tell


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
