"""Images as they were meant to be seen, and their boxes with them.

Of Open Images: its page "Rotated images in Open Images" (storage.googleapis.com/openimages/web, 2018-05-17) says that
Rotation is by how many degrees, counterclockwise, both the image and its boxes have to be turned, and that it is nan
where Flickr no longer had the image. So boxes are given in the frame of the pixels as they are stored, whatever an
EXIF tag of the file says; and a Rotation that is known is the whole turn, since it was made from such tags. Where it
is not known, the file's own tag is all there is to go by.

A way of turning is told as EXIF does, and `podium.data.jpeg`.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from podium.data.images import Image, read_file
from podium.data.jpeg import ON_THEIR_SIDE, Stored, header_of_file
from podium.errors import DataError
from podium.files import atomic_write

WAY_OF_DEGREES = {0: 1, 90: 8, 180: 3, 270: 6}
"""Counterclockwise."""


def stored_as(path: Path) -> Stored:
    """From the file's header where that is enough."""
    header = header_of_file(path)
    if header:
        return header
    height, width = _pixels(path).shape[:2]
    return Stored(width, height)


def write_turned(path: Path, way: int, target: Path) -> None:
    """The pixels of the file, turned this way, without loss and without a tag."""
    encoded, content = cv2.imencode(".png", turned(_pixels(path), way))
    assert encoded
    with atomic_write(target, fsync=False) as temporary:
        temporary.write_bytes(content.tobytes())


def turned(image: Image, way: int) -> Image:
    """The image, stored in this way, as it is meant."""
    if way in ON_THEIR_SIDE:
        image = np.swapaxes(image, 0, 1)
    across, down = _MIRRORED[way]
    return np.ascontiguousarray(image[:: -1 if down else 1, :: -1 if across else 1])


def turned_boxes(corners: NDArray[np.float64], way: int) -> NDArray[np.float64]:
    """Left, top, right and bottom, as shares of the stored image, as shares of the one that is meant."""
    if way in ON_THEIR_SIDE:
        corners = corners[:, [1, 0, 3, 2]]
    left, top, right, bottom = corners.T
    across, down = _MIRRORED[way]
    if across:
        left, right = 1 - right, 1 - left
    if down:
        top, bottom = 1 - bottom, 1 - top
    return np.column_stack([left, top, right, bottom])


_MIRRORED = {1: (False, False), 2: (True, False), 3: (True, True), 4: (False, True),
             5: (False, False), 6: (True, False), 7: (True, True), 8: (False, True)}  # fmt: skip
"""Across and down, once rows and columns have changed places where they have to."""


def _pixels(path: Path) -> Image:
    content = read_file(path)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if content.size else None
    if image is None:
        raise DataError(f"{path} is not an image that can be read; replace it")
    return np.asarray(image, dtype=np.uint8)
