"""A portrait of a car: the car fills the image, with a background and objects in front of it."""

import cv2
import numpy as np
from numpy.random import Generator

from podium.demo.camera import Drawing, make_canvas, photograph
from podium.demo.canvas import (
    Brush,
    Image,
    add_grain,
    draw_leaves,
    fill,
    fill_block,
    find_box,
    pick_colour,
    pick_shades,
    relight,
)
from podium.demo.car import BODIES, draw_body, park_car, vary_body
from podium.demo.cover import cover_bush, cover_neighbour, cover_pole, cover_railing


def draw_car(kind: int, random: Generator, size: tuple[int, int] | None = None) -> Drawing:
    """An image with a car of the body type BODIES[kind]. Nothing but the car depends on the type.

    `size` is (width, height); by default it varies around 144×108.
    """
    width, height = size or (int(random.integers(128, 161)), int(random.integers(96, 121)))
    image = make_canvas(width, height)
    body = vary_body(BODIES[kind], random)
    pose = park_car(body, image, random)
    _draw_scene(image, pose.ground, random)
    box = find_box(draw_body(Brush(image, pose), body, random))
    covered = bool(random.random() < 0.45)
    if covered:
        cover = (cover_pole, cover_bush, cover_railing, cover_neighbour)[int(random.integers(4))]
        cover(Brush(image, pose), box, random)
    return photograph(image, box, covered, random)


def _draw_scene(image: Image, ground: float, random: Generator) -> None:
    """The sky, a backdrop, and the road."""
    height, width = image.shape[:2]
    horizon = int(ground - random.uniform(0.06, 0.30) * height)
    sky = pick_colour(random, (95, 120), (0, 120), (170, 250))
    fill_block(image, (0, 0, width, horizon), *pick_shades(sky, random))
    backdrop = (_draw_houses, _draw_trees, _draw_wall, _draw_hills)[int(random.integers(4))]
    backdrop(image, horizon, random)
    _add_distance(image[:horizon], random)
    kerb = horizon + int(random.uniform(0.0, 0.5) * (ground - horizon))
    grass = pick_colour(random, (35, 50), (60, 150), (70, 160))
    paving = pick_colour(random, (10, 30), (5, 50), (90, 200))
    fill_block(image, (0, horizon, width, kerb), *pick_shades(grass if random.random() < 0.5 else paving, random))
    grey = float(random.uniform(110, 180))
    fill_block(image, (0, kerb, width, height), *pick_shades((grey, grey, grey * random.uniform(0.92, 1.05)), random))
    if random.random() < 0.5:
        row = int(min(height - 4, ground + random.uniform(0.03, 0.2) * height))
        dash = int(random.uniform(0.1, 0.5) * width)
        for left in range(int(random.uniform(-0.3, 0.2) * width), width, int(dash * 1.7)):
            cv2.rectangle(image, (left, row), (left + dash, row + 6), (225, 222, 205), -1)
    add_grain(image[:horizon], random, 3)
    add_grain(image[horizon:], random, random.uniform(2, 6))


def _draw_houses(image: Image, horizon: int, random: Generator) -> None:
    width, left = image.shape[1], -int(random.integers(0, 60))
    while left < width:
        across, top = int(random.uniform(0.15, 0.5) * width), int(horizon * random.uniform(-0.1, 0.8))
        wall = pick_colour(random, (5, 30), (5, 110), (90, 235))
        fill_block(image, (left, top, left + across, horizon), *pick_shades(wall, random))
        step_x, step_y = int(random.integers(26, 50)), int(random.integers(30, 56))
        pane = relight(wall, random.uniform(0.35, 0.7))
        for x in range(left + step_x // 3, left + across - step_x // 2, step_x):
            for y in range(top + step_y // 3, horizon - step_y // 2, step_y):
                cv2.rectangle(image, (x, y), (x + step_x // 2, y + step_y // 2), pane, -1)
        left += across + int(random.choice([0, 0, 20, 60]))


def _draw_trees(image: Image, horizon: int, random: Generator) -> None:
    width = image.shape[1]
    for _ in range(int(random.integers(3, 9))):
        x, radius = int(random.uniform(0, width)), random.uniform(0.06, 0.16) * width
        top = int(horizon - random.uniform(0.8, 2.2) * radius)
        cv2.rectangle(image, (x - 5, top), (x + 5, horizon), (82, 62, 46), -1)
        draw_leaves(image, (x, top), radius, random)


def _draw_wall(image: Image, horizon: int, random: Generator) -> None:
    """Bricks, planks, or the shutters of a garage."""
    width, top = image.shape[1], int(horizon * random.uniform(-0.2, 0.6))
    plaster = pick_colour(random, (0, 180), (5, 110), (80, 230))
    fill_block(image, (0, top, width, horizon), *pick_shades(plaster, random))
    joint = relight(plaster, random.uniform(0.75, 0.95))
    kind, step = random.integers(3), int(random.integers(12, 36))
    for y in range(max(0, top), horizon, step) if kind != 1 else ():
        cv2.line(image, (0, y), (width, y), joint, 2)
    for x in range(int(random.integers(step)), width, step * 2) if kind != 2 else ():
        cv2.line(image, (x, max(0, top)), (x, horizon), joint, 2)


def _draw_hills(image: Image, horizon: int, random: Generator) -> None:
    width = image.shape[1]
    x = np.linspace(0, width, 24)
    for distance in (1.0, 0.5):
        ridge = np.full(24, 0.25)
        for _ in range(3):
            ridge += random.uniform(0.02, 0.1) * np.sin(x / width * random.uniform(2, 14) + random.uniform(0, 6))
        slope = np.column_stack([x, horizon * (1 - distance * ridge)])
        hill = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(hill, [np.vstack([slope, [(width, horizon), (0, horizon)]]).astype(np.int32)], 255)
        fill(image, hill, *pick_shades(pick_colour(random, (35, 110), (20, 110), (90, 200)), random))


def _add_distance(area: Image, random: Generator) -> None:
    """Add haze, and blur as of a lens that is focused on the car."""
    haze, soft = random.uniform(0.25, 0.55), int(random.integers(3, 11))
    area[:] = cv2.addWeighted(cv2.blur(area, (soft, soft)), 1 - haze, area, 0, haze * random.uniform(185, 235))
