"""Cleaning boxes: swapped corners, parts outside the image, empty boxes, non-finite numbers, duplicates."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from podium.detection.config import CORNERS
from podium.detection.dataset import rows_of_images
from podium.errors import DataError

MINIMUM_PIXELS = 1.0
"""A box narrower or lower than this is empty."""
_ROUNDING = 0.01
"""Pixels by which the rounding of a format may move a box outside: clipped, but not counted."""


@dataclass(frozen=True)
class CleaningCounts:
    """One box may count as swapped, clipped and empty."""

    boxes: int
    not_finite: int = 0
    swapped: int = 0
    clipped: int = 0
    empty: int = 0
    duplicates: int = 0

    @property
    def kept(self) -> int:
        return self.boxes - self.not_finite - self.empty - self.duplicates

    def __str__(self) -> str:
        counts = {
            "removed with non-finite corners": self.not_finite,
            "with swapped corners fixed": self.swapped,
            "clipped to the image": self.clipped,
            "removed as empty": self.empty,
            "removed as duplicates": self.duplicates,
        }
        changes = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        return f"{self.kept:,} of {self.boxes:,} boxes kept" + (f": {changes}" if changes else "")


def clean_boxes(
    images: pd.DataFrame, boxes: pd.DataFrame, minimum: float = MINIMUM_PIXELS
) -> tuple[pd.DataFrame, CleaningCounts]:
    """The cleaned boxes, in their order, and what was changed. The boxes may have additional columns."""
    rows = rows_of_images(boxes["id"], images)
    if (rows < 0).any():
        unknown = boxes["id"].iloc[int((rows < 0).argmax())]
        raise DataError(f"a box belongs to the image {unknown!r}, which is not in the dataset")
    corners = boxes[list(CORNERS)].to_numpy(dtype=np.float64)
    is_finite = np.isfinite(corners).all(axis=1)
    corners, rows, kept = corners[is_finite], rows[is_finite], np.flatnonzero(is_finite)

    start, end = corners[:, :2], corners[:, 2:]
    swapped = (start > end).any(axis=1)
    start, end = np.minimum(start, end), np.maximum(start, end)

    sizes = images[["width", "height"]].to_numpy(dtype=np.float64)[rows]
    is_outside = np.maximum(-start, end - sizes).max(axis=1) > _ROUNDING
    corners = np.concatenate([start.clip(0, sizes), end.clip(0, sizes)], axis=1) + 0.0  # -0.0 becomes 0.0

    has_area = (corners[:, 2:] - corners[:, :2] >= max(minimum, np.finfo(float).tiny)).all(axis=1)
    corners, kept = corners[has_area], kept[has_area]

    cleaned = boxes.iloc[kept].assign(**dict(zip(CORNERS, corners.T, strict=True)))
    is_duplicate = cleaned.duplicated(["id", "class", *CORNERS]).to_numpy()
    return cleaned[~is_duplicate].reset_index(drop=True), CleaningCounts(
        boxes=len(boxes),
        not_finite=int((~is_finite).sum()),
        swapped=int(swapped.sum()),
        clipped=int(is_outside.sum()),
        empty=int((~has_area).sum()),
        duplicates=int(is_duplicate.sum()),
    )
