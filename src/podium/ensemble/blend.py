"""Blending of members from their prediction files, with a nested estimate of the blend's score.

Where the metric takes answers, a decision is fitted together with the blend (`evaluation/decisions.py`), and the scores
of the members are those of decisions that were fitted on other rows. Where that scores no better than the default
decision, the default is used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.data.target import Floats, Truth
from podium.data.targets import target_of
from podium.ensemble.methods import BlendMethod, make_method
from podium.ensemble.rows import BlendRows, metadata_of
from podium.errors import DataError, RunError
from podium.evaluation.decisions import (
    Decision,
    better_answers,
    cross_fitted_answers,
    default_decision,
    fit_decision,
    needs_decision,
)
from podium.evaluation.metrics import Metric, metric_of
from podium.evaluation.statistics import bootstrap_error, stratified_folds
from podium.predictions import Predictions, average, concatenate, read_predictions

OUTER_FOLDS = 5
RESAMPLES = 20
"""For the standard errors of weights, which are then known to about a sixth."""


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
    predictions: Floats
    has_fitted_decision: bool = False
    """Whether decisions that were fitted with the blend score better than the default one."""


@dataclass(frozen=True)
class EnsembleResult:
    members: list[MemberResult]
    estimate: NestedScore
    blend: dict[str, Any]
    """The fitted method: its weights, if it has any."""
    decision: Decision | None
    """How the blend's predictions become answers; None if the metric takes the predictions themselves."""
    oof: Predictions
    """Predictions of blends that were not fitted on the row, as in `estimate`."""
    test: Predictions


def read_member(name: str, folders: Sequence[tuple[int, Path]], competition: Competition, seed: int) -> MemberResult:
    """`folders` are the folds and their folders of predictions; `seed` is that of the nested cross-validation."""
    metric, target = metric_of(competition), target_of(competition)
    oof = concatenate([read_predictions(folder / "oof.csv", target.outputs) for _, folder in folders])
    truth = target.truth(oof.known_truth)
    fold_of = stratified_folds(target.strata(truth), min(OUTER_FOLDS, len(truth)), seed)
    answers = cross_fitted_answers(metric, target.kind, truth, oof.values, fold_of)
    answers = better_answers(metric, truth, oof.values, answers)
    return MemberResult(
        name,
        [fold for fold, _ in folders],
        [metric(truth[rows], answers[rows]) for fold, _ in folders for rows in [oof.folds == fold]],
        metric(truth, answers),
        oof,
        average([read_predictions(folder / "test.csv", target.outputs) for _, folder in folders]),
    )


def blend_members(
    members: Sequence[MemberResult], settings: EnsembleSettings, competition: Competition
) -> EnsembleResult:
    metric, target, first = metric_of(competition), target_of(competition), members[0]
    for member in members[1:]:
        if set(member.oof.ids) != set(first.oof.ids):
            raise RunError(
                f"{member.name} and {first.name} were validated on different rows ({len(member.oof.ids)} and"
                f" {len(first.oof.ids)}); expected the same folds of every member"
            )
    truth = target.truth(first.oof.known_truth)
    options, names = settings.blending, [member.name for member in members]
    name, columns = options.pop("method"), metadata_of(options, competition)
    oof = BlendRows.of([member.oof for member in members], columns)
    if first.oof.folds is not None and competition.folds.kind in ("grouped", "table"):
        oof = replace(oof, groups=first.oof.folds.astype(str))
    test = BlendRows.of([member.test for member in members], columns)

    def make(names: Sequence[str]) -> BlendMethod:
        return make_method(name, names, metric, target, **options)

    method = make(names)
    estimate = nested_score(method, oof, truth, metric, folds=min(OUTER_FOLDS, len(truth)), seed=settings.seed)
    # With `select` they are left out already.
    useless = members_that_add_nothing(make, names, oof, truth) if settings.select == "all" else []
    errors = weight_errors(method, oof, truth, settings.seed)
    fitted = method.fit(oof, truth)
    decision = default_decision(target.kind) if metric.takes_answers else None
    if estimate.has_fitted_decision:
        decision = fit_decision(metric, target.kind, truth, fitted.predict(oof))
    return EnsembleResult(
        list(members),
        estimate,
        {**fitted.describe(), "adds_nothing": useless, "weight_errors": errors},
        decision,
        Predictions(first.oof.ids, first.oof.outputs, estimate.predictions, first.oof.truth, first.oof.folds),
        Predictions(first.test.ids, first.oof.outputs, fitted.predict(test)),
    )


def members_that_add_nothing(
    make: Callable[[Sequence[str]], BlendMethod], names: Sequence[str], oof: Floats | BlendRows, truth: Truth
) -> list[str]:
    """The members without which the blend scores as well."""

    def score(kept: Sequence[int]) -> tuple[float, float]:
        return make([names[number] for number in kept]).score_of_fit(oof[kept], truth)

    numbers = list(range(len(names)))
    without = {number: [other for other in numbers if other != number] for number in numbers if len(numbers) > 1}
    with_all = score(numbers)
    return [names[number] for number, rest in without.items() if score(rest) >= with_all]


def weight_errors(method: BlendMethod, oof: Floats | BlendRows, truth: Truth, seed: int) -> dict[str, float]:
    """The standard error of each weight: how much it varies if the blend is fitted on resampled rows."""
    if not method.learns or "weights" not in method.fit(oof, truth).describe():
        return {}
    random = np.random.default_rng(seed)
    samples = [random.integers(len(truth), size=len(truth)) for _ in range(RESAMPLES)]
    fitted = [method.fit(oof[:, rows], truth[rows]).describe()["weights"] for rows in samples]
    return {name: float(np.std([weights.get(name, 0.0) for weights in fitted])) for name in method.members}


def apply_blend(
    fitted: Mapping[str, Any],
    competition: Competition,
    oof: Mapping[str, Predictions],
    predictions: Mapping[str, Predictions],
) -> Predictions:
    """Blend the members' predictions of other images as they were blended before.

    `fitted` is the description of that blend, and `oof` are the out-of-fold predictions of its members.
    """
    first, target, columns = next(iter(oof.values())), target_of(competition), metadata_of(fitted, competition)
    truth = target.truth(first.known_truth)
    before, new = list(oof.values()), [predictions[name] for name in oof]
    try:
        method = make_method(
            fitted["method"],
            list(oof),
            metric_of(competition),
            target,
            calibrate=fitted["calibrate"],
            select=fitted["select"],
        )
        method.restore(fitted, BlendRows.of(before, columns), truth)
    except KeyError as error:
        raise RunError(f"the description of the blend has no {error}, which podium blend writes: blend again") from None
    return Predictions(new[0].ids, first.outputs, method.predict(BlendRows.of(new, columns)))


def nested_score(
    method: BlendMethod,
    oof: Floats | BlendRows,
    truth: Truth,
    metric: Metric,
    *,
    folds: int = OUTER_FOLDS,
    seed: int,
) -> NestedScore:
    """Fit the blend on all folds but one, predict that one, and score the rows of all folds together.

    If the metric takes answers, the decision is fitted with the blend.
    """
    if not 2 <= folds <= len(truth):
        raise DataError(
            f"Cannot estimate the score of a blend of {len(truth)} rows with {folds} folds; expected at least 2 folds"
            " and a row for each"
        )
    kind = method.target.kind
    has_decision = needs_decision(metric, kind)
    rows = oof if isinstance(oof, BlendRows) else BlendRows(np.asarray(oof))
    fold_of = rows.parts(method.target.strata(truth), folds, seed)
    predictions = np.empty(oof.shape[1:])
    answers = np.empty(oof.shape[1:]) if has_decision else predictions
    for fold in np.unique(fold_of):
        held_out = fold_of == fold
        method.fit(oof[:, ~held_out], truth[~held_out])
        predictions[held_out] = method.predict(oof[:, held_out])
        if has_decision:
            decision = fit_decision(metric, kind, truth[~held_out], method.predict(oof[:, ~held_out]))
            answers[held_out] = decision.apply(predictions[held_out])
    answers = better_answers(metric, truth, predictions, answers)
    has_decision = answers is not predictions
    fitted = method.fit(oof, truth).predict(oof)
    return NestedScore(
        score=metric(truth, answers),
        standard_error=bootstrap_error(metric, truth, answers, seed=seed),
        optimistic=metric(truth, fit_decision(metric, kind, truth, fitted).apply(fitted) if has_decision else fitted),
        predictions=predictions,
        has_fitted_decision=has_decision,
    )
