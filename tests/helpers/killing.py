"""Run the command line in processes of its own, and kill one of them when its run folder shows a chosen sign.

As a script this is the process they are forked from. It has imported everything and run nothing, so TensorFlow starts
afresh in each of them, as in a process of the command line, but is not read from disk again.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from podium.files import read_json

POLL = 0.0003
"""Seconds between two looks at a run folder. A checkpoint takes a few milliseconds to write."""


class Starter:
    """A context manager that starts `podium …`, one process at a time."""

    def __enter__(self):
        # Python 3.12 and later warn of forking where there are threads; those are NumPy's, which minds forks.
        command = [sys.executable, "-W", "ignore::DeprecationWarning", __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._last = None
        return self

    def __exit__(self, *error):
        with self._process:
            if self._last and self._last.is_alive():  # a test failed
                os.kill(self._last.pid, signal.SIGKILL)

    def start(self, folder, log, *arguments):
        """Start `podium …` in this folder, with its output in the file `log`."""
        order = {"folder": str(folder), "log": str(log), "arguments": arguments, "environment": dict(os.environ)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._last = Podium(int(self._process.stdout.readline()), self._process.stdout)
        return self._last


class Podium:
    """A process of the command line."""

    def __init__(self, pid, ending):
        self.pid, self.began = pid, time.time()
        self._ending, self._code = ending, None

    def is_alive(self):
        return self._code is None and not select.select([self._ending], [], [], 0)[0]

    def wait(self):
        """Its exit code; the negative number of the signal if it was killed."""
        if self._code is None:
            self._code = int(self._ending.readline())
        return self._code


def serve():
    """Start a process for each line; print its id when it starts and its exit code when it ends."""
    import podium.cli.main
    import podium.inference.predict
    import podium.training.classification
    import podium.training.trainer

    while line := sys.stdin.readline():
        pid = os.fork()
        if not pid:
            take_place(**json.loads(line))
            podium.cli.main.main()
            return
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def take_place(folder, log, arguments, environment):
    """Become a process of the command line in this folder."""
    for number, path in enumerate((os.devnull, log, log)):
        with Path(path).open("ab" if number else "rb") as file:
            os.dup2(file.fileno(), number)
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["podium", *arguments]


def torn_files(run, since=0.0):
    """Temporary files in the run folder: something is being saved, or was when a process was killed."""
    names = set()
    for folder in (run.path, run.path / "checkpoints"):
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".writing-") and entry.stat().st_mtime > since:
                    names.add(entry.name)
    return frozenset(names)


def _state(run, since):
    """The last checkpoint, as in state.json."""
    path = run.path / "state.json"
    if not path.is_file() or path.stat().st_mtime <= since:
        return None
    message = read_json(path)
    return message if "epoch" in message else None


def _mid_epoch(run, since):
    state = _state(run, since)
    return state and state["step"] and (state["stage"], state["epoch"], state["step"])


def _between_epochs(run, since):
    state = _state(run, since)
    return state and not state["step"] and (state["stage"], state["epoch"])


def _between_stages(run, since):
    state = _state(run, since)
    return state and state["epoch"] == state["epochs"] and state["stage"]


def _at_the_end(run, since):
    return run.best_weights.is_file()


SIGNS: dict[str, Callable] = {
    "begun": lambda run, since: True,
    "saving": torn_files,
    "mid-epoch": _mid_epoch,
    "between epochs": _between_epochs,
    "between stages": _between_stages,
    "the end": _at_the_end,
}
"""By name, what each sees in a run folder of the time since then: another thing each time that the sign is met anew."""


@dataclass(frozen=True)
class Moment:
    """So many seconds after the sign was met for the n-th time."""

    sign: str
    nth: int
    seconds: float

    def __str__(self):
        return f"{self.sign} no. {self.nth} + {1000 * self.seconds:.1f} ms"


def kill_at(process, run, moment):
    """Kill the process at this moment, unless it ends before; gives its exit code.

    It is held for a last look first, and let go until the next time if the sign has gone meanwhile.
    """
    sign, seconds = partial(SIGNS[moment.sign], run, process.began), moment.seconds
    met, before = 0, None
    while process.is_alive():
        seen = sign()
        met += bool(seen) and seen != before
        before = seen
        if seen and met >= moment.nth:
            time.sleep(seconds)
            seconds = 0.0
            if _is_killed_under(process, sign):
                break
        time.sleep(POLL)
    return process.wait()


def _is_killed_under(process, sign):
    if not process.is_alive():
        return False
    os.kill(process.pid, signal.SIGSTOP)
    if sign():
        os.kill(process.pid, signal.SIGKILL)
        return True
    os.kill(process.pid, signal.SIGCONT)
    return False


if __name__ == "__main__":
    serve()
