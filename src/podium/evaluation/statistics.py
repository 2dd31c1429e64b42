"""Whether a run is better than the baseline, and whether that can be trusted: intervals and p by resampling, McNemar's
test, Holm's correction.

All runs are scored on the same resamples, so that what makes a row hard for both cancels out of their difference. That
tells what other images would change, and not what training again would.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2

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
class Measured:
    """One metric of every run. Of the differences to the first run, and their p by resampling, the first has none."""

    name: str
    rounds: int
    """Resamples in which the metric is defined."""
    scores: list[Score]
    differences: list[Score]
    chances: list[float]


@dataclass(frozen=True)
class Against:
    """A run held against the baseline. `difference` is its score less the baseline's."""

    difference: Score
    gain: Score
    """The same, positive where the run is better, whatever the metric."""
    mcnemar: McNemar
    p: float
    """McNemar's where that is what it tests, as of accuracy; else that of the resamples."""
    holm: float
    """`p` as Holm corrects it for the number of comparisons. Of one comparison it is the same."""

    @property
    def is_proven(self) -> bool:
        """Both have to say so."""
        return self.gain.interval.excludes_zero and self.holm < CHANCE


@dataclass(frozen=True)
class Comparison:
    """By the metric that decides."""

    rows: int
    """What was resampled."""
    rounds: int
    scores: list[Score]
    others: list[Against]
    """All but the first run."""
    beside: list[Measured] = field(default_factory=list)
    """Metrics that are told too, and decide nothing."""


def measured(name: str, values: Sequence[float], drawn: Floats) -> Measured | None:
    """`drawn` is (resamples, runs), with nan where a resample leaves the metric undefined, which says nothing and is
    left out. None where more than half of them do: too few for an interval."""
    known = drawn[~np.isnan(drawn).any(axis=1)]
    if 2 * len(known) < len(drawn) or np.isnan(values).any():
        return None
    apart = known[:, 1:] - known[:, :1]
    return Measured(
        name,
        len(known),
        [Score(value, _interval(those)) for value, those in zip(values, known.T, strict=True)],
        [Score(value - values[0], _interval(those)) for value, those in zip(values[1:], apart.T, strict=True)],
        [*map(_p_of_resampling, apart.T)],
    )


def decided(
    by: Measured,
    rows: int,
    tests: Sequence[McNemar],
    *,
    higher_is_better: bool,
    by_mcnemar: bool,
    beside: Sequence[Measured] = (),
) -> Comparison:
    chances = [test.p for test in tests] if by_mcnemar else by.chances
    others = [
        Against(difference, difference if higher_is_better else -difference, test, p, holm)
        for difference, test, p, holm in zip(by.differences, tests, chances, holms(chances), strict=True)
    ]
    return Comparison(rows, by.rounds, by.scores, others, [*beside])


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


def _interval(values: Floats) -> Interval:
    low, high = np.quantile(values, [CHANCE / 2, 1 - CHANCE / 2])
    return Interval(float(low), float(high))


def _p_of_resampling(differences: Floats) -> float:
    """Two-sided: how many resamples do not agree with the others on the better run. One is added to both counts, since
    resampling cannot prove that something never happens."""
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
