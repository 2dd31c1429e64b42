"""Average precision, by pycocotools' COCOeval and no other code; `resampling` makes that of resampled images of it.

Of a class, at one least IoU, it is the mean of the precisions at the recalls 0, 0.01, …, 1, where the precision at a
recall is the best of all thresholds of the score that reach at least that recall, and 0 where none does. `ap50` is that
at IoU 0.5; `ap` the mean over the least IoUs 0.5, 0.55, …, 0.95. Of all classes it is the mean over those that have a
box.

Group boxes are COCO's crowds, which are neither missed nor do they make a detection wrong, and of more than 100
detections of a class on an image the 100 with the highest scores count. A class without any box has no AP, which is
nan; one that has boxes and is never detected has 0.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.detection.dataset import CORNERS
from podium.detection.detections import numbered
from podium.detection.matching import MOST_ON_A_IMAGE

RECALLS = np.linspace(0, 1, 101)
LEAST_IOUS = np.linspace(0.5, 0.95, 10)
_ANY_AREA = [0.0, float("inf")]
_OUTSIDE = (-2.0, -2.0, 1.0, 1.0)
"""Left, top, width, height of a box that touches no image."""


@dataclass(frozen=True, eq=False)
class Judged:
    """The detections of one class, the highest score first, and what each of LEAST_IOUS, a row, makes of them."""

    images: NDArray[np.int64]
    """Of each detection, the number of its image in the list."""
    is_hit: NDArray[np.bool_]
    is_counted: NDArray[np.bool_]
    """Not so what lies in a group box."""
    boxes: NDArray[np.int64]
    """Of each image, all that can be hit."""


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """A row a class."""

    ap50: NDArray[np.float64]
    ap: NDArray[np.float64]
    precisions: NDArray[np.float64]
    """At IoU 0.5 and each of RECALLS: the curve whose mean is `ap50`."""
    judged: list[Judged]


def average_precision(
    found: pd.DataFrame, boxes: pd.DataFrame, classes: Sequence[str], images: Sequence[str]
) -> AveragePrecision:
    """`found` and `boxes` are of these classes and images; the boxes are a set's, with the column `group`."""
    from pycocotools.cocoeval import COCOeval

    with _silent():
        evaluation = COCOeval(_coco(boxes, classes, images), _coco(found, classes, images), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [_ANY_AREA], ["all"]
        evaluation.params.maxDets = [MOST_ON_A_IMAGE]
        evaluation.params.iouThrs, evaluation.params.recThrs = LEAST_IOUS, RECALLS
        evaluation.evaluate()
        evaluation.accumulate()
    precisions = evaluation.eval["precision"][:, :, :, 0, 0]  # least IoU, recall, class; -1 where a class has no box
    precisions = np.where(precisions < 0, np.nan, precisions).astype(np.float64)
    count = len(images)
    judged = [
        _judged(evaluation.evalImgs[number * count : (number + 1) * count], count) for number in range(len(classes))
    ]
    return AveragePrecision(precisions[0].mean(axis=0), precisions.mean(axis=(0, 1)), precisions[0].T, judged)


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Over the classes that have a value; nan where none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _judged(of_images: Sequence[dict[str, Any] | None], count: int) -> Judged:
    """What COCOeval found on each image, which is None where nothing is; sorted as it sorts them."""
    known = [one for one in of_images if one]
    nothing = np.empty((len(LEAST_IOUS), 0), dtype=bool)
    scores = np.concatenate([np.empty(0), *(one["dtScores"] for one in known)])
    is_hit, is_ignored = (
        np.concatenate([nothing, *(one[key].astype(bool) for one in known)], axis=1)
        for key in ("dtMatches", "dtIgnore")
    )
    places = np.array([one["image_id"] - 1 for one in known], dtype=np.int64)
    boxes = np.zeros(count, dtype=np.int64)
    boxes[places] = [np.count_nonzero(one["gtIgnore"] == 0) for one in known]
    detections = np.array([len(one["dtScores"]) for one in known], dtype=np.int64)
    order = np.argsort(-scores, kind="stable")
    return Judged(
        np.repeat(places, detections)[order],
        (is_hit & ~is_ignored)[:, order],
        ~is_ignored[:, order],
        boxes,
    )


def _coco(table: pd.DataFrame, classes: Sequence[str], images: Sequence[str]) -> Any:
    """A set of COCO's, or with scores its results, without a file between."""
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
    """They count from 1, since COCOeval takes 0 for none."""
    corners = table[list(CORNERS)].to_numpy(dtype=np.float64)
    sizes = corners[:, 2:] - corners[:, :2]
    boxes = np.concatenate([corners[:, :2], sizes], axis=1)
    boxes[(sizes <= 0).any(axis=1)] = _OUTSIDE  # COCOeval would divide 0 by 0, and call it an overlap
    crowds = table["group"].astype(int).tolist() if "group" in table else [0] * len(table)
    scores = table["score"].tolist() if "score" in table else [0.0] * len(table)
    rows = zip(table["id"], table["class"], boxes.tolist(), crowds, scores, strict=True)
    for number, (image, kind, box, crowd, score) in enumerate(rows, start=1):
        yield {
            "id": number,
            "image_id": image_numbers[image],
            "category_id": class_numbers[kind],
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": crowd,
            "score": score,
        }


@contextmanager
def _silent() -> Iterator[None]:
    """pycocotools prints as it goes. Only it is silenced: other threads may be printing."""
    from pycocotools import coco, cocoeval

    for module in (coco, cocoeval):
        module.print = lambda *words: None
    try:
        yield
    finally:
        for module in (coco, cocoeval):
            vars(module).pop("print", None)
