"""Reading images from their files, and scaling them to a model's input size.

Ordinary JPEG and PNG files are decoded here, as fast as possible; everything else in `conversion.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from podium.config.reading import AS_USUAL, RGB, Reading
from podium.data.conversion import convert, to_grey
from podium.data.image_headers import (
    JPEG,
    PNG,
    Content,
    UnreadableError,
    check_size,
    is_plain,
    jpeg_size,
    pixels_start,
)
from podium.data.intensity import Image as Image
from podium.errors import DataError, ImageError

Resize = Literal["squash", "crop", "pad"]

DECODER_VERSION = 3
"""Increase it when the same file and scaling give different pixels."""
_ENDINGS = {JPEG: b"\xff\xd9", PNG: b"IEND"}
"""The first bytes of a format, and what a complete file of it contains: OpenCV may fill the missing part with grey."""
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
_INTERPOLATIONS = ((1.25, cv2.INTER_AREA), (1.0, cv2.INTER_CUBIC), (0.0, cv2.INTER_LINEAR))
"""For images that shrink by more than each factor. INTER_AREA would blur those that shrink by less, and is slower."""

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # podium reports unreadable files


@dataclass(frozen=True)
class Scaling:
    """How an image is scaled before a square of `size` pixels is cut from it.

    The result depends only on the file and the scaling, so it can be cached and used by every model of that size.
    """

    size: int
    resize: Resize

    def __str__(self) -> str:
        return f"{self.resize}-{self.size}"

    def shape_of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this height and width is scaled to."""
        if self.resize == "squash":
            return self.size, self.size
        scale = self.size / (min(height, width) if self.resize == "crop" else max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def scale(self, image: Image) -> Image:
        height, width = image.shape[:2]
        new_height, new_width = self.shape_of(height, width)
        shrinks_by = (height * width / (new_height * new_width)) ** 0.5
        interpolation = next(flag for factor, flag in _INTERPOLATIONS if shrinks_by > factor)
        return _by_fours(image, lambda part: cv2.resize(part, (new_width, new_height), interpolation=interpolation))

    def reduction(self, size: tuple[int, int] | None) -> int:
        """The factor by which a JPEG of this size can be reduced while it is decoded, which is much faster."""
        if size is None:
            return 1
        side = max(size) if self.resize == "pad" else min(size)
        return next((factor for factor in _REDUCED if -(-side // factor) >= self.size), 1)


def read_image(path: Path | str, reading: Reading = AS_USUAL) -> Image:
    """The image as (height, width, channels), RGB by default, rotated upright according to its EXIF orientation."""
    contents = read_files(path, reading)
    if is_quick(contents, reading):
        return decode(path, contents[0], channels=reading.channels)
    return convert_files(path, contents, reading)[0]


def read_scaled(path: Path | str, scalings: Sequence[Scaling], reading: Reading = AS_USUAL) -> list[Image]:
    """The image in each of these scalings."""
    return decode_scaled(path, read_files(path, reading), scalings, reading)[0]


def decode_scaled(
    path: Path | str, contents: Sequence[Content], scalings: Sequence[Scaling], reading: Reading = AS_USUAL
) -> tuple[list[Image], int]:
    """The image in each of these scalings, and its traits, from the bytes of its files."""
    if not is_quick(contents, reading):
        image, traits = convert_files(path, contents, reading)
        return [scaling.scale(image) for scaling in scalings], traits
    size = jpeg_size(contents[0]) if scalings else None
    reduced: dict[int, Image] = {}  # decoded once for all scalings that allow the same reduction
    scaled = []
    for scaling in scalings:
        reduction = scaling.reduction(size)
        if reduction not in reduced:
            reduced[reduction] = decode(path, contents[0], reduction, reading.channels)
        scaled.append(scaling.scale(reduced[reduction]))
    return scaled, 0


def read_files(path: Path | str, reading: Reading = AS_USUAL) -> list[Content]:
    """The bytes of an image's file, or of its files if each channel has one."""
    return [_read_file(file) for file in reading.files_of(str(path))]


def _read_file(path: str) -> Content:
    try:
        if not Path(path).is_file():  # reading a pipe would wait for ever
            raise DataError(f"{path} cannot be read: expected a regular file, not a pipe, device or folder")
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; restore the image") from None


def is_quick(contents: Sequence[Content], reading: Reading) -> bool:
    """Whether it is a plain image that `decode` reads."""
    return not reading.files and reading.channels in (1, RGB) and is_plain(contents[0])


def decode(path: Path | str, content: Content, reduction: int = 1, channels: int = RGB) -> Image:
    """A plain image, reduced by a factor if it is a JPEG."""
    _check_size(path, content)
    try:
        image = cv2.imdecode(content, _REDUCED.get(reduction, cv2.IMREAD_COLOR)) if content.size else None
    except cv2.error:  # such as too many pixels in a format whose header is not checked
        image = None
    if image is None:
        raise ImageError(path, "it is damaged")
    image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    return image if channels == RGB else to_grey(image)


def convert_files(path: Path | str, contents: Sequence[Content], reading: Reading) -> tuple[Image, int]:
    """An image that is not plain, and its traits."""
    if not reading.files:
        return _convert_file(path, contents[0], reading)
    alone, planes, traits = replace(reading, channels=1, files=()), [], 0
    for file, content in zip(reading.files_of(str(path)), contents, strict=True):
        plain = is_plain(content)
        plane, own_traits = (decode(file, content, channels=1), 0) if plain else _convert_file(file, content, alone)
        planes.append(plane)
        traits |= own_traits
    sizes = [f"{plane.shape[1]} × {plane.shape[0]}" for plane in planes]
    if len(set(sizes)) > 1:
        raise ImageError(path, f"its channels have different sizes: {', '.join(sizes)} pixels")
    return np.concatenate(planes, axis=2), traits


def _convert_file(path: Path | str, content: Content, reading: Reading) -> tuple[Image, int]:
    try:
        return convert(content, reading, str(path))
    except UnreadableError as error:
        raise ImageError(path, str(error)) from None


def _check_size(path: Path | str, content: Content) -> None:
    try:
        check_size(content)
    except UnreadableError as error:
        raise ImageError(path, str(error)) from None


def check_complete(path: Path | str, content: bytes) -> None:
    """Fail if the end of the file is missing."""
    searched = pixels_start(content) if content.startswith(JPEG) else 0
    if any(content.startswith(start) and content.find(end, searched) < 0 for start, end in _ENDINGS.items()):
        raise ImageError(path, "its end is missing")


def why_unreadable(path: Path | str, reading: Reading = AS_USUAL) -> str:
    """The reason."""
    try:
        contents = read_files(path, reading)
        for content in contents:
            check_complete(path, content.tobytes())
        decode_scaled(path, contents, [Scaling(1, "squash")], reading)
    except ImageError as error:
        return error.reason
    except DataError:
        return "the file cannot be opened"
    except cv2.error:
        return "it is damaged"
    return "it can be read now"


def scale_square(image: Image, size: int) -> Image:
    """A square image with this size."""
    return image if len(image) == size else Scaling(size, "squash").scale(image)


def zoomed_scaling(size: int, resize: Resize, zoom: float = 1.0) -> Scaling:
    """A `zoom` above 1 scales the image to more than the square that is cut from it, below 1 to less."""
    return Scaling(max(1, round(size * zoom)), resize)


def cut_square(scaled: Image, size: int, resize: Resize, at: tuple[float, float] = (0.5, 0.5)) -> Image:
    """A square from a scaled image: cropped at `at` if the image is larger, padded if it is smaller.

    `at` is (0, 0) for the top left corner and (1, 1) for the bottom right.
    """
    border = cv2.BORDER_CONSTANT if resize == "pad" else cv2.BORDER_REFLECT_101
    return _pad(_crop(scaled, size, at), size, border)


def offset_in_square(side: int, size: int) -> int:
    """The position of the left (or top) edge of a scaled image in the centre square; negative if it is cropped."""
    return (size - side) // 2 if side <= size else -_crop_start(side, size, 0.5)


def _crop(image: Image, size: int, at: tuple[float, float]) -> Image:
    height, width = image.shape[:2]
    top, left = _crop_start(height, size, at[1]), _crop_start(width, size, at[0])
    return image[top : top + size, left : left + size]


def _crop_start(side: int, size: int, at: float) -> int:
    return round(max(0, side - size) * at)


def _pad(image: Image, size: int, border: int) -> Image:
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    top, left = offset_in_square(height, size), offset_in_square(width, size)
    sides = top, size - height - top, left, size - width - left
    return _by_fours(image, lambda part: cv2.copyMakeBorder(part, *sides, border))


def _by_fours(image: Image, change: Callable[[Image], Any]) -> Image:
    """OpenCV takes at most four channels at a time, and drops the axis of a single one."""
    parts = [np.atleast_3d(change(image[..., start : start + 4])) for start in range(0, image.shape[2], 4)]
    return np.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2), dtype=np.uint8)
