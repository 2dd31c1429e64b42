"""`podium data sample`: draw a competition to try podium with."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, make_console

_SMALLEST, _LARGEST = 64, 4096


class Scene(StrEnum):
    """The content of the images."""

    portrait = "portrait"
    street = "street"


_DESCRIPTIONS = {
    Scene.portrait: "cars that fill their images",
    Scene.street: "small cars in busy streets",
}


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    train: Annotated[int, typer.Option(min=20, help="Training images.")] = 3000,
    test: Annotated[int, typer.Option(min=10, help="Test images.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 42,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHxHEIGHT",
            help="Size of every image, such as 640x480.",
            show_default="about 144x108, for streets 320x240",
        ),
    ] = None,
    scene: Annotated[
        Scene, typer.Option(help="Whether the car fills the image (portrait) or is small in it (street).")
    ] = Scene.portrait,
    debug: Debug = False,
) -> None:
    """Draw a competition with cars of eight body types, in the layout of a real one.

    podium data sample data/podium-demo-cars

    podium data sample data/podium-demo-streets --scene street
    """
    from podium.demo.competition import draw_competition

    pixels = None if size is None else _parse_size(size)
    drawn = draw_competition(folder, train=train, test=test, seed=seed, size=pixels, scene=scene.value)
    make_console().print(
        f"{drawn.folder}: {drawn.train} training images, {drawn.test} test images, {len(drawn.classes)} classes:"
        f" {', '.join(drawn.classes)}; {_DESCRIPTIONS[scene]}"
    )


def _parse_size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"expected WIDTHxHEIGHT, such as 640x480, got {text!r}", param_hint="--size")
    size = int(width), int(height)
    if min(size) < _SMALLEST or max(size) > _LARGEST or not 1 <= size[0] / size[1] <= 2:
        raise typer.BadParameter(
            f"expected {_SMALLEST} to {_LARGEST} pixels per side, and a width of one to two heights, got {text!r}",
            param_hint="--size",
        )
    return size
