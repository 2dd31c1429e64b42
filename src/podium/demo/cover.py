"""Objects in front of a car: small enough for the body type to be recognisable."""

import cv2
from numpy.random import Generator

from podium.demo.canvas import Box, Brush, draw_leaves, fill_block, pick_colour, relight
from podium.demo.car import BODIES, draw_body, place_car, vary_body


def cover_pole(brush: Brush, box: Box, random: Generator) -> None:
    left, top, across, down = box
    x, half = left + random.uniform(0, 1) * across, across * random.uniform(0.01, 0.03)
    tone = pick_colour(random, (0, 180), (0, 90), (50, 190))
    foot = top + down * random.uniform(1.03, 1.2)
    fill_block(brush.image, (x - half, 0, x + half, foot), tone, relight(tone, 0.7))


def cover_bush(brush: Brush, box: Box, random: Generator) -> None:
    left, top, across, down = box
    radius = across * random.uniform(0.09, 0.14)
    x = left + across * random.choice([0.0, 1.0]) + random.uniform(-0.4, 0.4) * radius
    for shift in (-0.6, 0.0, 0.6):
        place = x + shift * radius, top + down * random.uniform(0.85, 1.0)
        draw_leaves(brush.image, place, radius, random)


def cover_railing(brush: Brush, box: Box, random: Generator) -> None:
    _, top, across, down = box
    image, foot = brush.image, int(top + down * 1.06)
    width, tone = image.shape[1], pick_colour(random, (0, 180), (0, 60), (40, 220))
    thick = max(2, int(down * random.uniform(0.03, 0.06)))
    high, low = (int(foot - down * random.uniform(*share)) for share in ((0.32, 0.45), (0.15, 0.25)))
    for y in (high, low):
        cv2.line(image, (0, y), (width, y), tone, thick)
    step = int(across * random.uniform(0.12, 0.3))
    for x in range(int(random.integers(step)), width, step):
        cv2.line(image, (x, high), (x, foot), relight(tone, 0.85), thick)


def cover_neighbour(brush: Brush, box: Box, random: Generator) -> None:
    """The end of another car of any body type, parked closer to the camera."""
    left, top, across, down = box
    other = vary_body(BODIES[int(random.integers(len(BODIES)))], random)
    scale = brush.pose.scale * random.uniform(1.0, 1.12)
    overlap, half = across * random.uniform(0.03, 0.11), 0.5 * other.length * scale
    middle = left + overlap - half if random.random() < 0.5 else left + across - overlap + half
    pose = place_car(other, scale, middle, top + down * random.uniform(1.0, 1.05), random)
    draw_body(Brush(brush.image, pose), other, random)
