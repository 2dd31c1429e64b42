"""Average precision and matches by pycocotools' COCOeval, and the average precision of resampled images.

The AP of a class at an IoU threshold is the mean precision at the recalls 0, 0.01, ..., 1, where the precision at a
recall is the best of all score thresholds that reach it, or 0. `ap50` is the AP at IoU 0.5, `ap` the mean over the IoU
thresholds 0.5, 0.55, ..., 0.95. A class without boxes has no AP, which is nan, and is not part of means over classes.

Per class and image, only the 100 detections with the highest scores count. Group boxes are COCO's crowds: neither they
nor the detections in them count.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.detection.config import CORNERS
from podium.detection.detections import numbered

RECALLS = np.linspace(0, 1, 101)
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = 100
"""Per class and image."""
_ANY_AREA = [0.0, float("inf")]
_OUTSIDE = (-2.0, -2.0, 1.0, 1.0)
"""Left, top, width, height of a box that touches no image."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matches:
    """Detections matched with boxes at IoU 0.5, by descending score. Detections in group boxes are left out."""

    scores: Floats
    ious: Floats
    """With the matched box; nan for a false positive."""
    matched: Ints
    """The row of the matched box; -1 for a false positive."""
    classes: Ints
    images: Ints
    on_empty_image: Flags
    """Whether the image has no box at all, not even a group box."""
    boxes: Ints
    """Boxes per class, without group boxes."""

    @property
    def is_true_positive(self) -> Flags:
        return ~np.isnan(self.ious)


@dataclass(frozen=True, eq=False)
class ClassDetections:
    """The detections of one class by descending score; `is_true_positive` and `counts` have a row per IoU threshold."""

    images: Ints
    is_true_positive: Flags
    counts: Flags
    """False for detections in group boxes."""
    boxes: Ints
    """Boxes of the class per image, without group boxes."""


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """One value, row or item per class."""

    ap50: Floats
    ap: Floats
    precisions: Floats
    """The precision-recall curve at IoU 0.5."""
    detections: list[ClassDetections]
    matches: Matches


def average_precision(
    detections: pd.DataFrame, boxes: pd.DataFrame, classes: Sequence[str], images: Sequence[str]
) -> AveragePrecision:
    """Evaluate detections and boxes, all of them of these classes and images."""
    from pycocotools.cocoeval import COCOeval

    with _silent():
        evaluation = COCOeval(_coco(boxes, classes, images), _coco(detections, classes, images), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [_ANY_AREA], ["all"]
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.params.iouThrs, evaluation.params.recThrs = IOU_THRESHOLDS, RECALLS
        evaluation.evaluate()
        evaluation.accumulate()
    precisions = evaluation.eval["precision"][:, :, :, 0, 0]  # (IoU, recall, class); -1 if the class has no box
    precisions = np.where(precisions < 0, np.nan, precisions).astype(np.float64)
    count = len(images)
    by_class = [
        [found for found in evaluation.evalImgs[number * count : (number + 1) * count] if found]
        for number in range(len(classes))
    ]
    return AveragePrecision(
        precisions[0].mean(axis=0),
        precisions.mean(axis=(0, 1)),
        precisions[0].T,
        [_class_detections(found, count) for found in by_class],
        _matches(by_class, detections, boxes, classes, images),
    )


def mean_of_known(values: Floats) -> float:
    """The mean of the values that are not nan; nan if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _class_detections(found: Sequence[dict[str, Any]], count: int) -> ClassDetections:
    """From COCOeval's results per image, sorted as COCOeval sorts them."""
    no_detections = np.empty((len(IOU_THRESHOLDS), 0), dtype=bool)
    scores = np.concatenate([np.empty(0), *(image["dtScores"] for image in found)])
    is_matched, is_ignored = (
        np.concatenate([no_detections, *(image[key].astype(bool) for image in found)], axis=1)
        for key in ("dtMatches", "dtIgnore")
    )
    positions = np.array([image["image_id"] - 1 for image in found], dtype=np.int64)
    boxes = np.zeros(count, dtype=np.int64)
    boxes[positions] = [np.count_nonzero(image["gtIgnore"] == 0) for image in found]
    lengths = np.array([len(image["dtScores"]) for image in found], dtype=np.int64)
    order = np.argsort(-scores, kind="stable")
    return ClassDetections(
        np.repeat(positions, lengths)[order], (is_matched & ~is_ignored)[:, order], ~is_ignored[:, order], boxes
    )


def _matches(
    by_class: Sequence[Sequence[dict[str, Any]]],
    detections: pd.DataFrame,
    boxes: pd.DataFrame,
    classes: Sequence[str],
    images: Sequence[str],
) -> Matches:
    found = [image for of_class in by_class for image in of_class]
    scores = np.concatenate([np.empty(0), *(image["dtScores"] for image in found)])
    rows, matched = (
        np.concatenate([np.empty(0), *parts]).astype(np.int64) - 1  # ids count from 1; 0 is no match
        for parts in ([image["dtIds"] for image in found], [image["dtMatches"][0] for image in found])
    )
    counts = ~np.concatenate([np.empty(0, dtype=bool), *(image["dtIgnore"][0].astype(bool) for image in found)])
    order = np.argsort(-scores, kind="stable")
    order = order[counts[order]]
    rows, matched = rows[order], matched[order]
    class_numbers, image_numbers = numbered(classes), numbered(images)
    positions = (detections["id"].map(image_numbers).to_numpy(dtype=np.int64) - 1)[rows]
    with_boxes = boxes["id"].map(image_numbers).to_numpy(dtype=np.int64) - 1
    box_classes = boxes["class"].map(class_numbers).to_numpy(dtype=np.int64) - 1
    is_match = matched >= 0
    ious = np.full(len(rows), np.nan)
    ious[is_match] = _ious(_corners(detections)[rows[is_match]], _corners(boxes)[matched[is_match]])
    return Matches(
        scores[order],
        ious,
        matched,
        (detections["class"].map(class_numbers).to_numpy(dtype=np.int64) - 1)[rows],
        positions,
        ~np.isin(positions, with_boxes),
        np.bincount(box_classes[~boxes["group"].to_numpy(dtype=bool)], minlength=len(classes)),
    )


def _ious(first: Floats, second: Floats) -> Floats:
    """The IoU of each pair of rows."""
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    intersection = sides.clip(0).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.asarray(intersection / (areas[0] + areas[1] - intersection), dtype=np.float64)


def _corners(table: pd.DataFrame) -> Floats:
    return table[list(CORNERS)].to_numpy(dtype=np.float64)


def _coco(table: pd.DataFrame, classes: Sequence[str], images: Sequence[str]) -> Any:
    """A COCO dataset, or with scores COCO results, without writing a file."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in range(1, len(images) + 1)],
        "categories": [{"id": number} for number in range(1, len(classes) + 1)],
        "annotations": list(_annotations(table, numbered(classes), numbered(images))),
    }
    coco.createIndex()
    return coco


def _annotations(
    table: pd.DataFrame, class_numbers: dict[str, int], image_numbers: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Numbered from 1, since COCOeval takes 0 for no match."""
    corners = _corners(table)
    sizes = corners[:, 2:] - corners[:, :2]
    bboxes = np.concatenate([corners[:, :2], sizes], axis=1)
    bboxes[(sizes <= 0).any(axis=1)] = _OUTSIDE  # for an empty box COCOeval would divide 0 by 0 and count a match
    crowds = table["group"].astype(int).tolist() if "group" in table else [0] * len(table)
    scores = table["score"].tolist() if "score" in table else [0.0] * len(table)
    rows = zip(table["id"], table["class"], bboxes.tolist(), crowds, scores, strict=True)
    for number, (image_id, class_name, bbox, crowd, score) in enumerate(rows, start=1):
        yield {
            "id": number,
            "image_id": image_numbers[image_id],
            "category_id": class_numbers[class_name],
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "iscrowd": crowd,
            "score": score,
        }


@contextmanager
def _silent() -> Iterator[None]:
    """Silence pycocotools only, as other threads may print."""
    from pycocotools import coco, cocoeval

    for module in (coco, cocoeval):
        module.print = lambda *words: None
    try:
        yield
    finally:
        for module in (coco, cocoeval):
            vars(module).pop("print", None)


# Resampled images


@dataclass(frozen=True, eq=False)
class ResampledPrecision:
    """One value per resample; nan if no class has a box in it."""

    ap50: Floats
    ap: Floats


def resampled_average_precision(counts: Ints, classes: Sequence[ClassDetections]) -> ResampledPrecision:
    """`counts`, (resamples, images), is how often each image is drawn.

    Whether a detection is a true positive does not depend on other images, so COCOeval runs only once, and only its
    sums are recomputed. With each image once the result equals that of COCOeval.
    """
    by_class = np.array([_resampled_class(counts, found) for found in classes])  # (class, IoU, resample)
    return ResampledPrecision(_mean_over_classes(by_class[:, 0]), _mean_over_classes(by_class.mean(axis=1)))


def _resampled_class(counts: Ints, found: ClassDetections) -> Floats:
    """(IoU, resample); nan where the class has no box."""
    boxes = counts @ found.boxes
    needed = _true_positives_needed(boxes)
    rows = [_resampled_at_iou(counts, found, number, needed) for number in range(len(IOU_THRESHOLDS))]
    return np.where(boxes > 0, np.array(rows), np.nan)


def _resampled_at_iou(counts: Ints, found: ClassDetections, number: int, needed: Ints) -> Floats:
    """Precision and recall only increase at true positives, so only these are evaluated."""
    counted = np.flatnonzero(found.counts[number])
    positions = np.flatnonzero(found.is_true_positive[number][counted])
    if not len(positions):
        return np.zeros(len(counts))
    counted = counted[: positions[-1] + 1]
    detections = np.cumsum(counts[:, found.images[counted]], axis=1)[:, positions]
    true_positives = np.cumsum(counts[:, found.images[counted[positions]]], axis=1)
    precisions = true_positives / (detections + np.spacing(1))
    best = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    at = _first_at_least(true_positives, needed)
    reached = at < true_positives.shape[1]
    values = np.take_along_axis(best, np.where(reached, at, 0), axis=1)
    return np.asarray(np.where(reached, values, 0).mean(axis=1), dtype=np.float64)


def _true_positives_needed(boxes: Ints) -> Ints:
    """For each number of boxes, the fewest true positives that reach each of RECALLS by floating point division."""
    each = np.maximum(boxes, 1)[:, None]
    needed: Ints = np.ceil(RECALLS * each).astype(np.int64)
    needed -= (needed > 0) & ((needed - 1) / each >= RECALLS)
    needed += needed / each < RECALLS
    return needed


def _first_at_least(values: Ints, needed: Ints) -> Ints:
    """In each row the position of the first value that is at least the needed one; the row's length if there is none.

    One search serves all rows: each row is shifted above the previous one.
    """
    shift = np.arange(len(values))[:, None] * (max(int(values.max()), int(needed.max())) + 1)
    positions = np.searchsorted((values + shift).ravel(), (needed + shift).ravel()).reshape(needed.shape)
    return np.asarray(positions - np.arange(len(values))[:, None] * values.shape[1], dtype=np.int64)


def _mean_over_classes(values: Floats) -> Floats:
    """The mean of each column without nan; nan if all values are nan."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
