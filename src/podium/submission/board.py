"""Compare cross-validation and leaderboard: how well they agree, and which submission to trust."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from podium.submission.ledger import Row

MIN_POINTS = 3
"""Points that a correlation needs; its interval needs one more."""
_Z_95 = 1.959964


@dataclass(frozen=True)
class Correlation:
    value: float
    low: float | None
    """The 95 % interval; None for three points."""
    high: float | None

    @property
    def is_significant(self) -> bool:
        return self.low is not None and self.low > 0


@dataclass(frozen=True)
class Agreement:
    """Cross-validation and public score of the submissions that have both."""

    points: int
    pearson: Correlation | None
    spearman: Correlation | None
    gap: float | None
    """Mean of public score minus cross-validation."""
    gap_error: float | None

    @property
    def is_significant(self) -> bool:
        """Both coefficients are required, since one bad early submission is enough to make Pearson's large."""
        return all(found is not None and found.is_significant for found in (self.pearson, self.spearman))


@dataclass(frozen=True)
class Standing:
    """A submission in the ranking by trust."""

    row: Row
    rank: int
    behind: float
    """How much worse its cross-validation is than the best."""
    two_errors: float
    """Two standard errors of that difference; 0 if unknown."""

    @property
    def is_tied(self) -> bool:
        return self.behind < self.two_errors or self.behind == 0


def distinct(rows: Sequence[Row]) -> list[Row]:
    """The latest row of each content: the same file submitted twice is one observation."""
    latest = {row.digest or f"ref {row['ref']}": row for row in rows}
    return [row for row in rows if any(row is kept for kept in latest.values())]


def with_both_scores(rows: Sequence[Row]) -> list[Row]:
    return distinct([row for row in rows if row.cross_validation is not None and row.public_score is not None])


def agreement(rows: Sequence[Row]) -> Agreement:
    both = with_both_scores(rows)
    own = [row.cross_validation or 0.0 for row in both]
    public = [row.public_score or 0.0 for row in both]
    gaps = [score - cross_validation for cross_validation, score in zip(own, public, strict=True)]
    return Agreement(
        len(both),
        pearson(own, public),
        spearman(own, public),
        statistics.fmean(gaps) if gaps else None,
        statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else None,
    )


def pearson(xs: Sequence[float], ys: Sequence[float]) -> Correlation | None:
    """With Fisher's interval; None for fewer than three points or if one side is constant."""
    value = _correlation(xs, ys)
    return None if value is None else _with_interval(value, len(xs), 1.0, 1 - 1e-12)


def spearman(xs: Sequence[float], ys: Sequence[float]) -> Correlation | None:
    """With the interval of Bonett and Wright.

    A perfect rank correlation is treated as slightly less than perfect, by half a swap of neighbours. Otherwise four
    points in the same order, which happens by chance once in twelve times, would be significant.
    """
    value = _correlation(ranks(xs), ranks(ys))
    if value is None:
        return None
    count = len(xs)
    return _with_interval(value, count, 1 + value**2 / 2, 1 - 6 / (count * (count**2 - 1)))


def ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values get the mean of their ranks."""
    ordered = sorted(values)
    first = {value: rank for rank, value in reversed(list(enumerate(ordered, start=1)))}
    return [first[value] + (ordered.count(value) - 1) / 2 for value in values]


def _correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    if len(xs) < MIN_POINTS or len(set(xs)) == 1 or len(set(ys)) == 1:
        return None
    return max(-1.0, min(1.0, statistics.correlation(xs, ys)))


def _with_interval(value: float, count: int, variance: float, largest: float) -> Correlation:
    """`variance` is that of Fisher's z times count - 3; `largest` keeps z finite."""
    if count <= MIN_POINTS:
        return Correlation(value, None, None)
    centre = math.atanh(max(-largest, min(largest, value)))
    half = _Z_95 * math.sqrt(variance / (count - 3))
    return Correlation(value, math.tanh(centre - half), math.tanh(centre + half))


def standings(rows: Sequence[Row], higher_is_better: bool, use_public: bool) -> list[Standing]:
    """Rank by cross-validation, best first; `use_public` breaks ties by public score."""
    sign = 1.0 if higher_is_better else -1.0
    scored = distinct([row for row in rows if row.cross_validation is not None])
    ordered = sorted(scored, key=lambda row: -sign * (row.cross_validation or 0.0))
    if not ordered:
        return []
    best = ordered[0]
    found = [Standing(row, 0, _behind(row, best, sign), _two_errors(row, best)) for row in ordered]
    tied, others = [entry for entry in found if entry.is_tied], [entry for entry in found if not entry.is_tied]
    if use_public:
        tied.sort(key=lambda entry: math.inf if entry.row.public_score is None else -sign * entry.row.public_score)
    numbers = [rank if use_public else 1 for rank in range(1, len(tied) + 1)]
    numbers += range(len(tied) + 1, len(found) + 1)
    return [replace(entry, rank=rank) for entry, rank in zip([*tied, *others], numbers, strict=True)]


def _behind(row: Row, best: Row, sign: float) -> float:
    return sign * ((best.cross_validation or 0.0) - (row.cross_validation or 0.0))


def _two_errors(row: Row, best: Row) -> float:
    """As for scores of independent rows; the rows are shared, so the true error is smaller."""
    return 2 * math.hypot(row.standard_error or 0.0, best.standard_error or 0.0)


def place_among(score: float, scores: Sequence[float | None], higher_is_better: bool | None) -> int:
    """The place of a score on the leaderboard, whose order is used if the direction of the metric is unknown."""
    known = [other for other in scores if other is not None]
    if higher_is_better is None:
        higher_is_better = not known or known[0] >= known[-1]
    return 1 + sum(other > score if higher_is_better else other < score for other in known)


# Text


def agreement_lines(found: Agreement) -> list[str]:
    counted = f"{found.points} submission{'' if found.points == 1 else 's'} with both scores"
    if found.points < MIN_POINTS:
        lines = [f"cross-validation against leaderboard: {counted}; a correlation needs {MIN_POINTS}"]
    elif found.pearson is None or found.spearman is None:
        lines = [f"cross-validation against leaderboard: {counted}; no correlation, since one score is constant"]
    else:
        lines = [
            f"cross-validation against leaderboard, {counted}: Pearson {_format(found.pearson)},"
            f" Spearman {_format(found.spearman)}"
        ]
        if found.points == MIN_POINTS:
            lines[0] += "; not significant: an interval needs four"
    if found.gap is not None:
        error = f" ± {found.gap_error:.4f}" if found.gap_error is not None else ""
        lines.append(f"leaderboard minus cross-validation: {found.gap:+.4f}{error} on average")
    return lines


def _format(found: Correlation) -> str:
    interval = f" (95 % interval {found.low:.2f} to {found.high:.2f})" if found.low is not None else ""
    return f"{found.value:.2f}{interval}"


def rule_lines(found: Agreement) -> list[str]:
    """The rule of the ranking."""
    use = (
        "leaderboard and cross-validation agree (both intervals are above 0): public scores break ties"
        if found.is_significant
        else "no significant agreement of leaderboard and cross-validation (both intervals must be above 0): public"
        " scores are not used"
    )
    return [
        "ranked by cross-validation; less than two standard errors behind the best is a tie (errors are assumed to be"
        " independent, which is cautious)",
        use,
    ]


def standing_lines(found: Sequence[Standing]) -> list[str]:
    width = max((len(short_name(entry.row)) for entry in found), default=0)
    is_shared = sum(entry.rank == 1 for entry in found) > 1
    lines = []
    for entry in found:
        rank = f"{entry.rank}=" if is_shared and entry.rank == 1 else f"{entry.rank}"
        lines.append(f"  {rank:<3} {short_name(entry.row):<{width}}  {format_score(entry.row)}{_reason(entry)}")
    return lines


def _reason(entry: Standing) -> str:
    if entry.behind == 0:
        return "  best" if entry.row.standard_error is not None else "  best; its standard error is unknown"
    errors = f"two standard errors are {entry.two_errors:.4f}" if entry.two_errors else "the standard error is unknown"
    return f"  {'tie: ' if entry.is_tied else ''}{entry.behind:.4f} behind, {errors}"


def format_score(row: Row) -> str:
    """The cross-validation score with its standard error."""
    if row.cross_validation is None:
        return ""
    error = f" ± {row.standard_error:.4f}" if row.standard_error is not None else ""
    return f"{row.cross_validation:.4f}{error}"


def short_name(row: Row) -> str:
    """The file name without the competition's slug."""
    return row.name.removeprefix(f"{row['competition']}_").removesuffix(".csv") or f"ref {row['ref']}"
