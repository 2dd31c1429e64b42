"""The base class of every part of a config: strict types, no unknown keys, short forms, and the fields of a digest."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from podium.config.problems import Problem, problems_of, raise_problems, repeated


class Settings(BaseModel):
    """A mapping of a YAML file. Unknown keys are errors, and a string is not converted to a number.

    Constructed in Python, as in `Head(pooling="max")`, it raises a ConfigError with the same messages as a file.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False)

    def __init__(self, /, **keys: Any) -> None:
        try:
            super().__init__(**keys)
        except ValidationError as error:
            raise_problems(Problem(type(self).__name__, key, text) for key, text in problems_of(error, type(self)))

    # Pydantic then validates nested settings directly, so that errors of all levels end up in one ValidationError.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # functions declare no attributes


class _NotInDigest:
    def __repr__(self) -> str:
        return "NotInDigest"


NotInDigest = _NotInDigest()
"""Marks a field that does not affect the trained weights: `cache_gb: Annotated[float, NotInDigest] = 10.0`.

The digest of a run folder covers every other field, including all settings nested in it.
"""


def decisive_keys(model: type[Settings]) -> set[str]:
    """The fields that affect the trained weights."""
    return {name for name, field in model.model_fields.items() if NotInDigest not in field.metadata}


def decisive(settings: Settings) -> dict[str, Any]:
    """The settings that affect the trained weights, as plain data."""
    return settings.model_dump(mode="json", by_alias=True, include=decisive_keys(type(settings)))


Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
FoldNumbers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


def character(value: Any) -> Any:
    """The name of a separator that is given as the character itself."""
    return {" ": "space", ",": "comma", "|": "pipe"}.get(value, value) if isinstance(value, str) else value


def check_different(columns: list[str] | None) -> None:
    if duplicates := repeated(columns or []):
        raise ValueError(f"duplicate column: {', '.join(duplicates)}")


def short_form(key: str) -> BeforeValidator:
    """Read `cosine` as `{kind: cosine}`, where `key` is `kind`."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)
