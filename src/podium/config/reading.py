"""The schema of how image files are read: what becomes of more than 8 bits, of several pages and of channels."""

import os
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_serializer, model_validator

from podium.config.settings import Settings

Percent = Annotated[float, Field(ge=0.0, le=100.0)]
Pages = Literal["first", "channels"]
RGB = 3
"""The usual number of channels."""
MOST_CHANNELS = 16
RULES = ("auto", "full", "window")
DEFAULT_PERCENTILES = (1.0, 99.0)


class Intensity(Settings):
    """How values of more than 8 bits are scaled to 8. Images of 8 bits are used as they are.

    `auto`: the window of a DICOM file; without one, as {percentile: [1, 99]}.
    """

    rule: Literal["auto", "full", "window"] | None = None
    """`full`: the range of the type, such as 0 to 65535, or 0 to 1 for floats. `window`: that of each DICOM file."""
    percentile: Annotated[list[Percent], Field(min_length=2, max_length=2)] | None = None
    """These two percentiles of each image become black and white, such as [1, 99]."""
    low: float | None = None
    """This value becomes black, and `high` white, such as 0 and 4095 for 12 bits."""
    high: float | None = None
    """Only together with `low`."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, dict | Intensity):
            return value
        if value not in RULES:
            raise ValueError(
                f"expected auto, full, window, {{percentile: [1, 99]}} or {{low: 0, high: 4095}}, got {value!r}"
            )
        return {"rule": value}

    @model_validator(mode="after")
    def _is_one_rule(self) -> Self:
        bounds = [bound for bound in (self.low, self.high) if bound is not None]
        if (self.rule is not None) + (self.percentile is not None) + bool(bounds) != 1 or len(bounds) == 1:
            raise ValueError("expected auto, full, window, percentile, or low and high")
        for limits in (self.percentile, bounds):
            if limits and limits[0] >= limits[1]:
                raise ValueError(f"expected the lower number first, got {limits}")
        return self

    @model_serializer
    def _as_yaml(self) -> Any:
        if self.rule is not None:
            return self.rule
        return {"percentile": self.percentile} if self.percentile else {"low": self.low, "high": self.high}

    def __str__(self) -> str:
        if self.rule is not None:
            return self.rule
        if self.percentile:
            return "percentile-{:g}-{:g}".format(*self.percentile)
        return f"{self.low:g}-to-{self.high:g}"


@dataclass(frozen=True)
class Reading:
    """How the image files of a competition are read."""

    intensity: Intensity = field(default_factory=lambda: Intensity(rule="auto"))
    pages: Pages = "first"
    channels: int = RGB
    files: tuple[str, ...] = ()
    """What the name of a channel's file ends with, where each channel has a file of its own."""

    def __str__(self) -> str:
        """For names; empty by default."""
        parts = [str(self.intensity)] if self.intensity.rule != "auto" else []
        parts += ["pages"] if self.pages == "channels" else []
        parts += self.files or ([f"{self.channels}-channels"] if self.channels != RGB else [])
        return "".join(f"-{part}" for part in parts)

    def files_of(self, first: str) -> list[str]:
        """All files of an image, given the first."""
        if not self.files:
            return [first]
        stem, suffix = os.path.splitext(first)  # noqa: PTH122  # creating a Path takes several times as long
        return [stem.removesuffix(self.files[0]) + name + suffix for name in self.files]


AS_USUAL = Reading()
