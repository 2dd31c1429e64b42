"""`podium plan`: hours, disk and memory, estimated before anything is trained."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from podium.cli.options import Data, Debug, Fold, Json, Runs, Seed, Set, make_console, make_options, print_json
from podium.workflows.plan import Plan, make_plan

GB = 1e9


def plan(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="A member or an ensemble file.")],
    data: Data = None,
    runs: Runs = Path("runs"),
    fold: Fold = None,
    set_: Set = None,
    seed: Seed = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Estimate the hours, the disk space and the memory of a training on this machine; a minute for each member.

    It reads the tables, and times training steps on random images, and reading and augmentation on some of the
    training images. Nothing else may run on the machine meanwhile.

    podium plan configs/ensembles/sf_dl_cars.yaml
    """
    console = make_console()
    quiet = Console(quiet=True) if as_json else console
    found = make_plan(config, make_options(data, runs, fold), quiet, set_ or (), seed)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found, console)


def _print(found: Plan, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("member", "stage", "images per fold", "images/s", "minutes per fold", "folds"):
        table.add_column(heading, justify="left" if heading in ("member", "stage") else "right")
    for part in found.parts:
        speed = part.images / part.seconds
        cells = (f"{part.images:,}", f"{speed:,.0f}", f"{part.seconds / 60:.1f}", str(part.folds))
        table.add_row(part.member, part.name, *cells)
    console.print(table)
    lines = (
        f"images: {found.train:,} to train on, {found.test:,} to predict",
        f"time: about {found.hours:.1f} hours for all folds, with {found.reading / 60:.1f} minutes to read the files",
        f"disk: {found.cache / GB:.1f} GB of decoded images, as far as cache_gb of the members allows",
        f"memory: about {found.memory / GB:.1f} GB",
    )
    console.print("\n".join(lines), highlight=False)
