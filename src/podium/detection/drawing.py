"""Drawing boxes with their classes and scores on an image. Line width and font size grow with the image."""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from podium.data.images import Image
from podium.detection.config import CORNERS

COLOURS = (
    *((230, 85, 0), (0, 140, 225), (0, 170, 120), (245, 175, 0), (215, 105, 175), (235, 225, 60), (90, 195, 245)),
    *((150, 100, 50), (140, 80, 200), (120, 200, 40)),
)
"""RGB by class, repeated if there are more classes. The first colours suit all types of colour vision."""
DARK, LIGHT = (20, 20, 20), (255, 255, 255)
MIN_FONT_SIZE = 7
"""Smaller text is illegible."""
Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom."""


def draw_boxes(image: Image, boxes: pd.DataFrame, classes: Sequence[str]) -> Image:
    """A copy of an RGB image with these boxes. The order of `classes` determines the colours.

    `boxes` has the columns class, left, top, right, bottom, and optionally score. Boxes with higher scores are drawn on
    top, and their labels are placed first.
    """
    canvas = PillowImage.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    scores = boxes["score"].tolist() if "score" in boxes else [None] * len(boxes)
    corners = boxes[list(CORNERS)].round().clip(0).to_numpy().astype(int).tolist()
    rows = sorted(zip(boxes["class"], scores, corners, strict=True), key=lambda row: row[1] or 0.0)
    for class_name, _, (left, top, right, bottom) in rows:
        edges = (min(left, width - 1), min(top, height - 1), min(right, width - 1), min(bottom, height - 1))
        draw.rectangle(edges, outline=colour_of(class_name, classes), width=line_width(width, height))
    taken: list[Rectangle] = []
    for class_name, score, box in reversed(rows):
        label = _fitting_label(class_name, score, width, height)
        if label:
            text, font, size = label
            place = _label_place(box, size, taken, width, height)
            taken.append(place)
            colour = colour_of(class_name, classes)
            draw.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=colour)
            margin = _margin(font)
            draw.text((place[0] + margin, place[1] + margin), text, _text_colour(colour), font, anchor="la")
    return np.array(canvas)


def colour_of(class_name: str, classes: Sequence[str]) -> tuple[int, int, int]:
    return COLOURS[classes.index(class_name) % len(COLOURS)]


def line_width(width: int, height: int) -> int:
    """Line width in pixels: 1 for 64 × 64, 2 for 320 × 320, 14 for 4,000 × 3,000."""
    return max(1, round(math.sqrt(width * height) / 250 + 0.4))


def font_size(width: int, height: int) -> int:
    """Font size in pixels, so that about 30 lines fit, but at least legible."""
    return max(MIN_FONT_SIZE + 2, round(math.sqrt(width * height) / 34))


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf", size)


def _margin(font: ImageFont.FreeTypeFont) -> int:
    return max(1, round(font.size / 5))


def _fitting_label(
    class_name: str, score: float | None, width: int, height: int
) -> tuple[str, ImageFont.FreeTypeFont, tuple[int, int]] | None:
    """Text, font and size of a label: with a smaller font in a small image, then shorter, then none."""
    number = "" if score is None else f"{score:.2f}"
    for text in (f"{class_name} {number}".strip(), number or class_name[:3]):
        for size in range(font_size(width, height), MIN_FONT_SIZE - 1, -1):
            font = _font(size)
            margins = 2 * _margin(font)
            label = math.ceil(font.getlength(text)) + margins, sum(font.getmetrics()) + margins
            if label[0] <= width and label[1] <= height:
                return text, font, label
    return None


def _label_place(
    box: Sequence[int], size: tuple[int, int], taken: Sequence[Rectangle], width: int, height: int
) -> Rectangle:
    """Above the box, below it or inside, at the first place that is free of other labels, else at the first one."""
    left, top, right, bottom = box
    across, down = size
    points = [
        (left, top - down), (left, bottom), (right - across, top - down), (right - across, bottom),
        (left, top), (right - across, bottom - down), (left, bottom - down), (right - across, top),
    ]  # fmt: skip
    points = [point for point in points if 0 <= point[1] <= height - down] or [(left, min(max(0, top), height - down))]
    places = []
    for x, y in points:
        x = min(max(0, x), width - across)
        places.append((x, y, x + across, y + down))
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _overlap(first: Rectangle, second: Rectangle) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _text_colour(background: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = background
    return DARK if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else LIGHT
