"""The options that several commands share."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.console import UNPRINTABLE
from podium.console import make_console as make_console
from podium.signals import StopCondition, parse_duration

if TYPE_CHECKING:
    from podium.options import RunOptions


def duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


MemberFile = Annotated[
    Path, typer.Argument(metavar="MEMBER.yaml", help="A member file, such as configs/members/xception.yaml.")
]
DetectorFile = Annotated[
    Path, typer.Argument(metavar="DETECTOR.yaml", help="A detector file, such as configs/detectors/boats.yaml.")
]
EnsembleFile = Annotated[
    Path, typer.Argument(metavar="ENSEMBLE.yaml", help="An ensemble file, such as configs/ensembles/sf_dl_cars.yaml.")
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The folder of the competition's data.",
        show_default="PODIUM_DATA, else data/<slug>, else where Kaggle mounts it",
    ),
]
Runs = Annotated[Path, typer.Option(metavar="DIR", help="The folder with all runs.")]
Fold = Annotated[
    list[int] | None,
    typer.Option(metavar="K", min=0, help="Only this fold; repeatable.", show_default="those of the config"),
]
Limit = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Train on at most N rows per fold, with all classes represented.", show_default=False
    ),
]
TrainedLimit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, help="Use the runs that were trained with this --limit.", show_default=False
    ),
]
LimitTest = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Predict only N test images; the CSV is marked as partial.", show_default=False
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Check that everything works: few rows, one epoch per stage, small images, one fold."
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue a stopped training, also with a changed config: learning rate, schedule, epochs, patience,"
        " batch size, later stages.",
    ),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(
        metavar="TIME",
        parser=duration,
        help="Save a checkpoint and stop within this time, such as 8h30m; the same command resumes.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the config for this run, such as stages.1.learning_rate=1e-4; repeatable."
        " In an ensemble: MEMBER.KEY=VALUE for one member, '*.KEY=VALUE' for all of them.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, max=2**31 - 1, help="The random seed.", show_default="that of the config")
]


def _remember_debug(debug: bool) -> bool:
    global debug_is_on
    debug_is_on = debug_is_on or debug
    return debug


debug_is_on = False
Debug = Annotated[
    bool, typer.Option("--debug", callback=_remember_debug, help="Show the traceback of an expected failure.")
]


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_json(content: Any) -> None:
    """Print the content as JSON; paths and dates are strings. What a terminal would obey is escaped."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    print(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def make_options(
    data: Path | None,
    runs: Path,
    fold: list[int] | None = None,
    limit: int | None = None,
    limit_test: int | None = None,
    dry_run: bool = False,
    resume: bool = False,
    time_limit: float | None = None,
) -> "RunOptions":
    from podium.options import RunOptions

    stop_condition, command = StopCondition(time_limit), resume_command()
    return RunOptions(
        data, runs, tuple(fold or ()), limit, limit_test, dry_run, resume, stop_condition, command, live_page=True
    )


_TRAINING = (["demo"], ["detect", "train"], ["run"], ["search"], ["train"])
"""The commands that save checkpoints."""


def how_to_continue() -> str:
    """What to do after a signal that has ended the command."""
    trains = any(sys.argv[1 : 1 + len(words)] == words for words in _TRAINING)
    return f"{'saved checkpoints are intact; ' * trains}resume with: {resume_command()}"


def resume_command() -> str:
    """The command that resumes a stopped run."""
    typed = sys.argv[1:]
    trains = typed[:1] == ["train"] or typed[:2] == ["detect", "train"]
    is_on_cluster = any(word.partition("=")[0] == "--on" for word in typed)  # resumes without being asked
    more = ["--resume"] if trains and not is_on_cluster and "--resume" not in typed else []
    return shlex.join(["podium", *typed, *more])
