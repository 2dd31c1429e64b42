"""The schema of a target: what a competition asks for each image."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from podium.config.settings import Settings, character, check_different, short_form

SEPARATORS = {"space": None, "comma": ",", "pipe": "|"}
"""How labels in one column are separated, as arguments of `str.split`."""


class SingleLabel(Settings):
    """One of the classes, in the column `train.label` or as the folder of the image."""

    kind: Literal["single_label"]


class Binary(Settings):
    """Yes or no. Of the two classes the second is the positive one, whose probability is predicted."""

    kind: Literal["binary"]


class MultiLabel(Settings):
    """Any number of the classes: a column of 0 and 1 for each class, or all labels of an image in `train.label`."""

    kind: Literal["multi_label"]
    separator: Annotated[Literal["space", "comma", "pipe"] | None, BeforeValidator(character)] = None
    """What separates the labels in the column `train.label`; without it each class has a column."""


class Ordinal(Settings):
    """One of the classes, which have an order: from the lowest grade to the highest."""

    kind: Literal["ordinal"]


class Regression(Settings):
    """One or more numbers."""

    kind: Literal["regression"]
    columns: Annotated[list[str], Field(min_length=1)] | None = None
    """The columns of numbers; by default the column `train.label` alone."""
    range: list[float] | None = None
    """The smallest and the largest possible number, such as [0, 100]: no prediction is outside."""

    @field_validator("columns")
    @classmethod
    def _are_different(cls, columns: list[str] | None) -> list[str] | None:
        check_different(columns)
        return columns

    @field_validator("range")
    @classmethod
    def _ascends(cls, limits: list[float] | None) -> list[float] | None:
        if limits is not None and (len(limits) != 2 or limits[0] >= limits[1]):
            raise ValueError(f"expected the smallest and the largest number, such as [0, 100], got {limits}")
        return limits


class SoftLabel(Settings):
    """A share of each class: a column for each class, with votes or probabilities."""

    kind: Literal["soft_label"]


TargetSettings = Annotated[
    SingleLabel | Binary | MultiLabel | Ordinal | Regression | SoftLabel,
    Field(discriminator="kind"),
    short_form("kind"),
]
