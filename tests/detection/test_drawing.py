"""Boxes on images of any size: where lines and labels are, and that all of them stay inside."""

import numpy as np
import pandas as pd
import pytest

from podium.detection import drawing
from podium.detection.drawing import COLOURS, colour_of, draw_boxes, letter_height, line_width

CLASSES = ["Boat", "Canoe"]
GREY = 128


def boxes_of(*rows):
    return pd.DataFrame(rows, columns=["class", "score", "left", "top", "right", "bottom"])


def blank(width, height):
    return np.full((height, width, 3), GREY, dtype=np.uint8)


def is_colour(image, kind):
    return (image == colour_of(kind, CLASSES)).all(axis=2)


@pytest.fixture
def places(monkeypatch):
    """Where labels were written, in their order, with their texts."""
    seen, original = [], drawing._write

    def noted(drawn, label, place, colour):
        seen.append((label.text, place))
        original(drawn, label, place, colour)

    monkeypatch.setattr(drawing, "_write", noted)
    return seen


def test_the_image_itself_is_left_as_it_was():
    image = blank(200, 100)
    drawn = draw_boxes(image, boxes_of(("Boat", 0.9, 20, 30, 120, 80)), CLASSES)
    assert (image == GREY).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8


def test_the_lines_run_along_the_box_in_the_colour_of_its_class():
    drawn = draw_boxes(blank(320, 320), boxes_of(("Canoe", 0.9, 60, 100, 260, 200)), CLASSES)
    canoe = is_colour(drawn, "Canoe")
    assert canoe[120:190, 60].all()
    assert canoe[200, 60:260].all()
    assert not canoe[120:190, 70:250].any()
    assert not is_colour(drawn, "Boat").any()


def test_each_class_has_its_colour_whatever_is_on_the_image():
    assert colour_of("Boat", CLASSES) == COLOURS[0] != colour_of("Canoe", CLASSES)
    many = [str(number) for number in range(25)]
    assert colour_of("10", many) == colour_of("0", many)
    assert len({colour_of(one, many) for one in many}) == len(COLOURS)


@pytest.mark.parametrize(("side", "line", "letters"), [(64, 1, 9), (320, 2, 9), (1024, 4, 30), (4000, 16, 118)])
def test_lines_and_letters_fit_the_size_of_the_image(side, line, letters):
    assert (line_width(side, side), letter_height(side, side)) == (line, letters)


@pytest.mark.parametrize("size", [(64, 64), (40, 300), (300, 40), (320, 320), (1500, 1000), (4000, 3000)])
def test_labels_stay_inside_the_image_wherever_the_boxes_are(places, size):
    width, height = size
    spots = [
        (0, 0, 0.3, 0.3),
        (0.7, 0, 1, 0.3),
        (0, 0.7, 0.3, 1),
        (0.9, 0.9, 1, 1),
        (0, 0, 1, 1),
        (-0.2, 0.4, 1.3, 0.5),
    ]
    corners = np.array(spots) * [width, height, width, height]
    rows = [("Boat", 0.5 + place / 100, *box) for place, box in enumerate(corners)]
    draw_boxes(blank(width, height), boxes_of(*rows), CLASSES)
    assert len(places) == len(rows)
    for _, (left, top, right, bottom) in places:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def test_a_label_stands_above_its_box_or_below_or_inside(places):
    for top, bottom in ((100, 150), (0, 150), (0, 320)):
        draw_boxes(blank(320, 320), boxes_of(("Boat", 0.9, 50, top, 200, bottom)), CLASSES)
    above, below, inside = (place for _, place in places)
    assert (above[0], above[3]) == (49, 100), "flush with the line, which is two pixels wide"
    assert (below[0], below[1]) == (49, 150)
    assert inside[:2] == (49, 0)


def test_labels_do_not_cover_each_other_as_long_as_there_is_room(places):
    rows = [("Boat", 0.5 + number / 100, 100, 100 + number, 250, 200 + number) for number in range(4)]
    draw_boxes(blank(400, 400), boxes_of(*rows), CLASSES)
    found = [place for _, place in places]
    assert not any(drawing._overlap(one, other) for one in found for other in found if one is not other)
    assert [text for text, _ in places] == ["Boat 0.53", "Boat 0.52", "Boat 0.51", "Boat 0.50"]


def test_what_has_no_room_for_class_and_score_has_the_score_and_else_nothing(places):
    for width in (64, 30, 12):
        draw_boxes(blank(width, 64), boxes_of(("Boat", 0.876, 2, 20, width - 2, 60)), CLASSES)
    assert [text for text, _ in places] == ["Boat 0.88", "0.88"]


def test_boxes_of_a_set_have_no_score_and_their_class_alone_as_label(places):
    drawn = draw_boxes(blank(320, 320), boxes_of(("Boat", 0.9, 50, 50, 200, 200)).drop(columns="score"), CLASSES)
    assert [text for text, _ in places] == ["Boat"]
    assert is_colour(drawn, "Boat").any()


def test_names_in_any_letters_are_written_and_no_box_is_no_change(places):
    drawn = draw_boxes(blank(320, 320), boxes_of(("лодка 船", 0.9, 50, 50, 200, 200)), ["лодка 船"])
    assert [text for text, _ in places] == ["лодка ? 0.90"]
    assert (drawn != GREY).any()
    assert (draw_boxes(blank(64, 64), boxes_of(), CLASSES) == GREY).all()


def test_letters_are_dark_on_light_colours_and_light_on_dark_ones():
    for number in range(len(COLOURS)):
        names = [str(kind) for kind in range(len(COLOURS))]
        drawn = draw_boxes(blank(320, 320), boxes_of((names[number], 0.9, 50, 50, 200, 200)), names)
        label = drawn[38:50, 50:80].reshape(-1, 3).astype(int)
        colour = np.array(COLOURS[number])
        assert np.abs(label @ [0.3, 0.59, 0.11] - colour @ [0.3, 0.59, 0.11]).max() > 80


def test_the_best_scores_are_drawn_on_top():
    rows = [("Boat", 0.9, 50, 50, 200, 200), ("Canoe", 0.3, 50, 50, 200, 200)]
    drawn = draw_boxes(blank(320, 320), boxes_of(*rows), CLASSES)
    assert is_colour(drawn, "Boat")[60:190, 50].all()
