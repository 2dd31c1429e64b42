"""From a trained run to its predictions: out of fold, on the test images, through the test-time views."""

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
from podium.data.table import ImagePaths
from podium.evaluation.metrics import METRICS
from podium.files import write_json, write_text
from podium.inference.tta import View, chosen_apart, join, make_views, mark_kept, measure_gains, views_that_help
from podium.models.backbone import load_weights
from podium.models.classifier import build_classifier
from podium.models.devices import is_out_of_memory, make_repeatable, names_of_gpus, precision_of
from podium.models.feed import as_dataset
from podium.models.predictor import Predictor
from podium.predictions import Predictions, write_predictions
from podium.runs import Run

GPU_BATCHES = 4
"""A prediction keeps no gradients: at first it tries batches so many times as large as the training's largest."""


@dataclass(frozen=True)
class Images:
    """Rows to predict; `numbers` are the true classes where they are known. Paths of None cannot be read."""

    ids: Sequence[str]
    paths: ImagePaths
    numbers: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class ToPredict:
    """`apart` holds the rows that neither trained nor validated, if the split has such."""

    validation: Images
    test: Images
    apart: Images | None
    class_shares: NDArray[np.float64]
    """What an image that cannot be read is answered with: the classes' shares of the training rows."""


def predict(run: Run, member: Member, fold: int, rows: ToPredict, folder: Path, console: Console) -> None:
    """Write oof.csv, test.csv, views.csv and predictions.json into `folder`, all of them or none."""
    settings, competition = member.settings, member.competition
    metric, labels = METRICS[competition.metric], competition.labels
    views = make_views(settings.tta)
    make_repeatable(settings.seed)
    model, image_size = trained_model(run, member)
    sets = [rows.validation, rows.test, *([rows.apart] if rows.apart else [])]
    predictor = Predictor(model, sum(len(images.ids) for images in sets) * len(views))

    def see(images: Images, what: str) -> NDArray[np.float64]:
        return predict_views(predictor, images, views, member, image_size, rows.class_shares, console, what)

    with run.timed("prediction"):
        out_of_fold, truth = see(rows.validation, "validation"), rows.validation.numbers
        assert truth is not None
        gains = measure_gains([view.name for view in views], out_of_fold, truth, metric, settings.tta.mean)
        if settings.tta.select == "auto":
            kept = views_that_help(out_of_fold, truth, metric, settings.tta.mean)
            oof = chosen_apart(out_of_fold, truth, metric, settings.tta.mean, settings.seed)
        else:
            kept = list(range(len(views)))
            oof = join(out_of_fold, settings.tta.mean)
        views = [views[number] for number in kept]
        test = join(see(rows.test, "test"), settings.tta.mean)
        apart = join(see(rows.apart, "apart"), settings.tta.mean) if rows.apart else None

    facts: dict[str, Any] = {
        "score": metric(truth, oof),
        "score_of_first_view": gains[0].score,
        "metric": competition.metric,
        "views": [view.name for view in views],
        "mean": settings.tta.mean,
        "select": settings.tta.select,
        "image_size": image_size,
        "weights": run.state["best"].get("digest"),
        "test_rows": len(rows.test.ids),
        "unreadable_test_images": int(rows.test.paths.missing.sum()),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as temporary:
        place = Path(temporary) / "predictions"
        write_predictions(place / "oof.csv", _labelled(rows.validation, labels, oof, fold))
        write_predictions(place / "test.csv", Predictions(list(rows.test.ids), labels, test, None, None))
        if rows.apart and apart is not None:
            assert rows.apart.numbers is not None
            facts["score_apart"] = metric(rows.apart.numbers, apart)
            write_predictions(place / "apart.csv", _labelled(rows.apart, labels, apart, fold))
        table = pd.DataFrame([asdict(gain) for gain in mark_kept(gains, kept)])
        write_text(place / "views.csv", table.to_csv(index=False, lineterminator="\n"))
        write_json(place / "predictions.json", facts)
        shutil.rmtree(folder, ignore_errors=True)
        place.rename(folder)


def trained_model(run: Run, member: Member) -> tuple[Any, int]:
    """The model with its best weights, at the size and in the precision it had when they were best."""
    run.check_best_weights()
    best = run.state["best"]
    image_size = int(best["image_size"])
    with precision_of(best.get("precision", "float32")):
        model = build_classifier(member.settings, len(member.competition.labels), image_size, pretrained=False)
    load_weights(model, run.best_weights, member.name)
    return model, image_size


def predict_views(
    predictor: Predictor,
    images: Images,
    views: Sequence[View],
    member: Member,
    image_size: int,
    class_shares: NDArray[np.float64],
    console: Console,
    what: str,
) -> NDArray[np.float64]:
    """Probabilities as (views, rows, classes)."""
    settings = member.settings
    batch_size = max(stage.batch_size for stage in settings.stages) * (GPU_BATCHES if names_of_gpus() else 1)
    positions = np.flatnonzero(~images.paths.missing)
    paths = images.paths[positions]
    probs = np.tile(class_shares, (len(views), len(images.paths), 1))
    source = ImageSource(paths, Cache(member.competition.slug, settings.cache_gb, console))
    image_views = [view.prepare(image_size, settings.resize, settings.seed) for view in views]
    began = time.perf_counter()
    if not len(paths):
        return probs
    with console.status(f"predicting {len(paths)} {what} images, {len(views)} views"):
        seen = _predicted(predictor, source, image_views, batch_size, console)
    probs[:, positions] = np.swapaxes(seen.reshape(len(paths), len(views), -1), 0, 1)
    seconds = time.perf_counter() - began
    console.print(
        f"  predicted {len(paths)} {what} images, {len(views)} view{'s' * (len(views) > 1)}, in {seconds:.1f} s",
        highlight=False,
    )
    return probs


def _predicted(
    predictor: Predictor, source: ImageSource, image_views: Sequence[ImageView], batch_size: int, console: Console
) -> NDArray[np.float64]:
    """Row after row, view after view; with smaller batches where these do not fit the memory."""
    while True:
        try:
            with as_dataset(PredictionBatches(source, image_views, batch_size)) as feed:
                return predictor.all(feed).astype(np.float64)
        except Exception as error:
            if not is_out_of_memory(error) or batch_size <= len(image_views):
                raise
            batch_size //= 2
            console.print(f"  the memory is full: going on with batches of {batch_size}", highlight=False)


def _labelled(images: Images, labels: list[str], probs: NDArray[np.float64], fold: int) -> Predictions:
    assert images.numbers is not None
    truth = [labels[number] for number in images.numbers]
    return Predictions(list(images.ids), labels, probs, truth, np.full(len(truth), fold))
