"""The detector: KerasHub's RetinaNet on a built-in backbone or on a preset, from uint8 images to boxes."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from podium.config.backbone_settings import BackboneSettings, PresetSettings
from podium.data.boxes import CORNERS
from podium.detection.config import LEVELS, DetectorSettings
from podium.detection.presets import read_preset
from podium.errors import ConfigError
from podium.models.backbone import build_backbone, scaling_of
from podium.models.classifier import BACKBONE
from podium.models.presets import open_preset

PRIOR_PROBABILITY = 0.01
"""Initial score of every anchor. Most anchors are background, whose loss would otherwise dominate."""
MIN_SCORE, MAX_IOU, MAX_DETECTIONS = 0.05, 0.5, 100
"""Detections of an image: their minimum score, the maximum IoU of two of them, their maximum number."""


def build_detector(
    settings: DetectorSettings, classes: int, image_size: int, *, pretrained: bool = True, recipe: Path | None = None
) -> "Detector":
    """With `pretrained=False` weights are random, to be loaded later. A preset's backbone is then built from the file
    `recipe`, which is written when it is built with the preset's weights."""
    if isinstance(settings.backbone, PresetSettings):
        pyramid = _preset_pyramid(settings.backbone, settings.levels, image_size, pretrained, recipe)
    else:
        pyramid = _named_pyramid(settings.backbone, settings.levels, image_size, pretrained)
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
        prediction_decoder=NonMaxSuppression(),
        name="detector",
    )
    # KerasHub sets this bias in the box head instead.
    _set_bias(detector.classification_head, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))
    _set_bias(detector.box_head, 0.0)
    return detector


def plain_detector(detector: Any) -> Any:
    """The same layers as a model that is never compiled, so that no optimizer is saved with it."""
    return keras.Model(detector.inputs, detector.outputs)


def _set_bias(head: Any, bias: float) -> None:
    variable = head.prediction_layer.bias
    variable.assign(np.full(variable.shape, bias, np.float32))


def _named_pyramid(backbone: BackboneSettings, levels: int, image_size: int, pretrained: bool) -> Any:
    if not pretrained:
        backbone = backbone.model_copy(update={"weights": "none"})
    model = build_backbone(backbone, image_size)
    return _pyramid(scaling_of(backbone), model, _level_outputs(model, backbone.name, image_size), levels, image_size)


def _preset_pyramid(backbone: PresetSettings, levels: int, image_size: int, pretrained: bool, file: Path | None) -> Any:
    """The same model with the preset's weights as without, so that a resumed or loaded model equals the original."""
    preset = open_preset(partial(read_preset, backbone, levels), pretrained, file)
    recipe = preset.recipe
    model = recipe.build(image_size, stochastic_depth=backbone.stochastic_depth)
    outputs = [model.pyramid_outputs[f"P{level}"] for level in LEVELS]
    _check_sizes(outputs, backbone.preset, image_size)
    pyramid = _pyramid(recipe.scaling, model, outputs, levels, image_size, **recipe.pyramid)
    if preset.backbone:
        model.set_weights(preset.backbone)
    if preset.pyramid:
        pyramid.feature_pyramid.set_weights(preset.pyramid)
    return pyramid


def _pyramid(
    scaling: Any, backbone: Any, outputs: list[Any], levels: int, image_size: int, use_p5: bool = False, **more: bool
) -> Any:
    return keras_hub.models.RetinaNetBackbone(
        image_encoder=_encoder(scaling, keras.Model(backbone.inputs, outputs, name=BACKBONE), image_size),
        min_level=LEVELS[0],
        max_level=levels,
        use_p5=use_p5,
        image_shape=(image_size, image_size, 3),
        **more,
    )


def _encoder(scaling: Any, features: Any, image_size: int) -> Any:
    """From images to features of three levels, in the form of KerasHub's image encoders."""
    images = keras.Input((image_size, image_size, 3), name="images")
    outputs = features(scaling(images))
    encoder = keras.Model(images, outputs, name="encoder")
    encoder.pyramid_outputs = {f"P{level}": output for level, output in zip(LEVELS, outputs, strict=True)}
    return encoder


def _check_sizes(outputs: list[Any], name: str, image_size: int) -> None:
    for level, output in zip(LEVELS, outputs, strict=True):
        expected = math.ceil(image_size / 2**level)
        if tuple(output.shape[1:3]) != (expected, expected):
            raise ConfigError(
                f"preset {name}: expected {expected} × {expected} features on level P{level} for images of {image_size}"
                f" pixels, got {output.shape[1]} × {output.shape[2]}; use another preset"
            )


def _level_outputs(backbone: Any, name: str, image_size: int) -> list[Any]:
    """The last output of each feature size, before the backbone downsamples."""
    found = {}
    for layer in backbone.layers:
        match tuple(getattr(layer.output, "shape", ())):
            case (_, height, width, _) if height == width:
                found[height] = layer.output
    sizes = [math.ceil(image_size / 2**level) for level in LEVELS]
    missing = [size for size in sizes if size not in found]
    if missing:
        raise ConfigError(
            f"{name} has no features of {missing[0]} pixels for images of {image_size}; use an image size that is a"
            " multiple of 32, or another backbone"
        )
    return [found[size] for size in sizes]


class Detector(keras_hub.models.RetinaNetObjectDetector):  # type: ignore[misc]  # Keras has no types
    """KerasHub's detector with targets in one array: left, top, right, bottom, class; rows of -1 are padding."""

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None, **options: Any) -> Any:
        targets = {"boxes": y[..., :CORNERS], "labels": y[..., CORNERS]}
        return super().compute_loss(x, targets, y_pred, sample_weight, **options)

    @property
    def features(self) -> Any:
        """The backbone."""
        return self.backbone.image_encoder.get_layer(BACKBONE)


class NonMaxSuppression(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Class-agnostic non-maximum suppression with the outputs of KerasHub's layer, one image at a time.

    KerasHub's layer is ten times slower than the detector itself, and inside a graph it does not select the best of
    thousands of boxes; TensorFlow's operation only looks at boxes above the minimum score.
    """

    bounding_box_format = "xyxy"

    def __init__(
        self, min_score: float = MIN_SCORE, max_iou: float = MAX_IOU, max_detections: int = MAX_DETECTIONS
    ) -> None:
        super().__init__(dtype="float32")
        self._min_score, self._max_iou, self._max_detections = min_score, max_iou, max_detections
        self.built = True

    def call(self, boxes: Any, logits: Any, images: Any = None) -> dict[str, Any]:
        """Select boxes, sorted by score. Values after the first `num_detections` of an image are meaningless."""
        boxes, scores = tf.cast(boxes, tf.float32), tf.sigmoid(tf.cast(logits, tf.float32))
        best = tf.reduce_max(scores, axis=-1)
        signature = (tf.TensorSpec([self._max_detections], tf.int32), tf.TensorSpec([], tf.int32))
        chosen, counts = tf.map_fn(self._select, (boxes, best), fn_output_signature=signature)
        return {
            "boxes": tf.gather(boxes, chosen, batch_dims=1),
            "confidence": tf.gather(best, chosen, batch_dims=1),
            "labels": tf.gather(tf.argmax(scores, axis=-1), chosen, batch_dims=1),
            "num_detections": counts,
        }

    def _select(self, image: tuple[Any, Any]) -> tuple[Any, Any]:
        boxes, scores = image
        chosen = tf.image.non_max_suppression(boxes, scores, self._max_detections, self._max_iou, self._min_score)
        count = tf.shape(chosen)[0]
        padded = tf.pad(chosen, [[0, self._max_detections - count]])
        return tf.ensure_shape(padded, [self._max_detections]), count
