"""An ensemble from its members' prediction files: the blend, what it is worth, and what each member is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.ensemble.blend import make_method
from podium.ensemble.estimate import NestedScore, nested_score
from podium.errors import RunError
from podium.evaluation.metrics import METRICS
from podium.predictions import Predictions, align, average, concatenate, numbers_of, read_predictions

OUTER_FOLDS = 5


@dataclass(frozen=True)
class MemberResult:
    """A member's out-of-fold predictions of all its folds, and its test predictions, the mean of theirs."""

    name: str
    folds: list[int]
    fold_scores: list[float]
    score: float
    oof: Predictions
    test: Predictions

    @property
    def spread(self) -> float:
        """The standard deviation between folds."""
        return float(np.std(self.fold_scores, ddof=1)) if len(self.fold_scores) > 1 else float("nan")


@dataclass(frozen=True)
class EnsembleResult:
    members: list[MemberResult]
    estimate: NestedScore
    blend: dict[str, Any]
    oof: Predictions
    """By blends that had not seen the row: what `estimate.score` scores."""
    test: Predictions


def read_member(name: str, folders: Sequence[tuple[int, Path]], competition: Competition) -> MemberResult:
    """From the folders of predictions of its folds."""
    parts = [read_predictions(_there(folder / "oof.csv", name)) for _, folder in folders]
    metric = METRICS[competition.metric]
    oof = concatenate(parts)
    return MemberResult(
        name,
        [fold for fold, _ in folders],
        [metric(numbers_of(part), part.probs) for part in parts],
        metric(numbers_of(oof), oof.probs),
        oof,
        average([read_predictions(_there(folder / "test.csv", name)) for _, folder in folders]),
    )


def blend_members(
    members: Sequence[MemberResult], settings: EnsembleSettings, competition: Competition
) -> EnsembleResult:
    metric = METRICS[competition.metric]
    first = members[0].oof
    for member in members[1:]:
        if set(member.oof.ids) != set(first.ids):
            raise RunError(
                f"{member.name} and {members[0].name} were validated on different rows"
                f" ({len(member.oof.ids)} and {len(first.ids)}); a blend needs the same folds of every member"
            )
    labels = numbers_of(first)
    oof = np.stack([align(member.oof, first.ids).probs for member in members])
    test_ids = members[0].test.ids
    test = np.stack([align(member.test, test_ids).probs for member in members])
    options = settings.blend.model_dump()
    method = make_method(options.pop("method"), [member.name for member in members], metric, **options)
    outer = min(OUTER_FOLDS, len(labels))
    estimate = nested_score(method, oof, labels, metric, folds=outer, seed=settings.seed)
    blender = method.fit(oof, labels)
    return EnsembleResult(
        list(members),
        estimate,
        blender.describe(),
        Predictions(first.ids, first.classes, estimate.probs, first.labels, first.folds),
        Predictions(test_ids, first.classes, blender.apply(test)),
    )


def _there(path: Path, name: str) -> Path:
    if not path.is_file():
        raise RunError(f"{name} has no predictions at {path}; run podium predict with the same config and options")
    return path
