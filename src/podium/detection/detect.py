"""What a detector finds in images: boxes in pixels of the whole image, with scores."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from podium.data.batches import PredictionBatches
from podium.data.boxes import CORNERS, from_square
from podium.data.images import Resize
from podium.detection.detections import detections_table
from podium.models.feed import as_dataset


class Finder:
    """A detector with its graph for batches of one size: KerasHub's NMS needs to know it."""

    def __init__(self, detector: Any, batch_size: int) -> None:
        self.batch_size = batch_size
        self._size = detector.input_shape[1]

        def find(images: Any) -> Any:
            return detector.decode_predictions(detector(images, training=False), images)

        shape = (batch_size, self._size, self._size, 3)
        self._find = tf.function(find, input_signature=[tf.TensorSpec(shape, tf.uint8)])

    def __call__(self, images: Any) -> list[NDArray[np.float32]]:
        """Of each image an array of left, top, right, bottom in pixels of its square, class and score; best first."""
        missing = self.batch_size - len(images)
        found = self._find(tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]]))
        parts = [found["boxes"], found["labels"][..., None], found["confidence"][..., None]]
        rows = np.concatenate([np.asarray(part, np.float32) for part in parts], axis=-1)
        counts = np.asarray(found["num_detections"])
        return [rows[number, : counts[number]] for number in range(len(images))]

    def in_images(
        self,
        batches: PredictionBatches,
        ids: Sequence[str],
        shapes: Sequence[tuple[int, int]],
        classes: Sequence[str],
        resize: Resize,
    ) -> pd.DataFrame:
        """A table of all that is found; `shapes` are the height and width of each whole image."""
        rows: list[tuple[Any, ...]] = []
        done = 0
        with as_dataset(batches) as feed:
            for (images,) in feed:
                for number, found in enumerate(self(images), start=done):
                    rows += _rows(found, ids[number], shapes[number], classes, self._size, resize)
                done += len(images)
        return detections_table(rows)


def _rows(
    found: NDArray[np.float32], name: str, shape: tuple[int, int], classes: Sequence[str], size: int, resize: Resize
) -> Iterator[tuple[Any, ...]]:
    height, width = shape
    for *corners, label, score in from_square(found, height, width, size, resize).tolist():
        yield name, classes[int(label)], score, *corners[:CORNERS]
