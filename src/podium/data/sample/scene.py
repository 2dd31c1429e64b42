"""One picture of one car, drawn: a body type, a scene around it, cover in front of it, light, a camera's faults.

Everything is drawn larger than the picture and then shrunk, which makes the edges smooth.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from podium.data.sample.canvas import Box, Brush, Picture, fill, fill_block, find_box, pick_colour, pick_shades, relight
from podium.data.sample.car import BODIES, draw_body, park_car, place_car, vary_body

_OVERSIZE = 3


@dataclass(frozen=True)
class Drawing:
    """A picture in RGB, the car's box in shares of it (x from, x to, y from, y to), and if something covers the car."""

    picture: Picture
    box: tuple[float, float, float, float]
    covered: bool


def draw_car(kind: int, random: Generator, size: tuple[int, int] | None = None) -> Drawing:
    """One picture of the body type BODIES[kind]; whatever else there is to see does not depend on the type.

    Without a size (width, height) each picture has one of its own, about 144×108.
    """
    width, height = size or (int(random.integers(128, 161)), int(random.integers(96, 121)))
    image = np.zeros((height * _OVERSIZE, width * _OVERSIZE, 3), np.uint8)
    body = vary_body(BODIES[kind], random)
    pose = park_car(body, image, random)
    _draw_scene(image, pose.ground, random)
    left, top, across, down = box = find_box(draw_body(Brush(image, pose), body, random))
    covered = bool(random.random() < 0.45)
    if covered:
        cover = (_cover_pole, _cover_bush, _cover_railing, _cover_neighbour)[int(random.integers(4))]
        cover(Brush(image, pose), box, random)
    picture = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    full_height, full_width = image.shape[:2]
    shares = (left / full_width, (left + across) / full_width, top / full_height, (top + down) / full_height)
    return Drawing(_photograph(picture, random), shares, covered)


# ---------------------------------------------------------------- the scene


def _draw_scene(image: Picture, ground: float, random: Generator) -> None:
    """Sky, what stands behind the car, and the road it stands on."""
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
    _add_grain(image[:horizon], random, 3)
    _add_grain(image[horizon:], random, random.uniform(2, 6))


def _draw_houses(image: Picture, horizon: int, random: Generator) -> None:
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


def _draw_trees(image: Picture, horizon: int, random: Generator) -> None:
    width = image.shape[1]
    for _ in range(int(random.integers(3, 9))):
        x, radius = int(random.uniform(0, width)), random.uniform(0.06, 0.16) * width
        top = int(horizon - random.uniform(0.8, 2.2) * radius)
        cv2.rectangle(image, (x - 5, top), (x + 5, horizon), (82, 62, 46), -1)
        _draw_leaves(image, (x, top), radius, random)


def _draw_leaves(image: Picture, middle: tuple[float, float], radius: float, random: Generator) -> None:
    """A heap of leaves, lighter towards its top."""
    leaf = pick_colour(random, (28, 58), (70, 170), (70, 180))
    for _ in range(16):
        angle, away = random.uniform(0, 2 * np.pi), radius * random.uniform(0, 0.75)
        place = int(middle[0] + away * np.cos(angle)), int(middle[1] + away * np.sin(angle))
        light = 0.95 - 0.3 * away / radius * np.sin(angle) + random.uniform(-0.1, 0.1)
        cv2.circle(image, place, int(radius * random.uniform(0.25, 0.45)), relight(leaf, light), -1)


def _draw_wall(image: Picture, horizon: int, random: Generator) -> None:
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


def _draw_hills(image: Picture, horizon: int, random: Generator) -> None:
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


def _add_distance(area: Picture, random: Generator) -> None:
    """Haze, and a lens that is focused on the car."""
    haze, soft = random.uniform(0.25, 0.55), int(random.integers(3, 11))
    area[:] = cv2.addWeighted(cv2.blur(area, (soft, soft)), 1 - haze, area, 0, haze * random.uniform(185, 235))


def _add_grain(area: Picture, random: Generator, strength: float) -> None:
    """The patchiness of asphalt, leaves and plaster."""
    height, width = area.shape[:2]
    coarse = random.normal(128, strength, (max(1, height // 8), width // 8)).astype(np.uint8)
    grain = cv2.merge([cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)] * 3)
    area[:] = cv2.addWeighted(area, 1, grain, 1, -128)


# ---------------------------------------------------------------- cover: never so much that the type could not be told


def _cover_pole(brush: Brush, box: Box, random: Generator) -> None:
    left, top, across, down = box
    x, half = left + random.uniform(0, 1) * across, across * random.uniform(0.01, 0.03)
    tone = pick_colour(random, (0, 180), (0, 90), (50, 190))
    foot = top + down * random.uniform(1.03, 1.2)
    fill_block(brush.image, (x - half, 0, x + half, foot), tone, relight(tone, 0.7))


def _cover_bush(brush: Brush, box: Box, random: Generator) -> None:
    left, top, across, down = box
    radius = across * random.uniform(0.09, 0.14)
    x = left + across * random.choice([0.0, 1.0]) + random.uniform(-0.4, 0.4) * radius
    for shift in (-0.6, 0.0, 0.6):
        place = x + shift * radius, top + down * random.uniform(0.85, 1.0)
        _draw_leaves(brush.image, place, radius, random)


def _cover_railing(brush: Brush, box: Box, random: Generator) -> None:
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


def _cover_neighbour(brush: Brush, box: Box, random: Generator) -> None:
    """The end of another car, of any type, parked a little nearer to the camera."""
    left, top, across, down = box
    other = vary_body(BODIES[int(random.integers(len(BODIES)))], random)
    scale = brush.pose.scale * random.uniform(1.0, 1.12)
    overlap, half = across * random.uniform(0.03, 0.11), 0.5 * other.length * scale
    middle = left + overlap - half if random.random() < 0.5 else left + across - overlap + half
    pose = place_car(other, scale, middle, top + down * random.uniform(1.0, 1.05), random)
    draw_body(Brush(brush.image, pose), other, random)


# ---------------------------------------------------------------- the camera


def _photograph(picture: Picture, random: Generator) -> Picture:
    """Light, a shadow across, the lens and the sensor."""
    height, width = picture.shape[:2]
    seen = picture.astype(np.float32)
    if random.random() < 0.35:
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
