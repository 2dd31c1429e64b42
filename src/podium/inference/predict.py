"""Predictions of a trained run: out of fold and on the test images, with test-time augmentation."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
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
from podium.data.metadata import Metadata, columns_of
from podium.data.target import Truth
from podium.data.targets import target_of
from podium.errors import RunError
from podium.evaluation.metrics import metric_of
from podium.files import write_json, write_text
from podium.inference.neighbours import (
    LabelledFeatures,
    NeighbourPredictor,
    Predicts,
    feature_predictor,
    normalized,
)
from podium.inference.tta import View, ViewSelection, make_views
from podium.models.backbone import load_weights
from podium.models.classifier import build_classifier
from podium.models.devices import gpu_names, is_out_of_memory, make_repeatable, precision_scope
from podium.models.feed import as_dataset
from podium.models.predictor import Predictor
from podium.predictions import Predictions, write_predictions
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
class PredictionSets:
    validation: PredictionRows
    test: PredictionRows
    final_test: PredictionRows | None
    """Labelled rows that were used neither for training nor for validation, if the folds have any."""
    prior: NDArray[np.float64]
    """The prediction for unreadable images, from the training rows."""
    training: LabelledImages | None = None
    """The images to train on, for a member that predicts from the nearest ones."""


def predict(run: Run, member: Member, fold: int, sets: PredictionSets, folder: Path, console: Console) -> None:
    """Write oof.csv, test.csv, views.csv, predictions.json and, if there are such rows, final_test.csv, atomically."""
    settings, competition = member.settings, member.competition
    target, metric, mean = target_of(competition), metric_of(competition), settings.tta.mean
    selection = ViewSelection(target, metric, mean)
    views, truth = make_views(settings.tta), sets.validation.truth
    assert truth is not None
    sizes = settings.tta.image_sizes or [int(run.state["best"]["image_size"])]
    choose_views = settings.tta.select == "auto"
    rows = sum(len(part.ids) for part in (sets.validation, sets.test, sets.final_test) if part)
    with run.timed("prediction"):
        predictors = []
        for size in sizes:
            make_repeatable(settings.seed)
            opened = SizedPredictor.open(run, member, size, rows * len(views), sets.prior, sets.training, console)
            predictors.append(opened)
        of_sizes = [predictor.predict(sets.validation, views, "validation") for predictor in predictors]
        best, chosen = selection.choose_size(of_sizes, truth, choose_views=choose_views)
        validation, predictor = of_sizes[best], predictors[best]
        scores = selection.score([view.name for view in views], validation, truth)
        oof = selection.average(validation)
        if choose_views or len(sizes) > 1:
            oof = selection.average_chosen(of_sizes, truth, settings.seed, choose_views=choose_views)
        of_all_views = [metric(truth, selection.average(per_view)) for per_view in of_sizes]
        if len(sizes) > 1:
            listed = ", ".join(f"{size} px {score:.4f}" for size, score in zip(sizes, of_all_views, strict=True))
            console.print(f"  image sizes: {listed}; {predictor.image_size} px is used", highlight=False)
        views = [views[number] for number in chosen]
        test = selection.average(predictor.predict(sets.test, views, "test"))
        final = selection.average(predictor.predict(sets.final_test, views, "final test")) if sets.final_test else None

    summary: dict[str, Any] = {
        "score": metric(truth, oof),
        "score_of_first_view": scores[0].score,
        "metric": competition.metric,
        "settings": settings.predicting,
        "views": [view.name for view in views],
        "mean": mean,
        "select": settings.tta.select,
        "image_size": predictor.image_size,
        **({"scores_of_sizes": dict(zip(map(str, sizes), of_all_views, strict=True))} if len(sizes) > 1 else {}),
        "weights": run.state["best"].get("digest"),
        "test_rows": len(sets.test.ids),
        "unreadable_test_images": int(sets.test.paths.missing.sum()),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as temporary:
        draft = Path(temporary) / "predictions"
        write_predictions(draft / "oof.csv", _out_of_fold(sets.validation, member, oof, fold))
        metadata = columns_of(competition, sets.test.metadata)
        write_predictions(draft / "test.csv", Predictions(list(sets.test.ids), target.outputs, test, metadata=metadata))
        if sets.final_test and final is not None:
            assert sets.final_test.truth is not None
            summary["score_final_test"] = metric(sets.final_test.truth, final)
            write_predictions(draft / "final_test.csv", _out_of_fold(sets.final_test, member, final, fold))
        table = pd.DataFrame([asdict(score) for score in scores])
        table["kept"] = table.index.isin(chosen)
        write_text(draft / "views.csv", table.to_csv(index=False, lineterminator="\n"))
        write_json(draft / "predictions.json", summary)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)


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
        file, weights = run.neighbours(image_size), str(run.state["best"].get("digest"))
        known = LabelledFeatures.load(file, weights)
        if known is None:
            if training is None:
                raise RunError(f"{run.path} has no {file.name} yet: run podium predict without --images first")
            labels = as_labels(target_of(member.competition), training)
            LabelledFeatures(features.of_training_images(training), labels).save(file, weights)
            known = LabelledFeatures.load(file, weights)  # rounded as for all later predictions
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


def load_trained_model(run: Run, member: Member, image_size: int | None = None) -> tuple[Any, int]:
    """The model with its best weights, by default for the image size of the stage that trained them, and this size."""
    run.check_best_weights()
    best, settings, competition = run.state["best"], member.settings, member.competition
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


def _out_of_fold(rows: PredictionRows, member: Member, predictions: NDArray[np.float64], fold: int) -> Predictions:
    assert rows.truth is not None
    target, metadata = target_of(member.competition), columns_of(member.competition, rows.metadata)
    folds = np.full(len(rows.ids), fold)
    return Predictions(list(rows.ids), target.outputs, predictions, target.table(rows.truth), folds, metadata)
