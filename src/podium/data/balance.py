"""Balancing classes: how often the rows of a class are drawn, and how much they count in the loss."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from podium.config.loss import Balance, ClassWeights
from podium.data.target import Floats, Target, Truth

POWERS: dict[Balance, float] = {"balanced": 1.0, "sqrt": 0.5}
"""A class with twice as many rows counts half as much, or 1/√2 as much."""


def row_shares(balance: Balance, target: Target, truth: Truth) -> Floats:
    """How often each row is drawn, relative to the others. A row with several labels counts for its rarest one."""
    _, stratum, counts = np.unique(target.strata(truth), return_inverse=True, return_counts=True)
    return np.asarray(counts[stratum] ** -POWERS[balance])


def draw_rows(shares: Floats, generator: np.random.Generator) -> NDArray[np.int64]:
    """As many rows as there are, in random order: each as often as its share says, rounded up or down at random, and so
    all rows with the same share together.

    What is drawn again is counted on, as row + rows, row + 2 · rows and so on, so that it is augmented differently.
    """
    rows = len(shares)
    shuffled = generator.permutation(rows)
    shuffled = shuffled[np.argsort(shares[shuffled], kind="stable")]
    ends = np.cumsum(shares[shuffled])
    drawn = np.searchsorted(ends / ends[-1], (np.arange(rows) + generator.random()) / rows)
    times_before = np.arange(rows) - np.searchsorted(drawn, drawn)
    return generator.permutation(shuffled[drawn] + rows * times_before)


def class_weights(weights: ClassWeights, target: Target, truth: Truth) -> Floats:
    """The weight of each class; where each output is yes or no, those of no and of yes, as (2, outputs).

    Their mean over these rows is 1, unless they are given.
    """
    each_is_yes_or_no = target.head == "sigmoid"
    if isinstance(weights, Mapping):
        given = np.array([weights.get(label, 1.0) for label in target.labels])
        if target.kind == "multi_label":
            return np.stack([np.ones_like(given), given])
    else:
        counts = np.bincount(truth, minlength=len(target.labels)) if target.truth_is_class else truth.sum(axis=0)
        if target.kind == "multi_label":
            counts = np.stack([len(truth) - counts, counts])
        counts = np.maximum(counts, 1)
        inverse = counts ** -POWERS[weights]
        given = inverse * counts.sum(axis=0) / (inverse * counts).sum(axis=0)
    return given.reshape(2, -1) if each_is_yes_or_no else given
