"""`podium find-batch`: the largest and the fastest batch of a member's stages on this machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from podium.cli.options import Debug, MemberFile, Runs, Set, make_console
from podium.config.loading import load_member
from podium.errors import ConfigError
from podium.training.trials import Timed
from podium.workflows.find_batch import (
    Finder,
    Finding,
    Refused,
    is_linear,
    precision_for,
    stages_asked_for,
    write_figures,
)

UNFROZEN = {"none": "only the head learns", "all": "all of it learns"}
StageName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only this stage; else each of them.", show_default=False)
]
Largest = Annotated[int, typer.Option(metavar="N", min=1, help="The largest batch to try.")]
Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Where the chart goes, with the figures as JSON beside it. Else RUNS/find-batch/<member>-<stage>.png.",
        show_default=False,
    ),
]


def find_batch(
    member: MemberFile,
    stage: StageName = None,
    largest: Largest = 512,
    plot: Plot = None,
    runs: Runs = Path("runs"),
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Find the largest and the fastest batch for this machine, by train steps of the member's own model.

    The images are made in memory and the weights are random: neither data nor internet is needed.

    podium find-batch configs/members/xception.yaml --stage all
    """
    loaded, console = load_member(member, set_ or ()), make_console()
    numbers = stages_asked_for(loaded, stage)
    if plot and len(numbers) > 1:
        raise ConfigError(f"--plot names one file, but {loaded.name} has {len(numbers)} stages; add --stage NAME")
    finder = Finder(loaded, precision_for(loaded, console), largest, lambda one: console.print(f"  {told(one)}"))
    for number in numbers:
        one = loaded.settings.stages[number]
        learns = one.unfreeze.model_dump()
        console.print(
            f"{loaded.name}, stage {one.name}: {one.image_size} px,"
            f" {UNFROZEN.get(str(learns), f'learns: {learns}')}, {one.optimizer.name}"
            + (", as measured above" if finder.is_known(number) else "")
        )
        if one.shared_views:
            console.print("  the frozen backbone runs once a view, then only the head trains: any batch is fast")
            continue
        finding = finder.find(number)
        show(finding, console)
        keep(finding, plot or runs / "find-batch" / f"{loaded.name}-{one.name}.png", console)


def told(one: Timed | Refused) -> str:
    """While the search goes on, a line each."""
    if isinstance(one, Timed):
        return f"{one.batch_size:>4}  {one.rate:,.1f} images a second, {spell_bytes(one.memory)}"
    if one.foreseen is None:
        return f"{one.batch_size:>4}  does not fit"
    return f"{one.batch_size:>4}  would take {spell_bytes(one.foreseen)}: not tried"


def show(finding: Finding, console: Console) -> None:
    table = Table(box=None, pad_edge=False, title_justify="left")
    for heading in ("batch", "a step", "images a second", "memory", "gain", "learning rate", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for one in finding.timed:
        gain = finding.gain(one)
        marks = [
            name
            for name, marked in (("its own", finding.own), ("fastest", finding.fastest), ("largest", finding.largest))
            if marked is one
        ]
        table.add_row(
            str(one.batch_size), format_seconds(one.seconds), f"{one.rate:,.1f}", spell_bytes(one.memory),
            f"{gain:.2f}" if gain else "", f"{finding.learning_rate(one.batch_size):.3g}", ", ".join(marks),
        )  # fmt: skip
    console.print(table)
    for line in (largest_line(finding), fastest_line(finding), *advice(finding)):
        console.print(line)


def largest_line(finding: Finding) -> str:
    size = finding.largest.batch_size
    if finding.refused:
        first = finding.refused[0]
        why = "does not fit" if first.foreseen is None else f"would take {spell_bytes(first.foreseen)}"
        limit = f" of {spell_bytes(finding.limit)}" if finding.limit is not None and first.foreseen is not None else ""
        return f"largest: {size} fits, {first.batch_size} {why}{limit}"
    if finding.ended_early:
        about = f"; by its memory, about {finding.foreseen_largest} would fit" if finding.foreseen_largest else ""
        return f"largest tried: {size}, which fits; larger ones are no faster, and were not tried{about}"
    return f"largest: {size} fits, and is the largest that was asked for (--largest)"


def fastest_line(finding: Finding) -> str:
    size, gain = finding.fastest.batch_size, finding.gain(finding.fastest)
    if gain is None:
        return f"fastest: {size}; the stage's own batch of {finding.stage.batch_size} was not timed"
    if finding.fastest is finding.own:
        return f"fastest: {size}, the stage's own: nothing to change"
    return f"fastest: {size}, {gain:.2f} times the images a second of the stage's own {finding.stage.batch_size}"


def advice(finding: Finding) -> list[str]:
    """The options that use it. Nothing where the stage has it already."""
    if finding.fastest is finding.own:
        return []
    size, stage, key = finding.fastest.batch_size, finding.stage, f"stages.{finding.number}"
    rule = "in step with the batch" if is_linear(stage.optimizer) else "with the square root of the batch"
    return [
        f"use it: --set {key}.batch_size={size} --set {key}.learning_rate={finding.learning_rate(size):.3g}",
        f"the learning rate grows {rule}, as is usual for {stage.optimizer.name}, from the stage's"
        f" {stage.learning_rate:g} at {stage.batch_size}: a starting point, to be watched in the first epochs",
    ]


def keep(finding: Finding, plot: Path, console: Console) -> None:
    from podium.workflows.batch_chart import draw_finding

    figures = plot.with_suffix(".json")
    draw_finding(finding, plot)
    write_figures(finding, figures)
    console.print(f"{plot}\n{figures}")


def format_seconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def spell_bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
