import cv2
import keras
import numpy as np
import pytest

from podium.config.mixing import Mix
from podium.data.augmentation import Augmentation, PlainView
from podium.data.batches import PredictionBatches, TrainingBatches
from podium.data.catalogue import ImageSource
from podium.data.mixing import Mixing
from podium.errors import DataError
from podium.models.feed import as_dataset

AUGMENTATION = [
    "HorizontalFlip",
    {"Rotate": {"limit": 10, "p": 0.5}},
    {"OneOf": {"p": 0.5, "transforms": ["GaussNoise", "GaussianBlur"]}},
]
ROWS = 11
TARGETS = np.eye(3, dtype=np.float32)[np.arange(ROWS) % 3]


@pytest.fixture
def paths(tmp_path):
    """One image per row; its red channel is ten times the number of the row."""
    random = np.random.default_rng(0)
    for row in range(ROWS):
        image = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        image[..., 0] = 10 * row
        cv2.imwrite(str(tmp_path / f"{row}.png"), image[..., ::-1])
    return [tmp_path / f"{row}.png" for row in range(ROWS)]


def training_batches(paths, augmentation=(), seed=(1, 0, 0), batch_size=4, **more):
    return TrainingBatches(
        ImageSource(paths),
        TARGETS,
        image_size=20,
        resize="squash",
        batch_size=batch_size,
        augmentation=Augmentation(augmentation, 20),
        seed=seed,
        **more,
    )


def rows_in(images):
    return [int(row) for row in images[:, 0, 0, 0] // 10]


def epoch_of(batches, epoch):
    batches.epoch = epoch
    return [batches[number] for number in range(len(batches))]


def rows_of_epoch(batches, epoch):
    return [row for images, _ in epoch_of(batches, epoch) for row in rows_in(images)]


@pytest.mark.parametrize("batch_size", [1, 4, 11, 32])
def test_an_epoch_has_every_row_once_including_the_last_smaller_batch(paths, batch_size):
    batches = training_batches(paths, batch_size=batch_size)
    for epoch in range(3):
        assert sorted(rows_of_epoch(batches, epoch)) == list(range(ROWS))
    assert [len(images) for images, _ in epoch_of(training_batches(paths), 0)] == [4, 4, 3]


def test_the_order_is_new_in_each_epoch_and_follows_from_the_seed(paths):
    orders = [rows_of_epoch(training_batches(paths), epoch) for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 4
    again = training_batches(paths)
    assert [rows_of_epoch(again, epoch) for epoch in (3, 2, 1, 0)] == orders[::-1]
    assert rows_of_epoch(training_batches(paths, seed=(2, 0, 0)), 0) != orders[0]


def test_weights_follow_their_rows(paths):
    batches = training_batches(paths)
    batches.weights = np.arange(ROWS, dtype=np.float32)
    for images, targets, weights in epoch_of(batches, 1):
        assert rows_in(images) == weights.tolist()
        np.testing.assert_array_equal(targets, TARGETS[weights.astype(int)])


def test_rows_are_shuffled(paths):
    assert rows_of_epoch(training_batches(paths), 0) != list(range(ROWS))


def test_images_are_bytes_and_match_their_targets(paths):
    for images, targets in epoch_of(training_batches(paths), 0):
        assert images.dtype == np.uint8
        assert images.shape[1:] == (20, 20, 3)
        assert targets.dtype == np.float32
        assert targets.argmax(axis=1).tolist() == [row % 3 for row in rows_in(images)]
        assert (targets.sum(axis=1) == 1).all()


def test_an_image_is_augmented_differently_in_each_epoch(paths):
    batches = training_batches(paths, AUGMENTATION)
    seen = set()
    for epoch in range(6):
        position = batches.order(epoch).tolist().index(5)
        seen.add(epoch_of(batches, epoch)[position // 4][0][position % 4].tobytes())
    assert len(seen) >= 4


def test_rows_drawn_again_are_augmented_differently(paths):
    batches = training_batches(paths, AUGMENTATION, batch_size=ROWS)
    batches.shares = np.where(np.arange(ROWS) == 5, 10.0, 1.0)  # half of the rows
    ((images, targets),) = epoch_of(batches, 0)
    again = targets.argmax(axis=1)[batches.order(0) % ROWS == 5]
    assert len(again) in (5, 6)
    assert (again == 5 % 3).all()
    assert len({image.tobytes() for image in images[batches.order(0) % ROWS == 5]}) >= 4


def test_a_resumed_epoch_has_the_same_mixed_and_drawn_rows(paths):
    whole, resumed = (training_batches(paths, AUGMENTATION) for _ in range(2))
    for batches in (whole, resumed):
        batches.mixing = Mixing(Mix(alpha=0.4), Mix(alpha=1.0), epochs=5)
        batches.shares, batches.weights = np.arange(1.0, ROWS + 1), np.linspace(0.5, 1, ROWS).astype(np.float32)
    resumed.resume_after(1, 4)
    for expected, batch in zip(epoch_of(whole, 3)[1:], epoch_of(resumed, 3), strict=True):
        assert all((one == other).all() for one, other in zip(expected, batch, strict=True))
    assert (epoch_of(whole, 3)[1][1].max(axis=1) < 1).any()
    assert any((epoch_of(whole, epoch)[0][1] != epoch_of(whole, 3)[0][1]).any() for epoch in (0, 1))


class Epochs(keras.callbacks.Callback):
    """Sets the epoch of the batches, as the trainer's callback does."""

    def __init__(self, batches):
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self._batches.epoch = epoch


class Recorder(keras.Model):
    """Records its inputs and learns nothing."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def train_step(self, data):
        images, targets = data
        self.seen.append((np.array(images), np.array(targets)))
        return {"loss": 0.0}


def batches_of_fit(batches, epochs):
    model = Recorder()
    model.compile(optimizer="sgd", loss="mse", run_eagerly=True)
    with as_dataset(batches) as feed:
        model.fit(feed, epochs=epochs, callbacks=[Epochs(batches)], shuffle=False, verbose=0)
    return model.seen


@pytest.mark.parametrize("workers", [1, 4])
def test_keras_gets_the_same_batches_with_any_number_of_workers(paths, monkeypatch, workers):
    monkeypatch.setenv("PODIUM_WORKERS", str(workers))
    expected = [batch for epoch in range(3) for batch in epoch_of(training_batches(paths, AUGMENTATION), epoch)]
    seen = batches_of_fit(training_batches(paths, AUGMENTATION), epochs=3)
    assert len(seen) == len(expected) == 9
    for (images, targets), (expected_images, expected_targets) in zip(seen, expected, strict=True):
        assert (images == expected_images).all()
        assert (targets == expected_targets).all()


@pytest.mark.parametrize("workers", [1, 4])
def test_predictions_are_in_the_order_of_the_rows(paths, monkeypatch, workers):
    monkeypatch.setenv("PODIUM_WORKERS", str(workers))
    batches = PredictionBatches(ImageSource(paths), [PlainView(8, "squash")], batch_size=4)
    images = keras.Input((8, 8, 3), dtype="uint8")
    reds = keras.Model(images, keras.layers.Lambda(lambda x: x[:, 0, 0, 0], output_shape=())(images))
    with as_dataset(batches) as feed:
        assert reds.predict(feed, verbose=0).tolist() == [10 * row for row in range(ROWS)]
    assert [len(batch) for (batch,) in (batches[number] for number in range(3))] == [4, 4, 3]


def test_metadata_of_a_row_comes_with_its_image(paths):
    metadata = np.arange(ROWS, dtype=np.float32)[:, None]
    with as_dataset(training_batches(paths, metadata=metadata)) as feed:
        seen = [(rows_in(images.numpy()), values[:, 0].numpy().tolist()) for (images, values), _ in feed]
    assert [rows for rows, _ in seen] == [values for _, values in seen]
    assert sorted(row for rows, _ in seen for row in rows) == list(range(ROWS))
    views = [PlainView(8, "squash"), PlainView(8, "crop")]
    ((images, values),) = PredictionBatches(ImageSource(paths), views, 4, metadata)[1]
    assert rows_in(images) == values[:, 0].tolist() == [2, 2, 3, 3]


def test_an_exception_while_a_batch_is_loaded_is_raised_as_itself(paths):
    paths[8].write_text("no image")
    batches = training_batches(paths)
    model = Recorder()
    model.compile(optimizer="sgd", loss="mse", run_eagerly=True)
    with pytest.raises(DataError, match=r"8\.png is not a readable image"), as_dataset(batches) as feed:
        model.fit(feed, shuffle=False, verbose=0)
