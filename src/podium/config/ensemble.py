"""The schema of an ensemble file: its members, their folds, and how their predictions are blended."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from podium.config.competition import Competition
from podium.config.member import TestTimeViews
from podium.config.metadata import MetadataChoice
from podium.config.problems import raise_key_problems
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
    """A model that predicts the target from the members' predictions, and from metadata if it takes any."""

    method: Literal["stacking"]
    model: Literal["regression", "boosting"] = "regression"
    """regression: logistic for probabilities, ridge for numbers. boosting: gradient-boosted trees, as in LightGBM."""
    C: Positive = 0.01
    """Of the regression, as in scikit-learn: the inverse of the strength of regularization. Smaller values give members
    more equal weights."""
    metadata: MetadataChoice | None = None
    """Columns of the competition's metadata as further features: all, or a list of columns."""

    @model_validator(mode="after")
    def _takes_its_options(self) -> Self:
        if self.model == "boosting" and type(self).model_fields["C"].default != self.C:
            raise_key_problems([("C", "boosting has none: remove it, or use model: regression")])
        return self


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
    calibrate: bool = False
    """Before blending, divide the logits of each member by the temperature with the lowest out-of-fold loss."""
    select: Literal["all", "auto"] = "all"
    """auto: leave out members, one at a time, as long as the blend scores as well without them."""
    seed: Seed = 42
    """Decides the folds of the nested cross-validation."""

    @property
    def blending(self) -> dict[str, Any]:
        """The method with all of its settings."""
        return {**self.blend.model_dump(), "calibrate": self.calibrate, "select": self.select}

    @field_validator("members")
    @classmethod
    def _are_different(cls, members: list[str]) -> list[str]:
        if len(set(members)) < len(members):
            raise ValueError("duplicate member; for unequal weights use blend: weights")
        return members

    def problems_with(self, competition: Competition) -> list[tuple[str, str]]:
        """What does not fit the competition's target, as (key, message)."""
        kind = competition.target.kind
        problems = self.tta.problems_with(competition) if self.tta else []
        if problem := problem_of_method(self.blend.method, kind):
            problems.append(("blend", problem))
        if self.calibrate and kind == "regression":
            problems.append(("calibrate", "numbers have no temperature: remove it"))
        if isinstance(self.blend, Stacking) and self.blend.metadata:
            found = self.blend.metadata.problems(competition.metadata)
            problems += [(f"blend.{key}", problem) for key, problem in found]
        return problems


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
