"""Drawing tools: metres to pixels, gradients, colours, leaves and grain.

Cars are measured in metres, x from the front bumper backwards, y from the road upwards; a pose maps them to the canvas.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Colour = tuple[float, float, float]
Points = Sequence[tuple[float, float]] | NDArray[np.float64]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Pose:
    """The position of a car: maps its metres to the canvas."""

    scale: float
    matrix: NDArray[np.float64]  # (2, 3)
    ground: float  # the row of the canvas that the wheels touch

    def pixels(self, points: Points) -> NDArray[np.int32]:
        placed = np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.asarray(np.rint(placed), np.int32)

    def thick(self, metres: float) -> int:
        return max(1, round(metres * self.scale))


@dataclass(frozen=True)
class Brush:
    """Draws in metres, on an image or a mask."""

    image: NDArray[np.uint8]
    pose: Pose

    def line(self, points: Points, colour: float | Colour, thick: float) -> None:
        cv2.polylines(self.image, [self.pose.pixels(points)], False, colour, self.pose.thick(thick))

    def area(self, points: Points, colour: float | Colour) -> None:
        cv2.fillPoly(self.image, [self.pose.pixels(points)], colour)

    def disc(self, x: float, y: float, radius: float, colour: float | Colour) -> None:
        column, row = self.pose.pixels([(x, y)])[0]
        cv2.circle(self.image, (int(column), int(row)), self.pose.thick(radius), colour, -1)

    def blank(self) -> "Brush":
        """A brush for an empty mask of the same canvas."""
        return Brush(np.zeros(self.image.shape[:2], np.uint8), self.pose)


def find_box(mask: Mask) -> Box:
    """The bounding box of a mask: left, top, width, height."""
    left, top, across, down = cv2.boundingRect(mask)
    return left, top, across, down


def fill(image: Image, mask: Mask, top: Colour, bottom: Colour) -> None:
    """Fill a mask with a gradient from one colour at its top to another at its bottom."""
    x, y, across, down = find_box(mask)
    if across:
        area = (slice(y, y + down), slice(x, x + across))
        cv2.copyTo(_shades(across, down, top, bottom), mask[area], image[area])


def fill_block(image: Image, corners: tuple[float, float, float, float], top: Colour, bottom: Colour) -> None:
    """Fill a rectangle (left, top, right, bottom), which may extend outside the image, with a gradient."""
    left, high, right, low = (max(0, int(place)) for place in corners)
    area = image[high:low, left:right]
    if area.size:
        area[:] = _shades(area.shape[1], area.shape[0], top, bottom)


def _shades(across: int, down: int, top: Colour, bottom: Colour) -> Image:
    rows = np.clip(np.linspace(np.array(top), np.array(bottom), down), 0, 255).astype(np.uint8)
    return np.repeat(rows[:, None], across, axis=1)


def tint(image: Image, points: Points, colour: Colour, share: float) -> None:
    """Blend a colour over an area with this opacity: shadows, puddles, clouds."""
    shape = np.asarray(np.rint(points), np.int32)
    left, top, across, down = cv2.boundingRect(shape)
    high, low, near, far = max(0, top), max(0, top + down), max(0, left), max(0, left + across)
    area = image[high:low, near:far]
    if area.size:
        painted = area.copy()
        cv2.fillPoly(painted, [shape - np.array([near, high], np.int32)], colour)
        cv2.addWeighted(painted, share, area, 1 - share, 0, dst=area)


def relight(colour: Colour, factor: float) -> Colour:
    """The colour, brighter or darker."""
    red, green, blue = (min(255.0, part * factor) for part in colour)
    return red, green, blue


def pick_shades(colour: Colour, random: Generator) -> tuple[Colour, Colour]:
    """Random shades of the colour for the top and the bottom of an object."""
    return relight(colour, random.uniform(0.8, 1.15)), relight(colour, random.uniform(0.8, 1.15))


def pick_colour(random: Generator, hue: tuple[int, int], saturation: tuple[int, int], value: tuple[int, int]) -> Colour:
    """A random colour within these ranges, in OpenCV's units."""
    pixel = np.array([[[random.integers(*hue), random.integers(*saturation), random.integers(*value)]]], np.uint8)
    red, green, blue = (float(part) for part in cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0])
    return red, green, blue


def draw_leaves(image: Image, middle: tuple[float, float], radius: float, random: Generator) -> None:
    """A cluster of leaves, lighter towards its top."""
    leaf = pick_colour(random, (28, 58), (70, 170), (70, 180))
    for _ in range(16):
        angle, away = random.uniform(0, 2 * np.pi), radius * random.uniform(0, 0.75)
        place = int(middle[0] + away * np.cos(angle)), int(middle[1] + away * np.sin(angle))
        light = 0.95 - 0.3 * away / radius * np.sin(angle) + random.uniform(-0.1, 0.1)
        cv2.circle(image, place, int(radius * random.uniform(0.25, 0.45)), relight(leaf, light), -1)


def add_grain(area: Image, random: Generator, strength: float) -> None:
    """The uneven texture of asphalt, leaves and plaster."""
    height, width = area.shape[:2]
    coarse = random.normal(128, strength, (max(1, height // 8), width // 8)).astype(np.uint8)
    grain = cv2.merge([cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)] * 3)
    area[:] = cv2.addWeighted(area, 1, grain, 1, -128)
