from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from random_boxsets import random_boxset, small_boxset

from podium.detection.cleaning import Cleaned, clean_boxes, clean_boxset
from podium.detection.dataset import BOX_COLUMNS, CORNERS, read_dataset, write_dataset
from podium.errors import DataError

INF, NAN = float("inf"), float("nan")


def cleaned(*corners, classes=None, minimum=1.0):
    """What becomes of boxes with these corners in an image of 100 × 50."""
    boxes = pd.DataFrame(corners, columns=list(CORNERS), dtype=float)
    boxes = boxes.assign(id="one", occluded=False, truncated=False, group=False, depiction=False)
    boxes["class"] = classes or "Boat"
    left, counts = clean_boxes(small_boxset().images, boxes[list(BOX_COLUMNS)], minimum)
    return left[list(CORNERS)].to_numpy().tolist(), counts


def test_boxes_in_order_stay_as_they_are():
    corners, counts = cleaned((10, 20, 30, 40), (0, 0, 100, 50))
    assert corners == [[10, 20, 30, 40], [0, 0, 100, 50]]
    assert counts == Cleaned(boxes=2)
    assert str(counts) == "2 of 2 boxes kept: nothing to clean"


def test_swapped_corners_are_put_right():
    corners, counts = cleaned((30, 20, 10, 40), (10, 40, 30, 20), (30, 40, 10, 20))
    assert corners == [[10, 20, 30, 40]]
    assert counts == Cleaned(boxes=3, swapped=3, doubled=2)


def test_what_lies_outside_the_image_is_cut_off():
    corners, counts = cleaned((-5, 20, 30, 40), (90, 45, 120, 60), (-10, -10, 200, 200))
    assert corners == [[0, 20, 30, 40], [90, 45, 100, 50], [0, 0, 100, 50]]
    assert counts == Cleaned(boxes=3, clipped=3)


def test_a_box_outside_by_rounding_is_cut_off_and_not_told():
    corners, counts = cleaned((-0.0000004, 0, 100.0000004, 50))
    assert corners == [[0, 0, 100, 50]]
    assert counts == Cleaned(boxes=1)


@pytest.mark.parametrize("box", [(10, 20, 10, 40), (10, 20, 10.9, 40), (10, 49.5, 30, 60), (110, 20, 130, 40)])
def test_a_box_with_less_than_a_pixel_of_width_or_height_is_dropped(box):
    corners, counts = cleaned(box, (10, 20, 11, 21))
    assert corners == [[10, 20, 11, 21]]
    assert counts.empty == 1


def test_how_small_a_box_may_be_is_a_setting():
    assert cleaned((10, 20, 10.5, 20.5), minimum=0.5)[1].kept == 1
    assert cleaned((10, 20, 17, 28), minimum=8)[1] == Cleaned(boxes=1, empty=1)
    assert cleaned((10, 20, 10, 28), minimum=0)[1] == Cleaned(boxes=1, empty=1)


@pytest.mark.parametrize("box", [(NAN, 20, 30, 40), (10, -INF, 30, 40), (10, 20, INF, 40)])
def test_a_box_whose_corners_are_no_numbers_is_dropped(box):
    assert cleaned(box) == ([], Cleaned(boxes=1, not_finite=1))


def test_only_exact_doubles_of_one_class_are_dropped():
    twice = (10, 20, 30, 40)
    corners, counts = cleaned(twice, twice, twice, (10, 20, 30, 40.5), classes=["Boat", "Car", "Boat", "Boat"])
    assert corners == [[10, 20, 30, 40], [10, 20, 30, 40], [10, 20, 30, 40.5]]
    assert counts == Cleaned(boxes=4, doubled=1)


def test_each_kind_is_counted_in_one_line():
    counts = Cleaned(boxes=12_000, not_finite=1, swapped=2, clipped=3_000, empty=4, doubled=5)
    assert str(counts) == (
        "11,990 of 12,000 boxes kept: 1 dropped, whose corners are no numbers, 2 with swapped corners put right, 3,000"
        " clipped to the image, 4 empty ones dropped, 5 doubles dropped"
    )


def test_images_that_lose_their_boxes_stay(tmp_path):
    boxset = small_boxset()
    spoilt = replace(boxset, boxes=boxset.boxes.assign(left=500.0, right=600.0))
    left, counts = clean_boxset(spoilt)
    assert counts.empty == 2
    assert left.boxes.empty
    assert left.images["id"].tolist() == ["one", "two"]


def test_no_boxes_need_no_cleaning():
    boxset = small_boxset()
    left, counts = clean_boxset(replace(boxset, boxes=boxset.boxes.iloc[:0]))
    assert counts == Cleaned(boxes=0)
    assert left.boxes.dtypes.equals(boxset.boxes.dtypes)


def test_a_box_of_a_image_that_is_not_there_is_told():
    boxset = small_boxset()
    with pytest.raises(DataError, match="a box belongs to the image 'two', which is not in the set"):
        clean_boxes(boxset.images.iloc[:1], boxset.boxes.assign(id="two"))


@pytest.mark.parametrize("seed", range(4))
def test_what_was_cleaned_can_be_kept_and_is_clean(seed, tmp_path):
    """Whatever corners a set has."""
    boxset, random = random_boxset(seed), np.random.default_rng(seed)
    wild = random.normal(0, 3000, (len(boxset.boxes), 4))
    wild[random.random(wild.shape) < 0.05] = NAN
    once, counts = clean_boxset(replace(boxset, boxes=boxset.boxes.assign(**dict(zip(CORNERS, wild.T, strict=True)))))
    write_dataset(once, tmp_path)
    again, nothing = clean_boxset(read_dataset(tmp_path))
    assert counts.kept == len(once.boxes) == len(again.boxes)
    assert min(counts.not_finite, counts.swapped, counts.clipped) > 0
    assert nothing == Cleaned(boxes=counts.kept)
