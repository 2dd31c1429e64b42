"""Whether predictions are right, and how sure they are, for the kinds of target where that has a meaning."""

import numpy as np
from numpy.typing import NDArray

from podium.data.target import Floats, Target, Truth
from podium.evaluation.decisions import default_decision


def has_answers(target: Target) -> bool:
    """Whether predictions are right or wrong."""
    return target.kind not in ("regression", "soft_label")


def answers(predictions: Floats, target: Target) -> Floats:
    """The most probable class, or each label with a probability from 0.5, in the form of predictions."""
    return default_decision(target.kind).apply(predictions)


def are_right(predictions: Floats, truth: Truth, target: Target) -> NDArray[np.bool_]:
    """Of each row, whether the answer is the truth; with several labels, whether all are."""
    encoded = target.encode(truth)[np.arange(len(truth))]
    return np.asarray((answers(predictions, target) == encoded).all(axis=1))


def confidence(predictions: Floats, target: Target) -> Floats:
    """The probability of each row's answer; with several labels, that of the least sure one."""
    if target.head == "sigmoid":
        return np.asarray(np.maximum(predictions, 1 - predictions).min(axis=1))
    return np.asarray(predictions.max(axis=1))
