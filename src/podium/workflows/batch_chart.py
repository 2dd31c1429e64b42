"""The chart of `podium find-batch`: images a second and memory over the batch size."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from podium.files import atomic_write
from podium.workflows.find_batch import Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = 20
"""Of batches, that have room beside each other."""
POINT, BEST, REFUSED, LINE, GRID = "#2f6db5", "#d9632a", "#b4bac2", "#7a828c", "#e6e8eb"


def draw_finding(finding: Finding, path: Path) -> None:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells when it looks for fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 6.4), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    stage = finding.stage
    above.set_title(
        f"{finding.member}, stage {stage.name}: {stage.image_size} px, {finding.precision}", loc="left", fontsize=11,
        parse_math=False,
    )  # fmt: skip
    _draw_rates(above, finding)
    _draw_memory(below, finding)
    _set_sizes(below, finding)
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="best")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_rates(axes: "Axes", finding: Finding) -> None:
    sizes, rates = [one.batch_size for one in finding.timed], [one.rate for one in finding.timed]
    fastest, own = finding.fastest, finding.own
    axes.plot(sizes, rates, "o-", color=POINT, markersize=5, linewidth=1.4)
    axes.plot(
        [fastest.batch_size], [fastest.rate], "o", color=BEST, markersize=8, label=f"fastest: {fastest.batch_size}"
    )
    if own:
        axes.plot(
            [own.batch_size], [own.rate], "o", markersize=13, markerfacecolor="none", markeredgecolor=LINE,
            label=f"the stage's own: {own.batch_size}",
        )  # fmt: skip
    axes.set_ylabel("images a second")
    axes.set_ylim(0, 1.12 * max(rates))


def _draw_memory(axes: "Axes", finding: Finding) -> None:
    sizes, memory = [one.batch_size for one in finding.timed], [one.memory / 1e9 for one in finding.timed]
    axes.plot(sizes, memory, "o-", color=POINT, markersize=5, linewidth=1.4, label="measured")
    largest = finding.largest
    axes.plot(
        [largest.batch_size], [largest.memory / 1e9], "o", color=BEST, markersize=8,
        label=f"{'largest measured' if finding.ended_early else 'largest'}: {largest.batch_size}",
    )  # fmt: skip
    foreseen = [one for one in finding.refused if one.foreseen is not None]
    if foreseen:
        axes.plot(
            [one.batch_size for one in foreseen], [(one.foreseen or 0) / 1e9 for one in foreseen], "x",
            color=REFUSED, markersize=7, markeredgewidth=2, label="foreseen, and not tried",
        )  # fmt: skip
    for place, one in enumerate(one for one in finding.refused if one.foreseen is None):
        axes.axvline(
            one.batch_size, color=REFUSED, linewidth=1, linestyle=(0, (5, 4)), label="" if place else "did not fit"
        )
    if foreseen and finding.limit is not None:
        axes.axhline(finding.limit / 1e9, color=BEST, linewidth=1, label="what a training may take here")
    axes.set_ylabel("memory of one GPU (GB)" if finding.gpus else "memory (GB)")
    axes.margins(y=0.12)


def _set_sizes(axes: "Axes", finding: Finding) -> None:
    """Doubling is a step of the same width; a name for every batch, as long as names do not touch."""
    sizes = sorted([one.batch_size for one in finding.timed] + [one.batch_size for one in finding.refused])
    axes.set_xscale("log", base=2)
    axes.set_xlim(sizes[0] / 1.25, sizes[-1] * 1.25)
    apart = max(1.05, (1.5 * sizes[-1] / sizes[0]) ** (1 / NAMES))
    named: list[int] = []
    for size in sizes:
        if not named or size > apart * named[-1]:
            named.append(size)
    axes.set_xticks(named, [str(size) for size in named])
    axes.minorticks_off()
    axes.set_xlabel("batch size")
