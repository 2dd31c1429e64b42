"""`podium soup`: average the weights of finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Data, Debug, Runs, make_console, make_options

RunFolders = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Folders of finished runs, or of single folds, with one architecture."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.yaml",
        help="The member file to write, in the folder of the other member files.",
        show_default="configs/members/<best member>_soup.yaml",
    ),
]


def soup(
    folders: RunFolders,
    out: Out = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    debug: Debug = False,
) -> None:
    """Average the weights of finished runs of one architecture, as far as that improves the validation score.

    A greedy soup: from the best run on, each joins if the score of the mean weights does not fall. It is written as a
    member file and its run folder, which can be predicted and blended like others.

    podium soup runs/xception-1a2b3c4d runs/xception-5e6f7a8b
    """
    from podium.workflows.configs import load_member
    from podium.workflows.soup import write_soup_member
    from podium.workflows.train import train_member

    console = make_console()
    file, folds = write_soup_member(folders, out, make_options(data, runs))
    console.print(f"{file}: the member file of the soup", highlight=False)
    train_member(load_member(file), make_options(data, runs, folds), console)
