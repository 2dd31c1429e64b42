"""The background of a street: houses, shops, gardens, walls with posters, and distant buildings.

Pieces are drawn from a spot to the right, each with a given width in metres.
"""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
from numpy.random import Generator

from podium.demo.canvas import Colour, Image, draw_leaves, pick_colour, relight, tint
from podium.demo.view import Spot, View

_WHITE: Colour = (232, 230, 222)
_Piece = Callable[[Spot, float, Generator], None]


def draw_row(view: View, row: float, random: Generator) -> None:
    """Draw pieces across the whole width of the image."""
    kinds, widths = _ROWS[int(random.integers(len(_ROWS)))]
    width = view.image.shape[1]
    column = -random.uniform(0, 0.2) * width
    while column < width:
        spot, across = view.spot(column, row), random.uniform(*widths)
        kinds[int(random.integers(len(kinds)))](spot, across, random)
        column += across * spot.scale


def draw_distance(image: Image, horizon: int, random: Generator) -> Colour:
    """Draw distant roofs, towers and trees. Returns the colour of the haze."""
    width = image.shape[1]
    haze = pick_colour(random, (95, 125), (10, 60), (130, 215))
    for depth in (0.85, 1.0):
        tone, column = relight(haze, 1.3 - 0.35 * depth), -int(random.uniform(0, 0.08) * width)
        while column < width:
            across, high = int(random.uniform(0.04, 0.2) * width), int(horizon * random.uniform(0.05, 0.4) * depth)
            if random.random() < 0.4:
                cv2.circle(image, (column + across // 2, horizon), max(across // 2, high // 2), tone, -1)
            else:
                cv2.rectangle(image, (column, horizon - high), (column + across, horizon), tone, -1)
            column += across
    return haze


def draw_clouds(image: Image, horizon: int, random: Generator) -> None:
    """Draw some clouds, flat at the bottom."""
    width, white = image.shape[1], relight((255, 255, 255), random.uniform(0.85, 1.0))
    for _ in range(int(random.integers(0, 5))):
        x, low, radius = (
            random.uniform(0, width),
            random.uniform(0.1, 0.7) * horizon,
            random.uniform(0.02, 0.05) * width,
        )
        edge = [(x - 2.2 * radius, low), (x + 2.2 * radius, low)]
        for along in np.linspace(0, np.pi, 25):
            puff = radius * (1 + 0.25 * abs(np.sin(3.5 * along)))
            edge.append((x + 2.2 * puff * np.cos(along), low - puff * np.sin(along)))
        tint(image, edge, white, random.uniform(0.5, 0.85))


# ---------------------------------------------------------------- houses


def _house(spot: Spot, across: float, random: Generator) -> None:
    """One to four floors with a roof, and a shop or a door on the ground floor."""
    floors, storey = int(random.choice([1, 2, 2, 3, 4])), random.uniform(2.7, 3.2)
    wall = pick_colour(random, (3, 30), (10, 130), (95, 240))
    if random.random() < 0.25:
        wall = pick_colour(random, (0, 180), (20, 80), (140, 235))
    eaves = floors * storey + 0.3
    spot.front(0, across, 0, eaves, wall, random)
    if random.random() < 0.35:
        for y in np.arange(0.3, eaves, 0.42):
            spot.line([(0, y), (across, y)], relight(wall, 0.88), 0.05)
    _roof(spot, across, eaves, random)
    spot.block(0, across, 0, random.uniform(0.2, 0.6), relight(wall, 0.65))
    shop = random.random() < 0.45
    (_shop if shop else _entrance)(spot, across, storey, random)
    _windows(spot, across, (storey, floors), wall, random)


def _roof(spot: Spot, across: float, eaves: float, random: Generator) -> None:
    tiles = pick_colour(random, (0, 18), (30, 160), (60, 170))
    high = eaves + random.uniform(1.2, 3.2)
    kind = int(random.integers(3))
    if kind == 0:  # flat, with its edge
        spot.block(-0.1, across + 0.1, eaves - 0.1, eaves + 0.35, relight(tiles, 1.2))
        return
    chimney = across * random.uniform(0.15, 0.8)
    spot.block(chimney, chimney + 0.7, eaves, high + 0.6, relight(tiles, 0.7))
    ridge = (0.5, 0.5) if kind == 1 else (0.15, 0.85)
    spot.area([(-0.4, eaves - 0.1), (ridge[0] * across, high), (ridge[1] * across, high), (across + 0.4, eaves)], tiles)
    spot.line([(-0.4, eaves - 0.05), (across + 0.4, eaves - 0.05)], relight(tiles, 0.6), 0.14)


def _windows(spot: Spot, across: float, floors: tuple[float, int], wall: Colour, random: Generator) -> None:
    """The same windows on every floor except the ground floor."""
    storey, count = floors
    pitch, wide, high = random.uniform(1.9, 3.2), random.uniform(0.8, 1.3), random.uniform(1.1, 1.7)
    frame = _WHITE if random.random() < 0.6 else relight(wall, 0.5)
    shutters = pick_colour(random, (0, 130), (60, 200), (60, 160)) if random.random() < 0.3 else None
    number = max(1, int((across - 0.8) / pitch))
    for floor in range(1, count):
        low = floor * storey + 0.8
        for x in (np.arange(number) + 0.5) * across / number - 0.5 * wide:
            if shutters:
                spot.block(x - 0.4, x + wide + 0.4, low, low + high, shutters)
            _window(spot, (x, x + wide, low, low + high), frame, random)


def _window(spot: Spot, sides: tuple[float, float, float, float], frame: Colour, random: Generator) -> None:
    left, right, low, high = sides
    spot.block(left - 0.1, right + 0.1, low - 0.1, high + 0.1, frame)
    lit = random.random() < 0.08
    tone = random.uniform(35, 120)
    spot.block(left, right, low, high, (235, 205, 130) if lit else (tone * 0.85, tone, tone * 1.12))
    middle = 0.5 * (left + right)
    spot.line([(middle, low), (middle, high)], frame, 0.08)


def _entrance(spot: Spot, across: float, storey: float, random: Generator) -> None:
    """A door and windows next to it."""
    wood = pick_colour(random, (0, 180), (60, 220), (60, 190))
    x = across * random.uniform(0.1, 0.7)
    spot.block(x - 0.12, x + 1.12, 0, 2.25, _WHITE)
    spot.block(x, x + 1.0, 0, 2.1, wood)
    spot.block(x + 0.15, x + 0.85, 1.2, 1.9, relight(wood, 0.6))
    for left in np.arange(0.6, across - 1.6, 2.4):
        if abs(left - x) > 1.7:
            _window(spot, (left, left + 1.1, 0.9, storey - 0.5), _WHITE, random)


def _shop(spot: Spot, across: float, storey: float, random: Generator) -> None:
    """A shop window with goods, a sign, and often an awning."""
    paint = pick_colour(random, (0, 180), (80, 230), (70, 220))
    spot.block(0.2, across - 0.2, 0, storey - 0.1, relight(paint, 0.6))
    spot.front(0.5, across - 1.7, 0.5, storey - 0.7, (95, 110, 120), random)
    for x in np.arange(0.7, across - 2.2, random.uniform(0.4, 0.8)):
        goods = pick_colour(random, (0, 180), (40, 230), (70, 240))
        spot.block(x, x + 0.35, 0.55, 0.55 + random.uniform(0.2, 1.1), goods)
    spot.block(across - 1.4, across - 0.5, 0, 2.1, (60, 70, 78))
    spot.block(0.2, across - 0.2, storey - 0.6, storey, paint)
    for x in np.arange(0.6, across * random.uniform(0.4, 0.8), 0.4):  # its name
        spot.block(x, x + random.uniform(0.1, 0.3), storey - 0.45, storey - 0.15, _WHITE)
    if random.random() < 0.6:
        _awning(spot, (0.2, across - 0.2), storey - 0.6, random)


def _awning(spot: Spot, sides: tuple[float, float], high: float, random: Generator) -> None:
    left, right = sides
    colours = pick_colour(random, (0, 180), (110, 230), (110, 220)), _WHITE
    stripes = max(2, int((right - left) / random.uniform(0.35, 0.7)))
    edges = np.linspace(left, right, stripes + 1)
    for index, (x, end) in enumerate(pairwise(edges)):
        spot.area([(x, high), (end, high), (end + 0.05, high - 0.75), (x - 0.05, high - 0.75)], colours[index % 2])


# ---------------------------------------------------------------- between houses


def _garden(spot: Spot, across: float, random: Generator) -> None:
    """Trees behind a hedge or a fence."""
    for _ in range(int(random.integers(1, 4))):
        x, radius, high = random.uniform(0, across), random.uniform(1.2, 2.6), random.uniform(2.5, 5.5)
        spot.block(x - 0.15, x + 0.15, 0, high, (86, 66, 50))
        draw_leaves(spot.image, spot.place(x, high), radius * spot.scale, random)
    if random.random() < 0.5:
        hedge = pick_colour(random, (32, 50), (80, 170), (60, 130))
        spot.front(0, across, 0, random.uniform(0.8, 1.9), hedge, random)
        return
    slat = pick_colour(random, (8, 30), (10, 120), (90, 235))
    high = random.uniform(0.9, 1.6)
    for x in np.arange(0, across, 0.28):
        spot.block(x, x + 0.16, 0, high, slat)
    for y in (0.3, high - 0.25):
        spot.block(0, across, y, y + 0.1, relight(slat, 0.8))


def _wall(spot: Spot, across: float, random: Generator) -> None:
    """A long wall with posters and graffiti."""
    plaster = pick_colour(random, (0, 180), (5, 70), (100, 225))
    high = random.uniform(2.2, 4.0)
    spot.front(0, across, 0, high, plaster, random)
    spot.block(0, across, high - 0.1, high + 0.12, relight(plaster, 0.7))
    for left in np.arange(0.5, across - 2.4, 3.6):
        if random.random() < 0.6:
            draw_poster(spot, (left, left + random.uniform(1.2, 3.2), 0.7, high - 0.4), random)
        elif random.random() < 0.5:
            loops = [(left + random.uniform(0, 2.4), random.uniform(0.5, 1.7)) for _ in range(7)]
            spot.line(loops, pick_colour(random, (0, 180), (120, 230), (90, 230)), 0.12)


def _hall(spot: Spot, across: float, random: Generator) -> None:
    """A plain building with gates and a band of glass: a garage, a market, a depot."""
    sheet = pick_colour(random, (0, 180), (5, 110), (110, 225))
    high = random.uniform(4.0, 6.5)
    spot.front(0, across, 0, high, sheet, random)
    for x in np.arange(0, across, 0.6):
        spot.line([(x, 0), (x, high)], relight(sheet, 0.93), 0.06)
    spot.block(0.5, across - 0.5, high - 1.5, high - 0.7, (105, 122, 132))
    spot.block(-0.1, across + 0.1, high - 0.2, high + 0.2, relight(sheet, 0.6))
    gate = pick_colour(random, (0, 180), (10, 160), (90, 225))
    for left in np.arange(1.0, across - 3.0, 4.6):
        spot.block(left, left + 2.9, 0, 2.6, gate)
        for y in np.arange(0.4, 2.6, 0.45):
            spot.line([(left, y), (left + 2.9, y)], relight(gate, 0.8), 0.05)


def draw_poster(spot: Spot, sides: tuple[float, float, float, float], random: Generator) -> None:
    """Random shapes in random colours."""
    left, right, low, high = sides
    spot.block(left - 0.1, right + 0.1, low - 0.1, high + 0.1, (70, 70, 74))
    spot.front(left, right, low, high, pick_colour(random, (0, 180), (10, 220), (110, 245)), random)
    across, down = right - left, high - low
    for _ in range(int(random.integers(2, 5))):
        ink = pick_colour(random, (0, 180), (60, 240), (60, 245))
        x, y = left + random.uniform(0.2, 0.8) * across, low + random.uniform(0.25, 0.75) * down
        room = min(x - left, right - x, y - low, high - y)
        if random.random() < 0.5:
            spot.disc(x, y, room * random.uniform(0.4, 0.9), ink)
        else:
            spot.area([(x - room, y - 0.6 * room), (x + room, y - 0.4 * room), (x, y + room)], ink)
    for y in (low + 0.12 * down, low + 0.22 * down):
        spot.line([(left + 0.1 * across, y), (left + random.uniform(0.4, 0.9) * across, y)], _WHITE, 0.08)


_ROWS: tuple[tuple[tuple[_Piece, ...], tuple[float, float]], ...] = (
    ((_house,), (5.0, 11.0)),
    ((_house, _house, _garden), (5.0, 10.0)),
    ((_house, _garden, _wall), (5.0, 12.0)),
    ((_garden, _garden, _wall), (5.0, 12.0)),
    ((_hall, _hall, _wall, _garden), (8.0, 18.0)),
)
