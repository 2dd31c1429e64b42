"""A small car in a busy street or car park: the layout, and the order of drawing.

Everything is measured in metres; the row of the image determines the size of a metre, see View.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

from podium.demo.camera import Drawing, make_canvas, photograph
from podium.demo.canvas import (
    Box,
    Brush,
    Colour,
    Image,
    add_grain,
    fill_block,
    find_box,
    pick_colour,
    pick_shades,
    relight,
)
from podium.demo.car import BODIES, draw_body, place_car, vary_body
from podium.demo.cover import cover_bush, cover_pole, cover_railing
from podium.demo.houses import draw_clouds, draw_distance, draw_row
from podium.demo.things import FURNITURE, LARGE, ON_ROAD, PEOPLE, SLENDER, Thing, draw_thing
from podium.demo.view import View

_USUAL_LENGTH = 4.6
_ROOM, _HEADROOM = 3.0, 2.7
"""Metres kept free to either side of the car and above the road: the same for each body type."""


@dataclass(frozen=True)
class _Plan:
    """The rows of a street, from far to near, and the position of the car."""

    view: View
    houses: float
    kerb: float
    wheels: float
    edge: float  # the start of the near pavement; often below the image
    middle: float  # the column of the car

    @property
    def behind(self) -> float:
        """The row of the far side of the car: no objects are placed between it and the wheels."""
        return self.view.beyond(self.wheels, 2.0)


@dataclass(frozen=True)
class _Placed:
    thing: Thing
    column: float
    row: float


def draw_street(kind: int, random: Generator, size: tuple[int, int] | None = None) -> Drawing:
    """An image with a car of the body type BODIES[kind]. Nothing but the car depends on the type.

    `size` is (width, height); by default it varies around 320×240.
    """
    width, height = size or (int(random.integers(296, 345)), int(random.integers(222, 259)))
    image = make_canvas(width, height)
    plan = _plan_street(image, random)
    _draw_background(plan, random)
    _draw_ground(plan, random)
    placed = sorted(_place_things(plan, random), key=lambda each: each.row)
    _draw_things(plan, [each for each in placed if each.row <= plan.wheels], random)
    box, covered = _draw_car(plan, kind, random)
    _draw_things(plan, [each for each in placed if each.row > plan.wheels], random)
    return photograph(image, box, covered, random, shadow=0.0)  # a street has its own shadows


def _plan_street(image: Image, random: Generator) -> _Plan:
    """The camera first, then everything relative to it."""
    height, width = image.shape[:2]
    horizon, scale = random.uniform(0.26, 0.44) * height, random.uniform(0.215, 0.31) * width / _USUAL_LENGTH
    wheels = random.uniform(max(0.56 * height, horizon + 1.5 * scale), 0.9 * height)
    view = View(image, horizon, (wheels - horizon) / scale, random.uniform(0.2, 0.8) * width, random.uniform(-1.2, 1.2))
    kerb = view.beyond(wheels, random.uniform(2.1, 2.6) if random.random() < 0.5 else random.uniform(3.0, 7.0))
    houses = view.beyond(kerb, random.uniform(2.5, 5.0) if random.random() < 0.6 else random.uniform(6.0, 25.0))
    edge = view.beyond(wheels, -random.uniform(1.0, 7.0))
    middle = random.uniform(_ROOM * scale, width - _ROOM * scale)
    return _Plan(view, houses, kerb, wheels, edge, middle)


# ---------------------------------------------------------------- background and ground


def _draw_background(plan: _Plan, random: Generator) -> None:
    """The sky, distant buildings, and the houses along the street."""
    image, horizon = plan.view.image, int(plan.view.horizon)
    sky = pick_colour(random, (95, 118), (0, 130), (170, 250))
    top, bottom = relight(sky, random.uniform(0.8, 1.0)), relight(sky, random.uniform(1.0, 1.25))
    fill_block(image, (0, 0, image.shape[1], horizon), top, bottom)
    draw_clouds(image, horizon, random)
    haze = draw_distance(image, horizon, random)
    lawn, plaza = pick_colour(random, (34, 50), (50, 140), (80, 150)), pick_colour(random, (5, 30), (5, 50), (100, 190))
    between = lawn if random.random() < 0.4 else plaza
    fill_block(image, (0, horizon, image.shape[1], plan.houses), relight(haze, 0.9), between)
    for away in (60.0, 25.0):
        if random.random() < 0.7:
            draw_row(plan.view, plan.view.beyond(plan.houses, away * random.uniform(0.7, 1.3)), random)
    draw_row(plan.view, plan.houses, random)


def _draw_ground(plan: _Plan, random: Generator) -> None:
    """Pavements and the road between them, or a car park, with markings and litter."""
    view = plan.view
    height, width = view.image.shape[:2]
    paving, grey = pick_colour(random, (5, 30), (5, 60), (110, 205)), random.uniform(85, 150)
    asphalt: Colour = (grey, grey, grey * random.uniform(0.95, 1.08))
    _pave(view, plan.houses, plan.kerb, paving, random)
    fill_block(view.image, (0, plan.kerb, width, height), *pick_shades(asphalt, random))
    _draw_kerb(view, plan.kerb, paving)
    _mark_road(plan, random)
    _scatter(plan, random)
    if plan.edge < height:
        _pave(view, plan.edge, height, paving, random)
        _draw_kerb(view, plan.edge, paving)
    add_grain(view.image[int(plan.houses) :], random, random.uniform(2, 5))


def _pave(view: View, far: float, near: float, paving: Colour, random: Generator) -> None:
    """Slabs in perspective, or grass."""
    if random.random() < 0.2:
        paving = pick_colour(random, (34, 50), (60, 150), (80, 150))
        fill_block(view.image, (0, far, view.image.shape[1], near), *pick_shades(paving, random))
        return
    fill_block(view.image, (0, far, view.image.shape[1], near), *pick_shades(paving, random))
    joint, slab, reach = relight(paving, 0.88), random.uniform(0.7, 1.4), view.reach(far)
    for x in np.arange(-reach, reach, slab):
        ends = [(int(view.middle + x * view.scale(row)), int(row)) for row in (far, near)]
        cv2.line(view.image, ends[0], ends[1], joint, 1)
    row = view.beyond(far, -slab)
    while row < near:
        cv2.line(view.image, (0, int(row)), (view.image.shape[1], int(row)), joint, 1)
        row = view.beyond(row, -slab)


def _draw_kerb(view: View, row: float, paving: Colour) -> None:
    thick, width = 0.14 * view.scale(row), view.image.shape[1]
    fill_block(view.image, (0, row - thick, width, row), relight(paving, 1.2), relight(paving, 1.1))
    fill_block(view.image, (0, row, width, row + thick), relight(paving, 0.5), relight(paving, 0.6))


def _mark_road(plan: _Plan, random: Generator) -> None:
    """A dashed line, a crossing, parking bays, or nothing."""
    kind, paint = int(random.integers(4)), relight((226, 224, 212), random.uniform(0.8, 1.05))
    view = plan.view
    if kind == 0:
        near = view.beyond(plan.wheels, -random.uniform(0.7, 2.0))
        dash = random.uniform(1.5, 4.0)
        for left in np.arange(-view.reach(near), view.reach(near), 2 * dash):
            view.ground_rectangle(left, left + dash, view.beyond(near, 0.15), near, paint)
    elif kind == 1:
        left, row = random.uniform(-0.5, 0.5) * view.reach(plan.wheels), view.beyond(plan.kerb, -0.4)
        while row < min(plan.edge, view.image.shape[0]) - 4:
            near = view.beyond(row, -0.5)
            view.ground_rectangle(left, left + 3.2, row, near, paint)
            row = view.beyond(near, -0.5)
    elif kind == 2:
        _mark_bays(plan, paint)


def _mark_bays(plan: _Plan, paint: Colour) -> None:
    """Draw parking bays, with the car in the middle of one."""
    view = plan.view
    begin = (plan.middle - view.middle) / view.scale(plan.wheels) - 3.0
    reach = view.reach(plan.behind)
    first = begin - 6.0 * np.ceil((begin + reach) / 6.0)
    for away in (2.0, -0.6):
        row = view.beyond(plan.wheels, away)
        view.ground_rectangle(-reach, reach, row, row + max(2.0, 0.1 * view.scale(row)), paint)
    for x in np.arange(first, reach, 6.0):
        view.ground_rectangle(x, x + 0.12, view.beyond(plan.wheels, 2.0), view.beyond(plan.wheels, -0.6), paint)


def _scatter(plan: _Plan, random: Generator) -> None:
    """Puddles, patches, manhole covers, and shadows of objects outside the image."""
    view = plan.view
    height, width = view.image.shape[:2]
    for _ in range(int(random.integers(2, 7))):
        spot = view.spot(random.uniform(0, width), random.uniform(plan.kerb, height))
        kind = int(random.integers(4))
        if kind == 0:
            spot.ground_ellipse(0, random.uniform(0.4, 1.3), (150, 172, 196), 0.5)
        elif kind == 1:
            spot.ground_ellipse(0, 0.35, (40, 40, 42), 0.8)
        elif kind == 2:
            spot.ground_ellipse(0, random.uniform(0.5, 2.0), (20, 22, 30), 0.25)
        else:
            left, across = (spot.column - view.middle) / spot.scale, random.uniform(0.8, 3.0)
            view.ground_rectangle(
                left, left + across, spot.row, view.beyond(spot.row, -random.uniform(0.5, 1.2)), (30, 30, 32), 0.3
            )
    if random.random() < 0.35:
        left, across = random.uniform(-1, 0.6) * view.reach(plan.wheels), random.uniform(3, 9)
        view.ground_rectangle(left, left + across, plan.kerb, height, (18, 20, 30), random.uniform(0.2, 0.4))


# ---------------------------------------------------------------- objects


def _place_things(plan: _Plan, random: Generator) -> list[_Placed]:
    """Place objects at random positions, but not on or in front of the car."""
    height = plan.view.image.shape[0]
    pavement = plan.view.beyond(plan.houses, -0.5), plan.view.beyond(plan.kerb, 0.3)
    placed = _spread(plan, pavement, _pick(LARGE, int(random.integers(2, 5)), random), random)
    placed += _spread(plan, pavement, _pick(FURNITURE + PEOPLE, int(random.integers(4, 9)), random), random)
    placed += _spread(plan, pavement, _pick(SLENDER, int(random.integers(2, 5)), random), random)
    road = plan.view.beyond(plan.kerb, -0.4), min(plan.edge, height * 1.05)
    placed += _spread(plan, road, _pick(ON_ROAD, int(random.integers(1, 5)), random), random)
    if plan.edge < height:
        near = plan.edge, height * 1.08
        placed += _spread(plan, near, _pick(FURNITURE + PEOPLE + SLENDER, int(random.integers(4, 10)), random), random)
    return [each for each in placed if not _overlaps_car(plan, each)]


def _pick(kinds: Sequence[Thing], count: int, random: Generator) -> list[Thing]:
    return [kinds[int(index)] for index in random.integers(len(kinds), size=count)]


def _spread(plan: _Plan, rows: tuple[float, float], things: Sequence[Thing], random: Generator) -> list[_Placed]:
    """Spread objects from left to right, each in its own strip, between these rows."""
    width = plan.view.image.shape[1]
    columns = (np.arange(len(things)) + random.uniform(0, 1, len(things))) * width / max(1, len(things))
    return [_Placed(thing, float(column), random.uniform(*rows)) for thing, column in zip(things, columns, strict=True)]


def _overlaps_car(plan: _Plan, placed: _Placed) -> bool:
    """Whether the object would overlap the car."""
    scale = plan.view.scale(placed.row)
    apart = abs(placed.column - plan.middle) - placed.thing.half * scale > _ROOM * plan.view.scale(plan.wheels)
    below = placed.row - placed.thing.height * scale > plan.wheels + 0.2 * scale
    return not (apart or below or placed.row < plan.behind)


def _draw_things(plan: _Plan, placed: Sequence[_Placed], random: Generator) -> None:
    for each in placed:
        draw_thing(plan.view.spot(each.column, each.row), each.thing, random)


# ---------------------------------------------------------------- the car


def _draw_car(plan: _Plan, kind: int, random: Generator) -> tuple[Box, bool]:
    """Draw the car, sometimes with an object in front of it. Returns its box and whether it is covered."""
    image, scale = plan.view.image, plan.view.scale(plan.wheels)
    body = vary_body(BODIES[kind], random)
    # For speed, only the part of the canvas around the car is processed.
    left, top = int(max(0, plan.middle - _ROOM * scale)), int(max(0, plan.wheels - _HEADROOM * scale))
    near = image[top : int(plan.wheels + 0.5 * scale), left : int(plan.middle + _ROOM * scale)]
    pose = place_car(body, scale, plan.middle, plan.wheels, random, lean=0.8)
    shift = np.array([[0, 0, left], [0, 0, top]])
    moved = replace(pose, matrix=pose.matrix - shift, ground=pose.ground - top)
    x, y, across, down = find_box(draw_body(Brush(near, moved), body, random))
    box = x + left, y + top, across, down
    covered = bool(random.random() < 0.45)
    if covered:  # but never by another car, which would have no box
        cover = (cover_pole, cover_bush, cover_railing)[int(random.integers(3))]
        cover(Brush(image, pose), box, random)
    return box, covered
