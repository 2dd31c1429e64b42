"""Detecting objects in images with a detector: boxes in pixels of each image, with scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console

from podium.data.augmentation import PlainView
from podium.data.batches import PredictionBatches
from podium.data.boxes import CORNERS, from_square
from podium.data.catalogue import ImageSource
from podium.data.image_cache import Cache
from podium.data.images import Resize
from podium.detection.config import DetectorSettings
from podium.detection.detections import detections_table
from podium.detection.model import build_detector, plain_detector
from podium.models.backbone import load_weights
from podium.models.devices import make_repeatable, precision_scope
from podium.models.feed import as_dataset
from podium.runs import Run


@dataclass(frozen=True)
class InferenceImages:
    """Images, and the height and width of each."""

    ids: Sequence[str]
    paths: Sequence[Path]
    shapes: Sequence[tuple[int, int]]


class BoxPredictor:
    """Predicts boxes with a graph for one batch size, which KerasHub's NonMaxSuppression needs to know."""

    def __init__(self, detector: Any, batch_size: int, classes: Sequence[str], resize: Resize) -> None:
        self._batch_size, self._classes, self._resize = batch_size, classes, resize
        self._size = detector.input_shape[1]

        def predict(images: Any) -> Any:
            return detector.decode_predictions(detector(images, training=False), images)

        shape = (batch_size, self._size, self._size, 3)
        self._predict = tf.function(predict, input_signature=[tf.TensorSpec(shape, tf.uint8)])

    def __call__(self, images: InferenceImages, source: ImageSource) -> pd.DataFrame:
        """A table of all detections, in the order of the images; `source` provides their pixels."""
        batches = PredictionBatches(source, [PlainView(self._size, self._resize)], self._batch_size)
        rows: list[tuple[Any, ...]] = []
        done = 0
        with as_dataset(batches) as feed:
            for (batch,) in feed:
                for number, boxes in enumerate(self.predict_batch(batch), start=done):
                    rows += self._rows(boxes, images.ids[number], *images.shapes[number])
                done += len(batch)
        return detections_table(rows)

    def predict_batch(self, images: Any) -> list[NDArray[np.float32]]:
        """For each image a row per box: left, top, right, bottom in pixels of the input, class, score; best first."""
        missing = self._batch_size - len(images)
        predictions = self._predict(tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]]))
        parts = [predictions["boxes"], predictions["labels"][..., None], predictions["confidence"][..., None]]
        rows = np.concatenate([np.asarray(part, np.float32) for part in parts], axis=-1)
        counts = np.asarray(predictions["num_detections"])
        return [rows[number, : counts[number]] for number in range(len(images))]

    def _rows(self, boxes: NDArray[np.float32], image_id: str, height: int, width: int) -> Iterator[tuple[Any, ...]]:
        for *corners, label, score in from_square(boxes, height, width, self._size, self._resize).tolist():
            yield image_id, self._classes[int(label)], score, *corners[:CORNERS]


class LoadedDetector:
    """A detector with its best weights, at the image size and in the precision of their stage."""

    def __init__(self, run: Run, settings: DetectorSettings, classes: Sequence[str]) -> None:
        run.check_best_weights()
        best = run.best
        make_repeatable(settings.seed)
        with precision_scope(best.get("precision", "float32")):
            detector = build_detector(
                settings, len(classes), int(best["image_size"]), pretrained=False, recipe=run.recipe
            )
        load_weights(plain_detector(detector), run.best_weights, "the detector")
        batch_size = max(stage.batch_size for stage in settings.stages)
        self._predictor = BoxPredictor(detector, batch_size, list(classes), settings.resize)

    def detect(self, images: InferenceImages, cache: Cache | None, console: Console) -> pd.DataFrame:
        with console.status(f"detecting objects in {len(images.ids):,} images"):
            return self._predictor(images, ImageSource(images.paths, cache))
