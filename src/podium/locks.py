"""One process at a time on a run folder.

The lock is the kernel's (flock), on a file beside the run folder, and goes with the process that holds it, however that
one ends. What the file says is for people: who holds it. Where the system has no flock (Windows), nothing is locked.
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

from podium.errors import RunError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]  # which is asked before it is used


LOOKS, A_LOOK = 10, 0.02
"""How often, and how many seconds apart, a lock is tried."""


def lock_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    """Hold the folder for the block; gives the name of a process that died holding it, or nothing.

    The folder itself need not be there yet, and may be removed and made again inside the block.
    """
    path = lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8", errors="backslashreplace") as opened:
        is_taken = _taken_soon(opened)
        opened.seek(0)
        holder = _one_line(opened.read())
        if not is_taken:
            raise RunError(
                f"{folder} is in use by {holder or 'another process'}; one at a time may work on it: wait for"
                " that one, or stop it first (it saves where it stands)"
            )
        _say(opened, _this_process())
        try:
            yield holder
        finally:
            _say(opened, "")


@contextmanager
def wait_for_lock(folder: Path) -> Iterator[None]:
    """Hold the folder for the block, as soon as no other process does."""
    path = lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as opened:
        if fcntl is not None:
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def lock_holder(folder: Path) -> str | None:
    """The process that works on the folder now, if one does."""
    try:
        with lock_file(folder).open(encoding="utf-8", errors="backslashreplace") as opened:
            return None if _taken(opened, shared=True) else _one_line(opened.read()) or "another process"
    except OSError:
        return None


def _taken_soon(opened: IO[str]) -> bool:
    """Someone may just be looking who holds it, as `lock_holder` does, which takes a moment."""
    for _ in range(LOOKS):
        if _taken(opened):
            return True
        time.sleep(A_LOOK)
    return False


def _taken(opened: IO[str], shared: bool = False) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(opened: IO[str], text: str) -> None:
    opened.seek(0)
    opened.truncate()
    opened.write(text)
    opened.flush()


def _this_process() -> str:
    name = Path(sys.argv[0]).name
    command = shlex.join(["podium" if name == "__main__.py" else name, *sys.argv[1:]])
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')} ({command})"
