"""Predicting any images with trained folds, of which only the run folders are read: no configs, no training data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from podium.config.loading import Member
from podium.config.member import MemberSettings
from podium.config.resolved import read_resolved, resolved_member, validated
from podium.data.targets import target_of
from podium.data.unlabelled import UnlabelledImages
from podium.errors import RunError
from podium.evaluation.metrics import metric_of
from podium.inference.sized_predictor import PredictionRows, SizedPredictor, predict_in_sizes
from podium.inference.tta import View, ViewSelection, make_views, views_named
from podium.models.devices import make_repeatable
from podium.predictions import Predictions, average
from podium.runs import Run, read_predictions_facts


@dataclass(frozen=True)
class TrainedFold:
    run: Run
    member: Member
    fold: int
    sizes: Sequence[tuple[int, Sequence[View]]]
    """The image sizes and their views; of `tta` that chooses, those that were chosen on the validation images."""
    prior: NDArray[np.float64]
    """The prediction for an image that cannot be read."""

    @classmethod
    def read(cls, run: Run, settings: MemberSettings | None = None, predictions: Path | None = None) -> "TrainedFold":
        """The fold in a run folder, predicted as in earlier predictions, else as in `settings` instead of its own."""
        if not run.is_trained:
            raise RunError(f"{run.path} is not trained; expected a run folder with trained weights")
        content, member = read_resolved(run), resolved_member(run)
        facts = read_predictions_facts(predictions) if predictions else {}
        settings = settings or member.settings
        if facts:
            whole = {**settings.model_dump(mode="json", by_alias=True), **facts["settings"]}
            settings = validated(MemberSettings, whole, predictions or run.config)
        tta, views = settings.tta, make_views(settings.tta)
        sizes = [(int(run.best["image_size"]), views)]
        if tta.select == "auto" or tta.image_sizes:
            facts = facts or _earlier_predictions(run, settings)
            image_sizes = tta.image_sizes if tta.average_sizes else [facts["image_size"]]
            sizes = [(size, views_named(facts["views"], views, size)) for size in image_sizes]
        member = replace(member, settings=settings)
        return cls(run, member, content["fold"], sizes, _prior(content, run))

    @property
    def name(self) -> str:
        return f"{self.member.name} fold {self.fold}"

    @property
    def metadata(self) -> list[str]:
        """The columns of metadata that it takes."""
        settings = self.member.settings.metadata
        return settings.chosen(self.member.competition.metadata) if settings else []


def _prior(content: dict[str, Any], run: Run) -> NDArray[np.float64]:
    try:
        return np.array(content["prior"], dtype=np.float64)
    except (KeyError, ValueError, TypeError, OverflowError):
        raise RunError(f"{run.config} is damaged: prior: expected a list of numbers; restore a copy of it") from None


def _earlier_predictions(run: Run, settings: MemberSettings) -> dict[str, Any]:
    """With which views and image size the run was predicted."""
    wanted = {"settings": settings.predicting, "weights": run.best.get("digest")}
    for path in sorted(run.path.glob("predictions-*/predictions.json")):
        facts = read_predictions_facts(path.parent)
        if wanted.items() <= facts.items():
            return facts
    raise RunError(
        f"{run.path} is not predicted yet, and its tta chooses views or an image size on the validation images: run"
        " podium predict without --images first"
    )


def predict_images(folds: Sequence[TrainedFold], images: UnlabelledImages, console: Console) -> Predictions:
    """The mean of the folds' predictions, each with test-time augmentation."""
    return average([_predict(fold, images, console) for fold in folds])


def _predict(fold: TrainedFold, images: UnlabelledImages, console: Console) -> Predictions:
    settings = fold.member.settings
    console.print(f"{fold.name}: predicting, {fold.run.path}", highlight=False)
    make_repeatable(settings.seed)
    rows = PredictionRows(images.ids, images.paths, images.metadata)

    def opened(size: int, views: Sequence[View]) -> SizedPredictor:
        return SizedPredictor.open(fold.run, fold.member, size, len(rows.ids) * len(views), fold.prior, None, console)

    per_view = predict_in_sizes([(opened(size, views), views) for size, views in fold.sizes if views], rows, "new")
    target = target_of(fold.member.competition)
    selection = ViewSelection(target, metric_of(fold.member.competition), settings.tta.mean)
    return Predictions(images.ids, target.outputs, selection.average(per_view))
