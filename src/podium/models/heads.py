"""The last layers of a model, by the head of its target: from features to predictions.

All compute in float32, also with mixed precision: half precision rounds small probabilities to zero.
"""

from typing import Any

import keras
import numpy as np

from podium.config.loss import ArcFace, Loss
from podium.data.target import Target, Truth
from podium.data.targets import RegressionTarget
from podium.models.arcface import ClassAngles

LAST = "probabilities"
"""The name of the last layer with a kernel."""


def output_layers(target: Target, regularizer: Any, loss: Loss | None = None) -> list[Any]:
    """The layers that compute predictions from the head's features, in order."""

    def dense(units: int, activation: str | None) -> Any:
        return keras.layers.Dense(
            units, activation=activation, kernel_regularizer=regularizer, dtype="float32", name=LAST
        )

    if isinstance(loss, ArcFace):
        return [ClassAngles(len(target.outputs), loss.centres, loss.scale, regularizer, name=LAST)]
    if target.head == "ordinal":
        return [dense(1, None), OrderedClasses(len(target.outputs), name="ordered_classes")]
    if target.head in ("linear", "bounded"):
        activation = "sigmoid" if target.head == "bounded" else None
        return [dense(len(target.outputs), activation), TableUnits(name="table_units")]
    return [dense(len(target.outputs), target.head)]


def start_from_rows(model: Any, target: Target, truth: Truth) -> None:
    """Set what the last layer knows of the training rows before the first step."""
    last = model.layers[-1]
    if isinstance(last, TableUnits) and isinstance(target, RegressionTarget):
        offset, scale = target.offset_and_scale(truth)
        last.offset.assign(offset.astype(np.float32))
        last.scale.assign(scale.astype(np.float32))
    if isinstance(last, OrderedClasses):
        last.start_from_shares(target.prior(truth))


@keras.saving.register_keras_serializable("podium")
class TableUnits(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """From numbers near 0 to those of the competition's table: an offset and a scale that are not trained."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "dtype": "float32"})

    def build(self, input_shape: Any) -> None:
        shape = (input_shape[-1],)
        self.offset = self.add_weight(name="offset", shape=shape, initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones", trainable=False)
        super().build(input_shape)

    def call(self, numbers: Any) -> Any:
        return self.offset + self.scale * numbers

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@keras.saving.register_keras_serializable("podium")
class OrderedClasses(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Class probabilities from one score, by cumulative logits: that of "above class k" is the score minus the k-th of
    ascending thresholds, which are trained."""

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(**{**options, "dtype": "float32"})
        self.classes = classes

    def build(self, input_shape: Any) -> None:
        self.first = self.add_weight(name="first", shape=(), initializer="zeros")
        self.gaps = self.add_weight(name="gaps", shape=(self.classes - 2,), initializer="zeros")
        """Before softplus, which makes them positive."""
        super().build(input_shape)

    def start_from_shares(self, shares: Any) -> None:
        """Thresholds that give every class its share where the score is 0."""
        above = np.clip(1 - np.cumsum(shares)[:-1], 1e-3, 1 - 1e-3)
        thresholds = np.log1p(-above) - np.log(above)
        gaps = np.maximum(np.diff(thresholds), 0.05)
        self.first.assign(np.float32(thresholds[0]))
        self.gaps.assign(np.log(np.expm1(gaps)).astype(np.float32))

    def call(self, score: Any) -> Any:
        ops = keras.ops
        steps = ops.concatenate([ops.zeros((1,)), ops.cumsum(ops.softplus(self.gaps))])
        above = ops.sigmoid(score - (self.first + steps))
        certain = ops.ones_like(score)
        edges = ops.concatenate([certain, above, 0 * certain], axis=-1)
        return edges[:, :-1] - edges[:, 1:]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}
