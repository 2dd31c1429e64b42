"""Choosing the main object, the cropped region and the background. All values computed by hand."""

import cv2
import numpy as np
import pytest

from podium.detection.config import CropOptions
from podium.detection.cropping import (
    Box,
    apply_method,
    choose_box,
    crop_image,
    crop_region,
    encode_image,
    shrink,
)

WIDTH, HEIGHT = 100, 60


def car(left, top, right, bottom, score=0.9, name="Car"):
    return Box(name, score, left, top, right, bottom)


SMALL_AND_SURE = car(10, 10, 20, 20, 0.9)  # 100 pixels: 0.015 of the image's score times share
LARGE_AND_DOUBTFUL = car(40, 0, 100, 60, 0.35)  # 3,600 pixels: 0.21
BETWEEN = car(50, 5, 100, 55, 0.8)  # 2,500 pixels: 0.33


@pytest.mark.parametrize(
    ("choose", "chosen"), [("score", SMALL_AND_SURE), ("size", LARGE_AND_DOUBTFUL), ("both", BETWEEN)]
)
def test_object_is_chosen_by_score_by_size_or_by_both(choose, chosen):
    boxes = [SMALL_AND_SURE, LARGE_AND_DOUBTFUL, BETWEEN]
    for order in (boxes, boxes[::-1]):
        assert choose_box(order, WIDTH, HEIGHT, CropOptions("Car", choose=choose)) == chosen


def test_other_classes_and_scores_below_the_threshold_are_ignored():
    boxes = [car(0, 0, 90, 50, name="Boat"), car(0, 0, 80, 50, 0.29), car(0, 0, 10, 10, 0.3)]
    assert choose_box(boxes, WIDTH, HEIGHT, CropOptions("Car", threshold=0.3)) == boxes[2]
    assert choose_box(boxes[:2], WIDTH, HEIGHT, CropOptions("Car", threshold=0.3)) is None


def test_parts_outside_the_image_are_ignored():
    within = car(0, 0, 30, 30, 0.5)
    assert choose_box([car(90, 0, 400, 60, 0.5), within], WIDTH, HEIGHT, CropOptions("Car", choose="size")) == within
    assert choose_box([car(100, 0, 140, 60)], WIDTH, HEIGHT, CropOptions("Car")) is None


def test_ties_go_to_the_left_box():
    boxes = [car(50, 0, 60, 10), car(20, 0, 30, 10)]
    assert choose_box(boxes, WIDTH, HEIGHT, CropOptions("Car")) == boxes[1]


@pytest.mark.parametrize(
    ("box", "options", "region"),
    [
        (car(10, 20, 30, 40), {}, (10, 20, 30, 40)),
        (car(10.4, 20.6, 29.5, 39.1), {}, (10, 20, 30, 40)),  # whole pixels, those covered in part too
        (car(10, 20, 30, 30), {"margin": 0.1}, (8, 19, 32, 31)),  # 2 pixels of 20, 1 of 10
        (car(1, 20, 31, 58), {"margin": 0.2}, (0, 12, 37, 60)),  # 6 of 30, 7.6 of 38: as far as the image goes
        (car(20, 20, 50, 30), {"square": True}, (20, 10, 50, 40)),  # 10 more above and below
        (car(20, 20, 30, 50), {"square": True}, (10, 20, 40, 50)),
        (car(20, 0, 50, 10), {"square": True}, (20, 0, 50, 30)),  # moved down by 10
        (car(20, 50, 50, 60), {"square": True}, (20, 30, 50, 60)),  # moved up
        (car(0, 10, 10, 50), {"square": True}, (0, 10, 40, 50)),  # moved right
        (car(90, 10, 100, 50), {"square": True}, (60, 10, 100, 50)),  # moved left
        (car(10, 20, 90, 40), {"square": True}, (10, 0, 90, 60)),  # 80 wide, and the image has 60: cut off
        (car(20, 20, 40, 30), {"margin": 0.5, "square": True}, (10, 5, 50, 45)),  # 40 wide with its margin
    ],
)
def test_region_with_margin_and_square(box, options, region):
    assert crop_region(box, WIDTH, HEIGHT, **options) == region


def test_region_contains_its_box_and_is_inside_the_image():
    random = np.random.default_rng(0)
    for number in range(500):
        width, height = (int(side) for side in random.integers(1, 80, 2))
        (left, right), (top, bottom) = (np.sort(random.uniform(0, side, 2)) for side in (width, height))
        is_square = number % 2 == 1
        place = crop_region(
            car(left, top, right, bottom), width, height, margin=float(random.uniform(0, 1)), square=is_square
        )
        assert 0 <= place[0] <= left <= right <= place[2] <= width
        assert 0 <= place[1] <= top <= bottom <= place[3] <= height
        across, along = place[2] - place[0], place[3] - place[1]
        assert not is_square or across in (along, width) or along == height


def image():
    """Each pixel tells its column and its row."""
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return np.dstack([columns, rows, np.full_like(rows, 200)]).astype(np.uint8)


def test_cropping_does_not_change_pixels():
    cut = apply_method(image(), (10, 20, 30, 25), "crop")
    assert cut.shape == (5, 20, 3)
    assert cut[0, 0].tolist() == [10, 20, 200]
    assert cut[-1, -1].tolist() == [29, 24, 200]


@pytest.mark.parametrize(("how", "value"), [("grey", 128), ("black", 0)])
def test_background_is_grey_or_black_and_object_unchanged(how, value):
    whole = image()
    made = apply_method(whole, (10, 20, 30, 25), how)
    assert made.shape == whole.shape
    is_object = np.zeros((HEIGHT, WIDTH), dtype=bool)
    is_object[20:25, 10:30] = True
    assert (made[is_object] == whole[is_object]).all()
    assert (made[~is_object] == value).all()
    assert (whole == image()).all()


def test_blurred_background_keeps_its_colour_and_loses_detail():
    board = np.indices((HEIGHT, WIDTH)).sum(axis=0) % 4 < 2  # stripes
    whole = np.repeat(np.where(board, 200, 100).astype(np.uint8)[..., None], 3, axis=2)
    made = apply_method(whole, (10, 20, 30, 25), "blur")
    assert (made[20:25, 10:30] == whole[20:25, 10:30]).all()
    assert abs(int(made[40:].mean()) - 150) <= 2
    assert made[40:].std() < 5 < whole[40:].std()


def test_blur_does_not_depend_on_image_size():
    half = np.zeros((600, 1000, 3), dtype=np.uint8)
    half[:, 500:] = 200
    large = apply_method(half, (0, 0, 1, 1), "blur")
    small = apply_method(half[::5, ::5], (0, 0, 1, 1), "blur")
    assert np.abs(large[::5, ::5].astype(int) - small.astype(int))[10:].max() <= 8


def test_images_are_only_shrunk():
    assert shrink(image(), 50).shape == (30, 50, 3)
    assert shrink(image(), 400).shape == (60, 100, 3)
    assert shrink(np.zeros((1, 100, 3), np.uint8), 10).shape == (1, 10, 3)


def test_image_without_object_is_unchanged():
    made = crop_image(image(), [car(0, 0, 9, 9, 0.1)], CropOptions("Car", method="black"))
    assert made.box is None
    assert made.region == (0, 0, WIDTH, HEIGHT)
    assert (made.image == image()).all()


def test_image_is_cropped_to_its_object():
    made = crop_image(image(), [car(10, 20, 30, 30)], CropOptions("Car", margin=0.1, size=12))
    assert made.region == (8, 19, 32, 31)
    assert made.box.score == 0.9
    assert made.image.shape == (6, 12, 3)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".webp", ".gif", ""])
def test_other_formats_are_lossless(suffix):
    read = cv2.imdecode(np.frombuffer(encode_image(image(), suffix), np.uint8), cv2.IMREAD_COLOR)
    assert (cv2.cvtColor(read, cv2.COLOR_BGR2RGB) == image()).all()


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg"])
def test_jpeg_has_high_quality(suffix):
    content = encode_image(image(), suffix)
    assert content.startswith(b"\xff\xd8")
    read = cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(read.astype(int) - image()).mean() < 2
