"""The classifier: scaling, backbone, pooling, head; and the same layers in two parts, where the backbone is frozen."""

from dataclasses import dataclass
from typing import Any

import keras

from podium.config.backbones import BACKBONES
from podium.config.member import Head, MemberSettings
from podium.models.backbone import InputScaling, build_backbone
from podium.models.devices import ONE_DEVICE, Devices

BACKBONE = "backbone"
"""The name of the backbone's layer in the model."""


@keras.saving.register_keras_serializable("podium")
class GeneralizedMeanPooling(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Between the average (exponent 1) and the maximum (a large one); the exponent is learned, from 3.

    In float32 always: a power of 3 leaves half precision's range.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "dtype": "float32"})

    def build(self, input_shape: Any) -> None:
        self.exponent = self.add_weight(name="exponent", shape=(), initializer=keras.initializers.Constant(3.0))
        super().build(input_shape)

    def call(self, features: Any) -> Any:
        exponent = keras.ops.clip(self.exponent, 1.0, 20.0)
        lifted = keras.ops.power(keras.ops.maximum(features, 1e-6), exponent)
        return keras.ops.power(keras.ops.mean(lifted, axis=(1, 2)), 1.0 / exponent)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[-1])


def build_classifier(
    settings: MemberSettings,
    classes: int,
    image_size: int,
    *,
    pretrained: bool = True,
    devices: Devices = ONE_DEVICE,
) -> Any:
    """The model from uint8 images to class probabilities, to be trained on these devices.

    Built for one size, since the padding of several families depends on it. `pretrained=False` leaves the backbone's
    weights as they are drawn, for a model whose own weights are about to be loaded.
    """
    backbone_settings = settings.backbone
    if not pretrained:
        backbone_settings = backbone_settings.model_copy(update={"weights": "none"})
    with devices.scope():
        backbone = build_backbone(backbone_settings, image_size)
        backbone.name = BACKBONE
        images = keras.Input((image_size, image_size, 3), dtype="uint8", name="images")
        features = backbone(InputScaling(BACKBONES[settings.backbone.name].scaling, name="scaling")(images))
        return devices.model(images, _head(features, settings.head, classes), name="classifier")


def _head(features: Any, head: Head, classes: int) -> Any:
    layers = keras.layers
    pooling = {
        "avg": layers.GlobalAveragePooling2D,
        "max": layers.GlobalMaxPooling2D,
        "gem": GeneralizedMeanPooling,
    }[head.pooling]
    hidden = pooling(name="pooling")(features)
    if head.batchnorm:
        hidden = layers.BatchNormalization(name="head_batchnorm")(hidden)
    for number, units in enumerate(head.dense):
        hidden = layers.Dense(units, activation="relu", kernel_regularizer=_l2(head), name=f"head_dense_{number}")(
            hidden
        )
    if head.dropout:
        hidden = layers.Dropout(head.dropout, name="head_dropout")(hidden)
    # float32 also under mixed precision: a softmax in half precision loses the small probabilities.
    return layers.Dense(
        classes, activation="softmax", kernel_regularizer=_l2(head), dtype="float32", name="probabilities"
    )(hidden)


class AsPredicting(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A model within another one that computes as it does when predicting, also while the other one trains.

    `model(inputs, training=False)` alone would not do: a model that is called with `training` tells all its parts so.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(name=f"{model.name}_as_predicting", dtype=model.dtype_policy, trainable=False)
        self.model = model

    def call(self, inputs: Any) -> Any:
        return self.model(inputs, training=False)


@dataclass(frozen=True)
class Parts:
    """A classifier's layers: those that a frozen backbone keeps from learning, and those that may learn, in order.

    The frozen ones compute as they do when predicting, also while the others learn: what a backbone leaves out at
    random while it trains (Dropout, stochastic depth) is all there.
    """

    images: Any
    scaling: Any
    backbone: Any
    pooling: Any | None
    """Where it has no weights, it belongs to the frozen part: its output is many times smaller than its input."""
    head: list[Any]
    devices: Devices

    def features(self) -> Any:
        """The model from images to what the head takes, to predict with."""
        return keras.Model(self.images, self._frozen(), name="features")

    def head_alone(self, features: Any) -> Any:
        """The model from such features to probabilities, to be trained."""
        with self.devices.scope():
            taken = keras.Input(features.output_shape[1:], dtype=features.outputs[0].dtype, name="features")
            return self.devices.model(taken, self._learning(taken), name="head")

    def together(self) -> Any:
        """The model from images to probabilities, to be trained."""
        with self.devices.scope():
            return self.devices.model(self.images, self._learning(self._frozen()), name="together")

    def _frozen(self) -> Any:
        features = AsPredicting(self.backbone)(self.scaling(self.images))
        return features if self.pooling is None else self.pooling(features)

    def _learning(self, features: Any) -> Any:
        for layer in self.head:
            features = layer(features)
        return features


def parts_of(classifier: Any, devices: Devices = ONE_DEVICE) -> Parts:
    _, scaling, backbone, pooling, *head = classifier.layers
    if pooling.weights:
        return Parts(classifier.inputs[0], scaling, backbone, None, [pooling, *head], devices)
    return Parts(classifier.inputs[0], scaling, backbone, pooling, head, devices)


def _l2(head: Head) -> Any:
    return keras.regularizers.L2(head.l2) if head.l2 else None
