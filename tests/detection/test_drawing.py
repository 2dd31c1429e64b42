"""Boxes drawn on images of any size: lines, labels and their places."""

import numpy as np
import pandas as pd
import pytest

from podium.detection import drawing
from podium.detection.drawing import COLOURS, colour_of, draw_boxes, font_size, line_width

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
    """The texts and rectangles of the labels, in the order of drawing."""
    seen, label, place = [], drawing._fitting_label, drawing._label_place

    def noted_label(*arguments):
        found = label(*arguments)
        if found:
            seen.append([found[0]])
        return found

    def noted_place(*arguments):
        seen[-1].append(place(*arguments))
        return seen[-1][-1]

    monkeypatch.setattr(drawing, "_fitting_label", noted_label)
    monkeypatch.setattr(drawing, "_label_place", noted_place)
    return seen


def test_original_image_is_unchanged():
    image = blank(200, 100)
    drawn = draw_boxes(image, boxes_of(("Boat", 0.9, 20, 30, 120, 80)), CLASSES)
    assert (image == GREY).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8


def test_lines_have_the_colour_of_the_class():
    drawn = draw_boxes(blank(320, 320), boxes_of(("Canoe", 0.9, 60, 100, 260, 200)), CLASSES)
    canoe = is_colour(drawn, "Canoe")
    assert canoe[120:190, 60].all()
    assert canoe[200, 60:260].all()
    assert not canoe[120:190, 70:250].any()
    assert not is_colour(drawn, "Boat").any()


def test_colour_depends_on_the_class_only():
    assert colour_of("Boat", CLASSES) == COLOURS[0] != colour_of("Canoe", CLASSES)
    many = [str(number) for number in range(25)]
    assert colour_of("10", many) == colour_of("0", many)
    assert len({colour_of(one, many) for one in many}) == len(COLOURS)


@pytest.mark.parametrize(("side", "line", "letters"), [(64, 1, 9), (320, 2, 9), (1024, 4, 30), (4000, 16, 118)])
def test_line_width_and_font_size_grow_with_the_image(side, line, letters):
    assert (line_width(side, side), font_size(side, side)) == (line, letters)


@pytest.mark.parametrize("size", [(64, 64), (40, 300), (300, 40), (320, 320), (1500, 1000), (4000, 3000)])
def test_labels_are_inside_the_image(places, size):
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


def test_label_is_above_its_box_or_below_or_inside(places):
    for top, bottom in ((100, 150), (0, 150), (0, 320)):
        draw_boxes(blank(320, 320), boxes_of(("Boat", 0.9, 50, top, 200, bottom)), CLASSES)
    above, below, inside = (place for _, place in places)
    assert (above[0], above[3]) == (50, 100)
    assert (below[0], below[1]) == (50, 150)
    assert inside[:2] == (50, 0)


def test_labels_do_not_overlap_if_there_is_room(places):
    rows = [("Boat", 0.5 + number / 100, 100, 100 + number, 250, 200 + number) for number in range(4)]
    draw_boxes(blank(400, 400), boxes_of(*rows), CLASSES)
    found = [place for _, place in places]
    assert not any(drawing._overlap(one, other) for one in found for other in found if one is not other)
    assert [text for text, _ in places] == ["Boat 0.53", "Boat 0.52", "Boat 0.51", "Boat 0.50"]


def test_small_image_gets_the_score_only_or_no_label(places):
    for width in (64, 30, 12):
        draw_boxes(blank(width, 64), boxes_of(("Boat", 0.876, 2, 20, width - 2, 60)), CLASSES)
    assert [text for text, _ in places] == ["Boat 0.88", "0.88"]


def test_boxes_without_score_are_labelled_with_their_class(places):
    drawn = draw_boxes(blank(320, 320), boxes_of(("Boat", 0.9, 50, 50, 200, 200)).drop(columns="score"), CLASSES)
    assert [text for text, _ in places] == ["Boat"]
    assert is_colour(drawn, "Boat").any()


def test_unknown_characters_and_no_boxes_are_accepted(places):
    drawn = draw_boxes(blank(320, 320), boxes_of(("лодка 船", 0.9, 50, 50, 200, 200)), ["лодка 船"])
    assert [text for text, _ in places] == ["лодка 船 0.90"]
    assert (drawn != GREY).any()
    assert (draw_boxes(blank(64, 64), boxes_of(), CLASSES) == GREY).all()


def test_text_contrasts_with_the_background():
    for number in range(len(COLOURS)):
        names = [str(kind) for kind in range(len(COLOURS))]
        drawn = draw_boxes(blank(320, 320), boxes_of((names[number], 0.9, 50, 50, 200, 200)), names)
        label = drawn[38:50, 50:80].reshape(-1, 3).astype(int)
        colour = np.array(COLOURS[number])
        assert np.abs(label @ [0.3, 0.59, 0.11] - colour @ [0.3, 0.59, 0.11]).max() > 80


def test_highest_scores_are_drawn_on_top():
    rows = [("Boat", 0.9, 50, 50, 200, 200), ("Canoe", 0.3, 50, 50, 200, 200)]
    drawn = draw_boxes(blank(320, 320), boxes_of(*rows), CLASSES)
    assert is_colour(drawn, "Boat")[60:190, 50].all()
