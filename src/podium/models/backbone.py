"""Backbones with input scaling inside the model, their weights, and which of their layers are trained."""

import importlib
import math
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras

from podium.config.backbone_settings import BackboneSettings
from podium.config.backbones import BACKBONES
from podium.config.reading import RGB
from podium.config.stage import Unfreeze
from podium.errors import ConfigError, WeightsError
from podium.models.channels import for_channels, spread_channels
from podium.models.stochastic_depth import set_stochastic_depth, with_stochastic_depth
from podium.models.weights import find_weights_file, missing_weights

_BLOCKS = ("encoder_layers", "layers", "stages_list")
"""The attributes with the blocks of KerasHub's encoders."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""For RGB values from 0 to 1."""


@keras.saving.register_keras_serializable("podium")
class InputScaling(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Scales images of 0 to 255 as the family's `preprocess_input` does, so the model takes unscaled images.

    For other than three channels each is scaled by the mean of the three.
    """

    def __init__(self, scaling: str, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.scaling = scaling

    def call(self, images: Any) -> Any:
        images = keras.ops.cast(images, self.compute_dtype)
        channels = images.shape[-1]
        if self.scaling == "tf":
            return images / 127.5 - 1.0
        if self.scaling == "torch":
            mean, std = (for_channels(values, channels, images.dtype) for values in (IMAGENET_MEAN, IMAGENET_STD))
            return (images / 255.0 - mean) / std
        if self.scaling == "caffe":
            ordered = keras.ops.flip(images, axis=-1) if channels == RGB else images
            return ordered - for_channels((103.939, 116.779, 123.68), channels, images.dtype)
        return images

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scaling": self.scaling}


def scaling_of(settings: BackboneSettings, channels: int = RGB) -> InputScaling:
    """The scaling of the backbone's input."""
    row = BACKBONES[settings.name]
    inner = row.inner_scaling if channels != RGB else "none"
    return InputScaling(row.scaling if inner == "none" else inner, name="scaling")


def build_backbone(settings: BackboneSettings, image_size: int, channels: int = RGB) -> Any:
    """The Keras model from scaled images to features, with its weights."""
    if channels != RGB and not settings.has_random_weights:
        model = build_backbone(settings.model_copy(update={"weights": "none"}), image_size, channels)
        trained = build_backbone(settings, image_size)
        is_flipped = BACKBONES[settings.name].scaling == "caffe"
        for weight, value in zip(model.weights, map(keras.ops.convert_to_numpy, trained.weights), strict=True):
            weight.assign(spread_channels(value, weight.shape, settings.channels, is_flipped=is_flipped))
        use_assigned_statistics(model)
        return model
    row = BACKBONES[settings.name]
    build = getattr(importlib.import_module(row.package), settings.name.rpartition(".")[2])
    arguments: dict[str, Any] = {"include_top": False, "input_shape": (image_size, image_size, channels)}
    if settings.alpha is not None:
        arguments["alpha"] = settings.alpha
    if channels != RGB and row.inner_scaling != "none":
        arguments["include_preprocessing"] = False
    file = find_weights_file(settings)
    named = None if settings.weights == "none" or file else settings.weights
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This model usually expects 1 or 3 input channels")
            backbone = build(weights=named, **arguments)
    except Exception as error:  # Keras raises a bare Exception if a download fails
        if named is None:
            raise ConfigError(f"cannot build {settings.name} at {image_size} pixels: {error}") from error
        raise WeightsError(
            f"cannot load the {settings.weights} weights of {settings.name} ({str(error).splitlines()[0][:160]});"
            " connect to the internet once (Keras caches them), set backbone.weights to a file of them, or set it to"
            " none"
        ) from error
    if row.family == "keras.applications.efficientnet" and named is None:
        backbone = _add_imagenet_rescaling(backbone, channels)
    if file:
        load_weights(backbone, file, settings.name)
    rate = settings.stochastic_depth
    if rate is not None and not set_stochastic_depth(backbone, rate):
        backbone = with_stochastic_depth(backbone, rate)
    return backbone


def _add_imagenet_rescaling(efficientnet: Any, channels: int) -> Any:
    """Add the second rescaling that Keras adds to EfficientNet only if it loads the ImageNet weights by name.

    Otherwise a model fine-tuned from ImageNet would scale images differently when it is rebuilt to load its weights.
    """
    factors = [1 / math.sqrt(std) for std in IMAGENET_STD]
    rescaling = keras.layers.Rescaling(factors if channels == RGB else sum(factors) / RGB)

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        outputs = layer(*inputs, **options)
        return rescaling(outputs) if isinstance(layer, keras.layers.Normalization) else outputs

    return keras.models.clone_model(efficientnet, call_function=call)


def use_assigned_statistics(model: Any) -> None:
    """A Normalization layer computes with copies of its variables, and does not notice that they were assigned."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def load_weights(model: Any, path: Path, name: str) -> None:
    if not path.is_file():
        raise WeightsError(missing_weights(name, path))
    try:
        with warnings.catch_warnings():
            # From Keras 3.15 on; layers in the container would keep their random weights.
            warnings.filterwarnings("error", "Skipping nested container")
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"the weights {path} do not fit {name}: {str(error).splitlines()[0]} Expected weights of this backbone"
            " without its top, saved by Keras's save_weights"
        ) from error


def unfreeze(backbone: Any, settings: Unfreeze, freeze_batchnorm: bool) -> None:
    """Make the end of the backbone trainable and freeze the rest.

    A frozen BatchNormalization layer runs in inference mode, so its statistics do not change either. Some layers of
    KerasHub contain other layers.
    """
    for trainable in (False, True):  # setting the value that it has does not reach the layers within
        backbone.trainable = trainable
    layers = layers_in_order(backbone)
    first = _first_trainable(backbone, layers, settings)
    for position, layer in enumerate(layers):
        layer.trainable = position >= first
        for part in layer._flatten_layers() if freeze_batchnorm else ():
            if isinstance(part, keras.layers.BatchNormalization):
                part.trainable = False


def layers_in_order(backbone: Any) -> list[Any]:
    """The layers of the backbone, with the blocks of a transformer's encoder instead of the encoder."""
    return [
        part
        for layer in backbone.layers
        for part in (_layers_within(layer) if any(hasattr(layer, name) for name in _BLOCKS) else [layer])
    ]


def layer_groups(backbone: Any) -> dict[str, list[Any]]:
    """The layers with weights, in order, by the name of their block.

    A layer without a name of its own (`conv2d_3`), such as one of a shortcut, belongs to the block before it.
    """
    groups: dict[str, list[Any]] = {}
    block = ""
    for layer in layers_in_order(backbone):
        if _layers_within(layer):
            block = layer.name
        elif re.sub(r"_\d+$", "", layer.name).replace("_", "") != type(layer).__name__.lower():
            block = re.sub(r"^([^_]+(_\d+)?).*", r"\1", layer.name)  # block5a of block5a_conv, block_3 of block_3_conv
        if layer.weights:
            groups.setdefault(block or layer.name, []).append(layer)
    return groups


def _layers_within(layer: Any) -> list[Any]:
    return list(layer._flatten_layers(include_self=False, recursive=False))


def _first_trainable(backbone: Any, layers: list[Any], settings: Unfreeze) -> int:
    """The position of the first trainable layer."""
    if settings.from_ is not None:
        for position, layer in enumerate(layers):
            if layer.name.startswith(settings.from_):
                return position
        blocks = list(layer_groups(backbone))
        raise ConfigError(
            f"unfreeze: {backbone.name} has no layer whose name starts with {settings.from_!r}; expected one of"
            f" {', '.join(blocks[:16])}{', …' if len(blocks) > 16 else ''}"
        )
    if settings.layers is not None:
        return len(layers) - math.ceil(len(layers) * settings.layers)
    assert settings.parameters is not None
    required, counted = settings.parameters * backbone.count_params(), 0
    position = len(layers)
    while counted < required:
        position -= 1
        counted += layers[position].count_params()
    return position


def initialize_batchnorm(model: Any, inputs: Any) -> None:
    """Set the statistics of every BatchNormalization layer to those of these images.

    With the initial statistics, a deep frozen backbone with random weights outputs nearly the same for every image.
    """
    layers = model._flatten_layers(include_self=False)
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [(norm.momentum, norm.trainable) for norm in norms]
    for norm in norms:
        norm.momentum, norm.trainable = 0.0, True
    model(inputs, training=True)
    for norm, (momentum, trainable) in zip(norms, before, strict=True):
        norm.momentum, norm.trainable = momentum, trainable
