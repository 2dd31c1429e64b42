"""Object detection as a task of the trainer."""

import math
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
from podium.detection.dataset import BoxDataset, boxes_by_image, class_indices, image_paths, select_images
from podium.detection.detections import write_detections
from podium.detection.evaluation import PartMetrics, evaluate_part
from podium.detection.inference import BoxPredictor, InferenceImages
from podium.detection.model import build_detector, plain_detector
from podium.files import write_json
from podium.models.backbone import initialize_batchnorm, unfreeze
from podium.training.optimizers import compile_model
from podium.training.task import StageContext, StageSetup

STATISTICS_IMAGES = 32
"""Training images that give BatchNormalization of random weights its initial statistics."""
HUBER_DELTA = 0.1
"""As a share of the anchor's size: smaller errors of a corner have a quadratic loss, larger ones a linear one."""


@dataclass(frozen=True)
class ImagesWithBoxes:
    """One part of a dataset: for each image its boxes with class numbers, without group boxes."""

    ids: list[str]
    paths: Sequence[Path]
    boxed: Sequence[ImageBoxes]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return [(boxed.height, boxed.width) for boxed in self.boxed]

    @property
    def count(self) -> int:
        return sum(len(boxed.boxes) for boxed in self.boxed)

    @classmethod
    def of(
        cls, dataset: BoxDataset, part: str, data_folder: Path, dataset_folder: Path, limit: int | None = None
    ) -> "ImagesWithBoxes":
        """All images of the part, or the first `limit`."""
        chosen = np.flatnonzero(dataset.images["split"] == part)[:limit]
        images = dataset.images.iloc[chosen]
        boxes = np.concatenate([dataset.corners(), class_indices(dataset)[:, None]], axis=1).astype(np.float32)
        is_single = ~dataset.boxes["group"].to_numpy(dtype=bool)
        rows = boxes_by_image(dataset)
        boxed = [
            ImageBoxes(int(height), int(width), boxes[rows[number]][is_single[rows[number]]])
            for number, height, width in zip(chosen, images["height"], images["width"], strict=True)
        ]
        return cls(images["id"].tolist(), image_paths(images, data_folder, dataset_folder), boxed)


class DetectionTask:
    """Trains on the boxes of `training` and computes the metrics on `validation`."""

    mode: Literal["max", "min"] = "max"

    def __init__(
        self,
        settings: DetectorSettings,
        dataset: BoxDataset,
        training: ImagesWithBoxes,
        validation: ImagesWithBoxes,
        *,
        eager: bool = False,
        cache: Cache | None = None,
        recipe: Path | None = None,
    ) -> None:
        """`eager` runs without a graph: for a few steps of a large model, tracing it takes most of the time.

        `recipe` is the file that describes the backbone of a preset, so that it can be built without the preset.
        """
        self._settings, self._classes, self._eager = settings, dataset.classes, eager
        self._recipe = recipe
        self._validation_dataset = select_images(dataset, validation.ids)
        self._training, self._validation = training, validation
        self._training_source, self._validation_source = (
            ImageSource(training.paths, cache),
            ImageSource(validation.paths, cache),
        )
        self._uncompiled: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._predictors: WeakKeyDictionary[Any, BoxPredictor] = WeakKeyDictionary()
        self._last: tuple[PartMetrics, pd.DataFrame] | None = None
        self.monitor = f"val_{settings.monitor}"

    def build(self, image_size: int, *, pretrained: bool) -> Any:
        detector = build_detector(
            self._settings, len(self._classes), image_size, pretrained=pretrained, recipe=self._recipe
        )
        if pretrained and self._settings.backbone.has_random_weights:
            source = ImageSource(self._training.paths[:STATISTICS_IMAGES])
            view = PlainView(image_size, self._settings.resize)
            (images,) = PredictionBatches(source, [view], STATISTICS_IMAGES)[0]
            initialize_batchnorm(detector, images)
        return detector

    def backbone(self, model: Any) -> Any:
        return model.features

    def unfreeze(self, model: Any, stage: Stage) -> None:
        unfreeze(self.backbone(model), stage.unfreeze, self._settings.backbone.freeze_batchnorm)

    def compile(self, model: Any, optimizer: Any) -> None:
        compile_model(
            model,
            optimizer=optimizer,
            box_loss=keras.losses.Huber(delta=HUBER_DELTA, reduction="sum"),
            loss_weights={"bbox_regression": self._settings.box_weight, "cls_logits": 1.0},
            run_eagerly=self._eager,
        )

    def uncompiled(self, model: Any) -> Any:
        if model not in self._uncompiled:
            self._uncompiled[model] = plain_detector(model)
        return self._uncompiled[model]

    def load_weights(self, model: Any, file: Path, image_size: int) -> None:
        self.uncompiled(model).load_weights(file)

    def prepare_stage(self, model: Any, number: int, stage: Stage, context: StageContext) -> StageSetup:
        batches = BoxBatches(
            self._training_source,
            self._training.boxed,
            image_size=stage.image_size,
            resize=self._settings.resize,
            batch_size=stage.batch_size,
            augmentation=Augmentation(self._settings.transforms_of(stage), stage.image_size, takes_boxes=True),
            seed=(self._settings.seed, 0, number),
        )
        return StageSetup(model, model, batches)

    def validate(self, model: Any, stage: Stage) -> dict[str, float]:
        """AP at IoU 0.5 and 0.5:0.95, and F1 and the mean IoU of true positives at the threshold with the best F1."""
        if model not in self._predictors:
            self._predictors[model] = BoxPredictor(model, stage.batch_size, self._classes, self._settings.resize)
        part = self._validation
        images = InferenceImages(part.ids, part.paths, part.shapes)
        detections = self._predictors[model](images, self._validation_source)
        metrics = evaluate_part(self._validation_dataset, detections, "validation")
        self._last = metrics, detections
        values = {
            "ap50": metrics.ap50, "ap": metrics.ap, "f1": metrics.counts.f1, "iou": metrics.counts.mean_iou
        }  # fmt: skip
        return {f"val_{name}": 0.0 if math.isnan(value) else value for name, value in values.items()}

    @property
    def validation_count(self) -> int:
        return len(self._validation.paths)

    def draw_charts(self, folder: Path, losses: Sequence[float], history: Sequence[Mapping[str, Any]]) -> None:
        """The loss per step, and mean IoU and AP per epoch."""
        name = folder.parent.name
        draw_loss(folder / "loss.png", title=name, steps=range(1, len(losses) + 1), loss=losses)
        iou, ap50, ap = ([epoch[f"val_{metric}"] for epoch in history] for metric in ("iou", "ap50", "ap"))
        epochs = range(1, len(history) + 1)
        draw_iou_ap(folder / "iou_ap.png", title=name, epochs=epochs, mean_iou=iou, ap50=ap50, ap=ap)

    def write_reports(self, folder: Path) -> None:
        assert self._last is not None
        metrics, detections = self._last
        write_json(folder / "validation.json", metrics.to_json())
        write_detections(folder / "validation_boxes.csv", detections)
