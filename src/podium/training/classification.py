"""The task of a member: loss, metrics, batches and reports for models that predict the target of each image."""

from functools import partial
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import keras
import numpy as np
from numpy.typing import NDArray

from podium.config.backbone_settings import PresetSettings
from podium.config.member import MemberSettings
from podium.config.stage import Stage
from podium.data.augmentation import Augmentation, PlainView
from podium.data.balance import row_shares
from podium.data.batches import EpochBatches, PredictionBatches, TrainingBatches
from podium.data.catalogue import ImageSource
from podium.data.image_cache import Cache
from podium.data.image_paths import reading_of
from podium.data.labelled import LabelledImages
from podium.data.metadata import Metadata
from podium.data.mixing import Mixing
from podium.data.target import Encoded, Target
from podium.errors import TrainingDivergedError
from podium.evaluation.metrics import Metric
from podium.files import read_json, write_text
from podium.models import devices
from podium.models.backbone import initialize_batchnorm, unfreeze
from podium.models.classifier import BACKBONE, ClassifierParts, build_classifier, split_classifier
from podium.models.dropout_samples import MeanOverSamples, accuracy
from podium.models.feed import as_dataset
from podium.models.heads import start_from_rows
from podium.models.losses import of_rows, training_loss
from podium.models.metadata import METADATA
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
from podium.training.optimizers import compile_model
from podium.training.task import StageContext, StageSetup

STATISTICS_IMAGES = 32
"""A backbone with random weights computes its first BatchNormalization statistics from this many images."""


class ClassificationTask:
    def __init__(
        self,
        settings: MemberSettings,
        target: Target,
        metric: Metric,
        training: LabelledImages,
        validation: LabelledImages,
        fold: int,
        eager: bool = False,
        cache: Cache | None = None,
        recipe: Path | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """`eager` disables graph mode: for a few steps of a large model, tracing the graph takes most of the time.

        `recipe` is the file that describes the backbone of a preset, so that it can be built without the preset.
        """
        self._settings, self._target, self._metric = settings, target, metric
        self._training, self._validation, self._fold = training, validation, fold
        self._eager, self._recipe, self._metadata = eager, recipe, metadata
        self._training_source = ImageSource(training.paths, cache)
        self._validation_source = ImageSource(validation.paths, cache)
        self._cache_gb = cache.gigabytes if cache else 0.0
        self._last_predictions: NDArray[np.float64] | None = None
        self._uncompiled: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._validation_features: WeakKeyDictionary[Any, Features] = WeakKeyDictionary()
        """Keyed by the heads that are trained on cached features."""
        self.monitor = "val_loss" if settings.monitor == "loss" else f"val_{metric.name}"
        maximize = settings.monitor == "metric" and metric.higher_is_better
        self.mode: Literal["max", "min"] = "max" if maximize else "min"

    def build(self, image_size: int, *, pretrained: bool) -> Any:
        model = build_classifier(
            self._settings,
            self._target,
            image_size,
            metadata=self._metadata,
            pretrained=pretrained,
            devices=devices.all_devices(),
            recipe=self._recipe,
            channels=reading_of(self._training.paths).channels,
        )
        if pretrained:
            start_from_rows(model, self._target, self._training.truth)
            if self._training.metadata is not None:
                model.get_layer(METADATA).start_from_rows(self._training.metadata)
        if pretrained and self._settings.backbone.has_random_weights:
            source = ImageSource(self._training.paths[:STATISTICS_IMAGES])
            view = PlainView(image_size, self._settings.resize)
            (inputs,) = PredictionBatches(source, [view], STATISTICS_IMAGES, self._training.metadata)[0]
            initialize_batchnorm(model, inputs)
        return model

    def backbone(self, model: Any) -> Any:
        return model.get_layer(BACKBONE)

    def unfreeze(self, model: Any, stage: Stage) -> None:
        unfreeze(self.backbone(model), stage.unfreeze, self._settings.backbone.freeze_batchnorm)

    def compile(self, model: Any, optimizer: Any) -> None:
        loss = training_loss(self._settings, self._target, model, self._training.truth)
        if self._settings.head.dropout_samples > 1:
            loss = MeanOverSamples(of_rows(loss))
        metrics = [keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")] * self._target.truth_is_class
        compile_model(model, optimizer=optimizer, loss=loss, metrics=metrics, run_eagerly=self._eager)

    def uncompiled(self, model: Any) -> Any:
        if model not in self._uncompiled:
            self._uncompiled[model] = keras.Model(model.inputs, model.outputs)
            self._uncompiled[model].run_eagerly = self._eager
        return self._uncompiled[model]

    def load_weights(self, model: Any, file: Path, image_size: int) -> None:
        source = model
        if isinstance(self._settings.backbone, PresetSettings) and image_size != model.inputs[0].shape[1]:
            source = self.build(image_size, pretrained=False)  # its position embeddings may have another size
        self.uncompiled(source).load_weights(file)
        if source is not model:
            from podium.models.preset_backbone import copy_weights

            assert self._recipe
            copy_weights(source, model, self._recipe)

    def prepare_stage(self, model: Any, number: int, stage: Stage, context: StageContext) -> StageSetup:
        """Fit the full model or, if the backbone is frozen and epochs share views, its head on cached features."""
        setup = self._setup(model, number, stage, context)
        self._draw_and_mix(setup.batches, stage)
        return setup

    def training_batches(self, number: int, stage: Stage) -> TrainingBatches:
        """The batches of a stage as a model is trained on them, if it does not use cached features."""
        batches = self.batches(number, stage)
        self._draw_and_mix(batches, stage)
        return batches

    def _draw_and_mix(self, batches: EpochBatches, stage: Stage) -> None:
        batches.weights = self._training.weights
        if self._settings.sampling:
            batches.shares = row_shares(self._settings.sampling, self._target, self._training.truth)
        if stage.mixes_images:
            batches.mixing = Mixing.of(stage, of_shares=self._target.kind != "regression")

    def _setup(self, model: Any, number: int, stage: Stage, context: StageContext) -> StageSetup:
        views = stage.shared_views
        if views is None:
            return StageSetup(model, model, self.batches(number, stage))
        parts = split_classifier(model, devices.all_devices())
        backbone, files = parts.feature_model(), self._feature_files(number, stage, views)
        name = self._features_digest(parts, number, stage)
        cached = cached_features(name, files, backbone, self._cache_gb, context)
        if cached is None:
            images = self.batches(number, stage)
            batches = ViewBatches(images, len(self._training.paths), stage.batch_size, views)
            return StageSetup(model, parts.full_model(), batches)
        head = parts.head_model(backbone)
        *of_views, self._validation_features[head] = (cached.files[file.name] for file in files)
        feature_batches = FeatureBatches(
            of_views, self._encoded, self._training.metadata, stage.batch_size, self._seed(number)
        )
        return StageSetup(model, head, feature_batches, cached.seconds_per_image)

    def _feature_files(self, number: int, stage: Stage, views: int) -> list[FeatureFile]:
        """One file for each view of the training rows, then one for the validation rows."""
        rows = len(self._training.paths)
        of_views = [
            FeatureFile(f"view-{view}.npy", f"view {view + 1}", rows, partial(self._view_images, number, stage, view))
            for view in range(views if self._settings.transforms_of(stage) else 1)
        ]
        images = partial(self._validation_images, stage)
        return [*of_views, FeatureFile("validation.npy", "the validation rows", self.validation_count, images)]

    def _view_images(self, number: int, stage: Stage, view: int) -> PredictionBatches:
        return self.batches(number, stage).in_row_order(view)

    def _validation_images(self, stage: Stage, metadata: NDArray[np.float32] | None = None) -> PredictionBatches:
        view = PlainView(stage.image_size, self._settings.resize)
        return PredictionBatches(self._validation_source, [view], stage.batch_size, metadata)

    def _features_digest(self, parts: ClassifierParts, number: int, stage: Stage) -> str:
        transforms = self._settings.transforms_of(stage)
        decisive = {
            "backbone": self._architecture(),
            "pooling": parts.pooling and self._settings.head.pooling,
            "precision": parts.backbone.dtype_policy.name,
            "images": [stage.image_size, self._settings.size_to_augment(stage), self._settings.resize],
            "augmentation": [transforms, self._seed(number)] if transforms else None,
            "rounding": [stage.batch_size, devices.gpu_names()],
            "versions": {name: version for name, version in versions().items() if name != "commit"},
        }
        images = [source.content() for source in (self._training_source, self._validation_source)]
        return features_digest(decisive, images, parts.backbone.weights)

    def _architecture(self) -> Any:
        backbone = self._settings.backbone
        if isinstance(backbone, PresetSettings):
            return read_json(self._recipe) if self._recipe else backbone.preset
        return [backbone.name, backbone.alpha]

    def batches(self, number: int, stage: Stage) -> TrainingBatches:
        return TrainingBatches(
            self._training_source,
            self._encoded,
            self._training.metadata,
            image_size=stage.image_size,
            resize=self._settings.resize,
            batch_size=stage.batch_size,
            augmentation=self._augmentation(stage),
            seed=self._seed(number),
            before=self._settings.size_to_augment(stage) if self._settings.transforms_of(stage) else None,
        )

    @property
    def _encoded(self) -> Encoded:
        return self._training.encode(self._target)

    def _augmentation(self, stage: Stage) -> Augmentation:
        return Augmentation(self._settings.transforms_of(stage), stage.image_size)

    def _seed(self, number: int) -> tuple[int, int, int]:
        return (self._settings.seed, self._fold, number)

    def validate(self, model: Any, stage: Stage) -> dict[str, float]:
        self._last_predictions = self.predict_validation(model, stage)
        return self._metrics(self._last_predictions)

    def predict_validation(self, model: Any, stage: Stage) -> NDArray[np.float64]:
        features, metadata = self._validation_features.get(model), self._validation.metadata
        batches: PredictionBatches | FeaturePredictionBatches = self._validation_images(stage, metadata)
        if features is not None:
            batches = FeaturePredictionBatches(features, stage.batch_size, metadata)
        with as_dataset(batches) as dataset:
            predictions = np.asarray(self.uncompiled(model).predict(dataset, verbose=0), dtype=np.float64)
        if not np.isfinite(predictions).all():
            raise TrainingDivergedError(
                f"the predictions became NaN in stage {stage.name} at the learning rate {stage.learning_rate:.3g};"
                " expected them to stay finite: lower the stage's learning_rate"
            )
        return predictions

    def score(self, predictions: NDArray[np.float64], rows: NDArray[np.int64]) -> float:
        """The monitored metric of predictions of all validation rows on some of them."""
        return self._metrics(predictions, rows)[self.monitor]

    def _metrics(
        self, predictions: NDArray[np.float64], rows: "NDArray[np.int64] | slice" = slice(None)
    ) -> dict[str, float]:
        """The target's loss (without smoothing or L2) and other figures, and the competition's metric."""
        predictions, truth = predictions[rows], self._validation.truth[rows]
        figures = {"loss": self._target.loss(truth, predictions), **self._target.figures(truth, predictions)}
        figures[self._metric.name] = self._metric(truth, predictions)
        return {f"val_{name}": value for name, value in figures.items()}

    @property
    def validation_count(self) -> int:
        return len(self._validation.paths)

    def write_reports(self, folder: Path) -> None:
        assert self._last_predictions is not None
        for name, table in self._target.reports(self._validation.truth, self._last_predictions).items():
            write_text(folder / name, table.to_csv(index=False, lineterminator="\n"))
