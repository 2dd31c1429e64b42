"""A small residual network that is trained from random weights in minutes on two CPU cores.

The networks of `keras.applications` need far more images than the demo has. This one has few layers, plain 3×3
convolutions, and BatchNormalization statistics that converge within a hundred steps.
"""

from typing import Any

import keras
from keras import layers

WIDTHS = (24, 32, 64, 128, 192)
MOMENTUM = 0.9


def build_small_resnet(
    include_top: bool = False, weights: None = None, input_shape: tuple[int, int, int] = (96, 96, 3), alpha: float = 1.0
) -> Any:
    """Has the signature of the functions of `keras.applications`, without top and pretrained weights."""
    if include_top or weights is not None:
        raise ValueError("SmallResNet has no top and no pretrained weights")
    images = keras.Input(input_shape)
    widths = [max(8, round(width * alpha)) for width in WIDTHS]
    features = layers.Activation("relu", name="stem_relu")(_conv_bn(images, widths[0], 2, "stem"))
    for number, width in enumerate(widths[1:], start=1):
        features = _block(features, width, f"block{number}")
    return keras.Model(images, features, name="small_resnet")


SmallResNet = build_small_resnet


def preprocess_input(images: Any) -> Any:
    return keras.applications.imagenet_utils.preprocess_input(images, data_format="channels_last", mode="tf")


def _block(features: Any, width: int, name: str) -> Any:
    """A residual block that halves the size; the shortcut averages, so that it uses every pixel."""
    pooled = layers.AveragePooling2D(2, padding="same", name=f"{name}_pool")(features)
    shortcut = _conv_bn(pooled, width, 1, f"{name}_shortcut", kernel=1)
    inner = layers.Activation("relu", name=f"{name}_relu1")(_conv_bn(features, width, 2, f"{name}_first"))
    inner = _conv_bn(inner, width, 1, f"{name}_second")
    return layers.Activation("relu", name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([inner, shortcut]))


def _conv_bn(features: Any, width: int, strides: int, name: str, kernel: int = 3) -> Any:
    convolution = layers.Conv2D(
        width, kernel, strides, "same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )
    return layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(convolution(features))
