"""The cache's bound: what podium can make again, the least recently used of it dropped first.

An entry is a folder right under one of the cache's shelves: `images/…` or `features/…`.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from podium.locks import lock_holder
from podium.paths import cache_folder

SHELVES = ("images", "features")
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

    Those that a process is writing stay. False where there is not enough, on the disk either; then nothing is dropped.
    """
    if available(entry, cache_gb) < needed:
        return False
    others = sorted((_last_used(other), other, size_of(other)) for other in _others(entry))
    held = sum(size for _, _, size in others)
    for _, other, size in others:
        if held + size_of(entry) + needed <= cache_gb * GB and _free(entry) >= needed:
            break
        if lock_holder(other) is None:
            drop(other)
            held -= size
    return True


def available(entry: Path, cache_gb: float) -> int:
    """How many more bytes the entry could have, if all that may be dropped was."""
    others = [(size_of(other), lock_holder(other) is None) for other in _others(entry)]
    stays = sum(size for size, may_go in others if not may_go)
    may_go = sum(size for size, may_go in others if may_go)
    return max(0, min(int(cache_gb * GB) - size_of(entry) - stays, _free(entry) + may_go))


def _reserve(usage: Any) -> int:
    """What is left of the disk for the runs: their checkpoints count more than anything here."""
    return int(min(2 * GB, 0.2 * usage.total))


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


def _others(entry: Path) -> list[Path]:
    """All entries but this one. What a process that was killed left half dropped goes now."""
    others = []
    for shelf in SHELVES:
        folder = cache_folder() / shelf
        for other in folder.iterdir() if folder.is_dir() else ():
            if other.name.startswith(".gone-"):
                shutil.rmtree(other, ignore_errors=True)
            elif other.is_dir() and other != entry:
                others.append(other)
    return others


def _last_used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0


def _free(entry: Path) -> int:
    usage = shutil.disk_usage(next(place for place in (entry, *entry.parents) if place.exists()))
    return max(0, usage.free - _reserve(usage))
