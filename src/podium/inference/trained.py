"""Predicting any images with trained folds, of which only the run folders are read: no configs, no training data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from podium.config.loading import Member
from podium.config.member import TestTimeViews
from podium.config.resolved import read_resolved, resolved_member
from podium.data.targets import target_of
from podium.data.unlabelled import UnlabelledImages
from podium.errors import RunError
from podium.evaluation.metrics import metric_of
from podium.files import read_json
from podium.inference.predict import PredictionRows, load_trained_model, predict_views
from podium.inference.tta import View, ViewSelection, make_views
from podium.models.devices import make_repeatable
from podium.models.predictor import Predictor
from podium.predictions import Predictions, average
from podium.runs import Run


@dataclass(frozen=True)
class TrainedFold:
    run: Run
    member: Member
    fold: int
    views: Sequence[View]
    """The views of test-time augmentation; with `tta: auto`, those that were chosen on the validation images."""
    prior: NDArray[np.float64]
    """The prediction for an image that cannot be read."""

    @classmethod
    def read(cls, run: Run, tta: TestTimeViews | None = None, predictions: Path | None = None) -> "TrainedFold":
        """The fold in a run folder, with the views of earlier predictions, else with `tta` instead of the config's."""
        if not run.is_trained:
            raise RunError(f"{run.path} is not trained; expected a run folder with trained weights")
        content, member = read_resolved(run), resolved_member(run)
        facts = read_json(predictions / "predictions.json") if predictions else {}
        tta = TestTimeViews.model_validate(facts["tta"]) if facts else tta or member.settings.tta
        views = make_views(tta)
        if tta.select == "auto":
            chosen = facts.get("views") or _chosen_views(run, tta)
            views = [view for view in views if view.name in chosen]
        member = replace(member, settings=member.settings.model_copy(update={"tta": tta}))
        return cls(run, member, content["fold"], views, np.array(content["prior"]))

    @property
    def name(self) -> str:
        return f"{self.member.name} fold {self.fold}"

    @property
    def metadata(self) -> list[str]:
        """The columns of metadata that it takes."""
        settings = self.member.settings.metadata
        return settings.chosen(self.member.competition.metadata) if settings else []


def _chosen_views(run: Run, tta: TestTimeViews) -> list[str]:
    """The names of the views that were chosen when the run was predicted."""
    wanted = {"tta": tta.model_dump(mode="json"), "weights": run.state["best"].get("digest")}
    for path in sorted(run.path.glob("predictions-*/predictions.json")):
        facts: dict[str, Any] = read_json(path)
        if wanted.items() <= facts.items():
            views: list[str] = facts["views"]
            return views
    raise RunError(
        f"{run.path} is not predicted yet, and tta: auto chooses its views on the validation images: run podium predict"
        " without --images first"
    )


def predict_images(folds: Sequence[TrainedFold], images: UnlabelledImages, console: Console) -> Predictions:
    """The mean of the folds' predictions, each with test-time augmentation."""
    return average([_predict(fold, images, console) for fold in folds])


def _predict(fold: TrainedFold, images: UnlabelledImages, console: Console) -> Predictions:
    settings = fold.member.settings
    console.print(f"{fold.name}: predicting, {fold.run.path}", highlight=False)
    make_repeatable(settings.seed)
    model, image_size = load_trained_model(fold.run, fold.member)
    predictor = Predictor(model, len(images.ids) * len(fold.views))
    rows = PredictionRows(images.ids, images.paths, images.metadata)
    per_view = predict_views(predictor, rows, fold.views, fold.member, image_size, fold.prior, console, "new")
    target = target_of(fold.member.competition)
    selection = ViewSelection(target, metric_of(fold.member.competition), settings.tta.mean)
    return Predictions(images.ids, target.outputs, selection.average(per_view))
