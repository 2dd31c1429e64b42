"""The size and the orientation of a JPEG, read from its header."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

AS_STORED = 1
"""EXIF's orientation of an image that is stored upright. The others: 2 mirrored, 3 upside down, 6 to be turned
clockwise, 8 counterclockwise, up to 8."""
ON_THEIR_SIDE = (5, 6, 7, 8)
"""The orientations that swap width and height."""
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Stored:
    """The size of an image as it is stored, and the orientation that its EXIF tag gives."""

    width: int
    height: int
    way: int = AS_STORED

    def size_turned(self, way: int) -> tuple[int, int]:
        """Width and height once the image is turned upright from this orientation."""
        return (self.height, self.width) if way in ON_THEIR_SIDE else (self.width, self.height)


def header_of_file(path: Path) -> Stored | None:
    """None for other formats and damaged headers; OSError where the file cannot be read. Pixels are not read."""
    with path.open("rb") as file:
        try:
            with Image.open(file, formats=("JPEG",)) as opened:
                way = opened.getexif().get(_ORIENTATION, AS_STORED)
                return Stored(*opened.size, way if way in range(AS_STORED, ON_THEIR_SIDE[-1] + 1) else AS_STORED)
        except Exception:  # whatever Pillow's parser raises for a damaged header
            return None
