"""Likely label errors, by confident learning (Northcutt et al., 2021), from out-of-fold probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelErrors:
    rows: NDArray[np.int64]
    """The rows whose label is probably wrong, the most suspicious first."""
    suggested: NDArray[np.int64]
    """The more likely class of each of them."""
    margin: NDArray[np.float64]
    """The probability of each label minus that of the most likely other class."""


def find_label_errors(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> LabelErrors:
    """The rows that look like another class than that of their label.

    A row looks like a class if its probability is at least the mean probability of that class among the rows with this
    label: so a class of which the models are seldom sure needs a lower one.
    """
    everyone, classes = np.arange(len(labels)), probabilities.shape[1]
    of_class = [probabilities[labels == number, number] for number in range(classes)]
    usual = np.array([part.mean() if len(part) else np.inf for part in of_class])
    likely = np.where(probabilities >= usual, probabilities, 0.0)
    suspicious = likely.any(axis=1) & (likely.argmax(axis=1) != labels)
    others = probabilities.copy()
    others[everyone, labels] = -np.inf
    margin = probabilities[everyone, labels] - others.max(axis=1)
    rows = np.flatnonzero(suspicious)
    rows = rows[np.argsort(margin[rows], kind="stable")]
    return LabelErrors(rows, likely.argmax(axis=1)[rows], margin[rows])
