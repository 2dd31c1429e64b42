"""Boxes along the way of their image: from the whole of it to the square that a model sees, and back.

An array of boxes has a row each: left, top, right, bottom, and what else is known of it, such as the number of its
class.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.data.images import Frame, Resize, offset_in_square

Boxes = NDArray[np.floating[Any]]

CORNERS = 4
LEAST_LEFT = 0.25
"""Of a box's area, what a cut has to leave of it: less of an object can hardly be told from what is around it."""


def to_square(boxes: Boxes, height: int, width: int, size: int, resize: Resize) -> Boxes:
    """From pixels of an image of this height and width to pixels of its square; what lies outside is cut off."""
    scale, offset = _scale_and_offset(height, width, size, resize)
    moved = boxes.astype(np.float32)
    moved[:, :CORNERS] = moved[:, :CORNERS] * scale + offset
    return cut_to(moved, size, size)


def from_square(boxes: Boxes, height: int, width: int, size: int, resize: Resize) -> Boxes:
    """The way back, for what was found in the square; within the image."""
    scale, offset = _scale_and_offset(height, width, size, resize)
    moved = boxes.astype(np.float32)
    moved[:, :CORNERS] = ((moved[:, :CORNERS] - offset) / scale).clip(0, [width, height, width, height])
    return moved


def cut_to(boxes: Boxes, height: int, width: int) -> Boxes:
    """The parts within; boxes of which little is left are gone."""
    cut = boxes.copy()
    cut[:, :CORNERS] = boxes[:, :CORNERS].clip(0, [width, height, width, height])
    left = _areas(cut)
    return cut[(left > 0) & (left >= LEAST_LEFT * _areas(boxes))]


def _areas(boxes: Boxes) -> NDArray[np.floating[Any]]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _scale_and_offset(
    height: int, width: int, size: int, resize: Resize
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scaled_height, scaled_width = Frame(size, resize).shape_of(height, width)
    scale = np.array([scaled_width / width, scaled_height / height] * 2, np.float32)
    offset = np.array([offset_in_square(scaled_width, size), offset_in_square(scaled_height, size)] * 2, np.float32)
    return scale, offset
