"""What Kaggle answers, in podium's own words."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from podium.config.kaggle_names import KernelRef

KernelState = Literal["queued", "running", "complete", "error", "cancelled"]


@dataclass(frozen=True)
class Quota:
    """GPU hours of this week. `hours_left` does not count what sessions under way have reserved as used."""

    hours_used: float
    hours_reserved: float
    hours_allowed: float
    refreshes: datetime | None

    @property
    def hours_left(self) -> float:
        return max(0.0, self.hours_allowed - self.hours_used)


@dataclass(frozen=True)
class Pushed:
    ref: KernelRef
    url: str


@dataclass(frozen=True)
class KernelStatus:
    state: KernelState
    failure: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in ("complete", "error", "cancelled")


@dataclass(frozen=True)
class KernelSource:
    """The newest version's number, and its script."""

    version: int
    text: str


@dataclass(frozen=True)
class OutputFile:
    name: str
    url: str
    size: int | None = None


@dataclass(frozen=True)
class Allowance:
    used_today: int
    left_today: int


@dataclass(frozen=True)
class CompetitionFacts:
    slug: str
    title: str
    is_code_only: bool
    has_entered: bool
    rank: int | None
    teams: int
    daily: int
    metric: str
    deadline: datetime | None


@dataclass(frozen=True)
class DataFile:
    name: str
    size: int


@dataclass(frozen=True)
class Place:
    """A row of the leaderboard, in its order."""

    team: str
    score: float | None
