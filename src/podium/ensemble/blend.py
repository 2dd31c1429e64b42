"""Blending of members from their prediction files, with a nested estimate of the blend's score."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.data.targets import target_of
from podium.ensemble.methods import BlendMethod, Floats, Labels, make_method
from podium.errors import DataError, RunError
from podium.evaluation.metrics import METRICS, Metric
from podium.evaluation.statistics import bootstrap_error
from podium.predictions import Predictions, align, average, concatenate, read_predictions

OUTER_FOLDS = 5


@dataclass(frozen=True)
class MemberResult:
    """The out-of-fold predictions of a member's folds, and the mean of their test predictions."""

    name: str
    folds: list[int]
    fold_scores: list[float]
    score: float
    """Of all rows together."""
    oof: Predictions
    test: Predictions

    @property
    def spread(self) -> float:
        """The standard deviation between folds."""
        return float(np.std(self.fold_scores, ddof=1)) if len(self.fold_scores) > 1 else float("nan")


@dataclass(frozen=True, eq=False)
class NestedScore:
    """A score by nested cross-validation: every row is predicted by a blend that was not fitted on it."""

    score: float
    standard_error: float
    optimistic: float
    """The score on the rows that the blend was fitted on; the difference shows how much it overfits."""
    probs: Floats


@dataclass(frozen=True)
class EnsembleResult:
    members: list[MemberResult]
    estimate: NestedScore
    blend: dict[str, Any]
    """The fitted method: its weights, if it has any."""
    oof: Predictions
    """Predictions of blends that were not fitted on the row, as in `estimate`."""
    test: Predictions


def read_member(name: str, folders: Sequence[tuple[int, Path]], competition: Competition) -> MemberResult:
    """`folders` are the folds and their folders of predictions."""
    metric, target = METRICS[competition.metric], target_of(competition)
    parts = [read_predictions(folder / "oof.csv") for _, folder in folders]
    oof = concatenate(parts)
    return MemberResult(
        name,
        [fold for fold, _ in folders],
        [metric(target.truth(part.known_truth), part.values) for part in parts],
        metric(target.truth(oof.known_truth), oof.values),
        oof,
        average([read_predictions(folder / "test.csv") for _, folder in folders]),
    )


def blend_members(
    members: Sequence[MemberResult], settings: EnsembleSettings, competition: Competition
) -> EnsembleResult:
    metric, first = METRICS[competition.metric], members[0]
    for member in members[1:]:
        if set(member.oof.ids) != set(first.oof.ids):
            raise RunError(
                f"{member.name} and {first.name} were validated on different rows ({len(member.oof.ids)} and"
                f" {len(first.oof.ids)}); expected the same folds of every member"
            )
    labels = target_of(competition).truth(first.oof.known_truth)
    oof = np.stack([align(member.oof, first.oof.ids).values for member in members])
    test = np.stack([align(member.test, first.test.ids).values for member in members])
    options = settings.blend.model_dump()
    method = make_method(options.pop("method"), [member.name for member in members], metric, **options)
    estimate = nested_score(method, oof, labels, metric, folds=min(OUTER_FOLDS, len(labels)), seed=settings.seed)
    return EnsembleResult(
        list(members),
        estimate,
        method.fit(oof, labels).describe(),
        Predictions(first.oof.ids, first.oof.outputs, estimate.probs, first.oof.truth, first.oof.folds),
        Predictions(first.test.ids, first.oof.outputs, method.predict(test)),
    )


def nested_score(
    method: BlendMethod, oof: Floats, labels: Labels, metric: Metric, *, folds: int = OUTER_FOLDS, seed: int
) -> NestedScore:
    """Fit the blend on all folds but one, predict that one, and score the rows of all folds together."""
    if not 2 <= folds <= len(labels):
        raise DataError(
            f"Cannot estimate the score of a blend of {len(labels)} rows with {folds} folds; expected at least 2 folds"
            " and a row for each"
        )
    fold_of = _stratified_folds(labels, folds, seed)
    probs = np.empty(oof.shape[1:])
    for fold in range(folds):
        held_out = fold_of == fold
        probs[held_out] = method.fit(oof[:, ~held_out], labels[~held_out]).predict(oof[:, held_out])
    return NestedScore(
        score=metric(labels, probs),
        standard_error=bootstrap_error(metric, labels, probs, seed=seed),
        optimistic=metric(labels, method.fit(oof, labels).predict(oof)),
        probs=probs,
    )


def _stratified_folds(labels: Labels, folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for each row. Classes may have fewer rows than there are folds, which StratifiedKFold warns about."""
    shuffled = np.random.default_rng(seed).random(len(labels))
    fold_of = np.empty(len(labels), dtype=np.int64)
    fold_of[np.lexsort((shuffled, labels))] = np.arange(len(labels)) % folds
    return fold_of
