"""The cars: proportions of the body types, their position, and how they are drawn."""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from podium.demo.canvas import Brush, Colour, Image, Mask, Pose, fill, find_box, pick_colour, relight

_RUBBER: Colour = (26, 26, 28)
_PLASTIC: Colour = (50, 50, 52)
_PAINT_HUES = ((0, 6), (0, 180), (8, 30), (40, 95), (95, 122), (100, 118), (172, 180))
"""OpenCV's hues end at 180: red and blue cars are common, violet and pink ones are not."""
_LENGTHS = {"front", "wheelbase", "rear", "clearance", "screen", "glass", "deck"}


@dataclass(frozen=True)
class Body:
    """The proportions of a body type, in metres unless noted otherwise."""

    name: str
    front: float  # from the bumper to the front axle
    wheelbase: float
    rear: float  # from the rear axle to the bumper
    wheel: float  # its radius
    clearance: float
    bonnet: float  # the height of the nose
    belt: float  # the height where the windows begin
    cowl: float  # from the front axle to the base of the windscreen
    screen: float  # the horizontal length of the windscreen
    roof: float  # its height
    drop: float  # how much lower the roof is at the rear
    glass: float  # the horizontal length of the rear window
    deck: float  # the boot lid or the bed behind the rear window
    deck_height: float
    glazed: float = 0.96  # the end of the side windows, as a share of the cabin
    pillars: tuple[float, ...] = ()  # as shares of the side windows
    doors: int = 2  # hinged doors on the visible side
    rails: float = 0.0  # the probability of roof rails
    cladding: float = 0.0  # the probability of dark plastic along the sill
    spare: float = 0.0  # the probability of a spare wheel at the rear

    @property
    def length(self) -> float:
        return self.front + self.wheelbase + self.rear

    @property
    def axles(self) -> tuple[float, float]:
        return self.front, self.front + self.wheelbase

    @property
    def has_bed(self) -> bool:
        return self.deck > 1.5

    @property
    def has_sliding_door(self) -> bool:
        return self.roof > 2


# fmt: off
BODIES: tuple[Body, ...] = (
    #                  front w.base  rear wheel clear bonnet belt  cowl screen roof  drop glass  deck  its height
    Body("Sedan",       0.85, 2.75, 1.15, 0.32, 0.19, 0.76, 0.93, 0.45, 0.68, 1.46, 0.03, 0.58, 1.00, 0.98,
         pillars=(0.5,)),
    Body("Hatchback",   0.74, 2.42, 0.50, 0.32, 0.18, 0.80, 0.96, 0.18, 0.72, 1.54, 0.05, 0.40, 0.06, 0.94,
         glazed=0.90, pillars=(0.58,)),
    Body("Wagon",       0.86, 2.85, 1.25, 0.32, 0.18, 0.74, 0.93, 0.45, 0.72, 1.47, 0.03, 0.32, 0.06, 0.93,
         pillars=(0.36, 0.68), rails=0.8),
    Body("SUV",         0.80, 2.68, 0.82, 0.41, 0.35, 1.06, 1.16, 0.38, 0.45, 1.86, 0.02, 0.14, 0.06, 1.10,
         pillars=(0.38, 0.72), rails=0.75, cladding=0.8, spare=0.4),
    Body("Pickup",      0.85, 3.15, 1.25, 0.40, 0.36, 1.00, 1.12, 0.40, 0.60, 1.82, 0.01, 0.08, 2.15, 1.06,
         pillars=(0.60,), cladding=0.5),
    Body("Van",         0.85, 3.15, 1.00, 0.35, 0.24, 0.98, 1.28, 0.05, 0.66, 2.36, 0.02, 0.06, 0.03, 1.20,
         glazed=0.30, doors=1, cladding=0.3),
    Body("Coupe",       0.90, 2.62, 0.90, 0.33, 0.13, 0.74, 0.84, 0.85, 0.78, 1.24, 0.02, 1.25, 0.16, 0.88,
         glazed=0.86, pillars=(0.74,), doors=1),
    Body("Minibus",     0.72, 3.25, 1.18, 0.36, 0.25, 1.00, 1.22, -0.38, 0.34, 2.36, 0.02, 0.08, 0.03, 1.20,
         pillars=(0.2, 0.4, 0.6, 0.8), doors=1, cladding=0.2),
)
# fmt: on


def vary_body(body: Body, random: Generator) -> Body:
    """A different model of the same body type: every measure varies a little, lengths more than heights."""
    changed: dict[str, Any] = {}
    for name in [field.name for field in fields(body)[1:] if field.default is MISSING]:
        spread = 0.045 if name in _LENGTHS else 0.02
        changed[name] = getattr(body, name) * (1 + spread * float(np.clip(random.normal(), -2, 2)))
    return replace(body, **changed)


def park_car(body: Body, image: Image, random: Generator) -> Pose:
    """A random position with the car completely inside the image."""
    height, width = image.shape[:2]
    scale = width * random.uniform(0.72, 0.90) / body.length
    # A spare wheel and the tilt of the car need some room beyond the bumpers.
    room = float(np.clip(0.5 * (width - body.length * scale) - 0.05 * width, 0, 0.06 * width))
    middle = 0.5 * width + random.uniform(-room, room)
    ground = random.uniform(max(0.74 * height, body.roof * scale + 0.07 * height), 0.84 * height)
    return place_car(body, scale, middle, ground, random)


def place_car(body: Body, scale: float, middle: float, ground: float, random: Generator, lean: float = 4.0) -> Pose:
    """A position, facing left or right, tilted by up to `lean` degrees."""
    angle = np.deg2rad(random.uniform(-lean, lean))
    mirror = -1.0 if random.random() < 0.5 else 1.0
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    turn = np.array([[cosine * mirror, sine], [sine * mirror, -cosine]])
    shift = np.array([middle, ground]) - turn @ [0.5 * body.length, 0.0]
    return Pose(scale, np.column_stack([turn, shift]), ground)


# ---------------------------------------------------------------- shape


def _rounded(corners: Sequence[tuple[float, float, float]]) -> NDArray[np.float64]:
    """The polygon through these corners (x, y, rounding), with rounded corners."""
    places = np.array(corners, np.float64)
    corner, rounding = places[:, :2], places[:, 2]
    ends = []
    for neighbour in (np.roll(corner, 1, axis=0), np.roll(corner, -1, axis=0)):
        edge = neighbour - corner
        share = np.minimum(rounding / (np.hypot(edge[:, 0], edge[:, 1]) + 1e-9), 0.48)
        ends.append((corner + edge * share[:, None])[:, None])
    step = np.linspace(0, 1, 6)[:, None]
    curves = (1 - step) ** 2 * ends[0] + 2 * step * (1 - step) * corner[:, None] + step**2 * ends[1]
    return np.asarray(curves.reshape(-1, 2))


def _rectangle(left: float, right: float, low: float, high: float, rounding: float = 0.0) -> NDArray[np.float64]:
    return _rounded([(x, y, rounding) for x, y in ((left, low), (right, low), (right, high), (left, high))])


def _outline(body: Body) -> NDArray[np.float64]:
    """The silhouette in side view, without the wheels."""
    cowl, end = body.front + body.cowl, body.length
    foot = end - body.deck
    roof_from, roof_to = cowl + body.screen, foot - body.glass
    curve = 0.5 if body.roof > 1.6 else 1.0
    corners = [
        (0.12, body.clearance, 0.08),
        (0.0, body.clearance + 0.45 * (body.bonnet - body.clearance), 0.12),
        (0.08, body.bonnet, 0.22 * curve),
        (cowl, body.belt + 0.02, 0.25),
        (roof_from, body.roof - 0.03, 0.40 * curve),
        (0.5 * (roof_from + roof_to), body.roof, 0.60),
        (roof_to, body.roof - body.drop, 0.08 if body.has_bed else 0.36 * curve),
        (foot, body.deck_height, 0.16 if body.deck > 0.2 else 0.10),
        (end - 0.02, body.deck_height - 0.03, 0.12),
        (end, body.clearance + 0.3, 0.10),
        (end - 0.12, body.clearance, 0.08),
    ]
    return _rounded(corners)


def _window_row(body: Body) -> tuple[NDArray[np.float64], float, float]:
    """The side windows as one polygon, and where they begin and end at the belt line."""
    low, high = body.belt + 0.05, body.roof - 0.11
    lean = body.screen / (body.roof - body.belt)
    back = body.glass / (body.roof - body.deck_height)
    begin = body.front + body.cowl + 0.14 + 0.05 * lean
    end = begin + body.glazed * (body.length - body.deck - 0.14 - back * (low - body.deck_height) - begin)
    top_begin = begin + lean * (high - low)
    top_end = max(end - (back * (high - low) if body.glazed > 0.5 else 0), top_begin + 0.1)
    return _rounded([(begin, low, 0.04), (top_begin, high, 0.1), (top_end, high, 0.1), (end, low, 0.06)]), begin, end


# ---------------------------------------------------------------- drawing


def any_paint(random: Generator) -> Colour:
    """A random colour of a car: often white, silver, grey or black."""
    if random.random() < 0.4:
        grey = random.choice([235, 190, 120, 70, 38]) * random.uniform(0.9, 1.05)
        red, green, blue = (float(grey * random.uniform(0.96, 1.04)) for _ in range(3))
        return red, green, blue
    return pick_colour(random, _PAINT_HUES[int(random.integers(len(_PAINT_HUES)))], (90, 225), (105, 235))


def draw_body(brush: Brush, body: Body, random: Generator) -> Mask:
    """Draw the car with its shadow. Returns its mask."""
    paint = any_paint(random)
    silhouette, shell = brush.blank(), brush.blank()
    for mask in (silhouette, shell):
        mask.area(_outline(body), 255)
    for axle in body.axles:
        shell.disc(axle, body.wheel, body.wheel * 1.13, 0)
    _draw_shadow(brush, body)
    fill(brush.image, silhouette.image, _RUBBER, _RUBBER)
    fill(brush.image, shell.image, relight(paint, 1.12), relight(paint, 0.72))
    _draw_sides(brush, shell, body, paint, bool(random.random() < body.cladding))
    _draw_windows(brush, body, paint, random)
    _draw_doors(brush, body, paint)
    _draw_lights(brush, body, random)
    _draw_extras(brush, silhouette, body, random)
    rim = random.uniform(0.60, 0.74), float(random.uniform(120, 225)), int(random.choice([0, 5, 6, 7, 10]))
    for axle in body.axles:
        _draw_wheel(brush, axle, body.wheel, rim)
        silhouette.disc(axle, body.wheel, body.wheel, 255)
    return silhouette.image


def _draw_shadow(brush: Brush, body: Body) -> None:
    shade = brush.blank()
    shade.area(_rectangle(0, body.length, -0.09, body.clearance * 0.8, 0.15), 170)
    soft = brush.pose.thick(0.22)
    blurred = cv2.blur(shade.image, (soft, soft))
    x, y, across, down = find_box(blurred)
    area = (slice(y, y + down), slice(x, x + across))
    light = cv2.merge([255 - blurred[area]] * 3)
    brush.image[area] = cv2.multiply(brush.image[area], light, scale=1 / 255)


def _draw_sides(brush: Brush, shell: Brush, body: Body, paint: Colour, clad: bool) -> None:
    """The sill, and the highlight along the shoulder line."""
    dark = _PLASTIC if clad else relight(paint, 0.5)
    sill = brush.blank()
    sill.area(_rectangle(-0.1, body.length + 0.1, 0, body.clearance + (0.22 if clad else 0.09)), 255)
    if clad:
        for axle in body.axles:
            sill.disc(axle, body.wheel, body.wheel * 1.34, 255)
    fill(brush.image, cv2.bitwise_and(sill.image, shell.image), dark, relight(dark, 0.75))
    high = body.belt - 0.10
    shoulder = [(0.2, body.bonnet - 0.14), (body.front + 0.5, high), (body.length - 0.1, high)]
    brush.line(shoulder, relight(paint, 1.3), 0.03)


def _draw_windows(brush: Brush, body: Body, paint: Colour, random: Generator) -> None:
    shape, begin, end = _window_row(body)
    panes = brush.blank()
    panes.area(shape, 255)
    for share in body.pillars:
        x = begin + share * (end - begin)
        panes.line([(x, body.belt), (x - 0.02, body.roof)], 0, 0.075)
    tone = float(random.uniform(28, 95))
    reflected: Colour = (tone * 1.5 + 40, tone * 1.6 + 48, tone * 1.7 + 55)
    fill(brush.image, panes.image, reflected, (tone, tone * 1.05, tone * 1.12))
    brush.line(np.vstack([shape, shape[:1]]), relight(paint, 0.4), 0.025)
    brush.area(_rectangle(begin + 0.05, begin + 0.24, body.belt, body.belt + 0.14, 0.05), relight(paint, 0.6))


def _draw_doors(brush: Brush, body: Body, paint: Colour) -> None:
    """Doors with handles, and the panels of a bed or a sliding door."""
    _, begin, end = _window_row(body)
    seam, low, high = relight(paint, 0.62), body.clearance + 0.08, body.belt + 0.02
    edges = [begin, *(begin + share * (end - begin) for share in body.pillars), end][: body.doors + 1]
    edges[-1] = min(edges[-1], body.axles[1] + 0.1)
    arch = body.axles[1] - body.wheel * 1.25
    for x in edges:
        brush.line([(x, high), (x, 0.5 * (low + high)), (min(x, arch), low)], seam, 0.028)
    for x in edges[1:]:
        brush.line([(x - 0.26, body.belt - 0.16), (x - 0.08, body.belt - 0.16)], relight(paint, 0.35), 0.045)
    brush.line([(edges[0], low), (min(edges[-1], arch), low)], seam, 0.025)
    if body.has_bed:
        cab, tail = body.length - body.deck, body.length - 0.03
        brush.line([(cab + 0.06, low), (cab + 0.06, body.deck_height)], _RUBBER, 0.05)
        brush.line([(cab, body.deck_height - 0.02), (tail, body.deck_height - 0.03)], _PLASTIC, 0.09)
    if body.has_sliding_door:
        slide = edges[-1] + 0.1
        top = body.belt if len(body.pillars) > 2 else body.roof - 0.2
        for x in (slide, slide + 1.1):
            brush.line([(x, low), (x, top)], seam, 0.028)
        brush.line([(slide + 1.1, body.belt - 0.12), (body.length - 0.2, body.belt - 0.12)], seam, 0.035)


def _draw_lights(brush: Brush, body: Body, random: Generator) -> None:
    """Lamps, and the dark edges of the bumpers."""
    high, end = body.bonnet - 0.08, body.length - 0.02
    brush.area([(0.02, high - 0.14), (0.05, high), (0.36, high - 0.01), (0.26, high - 0.15)], (242, 240, 222))
    tail = body.deck_height - 0.08
    across, down = (0.28, 0.17) if 0.3 < body.deck < 1.5 else (0.10, 0.42)
    brush.area(_rectangle(end - across, end, tail - down, tail), (random.uniform(160, 215), 24, 30))
    for left, right in ((0.02, 0.3), (end - 0.28, end)):
        brush.line([(left, body.clearance + 0.22), (right, body.clearance + 0.22)], _PLASTIC, 0.04)


def _draw_extras(brush: Brush, silhouette: Brush, body: Body, random: Generator) -> None:
    """Optional parts: roof rails, a spare wheel, an aerial, a stripe."""
    roof, roof_from = body.roof, body.front + body.cowl + body.screen + 0.15
    roof_to = body.length - body.deck - body.glass - 0.1
    if random.random() < body.rails:
        rail = [(roof_from, roof - 0.03), (roof_from + 0.1, roof + 0.05), (roof_to - 0.1, roof + 0.04), (roof_to, roof)]
        brush.line(rail, _PLASTIC, 0.045)
        silhouette.line(rail, 255, 0.045)
    if random.random() < body.spare:
        spare = _rectangle(body.length - 0.02, body.length + 0.14, 0.65, 1.3, 0.06)
        brush.area(spare, _RUBBER)
        silhouette.area(spare, 255)
    if random.random() < 0.2:
        brush.line([(roof_to, roof - 0.05), (roof_to + 0.18, roof + 0.16)], _RUBBER, 0.025)
    if random.random() < 0.15:
        middle = body.belt - 0.3
        brush.line([(body.front + 0.5, middle), (body.axles[1] - 0.5, middle)], any_paint(random), 0.1)


def _draw_wheel(brush: Brush, axle: float, radius: float, rim: tuple[float, float, int]) -> None:
    share, tone, holes = rim
    brush.disc(axle, radius, radius, _RUBBER)
    brush.disc(axle, radius, radius * share, (tone, tone, tone + 4))
    for hole in range(holes):
        angle, away = 2 * np.pi * (hole + 0.3) / holes, 0.42 * radius
        brush.disc(axle + away * np.cos(angle), radius + away * np.sin(angle), radius * 0.9 / holes, _PLASTIC)
    brush.disc(axle, radius, radius * 0.14, (tone * 0.6, tone * 0.6, tone * 0.6))
