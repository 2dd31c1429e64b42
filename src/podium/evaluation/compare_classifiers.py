"""Which of several runs of classifiers is better: their scores on the rows that all have, and on resamples of them.

The first run is the baseline.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.errors import DataError
from podium.evaluation.metrics import Metric
from podium.evaluation.pairing import Paired
from podium.evaluation.statistics import (
    ROUNDS,
    SEED,
    Bools,
    Comparison,
    Floats,
    Progress,
    decided,
    mcnemar,
    measured,
)


def compare(
    paired: Paired, metric: Metric, *, rounds: int = ROUNDS, seed: int = SEED, progress: Progress = iter
) -> Comparison:
    values = [metric(paired.labels, probs) for probs in paired.probs]
    drawn = _resampled(paired, metric, rounds, seed, progress)
    known = measured(metric.name, values, drawn)
    if known is None:
        defined = int((~np.isnan(drawn).any(axis=1)).sum())
        raise DataError(
            f"{metric.name} is defined in only {defined:,} of {rounds:,} resamples of the {len(paired.ids):,} common"
            " rows, too few for an interval; expected rows of several classes: compare more folds, or other runs"
        )
    right = [probs.argmax(axis=1) == paired.labels for probs in paired.probs]
    tests = [mcnemar(right[0], other) for other in right[1:]]
    return decided(
        known, len(paired.ids), tests,
        higher_is_better=metric.higher_is_better, by_mcnemar=metric.name == "accuracy",
    )  # fmt: skip


def _resampled(paired: Paired, metric: Metric, rounds: int, seed: int, progress: Progress) -> Floats:
    """Scores as (resamples, runs), a row drawn again with replacement for every row."""
    random = np.random.default_rng(seed)
    tables = [_least(probs, metric) for probs in paired.probs]
    count, scores = len(paired.ids), np.full((rounds, len(tables)), np.nan)
    for number in progress(range(rounds)):
        rows = random.integers(0, count, count)
        labels = paired.labels[rows]
        try:  # the function itself, since what the metric checks was checked for all rows
            scores[number] = [float(metric.function(labels, table[rows])) for table in tables]
        except DataError:  # a resample of a single class has no ROC AUC
            continue
    return scores


def _least(probs: Floats, metric: Metric) -> NDArray[Any]:
    """What decides the metric, in little memory: drawing rows again and again is what takes the time."""
    if metric.needs == "probs":
        return probs
    answers: Bools = np.eye(probs.shape[1], dtype=np.bool_)[probs.argmax(axis=1)]
    return answers
