"""The command `podium`: its commands, its exit codes, and how a failure is told."""

import logging
import os
import sys
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from podium.cli import options
from podium.cli.commands import COMMANDS, GROUPS
from podium.errors import PodiumError, StoppedError
from podium.signals import EXIT_STOPPED, Interrupted, interruptible

if TYPE_CHECKING:
    app: typer.Typer
    """All commands, made when it is asked for."""

# TensorFlow tells of missing GPUs and of its instruction sets at every start. A person may set this lower.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each stage compiles its model anew, which TensorFlow takes for a mistake.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

HELP = (
    "From a folder of images to a leaderboard score.\n\nExit codes: 0 done, 1 an expected failure (told in one"
    " line), 2 wrong usage, 75 stopped before the end, with all saved and the command that goes on."
)


class _Overview(TyperGroup):
    """Its help is plain text: rich takes longer to import than all that podium needs for it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Printed, as typer does where it uses rich, so that it is also seen when no command is typed."""
        plain = ctx.make_formatter()
        self.format_usage(ctx, plain)
        self.format_help_text(ctx, plain)
        with plain.section("Commands"):
            plain.write_dl([*((name, command.does) for name, command in COMMANDS.items()), *GROUPS.items()])
        with plain.section("Options"):
            plain.write_dl([("--help", "Show this; after a command, all that it takes.")])
        print(plain.getvalue(), end="")


def command_line(asked: Collection[str]) -> typer.Typer:
    """podium's commands, of which only those that are asked for can do anything: the others are not imported."""
    app = typer.Typer(
        name="podium",
        cls=_Overview,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help=HELP,
    )
    for name, does in GROUPS.items():
        app.add_typer(_group(name) if name in asked else typer.Typer(callback=_not_asked), name=name, help=does)
    for name, command in COMMANDS.items():
        if name in asked:
            app.command(name)(command.function())
        else:
            app.command(name, help=command.does)(_not_asked)
    return app


def _group(name: str) -> typer.Typer:
    if name == "kernel":
        from podium.cli import kernels

        return kernels.app
    if name == "fleet":
        from podium.cli import fleet

        return fleet.app
    if name == "detect":
        from podium.cli import detection

        return detection.app
    from podium.cli import download, sample

    group = typer.Typer(no_args_is_help=True)
    group.command("sample")(sample.sample)
    group.command("download")(download.download)
    return group


def _not_asked() -> None:
    raise AssertionError("a command that was typed is one that was asked for")


def __getattr__(name: str) -> Any:
    if name == "app":
        return command_line([*COMMANDS, *GROUPS])
    raise AttributeError(name)


def main() -> None:
    """Run a command. What a user can mend is one message on stderr and exit code 1."""
    app = command_line([word for word in sys.argv[1:] if not word.startswith("-")][:1])
    try:
        with interruptible():
            app()
    except Interrupted as interrupted:
        _stopped(f"{interrupted}: stopped; what was saved holds; go on with: {options.resume_command()}")
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
    raise SystemExit(EXIT_STOPPED)


def _fail(message: str, error: BaseException) -> None:
    if options.debug_is_on:
        raise error
    with suppress(OSError):
        print(f"podium: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)
