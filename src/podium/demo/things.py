"""Objects in a street other than cars. They are drawn in metres from their foot, which is (0, 0)."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from podium.demo.canvas import Colour, draw_leaves, pick_colour, relight
from podium.demo.car import any_paint
from podium.demo.houses import draw_poster
from podium.demo.view import Spot

_WHITE: Colour = (236, 236, 232)
_IRON: Colour = (58, 60, 64)
_RED: Colour = (196, 34, 38)


@dataclass(frozen=True)
class Thing:
    """The size of an object in metres, and how it is drawn."""

    draw: Callable[[Spot, Generator], None]
    half: float  # half its width
    height: float
    solid: float = 0.7  # the share of its width that casts a shadow


def draw_thing(spot: Spot, thing: Thing, random: Generator) -> None:
    """Draw the object and its shadow."""
    spot.shade(thing.solid * thing.half, 0.5 * min(thing.height, 2.0))
    thing.draw(spot, random)


# ---------------------------------------------------------------- slender objects


def _lamp_post(spot: Spot, random: Generator) -> None:
    tone, high = pick_colour(random, (60, 130), (5, 90), (45, 150)), random.uniform(4.2, 6.0)
    spot.block(-0.07, 0.07, 0, high, tone)
    spot.block(-0.14, 0.14, 0, 0.7, relight(tone, 0.8))
    if random.random() < 0.5:
        side = 1.0 if random.random() < 0.5 else -1.0
        spot.line([(0, high), (0.4 * side, high + 0.25), (1.3 * side, high + 0.3)], tone, 0.1)
        spot.line([(0.9 * side, high + 0.24), (1.5 * side, high + 0.24)], (240, 236, 205), 0.16)
    else:
        spot.disc(0, high + 0.15, 0.28, (240, 236, 210))
        spot.block(-0.2, 0.2, high + 0.3, high + 0.42, tone)


def _sign(spot: Spot, random: Generator) -> None:
    """A road sign of one of five kinds."""
    high = random.uniform(2.1, 2.7)
    spot.block(-0.04, 0.04, 0, high, (140, 142, 146))
    kind = int(random.integers(5))
    if kind == 0:
        spot.disc(0, high, 0.36, _RED)
        spot.disc(0, high, 0.26, _WHITE)
    elif kind == 1:
        spot.area([(-0.42, high - 0.3), (0.42, high - 0.3), (0, high + 0.42)], _RED)
        spot.area([(-0.25, high - 0.2), (0.25, high - 0.2), (0, high + 0.2)], _WHITE)
    elif kind == 2:
        spot.block(-0.34, 0.34, high - 0.34, high + 0.34, (32, 84, 170))
        spot.block(-0.1, 0.1, high - 0.22, high + 0.22, _WHITE)
    elif kind == 3:
        spot.disc(0, high, 0.37, _RED)
        spot.block(-0.26, 0.26, high - 0.07, high + 0.07, _WHITE)
    else:
        spot.area([(-0.1, high - 0.2), (0.7, high - 0.2), (0.9, high), (0.7, high + 0.2), (-0.1, high + 0.2)], _WHITE)
        spot.line([(0.05, high), (0.6, high)], _IRON, 0.1)


def _traffic_light(spot: Spot, random: Generator) -> None:
    spot.block(-0.06, 0.06, 0, 2.4, _IRON)
    spot.block(-0.18, 0.18, 2.2, 3.2, (34, 36, 36))
    lamps = ((2.4, (40, 210, 90)), (2.7, (240, 180, 40)), (3.0, (235, 45, 40)))
    shining = int(random.integers(3))
    for index, (y, colour) in enumerate(lamps):
        spot.disc(0, y, 0.11, colour if index == shining else relight(colour, 0.3))


def _person(spot: Spot, random: Generator) -> None:
    tall, stride = random.uniform(1.5, 1.9), random.uniform(0.05, 0.28)
    skin = relight((228, 184, 150), random.uniform(0.45, 1.05))
    coat, legs = (
        pick_colour(random, (0, 180), (20, 220), (50, 235)),
        pick_colour(random, (95, 125), (10, 150), (35, 130)),
    )
    hip, shoulder = 0.48 * tall, 0.82 * tall
    for foot in (-stride, stride):
        spot.line([(0, hip), (foot, 0.03)], legs, 0.17)
    spot.area([(-0.2, hip - 0.1), (0.2, hip - 0.1), (0.23, shoulder), (-0.23, shoulder)], coat)
    for hand in (-0.3, 0.32):
        spot.line([(0.8 * hand, shoulder - 0.06), (hand, hip + 0.02)], relight(coat, 0.8), 0.12)
    spot.disc(0, tall - 0.13, 0.15, skin)
    if random.random() < 0.8:
        hair = relight((120, 84, 52), random.uniform(0.2, 1.3))
        spot.block(-0.14, 0.14, tall - 0.08, tall + 0.03, hair)
    if random.random() < 0.35:
        spot.block(0.26, 0.52, hip - 0.35, hip, pick_colour(random, (0, 180), (30, 220), (60, 220)))


def _tree(spot: Spot, random: Generator) -> None:
    radius, trunk = random.uniform(0.9, 1.7), random.uniform(1.9, 2.8)
    spot.ground_ellipse(spot.sun * trunk, radius, (20, 26, 24), 0.3)
    bark = relight((98, 76, 58), random.uniform(0.6, 1.2))
    spot.area([(-0.16, 0), (0.16, 0), (0.09, trunk + radius), (-0.09, trunk + radius)], bark)
    draw_leaves(spot.image, spot.place(0, trunk + 0.8 * radius), radius * spot.scale, random)


def _cone(spot: Spot, random: Generator) -> None:
    orange = 236.0, random.uniform(84, 120), 30.0
    spot.block(-0.24, 0.24, 0, 0.07, relight(orange, 0.7))
    spot.area([(-0.17, 0.05), (0.17, 0.05), (0.04, 0.7), (-0.04, 0.7)], orange)
    spot.block(-0.1, 0.1, 0.3, 0.44, _WHITE)


def _bollards(spot: Spot, random: Generator) -> None:
    tone = pick_colour(random, (0, 180), (10, 200), (40, 220))
    for x in (-1.2, 0.0, 1.2):
        spot.ground_ellipse(x + 0.25 * spot.sun, 0.3, (20, 22, 30), 0.35)
        spot.block(x - 0.09, x + 0.09, 0, 0.85, tone)
        spot.disc(x, 0.87, 0.1, relight(tone, 1.2))
        spot.block(x - 0.09, x + 0.09, 0.6, 0.7, _WHITE)


# ---------------------------------------------------------------- furniture


def _bin(spot: Spot, random: Generator) -> None:
    """One or two, with lids."""
    for x in (-0.4, 0.4)[: int(random.integers(1, 3))]:
        tone = pick_colour(random, (0, 130), (40, 210), (50, 180))
        spot.area([(x - 0.28, 0.03), (x + 0.28, 0.03), (x + 0.34, 1.0), (x - 0.34, 1.0)], tone)
        spot.block(x - 0.37, x + 0.37, 0.98, 1.1, relight(tone, 0.7))
        spot.block(x - 0.12, x + 0.12, 0.45, 0.7, relight(tone, 1.3))


def _bench(spot: Spot, random: Generator) -> None:
    wood = pick_colour(random, (5, 25), (70, 180), (80, 190))
    for x in (-0.75, 0.75):
        spot.block(x - 0.05, x + 0.05, 0, 0.9, _IRON)
    for y in (0.42, 0.66, 0.84):
        spot.block(-0.95, 0.95, y - 0.06, y + 0.06, relight(wood, 0.85 + 0.3 * (y - 0.42)))


def _bicycle(spot: Spot, random: Generator) -> None:
    frame = pick_colour(random, (0, 180), (80, 230), (70, 230))
    for x in (-0.54, 0.54):
        spot.ring(x, 0.34, 0.31, (30, 30, 32), 0.06)
    spot.line([(-0.54, 0.34), (-0.2, 0.8), (0.36, 0.8), (-0.05, 0.34), (-0.54, 0.34)], frame, 0.06)
    spot.line([(-0.05, 0.34), (-0.22, 0.92)], frame, 0.05)
    spot.line([(0.54, 0.34), (0.34, 1.0), (0.5, 1.05)], frame, 0.05)
    spot.line([(-0.36, 0.95), (-0.1, 0.95)], (34, 30, 28), 0.09)


def _cyclist(spot: Spot, random: Generator) -> None:
    _bicycle(spot, random)
    coat = pick_colour(random, (0, 180), (60, 230), (80, 235))
    spot.line([(-0.2, 0.95), (0.12, 0.75), (0.0, 0.3)], (50, 54, 78), 0.16)
    spot.line([(-0.2, 0.95), (0.02, 1.45)], coat, 0.34)
    spot.line([(0.05, 1.4), (0.4, 1.05)], coat, 0.12)
    spot.disc(0.12, 1.68, 0.14, (220, 178, 146))
    spot.area([(-0.06, 1.72), (0.3, 1.72), (0.2, 1.86), (0.02, 1.86)], relight(coat, 0.6))


def _planter(spot: Spot, random: Generator) -> None:
    """A trough of flowers."""
    stone, bloom = (
        pick_colour(random, (5, 30), (5, 110), (100, 220)),
        pick_colour(random, (0, 180), (120, 240), (160, 250)),
    )
    draw_leaves(spot.image, spot.place(-0.4, 0.6), 0.45 * spot.scale, random)
    draw_leaves(spot.image, spot.place(0.4, 0.6), 0.45 * spot.scale, random)
    for x, y in random.uniform((-0.7, 0.6), (0.7, 1.0), (7, 2)):
        spot.disc(x, y, 0.07, bloom)
    spot.area([(-0.8, 0), (0.8, 0), (0.9, 0.55), (-0.9, 0.55)], stone)
    spot.block(-0.92, 0.92, 0.48, 0.6, relight(stone, 1.15))


def _cabinet(spot: Spot, random: Generator) -> None:
    """A letter box, a power cabinet or a parcel station."""
    tone = pick_colour(random, (0, 180), (20, 210), (80, 220))
    spot.front(-0.55, 0.55, 0, 1.35, tone, random)
    spot.block(-0.62, 0.62, 1.3, 1.42, relight(tone, 0.7))
    spot.line([(0, 0.1), (0, 1.25)], relight(tone, 0.65), 0.05)
    spot.block(-0.4, -0.12, 0.9, 1.05, _WHITE)


def _tyres(spot: Spot, random: Generator) -> None:
    """A pile of tyres, round and dark like wheels."""
    for x, y in ((-0.36, 0.32), (0.36, 0.32), (0.0, 0.86))[: int(random.integers(2, 4))]:
        spot.disc(x, y, 0.33, (30, 30, 32))
        spot.disc(x, y, 0.16, (96, 92, 88))


def _column(spot: Spot, random: Generator) -> None:
    """An advertising column with posters."""
    spot.front(-0.65, 0.65, 0, 3.0, (190, 186, 170), random)
    for low in (0.5, 1.4, 2.2):
        left = random.uniform(-0.6, -0.2)
        draw_poster(spot, (left, left + random.uniform(0.6, 0.8), low, low + 0.7), random)
    spot.area([(-0.75, 3.0), (0.75, 3.0), (0.3, 3.4), (-0.3, 3.4)], (60, 84, 70))


def _table(spot: Spot, random: Generator) -> None:
    """A café table with a parasol."""
    cloth = pick_colour(random, (0, 180), (90, 230), (130, 240))
    spot.block(-0.04, 0.04, 0, 2.3, (200, 196, 186))
    spot.block(-0.5, 0.5, 0.7, 0.78, _WHITE)
    for x in (-0.75, 0.75):
        spot.line([(x, 0), (x, 0.45), (0.6 * x, 0.45), (0.6 * x, 0)], _IRON, 0.06)
        spot.line([(x, 0.45), (1.1 * x, 0.9)], _IRON, 0.06)
    spot.area([(-1.3, 2.05), (1.3, 2.05), (0, 2.7)], cloth)
    spot.area([(-0.45, 2.05), (0.45, 2.05), (0, 2.7)], _WHITE)


# ---------------------------------------------------------------- as large as a car, in the colours of cars


def _skip(spot: Spot, random: Generator) -> None:
    """A steel container for rubble."""
    paint, half = any_paint(random), random.uniform(1.4, 1.9)
    for _ in range(5):
        rubble = relight((150, 132, 112), random.uniform(0.5, 1.2))
        spot.disc(random.uniform(-0.7, 0.7) * half, 1.3, random.uniform(0.15, 0.4), rubble)
    spot.area([(-0.6 * half, 0.05), (0.6 * half, 0.05), (half, 1.35), (-half, 1.35)], paint)
    spot.block(-half, half, 1.25, 1.42, relight(paint, 0.75))
    for x in (-0.4, 0.0, 0.4):
        spot.line([(x * half, 0.1), (1.3 * x * half, 1.25)], relight(paint, 0.8), 0.09)


def _stall(spot: Spot, random: Generator) -> None:
    """A market stall: a counter with fruit under a striped roof."""
    paint, half = any_paint(random), random.uniform(1.3, 2.0)
    for x in (-half, half):
        spot.block(x - 0.05, x + 0.05, 0, 2.3, (126, 96, 70))
    spot.block(-half, half, 0.1, 0.9, pick_colour(random, (5, 25), (60, 160), (90, 190)))
    for x in np.arange(-half + 0.2, half - 0.1, 0.3):
        spot.disc(x, 0.98, 0.14, pick_colour(random, (0, 60), (130, 240), (130, 240)))
    edges = np.linspace(-half - 0.2, half + 0.2, 9)
    for index, (left, right) in enumerate(pairwise(edges)):
        spot.area([(left, 2.0), (right, 2.0), (0.85 * right, 2.7), (0.85 * left, 2.7)], (paint, _WHITE)[index % 2])


def _shelter(spot: Spot, random: Generator) -> None:
    """A bus shelter."""
    tone, half = any_paint(random), random.uniform(1.6, 2.1)
    spot.front(-half, half, 0.25, 2.2, (150, 168, 178), random)
    draw_poster(spot, (half - 1.15, half - 0.1, 0.4, 2.0), random)
    spot.block(-half + 0.3, half - 1.5, 0.42, 0.54, (120, 90, 62))
    for x in (-half, -0.2, half):
        spot.block(x - 0.06, x + 0.06, 0, 2.3, tone)
    spot.block(-half - 0.25, half + 0.25, 2.2, 2.45, tone)


def _board(spot: Spot, random: Generator) -> None:
    """A billboard on two legs."""
    half, low = random.uniform(1.4, 2.2), random.uniform(0.5, 1.3)
    for x in (-0.7 * half, 0.7 * half):
        spot.block(x - 0.08, x + 0.08, 0, low, _IRON)
    draw_poster(spot, (-half, half, low, low + random.uniform(1.2, 1.8)), random)


def _crates(spot: Spot, random: Generator) -> None:
    """A pile of boxes."""
    for level, count in enumerate(((3, 3, 2), (4, 2, 1), (3, 2, 0))[int(random.integers(3))]):
        for index in range(count):
            tone, x = any_paint(random), (index - 0.5 * count) * 0.95
            spot.block(x, x + 0.9, 0.62 * level, 0.62 * level + 0.58, tone)
            spot.line([(x + 0.05, 0.62 * level + 0.05), (x + 0.85, 0.62 * level + 0.53)], relight(tone, 0.7), 0.06)


def _bushes(spot: Spot, random: Generator) -> None:
    for x in (-1.1, 0.0, 1.1):
        draw_leaves(spot.image, spot.place(x, 0.5), random.uniform(0.6, 0.9) * spot.scale, random)


def _barrier(spot: Spot, random: Generator) -> None:
    """A barrier around roadworks."""
    for x in (-1.1, 1.1):
        spot.block(x - 0.05, x + 0.05, 0, 1.0, (120, 120, 122))
    for low in (0.35, 0.75):
        spot.block(-1.4, 1.4, low, low + 0.2, _WHITE)
        for x in np.arange(-1.4, 1.2, 0.5):
            spot.area([(x, low), (x + 0.22, low), (x + 0.3, low + 0.2), (x + 0.08, low + 0.2)], _RED)


def _tent(spot: Spot, random: Generator) -> None:
    """A tent, as for roadworks or a fair."""
    paint, half = any_paint(random), random.uniform(1.3, 1.8)
    high = random.uniform(1.5, 1.8)
    spot.front(-half, half, 0, high, paint, random)
    spot.area([(-half - 0.15, high), (half + 0.15, high), (0.4 * half, high + 0.8), (-0.4 * half, high + 0.8)], paint)
    spot.area([(-0.35, 0), (0.35, 0), (0, high)], relight(paint, 0.45))
    spot.line([(-half - 0.15, high), (half + 0.15, high)], relight(paint, 0.7), 0.08)


# fmt: off
SLENDER = (
    Thing(_lamp_post, 1.6, 6.4, 0.05), Thing(_sign, 0.9, 3.1, 0.07), Thing(_traffic_light, 0.3, 3.2, 0.3),
    Thing(_tree, 1.7, 5.5, 0.1),
)
PEOPLE = (
    Thing(_person, 0.5, 1.9), Thing(_person, 0.5, 1.9), Thing(_person, 0.5, 1.9), Thing(_bicycle, 0.9, 1.1),
    Thing(_cyclist, 0.9, 1.9),
)
FURNITURE = (
    Thing(_bin, 0.8, 1.1), Thing(_bench, 1.0, 0.9), Thing(_planter, 1.0, 1.1), Thing(_cabinet, 0.7, 1.4),
    Thing(_tyres, 0.7, 1.2), Thing(_column, 0.8, 3.4), Thing(_table, 1.3, 2.7), Thing(_bollards, 1.4, 1.0, 0.0),
)
LARGE = (
    Thing(_skip, 2.0, 1.7), Thing(_stall, 2.3, 2.7), Thing(_shelter, 2.4, 2.5), Thing(_board, 2.3, 3.1),
    Thing(_crates, 2.0, 1.9), Thing(_bushes, 1.9, 1.5), Thing(_tent, 2.0, 2.6),
)
ON_ROAD = (
    Thing(_cone, 0.3, 0.7), Thing(_barrier, 1.5, 1.0), Thing(_person, 0.5, 1.9), Thing(_cyclist, 0.9, 1.9),
    Thing(_cone, 0.3, 0.7), Thing(_skip, 2.0, 1.7),
)
# fmt: on
