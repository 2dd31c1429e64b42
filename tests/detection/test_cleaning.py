from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from random_datasets import random_dataset, small_dataset

from podium.detection.cleaning import CleaningCounts, clean_boxes
from podium.detection.dataset import BOX_COLUMNS, CORNERS, read_dataset, write_dataset
from podium.errors import DataError

INF, NAN = float("inf"), float("nan")


def cleaned(*corners, classes=None, minimum=1.0):
    """Clean boxes with these corners in an image of 100 × 50."""
    boxes = pd.DataFrame(corners, columns=list(CORNERS), dtype=float)
    boxes = boxes.assign(id="one", occluded=False, truncated=False, group=False, depiction=False)
    boxes["class"] = classes or "Boat"
    left, counts = clean_boxes(small_dataset().images, boxes[list(BOX_COLUMNS)], minimum)
    return left[list(CORNERS)].to_numpy().tolist(), counts


def test_clean_boxes_are_unchanged():
    corners, counts = cleaned((10, 20, 30, 40), (0, 0, 100, 50))
    assert corners == [[10, 20, 30, 40], [0, 0, 100, 50]]
    assert counts == CleaningCounts(boxes=2)
    assert str(counts) == "2 of 2 boxes kept"


def test_swapped_corners_are_fixed():
    corners, counts = cleaned((30, 20, 10, 40), (10, 40, 30, 20), (30, 40, 10, 20))
    assert corners == [[10, 20, 30, 40]]
    assert counts == CleaningCounts(boxes=3, swapped=3, duplicates=2)


def test_boxes_are_clipped_to_the_image():
    corners, counts = cleaned((-5, 20, 30, 40), (90, 45, 120, 60), (-10, -10, 200, 200))
    assert corners == [[0, 20, 30, 40], [90, 45, 100, 50], [0, 0, 100, 50]]
    assert counts == CleaningCounts(boxes=3, clipped=3)


def test_box_outside_by_rounding_is_clipped_but_not_counted():
    corners, counts = cleaned((-0.0000004, 0, 100.0000004, 50))
    assert corners == [[0, 0, 100, 50]]
    assert counts == CleaningCounts(boxes=1)


@pytest.mark.parametrize("box", [(10, 20, 10, 40), (10, 20, 10.9, 40), (10, 49.5, 30, 60), (110, 20, 130, 40)])
def test_box_smaller_than_a_pixel_is_removed(box):
    corners, counts = cleaned(box, (10, 20, 11, 21))
    assert corners == [[10, 20, 11, 21]]
    assert counts.empty == 1


def test_minimum_size_can_be_set():
    assert cleaned((10, 20, 10.5, 20.5), minimum=0.5)[1].kept == 1
    assert cleaned((10, 20, 17, 28), minimum=8)[1] == CleaningCounts(boxes=1, empty=1)
    assert cleaned((10, 20, 10, 28), minimum=0)[1] == CleaningCounts(boxes=1, empty=1)


@pytest.mark.parametrize("box", [(NAN, 20, 30, 40), (10, -INF, 30, 40), (10, 20, INF, 40)])
def test_box_with_non_finite_corners_is_removed(box):
    assert cleaned(box) == ([], CleaningCounts(boxes=1, not_finite=1))


def test_only_exact_duplicates_of_a_class_are_removed():
    twice = (10, 20, 30, 40)
    corners, counts = cleaned(twice, twice, twice, (10, 20, 30, 40.5), classes=["Boat", "Car", "Boat", "Boat"])
    assert corners == [[10, 20, 30, 40], [10, 20, 30, 40], [10, 20, 30, 40.5]]
    assert counts == CleaningCounts(boxes=4, duplicates=1)


def test_counts_are_summarized_in_one_line():
    counts = CleaningCounts(boxes=12_000, not_finite=1, swapped=2, clipped=3_000, empty=4, duplicates=5)
    assert str(counts) == (
        "11,990 of 12,000 boxes kept: 1 removed with non-finite corners, 2 with swapped corners fixed, 3,000 clipped"
        " to the image, 4 removed as empty, 5 removed as duplicates"
    )


def test_no_boxes_need_no_cleaning():
    dataset = small_dataset()
    boxes, counts = clean_boxes(dataset.images, dataset.boxes.iloc[:0])
    assert counts == CleaningCounts(boxes=0)
    assert boxes.dtypes.equals(dataset.boxes.dtypes)


def test_box_of_an_unknown_image_is_reported():
    dataset = small_dataset()
    with pytest.raises(DataError, match="a box belongs to the image 'two', which is not in the dataset"):
        clean_boxes(dataset.images.iloc[:1], dataset.boxes.assign(id="two"))


@pytest.mark.parametrize("seed", range(4))
def test_cleaned_boxes_can_be_written_and_need_no_further_cleaning(seed, tmp_path):
    dataset, random = random_dataset(seed), np.random.default_rng(seed)
    corners = random.normal(0, 3000, (len(dataset.boxes), 4))
    corners[random.random(corners.shape) < 0.05] = NAN
    boxes, counts = clean_boxes(dataset.images, dataset.boxes.assign(**dict(zip(CORNERS, corners.T, strict=True))))
    write_dataset(replace(dataset, boxes=boxes), tmp_path)
    written = read_dataset(tmp_path)
    again, nothing = clean_boxes(written.images, written.boxes)
    assert counts.kept == len(boxes) == len(again)
    assert min(counts.not_finite, counts.swapped, counts.clipped) > 0
    assert nothing == CleaningCounts(boxes=counts.kept)
