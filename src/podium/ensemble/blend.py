"""Ways to turn several members' probabilities into one table.

A method is fitted on out-of-fold probabilities, an array (members, rows, classes), and the rows' class numbers. What it
gives is a blender: it turns the same members' probabilities for any rows, down to a single one, into (rows, classes).
All of it is deterministic.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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

# Where logarithms of single members are taken: a float32 softmax says nothing below this, and one member's hard zero
# must not veto a class for all.
_FLOOR = 1e-7


class Blender(Protocol):
    """A fitted method."""

    def apply(self, probs: Floats) -> Floats:
        """(members, rows, classes) to (rows, classes)."""

    def describe(self) -> dict[str, Any]:
        """What was fitted, as plain values: the method's name, weights by member where it has them."""


class Method(Protocol):
    """A way to blend, not yet fitted."""

    def fit(self, oof: Floats, labels: Labels) -> Blender:
        """Learn from out-of-fold probabilities (members, rows, classes) and class numbers (rows,)."""


@dataclass(frozen=True, eq=False)
class WeightedBlender:
    """An arithmetic mean with one weight a member."""

    method: str
    members: tuple[str, ...]
    weights: Floats

    def apply(self, probs: Floats) -> Floats:
        return _normalised(np.tensordot(self.weights, _stack_of(probs, self.members), axes=1))

    def describe(self) -> dict[str, Any]:
        weights = dict(zip(self.members, self.weights.tolist(), strict=True))
        return {"method": self.method, "weights": weights}


@dataclass(frozen=True)
class Mean:
    """Every member counts the same."""

    members: tuple[str, ...]

    def fit(self, oof: Floats, labels: Labels) -> WeightedBlender:
        _stack_of(oof, self.members, labels)
        return WeightedBlender("mean", self.members, np.full(len(self.members), 1 / len(self.members)))


@dataclass(frozen=True)
class Geometric:
    """The mean of logarithms: a class needs every member's consent. Nothing is fitted."""

    members: tuple[str, ...]

    def fit(self, oof: Floats, labels: Labels) -> "Geometric":
        _stack_of(oof, self.members, labels)
        return self

    def apply(self, probs: Floats) -> Floats:
        mean = np.log(_stack_of(probs, self.members).clip(_FLOOR)).mean(axis=0)
        return _normalised(np.exp(mean))

    def describe(self) -> dict[str, Any]:
        return {"method": "geometric"}


@dataclass(frozen=True)
class RankMean:
    """Each value is replaced by its rank in its column, so that an overconfident member shouts no louder."""

    members: tuple[str, ...]

    def fit(self, oof: Floats, labels: Labels) -> "RankBlender":
        return RankBlender(self.members, np.sort(_stack_of(oof, self.members, labels), axis=1))


@dataclass(frozen=True, eq=False)
class RankBlender:
    """Ranks among the fitting rows, so that a row's answer does not hang on which rows it is predicted with."""

    members: tuple[str, ...]
    columns: Floats  # (members, fitting rows, classes), each column sorted

    def apply(self, probs: Floats) -> Floats:
        ranks = np.empty(_stack_of(probs, self.members).shape)
        for member, class_number in np.ndindex(ranks.shape[0], ranks.shape[2]):
            column = self.columns[member, :, class_number]
            values = probs[member, :, class_number]
            below, up_to = np.searchsorted(column, values, "left"), np.searchsorted(column, values, "right")
            # The mean rank of equal values; a value between two fitting rows falls half-way between their ranks.
            ranks[member, :, class_number] = (below + up_to + 1) / 2 / len(column)
        return _normalised(ranks.clip(max=1).mean(axis=0))

    def describe(self) -> dict[str, Any]:
        return {"method": "rank_mean"}


@dataclass(frozen=True)
class Weights:
    """The weights, none negative, that give the arithmetic mean its lowest log loss."""

    members: tuple[str, ...]

    def fit(self, oof: Floats, labels: Labels) -> WeightedBlender:
        stack = _normalised(_stack_of(oof, self.members, labels))
        truth = stack[:, np.arange(len(labels)), labels].T.clip(SMALLEST_PROBABILITY)
        return WeightedBlender("weights", self.members, _lightest_weights(truth))


def _lightest_weights(truth: Floats) -> Floats:
    """The weights of least log loss, given what each member (column) gave the right class of each row.

    The loss is convex, so every start has the same goal; several only guard against SLSQP halting on a flat stretch.
    Starts lie inside the simplex, where the gradient is tame; its corners, the single members, are only compared.
    """
    count = truth.shape[1]
    corners = np.eye(count)
    equal = np.full(count, 1 / count)

    def loss(weights: Floats) -> float:
        return float(-np.log((truth @ weights).clip(SMALLEST_PROBABILITY)).mean())

    def slope(weights: Floats) -> Floats:
        gradient: Floats = -(truth / (truth @ weights).clip(SMALLEST_PROBABILITY)[:, None]).mean(axis=0)
        return gradient

    candidates = [equal, *corners]
    for start in [equal, *(corners + equal) / 2]:
        found = minimize(
            loss,
            start,
            jac=slope,
            method="SLSQP",
            bounds=[(0, 1)] * count,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-10, "maxiter": 500},
        ).x
        kept = np.where(found > 1e-6, found, 0)  # what is left of a weight the solver pushed to its bound
        if np.isfinite(found).all() and kept.sum() > 0:
            candidates.append(kept / kept.sum())
    return min(candidates, key=loss)


@dataclass(frozen=True)
class HillClimb:
    """Caruana's greedy selection: add, again and again, the member that helps the competition's metric most.

    A member may be added many times; its share of the additions is its weight. The first addition is the best single
    member, and the best length of the list is kept, so on the fitting rows the blend is never worse than that member.
    """

    members: tuple[str, ...]
    metric: Metric
    rounds: int = 50

    def fit(self, oof: Floats, labels: Labels) -> WeightedBlender:
        stack = _normalised(_stack_of(oof, self.members, labels))
        total = np.zeros(stack.shape[1:])
        chosen: list[int] = []
        best, length = (-np.inf, -np.inf), 0
        for size in range(1, self.rounds + 1):
            merits = [self._merit((total + member) / size, labels) for member in stack]
            pick = max(range(len(merits)), key=merits.__getitem__)
            chosen.append(pick)
            total += stack[pick]
            if merits[pick] > best:
                best, length = merits[pick], size
        weights = np.bincount(chosen[:length], minlength=len(stack)) / length
        return WeightedBlender("hill_climb", self.members, weights)

    def _merit(self, probs: Floats, labels: Labels) -> tuple[float, float]:
        """Greater is better; log loss decides between equals, of which a metric that counts rows has many."""
        score = self.metric(labels, probs)
        truth = probs[np.arange(len(labels)), labels].clip(SMALLEST_PROBABILITY)
        return (score if self.metric.higher_is_better else -score, float(np.log(truth).mean()))


@dataclass(frozen=True)
class Stacking:
    """A multinomial logistic regression on all members' log probabilities.

    It can learn that a member is to be believed about some classes only, and can overfit doing so: the smaller C, as
    scikit-learn has it, the smaller the coefficients and the more alike the members' say.
    """

    members: tuple[str, ...]
    C: float = 0.01

    def fit(self, oof: Floats, labels: Labels) -> "StackingBlender":
        stack = _stack_of(oof, self.members, labels)
        seen = np.unique(labels)
        if len(seen) == 1:
            return StackingBlender(self, seen, None)
        model = LogisticRegression(C=self.C, max_iter=1000)
        # One thread: the same sums in the same order on any machine, and such small products are no slower for it,
        # on busy cores many times faster.
        with threadpool_limits(1), warnings.catch_warnings():
            # StopCondition early only regularises more; `describe` tells, and the nested estimate judges.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # scikit-learn 1.6 hands SciPy 1.16 an option that it is about to drop; newer ones do not.
            warnings.filterwarnings("ignore", ".*`disp` and `iprint` options", DeprecationWarning)
            model.fit(_log_features(stack), labels)
        return StackingBlender(self, seen, model)


@dataclass(frozen=True, eq=False)
class StackingBlender:
    """The regression over the classes its fitting rows had; about other classes the members' mean is all there is."""

    fitted_by: Stacking
    seen: NDArray[np.integer[Any]]
    model: Any

    def apply(self, probs: Floats) -> Floats:
        stack = _stack_of(probs, self.fitted_by.members)
        blended = _normalised(stack.mean(axis=0))
        share_of_seen = blended[:, self.seen].sum(axis=1, keepdims=True)
        among_seen = (
            np.ones((stack.shape[1], 1)) if self.model is None else self.model.predict_proba(_log_features(stack))
        )
        blended[:, self.seen] = among_seen * share_of_seen
        return _normalised(blended)

    def describe(self) -> dict[str, Any]:
        converged = self.model is None or int(self.model.n_iter_.max()) < self.model.max_iter
        return {"method": "stacking", "C": self.fitted_by.C, "converged": converged}


# What a configuration may name. Each makes the method from the members' names, the competition's metric and the
# method's own options.
METHODS: dict[str, Callable[..., Method]] = {
    "mean": lambda members, metric: Mean(tuple(members)),
    "geometric": lambda members, metric: Geometric(tuple(members)),
    "rank_mean": lambda members, metric: RankMean(tuple(members)),
    "weights": lambda members, metric: Weights(tuple(members)),
    "hill_climb": lambda members, metric, **options: HillClimb(tuple(members), metric, **options),
    "stacking": lambda members, metric, **options: Stacking(tuple(members), **options),
}


def make_method(name: str, members: Sequence[str], metric: Metric, **options: float) -> Method:
    """The method by its name; `rounds` is an option of hill_climb, `C` of stacking."""
    if name in METHODS:
        return METHODS[name](members, metric, **options)
    raise ConfigError(f"There is no blend {name!r}; expected one of {', '.join(METHODS)}: name one of these")


def _stack_of(probs: Floats, members: Sequence[str], labels: Labels | None = None) -> Floats:
    """The probabilities as float64, once they fit the members, and the labels where there are any."""
    stack = np.asarray(probs, dtype=np.float64)
    if stack.ndim != 3 or stack.shape[0] != len(members) or not len(members):
        raise DataError(
            f"Cannot blend probabilities of shape {stack.shape}; expected (members, rows, classes) with the "
            f"{len(members)} members {', '.join(members)}: stack one table a member"
        )
    if not np.isfinite(stack).all():
        bad = [name for name, table in zip(members, stack, strict=True) if not np.isfinite(table).all()]
        raise DataError(
            f"Probabilities of {', '.join(bad)} hold NaN or infinity; expected finite numbers: predict again or leave "
            "the member out"
        )
    if labels is not None and (np.shape(labels) != stack.shape[1:2] or not len(labels)):
        raise DataError(
            f"Cannot fit a blend of {stack.shape[1]} rows to labels of shape {np.shape(labels)}; expected one label a "
            "row and at least one row: give both from the same out-of-fold rows"
        )
    return stack


def _normalised(table: Floats) -> Floats:
    """Last axis summing to 1; a row of zeros becomes even odds."""
    positive = table.clip(min=0)
    total = positive.sum(axis=-1, keepdims=True)
    shares: Floats = np.where(total > 0, positive / np.where(total > 0, total, 1), 1 / table.shape[-1])
    return shares


def _log_features(stack: Floats) -> Floats:
    """(members, rows, classes) to (rows, members × classes)."""
    rows_first: Floats = np.log(stack.clip(_FLOOR)).transpose(1, 0, 2)
    return rows_first.reshape(stack.shape[1], -1)
