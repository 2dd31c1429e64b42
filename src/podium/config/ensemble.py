"""The schema of an ensemble file: its members, their folds, and how their predictions are blended."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from podium.config.competition import Competition
from podium.config.member import TestTimeViews
from podium.config.settings import Count, FoldNumbers, Positive, Seed, Settings, short_form


class Mean(Settings):
    """The mean of the members' predictions."""

    method: Literal["mean"]


class Geometric(Settings):
    """The geometric mean of the members' probabilities."""

    method: Literal["geometric"]


class RankMean(Settings):
    """The mean of the ranks of each column's probabilities."""

    method: Literal["rank_mean"]


class Weights(Settings):
    """A weighted mean, with weights that sum to 1, fitted on the out-of-fold predictions."""

    method: Literal["weights"]


class HillClimb(Settings):
    """Add one member at a time, with repetition, as long as the metric improves."""

    method: Literal["hill_climb"]
    rounds: Count = 50
    """The largest number of members that are added."""


class Stacking(Settings):
    """A regression on the members' predictions, logistic for probabilities and ridge for numbers; a smaller C gives
    more equal weights."""

    method: Literal["stacking"]
    C: Positive = 0.01
    """As in scikit-learn: the inverse of the strength of regularization."""


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
    """Decides the folds of the nested cross-validation."""

    @field_validator("members")
    @classmethod
    def _are_different(cls, members: list[str]) -> list[str]:
        if len(set(members)) < len(members):
            raise ValueError("duplicate member; for unequal weights use blend: weights")
        return members

    def problems_with(self, competition: Competition) -> list[tuple[str, str]]:
        """What does not fit the competition's target, as (key, message)."""
        problem = problem_of_method(self.blend.method, competition.target.kind)
        return [*(self.tta.problems_with(competition) if self.tta else []), *([("blend", problem)] if problem else [])]


_NOT_FOR = {
    "geometric": ("regression",),
    "rank_mean": ("ordinal", "regression", "soft_label"),
    "stacking": ("soft_label",),
}
"""Where a method makes no sense: numbers may be negative and ranks have no unit."""


def problem_of_method(method: str, target: str) -> str | None:
    """Why a method does not fit a kind of target, if it does not."""
    if target not in _NOT_FOR.get(method, ()):
        return None
    methods = ("mean", "geometric", "rank_mean", "weights", "hill_climb", "stacking")
    fitting = [name for name in methods if target not in _NOT_FOR.get(name, ())]
    return f"{method} does not fit the target {target}; expected one of {', '.join(fitting)}"
