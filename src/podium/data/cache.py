"""The size limit of the cache: the least recently used entries are deleted first.

An entry is a folder in `images/` or `features/` of the cache folder. podium can compute everything in it again.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from podium.locks import lock_holder
from podium.paths import cache_folder

KINDS = ("images", "features")
GB = 10**9


def entry_of(kind: str, name: str) -> Path:
    """The folder of an entry, which may not exist."""
    assert kind in KINDS
    return cache_folder() / kind / name


def mark_used(entry: Path) -> None:
    """Mark the entry as the most recently used."""
    with suppress(OSError):
        os.utime(entry)


def make_room(entry: Path, needed: int, cache_gb: float) -> bool:
    """Delete other entries, the least recently used first, until this one can grow by `needed` bytes within the limit.

    Entries that a process is writing are never deleted. False, with nothing deleted, if there cannot be enough room.
    """
    if available(entry, cache_gb) < needed:
        return False
    others = sorted((_last_used(other), other, size_of(other)) for other in _others(entry))
    used = size_of(entry) + sum(size for _, _, size in others)
    for _, other, size in others:
        if used + needed <= cache_gb * GB and _free(entry) >= needed:
            break
        if lock_holder(other) is None:
            delete(other)
            used -= size
    return True


def available(entry: Path, cache_gb: float) -> int:
    """How many bytes the entry could grow by if all other entries that can be deleted were."""
    others = [(size_of(other), lock_holder(other) is None) for other in _others(entry)]
    in_use = sum(size for size, is_deletable in others if not is_deletable)
    deletable = sum(size for size, is_deletable in others if is_deletable)
    return max(0, min(int(cache_gb * GB) - size_of(entry) - in_use, _free(entry) + deletable))


def delete(entry: Path) -> None:
    """Delete an entry. It is renamed first, so that other processes see either all of it or nothing."""
    renamed = entry.with_name(f".deleted-{entry.name}-{os.getpid()}-{time.monotonic_ns()}")
    with suppress(OSError):
        entry.rename(renamed)
        shutil.rmtree(renamed, ignore_errors=True)


def size_of(entry: Path) -> int:
    total = 0
    for file in entry.glob("*"):
        with suppress(OSError):
            total += file.stat().st_size
    return total


def _others(entry: Path) -> list[Path]:
    """All other entries. Removes entries that a killed process has partly deleted."""
    others = []
    for kind in KINDS:
        folder = cache_folder() / kind
        for other in folder.iterdir() if folder.is_dir() else ():
            if other.name.startswith(".deleted-"):
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
    """Free bytes on the disk, less a reserve for the runs: their checkpoints are more important than the cache."""
    usage: Any = shutil.disk_usage(next(place for place in (entry, *entry.parents) if place.exists()))
    return int(max(0, usage.free - min(2 * GB, 0.2 * usage.total)))
