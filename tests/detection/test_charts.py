"""Charts: their axes and names, and that no texts overlap."""

from contextlib import contextmanager
from itertools import combinations

import cv2
import numpy as np
import pandas as pd
import pytest
from detection_cases import dataset_of, random_case
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from podium.detection import charts
from podium.detection.detections import detections_table
from podium.detection.evaluation import evaluate_part


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, in their order."""
    seen, original = [], charts._chart

    @contextmanager
    def noted(*arguments, **options):
        with original(*arguments, **options) as (figure, axes):
            seen.append(figure)
            yield figure, axes

    monkeypatch.setattr(charts, "_chart", noted)
    return seen


def darknet(iterations=2000, highest=2000.0):
    steps = np.arange(1, iterations + 1)
    loss = highest * np.exp(-steps / 50) + 1
    iou = 0.8 - 0.5 * np.exp(-steps / 500)
    worth = np.where(steps % 500 == 0, 0.5, np.nan)
    return pd.DataFrame(
        {"iteration": steps, "loss": loss, "average_loss": loss, "rate": 0.001, "iou": iou, "map50": worth}
    )


def metrics_over(epochs, **changes):
    values = np.linspace(0.1, 0.6, epochs) if epochs > 1 else np.array([0.1])
    return {
        "title": "boats", "epochs": list(range(1, epochs + 1)), "mean_iou": values + 0.3, "ap50": values,
        "ap": values / 2, **changes,
    }  # fmt: skip


def names(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def texts_that_overlap(figure):
    """Pairs of texts with common pixels, and texts that the border of the image cuts off."""
    figure.draw_without_rendering()
    unseen = {id(label) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in _labels_outside(axis)}
    texts = [one for one in figure.findobj(Text) if one.get_visible() and one.get_text() and id(one) not in unseen]
    found = [(one.get_text(), one.get_window_extent()) for one in texts]
    width, height = figure.canvas.get_width_height()
    cut = [text for text, box in found if min(box.x0, box.y0) < -1 or box.x1 > width + 1 or box.y1 > height + 1]
    return cut + [(a, b) for (a, one), (b, other) in combinations(found, 2) if one.overlaps(other)]


def _labels_outside(axis):
    """matplotlib keeps labels of ticks beyond the ends of an axis, and does not draw them."""
    low, high = axis.get_view_interval()
    return [
        label
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for label in (tick.label1, tick.label2)
        if not low <= tick.get_loc() <= high
    ]


@pytest.mark.parametrize("epochs", [1, 2, 30, 300])
def test_iou_and_ap_have_an_axis_from_0_to_1(tmp_path, figures, epochs):
    charts.draw_iou_ap(tmp_path / "iou_ap.png", **metrics_over(epochs))
    axes = figures[0].axes[0]
    assert axes.get_ylim() == (0, 1)
    assert axes.get_xlim()[0] < 1 <= epochs < axes.get_xlim()[1]
    assert all(tick == int(tick) for tick in axes.get_xticks())
    assert texts_that_overlap(figures[0]) == []
    best = 0.1 if epochs == 1 else 0.6
    assert names(figures[0])[:2] == [
        f"mean IoU of true positives: highest {best + 0.3:.3f} (epoch {epochs})",
        f"AP@0.5: highest {best:.3f} (epoch {epochs})",
    ]  # fmt: skip


def test_nan_is_a_gap_and_an_isolated_value_a_dot(tmp_path, figures):
    iou = np.linspace(0, 1, 300)
    iou[100:200] = np.nan
    iou[150] = 0.5
    charts.draw_iou_ap(tmp_path / "a.png", **metrics_over(300, mean_iou=iou))
    line, dot = figures[0].axes[0].lines[:2]
    assert np.isnan(line.get_ydata()[100:150]).all()
    assert (dot.get_xdata().tolist(), dot.get_ydata().tolist(), dot.get_marker()) == ([151], [0.5], "o")


def test_no_values_give_empty_charts(tmp_path, figures):
    nothing = np.full(3, np.nan)
    charts.draw_iou_ap(tmp_path / "a.png", **metrics_over(3, mean_iou=nothing, ap50=nothing, ap=nothing))
    charts.draw_iou_ap(tmp_path / "b.png", title="boats", epochs=[], mean_iou=[], ap50=[], ap=[])
    charts.draw_loss(tmp_path / "c.png", title="boats", steps=[1, 2], loss=[np.nan, np.inf])
    charts.draw_loss(tmp_path / "d.png", title="boats", steps=[], loss=[])
    assert names(figures[0]) == names(figures[1]) == ["mean IoU of true positives: –", "AP@0.5: –", "AP@0.5:0.95: –"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png", "d.png"]
    for figure in figures:
        room = figure.axes[0].get_position()
        assert room.width > 0.8
        assert room.height > 0.6


@pytest.mark.parametrize("steps", [1, 40, 3000])
def test_loss_axis_starts_at_0(tmp_path, figures, steps):
    loss = 3.0 / np.arange(1, steps + 1) ** 0.2
    charts.draw_loss(tmp_path / "loss.png", title="boats", steps=np.arange(1, steps + 1), loss=loss)
    axes = figures[0].axes[0]
    assert axes.get_ylim()[0] == 0
    assert 3 < axes.get_ylim()[1] < 3.5
    assert axes.get_ylabel() == "loss"
    assert texts_that_overlap(figures[0]) == []
    assert names(figures[0]) == ["loss, running median" if steps > charts.MAX_MARKED else "loss"]


def test_extreme_losses_are_cut_off(tmp_path, figures):
    loss = np.full(1000, 0.5)
    loss[0] = 4000
    charts.draw_loss(tmp_path / "loss.png", title="boats", steps=np.arange(1000), loss=loss)
    axes = figures[0].axes[0]
    assert axes.get_ylim() == (0, 1.5)
    assert axes.get_ylabel() == "loss (cut off, maximum 4,000)"
    assert np.nanmax(axes.lines[0].get_ydata()) == 0.5, "one loss moves no median"


def test_running_median_follows_the_loss(tmp_path, figures):
    loss = np.r_[np.full(500, 2.0), np.full(500, 1.0)] + np.tile([0.1, -0.1], 500)
    charts.draw_loss(tmp_path / "loss.png", title="boats", steps=np.arange(1000), loss=loss)
    middle = figures[0].axes[0].lines[0].get_ydata()
    assert middle[100] == pytest.approx(2, abs=0.11)
    assert middle[900] == pytest.approx(1, abs=0.11)


def test_darknet_log_has_charts_of_the_values_it_contains(tmp_path, figures):
    assert [path.name for path in charts.draw_darknet_log(tmp_path, "boats.log", darknet())] == [
        "loss.png",
        "iou_ap.png",
    ]
    assert [figure.axes[0].get_ylim()[0] for figure in figures] == [0, 0]
    assert all(texts_that_overlap(figure) == [] for figure in figures)
    bare = darknet().assign(iou=np.nan, map50=np.nan)
    assert [path.name for path in charts.draw_darknet_log(tmp_path / "bare", "boats.log", bare)] == ["loss.png"]
    assert [path.name for path in (tmp_path / "bare").iterdir()] == ["loss.png"]


# Precision over recall


def test_curve_ends_at_the_highest_recall(tmp_path, figures):
    # One of two boxes is hit, by the only detection: precision 1 up to recall 0.5.
    dataset = dataset_of([("a", "Boat", 0, 0, 9, 9), ("b", "Boat", 0, 0, 9, 9)], {"a": "test", "b": "test"})
    part = evaluate_part(dataset, detections_table([("a", "Boat", 0.75, 0, 0, 9, 9)]), "test")
    charts.draw_curves(tmp_path / "curves.png", title="boats", part=part)
    axes = figures[0].axes[0]
    curve, dot = axes.lines
    assert curve.get_ydata()[0] == pytest.approx(1)
    assert (curve.get_xdata()[-1], curve.get_ydata()[-1]) == (0.5, 0)
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (0.5, 1)
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0, 1))
    assert axes.get_xlabel() == "recall (test, IoU >= 0.5; dots: score >= 0.750)"
    assert names(figures[0]) == ["0.505  Boat"]


def test_many_classes_are_drawn_and_the_largest_named(tmp_path, figures):
    kinds = [f"Kind {number} of a name that goes on and on" for number in range(30)]
    dataset, found = random_case(0, images=300, classes=kinds, boxes=5)
    dataset.classes.append("Canoe")
    charts.draw_curves(tmp_path / "a.png", title="many", part=evaluate_part(dataset, found, "test"))
    named = names(figures[0])
    assert len(named) == 25
    assert named[-1] == "6 others"
    assert [float(name[:5]) for name in named[:-1]] == sorted((float(name[:5]) for name in named[:-1]), reverse=True)
    assert texts_that_overlap(figures[0]) == []
    styles = {(line.get_color(), line.get_linestyle()) for line in figures[0].axes[0].lines}
    assert len(styles) >= 24
    charts.draw_curves(
        tmp_path / "b.png",
        title="none",
        part=evaluate_part(dataset_of([], {"a": "test"}), detections_table([]), "test"),
    )
    assert [text.get_text() for text in figures[1].axes[0].texts] == ["no class has a box here"]


# What all have in common


def test_long_titles_and_unknown_characters_are_drawn(tmp_path, figures):
    title = "$x_1$ ночь 夜 🚗 " + "long " * 100
    charts.draw_loss(tmp_path / "a.png", title=title, steps=[1], loss=[1])
    assert figures[0].axes[0].get_title(loc="left").startswith("$x_1$ ночь ? ? long")
    assert figures[0].axes[0].get_position().width > 0.8
    assert texts_that_overlap(figures[0]) == []


def test_charts_are_reproducible(tmp_path):
    for name in ("a.png", "b.png"):
        charts.draw_iou_ap(tmp_path / name, **metrics_over(5))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    assert cv2.imread(str(tmp_path / "a.png")).shape == (650, 1118, 3)


def test_failed_chart_keeps_the_previous_one(tmp_path):
    charts.draw_loss(tmp_path / "a.png", title="boats", steps=[1], loss=[1])
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ValueError, match="shape"):
        charts.draw_loss(tmp_path / "a.png", title="boats", steps=[1, 2], loss=[1])
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# How someone sees colours who lacks one kind of cones: Viénot, Brettel and Mollon 1999, in linear RGB.
BLIND = {
    "to red": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "to green": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("matrix", BLIND.values(), ids=BLIND)
def test_colours_differ_for_colour_blind_people(matrix):
    seen = [np.array(matrix) @ (np.array(to_rgb(one)) ** 2.2) for one in (charts.BLUE, charts.ORANGE, charts.GREEN)]
    apart = [
        np.abs(one.clip(0, 1) ** (1 / 2.2) - other.clip(0, 1) ** (1 / 2.2)).max()
        for one, other in combinations(seen, 2)
    ]
    assert min(apart) > 0.2
