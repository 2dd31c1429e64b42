"""A preset of KerasHub as a detector's backbone.

The preset itself is read once, where a training begins. Its recipe, how the backbone is built and its images are
scaled, is kept in the run folder, and whatever is built afterwards is built from that: a training goes on, and a
trained detector is asked, also where the preset cannot be had any more.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import keras_hub

from podium.config.problems import nearest
from podium.detection.config import LEVELS, PresetSettings
from podium.errors import ConfigError, RunError, WeightsError
from podium.files import read_json, write_json
from podium.paths import kaggle_places

KINDS = ("CSPNet", "DenseNet", "EfficientNet", "ResNet", "RetinaNet")
"""Of KerasHub's backbones, those with features of all levels."""
_WHICH_SERVE = f"a detector needs features P3, P4 and P5, as presets of {', '.join(KINDS[:-1])} and {KINDS[-1]} have"
_NOT_KEPT = ("dtype", "build_config", "compile_config")
"""Of Keras's configs: in what precision it computes says the run, not the preset."""


@keras.saving.register_keras_serializable("podium")
class PresetScaling(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Images of 0..255 as a preset's image converter scales them, so that no step outside the model scales anything.

    Each number is one for all three colours, or one for each; None leaves that step out.
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
    """All of a preset but its weights."""

    backbone: dict[str, Any]
    """Keras's config of the backbone, of a RetinaNet that within it."""
    scale: Any
    offset: Any
    pyramid: dict[str, bool]
    """How the pyramid of a RetinaNet is built; empty where the preset has none."""

    def build(self, image_size: int) -> Any:
        """The backbone for images of this size, with random weights."""
        content = json.loads(json.dumps(self.backbone))  # Keras changes what it is given
        for key in {"image_shape", "input_shape"} & content["config"].keys():
            content["config"][key] = [image_size, image_size, 3]
        return keras.saving.deserialize_keras_object(content)

    @property
    def scaling(self) -> PresetScaling:
        return PresetScaling(self.scale, self.offset, name="scaling")

    def keep(self, file: Path) -> None:
        write_json(file, asdict(self))

    @classmethod
    def kept(cls, file: Path) -> "Recipe":
        content = read_json(file)
        try:
            return cls(**content)
        except TypeError:
            raise RunError(
                f"{file}, which says how the preset's backbone is built, is missing or says something else: put back a"
                " copy of it, or move that run folder away to train anew"
            ) from None


@dataclass(frozen=True)
class Preset:
    """What was read of one: the recipe, and its weights."""

    recipe: Recipe
    backbone: list[Any]
    pyramid: list[Any]
    """Empty where it has none."""


def read_preset(settings: PresetSettings, levels: int) -> Preset:
    """From the internet, from what KerasHub keeps of an earlier time, or from a folder; looked at for what a detector
    of so many levels needs."""
    place = place_of(settings)
    whole, converter = _backbone(settings, place), _converter(settings, place)
    is_retinanet = isinstance(whole, keras_hub.models.RetinaNetBackbone)
    backbone = whole.image_encoder if is_retinanet else whole
    missing = {f"P{level}" for level in LEVELS} - getattr(backbone, "pyramid_outputs", {}).keys()
    if missing:
        raise ConfigError(f"the preset {settings.preset} is a {type(backbone).__name__}: {_WHICH_SERVE}")
    if is_retinanet and (whole.min_level, whole.max_level) != (LEVELS[0], levels):
        raise ConfigError(
            f"the preset {settings.preset} is a RetinaNet of levels {whole.min_level} to {whole.max_level}, and this"
            f" detector's are {LEVELS[0]} to {levels}: "
            + (f"set levels to {whole.max_level}" if whole.min_level == LEVELS[0] else "take another preset")
        )
    recipe = Recipe(
        _plain(keras.saving.serialize_keras_object(backbone)),
        _plain(converter.scale),
        _plain(converter.offset),
        {key: bool(getattr(whole, key)) for key in ("use_p5", "use_fpn_batch_norm")} if is_retinanet else {},
    )
    return Preset(recipe, backbone.get_weights(), whole.feature_pyramid.get_weights() if is_retinanet else [])


def save_preset(settings: PresetSettings, folder: Path) -> None:
    """Keep the whole of it as a folder, which `backbone.preset` reads."""
    place = place_of(settings)
    _backbone(settings, place).save_to_preset(str(folder))
    _converter(settings, place).save_to_preset(str(folder))


def place_of(settings: PresetSettings) -> str:
    """As KerasHub takes it."""
    if settings.kaggle_source is not None:
        places = [place / settings.kaggle_folder for place in kaggle_places(*settings.kaggle_source)]
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise WeightsError(
                f"{settings.preset} is not mounted: looked for {' and '.join(map(str, places))}; push to Kaggle, where"
                " it is attached, or give a copy here: --set backbone.preset=FOLDER"
            )
        return str(found)
    if settings.is_fetched and "://" not in settings.preset:
        _check_name(settings.preset)
    return settings.preset


def _check_name(name: str) -> None:
    """Names that serve are told apart before anything is fetched."""
    models = keras_hub.models
    serving = sorted({name for kind in KINDS for name in getattr(models, f"{kind}Backbone").presets})
    if name in serving:
        return
    if name in models.Backbone.presets:
        raise ConfigError(f"KerasHub's preset {name} does not serve: {_WHICH_SERVE}")
    hint = f"; for the folder of that name say ./{name}" if Path(name).is_dir() else nearest(name, serving)
    raise ConfigError(f"{name!r} is not a preset of KerasHub's that serves a detector{hint}")


def _backbone(settings: PresetSettings, place: str) -> Any:
    try:
        return keras_hub.models.FeaturePyramidBackbone.from_preset(place)
    except Exception as error:  # of KerasHub, Keras, HDF5, and of whatever fetches
        if "is not a subclass" in str(error):
            raise ConfigError(f"the preset {settings.preset} does not serve: {_WHICH_SERVE}") from error
        raise WeightsError(_not_read(settings, error)) from error


def _converter(settings: PresetSettings, place: str) -> Any:
    """What does not say how its images are scaled could only be trained on by guessing."""
    try:
        return keras_hub.layers.ImageConverter.from_preset(place)
    except FileNotFoundError as error:
        raise WeightsError(
            f"the preset {settings.preset} has no image converter, which says how its images are scaled: save that"
            " beside it, such as keras_hub.layers.ResNetImageConverter(scale=1 / 255).save_to_preset(FOLDER)"
        ) from error
    except Exception as error:
        raise WeightsError(_not_read(settings, error)) from error


def _not_read(settings: PresetSettings, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
    if not settings.is_fetched:
        return f"the preset {settings.preset} cannot be read ({reason}); expected what KerasHub's save_to_preset writes"
    return (
        f"the preset {settings.preset} cannot be had ({reason}); two ways out: connect to the internet once (KerasHub"
        " keeps it), or set backbone.preset to a folder of it, here or at Kaggle (podium kernel push --weights)"
    )


def _plain(value: Any) -> Any:
    """As JSON gives it back, without what the run says itself."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items() if key not in _NOT_KEPT}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
