"""What every part of the schema shares: strict types, no unknown keys, and the short forms of YAML."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Settings(BaseModel):
    """A part of a YAML file. An unknown key is a problem, and a text is not taken for a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False)


Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


def short_form(key: str) -> BeforeValidator:
    """Reads `cosine` as `{kind: cosine}`, for the `key` that a text alone stands for."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)
