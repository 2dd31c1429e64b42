"""Detection as the trainer's task: the objects of some classes, each with its box."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import keras
import numpy as np
import pandas as pd

from podium.config.stage import Stage
from podium.data.augmentation import Augmentation, PlainView
from podium.data.batches import BoxBatches, PredictionBatches
from podium.data.boxes import ImageBoxes
from podium.data.catalogue import ImageSource
from podium.data.image_cache import Cache
from podium.detection.charts import draw_iou_ap, draw_loss
from podium.detection.config import DetectorSettings
from podium.detection.dataset import BoxDataset, image_path, only
from podium.detection.detect import Finder
from podium.detection.detections import write_detections
from podium.detection.evaluation import evaluate_part
from podium.detection.figures import PartFigures
from podium.detection.formats import boxes_of_images, classes_of_boxes
from podium.detection.model import build_detector, plain_detector
from podium.files import write_json
from podium.models.backbone import settle_statistics, unfreeze
from podium.training.task import StageContext, StageSetup

SETTLED_ON = 32
"""Images whose statistics random weights begin with."""
HUBER_BEND = 0.1
"""In shares of an anchor's size: smaller problems of a corner count by their square, larger ones in proportion."""


@dataclass(frozen=True)
class ImagesWithBoxes:
    """One part of a set. Of each image the boxes with their classes' numbers; those of groups are not learned."""

    ids: list[str]
    paths: Sequence[Path]
    boxed: Sequence[ImageBoxes]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return [(one.height, one.width) for one in self.boxed]

    @property
    def count(self) -> int:
        return sum(len(one.boxes) for one in self.boxed)

    @classmethod
    def of(
        cls, boxset: BoxDataset, part: str, data_folder: Path, own_folder: Path, limit: int | None = None
    ) -> "ImagesWithBoxes":
        """`part` of the set, or the first so many images of it; its own folder is where the set lies."""
        chosen = np.flatnonzero(boxset.images["split"] == part)[:limit]
        images = boxset.images.iloc[chosen]
        numbers = classes_of_boxes(boxset)[:, None]
        boxes = np.concatenate([boxset.corners(), numbers], axis=1).astype(np.float32)
        is_learned = ~boxset.boxes["group"].to_numpy(dtype=bool)
        of_image = list(boxes_of_images(boxset))
        boxed = [
            ImageBoxes(int(height), int(width), boxes[of_image[row]][is_learned[of_image[row]]])
            for row, height, width in zip(chosen, images["height"], images["width"], strict=True)
        ]
        paths = [
            image_path(file, turned, data_folder, own_folder)
            for file, turned in zip(images["file"], images["turned"], strict=True)
        ]
        return cls(images["id"].tolist(), paths, boxed)


class DetectionTask:
    """The boxes of `training` are learned; the figures are those of the set's validation part."""

    mode: Literal["max", "min"] = "max"

    def __init__(
        self,
        settings: DetectorSettings,
        boxset: BoxDataset,
        training: ImagesWithBoxes,
        validation: ImagesWithBoxes,
        *,
        eager: bool = False,
        cache: Cache | None = None,
        recipe: Path | None = None,
    ) -> None:
        """`eager` runs layer by layer: for a few steps of a large model, making its graph takes most of the time.

        `recipe` is where a preset's backbone is kept, so that it can be built without the preset from then on.
        """
        self._settings, self._classes, self._eager = settings, boxset.classes, eager
        self._recipe = recipe
        self._to_validate = only(boxset, validation.ids)
        self._training, self._validation = training, validation
        self._training_source = ImageSource(training.paths, cache)
        self._validation_source = ImageSource(validation.paths, cache)
        self._plain: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._finders: WeakKeyDictionary[Any, Finder] = WeakKeyDictionary()
        self._last: tuple[PartFigures, pd.DataFrame] | None = None
        self.monitor = f"val_{settings.monitor}"

    def build(self, image_size: int, *, pretrained: bool) -> Any:
        detector = build_detector(
            self._settings, len(self._classes), image_size, pretrained=pretrained, recipe=self._recipe
        )
        if pretrained and self._settings.backbone.begins_at_random:
            some = ImageSource(self._training.paths[:SETTLED_ON])
            view = PlainView(image_size, self._settings.resize)
            (images,) = PredictionBatches(some, [view], SETTLED_ON)[0]
            settle_statistics(detector, images)
        return detector

    def unfreeze(self, model: Any, stage: Stage) -> None:
        unfreeze(model.features, stage.unfreeze, self._settings.backbone.freeze_batchnorm)

    def compile(self, model: Any, optimizer: Any) -> None:
        model.compile(
            optimizer=optimizer,
            box_loss=keras.losses.Huber(delta=HUBER_BEND, reduction="sum"),
            loss_weights={"bbox_regression": self._settings.box_weight, "cls_logits": 1.0},
            run_eagerly=self._eager,
        )

    def plain(self, model: Any) -> Any:
        if model not in self._plain:
            self._plain[model] = plain_detector(model)
        return self._plain[model]

    def learner(self, whole: Any, number: int, stage: Stage, watch: StageContext) -> StageSetup:
        batches = BoxBatches(
            self._training_source,
            self._training.boxed,
            image_size=stage.image_size,
            resize=self._settings.resize,
            batch_size=stage.batch_size,
            augmentation=Augmentation(self._transforms(stage), stage.image_size, takes_boxes=True),
            seed=(self._settings.seed, 0, number),
        )
        return StageSetup(whole, whole, batches)

    def _transforms(self, stage: Stage) -> list[Any]:
        return self._settings.augmentation if stage.augmentation is None else stage.augmentation

    def validate(self, model: Any, stage: Stage) -> dict[str, float]:
        """AP at IoU 0.5 and over 0.5:0.95, and at the score with the best F1 that F1 and the mean IoU of matches."""
        if model not in self._finders:
            self._finders[model] = Finder(model, stage.batch_size)
        view = PlainView(stage.image_size, self._settings.resize)
        part = self._validation
        found = self._finders[model].in_images(
            PredictionBatches(self._validation_source, [view], stage.batch_size),
            part.ids,
            part.shapes,
            self._classes,
            self._settings.resize,
        )
        figures = evaluate_part(self._to_validate, found, "validation")
        self._last = figures, found
        named = {"ap50": figures.ap50, "ap": figures.ap, "f1": figures.counted.f1, "iou": figures.counted.mean_iou}
        return {f"val_{name}": value if value == value else 0.0 for name, value in named.items()}

    @property
    def validation_count(self) -> int:
        return len(self._validation.paths)

    def draw(self, folder: Path, losses: Sequence[float], history: Sequence[Mapping[str, Any]]) -> None:
        """Toward 0 and toward 1: the loss over steps; mean IoU and AP over epochs."""
        name = folder.parent.name
        draw_loss(folder / "loss.png", title=name, steps=range(1, len(losses) + 1), loss=losses)
        iou, ap50, ap = ([epoch[f"val_{figure}"] for epoch in history] for figure in ("iou", "ap50", "ap"))
        epochs = range(1, len(history) + 1)
        draw_iou_ap(folder / "iou_ap.png", title=name, epochs=epochs, mean_iou=iou, ap50=ap50, ap=ap)

    def report(self, folder: Path) -> None:
        assert self._last is not None
        figures, found = self._last
        write_json(folder / "validation.json", figures.to_json())
        write_detections(folder / "validation_boxes.csv", found)
