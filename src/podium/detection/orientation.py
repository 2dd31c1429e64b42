"""Size and orientation of image files, and rotating images and boxes upright.

Orientations are those of EXIF: 1 is upright, 3 upside down, 6 and 8 are rotated by 90 degrees, the others mirrored.

In Open Images, boxes refer to the pixels as stored, regardless of the file's EXIF tag. Its column Rotation is the
full counterclockwise rotation of image and boxes, and empty if it is unknown; then the EXIF tag is used.
(See "Rotated images in Open Images" at storage.googleapis.com/openimages/web.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rich.console import Console

from podium.data.conversion import MIRRORED
from podium.data.images import read_image
from podium.errors import DataError
from podium.files import atomic_write
from podium.progress import tracked

UPRIGHT = 1
ORIENTATION_OF_ROTATION = {0: UPRIGHT, 90: 8, 180: 3, 270: 6}
"""By degrees counterclockwise."""
_SWAPS_SIDES = (5, 6, 7, 8)
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_ORIENTATION_TAG = 0x0112
_SHOW_PROGRESS_FROM = 2_000


@dataclass(frozen=True)
class StoredImage:
    """Width and height of the pixels as stored, and the orientation of the file's EXIF tag."""

    width: int
    height: int
    orientation: int = UPRIGHT

    def upright_size(self, orientation: int) -> tuple[int, int]:
        """Width and height once it is rotated from this orientation."""
        return (self.height, self.width) if orientation in _SWAPS_SIDES else (self.width, self.height)


def read_header(path: Path) -> StoredImage:
    """Pixels are read only if the orientation is not known without decoding."""
    try:
        with Image.open(path) as image:
            if image.format in ("JPEG", "PNG", "WEBP"):
                exif = Image.Exif()
                exif.load(image.info.get("exif", b""))
                orientation = exif.get(_ORIENTATION_TAG, UPRIGHT)
                return StoredImage(*image.size, orientation if orientation in MIRRORED else UPRIGHT)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        pass  # decoding it reports what is wrong
    height, width = read_image(path).shape[:2]
    return StoredImage(width, height)


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of the image as it is shown."""
    stored = read_header(path)
    return stored.upright_size(stored.orientation)


def upright_sizes(paths: Sequence[Path], console: Console | None = None) -> list[tuple[int, int]]:
    if console is None or len(paths) < _SHOW_PROGRESS_FROM:
        return [upright_size(path) for path in paths]
    shown = tracked(paths, "reading image sizes", len(paths), console)
    return [upright_size(path) for path in shown]


def write_rotated(path: Path, orientation: int, target: Path) -> None:
    """Rotate the stored pixels from this orientation and write them as a PNG without a tag."""
    try:
        with Image.open(path) as image, atomic_write(target, fsync=False) as temporary:
            pixels = image.convert("RGB")
            if orientation in _TRANSPOSE:
                pixels = pixels.transpose(_TRANSPOSE[orientation])
            pixels.save(temporary, format="PNG", compress_level=1)
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image that can be read; replace it") from None


def rotated_boxes(corners: NDArray[np.float64], orientation: int) -> NDArray[np.float64]:
    """Convert left, top, right, bottom, relative to the image, from the stored image to the rotated image."""
    if orientation in _SWAPS_SIDES:
        corners = corners[:, [1, 0, 3, 2]]
    left, top, right, bottom = corners.T
    mirror_x, mirror_y = MIRRORED.get(orientation, (False, False))
    if mirror_x:
        left, right = 1 - right, 1 - left
    if mirror_y:
        top, bottom = 1 - bottom, 1 - top
    return np.column_stack([left, top, right, bottom])
