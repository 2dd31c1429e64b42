"""Average precision of resamples, in which each image comes so many times or not at all.

What a detection hits on its image does not depend on the other images. So COCOeval judges once, and of a resample
only the sums are made anew, as its `accumulate` makes them: with each image once they are its very figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.detection.average_precision import LEAST_IOUS, RECALLS, Judged

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Resampled:
    """A value a resample; nan where no class has a box in it."""

    ap50: Floats
    ap: Floats


def average_precision_of(times: Ints, classes: Sequence[Judged]) -> Resampled:
    """`times` is (resamples, images): how often each image is drawn."""
    of_classes = np.array([_of_class(times, judged) for judged in classes])  # class, least IoU, resample
    return Resampled(_mean_of_known(of_classes[:, 0]), _mean_of_known(of_classes.mean(axis=1)))


def _of_class(times: Ints, judged: Judged) -> Floats:
    """Of each least IoU a row with the AP of each resample; nan where the class has no box."""
    boxes = times @ judged.boxes
    needed = _hits_needed(boxes)
    rows = [_of_least_iou(times, judged, number, needed) for number in range(len(LEAST_IOUS))]
    return np.where(boxes > 0, np.array(rows), np.nan)


def _of_least_iou(times: Ints, judged: Judged, number: int, needed: Ints) -> Floats:
    """Precision and recall change for the better at hits alone, so only there they are looked at."""
    counted = np.flatnonzero(judged.is_counted[number])
    places = np.flatnonzero(judged.is_hit[number][counted])
    if not len(places):
        return np.zeros(len(times))
    counted = counted[: places[-1] + 1]
    detections = np.cumsum(times[:, judged.images[counted]], axis=1)[:, places]
    hits = np.cumsum(times[:, judged.images[counted[places]]], axis=1)
    precisions = hits / (detections + np.spacing(1))
    best = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    at = _first_with(hits, needed)
    reached = at < hits.shape[1]
    found = np.take_along_axis(best, np.where(reached, at, 0), axis=1)
    return np.asarray(np.where(reached, found, 0).mean(axis=1), dtype=np.float64)


def _hits_needed(boxes: Ints) -> Ints:
    """For each number of boxes a row: the fewest hits whose share of the boxes is each of RECALLS, as divisions say."""
    each = np.maximum(boxes, 1)[:, None]
    hits: Ints = np.ceil(RECALLS * each).astype(np.int64)
    hits -= (hits > 0) & ((hits - 1) / each >= RECALLS)
    hits += hits / each < RECALLS
    return hits


def _first_with(hits: Ints, needed: Ints) -> Ints:
    """In each row the place of the first number that is at least so large; the row's length where none is.

    One search serves all rows: each is lifted above all before it.
    """
    lift = np.arange(len(hits))[:, None] * (max(int(hits.max()), int(needed.max())) + 1)
    places = np.searchsorted((hits + lift).ravel(), (needed + lift).ravel()).reshape(needed.shape)
    return np.asarray(places - np.arange(len(hits))[:, None] * hits.shape[1], dtype=np.int64)


def _mean_of_known(values: Floats) -> Floats:
    """Over the classes, which are the rows; nan where none has a value."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
