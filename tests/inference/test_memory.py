"""Out of memory during prediction: smaller batches, the same predictions."""

from io import StringIO

import cv2
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from podium.data.augmentation import PlainView
from podium.data.catalogue import ImageSource
from podium.inference import sized_predictor
from podium.models.predictor import Predictor

VIEWS = [PlainView(8, "squash"), PlainView(8, "squash")]


class SmallMemory:
    """Predicts the red value of each image; runs out of memory with more than `largest` images in a batch."""

    def __init__(self, largest):
        self.largest, self.sizes = largest, []

    def predict(self, dataset, verbose):
        answers = []
        for (images,) in dataset:
            self.sizes.append(len(images))
            if len(images) > self.largest:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
            answers.append(images.numpy()[:, 0, 0, :1])
        return np.concatenate(answers)


@pytest.fixture
def source(tmp_path):
    paths = [tmp_path / f"{row}.png" for row in range(9)]
    for row, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((8, 8, 3), 10 * row, np.uint8))
    return ImageSource(paths)


def test_batches_are_halved_until_they_fit(source):
    console, model = Console(file=StringIO()), SmallMemory(largest=6)
    answers = sized_predictor._predict_images(Predictor(model, 9), source, VIEWS, 16, console)
    assert answers[:, 0].tolist() == [10 * row for row in range(9) for _ in VIEWS]
    assert model.sizes == [16, 8, 4, 4, 4, 4, 2]
    assert console.file.getvalue().splitlines()[-1].strip() == "out of memory: continuing with batches of 4"


def test_single_row_that_does_not_fit_is_an_error(source):
    with pytest.raises(tf.errors.ResourceExhaustedError):
        sized_predictor._predict_images(Predictor(SmallMemory(largest=1), 9), source, VIEWS, 4, Console(quiet=True))
