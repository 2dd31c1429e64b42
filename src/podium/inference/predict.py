"""Predictions of a trained run: out of fold and on the test images, with test-time augmentation."""

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from podium.config.loading import Member
from podium.data.labelled import LabelledImages
from podium.data.metadata import columns_of
from podium.data.targets import target_of
from podium.evaluation.metrics import metric_of
from podium.files import write_json, write_text
from podium.inference.sized_predictor import PredictionRows, SizedPredictor, predict_in_sizes
from podium.inference.tta import ViewSelection, make_views, names_of_views, views_named
from podium.models.devices import make_repeatable
from podium.predictions import Predictions, write_predictions
from podium.runs import Run


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
    sizes = settings.tta.image_sizes or [int(run.best["image_size"])]
    choose_views = settings.tta.select == "auto"
    rows = sum(len(part.ids) for part in (sets.validation, sets.test, sets.final_test) if part)
    with run.timed("prediction"):
        predictors = []
        for size in sizes:
            make_repeatable(settings.seed)
            opened = SizedPredictor.open(run, member, size, rows * len(views), sets.prior, sets.training, console)
            predictors.append(opened)
        of_sizes = [predictor.predict(sets.validation, views, "validation") for predictor in predictors]
        of_all_views = [metric(truth, selection.average(per_view)) for per_view in of_sizes]
        groups = [[predictor] for predictor in predictors]
        if settings.tta.average_sizes:
            groups, of_sizes = [predictors], [np.concatenate(of_sizes)]
        best, chosen = selection.choose_size(of_sizes, truth, choose_views=choose_views)
        group, validation = groups[best], of_sizes[best]
        names = names_of_views(views, [predictor.image_size for predictor in group])
        scores = selection.score(names, validation, truth)
        oof = selection.average(validation)
        if choose_views or len(groups) > 1:
            oof = selection.average_chosen(of_sizes, truth, settings.seed, choose_views=choose_views)
        if len(sizes) > 1:
            listed = ", ".join(f"{size} px {score:.4f}" for size, score in zip(sizes, of_all_views, strict=True))
            used = "their mean" if len(group) > 1 else f"{group[0].image_size} px"
            console.print(f"  image sizes: {listed}; {used} is used", highlight=False)
        names = [names[number] for number in chosen]
        parts = [(predictor, views_named(names, views, predictor.image_size)) for predictor in group]
        test = selection.average(predict_in_sizes(parts, sets.test, "test"))
        final = selection.average(predict_in_sizes(parts, sets.final_test, "final test")) if sets.final_test else None

    summary: dict[str, Any] = {
        "score": metric(truth, oof),
        "score_of_first_view": scores[0].score,
        "metric": competition.metric,
        "settings": settings.predicting,
        "views": names,
        "mean": mean,
        "select": settings.tta.select,
        "image_size": group[0].image_size if len(group) == 1 else None,
        **({"scores_of_sizes": dict(zip(map(str, sizes), of_all_views, strict=True))} if len(sizes) > 1 else {}),
        "weights": run.best.get("digest"),
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


def _out_of_fold(rows: PredictionRows, member: Member, predictions: NDArray[np.float64], fold: int) -> Predictions:
    assert rows.truth is not None
    target, metadata = target_of(member.competition), columns_of(member.competition, rows.metadata)
    folds = np.full(len(rows.ids), fold)
    return Predictions(list(rows.ids), target.outputs, predictions, target.table(rows.truth), folds, metadata)
