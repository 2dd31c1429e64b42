"""A process that has imported what workers need, and forks one whenever it is asked to: in milliseconds, where the
imports take most of a second.

It is started before TensorFlow is imported, which takes longer and leaves all cores but one idle. It ends when this
process does, however that one ends.
"""

import atexit
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress

CAN_FORK = sys.platform == "linux"
"""Elsewhere system libraries do not outlive a fork, or there is none."""
_COMMAND = "from podium.data.worker import fork_when_asked; fork_when_asked()"
_made: list["Template"] = []
_making = threading.Lock()


class Template:
    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen([sys.executable, "-c", _COMMAND], stdin=theirs.fileno(), env=environment())

    def fork(self) -> socket.socket:
        """A connection to a new worker. OSError where the template is gone."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._orders, [b"fork"], [theirs.fileno()])
        return ours

    def end(self) -> None:
        """It finds no more orders, and ends; its workers go on."""
        with suppress(OSError):
            self._orders.close()
        self._process.wait()


def environment() -> dict[str, str]:
    """Of a process that imports what this one would."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **one_thread, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}


def template() -> Template:
    """That of this process, which begins to import when it is first asked for."""
    with _making:  # workers are started by several threads at once
        if not _made:
            _made.append(Template())
            atexit.register(_made[0].end)
        return _made[0]


def prepare_to_fork() -> None:
    """To be called before anything heavy is imported, where images may have to be prepared fast."""
    if CAN_FORK:
        with suppress(OSError):  # then threads do it all
            template()
