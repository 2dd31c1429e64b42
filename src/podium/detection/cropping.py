"""The one object of an image: which of the boxes found it is, and the image cut to it, or without what is around it.

A place is left, top, right, bottom in whole pixels; right and bottom are where it ends.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import cv2
import numpy as np

from podium.data.images import Image
from podium.detection.config import BoxChoice, CropMethod, CropOptions

QUALITY = 95
"""Of a JPEG."""
GREY = 128
BLURRED_AT, BLUR = 256, 12.0
"""The background is blurred at so many pixels of the longer side, by a Gaussian of this deviation: what is smaller than
a twentieth of the image is gone, however large the file."""
_DIGITS = 6
"""Of a corner, behind the point: less is a float's own rounding."""
_ENDINGS: dict[str, tuple[str, list[int]]] = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), (".jpg", [cv2.IMWRITE_JPEG_QUALITY, QUALITY])),
    **dict.fromkeys((".tif", ".tiff"), (".tiff", [])),
    ".bmp": (".bmp", []),
    ".webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),  # above 100: nothing is lost
}
_OTHERWISE: tuple[str, list[int]] = (".png", [])
"""Formats are told by what a file holds, so a name of any other ending does."""

Place = tuple[int, int, int, int]


class Box(NamedTuple):
    """As it was found, in pixels of the upright image."""

    kind: str
    score: float
    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def within(self, width: int, height: int) -> "Box":
        left, right = (min(max(0.0, x), float(width)) for x in (self.left, self.right))
        top, bottom = (min(max(0.0, y), float(height)) for y in (self.top, self.bottom))
        return Box(self.kind, self.score, left, top, right, bottom)


class Cropped(NamedTuple):
    image: Image
    box: Box | None
    """None where nothing was found, and the image is whole."""
    place: Place


def crop_image(image: Image, boxes: Iterable[Box], wishes: CropOptions) -> Cropped:
    """The image with its object alone; untouched but for its size where none of these boxes is it."""
    height, width = image.shape[:2]
    box = choose_box(boxes, width, height, wishes)
    if box is None:
        return Cropped(shrunk(image, wishes.size), None, (0, 0, width, height))
    place = place_of(box, width, height, margin=wishes.margin, square=wishes.square)
    return Cropped(shrunk(treated(image, place, wishes.method), wishes.size), box, place)


def choose_box(boxes: Iterable[Box], width: int, height: int, wishes: CropOptions) -> Box | None:
    """The object among boxes of any class and score, cut off at the image's edge. Of equals the one of the higher
    score, then the larger, then the one further left."""
    worth = _WORTH[wishes.choose]
    asked = (
        box.within(width, height) for box in boxes if box.kind == wishes.class_name and box.score >= wishes.threshold
    )
    return max(
        (box for box in asked if box.area > 0),
        key=lambda box: (worth(box, width * height), box.score, box.area, -box.left, -box.top),
        default=None,
    )


_WORTH: Mapping[BoxChoice, Callable[[Box, int], float]] = {
    "score": lambda box, pixels: box.score,
    "size": lambda box, pixels: box.area,
    "both": lambda box, pixels: box.score * box.area / pixels,
}


def place_of(box: Box, width: int, height: int, *, margin: float = 0.0, square: bool = False) -> Place:
    """What is cut of an image of this size: the box with its margin, as far as the image goes.

    A square is as long as the longer side of that. Its middle is the same, but where it would stick out it is moved
    inside; where the image is too small for it, it is cut off, and then no square any more.
    """
    aside, above = margin * (box.right - box.left), margin * (box.bottom - box.top)
    left, right = _outward(box.left - aside, box.right + aside, width)
    top, bottom = _outward(box.top - above, box.bottom + above, height)
    if square:
        side = max(right - left, bottom - top)
        left, right = _grown(left, right, side, width)
        top, bottom = _grown(top, bottom, side, height)
    return left, top, right, bottom


def _outward(start: float, end: float, limit: int) -> tuple[int, int]:
    """Whole pixels, those that are covered in part too."""
    return max(0, math.floor(round(start, _DIGITS))), min(limit, math.ceil(round(end, _DIGITS)))


def _grown(start: int, end: int, side: int, limit: int) -> tuple[int, int]:
    side = min(side, limit)
    start = min(max(0, start - (side - (end - start)) // 2), limit - side)
    return start, start + side


def treated(image: Image, place: Place, method: CropMethod) -> Image:
    """Cut to the place; or of the same size, with another background."""
    left, top, right, bottom = place
    object_ = image[top:bottom, left:right]
    if method == "crop":
        return object_
    background = _blurred(image) if method == "blur" else np.full_like(image, GREY if method == "grey" else 0)
    background[top:bottom, left:right] = object_
    return background


def _blurred(image: Image) -> Image:
    height, width = image.shape[:2]
    small = shrunk(image, BLURRED_AT)
    blur = BLUR * max(small.shape[:2]) / BLURRED_AT
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), blur, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)
    return np.array(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def shrunk(image: Image, size: int | None) -> Image:
    """With a longer side of so many pixels, if it is longer."""
    height, width = image.shape[:2]
    if size is None or max(height, width) <= size:
        return image
    scale = size / max(height, width)
    new = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, new, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def encoded(image: Image, suffix: str) -> bytes:
    """As a file whose name ends so: JPEG where that says so, else a format that loses nothing."""
    ending, options = _ENDINGS.get(suffix.lower(), _OTHERWISE)
    _, content = cv2.imencode(ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return bytes(content)
