"""The chart of the board: a point for each submission, cross-validation against leaderboard."""

import logging
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podium.errors import shortened
from podium.reports.png import drawable, save_png
from podium.submission.board import pearson, short_name
from podium.submission.ledger import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = 30
"""Older submissions are points without a number."""
MAX_LINE = 54
FONT = "DejaVu Sans Mono"
POINT, BEST, OLD, LINE = "#2f6db5", "#d9632a", "#b4bac2", "#7a828c"
Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in pixels."""


def draw_board(
    rows: Sequence[Row], path: Path, *, metric: str, higher_is_better: bool | None, best: Row | None
) -> None:
    """Draw the submissions that have both scores, oldest first. `best` is highlighted."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs its search for fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    best = next((row for row in rows if best is not None and row.is_same_as(best)), None)
    named = list(rows)[-MOST_NAMED:]
    height = max(5.6, 1.6 + 0.21 * len(named))
    figure = Figure(figsize=(11.5, height), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.08, 0.95 / height, 0.52, 1 - 1.4 / height))
    _draw_points(axes, rows, best)
    _set_limits(axes, rows)
    _draw_lines(axes, rows)
    _write_axes(axes, rows, metric, higher_is_better)
    _write_key(figure, named, first=len(rows) - len(named) + 1, best=best)
    _number_points(figure, axes, rows, first=len(rows) - len(named))
    save_png(figure, path)


def _x(row: Row) -> float:
    return row.cross_validation or 0.0


def _y(row: Row) -> float:
    return row.public_score or 0.0


def _draw_points(axes: "Axes", rows: Sequence[Row], best: Row | None) -> None:
    for number, row in enumerate(rows):
        is_old = number < len(rows) - MOST_NAMED
        colour = BEST if best is not None and row.is_same_as(best) else OLD if is_old else POINT
        axes.errorbar(
            _x(row), _y(row), xerr=row.standard_error, fmt="o", markersize=6, color=colour, ecolor=colour,
            elinewidth=0.9, capsize=0, zorder=2 if is_old else 3,
        )  # fmt: skip
        axes.lines[-1].set_zorder(4)


def _set_limits(axes: "Axes", rows: Sequence[Row]) -> None:
    """Show all points with their errors and a margin; small differences are not stretched over the whole chart."""
    errors = [row.standard_error or 0.0 for row in rows]
    left = min(_x(row) - error for row, error in zip(rows, errors, strict=True))
    right = max(_x(row) + error for row, error in zip(rows, errors, strict=True))
    low, high = min(map(_y, rows)), max(map(_y, rows))
    least = max(0.6 * max(right - left, high - low), 1e-3)
    for start, end, set_limits in ((left, right, axes.set_xlim), (low, high, axes.set_ylim)):
        margin = max(0.12 * (end - start), (least - (end - start)) / 2, 1e-9)
        set_limits(start - margin, end + margin)


def _draw_lines(axes: "Axes", rows: Sequence[Row]) -> None:
    """The line of equal scores, if visible, and for three submissions or more a fitted line."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    if max(left, low) < min(right, high):
        axes.plot([left, right], [left, right], color=LINE, linewidth=1, linestyle=(0, (5, 4)), label="equal scores")
    xs, ys = [_x(row) for row in rows], [_y(row) for row in rows]
    if found := pearson(xs, ys):
        slope, intercept = statistics.linear_regression(xs, ys)
        ends = [intercept + slope * x for x in (left, right)]
        label = f"fitted line (r = {found.value:.2f})"
        axes.plot([left, right], ends, color=POINT, linewidth=1, alpha=0.5, label=label)
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)


def _write_axes(axes: "Axes", rows: Sequence[Row], metric: str, higher_is_better: bool | None) -> None:
    name = metric or "score"
    better = {True: ", higher is better", False: ", lower is better", None: ""}[higher_is_better]
    axes.set_title(rows[-1]["competition"], loc="left", fontsize=11, parse_math=False)
    axes.set_xlabel(f"cross-validation ({name}{better}), with one standard error", parse_math=False)
    axes.set_ylabel(f"public leaderboard ({name}{better})", parse_math=False)
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.locator_params(axis="x", nbins=6)
    axes.grid(color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="lower left", bbox_to_anchor=(0.07, 0.0), ncols=2, frameon=False, fontsize=8)


def _write_key(figure: "Figure", named: Sequence[Row], first: int, best: Row | None) -> None:
    """Next to the chart, list the numbered submissions: date and message."""
    height = figure.get_figheight()
    figure.text(0.635, 1 - 0.42 / height, "submission", fontsize=9, weight="bold", va="top")
    for number, row in enumerate(named):
        is_best = best is not None and row.is_same_as(best)
        line = f"{first + number:>3}  {row.time:%m-%d %H:%M}  {row['message'] or short_name(row)}"
        figure.text(
            0.635, 1 - (0.70 + 0.21 * number) / height, drawable(shortened(line, MAX_LINE), FONT), fontsize=8, va="top",
            family=FONT, color=BEST if is_best else "black", parse_math=False,
        )  # fmt: skip
    if best is not None:
        last = 1 - (0.80 + 0.21 * len(named)) / height
        figure.text(0.635, last, "in orange: ranked first", fontsize=8, color=BEST, va="top")


def _number_points(figure: "Figure", axes: "Axes", rows: Sequence[Row], first: int) -> None:
    """Write each number near its point without overlap; a thin line connects distant ones."""
    from matplotlib.patheffects import withStroke

    scale = figure.dpi / 72
    positions = [tuple(axes.transData.transform((_x(row), _y(row)))) for row in rows]
    taken: list[Box] = [_around(x, y, 4.5 * scale, 4.5 * scale) for x, y in positions]
    bars = [_error_bar(axes, row, scale) for row in rows]
    frame = axes.get_window_extent()
    inside: Box = (frame.x0, frame.y0, frame.x1, frame.y1)
    for number, (x, y) in list(enumerate(positions))[first:]:
        text = str(number + 1)
        half = ((2.9 * len(text) + 1.5) * scale, 4.4 * scale)
        position = _free_position(x, y, half, [taken, bars], inside, scale)
        taken.append(_around(*position, *half))
        line = {"arrowstyle": "-", "color": LINE, "linewidth": 0.6, "shrinkA": 4, "shrinkB": 3}
        axes.annotate(
            text, xy=(x, y), xytext=position, xycoords="figure pixels", textcoords="figure pixels",
            ha="center", va="center", fontsize=8, zorder=6,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops=line if math.dist(position, (x, y)) > 15 * scale else None,
        )  # fmt: skip


def _error_bar(axes: "Axes", row: Row, scale: float) -> Box:
    error = row.standard_error or 0.0
    left, y = axes.transData.transform((_x(row) - error, _y(row)))
    right, _ = axes.transData.transform((_x(row) + error, _y(row)))
    return (left, y - scale, right, y + scale)


def _free_position(
    x: float, y: float, half: tuple[float, float], layers: Sequence[Sequence[Box]], inside: Box, scale: float
) -> tuple[float, float]:
    """The nearest position that overlaps no box; else none of the first layers; else the nearest of all."""
    candidates = [
        position for position in _positions_around(x, y, half, scale) if _is_within(_around(*position, *half), inside)
    ]
    for count in range(len(layers), 0, -1):
        taken = [box for layer in layers[:count] for box in layer]
        for position in candidates:
            if not any(_overlap(_around(*position, *half), box) for box in taken):
                return position
    return candidates[0] if candidates else (x, y)


def _positions_around(x: float, y: float, half: tuple[float, float], scale: float) -> Iterator[tuple[float, float]]:
    """Positions around a point, starting at the upper right."""
    for ring in range(14):
        distance = (7 + 6 * ring) * scale
        for step in range(16):
            angle = math.pi / 4 + step * math.pi / 8
            yield (x + math.cos(angle) * (distance + half[0]), y + math.sin(angle) * (distance + half[1] / 2))


def _around(x: float, y: float, half_width: float, half_height: float) -> Box:
    return (x - half_width, y - half_height, x + half_width, y + half_height)


def _is_within(box: Box, outer: Box) -> bool:
    return box[0] >= outer[0] and box[1] >= outer[1] and box[2] <= outer[2] and box[3] <= outer[3]


def _overlap(box: Box, other: Box) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
