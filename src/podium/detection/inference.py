"""What a trained detector finds: in the parts of its set, or in any images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from podium.data.augmentation import PlainView
from podium.data.batches import PredictionBatches
from podium.data.catalogue import ImageSource
from podium.data.image_cache import Cache
from podium.detection.config import DetectorSettings
from podium.detection.detect import Finder
from podium.detection.model import build_detector, plain_detector
from podium.models.backbone import load_weights
from podium.models.devices import make_repeatable, precision_of
from podium.runs import Run


@dataclass(frozen=True)
class Searched:
    """Images to search, and the height and width of each."""

    ids: Sequence[str]
    paths: Sequence[Path]
    shapes: Sequence[tuple[int, int]]


class TrainedDetector:
    """The detector with its best weights, at the size and in the precision it had when they were best."""

    def __init__(self, run: Run, settings: DetectorSettings, classes: Sequence[str]) -> None:
        run.check_best_weights()
        best = run.state["best"]
        self._settings, self._classes, self._size = settings, list(classes), int(best["image_size"])
        make_repeatable(settings.seed)
        with precision_of(best.get("precision", "float32")):
            detector = build_detector(settings, len(self._classes), self._size, pretrained=False, recipe=run.recipe)
        load_weights(plain_detector(detector), run.best_weights, "the detector")
        self._batch_size = max(stage.batch_size for stage in settings.stages)
        self._finder = Finder(detector, self._batch_size)

    def find(self, images: Searched, cache: Cache | None, console: Console) -> pd.DataFrame:
        """A table as `detection.found` has it, in the order of the images."""
        view = PlainView(self._size, self._settings.resize)
        batches = PredictionBatches(ImageSource(images.paths, cache), [view], self._batch_size)
        with console.status(f"searching {len(images.ids):,} images"):
            return self._finder.in_images(batches, images.ids, images.shapes, self._classes, self._settings.resize)
