"""Predictions of a trained run: out of fold and on the test images, with test-time augmentation."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from podium.config.loading import Member
from podium.data.augmentation import ImageView
from podium.data.batches import PredictionBatches
from podium.data.catalogue import ImageSource
from podium.data.image_cache import Cache
from podium.data.image_paths import ImagePaths
from podium.data.metadata import Metadata
from podium.data.target import Target, Truth
from podium.data.targets import target_of
from podium.evaluation.metrics import metric_of
from podium.files import write_json, write_text
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
    """A table with the columns of metadata that the member takes, if any."""
    truth: Truth | None = None


@dataclass(frozen=True)
class PredictionSets:
    validation: PredictionRows
    test: PredictionRows
    final_test: PredictionRows | None
    """Labelled rows that were used neither for training nor for validation, if the folds have any."""
    prior: NDArray[np.float64]
    """The prediction for unreadable images, from the training rows."""


def predict(run: Run, member: Member, fold: int, sets: PredictionSets, folder: Path, console: Console) -> None:
    """Write oof.csv, test.csv, views.csv, predictions.json and, if there are such rows, final_test.csv, atomically."""
    settings, competition = member.settings, member.competition
    target, metric, mean = target_of(competition), metric_of(competition), settings.tta.mean
    selection = ViewSelection(target, metric, mean)
    views = make_views(settings.tta)
    make_repeatable(settings.seed)
    model, image_size = load_trained_model(run, member)
    rows = sum(len(part.ids) for part in (sets.validation, sets.test, sets.final_test) if part)
    predictor = Predictor(model, rows * len(views))

    def predict_rows(part: PredictionRows, views: Sequence[View], name: str) -> NDArray[np.float64]:
        return predict_views(predictor, part, views, member, image_size, sets.prior, console, name)

    with run.timed("prediction"):
        validation, truth = predict_rows(sets.validation, views, "validation"), sets.validation.truth
        assert truth is not None
        scores = selection.score([view.name for view in views], validation, truth)
        chosen = list(range(len(views)))
        oof = selection.average(validation)
        if settings.tta.select == "auto":
            chosen = selection.choose(validation, truth)
            oof = selection.average_chosen(validation, truth, settings.seed)
        views = [views[number] for number in chosen]
        test = selection.average(predict_rows(sets.test, views, "test"))
        final = selection.average(predict_rows(sets.final_test, views, "final test")) if sets.final_test else None

    summary: dict[str, Any] = {
        "score": metric(truth, oof),
        "score_of_first_view": scores[0].score,
        "metric": competition.metric,
        "tta": settings.tta.model_dump(mode="json"),
        "views": [view.name for view in views],
        "mean": mean,
        "select": settings.tta.select,
        "image_size": image_size,
        "weights": run.state["best"].get("digest"),
        "test_rows": len(sets.test.ids),
        "unreadable_test_images": int(sets.test.paths.missing.sum()),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as temporary:
        draft = Path(temporary) / "predictions"
        write_predictions(draft / "oof.csv", _out_of_fold(sets.validation, target, oof, fold))
        write_predictions(draft / "test.csv", Predictions(list(sets.test.ids), target.outputs, test))
        if sets.final_test and final is not None:
            assert sets.final_test.truth is not None
            summary["score_final_test"] = metric(sets.final_test.truth, final)
            write_predictions(draft / "final_test.csv", _out_of_fold(sets.final_test, target, final, fold))
        table = pd.DataFrame([asdict(score) for score in scores])
        table["kept"] = table.index.isin(chosen)
        write_text(draft / "views.csv", table.to_csv(index=False, lineterminator="\n"))
        write_json(draft / "predictions.json", summary)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)


def load_trained_model(run: Run, member: Member) -> tuple[Any, int]:
    """The model with its best weights, and the image size of the stage that trained them."""
    run.check_best_weights()
    best, settings, competition = run.state["best"], member.settings, member.competition
    image_size, metadata = int(best["image_size"]), Metadata.of(settings, competition)
    with precision_scope(best.get("precision", "float32")):
        model = build_classifier(
            settings,
            target_of(competition),
            image_size,
            metadata=metadata,
            pretrained=False,
            recipe=run.recipe,
            channels=competition.reading.channels,
        )
    load_weights(model, run.best_weights, member.name)
    return model, image_size


def predict_views(
    predictor: Predictor,
    rows: PredictionRows,
    views: Sequence[View],
    member: Member,
    image_size: int,
    prior: NDArray[np.float64],
    console: Console,
    name: str,
) -> NDArray[np.float64]:
    """Predictions as (views, rows, outputs)."""
    settings = member.settings
    batch_size = max(stage.batch_size for stage in settings.stages) * (GPU_BATCH_FACTOR if gpu_names() else 1)
    readable = np.flatnonzero(~rows.paths.missing)
    paths = rows.paths[readable]
    predictions = np.tile(prior, (len(views), len(rows.paths), 1))
    if not len(paths):
        return predictions
    source = ImageSource(paths, Cache(member.competition.slug, settings.cache_gb, console))
    columns = Metadata.of(settings, member.competition)
    metadata = columns.encode(rows.metadata)[readable] if columns else None
    prepared = [view.prepare(image_size, settings.resize, settings.seed) for view in views]
    start = time.perf_counter()
    with console.status(f"predicting {len(paths)} {name} images, {len(views)} views"):
        predicted = _predict_images(predictor, source, prepared, batch_size, console, metadata)
    predictions[:, readable] = np.swapaxes(predicted.reshape(len(paths), len(views), -1), 0, 1)
    console.print(
        f"  predicted {len(paths)} {name} images, {len(views)} view{'s' * (len(views) > 1)}, in"
        f" {time.perf_counter() - start:.1f} s",
        highlight=False,
    )
    return predictions


def _predict_images(
    predictor: Predictor,
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


def _out_of_fold(rows: PredictionRows, target: Target, predictions: NDArray[np.float64], fold: int) -> Predictions:
    assert rows.truth is not None
    folds = np.full(len(rows.ids), fold)
    return Predictions(list(rows.ids), target.outputs, predictions, target.table(rows.truth), folds)
