"""Scaling the values of an image, of any type, to bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.config.reading import DEFAULT_PERCENTILES, Intensity
from podium.data.image_headers import UnreadableError

Image = NDArray[np.uint8]

_SAMPLE = 250_000
"""Percentiles are computed from about this many values, which is accurate enough."""
_BLOCK = 1 << 20
"""How many values are scaled at a time, which saves memory and time."""


def to_bytes(values: NDArray[Any], intensity: Intensity, window: tuple[float, float] | None = None) -> Image:
    """Scale values to 0 to 255."""
    if values.dtype == np.uint8 and window is None:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "uif":
        raise UnreadableError(f"its values are of the type {values.dtype}; expected numbers")
    low, high = _bounds(values, intensity, window)
    factor = 255.0 / (high - low) if high > low else 0.0
    image = np.empty(values.shape, np.uint8)
    rows = max(1, _BLOCK * len(values) // values.size)
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float32)
        scaled = (np.nan_to_num(part, nan=low, posinf=high, neginf=low) - low) * factor
        image[start : start + rows] = np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
    return image


def _bounds(values: NDArray[Any], intensity: Intensity, window: tuple[float, float] | None) -> tuple[float, float]:
    """The values that become black and white."""
    if intensity.low is not None and intensity.high is not None:
        return intensity.low, intensity.high
    if window and intensity.rule in ("auto", "window"):
        return window
    if intensity.rule == "window":
        raise UnreadableError("it has no window, as some DICOM files do; set another intensity")
    if intensity.rule == "full":
        return _full_range(values)
    step = max(1, int((values.shape[0] * values.shape[1] / _SAMPLE) ** 0.5))
    sample = values[::step, ::step]
    sample = sample[np.isfinite(sample)] if values.dtype.kind == "f" else sample
    if not sample.size:
        return 0.0, 0.0
    low, high = np.percentile(sample, intensity.percentile or DEFAULT_PERCENTILES)
    if low < high:
        return float(low), float(high)
    return float(sample.min()), float(sample.max())  # most of the image has the same value


def _full_range(values: NDArray[Any]) -> tuple[float, float]:
    if values.dtype.kind != "f":
        limits = np.iinfo(values.dtype)
        return float(limits.min), float(limits.max)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < 0.0 or high > 1.0:
        raise UnreadableError(
            f"its values are from {low:g} to {high:g}; expected floats from 0 to 1 with intensity: full: set the"
            " bounds, such as {low: 0, high: 255}"
        )
    return 0.0, 1.0
