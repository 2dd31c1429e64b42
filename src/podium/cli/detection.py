"""`podium detect …`: sets of boxes, built and handed on; and the group that all its commands are in."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from podium.cli import detect_crop, detect_log, detectors
from podium.cli.commands import GROUPS
from podium.cli.detectors import Data
from podium.cli.options import Debug, DetectorFile, Runs, TimeLimit, make_console, resume_command
from podium.detection.loading import load_detector
from podium.signals import StopCondition
from podium.workflows.detect_build import Form, Where, build, export, export_transfer

app = typer.Typer(no_args_is_help=True, help=GROUPS["detect"])
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the detector file for this run, such as keep.group=true; may be said again.",
        show_default=False,
    ),
]


@app.command("build")
def build_(
    detector: DetectorFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    time_limit: TimeLimit = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Build the set of boxes in RUNS/boxes/<slug>: boxes chosen and cleaned, images found or fetched, set upright,
    and split.

    podium detect build configs/detectors/boats.yaml --data data/openimages
    """
    loaded = load_detector(detector, set_ or ())
    build(loaded, Where.of(loaded, data, runs), make_console(), StopCondition(time_limit), resume_command())


@app.command("export")
def export_(
    detector: DetectorFile,
    target: Annotated[Path, typer.Argument(metavar="PATH", help="A new folder; for transfer a file.")],
    form: Annotated[Form, typer.Option("--as", help="yolo, voc, coco; or transfer, a list of addresses.")],
    images: Annotated[
        Literal["copy", "link", "none"], typer.Option(help="What becomes of the images in yolo, voc and coco.")
    ] = "copy",
    data: Data = None,
    runs: Runs = Path("runs"),
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Hand on a set that was built, in the form of YOLO, Pascal VOC or COCO; or, before any image is there, the list
    of their addresses for a storage transfer service.

    podium detect export configs/detectors/boats.yaml exported/boats --as yolo
    """
    loaded, console = load_detector(detector, set_ or ()), make_console()
    where = Where.of(loaded, data, runs)
    if form == "transfer":
        export_transfer(loaded, where, target, console)
    else:
        export(loaded, where, target, form, images, console)


app.command("train")(detectors.train)
app.command("evaluate")(detectors.evaluate)
app.command("predict")(detectors.predict)
app.command("crop")(detect_crop.crop)
app.command("import-log")(detect_log.import_log)
