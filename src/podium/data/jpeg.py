"""What a JPEG says of itself before its pixels: its size, and which way it is meant to be turned."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

JPEG = b"\xff\xd8"
"""What every JPEG begins with."""
AS_STORED = 1
"""The way of an image that is not turned. The others are EXIF's: 2 mirrored, 3 upside down, 6 turned clockwise, 8
counterclockwise, and so on to 8."""
ON_THEIR_SIDE = (5, 6, 7, 8)
"""Ways in which rows and columns change places."""
_SIZE_SEGMENTS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The segments that tell the size; the three others among them do not."""
_APP1, _FILLING = 0xE1, 0xFF
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_BEGINNING = 1 << 16
"""Bytes that hold the header of nearly every JPEG."""


@dataclass(frozen=True)
class Stored:
    """How a file's pixels lie, and which way its own tag would have them turned."""

    width: int
    height: int
    way: int = AS_STORED

    def size_turned(self, way: int) -> tuple[int, int]:
        """Width and height once it is turned this way."""
        return (self.height, self.width) if way in ON_THEIR_SIDE else (self.width, self.height)


def header_of(content: Any) -> Stored | None:
    """Of bytes, or an array of them; None where they are of another format, damaged, or end before the size."""
    bytes_of = memoryview(content)
    start, way = len(JPEG), None
    while bytes_of[: len(JPEG)] == JPEG and start + 9 < len(bytes_of) and bytes_of[start] == 0xFF:
        kind = bytes_of[start + 1]
        if kind == _FILLING:
            start += 1
            continue
        length = 256 * bytes_of[start + 2] + bytes_of[start + 3]
        if kind in _SIZE_SEGMENTS:
            height, width = (256 * bytes_of[at] + bytes_of[at + 1] for at in (start + 5, start + 7))
            return Stored(width, height, way or AS_STORED) if height and width else None
        if kind == _APP1 and way is None and bytes_of[start + 4 : start + 10] == _EXIF:
            way = _way_of(bytes(bytes_of[start + 10 : start + 2 + length]))
        start += 2 + length
    return None


def header_of_file(path: Path) -> Stored | None:
    """The same of a file, of which no more is read than is needed."""
    with path.open("rb") as opened:
        content = opened.read(_BEGINNING)
        header = header_of(content)
        if header is None and content.startswith(JPEG):
            header = header_of(content + opened.read())
    return header


def _way_of(exif: bytes) -> int:
    """The orientation in the first directory of an EXIF segment."""
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
            return way if AS_STORED <= way <= ON_THEIR_SIDE[-1] else AS_STORED
    return AS_STORED
