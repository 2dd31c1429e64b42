"""The detector: KerasHub's RetinaNet on a backbone of the table, from uint8 pictures to boxes."""

import math
from typing import Any

import keras
import keras_hub
import numpy as np

from podium.config.backbones import BACKBONES
from podium.config.detector import DetectorSettings
from podium.data.boxes import CORNERS
from podium.errors import ConfigError
from podium.models.backbone import InputScaling, build_backbone
from podium.models.classifier import BACKBONE

LEVELS = (3, 4, 5)
"""Of the backbone's features: 8, 16 and 32 times smaller than the picture."""
RARE = 0.01
"""How likely an object is anywhere, as the untrained head says: else the many places without one are all it learns."""
LEAST_SCORE, OVERLAP, MOST = 0.05, 0.5, 100
"""What is found: the least score, the IoU above which of two boxes the better one stays, and the most a picture."""


def build_detector(settings: DetectorSettings, classes: int, image_size: int, *, pretrained: bool = True) -> "Detector":
    backbone_settings = settings.backbone
    if not pretrained:
        backbone_settings = backbone_settings.model_copy(update={"weights": "none"})
    pyramid = keras_hub.models.RetinaNetBackbone(
        image_encoder=_encoder(build_backbone(backbone_settings, image_size), settings, image_size),
        min_level=LEVELS[0],
        max_level=settings.levels,
        use_p5=False,
        image_shape=(image_size, image_size, 3),
    )
    anchors = keras_hub.layers.AnchorGenerator(
        "xyxy",
        min_level=LEVELS[0],
        max_level=settings.levels,
        num_scales=settings.anchors.scales,
        aspect_ratios=list(settings.anchors.ratios),
        anchor_size=settings.anchors.size,
    )
    detector = Detector(
        backbone=pyramid,
        num_classes=classes,
        bounding_box_format="xyxy",
        anchor_generator=anchors,
        use_prediction_head_norm=settings.head.norm,
        pre_logits_num_conv_layers=settings.head.layers,
        prediction_decoder=keras_hub.layers.NonMaxSuppression(
            "xyxy", from_logits=True, iou_threshold=OVERLAP, confidence_threshold=LEAST_SCORE, max_detections=MOST
        ),
        name="detector",
    )
    # KerasHub gives the bias that says so to the boxes' head instead.
    _begin_at(detector.classification_head, -math.log((1 - RARE) / RARE))
    _begin_at(detector.box_head, 0.0)
    return detector


def plain_detector(detector: Any) -> Any:
    """The same layers as a model that is never compiled, to save: no optimizer hangs on it."""
    return keras.Model(detector.inputs, detector.outputs)


def _begin_at(head: Any, bias: float) -> None:
    variable = head.prediction_layer.bias
    variable.assign(np.full(variable.shape, bias, np.float32))


def _encoder(backbone: Any, settings: DetectorSettings, image_size: int) -> Any:
    """From pictures to the features of three levels, as KerasHub expects an image encoder."""
    features = keras.Model(backbone.inputs, _ends_of_levels(backbone, settings, image_size), name=BACKBONE)
    pictures = keras.Input((image_size, image_size, 3), name="pictures")
    scaled = InputScaling(BACKBONES[settings.backbone.name].scaling, name="scaling")(pictures)
    outputs = features(scaled)
    encoder = keras.Model(pictures, outputs, name="encoder")
    encoder.pyramid_outputs = {f"P{level}": output for level, output in zip(LEVELS, outputs, strict=True)}
    return encoder


def _ends_of_levels(backbone: Any, settings: DetectorSettings, image_size: int) -> list[Any]:
    """The last output of each size: what the backbone knows before it shrinks again."""
    found = {}
    for layer in backbone.layers:
        match tuple(getattr(layer.output, "shape", ())):
            case (_, height, width, _) if height == width:
                found[height] = layer.output
    sizes = [math.ceil(image_size / 2**level) for level in LEVELS]
    missing = [size for size in sizes if size not in found]
    if missing:
        raise ConfigError(
            f"{settings.backbone.name} has no features of {missing[0]} pixels at {image_size}: take pictures of a"
            " multiple of 32 pixels, or another backbone"
        )
    return [found[size] for size in sizes]


class Detector(keras_hub.models.RetinaNetObjectDetector):  # type: ignore[misc]
    """KerasHub's, that takes its targets as one array: left, top, right, bottom and class, rows of -1 for none."""

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None, **options: Any) -> Any:
        targets = {"boxes": y[..., :CORNERS], "labels": y[..., CORNERS]}
        return super().compute_loss(x, targets, y_pred, sample_weight, **options)

    @property
    def features(self) -> Any:
        """The backbone's own layers."""
        return self.backbone.image_encoder.get_layer(BACKBONE)
