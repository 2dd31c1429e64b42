"""The schema of a key that `podium search` varies: a range of numbers or a list of choices."""

from typing import Any, Self

from pydantic import Field, model_validator

from podium.config.settings import Settings


class SearchValues(Settings):
    """`{low: 1e-4, high: 1e-2, log: true}`, `{low: 1, high: 5}` for whole numbers, or a list of choices."""

    low: int | float | None = None
    """The lowest value. If `low` and `high` are both whole numbers, so are all values."""
    high: int | float | None = None
    """The highest value."""
    log: bool = False
    """Try each order of magnitude equally often, as usual for learning rates."""
    choices: list[Any] | None = Field(default=None, min_length=2)
    """These values instead of a range; a list alone is the same."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, dict | SearchValues):
            return value
        if not isinstance(value, list):
            raise ValueError(f"expected {{low: 1e-4, high: 1e-2, log: true}} or a list of choices, got {value!r}")
        return {"choices": value}

    @model_validator(mode="after")
    def _is_range_or_choices(self) -> Self:
        low, high = self.low, self.high
        if self.choices is not None:
            if low is not None or high is not None or self.log:
                raise ValueError("expected either choices, or low and high")
            if any(choice in self.choices[:number] for number, choice in enumerate(self.choices)):
                raise ValueError(f"expected different choices, got {self.choices}")
        elif low is None or high is None or low >= high:
            raise ValueError(f"expected low and high, the lower number first, got {low} and {high}")
        elif self.log and low <= 0:
            raise ValueError(f"a logarithmic range needs a low above 0, got {low}")
        return self

    @property
    def ends(self) -> list[Any]:
        """The values that are valid only if all are: both ends, or every choice."""
        return [self.low, self.high] if self.choices is None else self.choices
