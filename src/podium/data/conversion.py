"""Reading image files that are not plain 8-bit images as bytes: deep, transparent, DICOM, with several pages, or with
another number of channels than RGB.

Values of more than 8 bits are scaled to 8 by the competition's `intensity`; values of 8 bits stay as they are.
Transparent parts become black. Of several pages the first is used, or one page for each channel.
"""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from podium.config.reading import RGB, Reading
from podium.data.decoding import Decoded, decode_with_opencv, from_opencv, read_array, read_with_pillow, with_channels
from podium.data.dicom import read_dicom
from podium.data.image_headers import (
    NPY,
    PNG,
    RADIANCE,
    TIFF,
    Content,
    UnreadableError,
    check_convertible,
    exif_orientation,
    has_chunk,
    size_by_header,
)
from podium.data.intensity import Image, to_bytes
from podium.data.tiff import read_tiff

DEEP, TRANSPARENT, PAGES = 1, 2, 4
"""Traits of an image, which can be combined."""
MIRRORED = {2: (True, False), 3: (True, True), 4: (False, True), 5: (False, False), 6: (True, False),
             7: (True, True), 8: (False, True)}  # fmt: skip
"""By EXIF orientation: whether left and right, and top and bottom, are exchanged, after rows and columns if above 4."""


def convert(content: Content, reading: Reading, name: str = "") -> tuple[Image, int]:
    """The image as (height, width, channels) bytes, upright, and its traits. Raises an UnreadableError."""
    decoded = _decode(content, reading, name)
    if reading.channels not in (1, RGB):
        decoded = replace(decoded, values=_checked_channels(decoded, reading), alpha=None)
    image = to_bytes(decoded.values, reading.intensity, decoded.window)
    traits = DEEP * (decoded.values.dtype not in (np.uint8, np.bool_)) + PAGES * (decoded.pages > 1)
    if decoded.is_inverted:
        image = np.invert(image)
    if reading.channels not in (1, RGB):
        return image, traits
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    if decoded.alpha is not None and decoded.alpha.min() < 255:
        image = np.asarray(cv2.multiply(image, cv2.merge([decoded.alpha] * 3), scale=1 / 255), dtype=np.uint8)
        traits += TRANSPARENT
    return (image if reading.channels == RGB else to_grey(image)), traits


def to_grey(image: Image) -> Image:
    """One channel of an RGB image."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)[..., None]


def _checked_channels(decoded: Decoded, reading: Reading) -> NDArray[Any]:
    """The values as (height, width, channels), if there are as many channels as expected."""
    values: NDArray[Any] = np.atleast_3d(decoded.values)
    if values.shape[2] != reading.channels:
        hint = ": set pages: channels" if decoded.pages == reading.channels else ""
        raise UnreadableError(
            f"it has {values.shape[2]} channel{'s' * (values.shape[2] > 1)}; expected {reading.channels}{hint}"
        )
    return values


def _decode(content: Content, reading: Reading, name: str) -> Decoded:
    if not content.size:
        raise UnreadableError("it is empty")
    start = content[:6].tobytes()
    if start == NPY:
        return Decoded(with_channels(read_array(content), reading.channels))
    if content[128:132].tobytes() == b"DICM":
        return read_dicom(content, reading)
    if start[:4] in TIFF:
        return read_tiff(content, reading)
    check_convertible(*size_by_header(content))
    is_left_to_pillow = start.startswith((b"GIF", RADIANCE))  # OpenCV needs gigabytes for a small Radiance file
    pixels = None if is_left_to_pillow else decode_with_opencv(content)
    if pixels is None and name.lower().endswith((".dcm", ".dicom")):
        return read_dicom(content, reading)
    if pixels is None:
        return read_with_pillow(content, reading)
    has_exif = (
        has_chunk(content, b"eXIf") if start[:4] == PNG else start[:4] == b"RIFF" and b"EXIF" in content.tobytes()
    )
    return from_opencv(upright(pixels, exif_orientation(content)) if has_exif else pixels, reading)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    if orientation not in MIRRORED:
        return pixels
    mirror_x, mirror_y = MIRRORED[orientation]
    turned = pixels.swapaxes(0, 1) if orientation > 4 else pixels
    return np.ascontiguousarray(turned[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1])
