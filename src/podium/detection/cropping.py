"""Cropping an image to its main object, or removing the background of the object."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import cv2
import numpy as np

from podium.data.images import Image
from podium.detection.config import BoxChoice, CropMethod, CropOptions

JPEG_QUALITY = 95
GREY = 128
BLUR_SIZE, BLUR_SIGMA = 256, 12.0
"""The background is blurred at this length of the longer side, with this sigma, so that the result does not depend on
the size of the image."""
_DIGITS = 6
"""Decimal places of a coordinate; less is a rounding error."""
_FORMATS: dict[str, tuple[str, list[int]]] = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), (".jpg", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])),
    **dict.fromkeys((".tif", ".tiff"), (".tiff", [])),
    ".bmp": (".bmp", []),
    ".webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),  # above 100: lossless
}
_DEFAULT_FORMAT: tuple[str, list[int]] = (".png", [])
"""For other file names; readers detect the format from the content."""

Region = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels, right and bottom exclusive."""


class Box(NamedTuple):
    """In pixels of the upright image."""

    class_name: str
    score: float
    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def clipped(self, width: int, height: int) -> "Box":
        left, right = (min(max(0.0, x), float(width)) for x in (self.left, self.right))
        top, bottom = (min(max(0.0, y), float(height)) for y in (self.top, self.bottom))
        return Box(self.class_name, self.score, left, top, right, bottom)


class Cropped(NamedTuple):
    image: Image
    box: Box | None
    """None if no box was chosen and the image is not cropped."""
    region: Region


def crop_image(image: Image, boxes: Iterable[Box], options: CropOptions) -> Cropped:
    height, width = image.shape[:2]
    box = choose_box(boxes, width, height, options)
    if box is None:
        return Cropped(shrink(image, options.size), None, (0, 0, width, height))
    region = crop_region(box, width, height, margin=options.margin, square=options.square)
    return Cropped(shrink(apply_method(image, region, options.method), options.size), box, region)


def choose_box(boxes: Iterable[Box], width: int, height: int, options: CropOptions) -> Box | None:
    """The main object. Ties go to the higher score, then to the larger box, then to the left one."""
    rank = _RANKS[options.choose]
    candidates = (
        box.clipped(width, height)
        for box in boxes
        if box.class_name == options.class_name and box.score >= options.threshold
    )
    return max(
        (box for box in candidates if box.area > 0),
        key=lambda box: (rank(box, width * height), box.score, box.area, -box.left, -box.top),
        default=None,
    )


_RANKS: Mapping[BoxChoice, Callable[[Box, int], float]] = {
    "score": lambda box, pixels: box.score,
    "size": lambda box, pixels: box.area,
    "both": lambda box, pixels: box.score * box.area / pixels,
}


def crop_region(box: Box, width: int, height: int, *, margin: float = 0.0, square: bool = False) -> Region:
    """The box with its margin, inside the image.

    A square has the length of the longer side and the same centre, but is moved inside the image; it is clipped if
    the image is too small for it.
    """
    margin_x, margin_y = margin * (box.right - box.left), margin * (box.bottom - box.top)
    left, right = _whole_pixels(box.left - margin_x, box.right + margin_x, width)
    top, bottom = _whole_pixels(box.top - margin_y, box.bottom + margin_y, height)
    if square:
        side = max(right - left, bottom - top)
        left, right = _extend(left, right, side, width)
        top, bottom = _extend(top, bottom, side, height)
    return left, top, right, bottom


def _whole_pixels(start: float, end: float, limit: int) -> tuple[int, int]:
    """Including partially covered pixels."""
    return max(0, math.floor(round(start, _DIGITS))), min(limit, math.ceil(round(end, _DIGITS)))


def _extend(start: int, end: int, side: int, limit: int) -> tuple[int, int]:
    side = min(side, limit)
    start = min(max(0, start - (side - (end - start)) // 2), limit - side)
    return start, start + side


def apply_method(image: Image, region: Region, method: CropMethod) -> Image:
    """The cropped image; or one of the same size with another background."""
    left, top, right, bottom = region
    if method == "crop":
        return image[top:bottom, left:right]
    background = _blurred(image) if method == "blur" else np.full_like(image, GREY if method == "grey" else 0)
    background[top:bottom, left:right] = image[top:bottom, left:right]
    return background


def _blurred(image: Image) -> Image:
    height, width = image.shape[:2]
    small = shrink(image, BLUR_SIZE)
    sigma = BLUR_SIGMA * max(small.shape[:2]) / BLUR_SIZE
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)
    return np.array(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def shrink(image: Image, size: int | None) -> Image:
    """Shrink an image whose longer side exceeds `size`."""
    height, width = image.shape[:2]
    if size is None or max(height, width) <= size:
        return image
    scale = size / max(height, width)
    new_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, new_size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def encode_image(image: Image, suffix: str) -> bytes:
    """The content of a file with this suffix: JPEG, or a lossless format."""
    ending, options = _FORMATS.get(suffix.lower(), _DEFAULT_FORMAT)
    _, content = cv2.imencode(ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return bytes(content)
