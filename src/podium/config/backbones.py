"""The table of backbones; to add a backbone, add a row.

The table is plain data, so that configs are checked without importing Keras. `podium.models.backbone` builds models.
"""

from dataclasses import dataclass
from typing import Literal

Scaling = Literal["caffe", "none", "tf", "torch"]
"""The input of a family: `caffe` BGR minus ImageNet's mean, `tf` -1..1, `torch` ImageNet's mean and deviation, `none`
0..255, because the model scales its input itself."""


SMALLEST = 32
"""The smallest image size in pixels, for most families."""


@dataclass(frozen=True)
class Backbone:
    package: str
    """The module with the function that builds it; the function is the last part of the backbone's name."""
    family: str
    """The module with the family's `preprocess_input`."""
    scaling: Scaling
    inner_scaling: Scaling = "none"
    """What the model does itself, for three channels only."""
    minimum_size: int = SMALLEST
    widths: bool = False
    """Whether it has a width multiplier, `alpha`."""
    weights: tuple[str, ...] = ("imagenet",)
    """The names of its pretrained weights."""

    @property
    def has_stochastic_depth(self) -> bool:
        return "efficientnet" in self.family or "convnext" in self.family


def _keras(
    family: str,
    scaling: Scaling,
    *names: str,
    inner_scaling: Scaling = "none",
    minimum_size: int = SMALLEST,
    widths: bool = False,
) -> dict[str, Backbone]:
    row = Backbone("keras.applications", f"keras.applications.{family}", scaling, inner_scaling, minimum_size, widths)
    return dict.fromkeys(names, row)


BACKBONES: dict[str, Backbone] = {
    **_keras("xception", "tf", "Xception", minimum_size=71),
    **_keras("vgg16", "caffe", "VGG16"),
    **_keras("vgg19", "caffe", "VGG19"),
    **_keras("resnet", "caffe", "ResNet50", "ResNet101", "ResNet152"),
    **_keras("resnet_v2", "tf", "ResNet50V2", "ResNet101V2", "ResNet152V2"),
    **_keras("inception_v3", "tf", "InceptionV3", minimum_size=75),
    **_keras("inception_resnet_v2", "tf", "InceptionResNetV2", minimum_size=75),
    **_keras("mobilenet", "tf", "MobileNet", widths=True),
    **_keras("mobilenet_v2", "tf", "MobileNetV2", widths=True),
    **_keras("mobilenet_v3", "none", "MobileNetV3Small", "MobileNetV3Large", widths=True),
    **_keras("densenet", "torch", "DenseNet121", "DenseNet169", "DenseNet201"),
    **_keras("nasnet", "tf", "NASNetMobile", "NASNetLarge"),
    **_keras("efficientnet", "none", *(f"EfficientNetB{size}" for size in range(8))),
    **_keras("efficientnet_v2", "none", *(f"EfficientNetV2B{size}" for size in range(4)), inner_scaling="torch"),
    **_keras("efficientnet_v2", "none", *(f"EfficientNetV2{size}" for size in "SML")),
    **_keras(
        "convnext",
        "none",
        *(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
        inner_scaling="torch",
    ),
    # The package `efficientnet`: the same architectures without scaling, and the noisy-student weights.
    **{
        f"efficientnet.EfficientNetB{size}": Backbone(
            "efficientnet.tfkeras", "efficientnet.tfkeras", "torch", weights=("imagenet", "noisy-student")
        )
        for size in range(8)
    },
    # podium's own, to train from scratch in minutes.
    "SmallResNet": Backbone("podium.models.small_resnet", "podium.models.small_resnet", "tf", widths=True, weights=()),
}

MILLIONS_OF_PARAMETERS: dict[str, float] = {
    "Xception": 20.9, "VGG16": 14.7, "VGG19": 20.0, "ResNet50": 23.6, "ResNet101": 42.7, "ResNet152": 58.4,
    "ResNet50V2": 23.6, "ResNet101V2": 42.6, "ResNet152V2": 58.3, "InceptionV3": 21.8, "InceptionResNetV2": 54.3,
    "MobileNet": 3.23, "MobileNetV2": 2.26, "MobileNetV3Small": 0.94, "MobileNetV3Large": 3, "DenseNet121": 7.04,
    "DenseNet169": 12.6, "DenseNet201": 18.3, "NASNetMobile": 4.27, "NASNetLarge": 84.9, "EfficientNetB0": 4.05,
    "EfficientNetB1": 6.58, "EfficientNetB2": 7.77, "EfficientNetB3": 10.8, "EfficientNetB4": 17.7,
    "EfficientNetB5": 28.5, "EfficientNetB6": 41.0, "EfficientNetB7": 64.1, "EfficientNetV2B0": 5.92,
    "EfficientNetV2B1": 6.93, "EfficientNetV2B2": 8.77, "EfficientNetV2B3": 12.9, "EfficientNetV2S": 20.3,
    "EfficientNetV2M": 53.1, "EfficientNetV2L": 117.8, "ConvNeXtTiny": 27.8, "ConvNeXtSmall": 49.5,
    "ConvNeXtBase": 87.6, "ConvNeXtLarge": 196.2, "ConvNeXtXLarge": 348.1, "efficientnet.EfficientNetB0": 4.05,
    "efficientnet.EfficientNetB1": 6.58, "efficientnet.EfficientNetB2": 7.77, "efficientnet.EfficientNetB3": 10.8,
    "efficientnet.EfficientNetB4": 17.7, "efficientnet.EfficientNetB5": 28.5, "efficientnet.EfficientNetB6": 41.0,
    "efficientnet.EfficientNetB7": 64.1, "SmallResNet": 0.89,
}  # fmt: skip
"""Of each backbone without its top."""


@dataclass(frozen=True)
class PresetKinds:
    """KerasHub backbones whose presets are supported, without the `Backbone` of their class names."""

    names: tuple[str, ...]
    reason: str = ""

    @property
    def expected(self) -> str:
        """The end of a message about another preset."""
        return f"expected a preset of {', '.join(self.names[:-1])} or {self.names[-1]}{self.reason}"


MEMBER_PRESETS = PresetKinds(
    (
        "CLIP", "CSPNet", "DeiT", "DenseNet", "DINOV2", "DINOV3", "EfficientNet", "HGNetV2", "MiT", "MobileNet",
        "MobileNetV5", "ResNet", "RetinaNet", "SigLIP", "VGG", "ViT", "Xception",
    )
)  # fmt: skip
"""Every image classifier, and other backbones of images; of CLIP, SigLIP and RetinaNet, the part that sees images."""
DETECTOR_PRESETS = PresetKinds(
    ("CSPNet", "DenseNet", "EfficientNet", "ResNet", "RetinaNet"), ", which have features P3, P4 and P5"
)
