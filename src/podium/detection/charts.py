"""Charts of a detector: loss per step, mean IoU and AP per epoch, precision-recall curves; and of a darknet log."""

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
from podium.detection.evaluation import ClassMetrics, PartMetrics, format_metric
from podium.errors import shortened
from podium.reports.png import drawable, save_png

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, LINE, GRID = "#0072b2", "#d55e00", "#009e73", "#7a828c", "#e6e8eb"
COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d3b")
"""The first colours suit all types of colour vision."""
STYLES = ("-", (0, (1, 1.2)), (0, (6, 2, 1, 2)))
MAX_MARKED = 40
"""Lines with more points have no markers, except for points between gaps."""
MAX_TITLE, MAX_NAME = 80, 24
"""Characters."""
MAX_NAME_IN_3_COLUMNS = 40
OUTLIERS = 10
"""Losses that exceed the 80 % quantile by this factor are cut off."""
Numbers: TypeAlias = "Sequence[float] | NDArray[Any] | pd.Series[Any]"


@dataclass(frozen=True)
class Line:
    """A line of a chart. It has a gap where `y` is not finite."""

    name: str
    x: Numbers
    y: Numbers
    colour: str
    is_faint: bool = False


def draw_loss(path: Path, *, title: str, steps: Numbers, loss: Numbers) -> None:
    """The training loss of each step and its running median."""
    lines = _with_running_median("loss", steps, loss, BLUE)
    with _chart(path, title) as (figure, axes):
        _draw(axes, lines)
        _start_at_zero(axes, lines, "loss")
        _set_x_axis(axes, steps, "step")
        _add_legend(figure)


def draw_iou_ap(path: Path, *, title: str, epochs: Numbers, mean_iou: Numbers, ap50: Numbers, ap: Numbers) -> None:
    """Metrics of the validation part after each epoch."""
    named = (("mean IoU of true positives", mean_iou, BLUE), ("AP@0.5", ap50, ORANGE), ("AP@0.5:0.95", ap, GREEN))
    with _chart(path, title) as (figure, axes):
        _limit_to_0_1(axes)
        lines = [Line(_with_highest(name, epochs, y, "epoch"), epochs, y, colour) for name, y, colour in named]
        _draw(axes, lines, clip=False)
        _set_x_axis(axes, epochs, "epoch")
        _add_legend(figure)


def draw_darknet_log(folder: Path, title: str, log: pd.DataFrame) -> list[Path]:
    """`loss.png`, and `iou_ap.png` if the log has IoU or mAP."""
    paths = [folder / "loss.png"]
    iterations, average = log["iteration"], log["average_loss"]
    lines = [
        Line("loss", iterations, log["loss"], BLUE, is_faint=True),
        Line(_with_lowest("average loss", iterations, average, "iteration"), iterations, average, BLUE),
    ]
    with _chart(paths[0], title) as (figure, axes):
        _draw(axes, lines)
        _start_at_zero(axes, lines, "darknet's loss")
        _set_x_axis(axes, iterations, "iteration")
        _add_legend(figure)
    lines = []
    if log["iou"].notna().any():
        lines += _with_running_median("IoU in training", iterations, log["iou"], BLUE)
    measured = log[log["map50"].notna()]
    if len(measured):
        x, y = measured["iteration"], measured["map50"]
        lines.append(Line(_with_highest("mAP@0.5", x, y, "iteration"), x, y, ORANGE))
    if lines:
        paths.append(folder / "iou_ap.png")
        with _chart(paths[1], title) as (figure, axes):
            _limit_to_0_1(axes)
            _draw(axes, lines, clip=False)
            _set_x_axis(axes, iterations, "iteration")
            _add_legend(figure)
    return paths


def draw_curves(path: Path, *, title: str, part: PartMetrics) -> None:
    """Precision-recall curves at IoU 0.5, one per class; the mean height of a curve is its AP, the dot the threshold.

    Like COCO's AP, a curve shows the best precision from each recall on, so its dot may lie below it. If there are more
    classes than colours and line styles, those with the most boxes are named.
    """
    most = len(COLOURS) * len(STYLES)
    known = [metrics for metrics in part.classes if not math.isnan(metrics.ap50)]
    by_boxes = sorted(known, key=lambda metrics: -metrics.counts.boxes)
    named, others = sorted(by_boxes[:most], key=lambda metrics: -metrics.ap50), by_boxes[most:]
    with _chart(path, title, size=(8.6, 6.2)) as (figure, axes):
        for number, metrics in enumerate(named):
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS)]
            label = f"{format_metric(metrics.ap50)}  {shortened(metrics.name, MAX_NAME)}"
            axes.plot(
                *_curve(metrics), color=colour, linestyle=style, label=drawable(label),
                linewidth=1.7, zorder=3, clip_on=False,
            )  # fmt: skip
            axes.plot([metrics.counts.recall], [metrics.counts.precision], "o", color=colour, zorder=4, clip_on=False)
        for number, metrics in enumerate(others):
            label = "" if number else f"{len(others)} others"
            axes.plot(*_curve(metrics), color=LINE, linewidth=0.7, alpha=0.5, label=label)
        _limit_to_0_1(axes)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"recall ({part.part}, IoU >= 0.5; dots: score >= {part.threshold:.3f})")
        axes.set_ylabel("precision")
        if known:
            figure.legend(loc="outside right upper", frameon=False, fontsize=8, title="AP@0.5", alignment="left")
        else:
            axes.text(0.5, 0.5, "no class has a box here", ha="center", color=LINE, backgroundcolor="white")


@contextmanager
def _chart(path: Path, title: str, size: tuple[float, float] = (8.6, 5.0)) -> "Iterator[tuple[Figure, Axes]]":
    """A new chart, written when the block ends without error."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs searching for fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(drawable(shortened(title, MAX_TITLE)), loc="left", fontsize=11, parse_math=False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    yield figure, axes
    save_png(figure, path)


def _draw(axes: "Axes", lines: Sequence[Line], *, clip: bool = True) -> None:
    """Without clipping, points on the border of the chart are fully visible."""
    for line in lines:
        x, y = np.asarray(line.x, dtype=np.float64), _finite(line.y)
        width, alpha = (0.7, 0.35) if line.is_faint else (1.7, 1.0)
        axes.plot(
            x, y, color=line.colour, linewidth=width, alpha=alpha, label=line.name,
            zorder=2 if line.is_faint else 3, clip_on=clip,
        )  # fmt: skip
        marked = ~np.isnan(y) if len(y) <= MAX_MARKED and not line.is_faint else _is_isolated(y)
        if marked.any():  # an empty plot would distort the layout
            axes.plot(x[marked], y[marked], "o", color=line.colour, alpha=alpha, markersize=4, zorder=3, clip_on=clip)


def _is_isolated(y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Points between two gaps, which a line cannot show."""
    gaps = np.isnan(np.concatenate([[np.nan], y, [np.nan]]))
    return np.asarray(gaps[:-2] & ~gaps[1:-1] & gaps[2:])


def _finite(values: Numbers) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _with_running_median(name: str, x: Numbers, y: Numbers, colour: str) -> list[Line]:
    """A long line is drawn faint, with its median over a fiftieth of its length."""
    if len(y) <= MAX_MARKED:
        return [Line(name, x, y, colour)]
    window = max(5, len(y) // 50)
    middle = pd.Series(_finite(y)).rolling(window, min_periods=window // 3, center=True).median().to_numpy()
    return [Line(f"{name}, running median", x, middle, colour), Line("", x, y, colour, is_faint=True)]


def _start_at_zero(axes: "Axes", lines: Sequence[Line], name: str) -> None:
    """Cut off a few extreme losses, usually of the first steps, which would flatten the rest of the line."""
    values = np.concatenate([_finite(line.y) for line in lines])
    values = values[~np.isnan(values)]
    highest, usual = (values.max(), np.quantile(values, 0.8)) if len(values) else (1.0, 1.0)
    is_cut = highest > OUTLIERS * usual > 0
    axes.set_ylim(0, 3 * usual if is_cut else 1.06 * highest if highest > 0 else 1)
    axes.set_ylabel(f"{name} (cut off, maximum {highest:,.4g})" if is_cut else name)


def _limit_to_0_1(axes: "Axes") -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks(np.linspace(0, 1, 11))


def _set_x_axis(axes: "Axes", x: Numbers, name: str) -> None:
    """From the first to the last value, with integer ticks; a single value is centred."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    first, last = (min(x), max(x)) if len(x) else (0, 1)
    margin = 0.015 * (last - first) or 1
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel(name)


def _add_legend(figure: "Figure") -> None:
    """Below the chart; long names get fewer columns."""
    longest = max((len(str(line.get_label())) for axes in figure.axes for line in axes.lines), default=0)
    figure.legend(
        loc="outside lower left", ncols=3 if longest <= MAX_NAME_IN_3_COLUMNS else 2, frameon=False, fontsize=8
    )


def _with_lowest(name: str, x: Numbers, y: Numbers, of: str) -> str:
    return _with_best(name, x, y, of, "lowest", np.nanargmin)


def _with_highest(name: str, x: Numbers, y: Numbers, of: str) -> str:
    return _with_best(name, x, y, of, "highest", np.nanargmax)


def _with_best(name: str, x: Numbers, y: Numbers, of: str, which: str, place_of: Any) -> str:
    values = _finite(y)
    if np.isnan(values).all():
        return f"{name}: –"
    place = int(place_of(values))
    return f"{name}: {which} {values[place]:.3f} ({of} {np.asarray(x)[place]:,.0f})"


def _curve(metrics: ClassMetrics) -> tuple[list[float], list[float]]:
    """Recalls and precisions, ending with a vertical line to 0."""
    points = zip(RECALLS.tolist(), metrics.precisions, strict=True)
    reached = [(recall, precision) for recall, precision in points if precision > 0]
    if not reached:
        return [0.0], [0.0]
    recalls, precisions = zip(*reached, strict=True)
    return [*recalls, recalls[-1]], [*precisions, 0.0]
