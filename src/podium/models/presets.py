"""KerasHub presets as backbones of members and detectors.

A preset is read once, when training starts. How to build its backbone and scale its images is saved in the run folder
as its recipe. A resumed training and a trained model are built from that, and do not need the preset.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import keras
import keras_hub
from pydantic import BaseModel, Field, PositiveInt

from podium.config.backbone_settings import PresetSettings
from podium.config.backbones import PresetKinds
from podium.config.reading import RGB
from podium.errors import ConfigError, RunError, WeightsError
from podium.files import read_json, write_json
from podium.models.channels import for_channels
from podium.models.preset_places import check_preset_name, place_of
from podium.models.stochastic_depth import set_stochastic_depth

_IGNORED_KEYS = ("dtype", "build_config", "compile_config")
"""Keys of Keras configs; the run sets the precision, not the preset."""


@keras.saving.register_keras_serializable("podium")
class PresetScaling(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Scale images of 0 to 255 as the preset's image converter does, inside the model.

    Scale and offset are a number, a number per channel, or None to skip that step. For other than three channels each
    is scaled by the mean of the three.
    """

    def __init__(self, scale: Any, offset: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset

    def call(self, images: Any) -> Any:
        images = keras.ops.cast(images, self.compute_dtype)
        if self.scale is not None:
            images = images * for_channels(self.scale, images.shape[-1], images.dtype)
        if self.offset is not None:
            images = images + for_channels(self.offset, images.shape[-1], images.dtype)
        return images

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


class _Config(BaseModel):
    patch_size: PositiveInt | Annotated[list[PositiveInt], Field(min_length=1)] | None = None
    image_shape: list[int | None] | None = None


class _Backbone(BaseModel):
    class_name: str
    config: _Config


class _Content(BaseModel):
    """What podium itself reads in the file of a recipe; Keras checks the rest when it builds the backbone."""

    backbone: _Backbone
    scale: float | list[float] | None
    offset: float | list[float] | None
    pyramid: dict[str, bool]


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
        content = _to_json(keras.saving.serialize_keras_object(backbone))
        if "use_mask_token" in content["config"]:
            content["config"]["use_mask_token"] = False  # only self-supervised training uses it
        return cls(content, _to_json(converter.scale), _to_json(converter.offset), pyramid or {})

    def build(self, image_size: int, channels: int = RGB, stochastic_depth: float | None = None) -> Any:
        """The backbone for images of this size, with random weights."""
        content = json.loads(json.dumps(self.backbone))  # Keras modifies its argument
        for key in {"image_shape", "input_shape"} & content["config"].keys():
            content["config"][key] = [image_size, image_size, channels]
        if stochastic_depth and content["class_name"] == "EfficientNetBackbone":
            content["config"]["dropout"] = stochastic_depth  # the Lite models are saved without it
        try:
            model = keras.saving.deserialize_keras_object(content)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise RunError(
                f"the preset's backbone {self.backbone['class_name']} cannot be built for images of {image_size} pixels"
                f" ({reason}); restore a copy of backbone.json, or use another image size"
            ) from error
        for layer in model._flatten_layers(include_self=False):
            if hasattr(layer, "interpolated_position_embeddings"):
                # DINOV2's own methods save and load another size's embeddings, and may lose trained ones.
                for name in ("save_own_variables", "load_own_variables"):
                    setattr(layer, name, partial(getattr(keras.layers.Layer, name), layer))
        if stochastic_depth is not None and not set_stochastic_depth(model, stochastic_depth):
            name = self.backbone["class_name"]
            raise ConfigError(f"the preset is a {name} without stochastic depth: remove backbone.stochastic_depth")
        return model

    @property
    def patch_size(self) -> int | None:
        """Of a transformer whose patches have one size."""
        size: int | list[int] | None = self.backbone["config"].get("patch_size")
        return size[0] if isinstance(size, list) else size

    @property
    def antialias(self) -> bool:
        """How position embeddings are interpolated for smaller images."""
        return bool(self.backbone["config"].get("antialias_in_interpolation", True))

    def check_image_sizes(self, name: str, sizes: Iterable[int]) -> None:
        patch, own = self.patch_size, self.backbone["config"].get("image_shape")
        wrong = [size for size in sizes if patch and size % patch and size != (own or [None])[0]]
        if patch and wrong:
            below, above = wrong[0] // patch * patch, -(-wrong[0] // patch) * patch
            raise ConfigError(
                f"preset {name} takes image sizes that are multiples of {patch}, got {wrong[0]}; use {below or above}"
                f" or {above + patch * (not below)}"
            )

    @property
    def scaling(self) -> PresetScaling:
        return PresetScaling(self.scale, self.offset, name="scaling")

    def save(self, file: Path) -> None:
        write_json(file, asdict(self))

    @classmethod
    def load(cls, file: Path) -> "Recipe":
        content = read_json(file)
        try:
            _Content.model_validate(content)
            return cls(**content)
        except (TypeError, ValueError):
            raise RunError(
                f"{file}, the description of the preset's backbone, is missing or damaged; restore a copy of it, or"
                " move the run folder away and train again"
            ) from None


@dataclass(frozen=True)
class Preset:
    """A recipe and its weights, empty if they were not read."""

    recipe: Recipe
    backbone: list[Any]
    pyramid: list[Any] = field(default_factory=list)
    """Weights of the feature pyramid; empty if the preset has none."""


# Reading a preset


def open_preset(read: Callable[[bool], Preset], pretrained: bool, file: Path | None) -> Preset:
    """The preset from its recipe in the run folder, or read with its weights when training starts.

    `read` takes whether to load weights.
    """
    if file is not None and not pretrained:
        return Preset(Recipe.load(file), [])
    preset = read(pretrained)
    if file is not None:
        preset.recipe.save(file)
    return preset


def load_backbone(settings: PresetSettings, kinds: PresetKinds, load_weights: bool = True) -> Any:
    """Read the backbone from a folder, from KerasHub's cache or from the internet."""
    check_preset_name(settings, kinds)
    model = _load(settings, load_weights and not settings.has_random_weights)
    if type(model).__name__.removesuffix("Backbone") not in kinds.names:
        raise ConfigError(f"preset {settings.preset} is not supported; {kinds.expected}")
    return model


def load_converter(settings: PresetSettings) -> Any:
    """The image converter, which defines how images are scaled."""
    place = place_of(settings)
    try:
        return keras_hub.layers.ImageConverter.from_preset(place)
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


def _load(settings: PresetSettings, load_weights: bool = True) -> Any:
    place = place_of(settings)
    try:
        return keras_hub.models.Backbone.from_preset(place, load_weights=load_weights)
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
