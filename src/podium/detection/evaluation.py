"""Evaluation of detections against the boxes of a dataset: metrics per part and class, as JSON and as tables.

Images without boxes are included: every detection there is a false positive.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from podium.detection.average_precision import (
    AveragePrecision,
    Flags,
    Matches,
    average_precision,
    mean_of_known,
)
from podium.detection.config import SPLITS
from podium.detection.dataset import BoxDataset
from podium.errors import DataError

THRESHOLD_PART = "validation"
"""The part on which the confidence threshold is chosen."""
DEFAULT_THRESHOLD = 0.5
"""Where there is no true positive to choose a threshold by."""


@dataclass(frozen=True)
class Counts:
    """Counts at a confidence threshold and IoU 0.5.

    Recall is nan without boxes; precision and F1 are nan without boxes and detections, 0 with boxes but no detection.
    Group boxes and detections in them do not count.
    """

    boxes: int
    detections: int
    true_positives: int
    mean_iou: float
    """Of true positives with their boxes; nan if there is none."""

    @property
    def false_negatives(self) -> int:
        return self.boxes - self.true_positives

    @property
    def false_positives(self) -> int:
        return self.detections - self.true_positives

    @property
    def precision(self) -> float:
        return _ratio(self.true_positives, self.detections, 0.0 if self.boxes else math.nan)

    @property
    def recall(self) -> float:
        return _ratio(self.true_positives, self.boxes)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.true_positives, self.boxes + self.detections)

    def to_json(self) -> dict[str, Any]:
        names = (
            *("boxes", "detections", "true_positives", "false_negatives", "false_positives"),
            *("precision", "recall", "f1", "mean_iou"),
        )
        return {name: _or_none(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class ClassMetrics:
    name: str
    ap50: float
    ap: float
    counts: Counts
    group_boxes: int
    precisions: Sequence[float] = field(default=(), repr=False, compare=False)
    """The precision-recall curve, at `average_precision.RECALLS`."""

    def to_json(self) -> dict[str, Any]:
        own = {"ap50": _or_none(self.ap50), "ap": _or_none(self.ap)}
        return own | self.counts.to_json() | {"group_boxes": self.group_boxes}


@dataclass(frozen=True)
class EmptyImages:
    """Images without boxes, where every detection is a false positive."""

    images: int
    false_positives: int
    images_with_false_positives: int
    share: float
    """Of all false positives; nan if there is none."""

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "false_positives": self.false_positives,
            "images_with_false_positives": self.images_with_false_positives,
            "share_of_false_positives": _or_none(self.share),
        }


@dataclass(frozen=True)
class PartMetrics:
    """The train, validation or test part. AP is the mean over classes; the counts are those of all classes."""

    part: str
    images: int
    threshold: float
    ap50: float
    ap: float
    counts: Counts
    empty_images: EmptyImages
    classes: list[ClassMetrics]

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "threshold": self.threshold,
            "ap50": _or_none(self.ap50),
            "ap": _or_none(self.ap),
            **self.counts.to_json(),
            "images_without_boxes": self.empty_images.to_json(),
            "classes": {metrics.name: metrics.to_json() for metrics in self.classes},
        }

    def notes(self) -> list[str]:
        notes = []
        for metrics in self.classes:
            if not metrics.counts.boxes:
                only = " except group boxes" if metrics.group_boxes else ""
                notes.append(f"{self.part}: {metrics.name} has no box{only}, so its AP is undefined and not averaged")
            elif metrics.ap50 == 0:
                notes.append(f"{self.part}: no box of {metrics.name} was detected, so its AP is 0")
        return notes


@dataclass(frozen=True)
class Evaluation:
    """The parts that have images, in the order train, validation, test, with one confidence threshold."""

    parts: list[PartMetrics]

    @property
    def threshold(self) -> float:
        return self.parts[0].threshold

    def part(self, name: str) -> PartMetrics | None:
        return next((metrics for metrics in self.parts if metrics.part == name), None)

    def to_json(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "parts": {metrics.part: metrics.to_json() for metrics in self.parts}}

    def notes(self) -> list[str]:
        return [note for metrics in self.parts for note in metrics.notes()]

    def table(self) -> Table:
        """One column per part."""
        table = Table(box=None, pad_edge=False)
        table.add_column("")
        for metrics in self.parts:
            table.add_column(metrics.part, justify="right")
        for heading, value in _rows(self.threshold):
            table.add_row(heading, *map(value, self.parts))
        return table

    def class_table(self) -> Table:
        """One row per class, one column per metric and part."""
        table = Table(box=None, pad_edge=False)
        table.add_column("class")
        shown: list[tuple[str, Callable[[ClassMetrics], str]]] = [
            ("AP@0.5", lambda metrics: format_metric(metrics.ap50)),
            ("F1", lambda metrics: format_metric(metrics.counts.f1)),
            ("boxes", lambda metrics: f"{metrics.counts.boxes:,}"),
        ]
        for heading, _ in shown:
            for number, part in enumerate(self.parts):
                table.add_column(f"{'' if number else heading}\n{part.part}", justify="right")
        for row in zip(*(part.classes for part in self.parts), strict=True):
            table.add_row(row[0].name, *(value(metrics) for _, value in shown for metrics in row))
        return table


def format_metric(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def evaluate(
    dataset: BoxDataset, detections: pd.DataFrame, threshold: float | None = None, parts: Sequence[str] = SPLITS
) -> Evaluation:
    """Evaluate the parts that have images. The default threshold is the best on the validation part by F1."""
    _check(dataset, detections)
    present = [part for part in parts if (dataset.images["split"] == part).any()]
    if not present:
        raise DataError(f"the dataset {dataset.slug} has no image in {', '.join(parts)}; choose another --part")
    needed = dict.fromkeys([*present, *([THRESHOLD_PART] if threshold is None else [])])
    results = {part: _evaluate_part(dataset, detections, part) for part in needed}
    if threshold is None:
        threshold = best_threshold(results[THRESHOLD_PART].matches)
    return Evaluation([_metrics(dataset, part, results[part], threshold) for part in present])


def evaluate_part(
    dataset: BoxDataset, detections: pd.DataFrame, part: str, threshold: float | None = None
) -> PartMetrics:
    """Evaluate one part, as after each epoch. The default threshold is the best for this part by F1."""
    _check(dataset, detections)
    result = _evaluate_part(dataset, detections, part)
    return _metrics(dataset, part, result, best_threshold(result.matches) if threshold is None else threshold)


def best_threshold(matches: Matches) -> float:
    """The confidence threshold with the best F1 over all classes; the highest of equally good ones."""
    if not matches.is_true_positive.any():
        return DEFAULT_THRESHOLD
    detections = np.arange(1, len(matches.scores) + 1)
    f1 = 2 * np.cumsum(matches.is_true_positive) / (detections + matches.boxes.sum())
    f1[:-1][matches.scores[:-1] == matches.scores[1:]] = -1  # a threshold cannot separate equal scores
    return float(matches.scores[f1.argmax()])


def count_matches(matches: Matches, threshold: float, class_number: int | None = None) -> Counts:
    """The counts of all classes, or of one class."""
    chosen = matches.scores >= threshold
    if class_number is not None:
        chosen &= matches.classes == class_number
    true_positives = chosen & matches.is_true_positive
    return Counts(
        boxes=int(matches.boxes.sum() if class_number is None else matches.boxes[class_number]),
        detections=int(chosen.sum()),
        true_positives=int(true_positives.sum()),
        mean_iou=float(matches.ious[true_positives].mean()) if true_positives.any() else math.nan,
    )


def _evaluate_part(dataset: BoxDataset, detections: pd.DataFrame, part: str) -> AveragePrecision:
    images = dataset.images["id"][dataset.images["split"] == part].tolist()
    detections, boxes = (table[table["id"].isin(images)] for table in (detections, dataset.boxes))
    return average_precision(detections, boxes, dataset.classes, images)


def _metrics(dataset: BoxDataset, part: str, result: AveragePrecision, threshold: float) -> PartMetrics:
    images = dataset.images["id"][dataset.images["split"] == part]
    boxes = dataset.boxes[dataset.boxes["id"].isin(images)]
    groups = boxes[boxes["group"].to_numpy(dtype=bool)]["class"].value_counts()
    matches = result.matches
    return PartMetrics(
        part=part,
        images=len(images),
        threshold=threshold,
        ap50=mean_of_known(result.ap50),
        ap=mean_of_known(result.ap),
        counts=count_matches(matches, threshold),
        empty_images=_count_empty_images(matches, threshold, len(images) - boxes["id"].nunique()),
        classes=[
            ClassMetrics(
                name, float(result.ap50[number]), float(result.ap[number]), count_matches(matches, threshold, number),
                int(groups.get(name, 0)), result.precisions[number].tolist(),
            )
            for number, name in enumerate(dataset.classes)
        ],
    )  # fmt: skip


def _count_empty_images(matches: Matches, threshold: float, images: int) -> EmptyImages:
    false_positives: Flags = (matches.scores >= threshold) & ~matches.is_true_positive
    here = false_positives & matches.on_empty_image
    return EmptyImages(
        images=images,
        false_positives=int(here.sum()),
        images_with_false_positives=len(np.unique(matches.images[here])),
        share=float(here.sum() / false_positives.sum()) if false_positives.any() else math.nan,
    )


def _check(dataset: BoxDataset, detections: pd.DataFrame) -> None:
    for column, what, known in (("class", "a class", dataset.classes), ("id", "an image", dataset.images["id"])):
        unknown = detections[column][~detections[column].isin(known)]
        if len(unknown):
            raise DataError(
                f"{len(unknown)} detections have {what} that is not in the dataset {dataset.slug} (first:"
                f" {unknown.iloc[0]!r}); expected detections of a detector trained on it"
            )


def _rows(threshold: float) -> list[tuple[str, Callable[[PartMetrics], str]]]:
    return [
        ("AP@0.5", lambda part: format_metric(part.ap50)),
        ("AP@0.5:0.95", lambda part: format_metric(part.ap)),
        (f"at score >= {threshold:.3f}: precision", lambda part: format_metric(part.counts.precision)),
        ("  recall", lambda part: format_metric(part.counts.recall)),
        ("  F1", lambda part: format_metric(part.counts.f1)),
        ("  mean IoU of true positives", lambda part: format_metric(part.counts.mean_iou)),
        ("  true positives", lambda part: f"{part.counts.true_positives:,}"),
        ("  false positives", lambda part: f"{part.counts.false_positives:,}"),
        ("    on images without boxes", lambda part: _format_empty(part.empty_images)),
        ("boxes", lambda part: f"{part.counts.boxes:,}"),
        ("images", lambda part: f"{part.images:,}"),
        ("  without boxes", lambda part: f"{part.empty_images.images:,}"),
        ("    with false positives", lambda part: f"{part.empty_images.images_with_false_positives:,}"),
    ]


def _format_empty(empty: EmptyImages) -> str:
    share = "" if math.isnan(empty.share) else f" ({empty.share:.0%})"
    return f"{empty.false_positives:,}{share}"


def _ratio(part: int, total: int, otherwise: float = math.nan) -> float:
    return part / total if total else otherwise


def _or_none(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value
