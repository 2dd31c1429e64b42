"""Multi-sample dropout (Inoue, 2019): several dropout masks for each row, and the mean of their losses."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("podium")
class DropoutSamples(keras.layers.Dropout):  # type: ignore[misc]  # Keras has no types
    """While training, repeats the rows of a batch `samples` times before the dropout, so that each has several masks.

    `MeanOverSamples` and `accuracy` bring the outputs and the targets together.
    """

    def __init__(self, rate: float, samples: int, **options: Any) -> None:
        super().__init__(rate, **options)
        self.samples = samples

    def call(self, features: Any, training: bool = False) -> Any:
        if not training:
            return features
        return super().call(ops.tile(features, (self.samples, 1)), training=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "samples": self.samples}


class MeanOverSamples(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """The mean of a loss of rows over the samples of each row."""

    def __init__(self, loss: keras.losses.Loss, **options: Any) -> None:
        super().__init__(**options)
        self.loss = loss

    def call(self, truth: Any, predictions: Any) -> Any:
        return _mean_over_samples(self.loss, truth, predictions)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": self.loss}


def accuracy(truth: Any, predictions: Any) -> Any:
    """Of each row, the share of samples that are right."""
    is_binary = truth.shape[-1] == 1
    right = keras.metrics.binary_accuracy if is_binary else keras.metrics.categorical_accuracy
    return _mean_over_samples(right, truth, predictions)


def _mean_over_samples(function: Callable[[Any, Any], Any], truth: Any, predictions: Any) -> Any:
    samples = ops.shape(predictions)[0] // ops.shape(truth)[0]  # one outside of training
    values = function(ops.tile(truth, (samples, 1)), predictions)
    return ops.mean(ops.reshape(values, (samples, -1)), axis=0)
