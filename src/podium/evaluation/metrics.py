"""The metrics of competitions, as functions of class numbers and probabilities.

Classes are numbers from 0, the columns of the probabilities. Labels need not contain every class: a fold seldom does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from podium.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.integer[Any]]
    Probs = NDArray[np.floating[Any]]

SMALLEST_PROBABILITY = 1e-15
"""Kaggle's log loss clips here, so that a probability of 0 for the true class does not give an infinite loss."""


@dataclass(frozen=True)
class Metric:
    """A score. `needs` is "labels" if only the most probable class counts, "probs" if the probabilities do."""

    name: str
    higher_is_better: bool
    needs: str
    function: Callable[[Labels, Probs], float] = field(repr=False)

    def __call__(self, labels: Labels, probs: Probs) -> float:
        return float(self.function(*_checked(labels, probs)))

    def better(self, new: float, old: float) -> bool:
        """Whether `new` is better than `old`; any score is better than NaN, which means no score yet."""
        if math.isnan(old):
            return not math.isnan(new)
        return new > old if self.higher_is_better else new < old


def _checked(labels: Labels, probs: Probs) -> tuple[Labels, Probs]:
    import numpy as np

    labels = np.asarray(labels)
    probs = np.asarray(probs, dtype=np.float64)
    if labels.ndim != 1 or probs.ndim != 2 or len(labels) != len(probs) or not len(labels) or probs.shape[1] < 2:
        raise DataError(
            f"Cannot score labels of shape {labels.shape} with probabilities of shape {probs.shape}; expected (rows,) "
            "and (rows, classes), at least one row and two classes: give both from the same rows"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= probs.shape[1]:
        raise DataError(
            f"Labels run from {labels.min()} to {labels.max()} ({labels.dtype}); expected class numbers from 0 to "
            f"{probs.shape[1] - 1}: use the class list the model was trained with"
        )
    invalid = np.flatnonzero(~np.isfinite(probs).all(axis=1))
    if len(invalid):
        raise DataError(
            f"Probabilities of {len(invalid)} rows are NaN or infinite (first: row {invalid[0]}); expected finite "
            "numbers: predict again with a run that did not diverge"
        )
    return labels, probs


def _accuracy(labels: Labels, probs: Probs) -> float:
    # Like the log loss not scikit-learn's, whose checks take most of the time: bootstraps call it thousands of times.
    return float((probs.argmax(axis=1) == labels).mean())


def _balanced_accuracy(labels: Labels, probs: Probs) -> float:
    """Recall averaged over the classes that have rows; scikit-learn's function warns if other classes are predicted."""
    import numpy as np
    from sklearn.metrics import recall_score

    return float(recall_score(labels, probs.argmax(axis=1), labels=np.unique(labels), average="macro"))


def _macro_f1(labels: Labels, probs: Probs) -> float:
    """Averaged over the classes that are labels or predictions; other classes have no F1."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, probs.argmax(axis=1), average="macro", zero_division=0))


def _log_loss(labels: Labels, probs: Probs) -> float:
    import numpy as np

    clipped = probs.clip(SMALLEST_PROBABILITY)
    right = clipped[np.arange(len(labels)), labels]
    return float(-np.log(right / clipped.sum(axis=1)).mean())


def _quadratic_kappa(labels: Labels, probs: Probs) -> float:
    """For ordinal classes: a mistake is weighted by the square of its distance in classes."""
    import numpy as np
    from sklearn.metrics import cohen_kappa_score

    predicted = probs.argmax(axis=1)
    if len(np.union1d(labels, predicted)) == 1:
        raise DataError(
            f"Kappa is undefined: every label and every prediction is class {labels[0]}; expected at least two "
            "classes: score more rows, or choose another metric"
        )
    return float(cohen_kappa_score(labels, predicted, labels=range(probs.shape[1]), weights="quadratic"))


def _roc_auc(labels: Labels, probs: Probs) -> float:
    """One class against the rest, averaged over the classes that have rows."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            f"ROC AUC is undefined: every row is of class {present[0]}; expected rows of at least two classes: score "
            "more rows, or choose another metric"
        )
    # With two classes the second column is the usual positive class; the first gives the same value.
    scored = np.array([1]) if probs.shape[1] == 2 else present
    return float(roc_auc_score(labels[:, None] == scored, probs[:, scored], average="macro"))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", True, "labels", _accuracy),
        Metric("balanced_accuracy", True, "labels", _balanced_accuracy),
        Metric("macro_f1", True, "labels", _macro_f1),
        Metric("log_loss", False, "probs", _log_loss),
        Metric("quadratic_kappa", True, "labels", _quadratic_kappa),
        Metric("roc_auc", True, "probs", _roc_auc),
    )
}


class _Target(Protocol):
    @property
    def kind(self) -> str: ...


class _Competition(Protocol):
    @property
    def metric(self) -> str: ...

    @property
    def target(self) -> _Target: ...


def metric_of(competition: _Competition) -> Metric:
    if competition.target.kind not in ("single_label", "ordinal"):
        raise DataError(
            f"{competition.metric} scores the targets single_label and ordinal, not {competition.target.kind}; choose"
            " one of these targets"
        )
    return METRICS[competition.metric]
