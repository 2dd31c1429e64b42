"""A sheet with a few drawn cars of each body type: `python -m podium.demo.sheet docs/cars.jpg`."""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from podium.demo.competition import CLASSES, draw_competition

ROWS, WIDTH, HEIGHT, HEADING, MARGIN = 3, 144, 108, 28, 4


def draw_sheet(folder: Path, path: Path) -> None:
    """Write a sheet of the first training images in the folder, a column per class."""
    columns = [_column(folder / "train" / str(number), name) for number, name in enumerate(CLASSES)]
    cv2.imwrite(str(path), np.hstack(columns), [cv2.IMWRITE_JPEG_QUALITY, 88])


def _column(folder: Path, name: str) -> cv2.typing.MatLike:
    heading = np.full((HEADING, WIDTH, 3), 255, np.uint8)
    cv2.putText(heading, name, (MARGIN, HEADING - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    images = [cv2.imread(str(path)) for path in sorted(folder.iterdir())[:ROWS]]
    tiles = [heading, *(cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for image in images)]
    white = cv2.BORDER_CONSTANT
    return np.vstack([cv2.copyMakeBorder(tile, 0, MARGIN, 0, MARGIN, white, value=(255, 255, 255)) for tile in tiles])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cars = draw_competition(Path(folder) / "cars", train=80, test=10)
        draw_sheet(cars.folder, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
