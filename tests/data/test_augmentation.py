import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from podium.data.augmentation import Augmentation, build_transform, transform_problems
from podium.errors import ConfigError

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
MANY = [
    "HorizontalFlip",
    {"Rotate": {"limit": 20, "p": 0.7}},
    {"RandomResizedCrop": {"size": "image_size", "scale": [0.6, 1.0]}},
    {"OneOf": {"p": 0.8, "transforms": ["GaussNoise", {"GaussianBlur": {"blur_limit": [3, 5]}}, "RandomGamma"]}},
    {"CoarseDropout": {"p": 0.5}},
    {"RandomBrightnessContrast": {"p": 0.9}},
]


def left_half_red():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16, 0] = 255
    return image


def test_a_certain_flip_turns_left_to_right():
    flip = Augmentation([{"HorizontalFlip": {"p": 1.0}}], 32)
    assert (flip(left_half_red(), seed=0) == left_half_red()[:, ::-1]).all()


def test_no_transforms_give_the_very_image_back():
    assert Augmentation([], 32)(IMAGE, seed=0) is IMAGE


def test_the_seed_alone_decides_how_a_image_is_changed():
    first, other = Augmentation(MANY, 32), Augmentation(MANY, 32)
    before = [first(IMAGE, seed) for seed in range(20)]
    again = [other(IMAGE, seed) for seed in reversed(range(20))][::-1]  # whatever came between
    assert all((one == two).all() for one, two in zip(before, again, strict=True))
    assert len({image.tobytes() for image in before}) == 20


def test_every_thread_changes_a_image_alike():
    augmentation = Augmentation(MANY, 32)
    expected = [augmentation(IMAGE, seed).tobytes() for seed in range(40)]
    together = threading.Barrier(4)

    def in_a_thread(offset):
        together.wait(timeout=30)
        seeds = [(seed + 10 * offset) % 40 for seed in range(40)]
        return {seed: augmentation(IMAGE, seed).tobytes() for seed in seeds}

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(in_a_thread, range(4)):
            assert [found[seed] for seed in range(40)] == expected


def test_the_image_given_is_not_changed_itself():
    before = IMAGE.copy()
    for seed in range(10):
        Augmentation(MANY, 32)(IMAGE, seed)
    assert (before == IMAGE).all()


def test_one_of_takes_one_transform_and_may_hold_another_one_of():
    flips = {"OneOf": {"p": 1.0, "transforms": [{"HorizontalFlip": {"p": 1.0}}, {"VerticalFlip": {"p": 1.0}}]}}
    nested = {"OneOf": {"p": 1.0, "transforms": [flips, {"Transpose": {"p": 1.0}}]}}
    expected = {one.tobytes() for one in (IMAGE[:, ::-1], IMAGE[::-1], IMAGE.transpose(1, 0, 2))}
    augmentation = Augmentation([nested], 32)
    assert {augmentation(IMAGE, seed).tobytes() for seed in range(40)} == expected


def test_what_one_transform_draws_says_nothing_about_the_next():
    flips = Augmentation(["HorizontalFlip", "VerticalFlip"], 32)
    ways = {"none": IMAGE, "across": IMAGE[:, ::-1], "down": IMAGE[::-1], "both": IMAGE[::-1, ::-1]}
    name_of = {image.tobytes(): name for name, image in ways.items()}
    found = [name_of[flips(IMAGE, seed).tobytes()] for seed in range(400)]
    assert all(75 <= found.count(name) <= 125 for name in ways)


@pytest.mark.parametrize("size", ["image_size", ["image_size", "image_size"]])
def test_image_size_stands_for_the_stages_own(size):
    assert build_transform({"RandomResizedCrop": {"size": size}}, 48).size == (48, 48)


def test_image_size_is_a_number_where_one_is_asked_for_also_inside_one_of():
    one_of = build_transform(
        {"OneOf": {"transforms": [{"Resize": {"height": "image_size", "width": "image_size"}}]}}, 48
    )
    assert (one_of.transforms[0].height, one_of.transforms[0].width) == (48, 48)


def test_a_list_of_yaml_is_a_range():
    assert build_transform({"Rotate": {"limit": [-3, 7]}}, 32).limit == (-3, 7)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("HorizontalFlp", "'HorizontalFlp' is no transform of Albumentations; did you mean 'HorizontalFlip'?"),
        ("horizontal_flip", "did you mean 'HorizontalFlip'?"),
        ({"Rotate": {"limt": 10}}, "Rotate has no argument limt; did you mean 'limit'?"),
        ({"OneOf": {"transforms": [{"Rotate": {"limt": 10}}]}}, "Rotate has no argument limt"),
        ({"Rotate": {"limit": "wide"}}, "Rotate: limit"),
        ({"HorizontalFlip": {"p": 2}}, "HorizontalFlip: p: Input should be less than or equal to 1"),
        ({"Rotate": 10}, "Rotate takes arguments by name, such as {p: 0.5}: got 10"),
        ({"Rotate": None}, "Rotate takes arguments by name"),
        ({"OneOf": {"transforms": []}}, "OneOf takes a list of transforms: got []"),
        ({"OneOf": {"transforms": "HorizontalFlip"}}, "OneOf takes a list of transforms: got 'HorizontalFlip'"),
        ({"OneOf": {"transforms": [3]}}, "a transform is a name, or one with its arguments"),
        ({"Rotate": {}, "HorizontalFlip": {}}, "a transform is a name, or one with its arguments"),
        ({}, "a transform is a name, or one with its arguments"),
        ("BasicTransform", "BasicTransform: NotImplementedError"),
        ("BboxParams", "'BboxParams' is no transform"),
    ],
)
def test_a_transform_that_cannot_be_is_told_in_one_line(written, reason):
    with pytest.raises(ConfigError) as caught:
        build_transform(written, 32)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"RandomCrop": {"height": 20, "width": 24}}, "turned 32×32 pixels into 24×20; .* `size: image_size`"),
        ({"Normalize": {"p": 1.0}}, "turned uint8 into float32; .* the model does that itself"),
        ({"MaskDropout": {"p": 1.0}}, "failed on an image of 32×32 pixels .*mask"),
        ({"CenterCrop": {"height": 64, "width": 64}}, "failed on an image of 32×32 pixels"),
    ],
)
def test_a_image_keeps_its_size_and_its_kind_of_numbers(written, reason):
    with pytest.raises(ConfigError, match=reason):
        Augmentation([written], 32)(IMAGE, seed=0)


def member(**changes):
    stages = [{"name": "head", "image_size": 32}, {"name": "full", "image_size": 48, "augmentation": []}]
    return {"augmentation": ["HorizontalFlip"], "stages": stages, "tta": ["identity", {"scale": 1.1}], **changes}


def test_a_member_without_problems_has_none():
    assert transform_problems(member(augmentation=MANY)) == []
    assert transform_problems({}) == []


def test_problems_are_told_by_the_key_where_they_stand():
    problems = transform_problems(
        member(
            augmentation=["HorizontalFlip", "VerticalFlp"],
            stages=[
                {"image_size": 32, "augmentation": ["HorizontalFlip"]},
                {"image_size": 32, "augmentation": [{"Rotate": {"limt": 3}}]},
            ],
            tta={"views": ["identity", "Transpos", ["horizontal_flip", {"Rotate": {"limit": "x"}}]]},
        )
    )
    keys = ["augmentation.1", "stages.1.augmentation.0", "tta.views.1", "tta.views.2.1"]
    assert [key for key, _ in problems] == keys


def test_a_short_list_of_views_has_its_own_key():
    assert [key for key, _ in transform_problems(member(tta=["identity", "Transpos"]))] == ["tta.1"]


@pytest.mark.parametrize("shape", ["none", None, 3, {"views": 3}, [3], [[3]], {"views": [None]}])
def test_what_the_schema_tells_is_not_told_twice(shape):
    assert transform_problems(member(tta=shape, augmentation=shape, stages=shape)) == []
    assert transform_problems(member(stages=[{"image_size": "large", "augmentation": shape}])) == []


def test_a_transform_that_only_fails_on_a_image_is_found_before_training():
    seldom = {"RandomCrop": {"height": 20, "width": 20, "p": 0.01}}
    ((key, reason),) = transform_problems(member(augmentation=["HorizontalFlip", seldom]))
    assert key == "augmentation.1"
    assert "turned 32×32 pixels into 20×20" in reason


def test_each_stages_transforms_are_tried_at_its_own_size():
    crop = {"RandomResizedCrop": {"size": [48, 48]}}
    assert transform_problems(member(stages=[{"image_size": 48, "augmentation": [crop]}, {"image_size": 32}])) == []
    assert [key for key, _ in transform_problems(member(augmentation=[crop]))] == ["augmentation.0"]


def test_a_warning_of_the_library_while_it_is_tried_reaches_nobody():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert transform_problems(member(augmentation=["ConstrainedCoarseDropout", "ToRGB"])) == []
    assert caught == []
