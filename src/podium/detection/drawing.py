"""Boxes drawn on an image, each with its class and its score.

Lines and letters grow with the image: what is drawn looks the same on 64 pixels and on 4,000, as far as so few pixels
can show it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.data.images import Image
from podium.detection.dataset import CORNERS

COLOURS = (
    *((230, 85, 0), (0, 140, 225), (0, 170, 120), (245, 175, 0), (215, 105, 175), (235, 225, 60), (90, 195, 245)),
    *((150, 100, 50), (140, 80, 200), (120, 200, 40)),
)
"""RGB of the classes, in their order, over again where there are more. The first are told apart by all who see colours,
whichever of them."""
DARK, LIGHT = (20, 20, 20), (255, 255, 255)
SMALLEST_LETTERS = 7
"""Their height in pixels, below which no one reads them."""
Place = tuple[int, int, int, int]
"""Left, top, right, bottom of a label, in pixels."""


@dataclass(frozen=True)
class _Label:
    text: str
    mask: NDArray[np.uint8]
    """How much of each pixel the letters cover."""
    room: int
    """Around the letters, in pixels."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.mask.shape[1] + 2 * self.room, self.mask.shape[0] + 2 * self.room


def draw_boxes(image: Image, boxes: pd.DataFrame, classes: Sequence[str]) -> Image:
    """A copy of an RGB image with these boxes; `classes` decides the colours.

    `boxes` has the columns class, left, top, right, bottom, and score where there are scores: those with the highest
    are drawn last, on top, and their labels have the first choice of a place.
    """
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    thickness, letters = line_width(width, height), letter_height(width, height)
    scores = boxes["score"].tolist() if "score" in boxes else [None] * len(boxes)
    rows = list(zip(boxes["class"], scores, boxes[list(CORNERS)].to_numpy(dtype=np.float64), strict=True))
    rows.sort(key=lambda row: row[1] or 0.0)
    for kind, _, corners in rows:
        _draw_frame(drawn, corners, colour_of(kind, classes), thickness)
    taken: list[Place] = []
    for kind, score, corners in reversed(rows):
        label = _fitting_label(kind, score, letters, width, height)
        if label is not None:
            outer = corners + np.array([-(thickness // 2), 0, thickness // 2, 0])  # where the line's own width ends
            place = _free_place(outer, label.size, taken, width, height)
            taken.append(place)
            _write(drawn, label, place, colour_of(kind, classes))
    return drawn


def colour_of(kind: str, classes: Sequence[str]) -> tuple[int, int, int]:
    return COLOURS[classes.index(kind) % len(COLOURS)]


def line_width(width: int, height: int) -> int:
    """In pixels: 1 on 64 × 64, 2 on 320 × 320, 14 on 4,000 × 3,000."""
    return max(1, round(math.sqrt(width * height) / 250 + 0.4))


def letter_height(width: int, height: int) -> int:
    """Of the font, in pixels: the smallest that can be read, or so that some thirty lines have room."""
    return max(SMALLEST_LETTERS + 2, round(math.sqrt(width * height) / 34))


def _draw_frame(drawn: Image, corners: NDArray[np.float64], colour: tuple[int, int, int], thickness: int) -> None:
    """Inside the image, also where the box lies on its border; if it is not too thin, with an edge for any ground."""
    height, width = drawn.shape[:2]
    half = thickness // 2
    left, right = np.clip(np.round(corners[[0, 2]]), half, width - 1 - half).astype(int).tolist()
    top, bottom = np.clip(np.round(corners[[1, 3]]), half, height - 1 - half).astype(int).tolist()
    if thickness >= 3:
        cv2.rectangle(drawn, (left, top), (right, bottom), DARK, thickness + 2 * max(1, thickness // 5))
    cv2.rectangle(drawn, (left, top), (right, bottom), colour, thickness)


def _fitting_label(kind: str, score: float | None, letters: int, width: int, height: int) -> _Label | None:
    """The class and the score; in an image too small for that in smaller letters, then less of it, then nothing."""
    figure = "" if score is None else f"{score:.2f}"
    for text in (f"{kind} {figure}".strip(), figure or kind[:3]):
        for size in range(letters, SMALLEST_LETTERS - 1, -1):
            label = _label(text, size)
            if label.size[0] <= width and label.size[1] <= height:
                return label
    return None


def _font() -> Any:
    """matplotlib's own, since OpenCV's letters are strokes, and only Latin ones. Each is for one thread at a time."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    return FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"))


def _label(text: str, size: int) -> _Label:
    """All letters of a size stand on one line, with room for those that reach above or below it."""
    font = _font()
    known = font.get_charmap()
    text = "".join(letter if ord(letter) in known else "?" for letter in text)
    font.set_size(size, 72)
    font.set_text(text, 0.0)
    font.draw_glyphs_to_bitmap(antialiased=True)
    return _Label(text, np.array(font.get_image(), dtype=np.uint8), room=max(1, size // 5))


def _free_place(
    corners: NDArray[np.float64], size: tuple[int, int], taken: Sequence[Place], width: int, height: int
) -> Place:
    """Above the box at its left, else below it, else inside; where none is free of other labels, the first."""
    left, top, right, bottom = np.round(corners).astype(int).tolist()
    across, up = size
    spots = [
        (left, top - up), (left, bottom), (right - across, top - up), (right - across, bottom),
        (left, top), (right - across, bottom - up), (left, bottom - up), (right - across, top),
    ]  # fmt: skip
    spots = [spot for spot in spots if 0 <= spot[1] <= height - up] or [(left, min(max(0, top), height - up))]
    places = []
    for x, y in spots:
        x = min(max(0, x), width - across)
        places.append((x, y, x + across, y + up))
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _overlap(one: Place, other: Place) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _write(drawn: Image, label: _Label, place: Place, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = place
    drawn[top:bottom, left:right] = colour
    red, green, blue = colour
    ink = np.array(DARK if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else LIGHT, dtype=np.float64)
    strength = label.mask[:, :, None] / 255
    room = label.room
    ground = drawn[top + room : bottom - room, left + room : right - room]
    ground[:] = np.round(strength * ink + (1 - strength) * ground).astype(np.uint8)
