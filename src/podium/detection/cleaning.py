"""Boxes put in order: swapped corners, parts outside the image, empty boxes, numbers that are none, doubles."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from podium.detection.dataset import CORNERS, BoxDataset, rows_of_images
from podium.errors import DataError

MINIMUM_PIXELS = 1.0
"""A box that is less wide or high than this is empty."""
_ROUNDING = 0.01
"""Pixels that a box may reach outside by the rounding of a format: cut off too, but not worth telling."""


@dataclass(frozen=True)
class Cleaned:
    """What was found among so many boxes. One that was swapped, then clipped, then empty counts in each."""

    boxes: int
    not_finite: int = 0
    swapped: int = 0
    clipped: int = 0
    empty: int = 0
    doubled: int = 0

    @property
    def kept(self) -> int:
        return self.boxes - self.not_finite - self.empty - self.doubled

    def __str__(self) -> str:
        told = [
            f"{count:,} {what}"
            for count, what in (
                (self.not_finite, "dropped, whose corners are no numbers"),
                (self.swapped, "with swapped corners put right"),
                (self.clipped, "clipped to the image"),
                (self.empty, "empty ones dropped"),
                (self.doubled, "doubles dropped"),
            )
            if count
        ]
        return f"{self.kept:,} of {self.boxes:,} boxes kept: {', '.join(told) or 'nothing to clean'}"


def clean_boxset(boxset: BoxDataset, minimum: float = MINIMUM_PIXELS) -> tuple[BoxDataset, Cleaned]:
    """Images that lose all their boxes stay, as images without any."""
    boxes, cleaned = clean_boxes(boxset.images, boxset.boxes, minimum)
    return replace(boxset, boxes=boxes), cleaned


def clean_boxes(
    images: pd.DataFrame, boxes: pd.DataFrame, minimum: float = MINIMUM_PIXELS
) -> tuple[pd.DataFrame, Cleaned]:
    """The boxes that are left, and what was done, in the order of the fields of `Cleaned`. Of doubles (the same
    image, class and corners) the first is kept. The boxes may have more columns than a BoxDataset's."""
    rows = rows_of_images(boxes["id"], images)
    if (rows < 0).any():
        stranger = boxes["id"].iloc[int((rows < 0).argmax())]
        raise DataError(f"a box belongs to the image {stranger!r}, which is not in the set; give both, or neither")
    corners = boxes[list(CORNERS)].to_numpy(dtype=np.float64)
    is_finite = np.isfinite(corners).all(axis=1)
    corners, rows, kept = corners[is_finite], rows[is_finite], np.flatnonzero(is_finite)

    one, other = corners[:, :2], corners[:, 2:]
    swapped = (one > other).any(axis=1)
    one, other = np.minimum(one, other), np.maximum(one, other)

    sizes = images[["width", "height"]].to_numpy(dtype=np.float64)[rows]
    outside = np.maximum(-one, other - sizes).max(axis=1) > _ROUNDING
    corners = np.concatenate([one.clip(0, sizes), other.clip(0, sizes)], axis=1) + 0.0  # -0.0 becomes 0.0

    has_area = (corners[:, 2:] - corners[:, :2] >= max(minimum, np.finfo(float).tiny)).all(axis=1)
    corners, kept = corners[has_area], kept[has_area]

    left = boxes.iloc[kept].assign(**dict(zip(CORNERS, corners.T, strict=True)))
    is_double = left.duplicated(["id", "class", *CORNERS]).to_numpy()
    return left[~is_double].reset_index(drop=True), Cleaned(
        boxes=len(boxes),
        not_finite=int((~is_finite).sum()),
        swapped=int(swapped.sum()),
        clipped=int(outside.sum()),
        empty=int((~has_area).sum()),
        doubled=int(is_double.sum()),
    )
