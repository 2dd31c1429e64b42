"""Test-time views: the same image seen in several ways, and what each way is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from podium.config.member import TestTimeViews, view_part
from podium.data.augmentation import Augmentation
from podium.data.images import Image, Resize, Scaling, cut_square, zoomed_scaling
from podium.evaluation.metrics import Metric
from podium.evaluation.statistics import bootstrap_gain

Probs = NDArray[np.float64]
CORNERS = {"top_left": (0.0, 0.0), "top_right": (1.0, 0.0), "bottom_left": (0.0, 1.0), "bottom_right": (1.0, 1.0)}


@dataclass(frozen=True)
class View:
    """How an image is looked at: how close, where, and what is done to it then."""

    name: str
    zoom: float = 1.0
    at: tuple[float, float] = (0.5, 0.5)
    transforms: tuple[Any, ...] = ()

    def prepare(self, image_size: int, resize: Resize, seed: int) -> "PreparedView":
        return PreparedView(self, image_size, resize, seed, Augmentation(self.transforms, image_size))


@dataclass(frozen=True)
class PreparedView:
    """A view at one size, as the batches call it. What is random in it comes from the seed and the row."""

    view: View
    size: int
    resize: Resize
    seed: int
    augmentation: Augmentation

    @property
    def scaling(self) -> Scaling:
        return zoomed_scaling(self.size, self.resize, self.view.zoom)

    def __call__(self, scaled: Image, row: int, epoch: int = 0) -> Image:
        seen = cut_square(scaled, self.size, self.resize, self.view.at)
        return self.augmentation(seen, (self.seed * 1_000_003 + row) % 2**32)


def make_views(settings: TestTimeViews) -> list[View]:
    """The views that the YAML list names, in its order; `corner_crops` makes four."""
    return [view for written in settings.views for view in _expand(written)]


def _expand(written: Any) -> list[View]:
    views = [View("")]
    for part in written if isinstance(written, list) else [written]:
        views = [_then(view, one) for view in views for one in _one_part(part)]
    return views


def _then(view: View, part: View) -> View:
    name = f"{view.name} + {part.name}" if view.name else part.name
    zoom = view.zoom * part.zoom
    at = (_place(view, part, zoom, 0), _place(view, part, zoom, 1))
    return View(name, zoom, at, (*view.transforms, *part.transforms))


def _place(view: View, part: View, zoom: float, axis: int) -> float:
    """Where the window of both stands: `part` looks into what `view` shows, so a corner of it stays a corner."""
    if zoom <= 1.0:  # nothing is cut
        return 0.5
    first, both = 1 / view.zoom, 1 / zoom  # the windows' sides, as shares of the image's
    start = view.at[axis] * (1 - first) + part.at[axis] * (first - both)
    return min(max(start / (1 - both), 0.0), 1.0)


def _one_part(part: Any) -> list[View]:
    name, value = view_part(part)
    if name == "identity":
        return [View(name)]
    if name == "horizontal_flip":
        return [View(name, transforms=({"HorizontalFlip": {"p": 1.0}},))]
    if name == "scale":
        return [View(f"scale {value:g}", zoom=value)]
    if name == "centre_crop":
        return [View(f"centre_crop {value:g}", zoom=1 / value)]
    if name == "corner_crops":
        return [View(f"{corner} {value:g}", zoom=1 / value, at=at) for corner, at in CORNERS.items()]
    if name == "rotate":
        turned = {"Rotate": {"limit": [value, value], "border_mode": 4, "p": 1.0}}  # 4: the edges mirrored
        return [View(f"rotate {value:g}", transforms=(turned,))]
    if name == "brightness":
        lit = {"brightness_limit": [value, value], "contrast_limit": [0.0, 0.0], "p": 1.0}
        return [View(f"brightness {value:+g}", transforms=({"RandomBrightnessContrast": lit},))]
    return [View(name if value is None else f"{name} {value}", transforms=(part,))]


def join(per_view: NDArray[np.float64], mean: Literal["arithmetic", "geometric"]) -> Probs:
    """(views, rows, classes) to (rows, classes), each row summing to 1."""
    if mean == "arithmetic":
        joined = per_view.mean(axis=0)
    else:
        joined = np.exp(np.log(np.clip(per_view, 1e-12, None)).mean(axis=0))
    return np.asarray(joined / joined.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Gain:
    """What a view adds to the first one, out of fold: positive is better, whatever the metric."""

    view: str
    score: float
    gain: float
    standard_error: float
    kept: bool = False


def measure_gains(
    names: Sequence[str], per_view: NDArray[np.float64], labels: NDArray[np.int64], metric: Metric, mean: Any
) -> list[Gain]:
    """Each view alone and joined with the first one, and then all of them together, compared with the first one."""
    first = per_view[0]
    gains = [Gain(names[0], metric(labels, first), 0.0, 0.0)]
    for number in range(1, len(names)):
        joined = join(per_view[[0, number]], mean)
        gains.append(
            Gain(names[number], metric(labels, per_view[number]), *bootstrap_gain(metric, labels, first, joined))
        )
    everything = join(per_view, mean)
    gains.append(Gain("all views", metric(labels, everything), *bootstrap_gain(metric, labels, first, everything)))
    return gains


def views_that_help(per_view: NDArray[np.float64], labels: NDArray[np.int64], metric: Metric, mean: Any) -> list[int]:
    """From the first view on, the one that gains most is added, as long as it gains more than its standard error."""
    kept = [0]
    while len(kept) < len(per_view):
        so_far = join(per_view[kept], mean)
        others = [number for number in range(len(per_view)) if number not in kept]
        gains = [bootstrap_gain(metric, labels, so_far, join(per_view[[*kept, number]], mean)) for number in others]
        best = max(range(len(others)), key=lambda position: gains[position][0])
        gain, error = gains[best]
        if gain <= error or gain <= 0:
            break
        kept.append(others[best])
    return sorted(kept)


def chosen_apart(
    per_view: NDArray[np.float64], labels: NDArray[np.int64], metric: Metric, mean: Any, seed: int
) -> Probs:
    """Out-of-fold probabilities with views chosen honestly: those of each half of the rows on the other half.

    Choosing views and scoring them on the same rows would report the luck of the choice as a gain.
    """
    halves = np.empty(len(labels), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # alternate within each class
    halves[order] = np.arange(len(labels)) % 2
    joined = np.empty(per_view.shape[1:])
    for half in (0, 1):
        there, here = halves != half, halves == half
        kept = views_that_help(per_view[:, there], labels[there], metric, mean)
        joined[here] = join(per_view[kept][:, here], mean)
    return joined


def mark_kept(gains: Sequence[Gain], kept: Sequence[int]) -> list[Gain]:
    return [replace(gain, kept=number in kept) for number, gain in enumerate(gains)]
