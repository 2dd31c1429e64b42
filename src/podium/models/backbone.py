"""Building a backbone from its row of the table, its weights, and freezing all but its end."""

import importlib
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from podium.config.backbones import BACKBONES, Backbone
from podium.config.member import BackboneSettings
from podium.config.stage import Unfreeze
from podium.errors import ConfigError, WeightsError
from podium.paths import kaggle_places

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours red, green and blue, from 0 to 1."""


@keras.saving.register_keras_serializable("podium")
class InputScaling(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Images of 0..255 as the backbone's family wants them, so that no step outside the model scales anything."""

    def __init__(self, scaling: str, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.scaling = scaling

    def call(self, images: Any) -> Any:
        images = keras.ops.cast(images, self.compute_dtype)
        if self.scaling == "tf":
            return images / 127.5 - 1.0
        if self.scaling == "torch":
            mean, deviation = (keras.ops.array(part, images.dtype) for part in (IMAGENET_MEAN, IMAGENET_DEVIATION))
            return (images / 255.0 - mean) / deviation
        if self.scaling == "caffe":
            return keras.ops.flip(images, axis=-1) - keras.ops.array([103.939, 116.779, 123.68], images.dtype)
        return images

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scaling": self.scaling}


def family_preprocessing(row: Backbone) -> Callable[..., Any]:
    """The family's own `preprocess_input`, which `InputScaling` must equal."""
    preprocess: Callable[..., Any] = importlib.import_module(row.family).preprocess_input
    return preprocess


def build_backbone(settings: BackboneSettings, image_size: int) -> Any:
    """The Keras model from scaled images to features, with the weights that the settings ask for."""
    row = BACKBONES[settings.name]
    constructor = getattr(importlib.import_module(row.package), settings.name.rpartition(".")[2])
    arguments: dict[str, Any] = {"include_top": False, "input_shape": (image_size, image_size, 3)}
    if settings.alpha is not None:
        arguments["alpha"] = settings.alpha
    file = weights_file(settings)
    named = None if settings.weights == "none" or file else settings.weights
    try:
        backbone = constructor(weights=named, **arguments)
    except Exception as error:  # Keras raises a bare Exception when a download fails
        if named is None:
            raise ConfigError(f"{settings.name} cannot be built at {image_size} pixels: {error}") from error
        raise WeightsError(_no_weights(settings, str(error).splitlines()[0])) from error
    if row.family == "keras.applications.efficientnet" and named is None:
        backbone = _scaled_for_imagenet(backbone)
    if file:
        load_weights(backbone, file, settings.name)
    return backbone


def weights_file(settings: BackboneSettings) -> Path | None:
    """Where the weights lie, if they lie in a file: on this machine, or where Kaggle mounts what is attached."""
    if settings.kaggle_source is None:
        return Path(settings.weights) if settings.weights_are_a_path else None
    places = [place / str(settings.kaggle_file) for place in kaggle_places(*settings.kaggle_source)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise WeightsError(
            f"{settings.weights} is not mounted: looked for {' and '.join(map(str, places))}; push to Kaggle, where it"
            " is attached, or give the path of a copy here: --set backbone.weights=FILE"
        )
    return found


def _scaled_for_imagenet(efficientnet: Any) -> Any:
    """With the second division that Keras adds to EfficientNet only where it fetches the ImageNet weights itself.

    Without it, a model trained from ImageNet and built anew for its own saved weights would see other images.
    """
    again = keras.layers.Rescaling([1 / math.sqrt(deviation) for deviation in IMAGENET_DEVIATION])

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        outputs = layer(*inputs, **options)
        return again(outputs) if isinstance(layer, keras.layers.Normalization) else outputs

    return keras.models.clone_model(efficientnet, call_function=call)


def load_weights(model: Any, path: Path, name: str) -> None:
    if not path.is_file():
        raise WeightsError(
            f"no weights at {path} for {name}; give a file that is there, or weights: imagenet (needs internet) or none"
        )
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"the weights {path} do not fit {name}: {reason} Expected weights of this backbone without its top,"
            " as keras save_weights writes them"
        ) from error


def _no_weights(settings: BackboneSettings, reason: str) -> str:
    return (
        f"the {settings.weights} weights of {settings.name} cannot be had ({reason[:160]}); three ways out: connect to"
        " the internet once (Keras keeps them), set backbone.weights to a file of them, or set it to none"
    )


def unfreeze(backbone: Any, settings: Unfreeze, freeze_batchnorm: bool) -> None:
    """Let the end of the backbone learn, as the stage says, and hold all before it.

    A BatchNormalization layer that is not trainable runs on its stored statistics, so holding it keeps those too. Some
    of KerasHub's layers have such layers inside.
    """
    backbone.trainable = True
    first = _first_learning(backbone, settings)
    for position, layer in enumerate(backbone.layers):
        layer.trainable = position >= first
        for part in layer._flatten_layers() if freeze_batchnorm else ():
            if isinstance(part, keras.layers.BatchNormalization):
                part.trainable = False


def settle_statistics(model: Any, images: Any) -> None:
    """Give every BatchNormalization the statistics of these images.

    Random weights come with statistics that belong to no image. Frozen at those, a deep backbone answers nearly the
    same whatever it sees; with these it tells images apart from the first step.
    """
    norms = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    before = [(norm.momentum, norm.trainable) for norm in norms]
    for norm in norms:
        norm.momentum, norm.trainable = 0.0, True
    model(images, training=True)
    for norm, (momentum, trainable) in zip(norms, before, strict=True):
        norm.momentum, norm.trainable = momentum, trainable


def all_layers(model: Any) -> list[Any]:
    """Those of the models inside it too."""
    return [
        part
        for layer in model.layers
        for part in ([layer, *all_layers(layer)] if hasattr(layer, "layers") else [layer])
    ]


def _first_learning(backbone: Any, settings: Unfreeze) -> int:
    layers = backbone.layers
    if settings.from_ is not None:
        for position, layer in enumerate(layers):
            if layer.name.startswith(settings.from_):
                return position
        blocks = list(dict.fromkeys(layer.name.split("_")[0] for layer in layers if layer.weights))
        raise ConfigError(
            f"unfreeze: no layer of {backbone.name} has a name that begins with {settings.from_!r};"
            f" its parts are {', '.join(blocks[:12])}{' …' if len(blocks) > 12 else ''}"
        )
    if settings.layers is not None:
        return len(layers) - math.ceil(len(layers) * settings.layers)
    assert settings.parameters is not None
    wanted, held = settings.parameters * backbone.count_params(), 0
    position = len(layers)
    while held < wanted:
        position -= 1
        held += layers[position].count_params()
    return position
