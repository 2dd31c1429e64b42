"""The schema of a competition's folds."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from podium.config.settings import Settings, Share, short_form
from podium.files import read_records

_GROUPS = {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}], "default": {}}


class StratifiedFolds(Settings):
    """Every fold has the same share of each class."""

    kind: Literal["stratified"]
    count: Annotated[int, Field(ge=2)] = 5
    """The number of folds."""
    seed: int = 42
    """Another seed gives another split."""


class GroupedFolds(Settings):
    """Stratified folds that keep each group (the same car, the same day) in one fold: that of train.group or groups."""

    kind: Literal["grouped"]
    count: Annotated[int, Field(ge=2)] = 5
    """The number of folds."""
    seed: int = 42
    """Another seed gives another split."""
    groups: Annotated[dict[str, str], WithJsonSchema(_GROUPS)] = {}
    """Rows to keep together beside those of train.group: a CSV file next to this file, with the columns `id` and
    `group`, such as that of `podium data check --fix`; or the group of each id."""

    @field_validator("groups", mode="before")
    @classmethod
    def _read_groups(cls, groups: Any, info: ValidationInfo) -> Any:
        """The groups in a file next to the competition file, or in the working directory."""
        if not isinstance(groups, str):
            return groups
        path = (info.context or {}).get("folder", Path()) / groups
        if not path.is_file():
            raise ValueError(f"there is no file {groups} next to the competition file")
        rows = read_records(path)
        if any(not row.get("id") or not row.get("group") for row in rows):
            raise ValueError(f"expected a CSV file with the columns id and group, and both in every row, got {groups}")
        return {row["id"]: row["group"] for row in rows}


class HoldoutFolds(Settings):
    """One fold that validates on a share of the rows and trains on the rest."""

    kind: Literal["holdout"]
    share: Share = 0.2
    """The share of validation rows."""
    seed: int = 42
    """Another seed gives another split."""


class ShareFolds(Settings):
    """One fold, and test rows that are scored once, at the end."""

    kind: Literal["shares"]
    train: Share = 0.8
    """The share of rows to train on."""
    validation: Share = 0.1
    """The share of validation rows."""
    test: Share = 0.1
    """The share of rows that are scored once, at the end."""
    seed: int = 42
    """Another seed gives another split."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train, validation and test must sum to 1, got {total:g}")
        return self


class TableFolds(Settings):
    """Folds from a CSV file with the columns id, label and fold; a fold is a number, `train` or `test`."""

    kind: Literal["table"]
    path: str
    """Relative to the competition's data folder, or absolute."""


Folds = Annotated[
    StratifiedFolds | GroupedFolds | HoldoutFolds | ShareFolds | TableFolds,
    Field(discriminator="kind"),
    short_form("kind"),
]
