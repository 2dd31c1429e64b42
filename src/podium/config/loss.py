"""The schema of a member's loss and class weights, and which losses fit which target."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from podium.config.problems import raise_key_problems
from podium.config.settings import Count, Positive, Settings, short_form
from podium.config.submission import by_class


class CategoricalCrossentropy(Settings):
    """Of one class, or of shares of the classes."""

    kind: Literal["categorical_crossentropy"]


class OrdinalCrossentropy(Settings):
    """The binary cross-entropy of "above this class", averaged over the classes: near misses cost less."""

    kind: Literal["ordinal_crossentropy"]


class KullbackLeibler(Settings):
    """The cross-entropy minus that of the truth itself: the same gradients, and 0 for a perfect prediction."""

    kind: Literal["kl_divergence"]


class BinaryCrossentropy(Settings):
    """Averaged over the classes, or over numbers on the scale of their range."""

    kind: Literal["binary_crossentropy"]


class Focal(Settings):
    """The categorical or the binary cross-entropy, in which rows that are predicted well count little."""

    kind: Literal["focal"]
    gamma: Annotated[float, Field(ge=0.0)] = 2.0
    """How much less a row counts the surer its prediction is."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Of binary and multi_label: the weight of positives; that of negatives is 1 - alpha."""


class ArcFace(Settings):
    """A last layer that compares the angles between an image's features and the centres of the classes, trained with a
    margin: for many similar classes."""

    kind: Literal["arcface"]
    margin: Annotated[float, Field(ge=0.0, lt=1.5)] = 0.3
    """How much nearer the features have to be to their own class, in radians."""
    scale: Positive = 30.0
    """What the cosines are multiplied by before the softmax: higher for more classes."""
    centres: Count = 1
    """Centres of each class: about 3 if its images differ much, or if some labels are wrong."""


class Asymmetric(Settings):
    """Binary cross-entropy in which easy negatives count little, for labels that most images do not have."""

    kind: Literal["asymmetric"]
    gamma_negative: Annotated[float, Field(ge=0.0)] = 4.0
    """How much less a negative counts the surer it is."""
    gamma_positive: Annotated[float, Field(ge=0.0)] = 1.0
    """How much less a positive counts the surer it is."""
    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    """A negative with a lower probability does not count."""


class MeanSquaredError(Settings):
    kind: Literal["mse"]


class MeanAbsoluteError(Settings):
    kind: Literal["mae"]


class Huber(Settings):
    """Squared for errors up to `delta`, absolute above."""

    kind: Literal["huber"]
    delta: Positive = 1.0
    """In standard deviations of the training rows, or as a share of the range."""


Loss = Annotated[
    CategoricalCrossentropy
    | OrdinalCrossentropy
    | KullbackLeibler
    | BinaryCrossentropy
    | Focal
    | ArcFace
    | Asymmetric
    | MeanSquaredError
    | MeanAbsoluteError
    | Huber,
    Field(discriminator="kind"),
    short_form("kind"),
]

LOSSES: dict[str, list[str]] = {
    "single_label": ["categorical_crossentropy", "focal", "arcface"],
    "binary": ["binary_crossentropy", "focal", "asymmetric"],
    "multi_label": ["binary_crossentropy", "focal", "asymmetric"],
    "ordinal": ["ordinal_crossentropy", "categorical_crossentropy", "focal"],
    "regression": ["mse", "mae", "huber", "binary_crossentropy"],
    "soft_label": ["kl_divergence", "categorical_crossentropy", "focal"],
}
"""The losses that fit a kind of target; the first is the default."""
SMOOTHED = ("categorical_crossentropy", "binary_crossentropy", "focal", "arcface")
"""The losses with label smoothing."""

Balance = Literal["balanced", "sqrt"]


def _are_weights(value: Any) -> Any:
    if isinstance(value, dict):
        wrong = {
            label: weight
            for label, weight in value.items()
            if isinstance(weight, bool) or not isinstance(weight, int | float) or weight <= 0
        }
        raise_key_problems(
            [(str(label), f"expected a number above 0, got {weight!r}") for label, weight in wrong.items()]
        )
        return by_class(value)
    if value not in get_args(Balance):
        raise ValueError(f"expected balanced, sqrt, or weights of classes such as {{cat: 2.5}}, got {value!r}")
    return value


ClassWeights = Annotated[Balance | dict[str, float], BeforeValidator(_are_weights)]
