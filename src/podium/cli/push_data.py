"""`podium data push`: a folder to a private Kaggle dataset."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, Runs, make_console


def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder whose files are uploaded.")],
    title: Annotated[
        str | None,
        typer.Option(
            metavar="TITLE",
            help="The title, which also names the dataset. Default: podium-<name of the folder>.",
            show_default=False,
        ),
    ] = None,
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Upload a folder to a private Kaggle dataset, or to a new version of it, for kernels to attach.

    The same content is uploaded once. After an interruption, the same command resumes. The folder of a blend is
    uploaded with what its runs need to predict.

    podium data push weights --title "Car weights"
    """
    from podium.workflows.push_data import push_data

    console = make_console()
    pushed, lines = push_data(folder, console, title=title, runs=runs)
    if pushed.is_new:
        console.print(f"{pushed.name}: version {pushed.version} is ready, {pushed.url}", highlight=False)
    else:
        console.print(f"{pushed.name}: version {pushed.version} has the same files, {pushed.url}", highlight=False)
    for line in lines:
        console.print(f"use: {line}", highlight=False)
