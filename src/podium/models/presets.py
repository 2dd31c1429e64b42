"""KerasHub presets as backbones of members and detectors.

A preset is read once, when training starts. How to build its backbone and scale its images is saved in the run folder
as its recipe. A resumed training and a trained model are built from that, and do not need the preset.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import keras_hub

from podium.config.backbone_settings import PresetSettings
from podium.config.backbones import PresetKinds
from podium.errors import ConfigError, RunError, WeightsError
from podium.files import read_json, write_json
from podium.models.preset_places import check_preset_name, place_of

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

    @classmethod
    def of(cls, backbone: Any, converter: Any, pyramid: dict[str, bool] | None = None) -> "Recipe":
        content = keras.saving.serialize_keras_object(backbone)
        return cls(_to_json(content), _to_json(converter.scale), _to_json(converter.offset), pyramid or {})

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
    pyramid: list[Any] = field(default_factory=list)
    """Weights of the feature pyramid; empty if the preset has none."""


def load_backbone(settings: PresetSettings, kinds: PresetKinds) -> Any:
    """Read the backbone from a folder, from KerasHub's cache or from the internet."""
    check_preset_name(settings, kinds)
    model = _load(settings)
    if type(model).__name__.removesuffix("Backbone") not in kinds.names:
        raise ConfigError(f"preset {settings.preset} is not supported; {kinds.expected}")
    return model


def load_converter(settings: PresetSettings) -> Any:
    """The image converter, which defines how images are scaled."""
    try:
        return keras_hub.layers.ImageConverter.from_preset(place_of(settings))
    except FileNotFoundError as error:
        raise WeightsError(
            f"preset {settings.preset} has no image converter, so the scaling of its images is unknown; save one to the"
            " same folder, such as keras_hub.layers.ResNetImageConverter(scale=1 / 255).save_to_preset(FOLDER)"
        ) from error
    except Exception as error:
        raise WeightsError(_load_error(settings, error)) from error


def save_preset(settings: PresetSettings, folder: Path) -> None:
    """Save the preset to a folder that `backbone.preset` can name."""
    _load(settings).save_to_preset(str(folder))
    load_converter(settings).save_to_preset(str(folder))


def _load(settings: PresetSettings) -> Any:
    try:
        return keras_hub.models.Backbone.from_preset(place_of(settings))
    except WeightsError:
        raise
    except Exception as error:  # of KerasHub, Keras, HDF5 or a download
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
