"""A KerasHub preset as a detector's backbone.

The preset is read once, when training starts. How to build its backbone and scale its images is saved in the run
folder as its recipe. A resumed training and a trained detector are built from that, and do not need the preset.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import keras_hub

from podium.config.kaggle_names import MODEL_NAME
from podium.config.problems import nearest
from podium.detection.config import LEVELS, PresetSettings
from podium.errors import ConfigError, RunError, WeightsError
from podium.files import read_json, write_json
from podium.paths import kaggle_places

KINDS = ("CSPNet", "DenseNet", "EfficientNet", "ResNet", "RetinaNet")
"""Backbones with features of all levels."""
_EXPECTED = f"expected a preset of {', '.join(KINDS[:-1])} or {KINDS[-1]}, which have features P3, P4 and P5"
_IGNORED_KEYS = ("dtype", "build_config", "compile_config")
"""Keys of Keras configs; the run sets the precision, not the preset."""


@keras.saving.register_keras_serializable("podium")
class PresetScaling(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Scale images of 0 to 255 as the preset's image converter does, inside the model.

    Scale and offset are a number, a number per channel, or None to skip that step.
    """

    def __init__(self, scale: Any, offset: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset

    def call(self, images: Any) -> Any:
        images = keras.ops.cast(images, self.compute_dtype)
        if self.scale is not None:
            images = images * keras.ops.array(self.scale, images.dtype)
        if self.offset is not None:
            images = images + keras.ops.array(self.offset, images.dtype)
        return images

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


@dataclass(frozen=True)
class Recipe:
    """A preset without its weights."""

    backbone: dict[str, Any]
    """The Keras config of the backbone; of a RetinaNet, that of its image encoder."""
    scale: Any
    offset: Any
    pyramid: dict[str, bool]
    """Options of a RetinaNet's feature pyramid; empty for other presets."""

    def build(self, image_size: int) -> Any:
        """The backbone for images of this size, with random weights."""
        content = json.loads(json.dumps(self.backbone))  # Keras modifies its argument
        for key in {"image_shape", "input_shape"} & content["config"].keys():
            content["config"][key] = [image_size, image_size, 3]
        return keras.saving.deserialize_keras_object(content)

    @property
    def scaling(self) -> PresetScaling:
        return PresetScaling(self.scale, self.offset, name="scaling")

    def save(self, file: Path) -> None:
        write_json(file, asdict(self))

    @classmethod
    def load(cls, file: Path) -> "Recipe":
        content = read_json(file)
        try:
            return cls(**content)
        except TypeError:
            raise RunError(
                f"{file}, the description of the preset's backbone, is missing or damaged; restore a copy of it, or"
                " move the run folder away and train again"
            ) from None


@dataclass(frozen=True)
class Preset:
    """A recipe and its weights."""

    recipe: Recipe
    backbone: list[Any]
    pyramid: list[Any]
    """Weights of the feature pyramid; empty if the preset has none."""


def read_preset(settings: PresetSettings, levels: int) -> Preset:
    """Read from a folder, from KerasHub's cache or from the internet, and check that it fits a detector of these
    levels."""
    place = place_of(settings)
    model, converter = _backbone(settings, place), _converter(settings, place)
    is_retinanet = isinstance(model, keras_hub.models.RetinaNetBackbone)
    backbone = model.image_encoder if is_retinanet else model
    missing = {f"P{level}" for level in LEVELS} - getattr(backbone, "pyramid_outputs", {}).keys()
    if missing:
        raise ConfigError(f"preset {settings.preset} is a {type(backbone).__name__}; {_EXPECTED}")
    if is_retinanet and (model.min_level, model.max_level) != (LEVELS[0], levels):
        raise ConfigError(
            f"preset {settings.preset} is a RetinaNet with levels {model.min_level} to {model.max_level}, but this"
            f" detector has levels {LEVELS[0]} to {levels}; "
            + (f"set levels: {model.max_level}" if model.min_level == LEVELS[0] else "use another preset")
        )
    recipe = Recipe(
        _to_json(keras.saving.serialize_keras_object(backbone)),
        _to_json(converter.scale),
        _to_json(converter.offset),
        {key: bool(getattr(model, key)) for key in ("use_p5", "use_fpn_batch_norm")} if is_retinanet else {},
    )
    return Preset(recipe, backbone.get_weights(), model.feature_pyramid.get_weights() if is_retinanet else [])


def save_preset(settings: PresetSettings, folder: Path) -> None:
    """Save the preset to a folder that `backbone.preset` can name."""
    place = place_of(settings)
    _backbone(settings, place).save_to_preset(str(folder))
    _converter(settings, place).save_to_preset(str(folder))


def place_of(settings: PresetSettings) -> str:
    """The name, handle or folder that KerasHub loads it from; in a kernel, the folder of its Kaggle Model."""
    if settings.kaggle_source is not None:
        places = [place / settings.kaggle_folder for place in kaggle_places(*settings.kaggle_source)]
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise WeightsError(
                f"{settings.preset} is not mounted: looked in {' and '.join(map(str, places))}; run on Kaggle, where it"
                " is attached, or use a local copy: --set backbone.preset=FOLDER"
            )
        return str(found)
    mounted = _mounted_model(settings) if settings.is_fetched else None
    return str(mounted or settings.preset)


def kaggle_model(settings: PresetSettings) -> str | None:
    """The Kaggle Model of a KerasHub preset (owner/model/framework/variation/version); None if none is known."""
    handle = settings.preset
    if "://" not in handle:
        _check_name(handle)
        handle = keras_hub.models.Backbone.presets[handle].get("kaggle_handle", "")
    name = handle.removeprefix("kaggle://")
    return name if MODEL_NAME.fullmatch(name) else None


def preset_millions(settings: PresetSettings) -> float:
    """How many million parameters the backbone has; 0 if KerasHub does not know the preset."""
    known = keras_hub.models.Backbone.presets.get(settings.preset, {})
    return float(known.get("metadata", {}).get("params", 0)) / 1e6


def _mounted_model(settings: PresetSettings) -> Path | None:
    """The folder where Kaggle mounts the preset's model, in this version or another one."""
    name = kaggle_model(settings)
    places = kaggle_places("model", name) if name else []
    found = [path for place in places for path in (place, *sorted(place.parent.glob("[0-9]*"))) if path.is_dir()]
    return found[0] if found else None


def _check_name(name: str) -> None:
    """Check the name before anything is downloaded."""
    models = keras_hub.models
    supported = sorted({name for kind in KINDS for name in getattr(models, f"{kind}Backbone").presets})
    if name in supported:
        return
    if name in models.Backbone.presets:
        raise ConfigError(f"KerasHub's preset {name} is not supported; {_EXPECTED}")
    hint = f"; for the folder of that name use ./{name}" if Path(name).is_dir() else nearest(name, supported)
    raise ConfigError(f"KerasHub has no preset {name!r} for detectors{hint}")


def _backbone(settings: PresetSettings, place: str) -> Any:
    try:
        return keras_hub.models.FeaturePyramidBackbone.from_preset(place)
    except Exception as error:  # of KerasHub, Keras, HDF5 or a download
        if "is not a subclass" in str(error):
            raise ConfigError(f"preset {settings.preset} is not supported; {_EXPECTED}") from error
        raise WeightsError(_load_error(settings, error)) from error


def _converter(settings: PresetSettings, place: str) -> Any:
    """The image converter, which defines how images are scaled."""
    try:
        return keras_hub.layers.ImageConverter.from_preset(place)
    except FileNotFoundError as error:
        raise WeightsError(
            f"preset {settings.preset} has no image converter, so the scaling of its images is unknown; save one to the"
            " same folder, such as keras_hub.layers.ResNetImageConverter(scale=1 / 255).save_to_preset(FOLDER)"
        ) from error
    except Exception as error:
        raise WeightsError(_load_error(settings, error)) from error


def _load_error(settings: PresetSettings, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
    if not settings.is_fetched:
        return f"preset {settings.preset} cannot be read ({reason}); expected a folder written by save_to_preset"
    return (
        f"preset {settings.preset} cannot be downloaded ({reason}); connect to the internet once (KerasHub caches it),"
        " or set backbone.preset to a folder, here or on Kaggle (podium kernel push --weights)"
    )


def _to_json(value: Any) -> Any:
    """Convert to the values that JSON restores, without ignored keys."""
    if isinstance(value, dict):
        return {key: _to_json(part) for key, part in value.items() if key not in _IGNORED_KEYS}
    if isinstance(value, list | tuple):
        return [_to_json(part) for part in value]
    return value
