"""Streets with small cars: the positions of the cars, their boxes, and that only the car depends on its type."""

import csv
import json

import cv2
import numpy as np
import pytest

from podium.demo import street, things
from podium.demo.canvas import Brush
from podium.demo.car import draw_body
from podium.demo.competition import CLASSES, draw_competition
from podium.demo.street import draw_street
from podium.demo.view import Spot
from podium.errors import DataError

KINDS = range(len(CLASSES))
THINGS = list(dict.fromkeys(things.SLENDER + things.PEOPLE + things.FURNITURE + things.LARGE + things.ON_ROAD))


@pytest.fixture(scope="module")
def drawings():
    return [draw_street(number % len(CLASSES), np.random.default_rng(number)) for number in range(240)]


def _contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _draw_nothing(*_):
    """Instead of a drawing function."""


def _draw_on(ground):
    """Draws the car on a plain background."""

    def draw(brush, body, random):
        brush.image[:] = ground
        return draw_body(brush, body, random)

    return draw


def _draw_elsewhere(brush, body, random):
    return draw_body(Brush(brush.image.copy(), brush.pose), body, random)


def test_the_box_fits_the_cars_pixels(monkeypatch):
    """The car is what is the same on white and on black; its shadow and a thin aerial are not."""
    monkeypatch.setattr(street, "_draw_things", _draw_nothing)
    checked = 0
    for number in range(14):
        drawings = []
        for ground in (0, 255):
            monkeypatch.setattr(street, "draw_body", _draw_on(ground))
            drawings.append(draw_street(number % len(CLASSES), np.random.default_rng(number), (320, 240)))
        if drawings[0].covered:
            continue
        differs = cv2.absdiff(*(drawing.image for drawing in drawings)).max(axis=2) > 60
        left, top, across, down = cv2.boundingRect(differs.astype(np.uint8))
        around = (slice(top + 3, top + down - 3), slice(left + 3, left + across - 3))  # its own edges are soft
        car = np.zeros_like(differs)
        car[around] = ~differs[around]
        columns, rows = (np.flatnonzero(car.sum(axis=axis) > 1) for axis in (0, 1))
        found = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        assert np.abs(np.array(drawings[0].box) * (320, 320, 240, 240) - found).max() < 1.5, number
        checked += 1
    assert checked > 4


@pytest.mark.slow
def test_cars_are_small_and_completely_inside_anywhere_on_the_ground(drawings):
    left, right, top, bottom = np.array([drawing.box for drawing in drawings]).T
    widths, middles = right - left, (left + right) / 2
    assert 0.16 < widths.min() < 0.20
    assert 0.30 < widths.max() < 0.37
    assert ((widths > 0.18) & (widths < 0.35)).mean() > 0.9
    assert min(left.min(), top.min()) > 0
    assert max(right.max(), bottom.max()) < 1
    assert (middles.min() < 0.25, middles.max() > 0.75) == (True, True)
    assert 0.5 < bottom.min() < 0.62 < 0.8 < bottom.max() < 0.95


def test_nothing_but_the_car_depends_on_its_type(monkeypatch):
    monkeypatch.setattr(street, "draw_body", _draw_elsewhere)
    for number in range(6):
        drawings = [draw_street(kind, np.random.default_rng(number), (320, 240)) for kind in KINDS]
        assert len({drawing.covered for drawing in drawings}) == 1
        if not drawings[0].covered:
            assert len({drawing.image.tobytes() for drawing in drawings}) == 1


def test_objects_do_not_overlap_the_car(monkeypatch):
    """Objects nearer than the car are next to it or below it."""
    drawn = []
    monkeypatch.setattr(street, "draw_thing", lambda spot, thing, _: drawn.append((spot, thing)))
    nearer = 0
    for number in range(30):
        drawn.clear()
        left, right, _, bottom = draw_street(number % len(CLASSES), np.random.default_rng(number), (320, 240)).box
        left, right, bottom = left * 960, right * 960, bottom * 720
        assert len(drawn) > 4
        for spot, thing in drawn:
            if spot.row > bottom + 4:
                half, top = thing.half * spot.scale, spot.row - thing.height * spot.scale
                assert spot.column + half < left or spot.column - half > right or top > bottom
                nearer += 1
    assert nearer > 30


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.draw.__name__.strip("_"))
def test_an_object_stands_on_the_ground_and_has_its_stated_size(thing):
    for seed in range(5):
        image = np.zeros((500, 500, 3), np.uint8)
        thing.draw(Spot(image, 250, 450, scale=50, flat=0.01, sun=0), np.random.default_rng(seed))
        left, top, across, down = cv2.boundingRect(image.max(axis=2))
        assert 435 < top + down < 480
        assert 450 - top < 50 * thing.height * 1.1
        assert max(250 - left, left + across - 250) < 50 * thing.half * 1.1


def test_nearer_objects_are_larger_and_lower(monkeypatch):
    drawn = []
    monkeypatch.setattr(street, "draw_thing", lambda spot, *_: drawn.append(spot))
    draw_street(0, np.random.default_rng(3))
    assert [spot.row for spot in drawn] == sorted(spot.row for spot in drawn)
    assert [spot.scale for spot in drawn] == sorted(spot.scale for spot in drawn)


@pytest.mark.slow
def test_the_type_can_be_recognised_from_the_car_but_not_from_the_whole_image(drawings):
    """A linear model on outlines cannot recognise it in a street, but can when the car is cropped."""
    from sklearn.linear_model import RidgeClassifier

    outlines = cv2.HOGDescriptor((96, 96), (16, 16), (16, 16), (8, 8), 9)

    def outlines_of(image):
        return outlines.compute(cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA)).ravel()

    wholes, cuts = [], []
    for drawing in drawings:
        image = cv2.cvtColor(drawing.image, cv2.COLOR_RGB2GRAY)
        height, width = image.shape
        left, right, top, bottom = np.rint(drawing.box * np.array([width, width, height, height])).astype(int)
        wholes.append(outlines_of(image))
        cuts.append(outlines_of(image[top:bottom, left:right]))
    kinds = np.arange(240) % len(CLASSES)
    whole, cut = (
        RidgeClassifier(alpha=10).fit(seen[:160], kinds[:160]).score(seen[160:], kinds[160:]) for seen in (wholes, cuts)
    )
    assert whole < 0.3
    assert cut > 0.85


def test_the_seed_determines_every_street_and_the_stamp_has_the_scene(tmp_path):
    folders = [
        draw_competition(tmp_path / name, train=6, test=3, seed=seed, scene="street").folder
        for name, seed in (("first", 7), ("again", 7), ("other", 8))
    ]
    first, again, other = (_contents(folder) for folder in folders)
    assert first == again
    images = {content for name, content in first.items() if name.endswith(".jpg")}
    assert (len(images), len(images & set(other.values()))) == (9, 0)
    assert json.loads(first["sample.json"])["scene"] == "street"
    for name in first:
        if name.endswith(".jpg"):
            height, width = cv2.imread(str(folders[0] / name)).shape[:2]
            assert (296 <= width < 345, 222 <= height < 259) == (True, True)


@pytest.mark.parametrize("size", [(64, 64), (64, 32), (640, 480), (800, 400)])
def test_a_street_fits_every_size(size):
    for number in range(4):
        drawing = draw_street(number, np.random.default_rng(number), size)
        left, right, top, bottom = drawing.box
        assert drawing.image.shape == (size[1], size[0], 3)
        assert 0.16 < right - left < 0.37
        assert (left > 0, right < 1, top > 0, bottom < 1) == (True,) * 4


def test_the_table_has_the_box_of_every_car(tmp_path):
    folder = draw_competition(tmp_path / "cars", train=20, test=10, size=(320, 240), scene="street").folder
    assert {cv2.imread(str(path)).shape for path in folder.rglob("*.jpg")} == {(240, 320, 3)}
    with (folder / "annotations-bbox.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(f"{row['ImageID']}.jpg" for row in rows) == sorted(path.name for path in folder.rglob("*.jpg"))
    assert {row["IsOccluded"] for row in rows} == {"0", "1"}
    assert all(0.15 < float(row["XMax"]) - float(row["XMin"]) < 0.4 for row in rows)


@pytest.mark.parametrize(("existing", "requested"), [("street", "portrait"), ("portrait", "street")])
def test_a_sample_of_another_scene_is_an_error(tmp_path, existing, requested):
    folder = draw_competition(tmp_path / "cars", train=20, test=10, size=(128, 96), scene=existing).folder
    before = _contents(folder)
    scene = ", scene street" if existing == "street" else ""
    with pytest.raises(
        DataError, match=rf"another sample \(drawing \d+, seed 42, train 20, test 10, size 128x96{scene}\)"
    ):
        draw_competition(folder, train=20, test=10, size=(128, 96), scene=requested)
    assert _contents(folder) == before
