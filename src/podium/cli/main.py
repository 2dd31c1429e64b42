"""The command `podium`: its verbs, its exit codes, and how a failure is told."""

import logging
import os
import sys
from contextlib import suppress

import typer

from podium.cli import (
    demo,
    doctor,
    download,
    ensembles,
    fleet,
    kernels,
    leaderboard,
    members,
    options,
    runs,
    sample,
    submissions,
)
from podium.errors import PodiumError, StoppedError
from podium.stopping import STOPPED, Interrupted, interruptible

# TensorFlow tells of missing GPUs and of its instruction sets at every start. A person may set this lower.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each stage compiles its model anew, which TensorFlow takes for a mistake.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

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
app.add_typer(kernels.app, name="kernel")
app.add_typer(fleet.app, name="fleet")
app.command("demo")(demo.demo)
data_app.command("sample")(sample.sample)
data_app.command("download")(download.download)
app.command("train")(members.train)
app.command("predict")(members.predict)
app.command("blend")(ensembles.blend)
app.command("run")(ensembles.run)
app.command("runs")(runs.runs)
app.command("set")(runs.set_)
app.command("check")(submissions.check)
app.command("submit")(leaderboard.submit)
app.command("board")(leaderboard.board)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run a verb. What a user can mend is one message on stderr and exit code 1."""
    try:
        with interruptible():
            app()
    except Interrupted as interrupted:
        _stopped(f"{interrupted}: stopped; what was saved holds; go on with: {options.going_on_command()}")
    except StoppedError as stopped:
        _stopped(str(stopped))
    except PodiumError as error:
        _fail(str(error), error)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        _fail(f"the system refused{place}: {error.strerror or error}; mend that and run the same command again", error)


def _stopped(message: str) -> None:
    with suppress(OSError):  # nobody may be reading any more
        print(f"podium: {message}", file=sys.stderr, flush=True)
    raise SystemExit(STOPPED)


def _fail(message: str, error: BaseException) -> None:
    if options.debug_is_on:
        raise error
    with suppress(OSError):
        print(f"podium: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)
