"""The schema of an ensemble file: which members, which folds, and how their answers are blended."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from podium.config.settings import Count, Positive, Settings, short_form
from podium.config.tta import TestTimeViews


class Mean(Settings):
    method: Literal["mean"]


class Geometric(Settings):
    method: Literal["geometric"]


class RankMean(Settings):
    method: Literal["rank_mean"]


class Weights(Settings):
    """Weights that sum to 1, fitted on the out-of-fold predictions."""

    method: Literal["weights"]


class HillClimb(Settings):
    """Members added one at a time, with repetition, while the metric gets better."""

    method: Literal["hill_climb"]
    rounds: Count = 50


class Stacking(Settings):
    """A logistic regression on the members' log-probabilities; a smaller C trusts them more equally."""

    method: Literal["stacking"]
    C: Positive = 0.01


Blend = Annotated[
    Mean | Geometric | RankMean | Weights | HillClimb | Stacking, Field(discriminator="method"), short_form("method")
]


class EnsembleSettings(Settings):
    members: Annotated[list[str], Field(min_length=1)]
    """Member files, seen from this one."""
    folds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    """For every member, instead of its own."""
    tta: TestTimeViews | None = None
    """For every member, instead of its own."""
    blend: Blend = Mean(method="mean")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42

    @field_validator("members")
    @classmethod
    def _each_once(cls, members: list[str]) -> list[str]:
        if len(set(members)) < len(members):
            raise ValueError("a member stands twice in members; weights are the blend's work")
        return members
