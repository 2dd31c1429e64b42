"""The schema of metadata: columns of a competition's tables, and their use in a member."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema, field_validator, model_validator

from podium.config.problems import nearest, raise_key_problems, repeated
from podium.config.settings import Count, Settings, check_different
from podium.config.submission import as_label
from podium.errors import MOST_LISTED

Category = Annotated[str, WithJsonSchema({"type": ["string", "integer"]})]
"""As it is in the table; YAML may have a number."""
ColumnKind = Literal["number", "category"] | list[Category]


def _check_columns(columns: Any) -> Any:
    """One problem for each column that is neither a kind nor a list of categories."""
    if not isinstance(columns, dict):
        return columns
    checked: dict[Any, Any] = {}
    problems = []
    for name, kind in columns.items():
        try:
            checked[name] = _checked_kind(kind)
        except ValueError as error:
            problems.append((str(name), str(error)))
    raise_key_problems(problems)
    return checked


def _checked_kind(kind: Any) -> Any:
    if kind in ("number", "category"):
        return kind
    if not isinstance(kind, list) or not kind:
        raise ValueError(f"expected number, category or a list of categories, got {kind!r}")
    categories = [as_label(name) for name in kind]
    if duplicates := repeated(categories):
        raise ValueError(f"duplicate category: {', '.join(duplicates)}")
    return categories


MetadataColumns = Annotated[dict[str, ColumnKind], BeforeValidator(_check_columns)]


class MetadataChoice(Settings):
    """Columns of the competition's metadata: `all`, a list of columns, or this key."""

    columns: list[str] | None = None
    """Which columns; all by default."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"columns": value}
        if value == "all":
            return {}
        if not isinstance(value, dict | MetadataChoice):
            raise ValueError(f"expected all or a list of columns, got {value!r}")
        return value

    @field_validator("columns")
    @classmethod
    def _are_different(cls, columns: list[str] | None) -> list[str] | None:
        if columns is not None and not columns:
            raise ValueError("expected 1 or more items: remove metadata to use no column")
        check_different(columns)
        return columns

    def chosen(self, declared: Mapping[str, ColumnKind]) -> list[str]:
        """The names of the columns, of those that the competition declares."""
        return list(declared) if self.columns is None else self.columns

    def problems(self, declared: Mapping[str, ColumnKind]) -> list[tuple[str, str]]:
        """What does not fit the competition, as (key, message)."""
        if not declared:
            return [("metadata", "the competition file declares none: add its columns there, such as {age: number}")]
        return [
            ("metadata.columns", f"{name!r} is not in the competition's metadata{nearest(name, list(declared))}")
            for name in [name for name in self.chosen(declared) if name not in declared][:MOST_LISTED]
        ]


class MetadataSettings(MetadataChoice):
    """Columns of the competition's metadata as a second input: `all`, a list of columns, or these keys."""

    units: list[Count] = [32]
    """The units of each Dense layer between the columns and the features of the image; [] for none."""
