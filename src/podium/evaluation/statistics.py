"""Statistics of scores: bootstrap standard errors and intervals, McNemar's test, Holm's correction.

Runs are always scored on the same resamples, so the difficulty of a row cancels out of their differences. Intervals
and p-values account for the choice of images, not for the randomness of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2

from podium.errors import DataError

if TYPE_CHECKING:
    from podium.evaluation.metrics import Metric, Truth

RESAMPLES = 1_000
"""With another seed an end of an interval moves by about 2 % of the interval's width; with ten times as many, which
take ten times as long, by a third of that."""
SEED = 0
SIGNIFICANCE = 0.05
MIN_FOR_CHI_SQUARED = 25
"""Discordant pairs; with fewer, McNemar's test is exact."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Progress = Callable[[Sequence[int]], Iterable[int]]
"""Iterates over the numbers and may show progress: `iter`, `tqdm`, or `rich.progress.track`."""


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Score:
    value: float
    interval: Interval

    def __neg__(self) -> Score:
        return Score(-self.value, Interval(-self.interval.high, -self.interval.low))


@dataclass(frozen=True)
class McNemar:
    """McNemar's paired test of a run against the baseline: the counts of correct rows, and the two-sided p-value."""

    both_correct: int
    only_baseline: int
    only_run: int
    both_wrong: int
    p: float

    @property
    def is_exact(self) -> bool:
        return self.only_baseline + self.only_run < MIN_FOR_CHI_SQUARED


@dataclass(frozen=True)
class MetricScores:
    """One metric of every run. `differences` and `p_values` are of all runs but the first, the baseline."""

    metric: str
    resamples: int
    """In which the metric is defined."""
    scores: list[Score]
    differences: list[Score]
    p_values: list[float]


@dataclass(frozen=True)
class RunDifference:
    """A run compared with the baseline, by the deciding metric."""

    difference: Score
    """The run's score minus the baseline's."""
    gain: Score
    """The difference, positive if the run is better than the baseline, for every metric."""
    mcnemar: McNemar | None
    """None where the truth of a row is not one class."""
    p: float
    """McNemar's p where the metric is the accuracy, else that of the bootstrap."""
    holm_p: float
    """`p` with Holm's correction for the number of runs compared with the baseline."""

    @property
    def is_significant(self) -> bool:
        return self.gain.interval.excludes_zero and self.holm_p < SIGNIFICANCE


@dataclass(frozen=True)
class Statistics:
    """Scores of several runs by the deciding metric, and their differences to the first run, the baseline."""

    count: int
    """Rows or images that were resampled."""
    resamples: int
    scores: list[Score]
    differences: list[RunDifference]
    """Of all runs but the first."""
    secondary: list[MetricScores] = field(default_factory=list)
    """Other metrics, for information only."""


def bootstrap(
    statistic: Callable[[Ints], Any],
    rows: int,
    columns: int = 1,
    *,
    resamples: int,
    seed: int,
    progress: Progress = iter,
) -> Floats:
    """The statistic of rows drawn with replacement, as (resamples, columns); NaN where it is undefined."""
    random = np.random.default_rng(seed)
    values = np.full((resamples, columns), np.nan)
    for number in progress(range(resamples)):
        drawn = random.integers(0, rows, rows)
        try:
            values[number] = statistic(drawn)
        except DataError:  # a resample of a single class has no ROC AUC
            continue
    return values


def bootstrap_gain(
    metric: Metric, truth: Truth, before: Floats, after: Floats, resamples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """How much `after` is better than `before` (positive is better for every metric), and its standard error.

    Both are scored on the same resamples: two separate standard errors would hide a small consistent gain. (0, 0) where
    the score is undefined.
    """
    sign = 1.0 if metric.higher_is_better else -1.0

    def gain(rows: Any) -> float:
        return sign * (metric(truth[rows], after[rows]) - metric(truth[rows], before[rows]))

    try:
        return gain(slice(None)), _standard_error(gain, len(truth), resamples, seed)
    except DataError:
        return 0.0, 0.0


def bootstrap_error(metric: Metric, truth: Truth, predictions: Floats, resamples: int = 200, seed: int = 0) -> float:
    """The standard error of a score."""
    return _standard_error(lambda rows: metric(truth[rows], predictions[rows]), len(truth), resamples, seed)


def _standard_error(statistic: Callable[[Any], float], rows: int, resamples: int, seed: int) -> float:
    values = bootstrap(statistic, rows, resamples=resamples, seed=seed)
    defined = values[~np.isnan(values)]
    if len(defined) < 2:
        raise DataError(
            f"No standard error: the score is defined in {len(defined)} of {resamples} resamples of {rows} rows;"
            " expected at least 2: score more rows, of more than one class"
        )
    return float(defined.std(ddof=1))


def compare_scores(metric: str, scores: Sequence[float], resampled: Floats) -> MetricScores | None:
    """Intervals and p-values of every run's score, from its scores on resamples as (resamples, runs).

    Resamples with NaN, in which the metric is undefined, are left out. None where that leaves less than half of them.
    """
    known = resampled[~np.isnan(resampled).any(axis=1)]
    if 2 * len(known) < len(resampled) or np.isnan(scores).any():
        return None
    differences = known[:, 1:] - known[:, :1]
    return MetricScores(
        metric,
        len(known),
        [Score(score, _interval(values)) for score, values in zip(scores, known.T, strict=True)],
        [Score(score - scores[0], _interval(d)) for score, d in zip(scores[1:], differences.T, strict=True)],
        [_bootstrap_p(values) for values in differences.T],
    )


def compare_with_baseline(
    deciding: MetricScores,
    count: int,
    tests: Sequence[McNemar | None],
    *,
    higher_is_better: bool,
    use_mcnemar: bool,
    secondary: Sequence[MetricScores] = (),
) -> Statistics:
    """`tests` are of all runs but the first; `use_mcnemar` makes their p decide instead of the bootstrap's."""
    p_values = [test.p for test in tests if test] if use_mcnemar else deciding.p_values
    differences = [
        RunDifference(difference, difference if higher_is_better else -difference, test, p, holm_p)
        for difference, test, p, holm_p in zip(deciding.differences, tests, p_values, holm(p_values), strict=True)
    ]
    return Statistics(count, deciding.resamples, deciding.scores, differences, [*secondary])


def stratified_folds(strata: NDArray[Any], folds: int, seed: int) -> Ints:
    """A fold for each row. Classes may have fewer rows than there are folds, which StratifiedKFold warns about.

    `strata` has a number for each row, or as (rows, labels) whether it has each of several labels.
    """
    shuffled = np.random.default_rng(seed).random(len(strata))
    columns = strata.reshape(len(strata), -1)
    if columns.shape[1] > 1:
        columns = columns[:, np.argsort(-columns.sum(axis=0), kind="stable")]  # first sorted by the rarest label
    fold_of = np.empty(len(strata), dtype=np.int64)
    fold_of[np.lexsort((shuffled, *columns.T))] = np.arange(len(strata)) % folds
    return fold_of


def mcnemar(baseline_correct: Bools, run_correct: Bools) -> McNemar:
    """Exact (binomial) with few discordant pairs, else chi-squared with continuity correction."""
    only_baseline = int((baseline_correct & ~run_correct).sum())
    only_run = int((run_correct & ~baseline_correct).sum())
    discordant = only_baseline + only_run
    if not discordant:
        p = 1.0
    elif discordant < MIN_FOR_CHI_SQUARED:
        p = float(binomtest(only_baseline, discordant).pvalue)
    else:
        p = float(chi2.sf(max(abs(only_baseline - only_run) - 1, 0) ** 2 / discordant, df=1))
    both = int((baseline_correct & run_correct).sum())
    return McNemar(both, only_baseline, only_run, len(baseline_correct) - both - discordant, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values with Holm's step-down correction for their number."""
    order = np.argsort(p_values)
    scaled = np.array(p_values)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(scaled).clip(max=1.0)
    return [float(p) for p in corrected]


def _interval(values: Floats) -> Interval:
    low, high = np.quantile(values, [SIGNIFICANCE / 2, 1 - SIGNIFICANCE / 2])
    return Interval(float(low), float(high))


def _bootstrap_p(differences: Floats) -> float:
    """Two-sided. One is added to both counts, since resampling cannot prove that something never happens."""
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
