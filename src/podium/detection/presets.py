"""A KerasHub preset as a detector's backbone."""

from typing import Any

import keras_hub

from podium.config.backbone_settings import PresetSettings
from podium.config.backbones import DETECTOR_PRESETS
from podium.detection.config import LEVELS
from podium.errors import ConfigError
from podium.models.presets import Preset, Recipe, load_backbone, load_converter


def read_preset(settings: PresetSettings, levels: int, load_weights: bool) -> Preset:
    """Read a preset, of a RetinaNet with its feature pyramid, and check that it fits a detector of these levels."""
    model, converter = load_backbone(settings, DETECTOR_PRESETS, load_weights), load_converter(settings)
    load_weights = load_weights and not settings.has_random_weights
    is_retinanet = isinstance(model, keras_hub.models.RetinaNetBackbone)
    backbone = model.image_encoder if is_retinanet else model
    missing = {f"P{level}" for level in LEVELS} - getattr(backbone, "pyramid_outputs", {}).keys()
    if missing:
        raise ConfigError(f"preset {settings.preset} is a {type(backbone).__name__}; {DETECTOR_PRESETS.expected}")
    weights = backbone.get_weights() if load_weights else []
    if not is_retinanet:
        return Preset(Recipe.of(backbone, converter), weights)
    _check_levels(settings, model, levels)
    pyramid = {key: bool(getattr(model, key)) for key in ("use_p5", "use_fpn_batch_norm")}
    recipe = Recipe.of(backbone, converter, pyramid)
    return Preset(recipe, weights, model.feature_pyramid.get_weights() if load_weights else [])


def _check_levels(settings: PresetSettings, retinanet: Any, levels: int) -> None:
    first, last = retinanet.min_level, retinanet.max_level
    if (first, last) != (LEVELS[0], levels):
        raise ConfigError(
            f"preset {settings.preset} is a RetinaNet with levels {first} to {last}, but this detector has levels"
            f" {LEVELS[0]} to {levels}; " + (f"set levels: {last}" if first == LEVELS[0] else "use another preset")
        )
