"""The classification task: loss, metrics, batches and reports for models that predict one class per image."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import classification_report, confusion_matrix

from podium.config.member import MemberSettings
from podium.config.stage import Stage
from podium.data.augmentation import Augmentation, PlainView
from podium.data.batches import OneHot, PredictionBatches, TrainingBatches, ViewLoader
from podium.data.catalogue import ImageSource
from podium.data.image_cache import Cache
from podium.errors import TrainingDivergedError
from podium.evaluation.metrics import METRICS
from podium.files import write_text
from podium.models import devices
from podium.models.backbone import initialize_batchnorm, unfreeze
from podium.models.classifier import BACKBONE, ClassifierParts, build_classifier, split_classifier
from podium.models.feed import as_dataset
from podium.models.losses import classification_loss
from podium.runs import versions
from podium.training.features import (
    FeatureBatches,
    FeatureFile,
    FeaturePredictionBatches,
    Features,
    ViewBatches,
    cached_features,
    features_digest,
)
from podium.training.task import StageContext, StageSetup

STATISTICS_IMAGES = 32
"""A backbone with random weights computes its first BatchNormalization statistics from this many images."""


@dataclass(frozen=True)
class LabelledImages:
    paths: Sequence[Path]
    labels: NDArray[np.int64]


class ClassificationTask:
    def __init__(
        self,
        settings: MemberSettings,
        classes: Sequence[str],
        metric: str,
        training: LabelledImages,
        validation: LabelledImages,
        fold: int,
        eager: bool = False,
        cache: Cache | None = None,
    ) -> None:
        """`eager` disables graph mode: for a few steps of a large model, tracing the graph takes most of the time."""
        self._settings, self._classes, self._metric = settings, list(classes), METRICS[metric]
        self._training, self._validation, self._fold = training, validation, fold
        self._eager = eager
        self._training_source = ImageSource(training.paths, cache)
        self._validation_source = ImageSource(validation.paths, cache)
        self._cache_gb = cache.gigabytes if cache else 0.0
        self._last_probs: NDArray[np.float64] | None = None
        self._uncompiled: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._validation_features: WeakKeyDictionary[Any, Features] = WeakKeyDictionary()
        """Keyed by the heads that are trained on cached features."""
        self.monitor = "val_loss" if settings.monitor == "loss" else f"val_{metric}"
        maximize = settings.monitor == "metric" and self._metric.higher_is_better
        self.mode: Literal["max", "min"] = "max" if maximize else "min"

    def build(self, image_size: int, *, pretrained: bool) -> Any:
        model_devices = devices.select_devices(self._settings.stages)
        model = build_classifier(
            self._settings, len(self._classes), image_size, pretrained=pretrained, devices=model_devices
        )
        if pretrained and self._settings.backbone.has_random_weights:
            source = ImageSource(self._training.paths[:STATISTICS_IMAGES])
            initialize_batchnorm(
                model, ViewLoader(source, [PlainView(image_size, self._settings.resize)])(range(len(source)))
            )
        return model

    def unfreeze(self, model: Any, stage: Stage) -> None:
        unfreeze(model.get_layer(BACKBONE), stage.unfreeze, self._settings.backbone.freeze_batchnorm)

    def compile(self, model: Any, optimizer: Any) -> None:
        loss = classification_loss(self._settings)
        model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], run_eagerly=self._eager)

    def uncompiled(self, model: Any) -> Any:
        if model not in self._uncompiled:
            self._uncompiled[model] = keras.Model(model.inputs, model.outputs)
        return self._uncompiled[model]

    def prepare_stage(self, model: Any, number: int, stage: Stage, context: StageContext) -> StageSetup:
        """Fit the full model or, if the backbone is frozen and epochs share views, its head on cached features."""
        views = stage.shared_views
        if views is None:
            return StageSetup(model, model, self.batches(number, stage))
        parts = split_classifier(model, devices.select_devices(self._settings.stages))
        backbone, files = parts.feature_model(), self._feature_files(number, stage, views)
        name = self._features_digest(parts, number, stage)
        cached = cached_features(name, files, backbone, self._cache_gb, context)
        if cached is None:
            images = self.batches(number, stage)
            batches = ViewBatches(images, len(self._training.paths), stage.batch_size, views)
            return StageSetup(model, parts.full_model(), batches)
        head = parts.head_model(backbone)
        *of_views, self._validation_features[head] = (cached.files[file.name] for file in files)
        feature_batches = FeatureBatches(of_views, self._targets, stage.batch_size, self._seed(number))
        return StageSetup(model, head, feature_batches, cached.seconds_per_image)

    def _feature_files(self, number: int, stage: Stage, views: int) -> list[FeatureFile]:
        """One file for each view of the training rows, then one for the validation rows."""
        rows = len(self._training.paths)
        of_views = [
            FeatureFile(f"view-{view}.npy", f"view {view + 1}", rows, partial(self._view_images, number, stage, view))
            for view in range(views if self._transforms(stage) else 1)
        ]
        images = partial(self._validation_images, stage)
        return [*of_views, FeatureFile("validation.npy", "the validation rows", self.validation_count, images)]

    def _view_images(self, number: int, stage: Stage, view: int) -> PredictionBatches:
        return self.batches(number, stage).in_row_order(view)

    def _validation_images(self, stage: Stage) -> PredictionBatches:
        view = PlainView(stage.image_size, self._settings.resize)
        return PredictionBatches(self._validation_source, [view], stage.batch_size)

    def _features_digest(self, parts: ClassifierParts, number: int, stage: Stage) -> str:
        transforms = self._transforms(stage)
        decisive = {
            "backbone": [self._settings.backbone.name, self._settings.backbone.alpha],
            "pooling": parts.pooling and self._settings.head.pooling,
            "precision": parts.backbone.dtype_policy.name,
            "images": [stage.image_size, self._settings.resize],
            "augmentation": [transforms, self._seed(number)] if transforms else None,
            "rounding": [stage.batch_size, devices.gpu_names()],
            "versions": {name: version for name, version in versions().items() if name != "commit"},
        }
        images = [source.digests().tobytes() for source in (self._training_source, self._validation_source)]
        return features_digest(decisive, images, parts.backbone.weights)

    def batches(self, number: int, stage: Stage) -> TrainingBatches:
        return TrainingBatches(
            self._training_source,
            self._targets,
            image_size=stage.image_size,
            resize=self._settings.resize,
            batch_size=stage.batch_size,
            augmentation=self._augmentation(stage),
            seed=self._seed(number),
        )

    @property
    def _targets(self) -> OneHot:
        return OneHot(self._training.labels, len(self._classes))

    def _augmentation(self, stage: Stage) -> Augmentation:
        return Augmentation(self._transforms(stage), stage.image_size)

    def _transforms(self, stage: Stage) -> list[Any]:
        return self._settings.augmentation if stage.augmentation is None else stage.augmentation

    def _seed(self, number: int) -> tuple[int, int, int]:
        return (self._settings.seed, self._fold, number)

    def validate(self, model: Any, stage: Stage) -> dict[str, float]:
        """The cross-entropy (without smoothing or L2), the accuracy and the competition's metric."""
        features = self._validation_features.get(model)
        batches = (
            self._validation_images(stage) if features is None else FeaturePredictionBatches(features, stage.batch_size)
        )
        with as_dataset(batches) as dataset:
            probs = np.asarray(self.uncompiled(model).predict(dataset, verbose=0), dtype=np.float64)
        if not np.isfinite(probs).all():
            raise TrainingDivergedError(
                f"the predictions became NaN in stage {stage.name} at the learning rate {stage.learning_rate:.3g};"
                " expected them to stay finite: lower the stage's learning_rate"
            )
        self._last_probs = probs
        labels = self._validation.labels
        return {
            "val_loss": METRICS["log_loss"](labels, probs),
            "val_accuracy": METRICS["accuracy"](labels, probs),
            f"val_{self._metric.name}": self._metric(labels, probs),
        }

    @property
    def validation_count(self) -> int:
        return len(self._validation.paths)

    def write_reports(self, folder: Path) -> None:
        assert self._last_probs is not None
        write_reports(folder, self._classes, self._validation.labels, self._last_probs)


def write_reports(folder: Path, classes: Sequence[str], labels: NDArray[np.int64], probs: NDArray[np.float64]) -> None:
    """Precision, recall and F1 of every class, and the confusion matrix (a row for each true class)."""
    numbers, predicted = list(range(len(classes))), probs.argmax(axis=1)
    report = classification_report(
        labels, predicted, labels=numbers, target_names=list(classes), output_dict=True, zero_division=0
    )
    table = pd.DataFrame([{"class": name, **figures} for name, figures in report.items() if isinstance(figures, dict)])
    write_text(folder / "classification_report.csv", table.to_csv(index=False, lineterminator="\n"))
    confusion = pd.DataFrame(confusion_matrix(labels, predicted, labels=numbers), columns=list(classes))
    confusion.insert(0, "true class", list(classes))
    write_text(folder / "confusion_matrix.csv", confusion.to_csv(index=False, lineterminator="\n"))
