"""Methods to blend the probabilities of several members.

A method is fitted on out-of-fold probabilities as (members, rows, classes) and the class numbers of the rows. Then it
predicts (rows, classes) from the members' probabilities of any rows. All methods are deterministic.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from podium.errors import ConfigError, DataError
from podium.evaluation.metrics import SMALLEST_PROBABILITY, Metric

Floats = NDArray[np.float64]
Labels = NDArray[np.integer[Any]]

_MIN_PROBABILITY = 1e-7
"""For logarithms: float32 softmax is not accurate below, and a zero from one member must not exclude a class."""


class BlendMethod(ABC):
    name: str

    def __init__(self, members: Sequence[str], metric: Metric) -> None:
        self.members, self.metric = list(members), metric

    def fit(self, oof: Floats, labels: Labels) -> Self:
        oof = self._check(oof)
        if np.shape(labels) != oof.shape[1:2] or not len(labels):
            raise DataError(
                f"Cannot fit a blend of {oof.shape[1]} rows to labels of shape {np.shape(labels)}; expected a label for"
                " each row and at least one row"
            )
        self._fit(oof, labels)
        return self

    def predict(self, probs: Floats) -> Floats:
        return _normalize(self._predict(self._check(probs)))

    def describe(self) -> dict[str, Any]:
        """The fitted parameters, for blend.json."""
        return {"method": self.name}

    @abstractmethod
    def _fit(self, oof: Floats, labels: Labels) -> None: ...

    @abstractmethod
    def _predict(self, probs: Floats) -> Floats:
        """Rows need not sum to 1."""

    def _check(self, probs: Floats) -> Floats:
        probs = np.asarray(probs, dtype=np.float64)
        if probs.ndim != 3 or len(probs) != len(self.members):
            raise DataError(
                f"Cannot blend probabilities of shape {probs.shape}; expected (members, rows, classes) of the"
                f" {len(self.members)} members {', '.join(self.members)}"
            )
        invalid = [name for name, part in zip(self.members, probs, strict=True) if not np.isfinite(part).all()]
        if invalid:
            raise DataError(
                f"Probabilities of {', '.join(invalid)} contain NaN or infinity; expected finite numbers: predict"
                " again, or leave the member out"
            )
        return probs


class Mean(BlendMethod):
    """The arithmetic mean; subclasses fit other weights."""

    name = "mean"

    def _fit(self, oof: Floats, labels: Labels) -> None:
        self.weights = self._fit_weights(_normalize(oof), labels)

    def _fit_weights(self, oof: Floats, labels: Labels) -> Floats:
        return np.full(len(oof), 1 / len(oof))

    def _predict(self, probs: Floats) -> Floats:
        return np.asarray(np.tensordot(self.weights, probs, axes=1))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "weights": dict(zip(self.members, self.weights.tolist(), strict=True))}


class Geometric(BlendMethod):
    """The geometric mean: one member that excludes a class outweighs the others."""

    name = "geometric"

    def _fit(self, oof: Floats, labels: Labels) -> None:
        pass

    def _predict(self, probs: Floats) -> Floats:
        return np.asarray(np.exp(np.log(probs.clip(_MIN_PROBABILITY)).mean(axis=0)))


class RankMean(BlendMethod):
    """The mean of ranks within each class, so that overconfident members count no more than others.

    Ranks are those among the fitted rows: a row's prediction does not depend on the rows it is predicted with.
    """

    name = "rank_mean"

    def _fit(self, oof: Floats, labels: Labels) -> None:
        self._sorted = np.sort(oof, axis=1)

    def _predict(self, probs: Floats) -> Floats:
        ranks = np.empty(probs.shape)
        for member, number in np.ndindex(probs.shape[0], probs.shape[2]):
            column, values = self._sorted[member, :, number], probs[member, :, number]
            below, up_to = np.searchsorted(column, values, "left"), np.searchsorted(column, values, "right")
            # The mean rank of equal values; values between two rows get the mean of their ranks.
            ranks[member, :, number] = (below + up_to + 1) / 2 / len(column)
        return np.asarray(ranks.clip(max=1).mean(axis=0))


class Weights(Mean):
    """The weighted mean with the lowest log loss; weights are not negative and sum to 1."""

    name = "weights"

    def _fit_weights(self, oof: Floats, labels: Labels) -> Floats:
        right = oof[:, np.arange(len(labels)), labels].T.clip(SMALLEST_PROBABILITY)  # (rows, members)

        def loss(weights: Floats) -> float:
            return float(-np.log((right @ weights).clip(SMALLEST_PROBABILITY)).mean())

        def gradient(weights: Floats) -> Floats:
            return np.asarray(-(right / (right @ weights).clip(SMALLEST_PROBABILITY)[:, None]).mean(axis=0))

        count = len(oof)
        equal, single = np.full(count, 1 / count), np.eye(count)
        candidates = [equal, *single]
        # The loss is convex, so every start leads to the same minimum; several guard against SLSQP stopping early on a
        # flat stretch. At the corners, the single members, the gradient is too steep to start from.
        for start in [equal, *(single + equal) / 2]:
            found = minimize(
                loss, start, jac=gradient, method="SLSQP", bounds=[(0, 1)] * count,
                constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
                options={"ftol": 1e-10, "maxiter": 500},
            ).x  # fmt: skip
            positive = np.where(found > 1e-6, found, 0)  # the solver stops just above its bounds
            if np.isfinite(found).all() and positive.sum() > 0:
                candidates.append(positive / positive.sum())
        return min(candidates, key=loss)


class HillClimb(Mean):
    """Caruana's ensemble selection: repeatedly adds the member that improves the metric most, with repetition.

    The best prefix of the additions gives the weights, so the blend is never worse than the best member on the fitted
    rows.
    """

    name = "hill_climb"

    def __init__(self, members: Sequence[str], metric: Metric, rounds: int = 50) -> None:
        super().__init__(members, metric)
        self.rounds = rounds

    def _fit_weights(self, oof: Floats, labels: Labels) -> Floats:
        total = np.zeros(oof.shape[1:])
        added: list[int] = []
        best, best_length = (-np.inf, -np.inf), 0
        for length in range(1, self.rounds + 1):
            scores = [self._score((total + member) / length, labels) for member in oof]
            pick = max(range(len(scores)), key=scores.__getitem__)
            added.append(pick)
            total += oof[pick]
            if scores[pick] > best:
                best, best_length = scores[pick], length
        return np.bincount(added[:best_length], minlength=len(oof)) / best_length

    def _score(self, probs: Floats, labels: Labels) -> tuple[float, float]:
        """Greater is better; log loss breaks ties, which metrics of labels have many of."""
        score = self.metric(labels, probs)
        right = probs[np.arange(len(labels)), labels].clip(SMALLEST_PROBABILITY)
        return (score if self.metric.higher_is_better else -score, float(np.log(right).mean()))


class Stacking(BlendMethod):
    """Multinomial logistic regression on the log probabilities of all members.

    It can learn which classes a member is good at, and can overfit: a smaller C means smaller coefficients and more
    equal members. Classes without rows to fit on get the members' mean.
    """

    name = "stacking"

    def __init__(self, members: Sequence[str], metric: Metric, C: float = 0.01) -> None:  # noqa: N803  # as in scikit-learn
        super().__init__(members, metric)
        self.C = C

    def _fit(self, oof: Floats, labels: Labels) -> None:
        self._seen = np.unique(labels)
        self._model: Any = None
        if len(self._seen) == 1:
            return
        self._model = LogisticRegression(C=self.C, max_iter=1000)
        # One thread adds up in the same order on every machine, and is no slower for such small matrices.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # early stopping only regularizes more
            # scikit-learn 1.6 passes an option to SciPy 1.16 that is deprecated there.
            warnings.filterwarnings("ignore", ".*`disp` and `iprint` options", DeprecationWarning)
            self._model.fit(_log_features(oof), labels)

    def _predict(self, probs: Floats) -> Floats:
        blended = _normalize(probs.mean(axis=0))
        share_of_seen = blended[:, self._seen].sum(axis=1, keepdims=True)
        among_seen = 1.0 if self._model is None else self._model.predict_proba(_log_features(probs))
        blended[:, self._seen] = among_seen * share_of_seen
        return blended

    def describe(self) -> dict[str, Any]:
        converged = self._model is None or int(self._model.n_iter_.max()) < self._model.max_iter
        return {**super().describe(), "C": self.C, "converged": converged}


METHODS: dict[str, type[BlendMethod]] = {
    method.name: method for method in (Mean, Geometric, RankMean, Weights, HillClimb, Stacking)
}


def make_method(name: str, members: Sequence[str], metric: Metric, **options: float) -> BlendMethod:
    """`rounds` is an option of hill_climb, `C` of stacking."""
    if name not in METHODS:
        raise ConfigError(f"no blend method {name!r}; expected one of {', '.join(METHODS)}")
    return METHODS[name](members, metric, **options)


def _normalize(probs: Floats) -> Floats:
    """The last axis sums to 1; zeros become equal probabilities."""
    positive = probs.clip(min=0)
    total = positive.sum(axis=-1, keepdims=True)
    return np.where(total > 0, positive / np.where(total > 0, total, 1), 1 / probs.shape[-1])


def _log_features(probs: Floats) -> Floats:
    """(members, rows, classes) to (rows, members × classes)."""
    rows_first: Floats = np.log(probs.clip(_MIN_PROBABILITY)).transpose(1, 0, 2)
    return rows_first.reshape(probs.shape[1], -1)
