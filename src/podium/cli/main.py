"""The command `podium`: its verbs, its exit codes, and how a failure is told."""

import logging
import os
import sys

import typer

from podium.cli import demo, doctor, ensembles, members, options, sample, submissions
from podium.errors import PodiumError

# TensorFlow tells of missing GPUs and of its instruction sets at every start. A person may set this lower.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each stage compiles its model anew, which TensorFlow takes for a mistake.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

INTERRUPTED = 130
"""What Typer exits with after Ctrl-C."""

app = typer.Typer(
    name="podium",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a folder of pictures to a leaderboard score.\n\nExit codes: 0 done, 1 an expected failure (told in one"
    " line), 2 wrong usage.",
)
data_app = typer.Typer(no_args_is_help=True, help="Get data.")
app.add_typer(data_app, name="data")
app.command("demo")(demo.demo)
data_app.command("sample")(sample.sample)
app.command("train")(members.train)
app.command("predict")(members.predict)
app.command("blend")(ensembles.blend)
app.command("run")(ensembles.run)
app.command("check")(submissions.check)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run a verb. What a user can mend is one message on stderr and exit code 1."""
    try:
        app()
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("podium: stopped by Ctrl-C; the same command goes on after the last finished step", file=sys.stderr)
        raise
    except PodiumError as error:
        _fail(str(error), error)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        _fail(f"the system refused{place}: {error.strerror or error}; mend that and run the same command again", error)


def _fail(message: str, error: BaseException) -> None:
    if options.debug_is_on:
        raise error
    print(f"podium: {message}", file=sys.stderr)
    raise SystemExit(1)
