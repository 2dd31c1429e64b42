"""`podium find-lr`: a learning rate range test of a member's stages."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from podium.cli.find_batch import StageName
from podium.cli.options import Data, Debug, Limit, MemberFile, Runs, Seed, Set, make_console, make_options
from podium.errors import ConfigError

if TYPE_CHECKING:
    from podium.workflows.find_lr import FoundRate

OneFold = Annotated[
    int | None,
    typer.Option("--fold", metavar="K", min=0, help="The fold to train on.", show_default="the first of the config"),
]
Steps = Annotated[int, typer.Option(metavar="N", min=20, help="Updates of the weights, each at a higher rate.")]
Lowest = Annotated[float, typer.Option(metavar="RATE", help="The first learning rate.")]
Highest = Annotated[float, typer.Option(metavar="RATE", help="The last one, unless the loss diverges before.")]
Write = Annotated[
    bool, typer.Option("--write", help="Write the suggested rates into the member file; comments and all else stay.")
]


def find_lr(
    member: MemberFile,
    stage: StageName = None,
    fold: OneFold = None,
    steps: Steps = 200,
    lowest: Lowest = 1e-7,
    highest: Highest = 1.0,
    write: Write = False,
    data: Data = None,
    runs: Runs = Path("runs"),
    limit: Limit = None,
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Find a learning rate for each stage of a member: train steps at rising rates until the loss diverges.

    It uses the stage's own batches, layers and optimizer; the stages before it are trained for one epoch each. The
    suggested rate is half of the one with the lowest loss. The curve is written to RUNS/find-lr, and nothing to the
    member's run folders.

    podium find-lr configs/members/xception.yaml --stage all
    """
    import numpy as np

    from podium.workflows.configs import load_member
    from podium.workflows.find_batch import find_stages
    from podium.workflows.find_lr import draw_curve, find_rates, write_curve
    from podium.workflows.fold_runs import fold_runs
    from podium.workflows.prepare import prepare

    if not 0 < lowest < highest:
        raise ConfigError(f"expected --lowest above 0 and below --highest, got {lowest:g} and {highest:g}")
    loaded, console = load_member(member, set_ or (), seed), make_console()
    numbers = find_stages(loaded, stage)
    options = make_options(data, runs, None if fold is None else [fold], limit)
    prepared = prepare(loaded.competition, options, console, [loaded])
    fold_run = fold_runs(loaded, prepared, options)[0]
    for found in find_rates(fold_run, numbers, np.geomspace(lowest, highest, steps), console):
        _print_found(found, fold_run.fold, console)
        path = runs / "find-lr" / f"{loaded.name}-{found.stage.name}.png"
        draw_curve(found, path)
        write_curve(found, path.with_suffix(".csv"))
        console.print(f"  {path}\n  {path.with_suffix('.csv')}")
        if write and found.suggested:
            _write(member, found, console)


def _print_found(found: "FoundRate", fold: int, console: Console) -> None:
    console.print(
        f"{found.member}, stage {found.stage.name}, fold {fold}: {len(found.losses)} steps at learning rates from"
        f" {found.rates[0]:.2g} to {found.rates[len(found.losses) - 1]:.2g}"
    )
    if found.problem:
        console.print(f"  no suggestion: {found.problem}")
    else:
        diverges = f", and above the start from {found.diverging_from:.2g} on" if found.diverging_from else ""
        console.print(
            f"  the loss falls from {found.start:.4g} to {found.lowest:.4g} at {found.rate_of_lowest:.2g}{diverges}"
        )
        console.print(
            f"  suggested: {found.suggested:.2g}, half of the rate with the lowest loss: the loss falls fast there,"
            " and a whole stage at the rate itself may diverge"
        )
    console.print(f"  configured: {found.stage.learning_rate:.2g}{_judge(found)}")


def _judge(found: "FoundRate") -> str:
    """What the test says about the configured rate."""
    configured = found.stage.learning_rate
    if found.diverging_from and configured >= found.diverging_from:
        return f", in the diverging part of the curve, from {found.diverging_from:.2g} on: lower it"
    if found.suggested is None:
        return ""
    if configured > found.rate_of_lowest:
        return ", above the rate with the lowest loss: lower it"
    return f", {configured / found.suggested:.2g} times the suggested rate"


def _write(path: Path, found: "FoundRate", console: Console) -> None:
    from podium.config.yaml_file import replace_value

    key = f"stages.{found.stage_number}.learning_rate"
    line = replace_value(path, key, f"{found.suggested:.2g}")
    console.print(f"  {path}:{line}  {key}: {found.suggested:.2g}", highlight=False)
