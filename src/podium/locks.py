"""One process at a time in a run folder.

The lock is the operating system's (flock), on a file next to the folder. It is released when its process ends, even if
it is killed. The file describes the process that holds it. On systems without flock (Windows) nothing is locked.
"""

import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from podium.errors import InUseError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]  # checked before every use


ATTEMPTS, SECONDS_BETWEEN = 10, 0.02
"""For taking a lock, which `lock_holder` in another process may hold for a moment."""


def lock_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    """Hold the folder's lock; yields the name of a process that died holding it, or an empty string.

    The folder need not exist, and may be removed and recreated within the block.
    """
    path = lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8", errors="backslashreplace") as file:
        is_taken = _take(file)
        file.seek(0)
        holder = _one_line(file.read())
        if not is_taken:
            raise InUseError(
                f"{folder} is in use by {holder or 'another process'}: wait until it ends, or stop it (a training saves"
                " a checkpoint first)"
            )
        _write(file, _this_process())
        try:
            yield holder
        finally:
            _write(file, "")


@contextmanager
def wait_for_lock(folder: Path) -> Iterator[None]:
    """Wait until no other process holds the folder's lock, then hold it."""
    path = lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock_holder(folder: Path) -> str | None:
    """The process that holds the folder's lock now, if any."""
    try:
        with lock_file(folder).open(encoding="utf-8", errors="backslashreplace") as file:
            return None if _try_lock(file, shared=True) else _one_line(file.read()) or "another process"
    except OSError:
        return None


def _take(file: IO[str]) -> bool:
    for _ in range(ATTEMPTS):
        if _try_lock(file):
            return True
        time.sleep(SECONDS_BETWEEN)
    return False


def _try_lock(file: IO[str], shared: bool = False) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _write(file: IO[str], text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _this_process() -> str:
    name = Path(sys.argv[0]).name
    command = shlex.join(["podium" if name == "__main__.py" else name, *sys.argv[1:]])
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')} ({command})"
