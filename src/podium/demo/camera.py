"""From the canvas to the image: scaled down for smooth edges, then lighting, blur and noise."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from podium.demo.canvas import Box, Image

_OVERSIZE = 3


@dataclass(frozen=True)
class Drawing:
    """An RGB image, the relative box of the car (left, right, top, bottom), and whether the car is partly covered."""

    image: Image
    box: tuple[float, float, float, float]
    covered: bool


def make_canvas(width: int, height: int) -> Image:
    """The canvas for an image of this size."""
    return np.zeros((height * _OVERSIZE, width * _OVERSIZE, 3), np.uint8)


def photograph(canvas_pixels: Image, box: Box, covered: bool, random: Generator, shadow: float = 0.35) -> Drawing:
    """The image of a canvas with the box of its car; `shadow` is the probability of a shadow across the image."""
    height, width = canvas_pixels.shape[:2]
    left, top, across, down = box
    size = width // _OVERSIZE, height // _OVERSIZE
    image = cv2.resize(canvas_pixels, size, interpolation=cv2.INTER_AREA)
    shares = (left / width, (left + across) / width, top / height, (top + down) / height)
    return Drawing(_photograph(image, random, shadow), shares, covered)


def _photograph(image: Image, random: Generator, shadow: float) -> Image:
    """Shadow, lighting, lens blur and sensor noise."""
    height, width = image.shape[:2]
    seen = image.astype(np.float32)
    if random.random() < shadow:
        shade = np.zeros((height, width), np.float32)
        top, bottom = random.uniform(-0.2, 1.2, 2) * width
        side = 0 if random.random() < 0.5 else width
        cv2.fillPoly(shade, [np.array([(side, 0), (top, 0), (bottom, height), (side, height)], np.int32)], 1.0)
        seen *= 1 - random.uniform(0.15, 0.40) * cv2.GaussianBlur(shade, (0, 0), random.uniform(1, 6))[:, :, None]
    contrast, light = random.uniform(0.85, 1.2), random.uniform(0.9, 1.25)
    tint = random.uniform(0.92, 1.08, 3).astype(np.float32)
    seen = ((seen - 128) * contrast + 128) * light * tint
    if random.random() < 0.5:
        seen = cv2.GaussianBlur(seen, (0, 0), random.uniform(0.3, 0.7))
    seen += random.uniform(1, 6) * random.standard_normal(seen.shape, dtype=np.float32)
    return np.asarray(np.clip(seen, 0, 255), np.uint8)
