"""The detector: KerasHub's RetinaNet on a backbone of the table or of a preset, from uint8 images to boxes."""

import math
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np

from podium.config.backbones import BACKBONES
from podium.config.member import BackboneSettings
from podium.data.boxes import CORNERS
from podium.detection.best_boxes import BestBoxes
from podium.detection.config import LEVELS, DetectorSettings, PresetSettings
from podium.detection.presets import Recipe, read_preset
from podium.errors import ConfigError
from podium.models.backbone import InputScaling, build_backbone
from podium.models.classifier import BACKBONE

RARE = 0.01
"""How likely an object is anywhere, as the untrained head says: else the many places without one are all it learns."""
LEAST_SCORE, OVERLAP, MOST = 0.05, 0.5, 100
"""What is found: the least score, the IoU above which of two boxes the better one stays, and the most an image."""


def build_detector(
    settings: DetectorSettings, classes: int, image_size: int, *, pretrained: bool = True, recipe: Path | None = None
) -> "Detector":
    """`pretrained=False` leaves the weights random, for saved ones: a preset's backbone is then built from the file
    `recipe`, which is written where it is built with the preset's weights."""
    if isinstance(settings.backbone, PresetSettings):
        pyramid = _pyramid_of_preset(settings.backbone, settings.levels, image_size, pretrained, recipe)
    else:
        pyramid = _pyramid_of_table(settings.backbone, settings.levels, image_size, pretrained)
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
        prediction_decoder=BestBoxes(least_score=LEAST_SCORE, overlap=OVERLAP, most=MOST),
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


def _pyramid_of_table(backbone: BackboneSettings, levels: int, image_size: int, pretrained: bool) -> Any:
    if not pretrained:
        backbone = backbone.model_copy(update={"weights": "none"})
    model = build_backbone(backbone, image_size)
    scaling = InputScaling(BACKBONES[backbone.name].scaling, name="scaling")
    return _pyramid(scaling, model, _ends_of_levels(model, backbone.name, image_size), levels, image_size)


def _pyramid_of_preset(
    backbone: PresetSettings, levels: int, image_size: int, pretrained: bool, file: Path | None
) -> Any:
    """Built the same way with the preset's weights as without: what goes on, or is asked later, is the same model."""
    preset = read_preset(backbone, levels) if pretrained else None
    if preset is not None:
        recipe = preset.recipe
        if file is not None:
            recipe.keep(file)
    else:
        assert file is not None
        recipe = Recipe.kept(file)
    model = recipe.build(image_size)
    ends = [model.pyramid_outputs[f"P{level}"] for level in LEVELS]
    _check_sizes(ends, backbone.preset, image_size)
    pyramid = _pyramid(recipe.scaling, model, ends, levels, image_size, **recipe.pyramid)
    if preset is not None:
        model.set_weights(preset.backbone)
        if recipe.pyramid:
            pyramid.feature_pyramid.set_weights(preset.pyramid)
    return pyramid


def _pyramid(
    scaling: Any, backbone: Any, ends: list[Any], levels: int, image_size: int, use_p5: bool = False, **more: bool
) -> Any:
    return keras_hub.models.RetinaNetBackbone(
        image_encoder=_encoder(scaling, keras.Model(backbone.inputs, ends, name=BACKBONE), image_size),
        min_level=LEVELS[0],
        max_level=levels,
        use_p5=use_p5,
        image_shape=(image_size, image_size, 3),
        **more,
    )


def _encoder(scaling: Any, features: Any, image_size: int) -> Any:
    """From images to the features of three levels, as KerasHub expects an image encoder."""
    images = keras.Input((image_size, image_size, 3), name="images")
    outputs = features(scaling(images))
    encoder = keras.Model(images, outputs, name="encoder")
    encoder.pyramid_outputs = {f"P{level}": output for level, output in zip(LEVELS, outputs, strict=True)}
    return encoder


def _check_sizes(ends: list[Any], name: str, image_size: int) -> None:
    for level, end in zip(LEVELS, ends, strict=True):
        wanted = math.ceil(image_size / 2**level)
        if tuple(end.shape[1:3]) != (wanted, wanted):
            raise ConfigError(
                f"P{level} of the preset {name} has {end.shape[1]} × {end.shape[2]} places at {image_size} pixels, not"
                f" {wanted} × {wanted}: take another preset"
            )


def _ends_of_levels(backbone: Any, name: str, image_size: int) -> list[Any]:
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
            f"{name} has no features of {missing[0]} pixels at {image_size}: take images of a"
            " multiple of 32 pixels, or another backbone"
        )
    return [found[size] for size in sizes]


class Detector(keras_hub.models.RetinaNetObjectDetector):  # type: ignore[misc]  # Keras has no types
    """KerasHub's, that takes its targets as one array: left, top, right, bottom and class, rows of -1 for none."""

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None, **options: Any) -> Any:
        targets = {"boxes": y[..., :CORNERS], "labels": y[..., CORNERS]}
        return super().compute_loss(x, targets, y_pred, sample_weight, **options)

    @property
    def features(self) -> Any:
        """The backbone's own layers."""
        return self.backbone.image_encoder.get_layer(BACKBONE)
