"""The perspective of a street: objects lower in the image are nearer and larger.

Rows and columns are those of the canvas; metres are measured to the right of and up from a spot on the ground.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from podium.demo.canvas import Colour, Image, fill_block, pick_shades, tint

_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 24)), np.sin(np.linspace(0, 2 * np.pi, 24))], axis=1)


@dataclass(frozen=True)
class Spot:
    """A place on the ground, and a brush that draws there in metres."""

    image: Image
    column: float
    row: float
    scale: float  # pixels per metre
    flat: float  # the ratio of depth to width for things flat on the ground
    sun: float  # how far to the right a shadow falls, per metre of height

    def place(self, x: float, y: float) -> tuple[int, int]:
        return round(self.column + x * self.scale), round(self.row - y * self.scale)

    def thick(self, metres: float) -> int:
        return max(1, round(metres * self.scale))

    def block(self, left: float, right: float, low: float, high: float, colour: Colour) -> None:
        cv2.rectangle(self.image, self.place(left, high), self.place(right, low), colour, -1)

    def front(self, left: float, right: float, low: float, high: float, colour: Colour, random: Generator) -> None:
        """A block with a gradient between two shades of the colour."""
        corners = (*self.place(left, high), *self.place(right, low))
        fill_block(self.image, corners, *pick_shades(colour, random))

    def area(self, points: Sequence[tuple[float, float]], colour: Colour) -> None:
        cv2.fillPoly(self.image, [np.array([self.place(x, y) for x, y in points], np.int32)], colour)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, thick: float) -> None:
        places = np.array([self.place(x, y) for x, y in points], np.int32)
        cv2.polylines(self.image, [places], False, colour, self.thick(thick))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        cv2.circle(self.image, self.place(x, y), self.thick(radius), colour, -1)

    def ring(self, x: float, y: float, radius: float, colour: Colour, thick: float) -> None:
        cv2.circle(self.image, self.place(x, y), self.thick(radius), colour, self.thick(thick))

    def ground_ellipse(self, x: float, half: float, colour: Colour, share: float) -> None:
        """An ellipse on the ground, such as a puddle or the shadow of a tree."""
        radius = np.array([half, half * self.flat]) * self.scale
        tint(self.image, np.array([self.column + x * self.scale, self.row]) + _CIRCLE * radius, colour, share)

    def shade(self, half: float, height: float) -> None:
        """The shadow of an object of this half width and height."""
        fall, depth = self.sun * height, max(0.12, 0.5 * half)
        corners = [(-half, -1), (half, -1), (half + fall, 1), (fall - half, 1)]
        tint(self.image, [self._on_ground(x, depth * side) for x, side in corners], (20, 22, 30), 0.35)

    def _on_ground(self, x: float, away: float) -> tuple[float, float]:
        return self.column + x * self.scale, self.row - away * self.flat * self.scale


@dataclass(frozen=True)
class View:
    """The camera, which determines the size of everything."""

    image: Image
    horizon: float  # the row of the horizon
    camera: float  # its height above the ground, in metres
    middle: float  # the column that the camera looks at
    sun: float

    @property
    def focal(self) -> float:
        """Pixels per metre at a distance of one metre."""
        return 1.2 * self.image.shape[1]

    def scale(self, row: float) -> float:
        return (row - self.horizon) / self.camera

    def beyond(self, row: float, metres: float) -> float:
        """The row `metres` farther from the camera; nearer if negative."""
        distance = max(self.focal / self.scale(row) + metres, 0.8 * self.camera)
        return self.horizon + self.camera * self.focal / distance

    def spot(self, column: float, row: float) -> Spot:
        scale = self.scale(row)
        return Spot(self.image, column, row, scale, min(0.9, self.camera * scale / self.focal), self.sun)

    def ground_rectangle(
        self, left: float, right: float, far: float, near: float, colour: Colour, share: float = 1.0
    ) -> None:
        """A rectangle on the ground between two rows; left and right are metres from the middle."""
        corners = [(left, far), (right, far), (right, near), (left, near)]
        points = [(self.middle + x * self.scale(row), row) for x, row in corners]
        if share == 1.0:
            cv2.fillPoly(self.image, [np.array(points, np.int32)], colour)
        else:
            tint(self.image, points, colour, share)

    def reach(self, row: float) -> float:
        """The width of the image in metres at this row."""
        return self.image.shape[1] / self.scale(row)
