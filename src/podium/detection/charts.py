"""Charts of a detector's training: the loss over steps, mean IoU and AP over epochs, precision over recall.

What is good lies at the bottom of the first, whose axis begins at 0, and at the top of the others, which end at 1. A
darknet training can be drawn beside, dashed, along axes of its own: its iterations at the top, its loss, which is
another one than podium's, to the right.
"""

import logging
import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.detection.average_precision import RECALLS
from podium.detection.figures import ClassFigures, PartFigures, spell
from podium.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, LINE, GRID = "#0072b2", "#d55e00", "#009e73", "#7a828c", "#e6e8eb"
COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d3b")
"""The first are told apart by all who see colours, whichever of them."""
STYLES = ("-", (0, (1, 1.2)), (0, (6, 2, 1, 2)))
DASHED = (0, (5, 2.5))
FEW = 40
"""Points that are marked each; of more, only one that stands alone between gaps."""
LONGEST_TITLE, LONGEST_NAME = 80, 24
"""In letters."""
ROOM = 40
"""Letters that a name has room for where three stand beside each other."""
FAR = 10
"""Losses that are so many times as high as four fifths of them are cut off."""
Numbers: TypeAlias = "Sequence[float] | NDArray[Any] | pd.Series[Any]"


@dataclass(frozen=True)
class Line:
    """One line of a chart. Where `y` is nan or infinite it has a gap."""

    name: str
    x: Numbers
    y: Numbers
    colour: str
    is_faint: bool = False
    style: Any = "-"


def draw_loss(
    path: Path,
    *,
    title: str,
    steps: Numbers,
    loss: Numbers,
    validation: tuple[Numbers, Numbers] | None = None,
    darknet: pd.DataFrame | None = None,
) -> None:
    """The training loss of each step and its running median; of `validation` the steps and the losses there."""
    lines = _with_running_median("loss", steps, loss, BLUE)
    if validation is not None:
        lines.append(Line(_and_lowest("validation", *validation, "step"), *validation, GREEN))
    with _chart(path, title) as (figure, axes):
        _draw(axes, lines)
        _begin_at_zero(axes, lines, "loss")
        _set_span(axes, [*steps, *(validation[0] if validation else [])], "step")
        if darknet is not None:
            _draw_darknet_loss(axes, darknet)
        _write_legend(figure)


def draw_iou_ap(
    path: Path,
    *,
    title: str,
    epochs: Numbers,
    mean_iou: Numbers,
    ap50: Numbers,
    ap: Numbers,
    darknet: pd.DataFrame | None = None,
) -> None:
    """Of the validation part after each epoch."""
    named = (("mean IoU of hits", mean_iou, BLUE), ("AP@0.5", ap50, ORANGE), ("AP@0.5:0.95", ap, GREEN))
    with _chart(path, title) as (figure, axes):
        lines = [Line(_and_highest(name, epochs, y, "epoch"), epochs, y, colour) for name, y, colour in named]
        _run_from_0_to_1(axes)
        _draw(axes, lines, is_clipped=False)
        _set_span(axes, epochs, "epoch")
        if darknet is not None:
            above = axes.twiny()
            beside = [line for line in _darknet_shares(darknet, "darknet's ", DASHED) if not line.is_faint]
            _draw(above, beside, is_clipped=False)
            _set_span(above, darknet["iteration"], "darknet's iteration")
        _write_legend(figure)


def draw_log(folder: Path, title: str, darknet: pd.DataFrame) -> list[Path]:
    """The charts of a darknet training alone, those that its log has figures for: `loss.png`, `iou_ap.png`."""
    paths = [folder / "loss.png"]
    iterations, loss, average = (darknet[name] for name in ("iteration", "loss", "average_loss"))
    lines = [Line("loss", iterations, loss, BLUE, is_faint=True)]
    lines.append(Line(_and_lowest("average loss", iterations, average, "iteration"), iterations, average, BLUE))
    with _chart(paths[0], title) as (figure, axes):
        _draw(axes, lines)
        _begin_at_zero(axes, lines, "darknet's loss")
        _set_span(axes, iterations, "iteration")
        _write_legend(figure)
    if darknet[["iou", "map50"]].notna().to_numpy().any():
        paths.append(folder / "iou_ap.png")
        with _chart(paths[1], title) as (figure, axes):
            _run_from_0_to_1(axes)
            _draw(axes, _darknet_shares(darknet, "", "-"), is_clipped=False)
            _set_span(axes, iterations, "iteration")
            _write_legend(figure)
    return paths


def draw_curves(path: Path, *, title: str, part: PartFigures) -> None:
    """Precision over recall at IoU 0.5, a curve a class, whose mean height is its AP; the dot is at the threshold.

    A curve takes the best precision from each recall on, as COCO's AP does, so its dot may lie below it.
    Beyond what colours and strokes can tell apart, only the classes with the most boxes are named.
    """
    most = len(COLOURS) * len(STYLES)
    known = [one for one in part.classes if not math.isnan(one.ap50)]
    named = sorted(sorted(known, key=lambda one: -one.counted.boxes)[:most], key=lambda one: -one.ap50)
    others = [one for one in known if one not in named]
    shape: dict[str, Any] = {"linewidth": 1.7, "clip_on": False}
    with _chart(path, title, size=(8.6, 6.2)) as (figure, axes):
        for place, one in enumerate(named):
            colour, style = COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS)]
            axes.plot(*_curve(one), color=colour, linestyle=style, label=_drawable(_named(one)), zorder=3, **shape)
            axes.plot([one.counted.recall], [one.counted.precision], "o", color=colour, zorder=4, clip_on=False)
        for place, one in enumerate(others):
            axes.plot(
                *_curve(one), color=LINE, linewidth=0.7, alpha=0.5, label="" if place else f"{len(others)} others"
            )
        _run_from_0_to_1(axes)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"recall ({part.part}, IoU at least 0.5; dots: from score {part.threshold:.3f} on)")
        axes.set_ylabel("precision")
        if known:
            figure.legend(loc="outside right upper", frameon=False, fontsize=8, title="AP@0.5", alignment="left")
        else:
            axes.text(0.5, 0.5, "no class has a box here", ha="center", color=LINE, backgroundcolor="white")


@contextmanager
def _chart(path: Path, title: str, size: tuple[float, float] = (8.6, 5.0)) -> "Iterator[tuple[Figure, Axes]]":
    """A new chart with axes, which is written when the block ends well."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells when it looks for fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(_drawable(_shortened(title, LONGEST_TITLE)), loc="left", fontsize=11, parse_math=False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    yield figure, axes
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw(axes: "Axes", lines: Sequence[Line], *, is_clipped: bool = True) -> None:
    """Not clipped, what lies on the border of the chart is seen whole."""
    for line in lines:
        x, y = np.asarray(line.x, dtype=np.float64), _finite(line.y)
        width, strength = (0.7, 0.35) if line.is_faint else (1.7, 1.0)
        axes.plot(
            x, y, color=line.colour, linewidth=width, alpha=strength, linestyle=line.style, label=line.name,
            zorder=2 if line.is_faint else 3, clip_on=is_clipped,
        )  # fmt: skip
        marked = ~np.isnan(y) if len(y) <= FEW and not line.is_faint else _stands_alone(y)
        if marked.any():  # else the layout would make room for nothing, in a corner
            axes.plot(
                x[marked], y[marked], "o", color=line.colour, alpha=strength, markersize=4, zorder=3, clip_on=is_clipped
            )


def _stands_alone(y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Between two gaps, where no line can show it."""
    gaps = np.isnan(np.concatenate([[np.nan], y, [np.nan]]))
    return np.asarray(gaps[:-2] & ~gaps[1:-1] & gaps[2:])


def _finite(values: Numbers) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _with_running_median(name: str, x: Numbers, y: Numbers, colour: str, style: Any = "-") -> list[Line]:
    """A noisy line, faint, and its median over a fiftieth of it; a short one is drawn as it is."""
    if len(y) <= FEW:
        return [Line(name, x, y, colour, style=style)]
    window = max(5, len(y) // 50)
    middle = pd.Series(_finite(y)).rolling(window, min_periods=window // 3, center=True).median().to_numpy()
    return [Line(f"{name}, running median", x, middle, colour, style=style), Line("", x, y, colour, is_faint=True)]


def _draw_darknet_loss(axes: "Axes", darknet: pd.DataFrame) -> None:
    right = axes.twinx()
    above = right.twiny()
    iterations, average = darknet["iteration"], darknet["average_loss"]
    name = _and_lowest("darknet's average loss", iterations, average, "iteration")
    lines = [Line(name, iterations, average, ORANGE, style=DASHED)]
    _draw(above, lines)
    _begin_at_zero(right, lines, "darknet's average loss")
    _set_span(above, iterations, "darknet's iteration")
    right.yaxis.label.set_color(ORANGE)
    right.tick_params(axis="y", colors=ORANGE)


def _darknet_shares(darknet: pd.DataFrame, whose: str, style: Any) -> list[Line]:
    """The IoU that it told while training, and the mAP that it measured now and then."""
    lines = []
    iterations, iou, worth = darknet["iteration"], darknet["iou"], darknet[darknet["map50"].notna()]
    if iou.notna().any():
        lines += _with_running_median(f"{whose}IoU in training", iterations, iou, BLUE, style)
    if len(worth):
        name = _and_highest(f"{whose}mAP@0.5", worth["iteration"], worth["map50"], "iteration")
        lines.append(Line(name, worth["iteration"], worth["map50"], ORANGE, style=style))
    return lines


def _begin_at_zero(axes: "Axes", lines: Sequence[Line], name: str) -> None:
    """A few losses that are far too high, those of the first steps as a rule, would flatten all others."""
    values = np.concatenate([_finite(line.y) for line in lines])
    values = values[~np.isnan(values)]
    highest, usual = (values.max(), np.quantile(values, 0.8)) if len(values) else (1.0, 1.0)
    is_cut = highest > FAR * usual > 0
    axes.set_ylim(0, 3 * usual if is_cut else 1.06 * highest if highest > 0 else 1)
    axes.set_ylabel(f"{name} (cut off; the highest is {highest:,.4g})" if is_cut else name)


def _run_from_0_to_1(axes: "Axes") -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks(np.linspace(0, 1, 11))


def _set_span(axes: "Axes", x: Numbers, name: str) -> None:
    """From the first to the last, in whole numbers; a single one stands in the middle."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    first, last = (min(x), max(x)) if len(x) else (0, 1)
    room = 0.015 * (last - first) or 1
    axes.set_xlim(first - room, last + room)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel(name)


def _write_legend(figure: "Figure") -> None:
    """Below the chart, where it covers nothing; names that are long have fewer beside them."""
    longest = max((len(str(one.get_label())) for axes in figure.axes for one in axes.lines), default=0)
    figure.legend(loc="outside lower left", ncols=3 if longest <= ROOM else 2, frameon=False, fontsize=8)


def _and_lowest(name: str, x: Numbers, y: Numbers, of: str) -> str:
    return _and_best(name, x, y, of, "lowest", np.nanargmin)


def _and_highest(name: str, x: Numbers, y: Numbers, of: str) -> str:
    return _and_best(name, x, y, of, "highest", np.nanargmax)


def _and_best(name: str, x: Numbers, y: Numbers, of: str, which: str, place_of: Any) -> str:
    values = _finite(y)
    if np.isnan(values).all():
        return f"{name}: –"
    place = int(place_of(values))
    return f"{name}: {which} {values[place]:.3f} ({of} {np.asarray(x)[place]:,.0f})"


def _curve(one: ClassFigures) -> tuple[list[float], list[float]]:
    """Down to 0 where recall ends, and no further."""
    reached = [(recall, height) for recall, height in zip(RECALLS.tolist(), one.precisions, strict=True) if height > 0]
    if not reached:
        return [0.0], [0.0]
    recalls, heights = zip(*reached, strict=True)
    return [*recalls, recalls[-1]], [*heights, 0.0]


def _named(one: ClassFigures) -> str:
    return f"{spell(one.ap50)}  {_shortened(one.name, LONGEST_NAME)}"


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _drawable(text: str) -> str:
    """The font has no emoji and no Chinese, for which matplotlib would warn and draw boxes; and a $ is a dollar."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(letter if ord(letter) in known else "?" for letter in text)
