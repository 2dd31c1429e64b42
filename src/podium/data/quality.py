"""What is unusual about each image file, measured once: its format, its size, and how dark, blurred or empty it is.

Measurements are kept in the cache folder, and are valid as long as the file's size and times do not change.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from rich.console import Console

from podium.arrays import read_npy
from podium.data.catalogue import file_digests, in_parallel
from podium.data.conversion import DEEP, TRANSPARENT
from podium.data.image_headers import jpeg_size
from podium.data.image_paths import ImagePaths, path_text, reading_of
from podium.data.images import Scaling, check_complete, convert_files, decode, is_quick, read_files
from podium.errors import DataError, ImageError
from podium.files import atomic_write
from podium.paths import cache_folder

UNREADABLE, TRUNCATED, WRONG_SUFFIX, ROTATED, GREY, CMYK, IS_TRANSPARENT, IS_DEEP = (1 << bit for bit in range(8))
"""Flags of a file, which can be combined."""
DAMAGED = UNREADABLE | TRUNCATED
THUMBNAIL = 16
"""Pixels per side of the small image that duplicates and drift are found with."""
SIDE = 256
"""Brightness, contrast and blur are measured at this long side at most, about the size that models see."""
_SHRINK = Scaling(SIDE, "pad")
_HASHED, _LOW = 32, 8
"""The perceptual hash has the signs of the 8 × 8 lowest frequencies of the image at 32 × 32 pixels."""
_GREY_DIFFERENCE, _GREY_OF_BRIGHTNESS = 1.5, 0.03
"""The largest mean difference between the channels of a grey image saved with colours, in grey levels; of a dark image,
as a share of its mean."""
_PER_FILE = 2_000
"""Measurements per file of the cache: as much is measured again at most when a check is interrupted."""
VERSION = 1
"""Increase it when the same file gives other measurements."""
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"}, "MPO": {".jpg", ".jpeg"}, "PNG": {".png"}, "GIF": {".gif"},
    "BMP": {".bmp"}, "TIFF": {".tif", ".tiff"}, "WEBP": {".webp"}, "JPEG2000": {".jp2"},
    "PPM": {".ppm", ".pgm", ".pnm"},
}  # fmt: skip
"""The usual suffixes of Pillow's formats."""
MEASUREMENT = np.dtype(
    [
        ("file", "S16"),
        ("flags", "u4"),
        ("width", "i4"),
        ("height", "i4"),
        ("brightness", "f4"),  # of all but the brightest twentieth of the pixels, from 0 to 1
        ("contrast", "f4"),  # the standard deviation of the grey image, from 0 to 1
        ("blur", "f4"),  # from 0 for sharp to 1
        ("content", "S16"),  # a digest of the file's bytes
        ("hash", "u8"),
        ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL, 3)),
    ]
)
Measurements = NDArray[np.void]


Measure = Callable[[ImagePaths, Console | None], Iterable[Measurements]]
"""Measures files, some after the other."""


def measure_here(paths: ImagePaths, console: Console | None) -> Iterator[Measurements]:
    """On all cores of this machine."""
    rows = range(len(paths))
    results = iter(in_parallel(lambda row: _measure(paths, row), rows, "checking images", console))
    for start in rows[::_PER_FILE]:
        yield np.concatenate([next(results) for _ in rows[start : start + _PER_FILE]])


def measure_files(
    paths: ImagePaths, name: str, console: Console | None = None, measure: Measure = measure_here
) -> Measurements:
    """The measurement of each file, in this order. Files that are new or have changed are read."""
    reading = reading_of(paths)
    folder = cache_folder() / "quality" / f"{name}{reading}-{VERSION}"
    measured = np.zeros(len(paths), MEASUREMENT)
    measured["file"] = file_digests(paths)
    known = _load(folder)
    position = np.searchsorted(known["file"], measured["file"])
    position[position == len(known)] = 0
    found = known["file"][position] == measured["file"] if len(known) else np.zeros(len(paths), bool)
    measured[found] = known[position[found]]
    new = np.flatnonzero(~found)
    start = 0
    for part in measure(paths.take(new), console) if len(new) else ():
        rows = new[start : start + len(part)]
        part["file"] = measured["file"][rows]
        measured[rows] = part
        _save(folder, part)
        start += len(part)
    return measured


def read_measurements(path: Path) -> Measurements:
    """A file of measurements. A ValueError says what is wrong with it."""
    saved = read_npy(path)
    if saved.dtype != MEASUREMENT or saved.ndim != 1:
        raise ValueError(f"it has no measurements of this version of podium, but {saved.dtype}")
    return saved


def _load(folder: Path) -> Measurements:
    """All saved measurements, sorted by file."""
    parts = [np.empty(0, MEASUREMENT)]
    for path in sorted(folder.glob("*.npy")):
        with suppress(OSError, ValueError):
            parts.append(read_measurements(path))
    joined = np.concatenate(parts)
    _, first = np.unique(joined["file"], return_index=True)
    return joined[first]


def _save(folder: Path, measured: Measurements) -> None:
    name = hashlib.sha256(measured["file"].tobytes()).hexdigest()[:16]
    path = folder / f"{name}.npy"
    with suppress(OSError), atomic_write(path, fsync=False) as temporary, temporary.open("wb") as opened:
        np.save(opened, measured)


def _measure(paths: Sequence[Path], row: int) -> Measurements:
    path, reading = path_text(paths, row), reading_of(paths)
    result = np.zeros(1, MEASUREMENT)
    entry: Any = result[0]
    try:
        contents = read_files(path, reading)
    except DataError:
        entry["flags"] = UNREADABLE
        return result
    entry["content"] = hashlib.sha256(b"".join(part.tobytes() for part in contents)).digest()[:16]
    header = _header_flags(path, contents[0].tobytes(), entry)
    try:
        if is_quick(contents, reading):
            image, traits = decode(path, contents[0], _SHRINK.reduction(jpeg_size(contents[0])), reading.channels), 0
        else:
            image, traits = convert_files(path, contents, reading)
    except (ImageError, cv2.error):
        entry["flags"] = header & WRONG_SUFFIX | (TRUNCATED if header & TRUNCATED else UNREADABLE)
        return result
    if not entry["width"]:
        entry["height"], entry["width"] = image.shape[:2]
    header |= IS_DEEP * bool(traits & DEEP) | IS_TRANSPARENT * bool(traits & TRANSPARENT)
    entry["flags"] = header
    _measure_pixels(image, entry)
    return result


def _header_flags(path: str, content: bytes, entry: Any) -> int:
    flags = 0
    try:
        check_complete(path, content)
    except ImageError:
        flags |= TRUNCATED
    try:
        with Pillow.open(io.BytesIO(content)) as opened:
            usual = _SUFFIXES.get(opened.format or "")
            suffix = Path(path).suffix.lower()
            flags |= WRONG_SUFFIX * bool(usual and suffix and not suffix[1:].isdecimal() and suffix not in usual)
            flags |= ROTATED * (int(opened.getexif().get(0x112, 1)) not in (0, 1))
            flags |= CMYK * (opened.mode in ("CMYK", "YCCK"))
            flags |= IS_TRANSPARENT * bool(opened.has_transparency_data)
            flags |= GREY * (opened.mode in ("1", "L", "LA", "I;16", "I"))
            entry["width"], entry["height"] = opened.size
    except Exception:  # Pillow raises many kinds of errors; what podium can decode may still be measured
        return flags
    return flags


def _measure_pixels(image: NDArray[np.uint8], entry: Any) -> None:
    """Brightness, contrast, blur, hash and thumbnail of the decoded image."""
    colours = np.atleast_3d(image)
    colours = np.ascontiguousarray(
        colours[..., :3] if colours.shape[2] >= 3 else np.repeat(colours[..., :1], 3, axis=2)
    )
    height, width = colours.shape[:2]
    scale = SIDE / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        colours = cv2.resize(colours, size, interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(colours, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)
    entry["thumbnail"], entry["hash"] = thumbnail, _perceptual_hash(grey)
    entry["brightness"] = np.percentile(grey, 95) / 255
    entry["contrast"] = grey.std() / 255
    entry["blur"] = _blur(grey)
    spread = colours.max(axis=2).astype(np.int16) - colours.min(axis=2)
    if spread.mean() <= min(_GREY_DIFFERENCE, _GREY_OF_BRIGHTNESS * grey.mean()):
        entry["flags"] |= GREY


def _perceptual_hash(grey: NDArray[np.uint8]) -> int:
    small = cv2.resize(grey, (_HASHED, _HASHED), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_LOW, :_LOW].ravel()
    bits = low > np.median(low[1:])
    return int(np.packbits(bits).view(">u8")[0])


def _blur(grey: NDArray[np.uint8]) -> float:
    """The share of the differences between neighbours that survives another blur (Crété et al., 2007).

    A sharp image loses most of them, and a blurred one few.
    """
    image = grey.astype(np.float32)
    shares = []
    for axis, kernel in ((0, (1, 9)), (1, (9, 1))):
        before = np.abs(np.diff(image, axis=axis))
        after = np.abs(np.diff(cv2.blur(image, kernel), axis=axis))
        total = float(before.sum())
        lost = float(np.maximum(before - after, 0).sum())
        shares.append(1 - lost / total if total else 1.0)
    return max(shares)
