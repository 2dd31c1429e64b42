"""How runs of one kind were compared: the whole seam between `podium compare` and what it compares."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from podium.workflows.candidates import Contender

if TYPE_CHECKING:
    from podium.evaluation.statistics import Comparison

FEW = 100
"""With fewer rows or images, resampling makes intervals that are too narrow."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The figures, and the words that tell them."""

    result: "Comparison"
    metric: str
    """The one that decides."""
    higher_is_better: bool
    unit: str
    """Of a difference, as words: `points`."""
    is_share: bool
    """Is that unit a hundredth of the metric?"""
    drawn: str
    """What is resampled: `rows`."""
    where: str
    """Which of them: `out of fold`."""
    question: str
    """What McNemar's test is of, as the title of its table."""
    right: str
    wrong: str
    alone: str
    """As in `fewer than 25 rows are right in one of the two alone`."""
    by_mcnemar: bool
    """Is the p that decides McNemar's? Else it is that of the resamples."""
    notes: Sequence[str]
    """What a person has to know before trusting the figures."""
    more: dict[str, Any] = field(default_factory=dict)
    """For the JSON file alone."""


def notes_on_left_out(contenders: Sequence[Contender], left_out: Sequence[int], common: str) -> list[str]:
    """`common` begins what all of them have: `300 rows that`."""
    if not any(left_out):
        return []
    several = "both" if len(contenders) == 2 else "all"
    listed = ", ".join(f"{count:,} of {one.letter}" for one, count in zip(contenders, left_out, strict=True) if count)
    return [f"compared are the {common} {several} have; left out: {listed}"]
