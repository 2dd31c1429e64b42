"""`podium data sample`: a competition to try everything on."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, make_console

_SMALLEST, _LARGEST = 64, 4096


class Scene(StrEnum):
    """What an image shows."""

    portrait = "portrait"
    street = "street"


_SHOWN = {
    Scene.portrait: "cars that fill their images",
    Scene.street: "small cars in busy streets",
}


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is not there yet, or is empty.")],
    train: Annotated[int, typer.Option(min=20, help="Images to train on.")] = 3000,
    test: Annotated[int, typer.Option(min=10, help="Images to predict.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other images.")] = 42,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHxHEIGHT",
            help="Pixels of every image, such as 640x480.",
            show_default="about 144x108, 320x240 for a street",
        ),
    ] = None,
    scene: Annotated[
        Scene, typer.Option(help="The car fills its image (portrait), or has to be found in it (street).")
    ] = Scene.portrait,
    debug: Debug = False,
) -> None:
    """Draw a car competition: side views of eight body types, in the layout of the real one.

    podium data sample data/podium-demo-cars

    podium data sample data/podium-demo-streets --scene street
    """
    from podium.demo.competition import draw_competition

    pixels = None if size is None else _pixels(size)
    drawn = draw_competition(folder, train=train, test=test, seed=seed, size=pixels, scene=scene.value)
    make_console().print(
        f"{drawn.folder}: {drawn.train} images to train on, {drawn.test} to predict, {len(drawn.classes)} classes:"
        f" {', '.join(drawn.classes)}; {_SHOWN[scene]}"
    )


def _pixels(written: str) -> tuple[int, int]:
    width, cross, height = written.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"expected WIDTHxHEIGHT, such as 640x480: got {written!r}", param_hint="--size")
    size = int(width), int(height)
    if min(size) < _SMALLEST or max(size) > _LARGEST or not 1 <= size[0] / size[1] <= 2:
        raise typer.BadParameter(
            f"expected {_SMALLEST} to {_LARGEST} pixels each way, and up to twice as wide as high: got {written!r}",
            param_hint="--size",
        )
    return size
