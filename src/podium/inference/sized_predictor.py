"""A trained fold that predicts images of one size, in several views."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from podium.config.backbone_settings import PresetSettings
from podium.config.loading import Member
from podium.data.augmentation import ImageView
from podium.data.batches import PredictionBatches
from podium.data.catalogue import ImageSource
from podium.data.image_cache import Cache
from podium.data.image_paths import ImagePaths
from podium.data.labelled import LabelledImages, as_labels
from podium.data.metadata import Metadata
from podium.data.target import Truth
from podium.data.targets import target_of
from podium.errors import RunError
from podium.inference.neighbours import (
    LabelledFeatures,
    NeighbourPredictor,
    Predicts,
    feature_predictor,
    normalized,
)
from podium.inference.tta import View
from podium.models.backbone import load_weights
from podium.models.classifier import build_classifier
from podium.models.devices import gpu_names, is_out_of_memory, precision_scope
from podium.models.feed import as_dataset
from podium.models.heads import LAST
from podium.models.predictor import Predictor
from podium.runs import Run

GPU_BATCH_FACTOR = 4
"""Prediction stores no gradients, so its batches can be larger than in training."""


@dataclass(frozen=True)
class PredictionRows:
    """Rows to predict. Missing paths are unreadable images."""

    ids: Sequence[str]
    paths: ImagePaths
    metadata: pd.DataFrame
    """A table with the competition's columns of metadata, or only those that the member takes."""
    truth: Truth | None = None


@dataclass(frozen=True)
class SizedPredictor:
    """A trained fold that predicts images of one size."""

    predictor: Predicts
    member: Member
    image_size: int
    prior: NDArray[np.float64]
    """The prediction for unreadable images."""
    console: Console

    @classmethod
    def open(
        cls,
        run: Run,
        member: Member,
        image_size: int,
        predictions: int,
        prior: NDArray[np.float64],
        training: LabelledImages | None,
        console: Console,
    ) -> "SizedPredictor":
        """`predictions` is about how many it will make; `training` are the images of a member with `neighbours`."""
        model, neighbours = load_trained_model(run, member, image_size)[0], member.settings.neighbours
        if neighbours is None:
            return cls(Predictor(model, predictions), member, image_size, prior, console)
        features = cls(feature_predictor(model, predictions), member, image_size, prior, console)
        file, weights = run.neighbours(image_size), str(run.best.get("digest"))
        widths = model.get_layer(LAST).input.shape[-1], len(target_of(member.competition).outputs)
        known = LabelledFeatures.load(file, weights, *widths)
        if known is None:
            if training is None:
                raise RunError(f"{run.path} has no {file.name} yet: run podium predict without --images first")
            labels = as_labels(target_of(member.competition), training)
            votes = np.ones(len(labels), np.float32) if training.weights is None else training.weights
            LabelledFeatures(features.of_training_images(training), labels, votes).save(file, weights)
            known = LabelledFeatures.load(file, weights, *widths)  # rounded as for all later predictions
            assert known
        return replace(features, predictor=NeighbourPredictor(features.predictor, known, neighbours))

    def predict(self, rows: PredictionRows, views: Sequence[View], name: str) -> NDArray[np.float64]:
        """Predictions as (views, rows, outputs)."""
        readable = np.flatnonzero(~rows.paths.missing)
        paths = rows.paths[readable]
        predictions = np.tile(self.prior, (len(views), len(rows.paths), 1))
        if not len(paths):
            return predictions
        columns = Metadata.of(self.member.settings.metadata, self.member.competition)
        metadata = columns.encode(rows.metadata)[readable] if columns else None
        predicted = self._predict(paths, views, metadata, name)
        predictions[:, readable] = np.swapaxes(predicted.reshape(len(paths), len(views), -1), 0, 1)
        return predictions

    def of_training_images(self, training: LabelledImages) -> NDArray[np.float32]:
        assert isinstance(training.paths, ImagePaths)
        return normalized(self._predict(training.paths, [View("identity")], training.metadata, "training"))

    def _predict(
        self, paths: ImagePaths, views: Sequence[View], metadata: NDArray[np.float32] | None, name: str
    ) -> NDArray[np.float64]:
        """All views of the first row, then of the next."""
        settings, count = self.member.settings, f"{len(views)} view{'s' * (len(views) > 1)}"
        batch_size = max(stage.batch_size for stage in settings.stages) * (GPU_BATCH_FACTOR if gpu_names() else 1)
        source = ImageSource(paths, Cache(self.member.competition.slug, settings.cache_gb, self.console))
        prepared = [view.prepare(self.image_size, settings.resize, settings.seed) for view in views]
        start = time.perf_counter()
        with self.console.status(f"predicting {len(paths)} {name} images, {count}"):
            predicted = _predict_images(self.predictor, source, prepared, batch_size, self.console, metadata)
        seconds = time.perf_counter() - start
        self.console.print(f"  predicted {len(paths)} {name} images, {count}, in {seconds:.1f} s", highlight=False)
        return predicted


def predict_in_sizes(
    parts: Sequence[tuple[SizedPredictor, Sequence[View]]], rows: PredictionRows, name: str
) -> NDArray[np.float64]:
    """The views of all parts, as (views, rows, outputs)."""
    return np.concatenate([predictor.predict(rows, views, name) for predictor, views in parts if views])


def load_trained_model(run: Run, member: Member, image_size: int | None = None) -> tuple[Any, int]:
    """The model with its best weights, by default for the image size of the stage that trained them, and this size."""
    run.check_best_weights()
    best, settings, competition = run.best, member.settings, member.competition
    trained_size, metadata = int(best["image_size"]), Metadata.of(settings.metadata, competition)
    image_size = image_size or trained_size

    def build(size: int) -> Any:
        return build_classifier(
            settings,
            target_of(competition),
            size,
            metadata=metadata,
            pretrained=False,
            recipe=run.recipe,
            channels=competition.reading.channels,
        )

    with precision_scope(best.get("precision", "float32")):
        model = source = build(image_size)
        if image_size != trained_size and isinstance(settings.backbone, PresetSettings):
            source = build(trained_size)  # its position embeddings may have another size
    load_weights(source, run.best_weights, member.name)
    if source is not model:
        from podium.models.preset_backbone import copy_weights

        copy_weights(source, model, run.recipe)
    return model, image_size


def _predict_images(
    predictor: Predicts,
    source: ImageSource,
    views: Sequence[ImageView],
    batch_size: int,
    console: Console,
    metadata: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """All views of the first row, then of the next; smaller batches if memory runs out."""
    while True:
        try:
            with as_dataset(PredictionBatches(source, views, batch_size, metadata)) as dataset:
                return predictor.predict(dataset).astype(np.float64)
        except Exception as error:
            if not is_out_of_memory(error) or batch_size <= len(views):
                raise
            batch_size //= 2
            console.print(f"  out of memory: continuing with batches of {batch_size}", highlight=False)
