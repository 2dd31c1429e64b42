"""`podium detect crop`: a competition whose images show their object alone."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Data, Debug, Runs, make_console
from podium.detection.config import BoxChoice, CropMethod, CropOptions
from podium.detection.crop import Asked
from podium.detection.crop import crop as crop_competition
from podium.detection.loading import load_detector

CompetitionFile = Annotated[
    Path,
    typer.Argument(
        metavar="COMPETITION.yaml", help="A competition, such as configs/competitions/podium-demo-cars.yaml."
    ),
]
DetectorFile = Annotated[
    Path | None,
    typer.Option(metavar="DETECTOR.yaml", help="A detector that is trained: podium detect train.", show_default=False),
]
BoxesFile = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        help="Instead of a detector: boxes.csv of podium detect predict, or known boxes in that form.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="A new folder for images and tables. Else data/<slug of the new one>.", show_default=False
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The new competition file. Else competition.yaml in DIR.", show_default=False),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="As it was for podium detect train; may be said again.", show_default=False
    ),
]


def crop(
    competition: CompetitionFile,
    detector: DetectorFile = None,
    boxes: BoxesFile = None,
    out: Out = None,
    config: ConfigFile = None,
    kind: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="The object. Else the only class there is.", show_default=False),
    ] = None,
    how: Annotated[
        CropMethod, typer.Option(help="Cut to the object; or blur what is around it, or make that all grey, or black.")
    ] = "crop",
    margin: Annotated[
        float, typer.Option(min=0.0, max=10.0, help="Added on each side: a share of the box's width, and height.")
    ] = 0.1,
    square: Annotated[
        bool | None,
        typer.Option(
            "--square/--no-square",
            help="Grow the box to a square, as far as the image goes. Nothing is stretched.",
            show_default="where it is cut",
        ),
    ] = None,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0, help="The score from which on a box counts.")] = 0.3,
    choose: Annotated[
        BoxChoice,
        typer.Option(help="Of several boxes the one of the best score; the largest; or by score times share of area."),
    ] = "both",
    size: Annotated[
        int | None,
        typer.Option(metavar="PX", min=8, help="Shrink what has a longer side to so many pixels.", show_default=False),
    ] = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    set_: Set = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, help="The detector's, as for --set.", show_default=False)
    ] = None,
    debug: Debug = False,
) -> None:
    """Find the object of each image of a competition, cut the image to it, or take its background away, and write
    that as a new competition, of the same rows and folds. An image in which nothing is found stays whole.

    podium detect crop configs/competitions/podium-demo-cars.yaml --detector configs/detectors/demo_cars.yaml
    """
    if (detector is None) == (boxes is None):
        raise typer.BadParameter(
            "expected one of both: a detector, or a table of boxes", param_hint="--detector, --boxes"
        )
    if boxes is not None and (set_ or seed is not None):
        raise typer.BadParameter("is for a detector, and --boxes needs none", param_hint="--set, --seed")
    is_square = how == "crop" if square is None else square
    wishes = CropOptions(kind or "", how, choose, threshold, margin, is_square, size)
    loaded = load_detector(detector, set_ or (), seed) if detector else None
    crop_competition(Asked(competition, loaded, boxes, wishes, out, config, data, runs), make_console())
