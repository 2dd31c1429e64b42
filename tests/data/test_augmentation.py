import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from podium.data.augmentation import Augmentation, TrainingView, build_transform, transform_problems
from podium.data.images import Scaling
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


def test_a_flip_with_p_1_always_flips():
    flip = Augmentation([{"HorizontalFlip": {"p": 1.0}}], 32)
    assert (flip(left_half_red(), seed=0) == left_half_red()[:, ::-1]).all()


def test_without_transforms_the_image_is_returned_itself():
    assert Augmentation([], 32)(IMAGE, seed=0) is IMAGE


def test_the_seed_alone_decides_the_augmentation():
    first, other = Augmentation(MANY, 32), Augmentation(MANY, 32)
    before = [first(IMAGE, seed) for seed in range(20)]
    again = [other(IMAGE, seed) for seed in reversed(range(20))][::-1]  # whatever came between
    assert all((one == two).all() for one, two in zip(before, again, strict=True))
    assert len({image.tobytes() for image in before}) == 20


def test_every_thread_augments_in_the_same_way():
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


def test_the_input_is_not_changed():
    before = IMAGE.copy()
    for seed in range(10):
        Augmentation(MANY, 32)(IMAGE, seed)
    assert (before == IMAGE).all()


def test_one_of_applies_one_transform_and_can_be_nested():
    flips = {"OneOf": {"p": 1.0, "transforms": [{"HorizontalFlip": {"p": 1.0}}, {"VerticalFlip": {"p": 1.0}}]}}
    nested = {"OneOf": {"p": 1.0, "transforms": [flips, {"Transpose": {"p": 1.0}}]}}
    expected = {one.tobytes() for one in (IMAGE[:, ::-1], IMAGE[::-1], IMAGE.transpose(1, 0, 2))}
    augmentation = Augmentation([nested], 32)
    assert {augmentation(IMAGE, seed).tobytes() for seed in range(40)} == expected


def test_transforms_draw_independent_random_numbers():
    flips = Augmentation(["HorizontalFlip", "VerticalFlip"], 32)
    ways = {"none": IMAGE, "across": IMAGE[:, ::-1], "down": IMAGE[::-1], "both": IMAGE[::-1, ::-1]}
    name_of = {image.tobytes(): name for name, image in ways.items()}
    found = [name_of[flips(IMAGE, seed).tobytes()] for seed in range(400)]
    assert all(75 <= found.count(name) <= 125 for name in ways)


@pytest.mark.parametrize("size", ["image_size", ["image_size", "image_size"]])
def test_image_size_is_replaced_by_that_of_the_stage(size):
    assert build_transform({"RandomResizedCrop": {"size": size}}, 48).size == (48, 48)


def test_image_size_is_replaced_inside_one_of():
    one_of = build_transform(
        {"OneOf": {"transforms": [{"Resize": {"height": "image_size", "width": "image_size"}}]}}, 48
    )
    assert (one_of.transforms[0].height, one_of.transforms[0].width) == (48, 48)


def test_a_list_in_yaml_becomes_a_tuple():
    assert build_transform({"Rotate": {"limit": [-3, 7]}}, 32).limit == (-3, 7)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("HorizontalFlp", "'HorizontalFlp' is not a transform of Albumentations; did you mean 'HorizontalFlip'?"),
        ("horizontal_flip", "did you mean 'HorizontalFlip'?"),
        ({"Rotate": {"limt": 10}}, "Rotate has no argument limt; did you mean 'limit'?"),
        ({"OneOf": {"transforms": [{"Rotate": {"limt": 10}}]}}, "Rotate has no argument limt"),
        ({"Rotate": {"limit": "wide"}}, "Rotate: limit"),
        ({"HorizontalFlip": {"p": 2}}, "HorizontalFlip: p: Input should be less than or equal to 1"),
        ({"Rotate": 10}, "Rotate: expected named arguments such as {p: 0.5}, got 10"),
        ({"Rotate": None}, "Rotate: expected named arguments"),
        ({"OneOf": {"transforms": []}}, "OneOf: expected a list of transforms, got []"),
        ({"OneOf": {"transforms": "HorizontalFlip"}}, "OneOf: expected a list of transforms, got 'HorizontalFlip'"),
        ({"OneOf": {"transforms": [3]}}, "expected a transform's name"),
        ({"Rotate": {}, "HorizontalFlip": {}}, "expected a transform's name"),
        ({}, "expected a transform's name"),
        ("BasicTransform", "BasicTransform: NotImplementedError"),
        ("BboxParams", "'BboxParams' is not a transform"),
        ("RandAugmnt", "did you mean 'RandAugment'?"),
        ({"TrivialAugment": {"n": 2}}, "TrivialAugment has no argument n; expected p"),
        (
            {"RandAugment": {"n": 0}},
            "RandAugment: expected n, the number of operations, as a whole number from 1, got 0",
        ),
        ({"RandAugment": {"magnitude": 31}}, "RandAugment: expected a magnitude above 0, up to 30, got 31"),
        ({"RandAugment": {"magnitude": "high"}}, "RandAugment: "),
    ],
)
def test_an_invalid_transform_is_a_one_line_error(item, reason):
    with pytest.raises(ConfigError) as caught:
        build_transform(item, 32)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"RandomCrop": {"height": 20, "width": 24}}, "changed 32×32 pixels to 24×20; .* `size: image_size`"),
        ({"Normalize": {"p": 1.0}}, "changed uint8 to float32; .* the model scales its inputs"),
        ({"MaskDropout": {"p": 1.0}}, "failed for an image of 32×32 pixels .*mask"),
        ({"CenterCrop": {"height": 64, "width": 64}}, "failed for an image of 32×32 pixels"),
    ],
)
def test_an_augmentation_must_keep_shape_and_type(item, reason):
    with pytest.raises(ConfigError, match=reason):
        Augmentation([item], 32)(IMAGE, seed=0)


def test_images_are_augmented_at_a_larger_size_and_then_scaled():
    """A crop of a quarter of the image has its own pixels, not enlarged ones."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    quarter = {"Crop": {"x_max": 32, "y_max": 32, "p": 1.0}}
    view = TrainingView(32, "squash", Augmentation([quarter], 32), (1,), before=64)
    assert (str(view.scaling), view.size) == ("squash-64", 32)
    assert (view(image, 0, 0) == image[:32, :32]).all()
    flipped = TrainingView(32, "squash", Augmentation([{"HorizontalFlip": {"p": 1.0}}], 32), (1,), before=64)
    assert (flipped(image, 0, 0) == Scaling(32, "squash").scale(np.ascontiguousarray(image[:, ::-1]))).all()


ERASED = [{"Erasing": {"scale": [0.1, 0.2], "p": 1.0}}]


def test_erasing_covers_a_rectangle_of_this_share():
    for seed in range(5):
        erased = (Augmentation(ERASED, 32)(np.full((32, 32, 3), 200, np.uint8), seed) != 200).all(axis=2)
        assert 0.07 < erased.mean() < 0.23
        assert erased[erased.any(axis=1)][:, erased.any(axis=0)].all()


def scene():
    """Stripes of every grey value above 60, and a bright square."""
    image = np.broadcast_to(np.linspace(60, 160, 64).astype(np.uint8)[None, :, None], (64, 64, 3)).copy()
    image[20:44, 14:38] = (250, 240, 30)
    return image


def strength(magnitude, seeds=40):
    augment = Augmentation([{"RandAugment": {"n": 1, "magnitude": magnitude}}], 64)
    changed = [np.abs(augment(scene(), seed).astype(int) - scene()).mean() for seed in range(seeds)]
    return np.mean(changed)


def test_one_of_many_operations_is_applied():
    augment = Augmentation(["TrivialAugment"], 64)
    images = [augment(scene(), seed) for seed in range(60)]
    assert 1 <= sum((image == scene()).all() for image in images) < 15  # one operation changes nothing
    assert len({image.tobytes() for image in images}) > 40
    assert len({Augmentation([{"TrivialAugment": {"p": 0.0}}], 64)(scene(), seed).tobytes() for seed in range(5)}) == 1


def test_magnitude_is_the_strength_of_the_operations():
    assert strength(3) < strength(15) < strength(30)
    twice = Augmentation([{"RandAugment": {"n": 2, "magnitude": 9}}], 64)
    assert transform_problems(member(augmentation=["TrivialAugment", {"RandAugment": {"n": 3}}])) == []
    assert (twice(scene(), 5) == twice(scene(), 5)).all()


def test_random_operations_need_colours():
    problems = transform_problems(member(augmentation=["TrivialAugment"]), channels=5)
    message = "TrivialAugment changes colours, and these images have 5 channels: list single transforms"
    assert problems == [("augmentation.0", message)]


@pytest.mark.parametrize("name", ["TrivialAugment", "RandAugment"])
def test_random_operations_move_boxes_with_the_image(name):
    black = np.zeros((64, 64, 3), np.uint8)
    black[20:44, 14:38] = 200
    augment, moved = Augmentation([name], 64, takes_boxes=True), 0
    for seed in range(60):
        image, boxes = augment.with_boxes(black, np.array([[14, 20, 38, 44]], np.float32), seed)
        rows, columns = np.nonzero(image[..., 0] == 200)
        if not (len(rows) and len(boxes)) or image[0, 0, 0]:  # moved away, or a changed colour
            continue
        left, top, right, bottom = boxes[0, :4]
        assert left - 2 <= columns.min() <= columns.max() <= right + 2
        assert top - 2 <= rows.min() <= rows.max() <= bottom + 2
        moved += (boxes[0, :4] != [14, 20, 38, 44]).any()
    assert moved > 5


def member(**changes):
    stages = [{"name": "head", "image_size": 32}, {"name": "full", "image_size": 48, "augmentation": []}]
    return {"augmentation": ["HorizontalFlip"], "stages": stages, "tta": ["identity", {"scale": 1.1}], **changes}


def test_a_valid_member_has_no_problems():
    assert transform_problems(member(augmentation=MANY)) == []
    assert transform_problems({}) == []


def test_problems_are_reported_with_their_keys():
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


def test_a_plain_list_of_views_has_its_own_key():
    assert [key for key, _ in transform_problems(member(tta=["identity", "Transpos"]))] == ["tta.1"]


@pytest.mark.parametrize("shape", ["none", None, 3, {"views": 3}, [3], [[3]], {"views": [None]}])
def test_problems_of_the_schema_are_not_reported_again(shape):
    assert transform_problems(member(tta=shape, augmentation=shape, stages=shape)) == []
    assert transform_problems(member(stages=[{"image_size": "large", "augmentation": shape}])) == []


def test_a_transform_that_fails_on_images_is_found_before_training():
    seldom = {"RandomCrop": {"height": 20, "width": 20, "p": 0.01}}
    ((key, reason),) = transform_problems(member(augmentation=["HorizontalFlip", seldom]))
    assert key == "augmentation.1"
    assert "changed 32×32 pixels to 20×20" in reason


def test_transforms_are_tried_at_the_image_size_of_each_stage():
    crop = {"RandomResizedCrop": {"size": [48, 48]}}
    assert transform_problems(member(stages=[{"image_size": 48, "augmentation": [crop]}, {"image_size": 32}])) == []
    assert [key for key, _ in transform_problems(member(augmentation=[crop]))] == ["augmentation.0"]


def test_warnings_while_transforms_are_tried_are_suppressed():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert transform_problems(member(augmentation=["ConstrainedCoarseDropout", "ToRGB"])) == []
    assert caught == []
