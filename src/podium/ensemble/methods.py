"""Methods to blend the predictions of several members.

A method is fitted on out-of-fold predictions as (members, rows, columns) and the truth of the rows. Then it predicts
(rows, columns) from the members' predictions of any rows. `BlendRows` are such predictions with metadata of the rows.
`data/targets.py` says what the columns are, and `config/ensemble.py` which method fits which target. All methods are
deterministic.
"""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from podium.config.ensemble import problem_of_method
from podium.data.target import Floats, Target, Truth
from podium.ensemble.rows import BlendRows
from podium.errors import ConfigError, DataError
from podium.evaluation.metrics import SMALLEST_PROBABILITY, Metric

FOLDS = 3
"""To score a fit on other rows, where many have to be compared."""


class BlendMethod(ABC):
    name: str
    learns = False
    """Whether it is fitted to the truth."""

    def __init__(self, members: Sequence[str], metric: Metric, target: Target) -> None:
        self.members, self.metric, self.target = list(members), metric, target

    def fit(self, oof: Floats | BlendRows, truth: Truth) -> Self:
        rows = self._check(oof)
        if np.shape(truth) not in (rows.shape[1:2], rows.shape[1:]) or not len(truth):
            raise DataError(
                f"Cannot fit a blend of {rows.shape[1]} rows to truth of shape {np.shape(truth)}; expected that of the"
                " same rows and at least one row"
            )
        self._fit(rows, truth)
        return self

    def restore(self, fitted: Mapping[str, Any], oof: Floats | BlendRows, truth: Truth) -> Self:
        """The method as it was fitted on these rows before; `fitted` is what `describe` returned then."""
        return self.fit(oof, truth)

    def predict(self, predictions: Floats | BlendRows) -> Floats:
        return self.target.normalize(self._predict(self._check(predictions)))

    def describe(self) -> dict[str, Any]:
        """The fitted parameters, for blend.json."""
        return {"method": self.name}

    def score(self, predictions: Floats, truth: Truth) -> tuple[float, float]:
        """Greater is better; the validation loss breaks ties, which metrics of answers have many of."""
        return self.metric.comparable(truth, predictions), -self.target.loss(truth, predictions)

    def score_of_fit(self, oof: Floats | BlendRows, truth: Truth) -> tuple[float, float]:
        """The score on these rows, each predicted by a fit to others if the method learns."""
        folds = min(FOLDS, len(truth))
        if not self.learns or folds < 2:
            return self.score(self.fit(oof, truth).predict(oof), truth)
        rows, predictions = self._check(oof), np.empty(oof.shape[1:])
        fold_of = rows.parts(self.target.strata(truth), folds, seed=0)
        for fold in np.unique(fold_of):
            held_out = fold_of == fold
            predictions[held_out] = self.fit(oof[:, ~held_out], truth[~held_out]).predict(oof[:, held_out])
        return self.score(predictions, truth)

    @abstractmethod
    def _fit(self, rows: BlendRows, truth: Truth) -> None: ...

    @abstractmethod
    def _predict(self, rows: BlendRows) -> Floats:
        """Need not be in the form of the target, such as rows that sum to 1."""

    def _check(self, given: Floats | BlendRows) -> BlendRows:
        rows = given if isinstance(given, BlendRows) else BlendRows(np.asarray(given, dtype=np.float64))
        predictions = rows.predictions
        if predictions.ndim != 3 or len(predictions) != len(self.members):
            raise DataError(
                f"Cannot blend predictions of shape {predictions.shape}; expected (members, rows, columns) of the"
                f" {len(self.members)} members {', '.join(self.members)}"
            )
        invalid = [name for name, part in zip(self.members, predictions, strict=True) if not np.isfinite(part).all()]
        if invalid:
            raise DataError(
                f"Predictions of {', '.join(invalid)} contain NaN or infinity; expected finite numbers: predict"
                " again, or leave the member out"
            )
        return rows


class Mean(BlendMethod):
    """The arithmetic mean; subclasses fit other weights."""

    name = "mean"

    def _fit(self, rows: BlendRows, truth: Truth) -> None:
        self.weights = self._fit_weights(self.target.normalize(rows.predictions), truth)

    def _fit_weights(self, oof: Floats, truth: Truth) -> Floats:
        return np.full(len(oof), 1 / len(oof))

    def restore(self, fitted: Mapping[str, Any], oof: Floats | BlendRows, truth: Truth) -> Self:
        self.weights = np.array([fitted["weights"][name] for name in self.members])
        return self

    def _predict(self, rows: BlendRows) -> Floats:
        return np.asarray(np.tensordot(self.weights, rows.predictions, axes=1))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "weights": dict(zip(self.members, self.weights.tolist(), strict=True))}


class Geometric(BlendMethod):
    """The geometric mean of probabilities: one member that excludes a class outweighs the others."""

    name = "geometric"

    def _fit(self, rows: BlendRows, truth: Truth) -> None:
        pass

    def _predict(self, rows: BlendRows) -> Floats:
        return self.target.geometric_mean(rows.predictions)


class RankMean(BlendMethod):
    """The mean of ranks within each column, so that overconfident members count no more than others.

    Ranks are those among the fitted rows: a row's prediction does not depend on the rows it is predicted with.
    """

    name = "rank_mean"

    def _fit(self, rows: BlendRows, truth: Truth) -> None:
        self._sorted = np.sort(rows.predictions, axis=1)

    def _predict(self, rows: BlendRows) -> Floats:
        predictions, ranks = rows.predictions, np.empty(rows.shape)
        for member, number in np.ndindex(predictions.shape[0], predictions.shape[2]):
            column, values = self._sorted[member, :, number], predictions[member, :, number]
            below, up_to = np.searchsorted(column, values, "left"), np.searchsorted(column, values, "right")
            # The mean rank of equal values; values between two rows get the mean of their ranks.
            ranks[member, :, number] = (below + up_to + 1) / 2 / len(column)
        return np.asarray(ranks.clip(max=1).mean(axis=0))


class Weights(Mean):
    """The weighted mean with the lowest validation loss; weights are not negative and sum to 1."""

    name = "weights"
    learns = True

    def _fit_weights(self, oof: Floats, truth: Truth) -> Floats:
        count = len(oof)
        equal, single = np.full(count, 1 / count), np.eye(count)
        if self.target.kind == "single_label":
            loss, gradient = _log_loss_of_weights(oof, truth)
            # The loss is convex, so every start leads to the same minimum; several guard against SLSQP stopping early
            # on a flat stretch. At the corners, the single members, the gradient is too steep to start from.
            starts = [equal, *(single + equal) / 2]
        else:
            gradient, starts = None, [equal]  # a gradient by differences takes a loss for each member

            def loss(weights: Floats) -> float:
                return self.target.loss(truth, self.target.normalize(np.tensordot(weights, oof, axes=1)))

        candidates = [equal, *single]
        for start in starts:
            found = minimize(
                loss, start, jac=gradient, method="SLSQP", bounds=[(0, 1)] * count,
                constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
                options={"ftol": 1e-10, "maxiter": 500},
            ).x  # fmt: skip
            positive = np.where(found > 1e-6, found, 0)  # the solver stops just above its bounds
            if np.isfinite(found).all() and positive.sum() > 0:
                candidates.append(positive / positive.sum())
        return min(candidates, key=loss)


def _log_loss_of_weights(oof: Floats, labels: Truth) -> tuple[Callable[[Floats], float], Callable[[Floats], Floats]]:
    """The log loss of a weighted mean, and its gradient, which need only the probabilities of the true classes."""
    right = oof[:, np.arange(len(labels)), labels].T.clip(SMALLEST_PROBABILITY)  # (rows, members)

    def loss(weights: Floats) -> float:
        return float(-np.log((right @ weights).clip(SMALLEST_PROBABILITY)).mean())

    def gradient(weights: Floats) -> Floats:
        return np.asarray(-(right / (right @ weights).clip(SMALLEST_PROBABILITY)[:, None]).mean(axis=0))

    return loss, gradient


class HillClimb(Mean):
    """Caruana's ensemble selection: repeatedly adds the member that improves the metric most, with repetition.

    The best prefix of the additions gives the weights, so the blend is never worse than the best member on the fitted
    rows.
    """

    name = "hill_climb"
    learns = True

    def __init__(self, members: Sequence[str], metric: Metric, target: Target, rounds: int = 50) -> None:
        super().__init__(members, metric, target)
        self.rounds = rounds

    def _fit_weights(self, oof: Floats, truth: Truth) -> Floats:
        total = np.zeros(oof.shape[1:])
        added: list[int] = []
        best, best_length = (-np.inf, -np.inf), 0
        for length in range(1, self.rounds + 1):
            scores = [self.score((total + member) / length, truth) for member in oof]
            pick = max(range(len(scores)), key=scores.__getitem__)
            added.append(pick)
            total += oof[pick]
            if scores[pick] > best:
                best, best_length = scores[pick], length
        return np.bincount(added[:best_length], minlength=len(oof)) / best_length


class Stacking(BlendMethod):
    """A model that predicts the target from the predictions of all members, and from metadata of the rows.

    It can learn what a member is good at, and can overfit: a smaller C means smaller coefficients of a regression and
    more equal members.
    """

    name = "stacking"
    learns = True

    def __init__(
        self,
        members: Sequence[str],
        metric: Metric,
        target: Target,
        C: float = 0.01,  # noqa: N803  # as in scikit-learn
        model: Literal["regression", "boosting"] = "regression",
    ) -> None:
        super().__init__(members, metric, target)
        self.C, self.model = C, model

    def restore(self, fitted: Mapping[str, Any], oof: Floats | BlendRows, truth: Truth) -> Self:
        self.C, self.model = fitted["C"], fitted["model"]
        return self.fit(oof, truth)

    def _fit(self, rows: BlendRows, truth: Truth) -> None:
        from podium.ensemble.stack_models import STACKS, Estimators

        estimators = Estimators(self.model, self.C, rows.sizes)
        # One thread adds up in the same order on every machine, and is no slower for such small matrices.
        # A column of metadata without any number has no mean.
        with threadpool_limits(1), np.errstate(invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # early stopping only regularizes more
            # scikit-learn 1.6 passes an option to SciPy 1.16 that is deprecated there.
            warnings.filterwarnings("ignore", ".*`disp` and `iprint` options", DeprecationWarning)
            self._stack = STACKS[self.target.kind](rows, truth, estimators)

    def _predict(self, rows: BlendRows) -> Floats:
        return self._stack.predict(rows, self.target.normalize(rows.predictions.mean(axis=0)))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "C": self.C, "model": self.model, "converged": self._stack.converged}


class Calibrated(BlendMethod):
    """Divides the logits of each member by a temperature before they are blended by another method."""

    def __init__(self, method: BlendMethod) -> None:
        super().__init__(method.members, method.metric, method.target)
        self.method, self.learns = method, method.learns

    def _fit(self, rows: BlendRows, truth: Truth) -> None:
        self.temperatures = [best_temperature(member, truth, self.target) for member in rows.predictions]
        self.method.fit(self._calibrate(rows), truth)

    def restore(self, fitted: Mapping[str, Any], oof: Floats | BlendRows, truth: Truth) -> Self:
        self.temperatures = [fitted["temperatures"][name] for name in self.members]
        self.method.restore(fitted, self._calibrate(self._check(oof)), truth)
        return self

    def _predict(self, rows: BlendRows) -> Floats:
        return self.method.predict(self._calibrate(rows))

    def _calibrate(self, rows: BlendRows) -> BlendRows:
        pairs = zip(rows.predictions, self.temperatures, strict=True)
        return replace(rows, predictions=np.stack([self.target.with_temperature(*pair) for pair in pairs]))

    def describe(self) -> dict[str, Any]:
        return {**self.method.describe(), "temperatures": dict(zip(self.members, self.temperatures, strict=True))}


def best_temperature(probabilities: Floats, truth: Truth, target: Target) -> float:
    """The temperature with the lowest loss, from 1/20 to 20. A single number is known well enough from 5,000 rows."""
    some = slice(None, None, math.ceil(len(truth) / 5_000))

    def loss(logarithm: float) -> float:
        return target.loss(truth[some], target.with_temperature(probabilities[some], math.exp(logarithm)))

    limit = math.log(20)
    return math.exp(minimize_scalar(loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-3}).x)


class Selected(BlendMethod):
    """Blends by another method, without the members that do not improve its score."""

    def __init__(self, make: Callable[[Sequence[str]], BlendMethod], members: Sequence[str]) -> None:
        self._make, self.method = make, make(members)
        super().__init__(members, self.method.metric, self.method.target)
        self.learns = self.method.learns

    def _fit(self, rows: BlendRows, truth: Truth) -> None:
        kept = list(range(len(self.members)))
        score = self._keep(kept).score_of_fit(rows, truth)
        while len(kept) > 1:
            rest = [[number for number in kept if number != left_out] for left_out in kept]
            scores = [self._keep(part).score_of_fit(rows[part], truth) for part in rest]
            if max(scores) < score:
                break
            score, kept = max(scores), rest[scores.index(max(scores))]
        self._keep(kept).fit(rows[kept], truth)

    def restore(self, fitted: Mapping[str, Any], oof: Floats | BlendRows, truth: Truth) -> Self:
        kept = [number for number, name in enumerate(self.members) if name not in fitted["left_out"]]
        self._keep(kept).restore(fitted, oof[kept], truth)
        return self

    def _keep(self, kept: Sequence[int]) -> BlendMethod:
        self._kept, self.method = list(kept), self._make([self.members[number] for number in kept])
        return self.method

    def _predict(self, rows: BlendRows) -> Floats:
        return self.method.predict(rows[self._kept])

    def describe(self) -> dict[str, Any]:
        return {
            **self.method.describe(),
            "left_out": [name for name in self.members if name not in self.method.members],
        }


METHODS: dict[str, type[BlendMethod]] = {
    method.name: method for method in (Mean, Geometric, RankMean, Weights, HillClimb, Stacking)
}


def make_method(
    name: str,
    members: Sequence[str],
    metric: Metric,
    target: Target,
    *,
    calibrate: bool = False,
    select: str = "all",
    **options: Any,
) -> BlendMethod:
    """`rounds` is an option of hill_climb, `C` and `model` of stacking. `metadata` comes with the rows."""
    options.pop("metadata", None)
    if name not in METHODS:
        raise ConfigError(f"no blend method {name!r}; expected one of {', '.join(METHODS)}")
    if problem := problem_of_method(name, target.kind):
        raise ConfigError(problem)

    def make(kept: Sequence[str]) -> BlendMethod:
        return METHODS[name](kept, metric, target, **options)

    method = make(members) if select == "all" else Selected(make, members)
    return Calibrated(method) if calibrate else method
