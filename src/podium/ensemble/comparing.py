"""Which of several runs is better, and whether that can be trusted: intervals by resampling, and McNemar's test.

The first run is the baseline. All runs are scored on the same resampled rows, so that what makes a row hard for both
cancels out of their difference. That tells what other pictures would change, and not what training again would.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2

from podium.ensemble.pairing import Paired
from podium.errors import DataError
from podium.metrics import Metric

ROUNDS = 1_000
"""Resamples. With another seed an end of an interval moves by a twelfth of the standard error, a fiftieth of the
interval; with ten times as many, which take ten times as long, still by a third of that."""
SEED = 0
CHANCE = 0.05
FEWEST_FOR_CHI_SQUARED = 25
"""Rows that one of two runs alone has right; with fewer, McNemar's p is exact."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Progress = Callable[[Sequence[int]], Iterable[int]]
"""Gives the numbers back one by one, and may show how far it is."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Score:
    value: float
    interval: Interval

    def __neg__(self) -> "Score":
        return Score(-self.value, Interval(-self.interval.high, -self.interval.low))


@dataclass(frozen=True)
class McNemar:
    """How many rows two runs have right, each alone or both, and how often chance alone makes so large a difference
    between the two that are right alone."""

    both_right: int
    only_first: int
    only_other: int
    both_wrong: int
    p: float

    @property
    def is_exact(self) -> bool:
        return self.only_first + self.only_other < FEWEST_FOR_CHI_SQUARED


@dataclass(frozen=True)
class Against:
    """A run held against the baseline. `difference` is its score less the baseline's."""

    difference: Score
    gain: Score
    """The same, positive where the run is better, whatever the metric."""
    labels: McNemar
    p: float
    """McNemar's for accuracy, which is what it tests; that of the resamples for every other metric."""
    holm: float
    """`p` as Holm corrects it for the number of comparisons. Of one comparison it is the same."""

    @property
    def is_proven(self) -> bool:
        """Both have to say so."""
        return self.gain.interval.excludes_zero and self.holm < CHANCE


@dataclass(frozen=True)
class Comparison:
    rows: int
    rounds: int
    """Resamples in which the metric is defined."""
    scores: list[Score]
    others: list[Against]
    """All but the first run."""


def compare(
    paired: Paired, metric: Metric, *, rounds: int = ROUNDS, seed: int = SEED, progress: Progress = iter
) -> Comparison:
    values = [metric(paired.labels, probs) for probs in paired.probs]
    drawn = _resampled(paired, metric, rounds, seed, progress)
    right = [probs.argmax(axis=1) == paired.labels for probs in paired.probs]
    scores = [Score(value, _interval(those)) for value, those in zip(values, drawn.T, strict=True)]
    apart = drawn[:, 1:] - drawn[:, :1]
    differences = [Score(value - values[0], _interval(those)) for value, those in zip(values[1:], apart.T, strict=True)]
    tests = [mcnemar(right[0], other) for other in right[1:]]
    chances = [test.p for test in tests] if metric.name == "accuracy" else [*map(_p_of_resampling, apart.T)]
    others = [
        Against(difference, difference if metric.higher_is_better else -difference, test, p, holm)
        for difference, test, p, holm in zip(differences, tests, chances, holms(chances), strict=True)
    ]
    return Comparison(len(paired.ids), len(drawn), scores, others)


def mcnemar(first_right: Bools, other_right: Bools) -> McNemar:
    """Two-sided. Exact by the binomial distribution where few rows decide, else by chi-squared, corrected for
    continuity."""
    only_first = int((first_right & ~other_right).sum())
    only_other = int((other_right & ~first_right).sum())
    decide = only_first + only_other
    if not decide:
        p = 1.0
    elif decide < FEWEST_FOR_CHI_SQUARED:
        p = float(binomtest(only_first, decide).pvalue)
    else:
        p = float(chi2.sf(max(abs(only_first - only_other) - 1, 0) ** 2 / decide, df=1))
    both = int((first_right & other_right).sum())
    return McNemar(both, only_first, only_other, len(first_right) - both - decide, p)


def holms(chances: Sequence[float]) -> list[float]:
    """p values corrected for their number: the smallest times all, the next times one less, never below one before."""
    corrected, largest = [0.0] * len(chances), 0.0
    for place, number in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        largest = max(largest, min(1.0, (len(chances) - place) * chances[number]))
        corrected[number] = largest
    return corrected


def _resampled(paired: Paired, metric: Metric, rounds: int, seed: int, progress: Progress) -> Floats:
    """Scores as (resamples, runs), a row drawn again with replacement for every row."""
    random = np.random.default_rng(seed)
    tables = [_least(probs, metric) for probs in paired.probs]
    count, scores = len(paired.ids), []
    for _ in progress(range(rounds)):
        rows = random.integers(0, count, count)
        labels = paired.labels[rows]
        try:  # the function itself, since what the metric checks was checked for all rows
            scores.append([float(metric.function(labels, table[rows])) for table in tables])
        except DataError:  # a resample of a single class has no ROC AUC: it says nothing, so it is left out
            continue
    if 2 * len(scores) < rounds:
        raise DataError(
            f"{metric.name} is defined in only {len(scores):,} of {rounds:,} resamples of the {count:,} common rows,"
            " too few for an interval; expected rows of several classes: compare more folds, or other runs"
        )
    return np.array(scores)


def _least(probs: Floats, metric: Metric) -> NDArray[Any]:
    """What decides the metric, in little memory: drawing rows again and again is what takes the time."""
    if metric.needs == "probs":
        return probs
    answers: Bools = np.eye(probs.shape[1], dtype=np.bool_)[probs.argmax(axis=1)]
    return answers


def _interval(values: Floats) -> Interval:
    low, high = np.quantile(values, [CHANCE / 2, 1 - CHANCE / 2])
    return Interval(float(low), float(high))


def _p_of_resampling(differences: Floats) -> float:
    """Two-sided: how many resamples do not agree with the others on the better run. One is added to both counts, since
    resampling cannot prove that something never happens."""
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
