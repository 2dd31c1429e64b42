"""`podium find-batch`: the largest and the fastest batch of a member's stages on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from podium.cli.options import Debug, MemberFile, Runs, Set, make_console
from podium.config.loading import load_member
from podium.errors import ConfigError
from podium.files import write_json
from podium.workflows.find_batch import (
    BatchFinder,
    FoundBatch,
    TooLarge,
    choose_precision,
    draw_chart,
    find_stages,
)

if TYPE_CHECKING:
    from podium.training.step_timing import StepTiming

TRAINABLE = {"none": "only the head is trained", "all": "all layers are trained"}
StageName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only this stage. Default: every stage.", show_default=False)
]
Largest = Annotated[int, typer.Option(metavar="N", min=1, help="The largest batch size to try.")]
Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Path of the chart; the figures are written next to it as JSON. Default:"
        " RUNS/find-batch/<member>-<stage>.png.",
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
    """Find the largest and the fastest batch size for this machine by timing training steps of a member.

    The images are random and so are the weights: neither data nor internet is needed.

    podium find-batch configs/members/xception.yaml --stage all
    """
    loaded, console = load_member(member, set_ or ()), make_console()
    numbers = find_stages(loaded, stage)
    if plot and len(numbers) > 1:
        raise ConfigError(f"--plot is one file, but {loaded.name} has {len(numbers)} stages; add --stage NAME")

    def print_tried(tried: "StepTiming | TooLarge") -> None:
        console.print(f"  {_format_tried(tried)}")

    finder = BatchFinder(loaded, choose_precision(loaded, console), largest, print_tried)
    for number in numbers:
        settings = loaded.settings.stages[number]
        unfreeze = settings.unfreeze.model_dump()
        console.print(
            f"{loaded.name}, stage {settings.name}: {settings.image_size} px,"
            f" {TRAINABLE.get(str(unfreeze), f'trainable: {unfreeze}')}, {settings.optimizer.name}"
            + (", timed above" if finder.is_found(number) else "")
        )
        if settings.shared_views:
            console.print("  features of the frozen backbone are computed once: any batch size is fast")
            continue
        found = finder.find(number)
        _print_found(found, console)
        path = plot or runs / "find-batch" / f"{loaded.name}-{settings.name}.png"
        draw_chart(found, path)
        write_json(path.with_suffix(".json"), found.to_dict(), fsync=False)
        console.print(f"{path}\n{path.with_suffix('.json')}")


def _format_tried(tried: "StepTiming | TooLarge") -> str:
    if not isinstance(tried, TooLarge):
        return f"{tried.batch_size:>4}  {tried.images_per_second:,.1f} images per second, {_format_bytes(tried.memory)}"
    if tried.estimated_memory is None:
        return f"{tried.batch_size:>4}  does not fit"
    return f"{tried.batch_size:>4}  would need {_format_bytes(tried.estimated_memory)}: not tried"


def _print_found(found: FoundBatch, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("batch", "per step", "images per second", "memory", "speedup", "learning rate", ""):
        table.add_column(heading, justify="right" if heading else "left")
    names = (("own", found.own), ("fastest", found.fastest), ("largest", found.largest))
    for timing in found.timings:
        speedup = found.speedup(timing)
        table.add_row(
            str(timing.batch_size),
            _format_seconds(timing.seconds),
            f"{timing.images_per_second:,.1f}",
            _format_bytes(timing.memory),
            f"{speedup:.2f}" if speedup else "",
            f"{found.learning_rate(timing.batch_size):.3g}",
            ", ".join(name for name, marked in names if marked is timing),
        )
    console.print(table)
    for line in (_largest_line(found), _fastest_line(found), *_advice(found)):
        console.print(line)


def _largest_line(found: FoundBatch) -> str:
    size = found.largest.batch_size
    if found.too_large:
        first = found.too_large[0]
        if first.estimated_memory is None:
            return f"largest: {size}; {first.batch_size} does not fit"
        limit = f" of {_format_bytes(found.memory_limit)}" if found.memory_limit is not None else ""
        return f"largest: {size}; {first.batch_size} would need {_format_bytes(first.estimated_memory)}{limit}"
    if found.ended_early:
        about = f"; by its memory, about {found.estimated_largest} would fit" if found.estimated_largest else ""
        return f"largest tried: {size}; larger ones are no faster{about}"
    return f"largest: {size}, the limit of the search (--largest)"


def _fastest_line(found: FoundBatch) -> str:
    size, speedup = found.fastest.batch_size, found.speedup(found.fastest)
    if speedup is None:
        return f"fastest: {size}; the stage's own batch size of {found.stage.batch_size} was not timed"
    if found.fastest is found.own:
        return f"fastest: {size}, the stage's own batch size"
    return f"fastest: {size}, {speedup:.2f} times as fast as the stage's own batch size of {found.stage.batch_size}"


def _advice(found: FoundBatch) -> list[str]:
    if found.fastest is found.own:
        return []
    size, stage, key = found.fastest.batch_size, found.stage, f"stages.{found.stage_number}"
    scaling = (
        "linearly with the batch size" if stage.optimizer.name == "SGD" else "by the square root of the batch size"
    )
    return [
        f"to use it: --set {key}.batch_size={size} --set {key}.learning_rate={found.learning_rate(size):.3g}",
        f"the learning rate is scaled {scaling}, as usual for {stage.optimizer.name}, from {stage.learning_rate:g} at"
        f" {stage.batch_size}: a starting point, check the first epochs",
    ]


def _format_seconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _format_bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
