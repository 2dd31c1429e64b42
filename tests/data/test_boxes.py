import cv2
import numpy as np
import pytest

from podium.data import batches as batches_module
from podium.data.augmentation import Augmentation
from podium.data.batches import BoxBatches
from podium.data.boxes import ImageBoxes, clip, from_square, to_square
from podium.data.catalogue import ImageSource
from podium.data.images import Scaling, cut_square
from podium.data.workers import WorkerPool
from podium.errors import ConfigError

RED = (250, 10, 10)


def boxes_of(*rows):
    return np.array(rows, np.float32).reshape(-1, 5)


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        ("squash", [10, 40, 30, 80, 3]),  # 200 wide, 100 high, to 100: half as wide, as high as before
        ("pad", [10, 45, 30, 65, 3]),  # half each way, 25 pixels of edge above
        ("crop", [0, 40, 10, 80, 3]),  # as large as before, 50 pixels cut off at the left: of 40 columns 10 are left
    ],
)
def test_a_box_moves_with_its_image(resize, expected):
    assert to_square(boxes_of([20, 40, 60, 80, 3]), 100, 200, 100, resize).tolist() == [expected]


@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_from_square_is_the_inverse_of_to_square(resize):
    boxes = boxes_of([20, 40, 60, 80, 3], [0, 0, 333, 217, 0])
    there = to_square(boxes, 217, 333, 96, resize)
    assert np.allclose(from_square(there, 217, 333, 96, resize), boxes, atol=1e-3)


def test_boxes_on_the_padding_are_clipped():
    assert from_square(boxes_of([0, 0, 50, 50, 1]), 100, 200, 100, "pad").tolist() == [[0, 0, 100, 50, 1]]


def test_a_box_of_which_too_little_is_visible_is_dropped():
    cut = clip(boxes_of([-70, 0, 30, 10, 0], [-80, 0, 20, 10, 1], [-10, -10, 0, 0, 2]), 100, 100)
    assert cut.tolist() == [[0, 0, 30, 10, 0]]  # 30 %, 20 % and nothing


@pytest.mark.parametrize("resize", ["squash", "pad", "crop"])
@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (64, 64)])
def test_boxes_stay_on_their_objects(resize, shape):
    height, width = shape
    image = np.zeros((height, width, 3), np.uint8)
    cv2.rectangle(image, (30, 20), (49, 39), RED, thickness=-1)
    (left, top, right, bottom, _), *_ = to_square(boxes_of([30, 20, 50, 40, 0]), height, width, 64, resize)
    scaled = cut_square(Scaling(64, resize).scale(image), 64, resize)
    ys, xs = np.nonzero(scaled[..., 0] > 125)
    assert np.abs([xs.min() - left, ys.min() - top, xs.max() + 1 - right, ys.max() + 1 - bottom]).max() <= 1.0


@pytest.mark.parametrize(
    "transform", ["HorizontalFlip", "VerticalFlip", {"RandomResizedCrop": {"size": "image_size", "scale": [0.6, 0.9]}}]
)
def test_transforms_move_boxes(transform):
    image = np.zeros((64, 64, 3), np.uint8)
    image[16:32, 24:48] = RED
    augmentation = Augmentation([_surely(transform)], 64, takes_boxes=True)
    changed, boxes = augmentation.with_boxes(image, boxes_of([24, 16, 48, 32, 7]), seed=3)
    ys, xs = np.nonzero(changed[..., 0] > 125)
    left, top, right, bottom, kind = boxes[0]
    assert kind == 7
    assert np.abs([xs.min() - left, ys.min() - top, xs.max() + 1 - right, ys.max() + 1 - bottom]).max() <= 1.0


def test_an_image_without_boxes_is_augmented():
    image = np.zeros((64, 64, 3), np.uint8)
    changed, boxes = Augmentation(["HorizontalFlip"], 64, takes_boxes=True).with_boxes(image, boxes_of(), seed=0)
    assert changed.shape == image.shape
    assert boxes.shape == (0, 5)


def test_a_transform_without_support_for_boxes_is_an_error():
    image, boxes = np.zeros((64, 64, 3), np.uint8), boxes_of([1, 1, 9, 9, 0])
    augmentation = Augmentation([{"MaskDropout": {"p": 1.0}}], 64, takes_boxes=True)
    with pytest.raises(ConfigError, match="use transforms that work on images and boxes"):
        augmentation.with_boxes(image, boxes, seed=0)


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path in paths:
        cv2.imwrite(str(path), random.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    boxed = [ImageBoxes(40, 60, boxes_of(*[[5, 5, 45, 35, number % 2]] * (number % 3))) for number in range(6)]
    return paths, boxed


def an_epoch(images, epoch=0):
    paths, boxed = images
    batches = BoxBatches(
        ImageSource(paths),
        boxed,
        image_size=32,
        resize="pad",
        batch_size=4,
        augmentation=Augmentation(["HorizontalFlip", {"Rotate": {"limit": 20, "p": 0.5}}], 32, takes_boxes=True),
        seed=(1, 0, 0),
    )
    batches.epoch = epoch
    return [batches[number] for number in range(len(batches))]


def test_each_image_appears_once_with_its_boxes_padded_with_minus_one(images):
    first, last = an_epoch(images)
    assert [first[0].shape, last[0].shape] == [(4, 32, 32, 3), (2, 32, 32, 3)]
    boxes = np.concatenate([first[1], last[1]])
    assert boxes.shape == (6, 2, 5)  # two boxes at the most
    counts = (boxes[..., 4] >= 0).sum(axis=1)
    assert sorted(counts.tolist()) == [0, 0, 1, 1, 2, 2]
    assert (boxes[boxes[..., 4] < 0] == -1).all()


def test_processes_prepare_the_boxes_that_threads_prepare(images, monkeypatch):
    by_threads = an_epoch(images)
    monkeypatch.setenv("PODIUM_WORKERS", "2")
    pool = WorkerPool()
    monkeypatch.setattr(batches_module, "worker_pool", lambda: pool)
    pool.start()
    pool.wait_until_ready()
    try:
        by_processes = an_epoch(images)
    finally:
        pool.end()
    for mine, theirs in zip(by_processes, by_threads, strict=True):
        assert (mine[0] == theirs[0]).all()
        assert (mine[1] == theirs[1]).all()


def test_boxes_move_differently_in_each_epoch(images):
    assert any((one[1] != other[1]).any() for one, other in zip(an_epoch(images), an_epoch(images, 1), strict=True))


def _surely(transform):
    name, arguments = (transform, {}) if isinstance(transform, str) else next(iter(transform.items()))
    return {name: {**arguments, "p": 1.0}}
