"""How wide and high a picture is when it stands upright, from the beginning of its file.

A JPEG tells both in its header, and whether it lies on its side; so does a PNG. Anything else is decoded. No pixel of a
JPEG is read, so a picture that is cut off has a size too.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import track

from podium.errors import DataError

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_SIZE_SEGMENTS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The JPEG segments that tell the size; the three others among them do not."""
_APP1, _FILLING = 0xE1, 0xFF
_ORIENTATION = 0x0112
_ON_ITS_SIDE = {5, 6, 7, 8}
_MANY = 2_000
"""Files that take long enough to read for their progress to be shown."""


def upright_sizes(paths: Sequence[Path], console: Console | None = None) -> list[tuple[int, int]]:
    """Width and height of each."""
    if console is None or len(paths) < _MANY:
        return [upright_size(path) for path in paths]
    shown = track(paths, "  measuring pictures", total=len(paths), console=console, transient=True)
    return [upright_size(path) for path in shown]


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_PNG))
            reader = _size_of_jpeg if start.startswith(_JPEG) else _size_of_png if start == _PNG else None
            size = reader(file) if reader else None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; put the picture back") from None
    return size or _size_when_decoded(path)


def _size_of_jpeg(file: BinaryIO) -> tuple[int, int] | None:
    """None where the header is damaged."""
    file.seek(len(_JPEG))
    is_on_its_side = False
    while len(marker := file.read(2)) == 2 and marker[0] == _FILLING:
        if marker[1] == _FILLING:
            file.seek(-1, 1)
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if marker[1] in _SIZE_SEGMENTS:
            content = file.read(5)
            height, width = struct.unpack(">HH", content[1:]) if len(content) == 5 else (0, 0)
            size = (height, width) if is_on_its_side else (width, height)
            return size if all(size) else None
        if marker[1] == _APP1 and not is_on_its_side:
            content = file.read(max(0, length))
            is_on_its_side = _orientation(content) in _ON_ITS_SIDE
        else:
            file.seek(max(0, length), 1)
    return None


def _orientation(segment: bytes) -> int:
    """What EXIF says, 0 where it says nothing that can be read."""
    if not segment.startswith(b"Exif\0\0"):
        return 0
    content = segment[6:]
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return 0
    try:
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", content, at)
            if tag == _ORIENTATION:
                return int(value)
    except struct.error:
        pass
    return 0


def _size_of_png(file: BinaryIO) -> tuple[int, int] | None:
    """None where the header is damaged, or the picture may be turned."""
    file.seek(len(_PNG))
    size = None
    while len(beginning := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", beginning)
        if kind == b"IHDR" and length >= 8:
            width, height = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
            size, length = (width, height), length - 8
        if kind in (b"IDAT", b"IEND"):
            break
        if kind == b"eXIf":  # whether it turns the picture depends on who decodes it
            return None
        file.seek(length + 4, 1)
    return size if size and all(size) else None


def _size_when_decoded(path: Path) -> tuple[int, int]:
    from podium.data.pictures import read_picture

    height, width = read_picture(path).shape[:2]
    return width, height
