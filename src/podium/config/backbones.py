"""The table of backbones: adding one is adding a row.

The table is plain data, so that a config is checked, and the nearest right name told, without importing Keras.
`podium.models.backbone` builds from it.
"""

from dataclasses import dataclass
from typing import Literal

Scaling = Literal["caffe", "none", "tf", "torch"]
"""How a family wants its pictures: `caffe` BGR less ImageNet's mean, `tf` -1..1, `torch` ImageNet's mean and deviation,
`none` 0..255 as they are, because the backbone scales inside itself."""


@dataclass(frozen=True)
class Backbone:
    package: Literal["efficientnet.tfkeras", "keras.applications"]
    module: str
    """The module whose `preprocess_input` is the family's own."""
    scaling: Scaling
    image_size: int
    """What its ImageNet weights were trained at."""
    minimum_size: int = 32
    widths: bool = False
    """Takes `alpha`, the width multiplier."""
    block: str = ""
    """The first layer's name of a late block, as an example of what `unfreeze: {from: …}` may say."""


def _keras(
    module: str,
    scaling: Scaling,
    sizes: dict[str, int],
    *,
    minimum_size: int = 32,
    widths: bool = False,
    block: str = "",
) -> dict[str, Backbone]:
    return {
        name: Backbone("keras.applications", module, scaling, size, minimum_size, widths, block)
        for name, size in sizes.items()
    }


_EFFICIENTNET_SIZES = {"B0": 224, "B1": 240, "B2": 260, "B3": 300, "B4": 380, "B5": 456, "B6": 528, "B7": 600}

BACKBONES: dict[str, Backbone] = {
    **_keras("xception", "tf", {"Xception": 299}, minimum_size=71, block="block13_sepconv1"),
    **_keras("vgg16", "caffe", {"VGG16": 224}, block="block5_conv1"),
    **_keras("vgg19", "caffe", {"VGG19": 224}, block="block5_conv1"),
    **_keras("resnet", "caffe", {"ResNet50": 224, "ResNet101": 224, "ResNet152": 224}, block="conv5_block1"),
    **_keras("resnet_v2", "tf", {"ResNet50V2": 224, "ResNet101V2": 224, "ResNet152V2": 224}, block="conv5_block1"),
    **_keras("inception_v3", "tf", {"InceptionV3": 299}, minimum_size=75, block="mixed8"),
    **_keras("inception_resnet_v2", "tf", {"InceptionResNetV2": 299}, minimum_size=75, block="block8_1"),
    **_keras("mobilenet", "tf", {"MobileNet": 224}, widths=True, block="conv_dw_12"),
    **_keras("mobilenet_v2", "tf", {"MobileNetV2": 224}, widths=True, block="block_14"),
    **_keras("mobilenet_v3", "none", {"MobileNetV3Small": 224, "MobileNetV3Large": 224}, widths=True),
    **_keras("densenet", "torch", {"DenseNet121": 224, "DenseNet169": 224, "DenseNet201": 224}, block="conv5_block1"),
    **_keras("nasnet", "tf", {"NASNetMobile": 224, "NASNetLarge": 331}, block="normal_conv_1"),
    **_keras(
        "efficientnet", "none", {f"EfficientNet{b}": size for b, size in _EFFICIENTNET_SIZES.items()}, block="block7a"
    ),
    **_keras(
        "efficientnet_v2",
        "none",
        {
            "EfficientNetV2B0": 224,
            "EfficientNetV2B1": 240,
            "EfficientNetV2B2": 260,
            "EfficientNetV2B3": 300,
            "EfficientNetV2S": 384,
            "EfficientNetV2M": 480,
            "EfficientNetV2L": 480,
        },
        block="block6a",
    ),
    **_keras("convnext", "none", {f"ConvNeXt{size}": 224 for size in ("Tiny", "Small", "Base", "Large", "XLarge")}),
    # The package `efficientnet`: the same architecture without scaling inside, and the noisy-student weights.
    **{
        f"efficientnet.EfficientNet{b}": Backbone("efficientnet.tfkeras", "model", "torch", size, block="block7a")
        for b, size in _EFFICIENTNET_SIZES.items()
    },
}

NOISY_STUDENT_PREFIX = "efficientnet."
