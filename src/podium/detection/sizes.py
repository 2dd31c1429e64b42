"""How wide and high an image is when it stands upright, from the beginning of its file.

A JPEG tells both in its header, and whether it lies on its side; so does a PNG. Anything else is decoded. No pixel of a
JPEG is read, so an image that is cut off has a size too.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from podium.data.jpeg import header_of_file
from podium.errors import DataError

_PNG = b"\x89PNG\r\n\x1a\n"
_MANY = 2_000
"""Files that take long enough to read for their progress to be shown."""


def upright_sizes(paths: Sequence[Path], console: Console | None = None) -> list[tuple[int, int]]:
    """Width and height of each."""
    if console is None or len(paths) < _MANY:
        return [upright_size(path) for path in paths]
    shown = track(paths, "  measuring images", total=len(paths), console=console, transient=True)
    return [upright_size(path) for path in shown]


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height."""
    try:
        header = header_of_file(path)
        size = header.size_turned(header.way) if header else _size_of_png(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; put the image back") from None
    return size or _size_when_decoded(path)


def _size_of_png(path: Path) -> tuple[int, int] | None:
    """None where it is none, its header is damaged, or the image may be turned."""
    size = None
    with path.open("rb") as file:
        is_png = file.read(len(_PNG)) == _PNG
        while is_png and len(beginning := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", beginning)
            if kind == b"IHDR" and length >= 8:
                width, height = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
                size, length = (width, height), length - 8
            if kind in (b"IDAT", b"IEND"):
                break
            if kind == b"eXIf":  # whether it turns the image depends on who decodes it
                return None
            file.seek(length + 4, 1)
    return size if size and all(size) else None


def _size_when_decoded(path: Path) -> tuple[int, int]:
    from podium.data.images import read_image

    height, width = read_image(path).shape[:2]
    return width, height
