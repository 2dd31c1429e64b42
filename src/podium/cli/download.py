"""`podium data download`: a competition's data from Kaggle."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, make_console
from podium.config.kaggle_names import SLUG
from podium.errors import DataError


def download(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="The last part of the competition's URL.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The target folder. Default: data/<slug>.", show_default=False)
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the checksums of files that exist already.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Download a competition's data and unpack it, with checksums. After an interruption, the same command resumes.

    podium data download sf-dl-car-classification
    """
    from podium.progress import format_size
    from podium.workflows.download import CHECKSUMS, known_competitions
    from podium.workflows.download import download as download_competition

    if not SLUG.fullmatch(slug):
        raise typer.BadParameter(
            f"expected the last part of a competition's URL, such as digit-recognizer, got {slug!r}"
        )
    console = make_console()
    if data and data.exists() and not data.is_dir():
        raise DataError(f"--data {data} is not a folder; give a folder, or a name that does not exist yet")
    result = download_competition(slug, data or Path("data") / slug, console, verify=verify)
    files = f"{result.files:,} files, {format_size(result.size)}"
    if result.is_new:
        console.print(f"{result.folder}: {files}, complete; checksums in {result.folder / CHECKSUMS}")
    else:
        console.print(f"{result.folder}: all {files} exist already" + (", with the same checksums" if verify else ""))
    known = known_competitions().get(slug)
    if known:
        console.print(f"competition file: {known.path}")
    else:
        console.print(f"no competition file in configs/competitions for {slug}; copy a similar file and edit it")
