"""Test-time augmentation: views of an image, the mean of their predictions, and the selection of views."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from podium.config.member import TestTimeViews, view_part
from podium.data.augmentation import Augmentation
from podium.data.folds import stratified_halves
from podium.data.images import Image, Resize, Scaling, cut_square, zoomed_scaling
from podium.data.target import Target, Truth
from podium.evaluation.metrics import Metric
from podium.evaluation.statistics import bootstrap_gain

Floats = NDArray[np.float64]
Mean = Literal["arithmetic", "geometric"]
SMALLEST = 1e-12
"""In a geometric mean, so that a probability of 0 in one view does not decide alone."""
CORNERS = {"top_left": (0.0, 0.0), "top_right": (1.0, 0.0), "bottom_left": (0.0, 1.0), "bottom_right": (1.0, 1.0)}


@dataclass(frozen=True)
class View:
    """A crop of an image and transforms of it."""

    name: str
    zoom: float = 1.0
    position: tuple[float, float] = (0.5, 0.5)
    """The position of the crop, from (0, 0) top left to (1, 1) bottom right."""
    transforms: tuple[Any, ...] = ()

    def prepare(self, image_size: int, resize: Resize, seed: int) -> "PreparedView":
        return PreparedView(self, image_size, resize, seed, Augmentation(self.transforms, image_size))


@dataclass(frozen=True)
class PreparedView:
    """A view at one image size. Random transforms are seeded by `seed` and the row."""

    view: View
    size: int
    resize: Resize
    seed: int
    augmentation: Augmentation

    @property
    def scaling(self) -> Scaling:
        return zoomed_scaling(self.size, self.resize, self.view.zoom)

    def __call__(self, scaled: Image, row: int, epoch: int = 0) -> Image:
        crop = cut_square(scaled, self.size, self.resize, self.view.position)
        return self.augmentation(crop, (self.seed * 1_000_003 + row) % 2**32)


def make_views(settings: TestTimeViews) -> list[View]:
    """The views of the config, in order; `corner_crops` expands to four views."""
    return [view for item in settings.views for view in _expand(item)]


def names_of_views(views: Sequence[View], image_sizes: Sequence[int]) -> list[str]:
    """The names of the views at each of these sizes."""
    return [_name_at(view, size) if len(image_sizes) > 1 else view.name for size in image_sizes for view in views]


def views_named(names: Sequence[str], views: Sequence[View], image_size: int) -> list[View]:
    """Those that are named, alone or with this size."""
    return [view for view in views if view.name in names or _name_at(view, image_size) in names]


def _name_at(view: View, image_size: int) -> str:
    return f"{view.name}, {image_size} px"


def _expand(item: Any) -> list[View]:
    """Expand a view of the config, which may be a list of parts that are applied in sequence."""
    views = [View("")]
    for part in item if isinstance(item, list) else [item]:
        views = [_compose(view, other) for view in views for other in _views_of_part(part)]
    return views


def _compose(first: View, second: View) -> View:
    """`second` applied to the output of `first`."""
    name = f"{first.name} + {second.name}" if first.name else second.name
    zoom = first.zoom * second.zoom
    if sum("HorizontalFlip" in transform for transform in first.transforms) % 2:  # crops are cut before transforms
        second = replace(second, position=(1 - second.position[0], second.position[1]))
    position = (_compose_position(first, second, zoom, 0), _compose_position(first, second, zoom, 1))
    return View(name, zoom, position, (*first.transforms, *second.transforms))


def _compose_position(first: View, second: View, zoom: float, axis: int) -> float:
    if zoom <= 1.0:  # the crop is the whole image
        return 0.5
    first_side, side = 1 / first.zoom, 1 / zoom  # of the crops, as shares of the image's side
    start = first.position[axis] * (1 - first_side) + second.position[axis] * (first_side - side)
    return min(max(start / (1 - side), 0.0), 1.0)


def _views_of_part(part: Any) -> list[View]:
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
        return [View(f"{corner} {value:g}", zoom=1 / value, position=position) for corner, position in CORNERS.items()]
    if name == "rotate":
        rotation = {"limit": [value, value], "border_mode": 4, "p": 1.0}  # cv2.BORDER_REFLECT_101
        return [View(f"rotate {value:g}", transforms=({"Rotate": rotation},))]
    if name == "brightness":
        limits = {"brightness_limit": [value, value], "contrast_limit": [0.0, 0.0], "p": 1.0}
        return [View(f"brightness {value:+g}", transforms=({"RandomBrightnessContrast": limits},))]
    return [View(name if value is None else f"{name} {value}", transforms=(part,))]


@dataclass(frozen=True)
class ViewScore:
    """The out-of-fold score of a view, and how much its mean with the first view is better than the first view."""

    view: str
    score: float
    gain: float
    """Positive is better for every metric."""
    standard_error: float
    """The standard error of the gain."""


@dataclass(frozen=True)
class ViewSelection:
    """Averages, scores and chooses views; `per_view` is (views, rows, outputs)."""

    target: Target
    metric: Metric
    mean: Mean

    def average(self, per_view: Floats) -> Floats:
        if self.mean == "arithmetic":
            return self.target.normalize(per_view.mean(axis=0))
        return self.target.geometric_mean(per_view, SMALLEST)

    def score(self, names: Sequence[str], per_view: Floats, truth: Truth) -> list[ViewScore]:
        """Each view, then all views together."""
        first = per_view[0]
        scores = [ViewScore(names[0], self.metric(truth, first), 0.0, 0.0)]
        for number, name in list(enumerate(names))[1:]:
            gain = bootstrap_gain(self.metric, truth, first, self.average(per_view[[0, number]]))
            scores.append(ViewScore(name, self.metric(truth, per_view[number]), *gain))
        averaged = self.average(per_view)
        gain = bootstrap_gain(self.metric, truth, first, averaged)
        return [*scores, ViewScore("all views", self.metric(truth, averaged), *gain)]

    def choose_size(self, of_sizes: Sequence[Floats], truth: Truth, *, choose_views: bool) -> tuple[int, list[int]]:
        """Of the predictions at several image sizes, the number of the best ones, and the views to use of them."""
        views = [self.choose(views, truth) if choose_views else list(range(len(views))) for views in of_sizes]
        if len(of_sizes) == 1:
            return 0, views[0]
        averages = [self.average(per_view[kept]) for per_view, kept in zip(of_sizes, views, strict=True)]
        best = int(np.argmax([self.metric.comparable(truth, average) for average in averages]))
        return best, views[best]

    def choose(self, per_view: Floats, truth: Truth) -> list[int]:
        """Greedily from the first view: add the view with the largest gain, while it exceeds its standard error."""
        chosen = [0]
        while len(chosen) < len(per_view):
            before = self.average(per_view[chosen])
            others = [number for number in range(len(per_view)) if number not in chosen]
            gains = [
                bootstrap_gain(self.metric, truth, before, self.average(per_view[[*chosen, number]]))
                for number in others
            ]
            best = max(range(len(others)), key=lambda position: gains[position][0])
            gain, standard_error = gains[best]
            if gain <= standard_error or gain <= 0:
                break
            chosen.append(others[best])
        return sorted(chosen)

    def average_chosen(
        self, of_sizes: Sequence[Floats], truth: Truth, seed: int, *, choose_views: bool = True
    ) -> Floats:
        """Average each half of the rows over the image size and the views chosen on the other half.

        Choosing and scoring them on the same rows would overestimate the gain.
        """
        halves = stratified_halves(self.target.strata(truth), seed)
        averaged = np.empty(of_sizes[0].shape[1:])
        for half in (0, 1):
            others = [per_view[:, halves != half] for per_view in of_sizes]
            size, chosen = self.choose_size(others, truth[halves != half], choose_views=choose_views)
            averaged[halves == half] = self.average(of_sizes[size][chosen][:, halves == half])
        return averaged
