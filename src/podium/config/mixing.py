"""The schema of mixing the images of a batch."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from podium.config.settings import Positive, Settings


class Mix(Settings):
    """How strongly and how often images are mixed: `alpha` alone, or these keys."""

    alpha: Positive
    """The shares of the two images follow a beta distribution: 1 makes all shares equally likely, smaller values leave
    most images nearly as they are."""
    probability: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """The probability that a batch is mixed."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {"alpha": value} if is_number else value
