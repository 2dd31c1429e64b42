"""The charts of reports: SVG for pages, in the colours of the page, and figures for notebooks and files.

Every function draws into axes that it is given, so that a page, a notebook and a PNG show the same.
"""

import io
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.errors import RunError
from podium.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY = "#2a7fb8", "#d55e00", "#009e73", "#b8689a", "#b98900", "#5fa8d8"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
"""They can be distinguished with all types of colour vision, on white and on black (after Okabe and Ito)."""
_TEXT, _LINE = "#010203", "#020304"
"""Replaced by the colours of the page."""
_LINE_ON_WHITE = "#d5dbe1"
_STYLE = {
    "axes.edgecolor": _TEXT, "axes.labelcolor": _TEXT, "axes.titlesize": 11, "axes.titlecolor": _TEXT,
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.axisbelow": True, "axes.facecolor": "none", "figure.facecolor": "none", "font.size": 9,
    "grid.color": _LINE, "grid.linewidth": 0.7, "legend.frameon": False, "legend.labelcolor": _TEXT,
    "lines.linewidth": 1.7, "svg.fonttype": "none", "svg.hashsalt": "podium", "text.color": _TEXT,
    "xtick.color": _TEXT, "ytick.color": _TEXT, "text.parse_math": False,
}  # fmt: skip
_MOST_NAMES = 30
"""More classes than these have no names beside a matrix."""
Draw = Callable[["Figure"], None]


@dataclass(frozen=True)
class Chart:
    """What a chart shows, in words for those who do not see it, and how it is drawn."""

    title: str
    description: str
    draw: Draw
    size: tuple[float, float] = (7.0, 3.4)
    """Inches."""

    def figure(self) -> "Figure":
        """For a notebook or a PNG: on white."""
        return _new_figure(self, white=True)

    def save(self, path: Path) -> None:
        with atomic_write(path, fsync=False) as temporary:
            self.figure().savefig(temporary, format="png", dpi=130)

    def svg(self) -> str:
        """For a page: without a background, in the page's colours."""
        buffer = io.StringIO()
        with _style():
            _new_figure(self).savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        svg = buffer.getvalue()
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
        svg = svg.replace(_TEXT, "currentColor").replace(_LINE, "var(--line)")
        width = f"min-width: {0.6 * self.size[0]:.1f}in; max-width: {1.15 * self.size[0]:.1f}in"
        start = rf'<svg viewBox="\1" style="{width}" role="img" aria-hidden="true">'
        return re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', start, svg, count=1)


def _style() -> Any:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs its search for fonts
    import matplotlib as mpl

    return mpl.rc_context(_STYLE)


def _new_figure(chart: Chart, *, white: bool = False) -> "Figure":
    with _style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=chart.size, layout="constrained", facecolor="white" if white else "none")
        FigureCanvasAgg(figure)
        chart.draw(figure)
        if white:
            _lighten(figure)
            figure.suptitle(chart.title, x=0.01, ha="left", fontsize=12)
        return figure


def combined(charts: Sequence[Chart], size: tuple[float, float], heights: Sequence[float] | None = None) -> "Figure":
    """Charts below each other, on white."""
    with _style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        places = figure.subfigures(len(charts), 1, squeeze=False, height_ratios=heights)[:, 0]
        for place, chart in zip(places, charts, strict=True):
            chart.draw(place)
            place.suptitle(chart.title, x=0.01, ha="left")
        _lighten(figure)
        return figure


def _lighten(figure: "Figure") -> None:
    """Give lines the colour that they have on a white page."""
    from matplotlib.lines import Line2D

    for line in figure.findobj(Line2D):
        if line.get_color() == _LINE:
            line.set_color(_LINE_ON_WHITE)


# What happened in training


def learning_curves(history: pd.DataFrame, metric: str, title: str) -> Chart:
    """Loss, metric and learning rate of every epoch over all stages, training against validation.

    `history` has the rows of history.csv. A vertical line is the start of a stage, a triangle a change, a
    circle an epoch in which the training was resumed.
    """
    if not len(history):
        raise RunError("there are no learning curves before the first epoch is finished")
    steps = np.arange(1, len(history) + 1)
    starts = np.flatnonzero(history["stage"] != history["stage"].shift()).tolist()
    changed = steps[history["changes"].astype(bool)] if "changes" in history else steps[:0]
    resumed = steps[history["resumed"]] if "resumed" in history else steps[:0]
    name = metric if f"val_{metric}" in history else None
    panels: list[tuple[str, list[tuple[str, str, str]]]] = [
        ("loss", [("training", "loss", BLUE), ("validation", "val_loss", ORANGE)])
    ]
    if name:
        panels.append((name, [("training", name, BLUE), ("validation", f"val_{name}", ORANGE)]))
    panels.append(("learning rate", [("learning rate", "learning_rate", GREEN)]))

    def draw(figure: "Figure") -> None:
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (heading, lines) in zip(all_axes, panels, strict=True):
            for label, column, colour in lines:
                if column in history:
                    marker = "o" if len(history) < 3 else None
                    axes.plot(steps, history[column], color=colour, label=label, marker=marker)
            for start in starts[1:]:
                axes.axvline(start + 0.5, color=_TEXT, linewidth=0.8, linestyle=":")
            for marked, marker, fill in ((changed, "^", "full"), (resumed, "o", "none")):
                for step in marked:
                    at_bottom: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
                    axes.plot([step], [0.02], marker=marker, fillstyle=fill, color=PURPLE, **at_bottom)
            axes.set_title(heading)
            axes.set_xlabel("epoch")
            axes.locator_params(axis="x", integer=True)
            if heading == "learning rate":
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:.0e}")
                axes.yaxis.set_minor_formatter(lambda rate, _: "")
            else:
                axes.legend(loc="best", fontsize=8)

    stages = ", ".join(f"{history['stage'].iloc[start]} from epoch {start + 1}" for start in starts)
    last = history.iloc[-1]
    words = f"{len(history)} epochs; stages: {stages}; last training loss {last['loss']:.4f}"
    words += f", validation loss {last['val_loss']:.4f}" if "val_loss" in history else ""
    return Chart(title, words, draw, (3.6 * len(panels), 3.0))


# How good predictions are


def confusion(matrix: NDArray[Any], names: Sequence[str], title: str = "Confusion matrix") -> Chart:
    """A row for each true class; shades are shares of the row."""
    count = len(names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(2.0 + 0.34 * count, 3.6, 9.0))

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        if count <= _MOST_NAMES:
            axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(count), names)
            for row, column in zip(*np.nonzero(matrix), strict=True):
                colour = "white" if shares[row, column] > 0.5 else "#1b2530"
                axes.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=colour, fontsize=7.5)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")

    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    worst = np.dstack(np.unravel_index(np.argsort(-wrong, axis=None)[:3], wrong.shape))[0]
    words = "; ".join(
        f"{wrong[row, column]:,} of {matrix[row].sum():,} {names[row]} taken for {names[column]}"
        for row, column in worst
        if wrong[row, column]
    )
    return Chart(title, f"most frequent mistakes: {words or 'none'}", draw, (side + 0.9, side))


def roc_and_precision_recall(truth: NDArray[Any], scores: Floats, names: Sequence[str]) -> Chart:
    """One curve for each class, against all others; `truth` and `scores` are (rows, classes). At most six are named."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    usable = [number for number in range(len(names)) if 0 < truth[:, number].sum() < len(truth)]
    areas = {number: float(roc_auc_score(truth[:, number], scores[:, number])) for number in usable}
    precisions = {number: float(average_precision_score(truth[:, number], scores[:, number])) for number in usable}
    worst = sorted(usable, key=lambda number: precisions[number])[: len(COLOURS)]

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        for number in usable:
            is_named = number in worst
            colour = COLOURS[worst.index(number)] if is_named else _LINE
            options: dict[str, Any] = {
                "color": colour,
                "zorder": 3 if is_named else 1,
                "linewidth": 1.5 if is_named else 1,
            }
            false, true, _ = roc_curve(truth[:, number], scores[:, number])
            left.plot(false, true, label=f"{names[number][:24]} {areas[number]:.3f}" if is_named else None, **options)
            precision, recall, _ = precision_recall_curve(truth[:, number], scores[:, number])
            label = f"{names[number][:24]} {precisions[number]:.3f}" if is_named else None
            right.plot(recall, precision, label=label, **options)
        for axes, heading, x, y in (
            (left, "ROC (area)", "false positive rate", "true positive rate"),
            (right, "precision and recall (mean precision)", "recall", "precision"),
        ):
            axes.set(title=heading, xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
            axes.legend(fontsize=7.5, loc="lower right" if axes is left else "lower left")

    words = ", ".join(f"{names[number]} {areas[number]:.3f} and {precisions[number]:.3f}" for number in worst)
    words = f"area under the ROC and mean precision of the hardest classes: {words}"
    return Chart("ROC and precision-recall", words, draw, (9.0, 4.0))


def calibration(confidence: Floats, correct: NDArray[np.bool_]) -> Chart:
    """How often predictions of a confidence are right, in ten groups of equal size."""
    groups = np.array_split(np.argsort(confidence, kind="stable"), min(10, len(confidence)))
    points = [(confidence[rows].mean(), correct[rows].mean()) for rows in groups if len(rows)]
    error = float(sum(abs(x - y) * len(rows) for (x, y), rows in zip(points, groups, strict=True)) / len(confidence))

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color=_TEXT, linewidth=0.8, linestyle=":")
        left.plot(*zip(*points, strict=True), marker="o", color=BLUE)
        left.set(title=f"calibration (error {error:.3f})", xlabel="confidence", ylabel="share that is right")
        bins = np.linspace(0, 1, 21)
        right.hist([confidence[correct], confidence[~correct]], bins=bins, stacked=True, color=[BLUE, ORANGE],
                   label=["right", "wrong"])  # fmt: skip
        right.set(title="confidence", xlabel="confidence", ylabel="images")
        right.legend(fontsize=8)

    words = f"mean confidence {confidence.mean():.3f}, right {correct.mean():.3f}; "
    words += f"expected calibration error {error:.3f} in ten groups of equal size"
    return Chart("Calibration", words, draw, (9.0, 3.4))


def residuals(truth: Floats, predictions: Floats, name: str) -> Chart:
    """Predicted against true numbers, and the errors against the true ones."""
    errors = predictions - truth
    rmse = float(np.sqrt((errors**2).mean()))

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        ends = [min(truth.min(), predictions.min()), max(truth.max(), predictions.max())]
        left.plot(ends, ends, color=_TEXT, linewidth=0.8, linestyle=":")
        left.scatter(truth, predictions, s=8, alpha=0.5, color=BLUE, linewidths=0, rasterized=True)
        left.set(title=name, xlabel="true", ylabel="predicted")
        right.axhline(0, color=_TEXT, linewidth=0.8, linestyle=":")
        right.scatter(truth, errors, s=8, alpha=0.5, color=ORANGE, linewidths=0, rasterized=True)
        right.set(title="residuals", xlabel="true", ylabel="predicted − true")

    return Chart(f"Predicted and true {name}", f"root mean squared error {rmse:.4g}", draw, (9.0, 3.6))


# Members and views


def bars(values: Sequence[tuple[str, float, float]], title: str, unit: str) -> Chart:
    """A bar for each (name, value, standard error)."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        names = [name[:40] for name, _, _ in values]
        axes.barh(range(len(values)), [value for _, value, _ in values], color=BLUE, height=0.6,
                  xerr=[error for _, _, error in values] if any(error for _, _, error in values) else None,
                  error_kw={"ecolor": _TEXT, "elinewidth": 1})  # fmt: skip
        axes.set_yticks(range(len(values)), names)
        axes.set_ylim(max(len(values), 2) - 0.5, -0.5)
        axes.set_xlabel(unit)
        axes.grid(visible=False, axis="y")

    words = ", ".join(f"{name} {value:.4g}" for name, value, _ in values)
    return Chart(title, words, draw, (7.0, 1.2 + 0.34 * max(len(values), 2)))


def correlations(matrix: Floats, names: Sequence[str]) -> Chart:
    count = len(names)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.imshow(matrix, cmap="Blues", vmin=min(0.0, float(matrix.min())), vmax=1)
        axes.grid(visible=False)
        axes.set_xticks(range(count), [name[:24] for name in names], rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), [name[:24] for name in names])
        for row in range(count):
            for column in range(count):
                colour = "white" if matrix[row, column] > 0.6 else "#1b2530"
                axes.text(column, row, f"{matrix[row, column]:.2f}", ha="center", va="center", color=colour, fontsize=8)

    side = float(np.clip(1.8 + 0.5 * count, 3.2, 8.0))
    return Chart("Correlation of the members' errors", "low correlations blend well", draw, (side + 1, side))


def history_chart(lines: Mapping[str, "pd.Series[float]"], title: str) -> Chart:
    """Figures from 0 to 1 after every epoch."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for (name, values), colour in zip(lines.items(), COLOURS, strict=False):
            axes.plot(
                range(1, len(values) + 1), values, color=colour, label=name, marker="o" if len(values) < 3 else None
            )
        axes.set(xlabel="epoch", ylim=(-0.02, 1.02))
        axes.locator_params(axis="x", integer=True)
        axes.legend(fontsize=8)

    words = ", ".join(f"{name} {values.iloc[-1]:.3f}" for name, values in lines.items())
    return Chart(title, f"after the last epoch: {words}", draw)


def curves(lines: Sequence[tuple[str, Floats, Floats]], title: str, x: str, y: str) -> Chart:
    """Curves from 0 to 1 in both directions, at most as many as there are colours."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for (name, along, up), colour in zip(lines, COLOURS, strict=False):
            axes.plot(along, up, color=colour, label=name)
        axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(fontsize=8)

    return Chart(title, ", ".join(name for name, _, _ in lines), draw, (6.0, 4.2))
