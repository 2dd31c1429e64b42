"""The model of a member: input scaling, backbone, pooling, metadata and head, whatever it predicts.

Split into two parts for stages with a frozen backbone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from podium.config.backbone_settings import PresetSettings
from podium.config.member import Head, MemberSettings
from podium.config.reading import RGB
from podium.data.metadata import Metadata
from podium.data.target import Target
from podium.models.backbone import build_backbone, scaling_of
from podium.models.devices import ONE_DEVICE, Devices
from podium.models.dropout_samples import DropoutSamples
from podium.models.heads import output_layers
from podium.models.metadata import METADATA, MetadataFeatures

BACKBONE = "backbone"
"""The name of the backbone's layer in the model."""


@keras.saving.register_keras_serializable("podium")
class GeneralizedMeanPooling(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Generalized mean pooling (GeM): the exponent is trained, from 3; 1 is the average, infinity the maximum.

    Always in float32: a power of 3 exceeds the range of half precision.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "dtype": "float32"})

    def build(self, input_shape: Any) -> None:
        self.exponent = self.add_weight(name="exponent", shape=(), initializer=keras.initializers.Constant(3.0))
        super().build(input_shape)

    def call(self, features: Any) -> Any:
        exponent = keras.ops.clip(self.exponent, 1.0, 20.0)
        powers = keras.ops.power(keras.ops.maximum(features, 1e-6), exponent)
        return keras.ops.power(keras.ops.mean(powers, axis=(1, 2)), 1.0 / exponent)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[-1])


def build_classifier(
    settings: MemberSettings,
    target: Target,
    image_size: int,
    *,
    metadata: Metadata | None = None,
    pretrained: bool = True,
    devices: Devices = ONE_DEVICE,
    recipe: Path | None = None,
    channels: int = RGB,
) -> Any:
    """The model from uint8 images, and `metadata` if the member takes any, to predictions of the target.

    It is built for one image size, since the padding of several families depends on it. `pretrained=False` skips the
    backbone's weights, for a model that loads other weights. A preset's backbone is then built from the file `recipe`,
    which is written when it is built with the preset's weights.
    """
    with devices.scope():
        scaling, backbone = _scaling_and_backbone(settings, image_size, pretrained, recipe, channels)
        backbone.name = BACKBONE
        images = keras.Input((image_size, image_size, channels), dtype="uint8", name="images")
        features = _pool(backbone(scaling(images)), settings.head)
        regularizer = keras.regularizers.L2(settings.head.l2) if settings.head.l2 else None
        if metadata is None or settings.metadata is None:
            return devices.make_model(images, _apply_head(features, settings, target, regularizer), name="classifier")
        columns = keras.Input((len(metadata.columns),), name="metadata")
        join = MetadataFeatures(metadata.sizes, settings.metadata.units, regularizer, name=METADATA)
        outputs = _apply_head(join([features, columns]), settings, target, regularizer)
        return devices.make_model([images, columns], outputs, name="classifier")


def _scaling_and_backbone(
    settings: MemberSettings, image_size: int, pretrained: bool, recipe: Path | None, channels: int
) -> tuple[Any, Any]:
    backbone = settings.backbone
    if isinstance(backbone, PresetSettings):
        from podium.models.preset_backbone import build_preset  # imports KerasHub, which takes seconds

        sizes = [*(stage.image_size for stage in settings.stages), *settings.tta.image_sizes]
        return build_preset(
            backbone,
            image_size,
            settings.head.pooling,
            pretrained=pretrained,
            file=recipe,
            sizes=sizes,
            channels=channels,
        )
    if not pretrained:
        backbone = backbone.model_copy(update={"weights": "none"})
    return scaling_of(backbone, channels), build_backbone(backbone, image_size, channels)


def _pool(features: Any, head: Head) -> Any:
    pooling = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "gem": GeneralizedMeanPooling,
        "token": keras.layers.Identity,  # the backbone's output
    }[head.pooling]
    return pooling(name="pooling")(features)


def _apply_head(x: Any, settings: MemberSettings, target: Target, regularizer: Any) -> Any:
    layers, head = keras.layers, settings.head
    if head.batchnorm:
        x = layers.BatchNormalization(name="head_batchnorm")(x)
    for number, units in enumerate(head.dense):
        x = layers.Dense(units, activation="relu", kernel_regularizer=regularizer, name=f"head_dense_{number}")(x)
    if head.dropout_samples > 1:
        x = DropoutSamples(head.dropout, head.dropout_samples, name="head_dropout")(x)
    elif head.dropout:
        x = layers.Dropout(head.dropout, name="head_dropout")(x)
    for layer in output_layers(target, regularizer, settings.loss):
        x = layer(x)
    return x


class InferenceMode(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A model within another one that always runs with `training=False`.

    Calling it with that argument is not enough: an outer call with `training=True` overrides it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(name=f"{model.name}_inference_mode", dtype=model.dtype_policy, trainable=False)
        self.model = model

    def call(self, inputs: Any) -> Any:
        return self.model(inputs, training=False)


@dataclass(frozen=True)
class ClassifierParts:
    """The frozen layers of a classifier, and those that are trained.

    The frozen part runs in inference mode: its dropout and stochastic depth are off also during training.
    """

    images: Any
    metadata: Any | None
    """The second input, if the classifier has one."""
    scaling: Any
    backbone: Any
    pooling: Any | None
    """Pooling without weights is in the frozen part, since its output is many times smaller than its input."""
    head: list[Any]
    devices: Devices

    def feature_model(self) -> Any:
        """From images to features, for prediction."""
        return keras.Model(self.images, self._apply_frozen(), name="features")

    def head_model(self, feature_model: Any) -> Any:
        """From features to predictions, for training."""
        with self.devices.scope():
            (output,) = feature_model.outputs
            features = keras.Input(output.shape[1:], dtype=output.dtype, name="features")
            return self.devices.make_model(self._with_metadata(features), self._apply_head(features), name="head")

    def full_model(self) -> Any:
        """From images to predictions, for training."""
        with self.devices.scope():
            outputs = self._apply_head(self._apply_frozen())
            return self.devices.make_model(self._with_metadata(self.images), outputs, name="full")

    def _with_metadata(self, first: Any) -> Any:
        return first if self.metadata is None else [first, self.metadata]

    def _apply_frozen(self) -> Any:
        features = InferenceMode(self.backbone)(self.scaling(self.images))
        return features if self.pooling is None else self.pooling(features)

    def _apply_head(self, features: Any) -> Any:
        for layer in self.head:
            features = layer(self._with_metadata(features) if isinstance(layer, MetadataFeatures) else features)
        return features


def split_classifier(classifier: Any, devices: Devices = ONE_DEVICE) -> ClassifierParts:
    images, *more = classifier.inputs
    layers = (layer for layer in classifier.layers if not isinstance(layer, keras.layers.InputLayer))
    scaling, backbone, pooling, *head = layers
    frozen, trained = (None, [pooling, *head]) if pooling.weights else (pooling, head)
    return ClassifierParts(images, more[0] if more else None, scaling, backbone, frozen, trained, devices)
