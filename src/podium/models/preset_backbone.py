"""A KerasHub preset as a member's backbone, for images of any size."""

import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from podium.config.backbone_settings import FirstKernel, PresetSettings
from podium.config.backbones import MEMBER_PRESETS
from podium.config.reading import RGB
from podium.errors import ConfigError
from podium.models.channels import spread_channels
from podium.models.presets import Preset, PresetScaling, Recipe, load_backbone, load_converter, open_preset


def build_preset(
    settings: PresetSettings,
    image_size: int,
    pooling: str,
    *,
    pretrained: bool,
    file: Path | None,
    sizes: Iterable[int],
    channels: int = RGB,
) -> tuple[PresetScaling, Any]:
    """The scaling and the backbone for images of this size; `sizes` are those of all stages and predictions.

    The recipe in `file` is read, or with `pretrained` written. Without a file, only the preset's description is read.
    """
    preset = open_preset(partial(_read_preset, settings), pretrained, file)
    recipe = preset.recipe
    recipe.check_image_sizes(settings.preset, sorted({image_size, *sizes}))
    try:
        model = recipe.build(image_size, channels, settings.stochastic_depth)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        size = f"{image_size} pixels" + f" and {channels} channels" * (channels != RGB)
        raise ConfigError(f"preset {settings.preset} cannot be built at {size}: {reason}") from error
    if preset.backbone:
        assign_weights(model.weights, preset.backbone, recipe.antialias, settings.channels)
    (images,) = model.inputs
    return recipe.scaling, keras.Model(images, _features(model, recipe, settings.preset, pooling))


def copy_weights(source: Any, target: Any, recipe: Path) -> None:
    """Copy the weights of a model with a preset to the same model for another image size."""
    values = [keras.ops.convert_to_numpy(weight) for weight in source.weights]
    assign_weights(target.weights, values, Recipe.load(recipe).antialias)


def _read_preset(settings: PresetSettings, load_weights: bool) -> Preset:
    model, converter = load_backbone(settings, MEMBER_PRESETS, load_weights), load_converter(settings)
    for part in ("image_encoder", "vision_encoder"):
        model = getattr(model, part, model)
    weights = model.weights if load_weights and not settings.has_random_weights else []
    trained = {weight.name: weight for weight in weights if weight.name == "position_embeddings"}  # DINOV2 has both
    values = [
        keras.ops.convert_to_numpy(trained.get(weight.name.removeprefix("interpolated_"), weight))
        for weight in weights
        if weight.name != "mask_token"
    ]
    return Preset(Recipe.of(model, converter), values)


def _features(model: Any, recipe: Recipe, name: str, pooling: str) -> Any:
    """The output that the head pools: (rows, height, width, channels), or (rows, channels) with `token`."""
    output = model.output
    if isinstance(output, dict):  # of several stages
        output = min(output.values(), key=lambda features: features.shape[1])
    rank, takes_token = len(output.shape), pooling == "token"
    if rank == 3:
        assert recipe.patch_size
        side = model.inputs[0].shape[1] // recipe.patch_size
        tokens = output.shape[1] - side**2  # before those of the patches
        if not takes_token:
            return keras.ops.reshape(output[:, tokens:], (-1, side, side, output.shape[2]))
        if tokens:
            return output[:, 0]
    if rank == (2 if takes_token else 4):
        return output
    reason = "pools its features itself: set head.pooling to token"
    if takes_token:
        reason = "has no class token: set head.pooling to avg, max or gem"
    raise ConfigError(f"preset {name} {reason}")


def assign_weights(
    variables: list[Any], values: list[NDArray[Any]], antialias: bool, first_kernel: FirstKernel = "mean"
) -> None:
    """Assign the weights of the same model for images of another size or with other channels: position embeddings are
    interpolated."""
    for variable, value in zip(variables, values, strict=True):
        shape = tuple(variable.shape)
        if value.shape == shape:
            variable.assign(value)
        elif value.ndim == 4 and value.shape[2] != shape[2]:
            variable.assign(spread_channels(value, shape, first_kernel))
        elif value.dtype.kind == "f":  # others are the numbers of the positions, and already right
            variable.assign(_interpolate(value, shape, antialias))


def _interpolate(value: NDArray[Any], shape: tuple[int, ...], antialias: bool) -> NDArray[Any]:
    """The embeddings of the patches as a square grid of another size; those of other tokens, before them, are kept."""
    rows, new_count = value.reshape(value.shape[-2], -1), shape[-2]
    tokens = next(
        count for count in range(len(rows)) if _is_square(len(rows) - count) and _is_square(new_count - count)
    )
    old, new = math.isqrt(len(rows) - tokens), math.isqrt(new_count - tokens)
    grid = rows[tokens:].reshape(1, old, old, -1)
    resized = keras.ops.image.resize(grid, (new, new), interpolation="bicubic", antialias=antialias)
    patches = keras.ops.convert_to_numpy(resized).reshape(new * new, -1)
    every: NDArray[Any] = np.concatenate([rows[:tokens], patches]).reshape(shape)
    return every


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number
