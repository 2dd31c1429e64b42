"""`podium data sample`: a competition to try everything on."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, make_console


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is not there yet, or is empty.")],
    train: Annotated[int, typer.Option(min=20, help="Pictures to train on.")] = 3000,
    test: Annotated[int, typer.Option(min=10, help="Pictures to predict.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other pictures.")] = 42,
    debug: Debug = False,
) -> None:
    """Draw a car competition: side views of eight body types, in the layout of the real one.

    podium data sample data/podium-demo-cars
    """
    from podium.data.sample.competition import draw_competition

    drawn = draw_competition(folder, train=train, test=test, seed=seed)
    make_console().print(
        f"{drawn.folder}: {drawn.train} pictures to train on, {drawn.test} to predict, {len(drawn.classes)} classes:"
        f" {', '.join(drawn.classes)}"
    )
