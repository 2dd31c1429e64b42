"""All figures of a detector, one part of a set beside another, as JSON and as tables for the terminal."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Counted:
    """What a threshold of the score makes of detections, at IoU 0.5; matched as `matching` says.

    Precision is the hits' share of the detections, recall their share of the boxes, F1 the harmonic mean of the two:
    2 × hits / (boxes + detections). Where there is no box, recall is nan; where there is neither box nor detection,
    the other two are as well. Where there are boxes and no detection, all three are 0.
    """

    boxes: int
    """Group boxes are not among them, nor among the detections what lies in one."""
    detections: int
    hits: int
    mean_iou: float
    """Of the hits with their boxes; nan where there is none."""

    @property
    def misses(self) -> int:
        return self.boxes - self.hits

    @property
    def false_alarms(self) -> int:
        return self.detections - self.hits

    @property
    def precision(self) -> float:
        return _share(self.hits, self.detections, 0.0 if self.boxes else math.nan)

    @property
    def recall(self) -> float:
        return _share(self.hits, self.boxes)

    @property
    def f1(self) -> float:
        return _share(2 * self.hits, self.boxes + self.detections)

    def to_json(self) -> dict[str, Any]:
        names = (
            *("boxes", "detections", "hits", "misses", "false_alarms"),
            *("precision", "recall", "f1", "mean_iou"),
        )
        return {name: _known(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class ClassFigures:
    name: str
    ap50: float
    """AP at IoU 0.5, as `average_precision` says; nan where the part has no box of the class."""
    ap: float
    """AP 0.5:0.95."""
    counted: Counted
    groups: int
    """Group boxes, which are neither missed nor hit."""
    precisions: Sequence[float] = field(default=(), repr=False, compare=False)
    """The curve whose mean is `ap50`, at `average_precision.RECALLS`."""

    def to_json(self) -> dict[str, Any]:
        own = {"ap50": _known(self.ap50), "ap": _known(self.ap)}
        return own | self.counted.to_json() | {"group_boxes": self.groups}


@dataclass(frozen=True)
class OnEmpty:
    """Images without any box, whose detections can only be false alarms."""

    images: int
    false_alarms: int
    with_false_alarms: int
    """Images that have at least one."""
    share: float
    """Of all false alarms; nan where there is none."""

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "false_alarms": self.false_alarms,
            "with_false_alarms": self.with_false_alarms,
            "share_of_false_alarms": _known(self.share),
        }


@dataclass(frozen=True)
class PartFigures:
    """Of one part: `train`, `validation` or `test`. AP is the mean over classes that have one, the rest over boxes."""

    part: str
    images: int
    threshold: float
    """Of the score: a detection counts from there on. AP has none."""
    ap50: float
    ap: float
    counted: Counted
    on_empty: OnEmpty
    classes: list[ClassFigures]

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "threshold": self.threshold,
            "ap50": _known(self.ap50),
            "ap": _known(self.ap),
            **self.counted.to_json(),
            "on_images_without_boxes": self.on_empty.to_json(),
            "classes": {one.name: one.to_json() for one in self.classes},
        }

    def notes(self) -> list[str]:
        """What a person has to know of the classes to read the figures."""
        told = []
        for one in self.classes:
            if not one.counted.boxes:
                only = " but group boxes" if one.groups else ""
                told.append(f"{self.part}: no box of {one.name}{only}: it has no AP, and the mean is over the others")
            elif one.ap50 == 0:
                told.append(f"{self.part}: no box of {one.name} is ever hit: its AP is 0")
        return told


@dataclass(frozen=True)
class Figures:
    """Of each part that has images, in the order train, validation, test, all at one threshold."""

    parts: list[PartFigures]

    @property
    def threshold(self) -> float:
        return self.parts[0].threshold

    def part(self, name: str) -> PartFigures | None:
        return next((one for one in self.parts if one.part == name), None)

    def to_json(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "parts": {one.part: one.to_json() for one in self.parts}}

    def notes(self) -> list[str]:
        return [line for part in self.parts for line in part.notes()]

    def table(self) -> Table:
        """A column a part, so that over-fitting shows."""
        table = Table(box=None, pad_edge=False)
        table.add_column("")
        for part in self.parts:
            table.add_column(part.part, justify="right")
        for heading, told in _lines(self.threshold):
            table.add_row(heading, *map(told, self.parts))
        return table

    def class_table(self) -> Table:
        """A row a class; of each figure the parts beside each other."""
        table = Table(box=None, pad_edge=False)
        table.add_column("class")
        shown: list[tuple[str, Callable[[ClassFigures], str]]] = [
            ("AP@0.5", lambda one: spell(one.ap50)),
            ("F1", lambda one: spell(one.counted.f1)),
            ("boxes", lambda one: f"{one.counted.boxes:,}"),
        ]
        for heading, _ in shown:
            for place, part in enumerate(self.parts):
                table.add_column(f"{'' if place else heading}\n{part.part}", justify="right")
        for rows in zip(*(part.classes for part in self.parts), strict=True):
            table.add_row(rows[0].name, *(told(one) for _, told in shown for one in rows))
        return table


def spell(figure: float) -> str:
    return "–" if math.isnan(figure) else f"{figure:.3f}"


def _lines(threshold: float) -> list[tuple[str, Callable[[PartFigures], str]]]:
    return [
        ("AP@0.5", lambda part: spell(part.ap50)),
        ("AP@0.5:0.95", lambda part: spell(part.ap)),
        (f"from score {threshold:.3f} on: precision", lambda part: spell(part.counted.precision)),
        ("  recall", lambda part: spell(part.counted.recall)),
        ("  F1", lambda part: spell(part.counted.f1)),
        ("  mean IoU of hits", lambda part: spell(part.counted.mean_iou)),
        ("  boxes", lambda part: f"{part.counted.boxes:,}"),
        ("  hits", lambda part: f"{part.counted.hits:,}"),
        ("  false alarms", lambda part: f"{part.counted.false_alarms:,}"),
        ("  … on images without boxes", lambda part: _spell_empty(part.on_empty)),
        ("images", lambda part: f"{part.images:,}"),
        ("  without boxes", lambda part: f"{part.on_empty.images:,}"),
        ("  … with false alarms", lambda part: f"{part.on_empty.with_false_alarms:,}"),
    ]


def _spell_empty(one: OnEmpty) -> str:
    return f"{one.false_alarms:,}" if math.isnan(one.share) else f"{one.false_alarms:,} ({one.share:.0%})"


def _share(part: int, whole: int, without: float = math.nan) -> float:
    return part / whole if whole else without


def _known(figure: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(figure) else figure
