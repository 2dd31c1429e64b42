"""The command `podium`: its commands, its exit codes and its error messages."""

import io
import logging
import os
import sys
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from podium import __version__
from podium.cli import options
from podium.cli.commands import COMMANDS, GROUPS
from podium.console import message_text
from podium.errors import PodiumError, StoppedError
from podium.signals import EXIT_STOPPED, Interrupted, interruptible

if TYPE_CHECKING:
    app: typer.Typer
    """All commands; created on first use."""

# TensorFlow prints messages about missing GPUs and instruction sets at every start. Users can set a lower level.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each stage compiles its model again, which TensorFlow warns about.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

HELP = (
    "Keras ensembles for image competitions: from a folder of images to a leaderboard score.\n\nExit codes: 0 done,"
    " 1 an expected failure (a message in one line), 2 wrong usage, 75 stopped early by a signal or a time limit (the"
    " message has the command that continues)."
)
_COMPLETION_VARIABLE = "_PODIUM_COMPLETE"
"""Set by the shell when it asks for completions."""


class _Overview(TyperGroup):
    """A group with its help in plain text: importing rich takes longer than everything else."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        _hide_types_of_flags(self)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print it directly, as typer does with rich, so that it is also shown without a command."""
        plain = ctx.make_formatter()
        self.format_usage(ctx, plain)
        self.format_help_text(ctx, plain)
        with plain.section("Commands"):
            plain.write_dl([*((name, command.help) for name, command in COMMANDS.items()), *GROUPS.items()])
        with plain.section("Options"):
            plain.write_dl([record for option in self.get_params(ctx) if (record := option.get_help_record(ctx))])
        print(plain.getvalue(), end="")


def command_line(names: Collection[str]) -> typer.Typer:
    """The command line. Only the commands and groups with these names are imported; the others are listed."""
    app = typer.Typer(name="podium", cls=_Overview, no_args_is_help=True, pretty_exceptions_enable=False, help=HELP)
    app.callback()(_options)
    for name, help_ in GROUPS.items():
        app.add_typer(_group(name) if name in names else typer.Typer(callback=_placeholder), name=name, help=help_)
    for name, command in COMMANDS.items():
        if name in names:
            app.command(name)(command.function())
        else:
            app.command(name, help=command.help)(_placeholder)
    return app


def _print_version(value: bool) -> None:
    if value:
        print(f"podium {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _group(name: str) -> typer.Typer:
    if name == "config":
        from podium.cli import configs

        return configs.app
    if name == "kernel":
        from podium.cli import kernels

        return kernels.app
    if name == "fleet":
        from podium.cli import fleet

        return fleet.app
    if name == "detect":
        from podium.cli import detect

        return detect.app
    from podium.cli import data_check, download, label_errors, preview, push_data, sample

    group = typer.Typer(no_args_is_help=True)
    group.command("sample")(sample.sample)
    group.command("download")(download.download)
    group.command("push")(push_data.push)
    group.command("check")(data_check.check)
    group.command("preview")(preview.preview)
    group.command("errors")(label_errors.errors)
    return group


def _placeholder() -> None:
    raise AssertionError("this command was not imported")


def __getattr__(name: str) -> Any:
    if name == "app":
        return command_line([*COMMANDS, *GROUPS])
    raise AttributeError(name)


def main() -> None:
    """Run a command. An expected failure is a message on stderr and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names and texts may have characters that it cannot encode
            stream.reconfigure(errors="backslashreplace")
    try:
        app = command_line(_typed_words()[:1])
        with interruptible():
            app(prog_name="podium")
    except Interrupted as interrupted:
        _stopped(f"{interrupted}: stopped; {options.how_to_continue()}")
    except StoppedError as stopped:
        _stopped(str(stopped))
    except PodiumError as error:
        _fail(str(error), error)
    except OSError as error:
        path = f"{error.filename}: " if error.filename else ""
        _fail(f"{path}{error.strerror or error}; fix that and run the same command again", error)
    except ModuleNotFoundError as error:
        from podium.cli.doctor import distribution_of

        distribution = distribution_of(error.name or "")
        if distribution is None:
            raise
        _fail(f"{distribution} is not installed; podium doctor names what is missing and how to get it", error)


def _hide_types_of_flags(command: Any) -> None:
    """Typer would show `--resume <bool>` in a help, though a flag takes no value."""
    for option in command.get_params(command.context_class(command)):
        if getattr(option, "is_flag", False):
            option.metavar = ""
    for subcommand in getattr(command, "commands", {}).values():
        _hide_types_of_flags(subcommand)


def _typed_words() -> list[str]:
    """The words of the command line without options, also when the shell asks to complete it."""
    words = sys.argv[1:]
    if _COMPLETION_VARIABLE in os.environ:
        words = (os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")).split()[1:]
    return [word for word in words if not word.startswith("-")]


def _stopped(message: str) -> None:
    with suppress(OSError):  # stderr may be closed
        print(f"podium: {message_text(message)}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_STOPPED)


def _fail(message: str, error: BaseException) -> None:
    if options.debug_is_on:
        raise error
    with suppress(OSError):
        print(f"podium: {message_text(message)}", file=sys.stderr, flush=True)
    raise SystemExit(1)
