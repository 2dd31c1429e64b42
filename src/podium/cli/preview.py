"""`podium data preview`: what a model sees."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Data, Debug, Fold, MemberFile, Runs, Seed, Set, make_console, make_options


def preview(
    member: MemberFile,
    stage: Annotated[
        str | None,
        typer.Option(metavar="STAGE", help="The name of a stage, or its number from 0.", show_default="the last one"),
    ] = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    fold: Fold = None,
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Draw what a model sees: a batch with its labels, one image in ten epochs, and one in every test-time view.

    podium data preview configs/members/demo_wide.yaml
    """
    from podium.workflows.configs import load_member
    from podium.workflows.preview import preview as draw

    console = make_console()
    for path in draw(load_member(member, set_ or (), seed), stage, make_options(data, runs, fold), console):
        console.print(path, highlight=False)
