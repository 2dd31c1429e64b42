"""The cache's bound: what podium can make again, the least recently used of it dropped first.

An entry is a folder right under one of the cache's shelves: `pictures/…` or `features/…`.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from podium.paths import cache_folder

SHELVES = ("pictures", "features")
GB = 10**9


def entry_of(shelf: str, name: str) -> Path:
    """Where an entry lies, or would lie."""
    assert shelf in SHELVES
    return cache_folder() / shelf / name


def mark_used(entry: Path) -> None:
    """It was needed just now, so that others go first."""
    with suppress(OSError):
        os.utime(entry)


def make_room(entry: Path, needed: int, cache_gb: float) -> bool:
    """Room for so many more bytes in this entry, within the bound: others are dropped, the longest unused first.

    False where even that is not enough, or the disk has not as much; then nothing is dropped.
    """
    bound = cache_gb * GB - needed - size_of(entry)
    others = sorted((_last_used(other), other, size_of(other)) for other in _entries() if other != entry)
    held = sum(size for _, _, size in others)
    if bound < 0 or _free(entry) + held < needed:
        return False
    for _, other, size in others:
        if held <= bound and _free(entry) >= needed:
            break
        drop(other)
        held -= size
    return True


def drop(entry: Path) -> None:
    """Under another name first: a process that looks for the entry finds it whole or not at all."""
    gone = entry.with_name(f".gone-{entry.name}-{os.getpid()}-{time.monotonic_ns()}")
    with suppress(OSError):
        entry.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def size_of(entry: Path) -> int:
    total = 0
    for file in entry.glob("*"):
        with suppress(OSError):
            total += file.stat().st_size
    return total


def _entries() -> list[Path]:
    """What a process that was killed left half dropped goes now."""
    entries = []
    for shelf in SHELVES:
        folder = cache_folder() / shelf
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.name.startswith(".gone-"):
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.is_dir():
                entries.append(entry)
    return entries


def _last_used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0


def _free(entry: Path) -> int:
    return shutil.disk_usage(next(place for place in (entry, *entry.parents) if place.exists())).free
