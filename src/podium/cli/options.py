"""The options that commands share, each said once."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
        help="The competition's data. Else PODIUM_DATA, else data/<slug>, else where Kaggle mounts it.",
        show_default=False,
    ),
]
Runs = Annotated[Path, typer.Option(metavar="DIR", help="Where run folders are.")]
Fold = Annotated[
    list[int] | None,
    typer.Option(
        metavar="K", min=0, help="Only this fold; say it again for more. Else the config's.", show_default=False
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="At most N training rows a fold, every class kept.", show_default=False),
]
LimitTest = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Predict only N test images; the CSV says it is partial.", show_default=False
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="The whole chain, small: few rows, one epoch a stage, small images, one fold."),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on where a training was stopped, also under a changed config: learning rate, schedule, epochs,"
        " patience, batch size, stages to come.",
    ),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(
        metavar="TIME",
        parser=duration,
        help="Stop in time to be done saving after so long, such as 8h30m; the same command goes on.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the config for this run, such as stages.1.learning_rate=1e-4; may be said again."
        " In an ensemble: MEMBER.KEY=VALUE for one member, '*.KEY=VALUE' for all of them.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, max=2**31 - 1, help="Instead of the config's seed.", show_default=False)
]


def _remember_debug(debug: bool) -> bool:
    global debug_is_on
    debug_is_on = debug_is_on or debug
    return debug


debug_is_on = False
Debug = Annotated[
    bool, typer.Option("--debug", callback=_remember_debug, help="Show where an expected failure came from.")
]


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_json(content: Any) -> None:
    """The content on stdout, for other programs; paths and dates as text."""
    print(json.dumps(content, indent=2, ensure_ascii=False, default=str))


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
    return RunOptions(data, runs, tuple(fold or ()), limit, limit_test, dry_run, resume, stop_condition, command)


def resume_command() -> str:
    """The command that continues a stopped one."""
    typed = sys.argv[1:]
    trains = typed[:1] == ["train"] or typed[:2] == ["detect", "train"]
    more = ["--resume"] if trains and "--resume" not in typed else []
    return shlex.join(["podium", *typed, *more])
