"""Decoding image files with OpenCV, Pillow and NumPy to values of any type."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from podium.arrays import read_npy
from podium.config.reading import RGB, Intensity, Reading
from podium.data.image_headers import Content, UnreadableError, check_convertible
from podium.data.intensity import Image, to_bytes


@dataclass(frozen=True)
class Decoded:
    """The values of a file: (height, width), or with channels, of which 3 are in the order RGB."""

    values: NDArray[Any]
    alpha: Image | None = None
    pages: int = 1
    window: tuple[float, float] | None = None
    is_inverted: bool = False


def decode_with_opencv(content: Content) -> NDArray[Any] | None:
    try:
        pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels)


def from_opencv(pixels: NDArray[Any], reading: Reading) -> Decoded:
    """OpenCV has the channels in the order BGR, and an alpha channel of the same depth."""
    if pixels.ndim == 2:
        return Decoded(pixels)
    if pixels.shape[2] == reading.channels == 4:
        return Decoded(pixels[..., [2, 1, 0, 3]])
    alpha = None
    if pixels.shape[2] == 4:
        alpha = np.asarray(cv2.extractChannel(pixels, 3))
        if alpha.dtype != np.uint8:
            alpha = to_bytes(alpha, Intensity(rule="full"))
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        return Decoded(np.ascontiguousarray(pixels[..., 2::-1]), alpha)
    order = cv2.COLOR_BGR2RGB if alpha is None else cv2.COLOR_BGRA2RGB  # several times as fast
    return Decoded(np.asarray(cv2.cvtColor(pixels, order)), alpha)


def read_array(content: Content) -> NDArray[Any]:
    try:
        return read_npy(io.BytesIO(content.tobytes()))
    except ValueError as error:
        raise UnreadableError(str(error)) from None


def with_channels(values: NDArray[Any], expected: int) -> NDArray[Any]:
    """The array with its channels last."""
    counts = (1, RGB) if expected in (1, RGB) else (expected,)
    if values.ndim == 3 and values.shape[0] in counts and values.shape[2] not in counts:
        values = np.moveaxis(values, 0, 2)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in counts) or not values.size:
        raise UnreadableError(
            f"it has the shape {values.shape}; expected (height, width), with {' or '.join(map(str, counts))} channels"
            " if any"
        )
    return np.ascontiguousarray(values)


def read_with_pillow(content: Content, reading: Reading) -> Decoded:
    try:
        with Pillow.open(io.BytesIO(content.data)) as opened:
            check_convertible(opened.height, opened.width)
            pages, image = getattr(opened, "n_frames", 1), ImageOps.exif_transpose(opened)
            if image.mode in ("F", "I", "I;16", "I;16B", "I;16L"):
                return Decoded(np.asarray(image), pages=pages)
            if reading.channels not in (1, RGB):
                return Decoded(np.asarray(image), pages=pages)
            if image.has_transparency_data:
                pixels = np.asarray(image.convert("RGBA"))
                return Decoded(pixels[..., :3], pixels[..., 3], pages)
            return Decoded(np.asarray(image.convert("RGB")), pages=pages)
    except UnreadableError:
        raise
    except Exception as error:  # Pillow raises many kinds of errors
        raise UnreadableError(_describe(content, error)) from None


def _describe(content: Content, error: Exception) -> str:
    """Why no library reads the file."""
    start = content[:200].tobytes()
    if not any(start):
        return "it begins with zeros"
    if all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return f"it is text: {' '.join(start.decode(errors='replace').split())[:40]}"
    is_unknown = isinstance(error, UnidentifiedImageError)
    return "its format is unknown" if is_unknown else f"it is damaged ({error})"


def check_page_count(count: int, reading: Reading, *, fit: bool = True) -> None:
    if count != reading.channels or not fit:
        raise UnreadableError(
            f"it has {count} pages; expected {reading.channels} grey ones of one size with pages: channels"
        )


def pages_as_channels(pages: Sequence[NDArray[Any]], reading: Reading) -> NDArray[Any]:
    check_page_count(len(pages), reading, fit=len({page.shape for page in pages}) == 1 and pages[0].ndim == 2)
    return np.stack(pages, axis=2)
