"""Images from their files, brought to a model's size."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from podium.data.jpeg import header_of
from podium.errors import DataError

Image = NDArray[np.uint8]
Resize = Literal["squash", "crop", "pad"]

DECODING = 2
"""Raised whenever podium would make other pixels of the same file and frame."""
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
_WAYS = ((1.25, cv2.INTER_AREA), (1.0, cv2.INTER_CUBIC), (0.0, cv2.INTER_LINEAR))
"""How an image is shrunk by more than this. Areas blur what is hardly shrunk, and take three times as long there."""

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # podium itself names the files it cannot read


@dataclass(frozen=True)
class Frame:
    """How large a whole image is brought before a square is cut from it: `size` is that square's side.

    What an image looks like in a frame follows from its file alone. So it can be kept, and used by whoever needs
    images of that size.
    """

    size: int
    resize: Resize

    def __str__(self) -> str:
        return f"{self.resize}-{self.size}"

    def shape_of(self, height: int, width: int) -> tuple[int, int]:
        """What an image of this height and width is brought to."""
        if self.resize == "squash":
            return self.size, self.size
        scale = self.size / (min(height, width) if self.resize == "crop" else max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def scaled(self, image: Image) -> Image:
        height, width = image.shape[:2]
        new_height, new_width = self.shape_of(height, width)
        shrinks_by = (height * width / (new_height * new_width)) ** 0.5
        interpolation = next(way for bound, way in _WAYS if shrinks_by > bound)
        return np.asarray(cv2.resize(image, (new_width, new_height), interpolation=interpolation), dtype=np.uint8)

    def reduction(self, content: bytes | Image) -> int:
        """By how much a JPEG may be shrunk while it is decoded, which saves most of the time, and stay large enough."""
        header = header_of(content)
        if header is None:
            return 1
        side = (max if self.resize == "pad" else min)(header.height, header.width)
        return next((factor for factor in _REDUCED if -(-side // factor) >= self.size), 1)


def read_image(path: Path | str) -> Image:
    """The image as (height, width, 3) RGB, turned as its EXIF says."""
    return decoded(path, read_file(path))


def read_framed(path: Path | str, frames: Iterable[Frame]) -> list[Image]:
    """The image in each of these frames."""
    return framed_from(path, read_file(path), frames)


def framed_from(path: Path | str, content: NDArray[np.uint8], frames: Iterable[Frame]) -> list[Image]:
    """The same, where the file is read already. It is decoded once for all frames that want it reduced alike."""
    of_reduction: dict[int, Image] = {}
    framed = []
    for frame in frames:
        reduction = frame.reduction(content)
        if reduction not in of_reduction:
            of_reduction[reduction] = decoded(path, content, reduction)
        framed.append(frame.scaled(of_reduction[reduction]))
    return framed


def read_file(path: Path | str) -> NDArray[np.uint8]:
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; put the image back") from None


def decoded(path: Path | str, content: NDArray[np.uint8], reduction: int = 1) -> Image:
    image = cv2.imdecode(content, _REDUCED.get(reduction, cv2.IMREAD_COLOR)) if content.size else None
    if image is None:
        raise DataError(f"{path} is not an image that can be read; replace it, or set on_bad_image: skip")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def fit_image(
    image: Image, size: int, resize: Resize, zoom: float = 1.0, at: tuple[float, float] = (0.5, 0.5)
) -> Image:
    """The image at size × size.

    Above 1, `zoom` looks closer: the image is brought to `zoom` times the size and cut at `at` (0, 0 is the top
    left, 1, 1 the bottom right). Below 1 it looks from further away, with the edges mirrored.
    """
    return square(frame_of(size, resize, zoom).scaled(image), size, resize, at)


def frame_of(size: int, resize: Resize, zoom: float = 1.0) -> Frame:
    return Frame(max(1, round(size * zoom)), resize)


def square(scaled: Image, size: int, resize: Resize, at: tuple[float, float] = (0.5, 0.5)) -> Image:
    """A square of this size from an image in its frame: cut where it is larger, filled up where it is smaller."""
    border = cv2.BORDER_CONSTANT if resize == "pad" else cv2.BORDER_REFLECT_101
    return _pad(_cut(scaled, size, at), size, border)


def offset_in_square(side: int, size: int) -> int:
    """Where the left (or top) edge of an image in its frame lies in the middle square; before it where that cuts."""
    return (size - side) // 2 if side <= size else -_cut_before(side, size, 0.5)


def _cut(image: Image, size: int, at: tuple[float, float]) -> Image:
    height, width = image.shape[:2]
    top, left = _cut_before(height, size, at[1]), _cut_before(width, size, at[0])
    return image[top : top + size, left : left + size]


def _cut_before(side: int, size: int, at: float) -> int:
    return round(max(0, side - size) * at)


def _pad(image: Image, size: int, border: int) -> Image:
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    top, left = offset_in_square(height, size), offset_in_square(width, size)
    padded = cv2.copyMakeBorder(image, top, size - height - top, left, size - width - left, border)
    return np.asarray(padded, dtype=np.uint8)
