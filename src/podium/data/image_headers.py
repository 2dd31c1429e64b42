"""What the header of an image file says, without decoding its pixels: the format, the size, the orientation."""

import io
import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

Content = NDArray[np.uint8]
"""The bytes of a file."""

MAX_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])
"""Larger images are not decoded. `podium/__init__.py` sets it."""
MOST_CONVERTED = MAX_PIXELS // 4
"""Likewise for images that are not plain, whose values take several times as much memory."""
Pillow.MAX_IMAGE_PIXELS = MAX_PIXELS
JPEG, PNG, NPY, RADIANCE = b"\xff\xd8", b"\x89PNG", b"\x93NUMPY", b"#?"
TIFF = (b"II*\0", b"MM\0*", b"II+\0")
_SIZE_SEGMENTS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The types of JPEG segments that hold the image's size."""
_START_OF_SCAN = 0xDA
_LARGEST_CHUNK = 1 << 26
"""In a file that has fewer bytes: one that is cut off."""
_ORIENTATION = 274
"""An EXIF tag."""


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
    if size := plain_size(content):
        _check_pixels(*size, MAX_PIXELS)


def plain_size(content: Content) -> tuple[int, int] | None:
    """Height and width of a JPEG, PNG or BMP. Fails for a PNG with a chunk that OpenCV needs too much memory for."""
    header = content[:26].tobytes()
    if header[:4] == PNG:
        most = max(len(content), _LARGEST_CHUNK)
        if longest := next((length for _, length in _chunks(content) if length > most), 0):
            raise UnreadableError(f"it is damaged (a chunk of {longest:,} bytes)")
        return int.from_bytes(header[20:24]), int.from_bytes(header[16:20])
    if header[:2] == b"BM":
        return abs(int.from_bytes(header[22:26], "little", signed=True)), int.from_bytes(header[18:22], "little")
    return jpeg_size(content)


def size_by_header(content: Content) -> tuple[int, int]:
    """Height and width; 0 for formats that only OpenCV knows, which has a limit of its own."""
    if size := plain_size(content):
        return size
    try:
        with Pillow.open(io.BytesIO(content.data)) as opened:
            return opened.height, opened.width
    except Exception:  # Pillow raises many kinds of errors; what it cannot open, OpenCV checks or refuses
        return 0, 0


def check_convertible(height: int, width: int, times: int = 1) -> None:
    """Fail for more pixels than MOST_CONVERTED, of which each takes this many times as much memory as usual."""
    _check_pixels(height, width, MOST_CONVERTED // times)


def _check_pixels(height: int, width: int, most: int) -> None:
    if height * width > most:
        raise UnreadableError(
            f"it has {width:,} × {height:,} pixels, more than {most:,}; the limit rises with the environment variable"
            f" OPENCV_IO_MAX_IMAGE_PIXELS, which is {MAX_PIXELS}"
        )


def is_plain(content: Content) -> bool:
    """Whether OpenCV reads the file right: 8 bits, one page, no transparency. Looks at the header only."""
    start = content[:4].tobytes()
    if start[:2] in (JPEG, b"BM"):
        return True
    if start == PNG:
        return len(content) > 25 and content[24] <= 8 and content[25] not in (4, 6) and not has_chunk(content, b"tRNS")
    if start == b"RIFF" and content[8:12].tobytes() == b"WEBP":
        kind = content[12:16].tobytes()
        alpha_at = {b"VP8X": (20, 0x10), b"VP8L": (24, 0x10)}.get(kind)
        return alpha_at is None or len(content) <= alpha_at[0] or not content[alpha_at[0]] & alpha_at[1]
    return False


def has_chunk(content: Content, name: bytes) -> bool:
    """Whether a PNG has this chunk before its pixels."""
    return next((kind for kind, _ in _chunks(content) if kind in (name, b"IDAT", b"IEND")), b"") == name


def _chunks(content: Content) -> Iterator[tuple[bytes, int]]:
    """The type of each chunk of a PNG, and the length that it claims to have."""
    view, at = content.data, 8
    while at + 8 <= len(view):
        length = int.from_bytes(view[at : at + 4])
        yield bytes(view[at + 4 : at + 8]), length
        at += 12 + length


def exif_orientation(content: Content) -> int:
    try:
        with Pillow.open(io.BytesIO(content.data)) as opened:
            return int(opened.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds of errors; without an orientation the pixels are still right
        return 1
