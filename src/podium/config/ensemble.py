"""The schema of an ensemble file: its members, their folds, and how their predictions are blended."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from podium.config.member import TestTimeViews
from podium.config.settings import Count, FoldNumbers, Positive, Seed, Settings, short_form


class Mean(Settings):
    """The mean of the members' probabilities."""

    method: Literal["mean"]


class Geometric(Settings):
    """The geometric mean of the members' probabilities."""

    method: Literal["geometric"]


class RankMean(Settings):
    """The mean of the ranks of each class's probabilities."""

    method: Literal["rank_mean"]


class Weights(Settings):
    """A weighted mean, with weights that sum to 1, fitted on the out-of-fold predictions."""

    method: Literal["weights"]


class HillClimb(Settings):
    """Add one member at a time, with repetition, as long as the metric improves."""

    method: Literal["hill_climb"]
    rounds: Count = 50


class Stacking(Settings):
    """A logistic regression on the members' log-probabilities; a smaller C gives more equal weights."""

    method: Literal["stacking"]
    C: Positive = 0.01


Blend = Annotated[
    Mean | Geometric | RankMean | Weights | HillClimb | Stacking, Field(discriminator="method"), short_form("method")
]


class EnsembleSettings(Settings):
    """Members and how their predictions are blended."""

    members: Annotated[list[str], Field(min_length=1)]
    """Member files, relative to this file."""
    folds: FoldNumbers | None = None
    """Replaces the folds of every member."""
    tta: TestTimeViews | None = None
    """Replaces the test-time augmentation of every member."""
    blend: Blend = Mean(method="mean")
    """How predictions are blended: a method alone, or {method: hill_climb, rounds: 50}."""
    seed: Seed = 42

    @field_validator("members")
    @classmethod
    def _are_different(cls, members: list[str]) -> list[str]:
        if len(set(members)) < len(members):
            raise ValueError("duplicate member; for unequal weights use blend: weights")
        return members
