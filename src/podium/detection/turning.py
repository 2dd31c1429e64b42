"""Pictures as they were meant to be seen, and their boxes with them.

Of Open Images: its page "Rotated images in Open Images" (storage.googleapis.com/openimages/web, 2018-05-17) says that
Rotation is by how many degrees, counterclockwise, both the picture and its boxes have to be turned, and that it is nan
where Flickr no longer had the picture. So boxes are given in the frame of the pixels as they are stored, whatever an
EXIF tag of the file says; and a Rotation that is known is the whole turn, since it was made from such tags. Where it
is not known, the file's own tag is all there is to go by.

A way of turning is told as EXIF does: 1 as stored, 2 mirrored, 3 upside down, 6 turned clockwise, 8 counterclockwise,
and so on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from podium.data.pictures import JPEG, Picture, read_file
from podium.errors import DataError
from podium.files import replacing

AS_STORED = 1
WAY_OF_DEGREES = {0: 1, 90: 8, 180: 3, 270: 6}
"""Counterclockwise."""
_ORIENTATION = 0x0112
_SIZE_SEGMENTS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BEGINNING = 1 << 17
"""Bytes that hold the header of nearly every JPEG."""


@dataclass(frozen=True)
class Stored:
    """A file's pixels, and which way its own tag would have them turned."""

    width: int
    height: int
    way: int


def stored_as(path: Path) -> Stored:
    """From the file's header where that is enough."""
    with path.open("rb") as opened:
        content = opened.read(_BEGINNING)
        found = _of_jpeg(content)
        if found is None and content.startswith(JPEG):
            found = _of_jpeg(content + opened.read())
    if found is None:
        height, width = _pixels(path).shape[:2]
        found = Stored(width, height, AS_STORED)
    return found


def write_turned(path: Path, way: int, target: Path) -> None:
    """The pixels of the file, turned this way, without loss and without a tag."""
    encoded, content = cv2.imencode(".png", turned(_pixels(path), way))
    assert encoded
    with replacing(target, synced=False) as temporary:
        temporary.write_bytes(content.tobytes())


def turned(picture: Picture, way: int) -> Picture:
    """The picture, stored in this way, as it is meant."""
    if way in (5, 6, 7, 8):
        picture = np.swapaxes(picture, 0, 1)
    across, down = _MIRRORED[way]
    return np.ascontiguousarray(picture[:: -1 if down else 1, :: -1 if across else 1])


def turned_boxes(corners: NDArray[np.float64], way: int) -> NDArray[np.float64]:
    """Left, top, right and bottom, as shares of the stored picture, as shares of the one that is meant."""
    if way in (5, 6, 7, 8):
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


def _pixels(path: Path) -> Picture:
    content = read_file(path)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if content.size else None
    if picture is None:
        raise DataError(f"{path} is not a picture that can be read; replace it")
    return np.asarray(picture, dtype=np.uint8)


def _of_jpeg(content: bytes) -> Stored | None:
    """From the segments before the pixels; None where they are not all there, or of another format."""
    start, way = 2, AS_STORED
    while content.startswith(JPEG) and start + 9 < len(content) and content[start] == 0xFF:
        kind = content[start + 1]
        if kind == 0xFF:  # filling
            start += 1
            continue
        length = int.from_bytes(content[start + 2 : start + 4])
        if kind in _SIZE_SEGMENTS:
            height, width = (int.from_bytes(content[at : at + 2]) for at in (start + 5, start + 7))
            return Stored(width, height, way)
        if kind == 0xE1 and content[start + 4 : start + 10] == b"Exif\0\0":
            way = _way_of_tag(content[start + 10 : start + 2 + length])
        start += 2 + length
    return None


def _way_of_tag(exif: bytes) -> int:
    """The orientation out of the first directory of an EXIF segment."""
    orders: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
    order = orders.get(exif[:2])
    if order is None:
        return AS_STORED

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if entry + 12 <= len(exif) and number(entry, 2) == _ORIENTATION:
            way = number(entry + 8, 2)
            return way if way in _MIRRORED else AS_STORED
    return AS_STORED
