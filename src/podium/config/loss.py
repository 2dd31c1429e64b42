"""The schema of a member's loss, and which losses fit which target."""

from typing import Annotated, Literal

from pydantic import Field

from podium.config.settings import Positive, Settings, short_form


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
    | Asymmetric
    | MeanSquaredError
    | MeanAbsoluteError
    | Huber,
    Field(discriminator="kind"),
    short_form("kind"),
]

LOSSES: dict[str, list[str]] = {
    "single_label": ["categorical_crossentropy"],
    "binary": ["binary_crossentropy", "asymmetric"],
    "multi_label": ["binary_crossentropy", "asymmetric"],
    "ordinal": ["ordinal_crossentropy", "categorical_crossentropy"],
    "regression": ["mse", "mae", "huber", "binary_crossentropy"],
    "soft_label": ["kl_divergence", "categorical_crossentropy"],
}
"""The losses that fit a kind of target; the first is the default."""
SMOOTHED = ("categorical_crossentropy", "binary_crossentropy")
"""The losses with label smoothing."""
