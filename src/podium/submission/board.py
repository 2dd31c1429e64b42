"""What the ledger says about cross-validation and leaderboard: how they go together, and which submission to trust."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.submission.ledger import Row

FEWEST = 3
"""Points that a correlation needs; its interval needs one more."""
NORMAL_95 = 1.959964
"""The normal distribution has 95 % of its mass within so many standard deviations."""


@dataclass(frozen=True)
class Correlation:
    value: float
    low: float | None
    """The 95 % interval; none for three points."""
    high: float | None

    @property
    def is_proven(self) -> bool:
        return self.low is not None and self.low > 0


@dataclass(frozen=True)
class Agreement:
    """Cross-validation and public score of the submissions that have both."""

    points: int
    pearson: Correlation | None
    spearman: Correlation | None
    gap: float | None
    """The public score less that of cross-validation, on average."""
    gap_error: float | None

    @property
    def is_proven(self) -> bool:
        """Both coefficients, since one bad early submission is enough to make Pearson's large."""
        return all(one is not None and one.is_proven for one in (self.pearson, self.spearman))


@dataclass(frozen=True)
class Standing:
    """A submission in the order of trust."""

    row: Row
    rank: int
    behind: float
    """How much worse its cross-validation is than the best one."""
    two_errors: float
    """Two standard errors of that difference; 0 where none are noted."""

    @property
    def is_tied(self) -> bool:
        return self.behind < self.two_errors or self.behind == 0


def distinct(rows: Sequence[Row]) -> list[Row]:
    """The latest of those that sent the same content: sent twice, it is not two observations."""
    latest = {row.digest or f"ref {row['ref']}": row for row in rows}
    return [row for row in rows if any(row is one for one in latest.values())]


def with_both(rows: Sequence[Row]) -> list[Row]:
    both = [row for row in rows if row.cross_validation is not None and row.public_score is not None]
    return distinct(both)


def agreement(rows: Sequence[Row]) -> Agreement:
    both = with_both(rows)
    pairs = [(row.cross_validation or 0.0, row.public_score or 0.0) for row in both]
    inside, outside = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    gaps = [public - own for own, public in pairs]
    return Agreement(
        len(pairs),
        pearson(inside, outside),
        spearman(inside, outside),
        statistics.fmean(gaps) if gaps else None,
        statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else None,
    )


def pearson(some: Sequence[float], others: Sequence[float]) -> Correlation | None:
    """With Fisher's interval. None of fewer than three points, and where all values of one side are equal."""
    value = _correlation(some, others)
    return None if value is None else _with_interval(value, len(some), 1.0, 1 - 1e-12)


def spearman(some: Sequence[float], others: Sequence[float]) -> Correlation | None:
    """Of the ranks, with Bonett and Wright's interval.

    The interval counts a perfect order as half a swap of neighbours less than perfect: otherwise four points in order,
    which chance brings once in twelve times one way or the other, would prove a correlation of exactly 1.
    """
    value = _correlation(ranks(some), ranks(others))
    if value is None:
        return None
    count = len(some)
    return _with_interval(value, count, 1 + value**2 / 2, 1 - 6 / (count * (count**2 - 1)))


def ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share the mean of their ranks."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered, start=1)))}
    return [first[value] + (ordered.count(value) - 1) / 2 for value in values]


def _correlation(some: Sequence[float], others: Sequence[float]) -> float | None:
    if len(some) < FEWEST or len(set(some)) == 1 or len(set(others)) == 1:
        return None
    return max(-1.0, min(1.0, statistics.correlation(some, others)))


def _with_interval(value: float, count: int, spread: float, most: float) -> Correlation:
    """`spread` is the variance of Fisher's z times count - 3; `most` keeps z finite."""
    if count <= FEWEST:
        return Correlation(value, None, None)
    centre = math.atanh(max(-most, min(most, value)))
    half = NORMAL_95 * math.sqrt(spread / (count - 3))
    return Correlation(value, math.tanh(centre - half), math.tanh(centre + half))


def standings(rows: Sequence[Row], higher_is_better: bool, follows: bool) -> list[Standing]:
    """By cross-validation, best first. Where the leaderboard is proven to follow it, public scores break ties."""
    sign = 1.0 if higher_is_better else -1.0
    scored = distinct([row for row in rows if row.cross_validation is not None])
    ordered = sorted(scored, key=lambda row: -sign * (row.cross_validation or 0.0))
    if not ordered:
        return []
    best = ordered[0]
    found = [Standing(row, 0, _behind(row, best, sign), _two_errors(row, best)) for row in ordered]
    tied, others = [one for one in found if one.is_tied], [one for one in found if not one.is_tied]
    if follows:
        tied.sort(key=lambda one: math.inf if one.row.public_score is None else -sign * one.row.public_score)
    numbers = [place if follows else 1 for place in range(1, len(tied) + 1)]
    numbers += range(len(tied) + 1, len(found) + 1)
    return [
        Standing(one.row, number, one.behind, one.two_errors)
        for one, number in zip([*tied, *others], numbers, strict=True)
    ]


def _behind(row: Row, best: Row, sign: float) -> float:
    return sign * ((best.cross_validation or 0.0) - (row.cross_validation or 0.0))


def _two_errors(row: Row, best: Row) -> float:
    """As if the two were scored on different rows. They share them, so the true error is smaller: this is careful."""
    return 2 * math.hypot(row.standard_error or 0.0, best.standard_error or 0.0)


def place_among(score: float, scores: Sequence[float | None], higher_is_better: bool | None) -> int:
    """The place a score would have on a leaderboard: after all teams that are strictly better.

    Where nobody says which way is better, the leaderboard's order does.
    """
    known = [one for one in scores if one is not None]
    if higher_is_better is None:
        higher_is_better = not known or known[0] >= known[-1]
    return 1 + sum(one > score if higher_is_better else one < score for one in known)


# In words.


def agreement_lines(found: Agreement) -> list[str]:
    counted = f"{found.points} submission{'' if found.points == 1 else 's'} with both scores"
    if found.points < FEWEST:
        lines = [f"cross-validation against leaderboard: {counted}; fewer than {FEWEST} give no correlation"]
    elif found.pearson is None or found.spearman is None:
        lines = [f"cross-validation against leaderboard: {counted}; no correlation, since one score never changes"]
    else:
        lines = [
            f"cross-validation against leaderboard, {counted}: Pearson {_spelled(found.pearson)},"
            f" Spearman {_spelled(found.spearman)}"
        ]
        if found.points == FEWEST:
            lines[0] += "; three points prove nothing, an interval needs four"
    if found.gap is not None:
        error = f" ± {found.gap_error:.4f}" if found.gap_error is not None else ""
        lines.append(f"the leaderboard less cross-validation: {found.gap:+.4f}{error} on average")
    return lines


def _spelled(one: Correlation) -> str:
    interval = f" (95 % interval {one.low:.2f} to {one.high:.2f})" if one.low is not None else ""
    return f"{one.value:.2f}{interval}"


def rule_lines(found: Agreement) -> list[str]:
    """Which submission to trust, and by what rule."""
    lines = [
        "which to trust: by cross-validation; less than two standard errors behind the best is a tie (the errors taken"
        " as independent, which is careful)"
    ]
    if found.is_proven:
        lines.append(
            "the leaderboard is proven to follow cross-validation (both intervals above 0): public scores break ties"
        )
    else:
        lines.append(
            "the leaderboard is not proven to follow cross-validation (that needs both intervals above 0): public"
            " scores decide nothing"
        )
    return lines


def standing_lines(found: Sequence[Standing], shown: Callable[[Row], str]) -> list[str]:
    """A line a submission; `shown` is how it is called."""
    width = max((len(shown(one.row)) for one in found), default=0)
    together = sum(one.rank == 1 for one in found) > 1
    lines = []
    for one in found:
        rank = f"{one.rank}=" if together and one.rank == 1 else f"{one.rank}"
        lines.append(f"  {rank:<3} {shown(one.row):<{width}}  {spell_score(one.row)}{_why(one)}")
    return lines


def _why(one: Standing) -> str:
    if one.behind == 0:
        return "  the best" if one.row.standard_error is not None else "  the best; no standard error is noted"
    errors = f"two standard errors are {one.two_errors:.4f}" if one.two_errors else "no standard error is noted"
    return f"  {'tie: ' if one.is_tied else ''}{one.behind:.4f} behind, {errors}"


def spell_score(row: Row) -> str:
    """The cross-validation score with its standard error."""
    if row.cross_validation is None:
        return ""
    error = f" ± {row.standard_error:.4f}" if row.standard_error is not None else ""
    return f"{row.cross_validation:.4f}{error}"


def short_name(row: Row) -> str:
    """The file without what all of a competition's files share."""
    return row.name.removeprefix(f"{row['competition']}_").removesuffix(".csv") or f"ref {row['ref']}"


def file_of(row: Row, folder: Path) -> str:
    """How a person finds it."""
    return str(folder / row["file"]) if (folder / row["file"]).is_file() else row.name
