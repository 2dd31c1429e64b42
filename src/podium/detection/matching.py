"""Which detections are right: the rules of COCO's evaluation, for all images at once.

On each image and in each class the detections take their boxes in the order of their scores. Each takes the free box
that it overlaps most, if their IoU (intersection over union) is at least 0.5, and is a hit; a box is taken once. One
that finds no free box but lies in a group box by at least half of its own area is left out, and so is the group box
itself: neither hit, miss nor false alarm. Every other one is a false alarm, and every box that is not taken, a miss. Of
more than 100 detections of a class on an image the 100 with the highest scores count.

What a detection takes never depends on those with lower scores. So one matching serves every threshold of the score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.detection.dataset import CORNERS

LEAST_IOU = 0.5
MOST_ON_A_IMAGE = 100
"""Detections of a class, as COCO counts."""
DEFAULT_THRESHOLD = 0.5
"""Of the score, where nothing detected is right and so none can be chosen."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matches:
    """A row a detection, the highest score first; what lies in a group box is not among them."""

    scores: Floats
    ious: Floats
    """With the box that each took; nan for a false alarm."""
    taken: Ints
    """That box, as its row in the table of boxes; -1 for a false alarm."""
    classes: Ints
    """Numbers of the list of classes."""
    is_on_empty: Flags
    """Is there no box at all on its image, a group box included?"""
    images: Ints
    """Numbers of the list of images."""
    boxes: Ints
    """Of each class, all that can be hit."""

    @property
    def is_hit(self) -> Flags:
        return ~np.isnan(self.ious)


def match(found: pd.DataFrame, boxes: pd.DataFrame, classes: Sequence[str], images: Sequence[str]) -> Matches:
    """`found` and `boxes` are of these classes and images; the boxes are a set's, with the column `group`."""
    found = best_of_each_image(found)
    kinds, places = _numbers(found["class"], classes), _numbers(found["id"], images)
    box_kinds, box_places = _numbers(boxes["class"], classes), _numbers(boxes["id"], images)
    is_group = boxes["group"].to_numpy(dtype=bool)
    groups, box_groups = places * len(classes) + kinds, box_places * len(classes) + box_kinds
    taken, ious, is_left_out = _take_boxes(
        groups, found[list(CORNERS)].to_numpy(dtype=np.float64),
        box_groups, boxes[list(CORNERS)].to_numpy(dtype=np.float64), is_group,
    )  # fmt: skip
    order = np.argsort(-found["score"].to_numpy(dtype=np.float64), kind="stable")
    order = order[~is_left_out[order]]
    return Matches(
        scores=found["score"].to_numpy(dtype=np.float64)[order],
        ious=ious[order],
        taken=taken[order],
        classes=kinds[order],
        is_on_empty=~np.isin(places, box_places)[order],
        images=places[order],
        boxes=np.bincount(box_kinds[~is_group], minlength=len(classes)),
    )


def best_of_each_image(found: pd.DataFrame) -> pd.DataFrame:
    """By falling score, those of equal scores as they came; of each class on an image 100 at most."""
    ordered = found.sort_values("score", ascending=False, kind="stable", ignore_index=True)
    place = ordered.groupby(["id", "class"], sort=False).cumcount()
    return ordered[place < MOST_ON_A_IMAGE].reset_index(drop=True)


def best_threshold(matches: Matches) -> float:
    """The score from which on F1 over all classes is best, of equally good ones the highest; 0.5 if none is right."""
    if not matches.is_hit.any():
        return DEFAULT_THRESHOLD
    counted = np.arange(1, len(matches.scores) + 1)
    f1 = 2 * np.cumsum(matches.is_hit) / (counted + matches.boxes.sum())
    f1[:-1][matches.scores[:-1] == matches.scores[1:]] = -1  # equal scores come together or not at all
    return float(matches.scores[f1.argmax()])


def overlaps(some: Floats, others: Floats) -> Floats:
    """The intersections of boxes, row by row, as areas."""
    sides = np.minimum(some[:, 2:], others[:, 2:]) - np.maximum(some[:, :2], others[:, :2])
    return np.asarray(sides.clip(0).prod(axis=1), dtype=np.float64)


def areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), dtype=np.float64)


def _take_boxes(
    groups: Ints, corners: Floats, box_groups: Ints, box_corners: Floats, is_group: Flags
) -> tuple[Ints, Floats, Flags]:
    """The box that each detection takes, or -1; its IoU with it, or nan; and whether it is left out for a group box.

    The detections come by falling score. Only pairs within a group, an image and a class, can meet.
    """
    first, second = _pairs(groups, box_groups)
    shared, own = overlaps(corners[first], box_corners[second]), areas(corners)[first]
    whole = np.where(is_group[second], own, own + areas(box_corners)[second] - shared)
    values = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    near = values >= LEAST_IOU
    first, second, values = first[near], second[near], values[near]
    # By detection; its ordinary boxes before group boxes, the nearest first, and as COCO does the last of equal ones.
    order = np.lexsort((-second, -values, is_group[second], first))
    taken, ious = np.full(len(groups), -1), np.full(len(groups), np.nan)
    is_left_out = np.zeros(len(groups), dtype=bool)
    is_taken = np.zeros(len(box_groups), dtype=bool)
    done = -1
    for one, box, value in zip(first[order].tolist(), second[order].tolist(), values[order].tolist(), strict=True):
        if one == done:
            continue
        if is_group[box]:  # which takes any number
            is_left_out[one], done = True, one
        elif not is_taken[box]:
            is_taken[box], taken[one], ious[one], done = True, box, value, one
    return taken, ious, is_left_out


def _pairs(groups: Ints, box_groups: Ints) -> tuple[Ints, Ints]:
    """Each detection with every box of its group, by their positions."""
    by_group = np.argsort(box_groups, kind="stable")
    ordered = box_groups[by_group]
    starts, ends = np.searchsorted(ordered, groups, "left"), np.searchsorted(ordered, groups, "right")
    counts = ends - starts
    first = np.repeat(np.arange(len(groups)), counts)
    within = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    return first, by_group[np.repeat(starts, counts) + within]


def _numbers(names: "pd.Series[str]", known: Sequence[str]) -> Ints:
    number = {name: position for position, name in enumerate(known)}
    return names.map(number).to_numpy(dtype=np.int64)
