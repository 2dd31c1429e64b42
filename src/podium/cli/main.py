"""The command `podium`: its verbs, its exit codes, and how a failure is told."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from podium.cli import demo, doctor, ensembles, members, options, runs, sample, submissions
from podium.errors import PodiumError, StoppedError

# TensorFlow tells of missing GPUs and of its instruction sets at every start. A person may set this lower.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each stage compiles its model anew, which TensorFlow takes for a mistake.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

INTERRUPTED = 130
"""What Typer exits with after Ctrl-C."""
STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: not done, but nothing is wrong; the same command goes on."""

app = typer.Typer(
    name="podium",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a folder of pictures to a leaderboard score.\n\nExit codes: 0 done, 1 an expected failure (told in one"
    " line), 2 wrong usage, 75 stopped before the end, with all saved and the command that goes on.",
)
data_app = typer.Typer(no_args_is_help=True, help="Get data.")
app.add_typer(data_app, name="data")
app.command("demo")(demo.demo)
data_app.command("sample")(sample.sample)
app.command("train")(members.train)
app.command("predict")(members.predict)
app.command("blend")(ensembles.blend)
app.command("run")(ensembles.run)
app.command("runs")(runs.runs)
app.command("set")(runs.set_)
app.command("check")(submissions.check)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run a verb. What a user can mend is one message on stderr and exit code 1."""
    try:
        with sigterm_like_ctrl_c():
            app()
    except SystemExit as ended:
        if ended.code != INTERRUPTED:
            raise
        _stopped(f"stopped; what was saved holds; go on with: {options.going_on_command()}")
    except StoppedError as stopped:
        _stopped(str(stopped))
    except PodiumError as error:
        _fail(str(error), error)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        _fail(f"the system refused{place}: {error.strerror or error}; mend that and run the same command again", error)


@contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """Where a training does not listen for signals itself."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(message: str) -> None:
    print(f"podium: {message}", file=sys.stderr)
    raise SystemExit(STOPPED)


def _fail(message: str, error: BaseException) -> None:
    if options.debug_is_on:
        raise error
    print(f"podium: {message}", file=sys.stderr)
    raise SystemExit(1)
