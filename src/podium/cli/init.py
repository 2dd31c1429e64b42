"""`podium init`: the config files of a new competition, from its data."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, make_console
from podium.errors import DataError


def init(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="The folder of the data, or the slug of a downloaded competition.")
    ],
    slug: Annotated[
        str | None,
        typer.Option(metavar="SLUG", help="The last part of the competition's URL.", show_default="the folder's name"),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="KIND", help="What to predict, if the guess is wrong.", show_default="guessed from the data"
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The metric, or FILE.py:FUNCTION.",
            show_default="from the page, else the target's usual one",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of the answers.", show_default="guessed")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(metavar="FILE", help="The name of the sample submission.", show_default="guessed")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Start from recipes/NAME.yaml of --configs, such as quick, strong or last-day.",
            show_default="EfficientNetB0 in two stages",
        ),
    ] = None,
    configs: Annotated[Path, typer.Option(metavar="DIR", help="Where to write the files.")] = Path("configs"),
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that exist.")] = False,
    debug: Debug = False,
) -> None:
    """Look at a competition's data, and write commented config files for it: competition, member and ensemble.

    podium init data/my-competition

    It prints what it assumed and checks unpacked data. The files pass `podium run ENSEMBLE.yaml --dry-run` as they are.
    """
    from podium.workflows.init import init as write_configs
    from podium.workflows.init import metric_at_kaggle

    console = make_console()
    folder = Path(data) if Path(data).is_dir() else Path("data") / data
    if not folder.is_dir():
        raise DataError(
            f"neither {data} nor {folder} is a folder; give the folder of the data, or download it with"
            f" podium data download {data if '/' not in data else 'SLUG'}"
        )
    of_page = metric_at_kaggle(data, console) if metric is None and folder != Path(data) else None
    started = write_configs(
        folder,
        configs,
        console,
        slug=slug,
        target=target,
        metric=metric,
        label=label,
        sample=sample,
        recipe=recipe,
        replace_files=replace,
        metric_of_page=of_page,
    )
    for path in (started.competition, started.member, started.ensemble):
        console.print(f"{path}: written", highlight=False, soft_wrap=True)
    console.print("assumed:", highlight=False)
    for assumption in started.assumptions:
        console.print(f"  {assumption}", highlight=False, soft_wrap=True)
    if started.problems:
        advice = f"correct the data or {started.competition}, or give another --target; then: {started.next}"
        raise DataError("\n".join([*started.problems, advice]))
    console.print(f"next: {started.next}", highlight=False, soft_wrap=True)
