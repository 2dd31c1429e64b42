"""Boxes of objects, moved from the pixels of an image to those of a model's square input, and back.

An array of boxes has one row per box: left, top, right, bottom, and further columns such as the class index.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.data.images import Resize, Scaling, offset_in_square

Boxes = NDArray[np.floating[Any]]

CORNERS = 4
MIN_VISIBILITY = 0.25
"""The share of a box's area that must stay visible after cropping; with less, the object can hardly be recognised."""


@dataclass(frozen=True)
class ImageBoxes:
    """The boxes of an image, in its pixels, and its size."""

    height: int
    width: int
    boxes: Boxes


def to_square(boxes: Boxes, height: int, width: int, size: int, resize: Resize) -> Boxes:
    """From pixels of an image of this height and width to pixels of its square, clipped to it."""
    scale, offset = _scale_and_offset(height, width, size, resize)
    moved = boxes.astype(np.float32)
    moved[:, :CORNERS] = moved[:, :CORNERS] * scale + offset
    return clip(moved, size, size)


def from_square(boxes: Boxes, height: int, width: int, size: int, resize: Resize) -> Boxes:
    """From pixels of the square back to pixels of the image, clipped to it."""
    scale, offset = _scale_and_offset(height, width, size, resize)
    moved = boxes.astype(np.float32)
    moved[:, :CORNERS] = ((moved[:, :CORNERS] - offset) / scale).clip(0, [width, height, width, height])
    return moved


def clip(boxes: Boxes, height: int, width: int) -> Boxes:
    """Clip boxes to an image of this size. Boxes that are mostly outside are dropped."""
    clipped = boxes.copy()
    clipped[:, :CORNERS] = boxes[:, :CORNERS].clip(0, [width, height, width, height])
    visible = _areas(clipped)
    return clipped[(visible > 0) & (visible >= MIN_VISIBILITY * _areas(boxes))]


def _areas(boxes: Boxes) -> NDArray[np.floating[Any]]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _scale_and_offset(
    height: int, width: int, size: int, resize: Resize
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scaled_height, scaled_width = Scaling(size, resize).shape_of(height, width)
    scale = np.array([scaled_width / width, scaled_height / height] * 2, np.float32)
    offset = np.array([offset_in_square(scaled_width, size), offset_in_square(scaled_height, size)] * 2, np.float32)
    return scale, offset
