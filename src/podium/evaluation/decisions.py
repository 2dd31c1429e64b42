"""Decisions: how predictions become answers for metrics that take them, such as classes or whole numbers.

The default is the most probable class, 0.5 as the threshold of a probability, and rounding. Fitted on out-of-fold
predictions, a decision has a threshold for each column (`binary`, `multi_label`), or cut points: on the expected class
number (`ordinal`), or on numbers whose truth is whole (`regression`). Answers have the form of predictions: 0 and 1,
one-hot rows, or whole numbers, so that metrics and submissions need no second case.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from podium.errors import DataError
from podium.evaluation.metrics import Metric

Floats = NDArray[np.float64]
Truth = NDArray[Any]

FITTED = ("binary", "multi_label", "ordinal", "regression")
"""The targets with thresholds or cut points."""
MAX_WHOLE_NUMBERS = 40
"""Numbers with a wider range are only rounded."""
_THRESHOLDS, _CUT_POINTS = 100, 60
"""How many values are tried for one of them, a fifth of that by a competition's own metric, which may be slow."""
_MAX_PASSES = 4
_MAX_CELLS = 100_000_000
"""How many predictions may be scored to refine the thresholds of a table: less than a second of computing."""

Score = Callable[[list[float]], float]
"""Of the values that are fitted; greater is better."""


@dataclass(frozen=True)
class Decision:
    target: str
    """The kind of target."""
    thresholds: list[float] = field(default_factory=list)
    """The lowest probability of each column that counts as yes."""
    cut_points: list[list[float]] = field(default_factory=list)
    """For each column, the smallest number that is rounded to each whole number above the lowest."""
    lowest: list[int] = field(default_factory=list)
    """The lowest whole number of each column with cut points."""

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(**content)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def apply(self, predictions: Floats) -> Floats:
        """The answers, in the form of the predictions."""
        if self.target in ("binary", "multi_label"):
            thresholds = np.array(self.thresholds) if self.thresholds else np.array([0.5])
            return np.asarray(predictions >= thresholds, dtype=np.float64)
        if self.target == "regression" and not self.cut_points:
            return np.asarray(np.rint(predictions))
        classes = predictions.shape[1]
        if not self.cut_points:
            return np.asarray(np.eye(classes)[predictions.argmax(axis=1)])
        numbers = [
            low + np.searchsorted(np.asarray(cuts), column, side="right")
            for low, cuts, column in zip(
                self.lowest, self.cut_points, _numbers(self.target, predictions).T, strict=True
            )
        ]
        return np.asarray(np.eye(classes)[numbers[0]] if self.target == "ordinal" else np.column_stack(numbers) * 1.0)


def default_decision(target: str) -> Decision:
    return Decision(target)


def needs_decision(metric: Metric, target: str) -> bool:
    """Whether a decision is fitted; the most probable class of `single_label` needs none."""
    return metric.takes_answers and target in FITTED


def fit_decision(metric: Metric, target: str, truth: Truth, predictions: Floats) -> Decision:
    """The decision with the best score on these rows; the default if it is as good."""
    default = default_decision(target)
    if not needs_decision(metric, target) or not len(truth):
        return default
    if target in ("binary", "multi_label"):
        fitted = Decision(target, thresholds=_fit_thresholds(metric, truth, predictions))
    else:
        fitted = _fit_cut_points(metric, target, truth, predictions)
    best = _score(metric, truth, fitted.apply(predictions)) > _score(metric, truth, default.apply(predictions))
    return fitted if best else default


def cross_fitted_answers(
    metric: Metric, target: str, truth: Truth, predictions: Floats, fold_of: NDArray[np.int64]
) -> Floats:
    """The answers to every row by a decision that was fitted on the other folds' rows.

    Predictions stay as they are where no decision is fitted, since the metric makes the default one itself.
    """
    if not needs_decision(metric, target):
        return predictions
    answers = np.empty(predictions.shape)
    for fold in np.unique(fold_of):
        held_out = fold_of == fold
        decision = fit_decision(metric, target, truth[~held_out], predictions[~held_out])
        answers[held_out] = decision.apply(predictions[held_out])
    return answers


def better_answers(metric: Metric, truth: Truth, predictions: Floats, answers: Floats) -> Floats:
    """The answers, if they score better than the default decision, else the predictions as they are."""
    return answers if metric.better(metric(truth, answers), metric(truth, predictions)) else predictions


def _score(metric: Metric, truth: Truth, answers: Floats) -> float:
    """Greater is better."""
    try:
        score = metric.function(truth, answers)
    except DataError:  # undefined, such as the F1 of a label that no row has and no row is given
        return -np.inf
    return score if metric.higher_is_better else -score


def _fit_thresholds(metric: Metric, truth: Truth, predictions: Floats) -> list[float]:
    """One threshold for all columns, then for each column its own, as far as that takes less than a second."""
    columns = predictions.shape[1]
    if metric.averages_columns and columns > 1:
        each = [(truth[:, column : column + 1], predictions[:, column : column + 1]) for column in range(columns)]
        return [_fit_thresholds(metric, *column)[0] if column[0].any() else 0.5 for column in each]

    dtype = np.float64 if metric.is_own else np.bool_  # bytes are faster, but no function of one's own expects them

    def score(values: list[float]) -> float:
        return _score(metric, truth, (predictions >= values).astype(dtype, copy=False))

    by_distance = sorted(_between(predictions, _count(metric, _THRESHOLDS)), key=lambda value: abs(value - 0.5))
    common = max([0.5, *by_distance], key=lambda value: score([value] * columns))  # the first of equal ones
    count = _count(metric, min(_THRESHOLDS, _MAX_CELLS // (_MAX_PASSES * columns * predictions.size)))
    if columns == 1 or not count:
        return [common] * columns
    candidates = [_between(column, count) for column in predictions.T]
    return _descend([common] * columns, score, lambda values, number: candidates[number])


def _fit_cut_points(metric: Metric, target: str, truth: Truth, predictions: Floats) -> Decision:
    """Start from the better of two: halfway between whole numbers, or as often each as in the truth."""
    default = default_decision(target)
    numbers, actual = _numbers(target, predictions), truth.reshape(len(truth), -1)
    classes = predictions.shape[1] if target == "ordinal" else 0
    lowest = [0] if classes else [int(low) for low in actual.min(axis=0)]
    highest = [classes - 1] if classes else [int(high) for high in actual.max(axis=0)]
    counts = [high - low for low, high in zip(lowest, highest, strict=True)]
    if (actual != np.rint(actual)).any() or not 0 < sum(counts) <= MAX_WHOLE_NUMBERS:
        return default
    owner = np.repeat(np.arange(len(counts)), counts)
    """The column of each cut point."""
    halfway = [low + 0.5 + number for low, count in zip(lowest, counts, strict=True) for number in range(count)]
    shares = [(actual[:, column] < value).mean() for column, value in zip(owner, halfway, strict=True)]
    as_often = [float(np.quantile(numbers[:, column], share)) for column, share in zip(owner, shares, strict=True)]

    def decision(values: list[float]) -> Decision:
        ends = np.cumsum(counts)
        cut_points = [values[end - count : end] for end, count in zip(ends, counts, strict=True)]
        return Decision(target, cut_points=cut_points, lowest=lowest)

    def score(values: list[float]) -> float:
        return _score(metric, truth, decision(values).apply(predictions))

    between = [_between(column, _count(metric, _CUT_POINTS)) for column in numbers.T]

    def candidates(values: list[float], number: int) -> list[float]:
        """Those between the cut points before and after."""
        column = owner[number]
        low = values[number - 1] if number and owner[number - 1] == column else -np.inf
        high = values[number + 1] if number + 1 < len(values) and owner[number + 1] == column else np.inf
        return [value for value in between[column] if low <= value <= high]

    return decision(_descend(max([halfway, as_often], key=score), score, candidates))


def _numbers(target: str, predictions: Floats) -> Floats:
    """What is cut: the expected class number, or the numbers themselves."""
    if target != "ordinal":
        return predictions
    classes = np.arange(predictions.shape[1])
    return np.asarray((predictions @ classes / predictions.sum(axis=1))[:, None])


def _count(metric: Metric, most: int) -> int:
    return most // 5 if metric.is_own else most


def _between(values: Floats, most: int) -> list[float]:
    """Numbers between the values, at most so many: half of them after as many values each, half at equal distances."""
    distinct = np.unique(values)
    between = (distinct[:-1] + distinct[1:]) / 2
    if len(between) > most:
        shares = (np.arange((most + 1) // 2) + 0.5) / ((most + 1) // 2)
        between = np.unique([np.quantile(values, shares), distinct[0] + shares * (distinct[-1] - distinct[0])])
    return [float(value) for value in between]


def _descend(
    values: list[float], score: Score, candidates: Callable[[list[float], int], Iterable[float]]
) -> list[float]:
    """Change one value after the other to the best of its candidates, until none gets better."""
    best = score(values)
    for _ in range(_MAX_PASSES):
        before = best
        for number in range(len(values)):
            for candidate in candidates(values, number):
                tried = [*values[:number], candidate, *values[number + 1 :]]
                if (reached := score(tried)) > best:
                    values, best = tried, reached
        if best == before:
            break
    return values
