"""Reading image files that are not plain 8-bit images as bytes: deep, transparent, DICOM, with several pages, or with
another number of channels than RGB.

Values of more than 8 bits are scaled to 8 by the competition's `intensity`; values of 8 bits stay as they are.
Transparent parts become black. Of several pages the first is used, or one page for each channel.
"""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from podium.arrays import read_npy
from podium.config.reading import DEFAULT_PERCENTILES, RGB, Intensity, Reading

Image = NDArray[np.uint8]
Content = NDArray[np.uint8]
"""The bytes of a file."""

MAX_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])
"""Larger images are not decoded. `podium/__init__.py` sets it."""
MOST_CONVERTED = MAX_PIXELS // 4
"""Likewise for images that are not plain, whose values take several times as much memory."""
Pillow.MAX_IMAGE_PIXELS = MAX_PIXELS
DEEP, TRANSPARENT, PAGES = 1, 2, 4
"""Traits of an image, which can be combined."""
_RADIANCE = b"#?"
"""OpenCV needs gigabytes for a small file."""
JPEG, PNG, NPY = b"\xff\xd8", b"\x89PNG", b"\x93NUMPY"
_SIZE_SEGMENTS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The types of JPEG segments that hold the image's size."""
_START_OF_SCAN = 0xDA
_TIFF = (b"II*\0", b"MM\0*", b"II+\0")
_SAMPLE = 250_000
"""Percentiles are computed from about this many values, which is accurate enough."""
_BLOCK = 1 << 20
"""How many values are scaled at a time, which saves memory and time."""
MIRRORED = {2: (True, False), 3: (True, True), 4: (False, True), 5: (False, False), 6: (True, False),
             7: (True, True), 8: (False, True)}  # fmt: skip
"""By EXIF orientation: whether left and right, and top and bottom, are exchanged, after rows and columns if above 4."""
_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 274, 258, 262, 277, 284, 338, 339
"""TIFF tags."""
_WIDTH, _HEIGHT = 256, 257
_WHITE_IS_ZERO, _RGB = 0, 2
"""Values of _PHOTOMETRIC."""


class UnreadableError(Exception):
    """Why a file cannot be read as an image."""


def jpeg_size(content: Content) -> tuple[int, int] | None:
    """Height and width from the header; None for other formats. Pillow would take ten times as long."""
    header = content.data
    start = len(JPEG)
    while header[: len(JPEG)] == JPEG and start + 9 < len(header) and header[start] == 0xFF:
        kind = header[start + 1]
        if kind in _SIZE_SEGMENTS:
            height, width = (256 * header[at] + header[at + 1] for at in (start + 5, start + 7))
            return (height, width) if height and width else None
        # The bytes after the type are the segment's length; 0xFF is a fill byte.
        start += 1 if kind == 0xFF else 2 + 256 * header[start + 2] + header[start + 3]
    return None


def pixels_start(content: bytes) -> int:
    """Where the pixels of a JPEG begin, after its header, which may have a smaller image; 0 if that is not found."""
    start = len(JPEG)
    while start + 4 < len(content) and content[start] == 0xFF:
        kind = content[start + 1]
        if kind == _START_OF_SCAN:
            return start
        start += 1 if kind == 0xFF else 2 + 256 * content[start + 2] + content[start + 3]
    return 0


def check_size(content: Content) -> None:
    """Fail for a plain image with more pixels than MAX_PIXELS, by its header: a small file can say it has billions."""
    if size := _plain_size(content):
        _check_pixels(*size)


def _plain_size(content: Content) -> tuple[int, int] | None:
    """Height and width of a JPEG, PNG or BMP."""
    header = content[:26].tobytes()
    if header[:4] == PNG:
        return int.from_bytes(header[20:24]), int.from_bytes(header[16:20])
    if header[:2] == b"BM":
        return abs(int.from_bytes(header[22:26], "little", signed=True)), int.from_bytes(header[18:22], "little")
    return jpeg_size(content)


def _size_by_header(content: Content) -> tuple[int, int]:
    """Height and width; 0 for formats that only OpenCV knows, which has a limit of its own."""
    if size := _plain_size(content):
        return size
    try:
        with Pillow.open(io.BytesIO(content.data)) as opened:
            return opened.height, opened.width
    except Exception:  # Pillow raises many kinds of errors
        return 0, 0


def _check_pixels(height: int, width: int, most: int = MAX_PIXELS) -> None:
    if height * width > most:
        raise UnreadableError(
            f"it has {width:,} × {height:,} pixels, more than {most:,}; the limit rises with the environment variable"
            f" OPENCV_IO_MAX_IMAGE_PIXELS, which is {MAX_PIXELS}"
        )


@dataclass(frozen=True)
class _Decoded:
    """The values of a file: (height, width), or with channels, of which 3 are in the order RGB."""

    values: NDArray[Any]
    alpha: Image | None = None
    pages: int = 1
    window: tuple[float, float] | None = None
    is_inverted: bool = False


def is_plain(content: Content) -> bool:
    """Whether OpenCV reads the file right: 8 bits, one page, no transparency. Looks at the header only."""
    start = content[:4].tobytes()
    if start[:2] in (JPEG, b"BM"):
        return True
    if start == PNG:
        return len(content) > 25 and content[24] <= 8 and content[25] not in (4, 6) and not _has_chunk(content, b"tRNS")
    if start == b"RIFF" and content[8:12].tobytes() == b"WEBP":
        kind = content[12:16].tobytes()
        alpha_at = {b"VP8X": (20, 0x10), b"VP8L": (24, 0x10)}.get(kind)
        return alpha_at is None or len(content) <= alpha_at[0] or not content[alpha_at[0]] & alpha_at[1]
    return False


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


def _checked_channels(decoded: _Decoded, reading: Reading) -> NDArray[Any]:
    """The values as (height, width, channels), if there are as many channels as expected."""
    values: NDArray[Any] = np.atleast_3d(decoded.values)
    if values.shape[2] != reading.channels:
        hint = ": set pages: channels" if decoded.pages == reading.channels else ""
        raise UnreadableError(
            f"it has {values.shape[2]} channel{'s' * (values.shape[2] > 1)}; expected {reading.channels}{hint}"
        )
    return values


# Values of any type to bytes


def to_bytes(values: NDArray[Any], intensity: Intensity, window: tuple[float, float] | None = None) -> Image:
    """Scale values to 0 to 255."""
    if values.dtype == np.uint8 and window is None:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "uif":
        raise UnreadableError(f"its values are of the type {values.dtype}; expected numbers")
    low, high = _bounds(values, intensity, window)
    factor = 255.0 / (high - low) if high > low else 0.0
    image = np.empty(values.shape, np.uint8)
    rows = max(1, _BLOCK * len(values) // values.size)
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float32)
        scaled = (np.nan_to_num(part, nan=low, posinf=high, neginf=low) - low) * factor
        image[start : start + rows] = np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
    return image


def _bounds(values: NDArray[Any], intensity: Intensity, window: tuple[float, float] | None) -> tuple[float, float]:
    """The values that become black and white."""
    if intensity.low is not None and intensity.high is not None:
        return intensity.low, intensity.high
    if window and intensity.rule in ("auto", "window"):
        return window
    if intensity.rule == "window":
        raise UnreadableError("it has no window, as some DICOM files do; set another intensity")
    if intensity.rule == "full":
        return _full_range(values)
    step = max(1, int((values.shape[0] * values.shape[1] / _SAMPLE) ** 0.5))
    sample = values[::step, ::step]
    sample = sample[np.isfinite(sample)] if values.dtype.kind == "f" else sample
    if not sample.size:
        return 0.0, 0.0
    low, high = np.percentile(sample, intensity.percentile or DEFAULT_PERCENTILES)
    if low < high:
        return float(low), float(high)
    return float(sample.min()), float(sample.max())  # most of the image has the same value


def _full_range(values: NDArray[Any]) -> tuple[float, float]:
    if values.dtype.kind != "f":
        limits = np.iinfo(values.dtype)
        return float(limits.min), float(limits.max)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < 0.0 or high > 1.0:
        raise UnreadableError(
            f"its values are from {low:g} to {high:g}; expected floats from 0 to 1 with intensity: full: set the"
            " bounds, such as {low: 0, high: 255}"
        )
    return 0.0, 1.0


# Files to values


def _decode(content: Content, reading: Reading, name: str) -> _Decoded:
    if not content.size:
        raise UnreadableError("it is empty")
    start = content[:6].tobytes()
    if start == NPY:
        return _Decoded(_with_channels(_read_npy(content), reading.channels))
    if content[128:132].tobytes() == b"DICM":
        return _read_dicom(content, reading)
    if start[:4] in _TIFF:
        return _read_tiff(content, reading)
    _check_pixels(*_size_by_header(content), MOST_CONVERTED)
    pixels = None if start.startswith((b"GIF", _RADIANCE)) else _imdecode(content)
    if pixels is None and name.lower().endswith((".dcm", ".dicom")):
        return _read_dicom(content, reading)
    if pixels is None:
        return _read_with_pillow(content, reading)
    has_exif = (
        _has_chunk(content, b"eXIf") if start[:4] == PNG else start[:4] == b"RIFF" and b"EXIF" in content.tobytes()
    )
    return _from_opencv(_upright(pixels, _exif_orientation(content)) if has_exif else pixels, reading)


def _imdecode(content: Content) -> NDArray[Any] | None:
    try:
        pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels)


def _from_opencv(pixels: NDArray[Any], reading: Reading) -> _Decoded:
    """OpenCV has the channels in the order BGR, and an alpha channel of the same depth."""
    if pixels.ndim == 2:
        return _Decoded(pixels)
    if pixels.shape[2] == reading.channels == 4:
        return _Decoded(pixels[..., [2, 1, 0, 3]])
    alpha = None
    if pixels.shape[2] == 4:
        alpha = np.asarray(cv2.extractChannel(pixels, 3))
        if alpha.dtype != np.uint8:
            alpha = to_bytes(alpha, Intensity(rule="full"))
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        return _Decoded(np.ascontiguousarray(pixels[..., 2::-1]), alpha)
    order = cv2.COLOR_BGR2RGB if alpha is None else cv2.COLOR_BGRA2RGB  # several times as fast
    return _Decoded(np.asarray(cv2.cvtColor(pixels, order)), alpha)


def _read_npy(content: Content) -> NDArray[Any]:
    try:
        return read_npy(io.BytesIO(content.tobytes()))
    except ValueError as error:
        raise UnreadableError(str(error)) from None


def _with_channels(values: NDArray[Any], expected: int) -> NDArray[Any]:
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


def _read_tiff(content: Content, reading: Reading) -> _Decoded:
    """Pillow reads bytes right, OpenCV everything deeper."""
    sizes, tags = _tiff_header(content)
    pages, by_page = len(sizes), len(sizes) > 1 and reading.pages == "channels"
    if by_page:
        _check_page_count(pages, reading)
    bits, samples = max(tags.get(_BITS, (1,))), int(tags.get(_SAMPLES, 1))
    for height, width in sizes if by_page else sizes[:1]:
        _check_pixels(height, width, MOST_CONVERTED // ((pages if by_page else 1) * max(1, bits // 32)))
    is_alpha = bool({1, 2} & set(tags.get(_EXTRA_SAMPLES, ())))
    if samples > 4:
        raise UnreadableError(f"it has {samples} channels in one page; expected a page for each, or a .npy file")
    has_fourth = samples == 4 and tags.get(_PHOTOMETRIC) == _RGB and not is_alpha  # which Pillow drops
    if has_fourth and reading.channels != 4:
        raise UnreadableError("it has 4 channels, of which none is transparency; expected 1 or 3, or set channels: 4")
    if by_page:
        is_complete, every = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED)
        if not is_complete:
            raise UnreadableError("its pages cannot be read")
        return _Decoded(_pages_as_channels([np.asarray(page) for page in every], reading), pages=pages)
    if bits <= 8 and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1 and not has_fourth:
        return replace(_read_with_pillow(content, reading), pages=pages)
    if samples > 1 and tags.get(_PLANES) == 2:
        raise UnreadableError("its channels are in separate planes; expected the channels of each pixel together")
    pixels = _imdecode(content)
    decoded = _read_with_pillow(content, reading) if pixels is None else _from_opencv(pixels, reading)
    return replace(decoded, pages=pages, is_inverted=tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def _tiff_header(content: Content) -> tuple[list[tuple[int, int]], dict[int, Any]]:
    """Height and width of each page, and the tags of the first."""
    file = io.BytesIO(content.data)
    tags, seen, sizes = dict[int, Any](), set[int](), []
    try:
        header = file.read(8)
        directory = ImageFileDirectory_v2(header if header[2] != 43 else header + file.read(8))
        while directory.next and directory.next not in seen:
            seen.add(directory.next)
            file.seek(directory.next)
            directory.load(file)
            tags = tags or dict(directory)
            sizes.append((int(directory.get(_HEIGHT, 0)), int(directory.get(_WIDTH, 0))))
    except Exception as error:  # Pillow raises many kinds of errors, depending on what is damaged
        raise UnreadableError(f"it is not a complete TIFF ({error})") from None
    return sizes, tags


def _check_page_count(count: int, reading: Reading, *, fit: bool = True) -> None:
    if count != reading.channels or not fit:
        raise UnreadableError(
            f"it has {count} pages; expected {reading.channels} grey ones of one size with pages: channels"
        )


def _pages_as_channels(pages: Sequence[NDArray[Any]], reading: Reading) -> NDArray[Any]:
    _check_page_count(len(pages), reading, fit=len({page.shape for page in pages}) == 1 and pages[0].ndim == 2)
    return np.stack(pages, axis=2)


def _read_with_pillow(content: Content, reading: Reading) -> _Decoded:
    try:
        with Pillow.open(io.BytesIO(content.data)) as opened:
            _check_pixels(opened.height, opened.width, MOST_CONVERTED)
            pages, image = getattr(opened, "n_frames", 1), ImageOps.exif_transpose(opened)
            if image.mode in ("F", "I", "I;16", "I;16B", "I;16L"):
                return _Decoded(np.asarray(image), pages=pages)
            if reading.channels not in (1, RGB):
                return _Decoded(np.asarray(image), pages=pages)
            if image.has_transparency_data:
                pixels = np.asarray(image.convert("RGBA"))
                return _Decoded(pixels[..., :3], pixels[..., 3], pages)
            return _Decoded(np.asarray(image.convert("RGB")), pages=pages)
    except UnreadableError:
        raise
    except Exception as error:  # likewise
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


# DICOM


_DEFLATED = b"1.2.840.10008.1.2.1.99"
"""A transfer syntax."""


def _read_dicom(content: Content, reading: Reading) -> _Decoded:
    try:
        import pydicom
        from pydicom.pixels import apply_color_lut, apply_modality_lut
    except ImportError:
        raise UnreadableError("it is a DICOM file, which needs pydicom: pip install 'podium-kit[dicom]'") from None
    whole = content.tobytes()
    if _DEFLATED in whole:  # pydicom decompresses it while it reads the header, without a limit
        raise UnreadableError("it is a deflated DICOM file; save it with another transfer syntax")
    try:
        dataset = pydicom.dcmread(io.BytesIO(whole), force=True)
        pages = int(dataset.get("NumberOfFrames") or 1)
        by_page = pages > 1 and reading.pages == "channels"
        if by_page:
            _check_page_count(pages, reading)
        else:
            dataset.pixel_array_options(index=0)
        _check_pixels(int(dataset.Rows), int(dataset.Columns), MOST_CONVERTED // (pages if by_page else 1))
        values = dataset.pixel_array
        if by_page:
            values = _pages_as_channels(list(values), reading)
        kind = str(dataset.get("PhotometricInterpretation", ""))
        if kind == "PALETTE COLOR":
            return _Decoded(to_bytes(apply_color_lut(values, dataset), Intensity(rule="full")), pages=pages)
        if not kind.startswith("MONOCHROME"):
            return _Decoded(values, pages=pages)
        values, window = apply_modality_lut(values, dataset), _window(dataset)
    except UnreadableError:
        raise
    except Exception as error:  # pydicom raises many kinds of errors; those of missing plug-ins say what to install
        raise UnreadableError(f"it is a DICOM file that pydicom cannot read ({' '.join(str(error).split())})") from None
    return _Decoded(values, pages=pages, window=window, is_inverted=kind == "MONOCHROME1")


def _window(dataset: Any) -> tuple[float, float] | None:
    """The values that become black and white in the first window of the file."""
    centre, width = (dataset.get(name) for name in ("WindowCenter", "WindowWidth"))
    if centre in (None, "") or width in (None, ""):
        return None
    centre, width = (float(value[0] if hasattr(value, "__len__") else value) for value in (centre, width))
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2


# Headers


def _has_chunk(content: Content, name: bytes) -> bool:
    """Whether a PNG has this chunk before its pixels."""
    view, at = content.data, 8
    while at + 8 <= len(view):
        kind = bytes(view[at + 4 : at + 8])
        if kind in (b"IDAT", b"IEND"):
            return False
        if kind == name:
            return True
        at += 12 + int.from_bytes(view[at : at + 4], "big")
    return False


def _exif_orientation(content: Content) -> int:
    try:
        with Pillow.open(io.BytesIO(content.data)) as opened:
            return int(opened.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds of errors; without an orientation the pixels are still right
        return 1


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    if orientation not in MIRRORED:
        return pixels
    mirror_x, mirror_y = MIRRORED[orientation]
    turned = pixels.swapaxes(0, 1) if orientation > 4 else pixels
    return np.ascontiguousarray(turned[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1])
