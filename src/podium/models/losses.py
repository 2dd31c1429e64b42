"""The losses that models are trained with, from the settings of a member.

Each is a `keras.losses.Loss`, since a plain function would not work on several GPUs, with a value for every row.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from podium.config.loss import LOSSES, ArcFace, Asymmetric, Focal, Huber
from podium.config.member import MemberSettings
from podium.data.balance import class_weights
from podium.data.target import Target, Truth
from podium.models import arcface
from podium.models.heads import TableUnits

EPSILON = 1e-7
"""Probabilities nearer to 0 or 1 would have an infinite logarithm in float32."""


def training_loss(settings: MemberSettings, target: Target, model: Any, truth: Truth) -> keras.losses.Loss:
    """The loss of a model with the weights of the classes, which depend on the truth of the training rows."""
    loss = make_loss(settings, target, model)
    if settings.class_weights is None:
        return loss
    return ClassWeighted(of_rows(loss), class_weights(settings.class_weights, target, truth).tolist())


def of_rows(loss: keras.losses.Loss) -> keras.losses.Loss:
    """The same loss with a value for every row, not their mean."""
    return type(loss).from_config({**loss.get_config(), "reduction": "none"})


def make_loss(settings: MemberSettings, target: Target, model: Any) -> keras.losses.Loss:
    """The loss of a model, which has the scale of numbers in its last layer."""
    smoothing, loss = settings.label_smoothing, settings.loss
    if isinstance(model.layers[-1], TableUnits):
        name = loss.kind if loss else LOSSES[target.kind][0]
        offset, scale = (
            ops.convert_to_numpy(part).tolist() for part in (model.layers[-1].offset, model.layers[-1].scale)
        )
        return ScaledLoss(name, offset, scale, loss.delta if isinstance(loss, Huber) else 1.0)
    if isinstance(loss, ArcFace):
        return arcface.ArcFace(loss.margin, loss.scale, smoothing)
    if isinstance(loss, Asymmetric):
        return AsymmetricLoss(loss.gamma_negative, loss.gamma_positive, loss.margin)
    if isinstance(loss, Focal) and target.head == "sigmoid":
        given = {} if loss.alpha is None else {"apply_class_balancing": True, "alpha": loss.alpha}
        return keras.losses.BinaryFocalCrossentropy(gamma=loss.gamma, label_smoothing=smoothing, **given)
    if isinstance(loss, Focal):
        return keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=loss.gamma, label_smoothing=smoothing)
    match loss.kind if loss else LOSSES[target.kind][0]:
        case "categorical_crossentropy":
            return keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
        case "binary_crossentropy":
            return keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
        case "ordinal_crossentropy":
            return OrdinalCrossentropy()
        case _:
            return KullbackLeibler()


class ClassWeighted(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """A loss of rows, each weighted by its class, or each output of a row by whether it is no or yes.

    A row with shares of several classes has the weighted mean of their weights.
    """

    def __init__(self, loss: keras.losses.Loss, weights: Any, **options: Any) -> None:
        """`weights` are as those of `data.balance.class_weights`."""
        super().__init__(**options)
        self.loss, self.weights = loss, weights

    def call(self, truth: Any, predictions: Any) -> Any:
        weights = ops.convert_to_tensor(self.weights, dtype=truth.dtype)
        if len(weights.shape) == 1:
            return self.loss(truth, predictions) * ops.matmul(truth, weights)
        each_output = self.loss(truth[..., None], predictions[..., None])
        return ops.mean(each_output * (weights[0] * (1.0 - truth) + weights[1] * truth), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": self.loss, "weights": self.weights}


@keras.saving.register_keras_serializable("podium")
class ScaledLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """A loss of numbers on the scale near 0 and 1 that the model computes with before its last layer."""

    def __init__(
        self, kind: str, offset: Sequence[float], scale: Sequence[float], delta: float = 1.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.kind, self.offset, self.scale, self.delta = kind, list(offset), list(scale), delta

    def call(self, truth: Any, predictions: Any) -> Any:
        offset, scale = ops.convert_to_tensor(self.offset), ops.convert_to_tensor(self.scale)
        truth, predictions = ((part - offset) / scale for part in (truth, predictions))
        if self.kind == "binary_crossentropy":
            return keras.losses.binary_crossentropy(truth, predictions)
        if self.kind == "huber":
            return keras.losses.huber(truth, predictions, delta=self.delta)
        if self.kind == "mae":
            return keras.losses.mean_absolute_error(truth, predictions)
        return keras.losses.mean_squared_error(truth, predictions)

    def get_config(self) -> dict[str, Any]:
        own = {"kind": self.kind, "offset": self.offset, "scale": self.scale, "delta": self.delta}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("podium")
class AsymmetricLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """Binary cross-entropy with separate focusing of positives and negatives (Ridnik et al., 2021)."""

    def __init__(self, gamma_negative: float, gamma_positive: float, margin: float, **options: Any) -> None:
        super().__init__(**options)
        self.gamma_negative, self.gamma_positive, self.margin = gamma_negative, gamma_positive, margin

    def call(self, truth: Any, predictions: Any) -> Any:
        yes = ops.clip(predictions, EPSILON, 1.0 - EPSILON)
        shifted = ops.clip(predictions - self.margin, EPSILON, 1.0 - EPSILON)
        positive = truth * ops.power(1.0 - yes, self.gamma_positive) * ops.log(yes)
        negative = (1.0 - truth) * ops.power(shifted, self.gamma_negative) * ops.log(1.0 - shifted)
        return -ops.mean(positive + negative, axis=-1)

    def get_config(self) -> dict[str, Any]:
        own = {
            "gamma_negative": self.gamma_negative,
            "gamma_positive": self.gamma_positive,
            "margin": self.margin,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("podium")
class OrdinalCrossentropy(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """The binary cross-entropy of "above class k", averaged over the classes but the last."""

    def call(self, truth: Any, predictions: Any) -> Any:
        is_above, above = (_above(part) for part in (truth, predictions))
        return ops.mean(ops.binary_crossentropy(is_above, ops.clip(above, EPSILON, 1.0 - EPSILON)), axis=-1)


def _above(probabilities: Any) -> Any:
    """From the probability of each class to those of a higher class."""
    return 1.0 - ops.cumsum(probabilities, axis=-1)[:, :-1]


@keras.saving.register_keras_serializable("podium")
class KullbackLeibler(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """Keras's own clips probabilities, so that a wrong and sure prediction would not be corrected."""

    def call(self, truth: Any, predictions: Any) -> Any:
        entropy = -ops.sum(truth * ops.log(ops.maximum(truth, EPSILON)), axis=-1)
        return ops.categorical_crossentropy(truth, predictions) - entropy
