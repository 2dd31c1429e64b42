"""`podium data download`: a competition's data from Kaggle."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, make_console
from podium.config.kaggle_names import SLUG
from podium.errors import DataError


def download(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="The last part of the competition's address.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to put it. Else data/<slug>.", show_default=False)
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read again every file that is there already.")] = False,
    debug: Debug = False,
) -> None:
    """Download a competition's data and unpack it, with checksums. Broken off, the same command goes on.

    podium data download sf-dl-car-classification
    """
    from podium.progress import format_size
    from podium.workflows.download import CHECKSUMS, known_competitions
    from podium.workflows.download import download as bring

    if not SLUG.fullmatch(slug):
        raise typer.BadParameter(
            f"{slug!r} is no slug, the last part of a competition's address, such as digit-recognizer"
        )
    console = make_console()
    if data and data.exists() and not data.is_dir():
        raise DataError(f"--data names {data}, which is no folder; give a folder, or a name that is free")
    found = bring(slug, data or Path("data") / slug, console, verify=verify)
    listed = found.folder / CHECKSUMS
    what = f"{found.files:,} files, {format_size(found.size)}"
    if found.is_new:
        console.print(f"{found.folder}: {what}, whole; checksums in {listed}")
    else:
        console.print(f"{found.folder}: all {what}, there already" + (", and what they were" if verify else ""))
    known = known_competitions().get(slug)
    if known:
        console.print(f"its competition file: {known.path}")
    else:
        console.print(f"no file in configs/competitions is for {slug} yet; copy one that is near and change it")
