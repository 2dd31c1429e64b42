"""Models for images of other than three channels, made of a model and a scaling for three."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from podium.config.backbone_settings import FirstKernel
from podium.config.reading import RGB


def for_channels(values: Sequence[float] | float, channels: int, dtype: str) -> Any:
    """A number for each of three channels, or their mean for each of another number of channels."""
    if isinstance(values, Sequence) and len(values) == RGB != channels:
        values = sum(values) / RGB
    return keras.ops.array(values, dtype)


def spread_channels(
    value: NDArray[Any], shape: Sequence[int], how: FirstKernel, *, is_flipped: bool = False
) -> NDArray[Any]:
    """A weight of a model for three channels, for the same model with another number of channels.

    A kernel, as (height, width, channels, filters), is scaled so that an image whose channels are all the same gives
    the same features. Of other weights, such as those of a normalization, each channel gets the mean. `is_flipped`: the
    three channels are BGR.
    """
    if value.shape == tuple(shape):
        return value
    axis = next(axis for axis, (old, new) in enumerate(zip(value.shape, shape, strict=True)) if old != new)
    count, is_kernel = shape[axis], value.ndim == 4
    if is_kernel and how == "repeat" and count > RGB:
        each = np.take(np.flip(value, axis) if is_flipped else value, np.arange(count) % RGB, axis)
    else:
        each = np.repeat(value.mean(axis=axis, keepdims=True), count, axis)
    return np.asarray(each * (RGB / count) if is_kernel else each)
