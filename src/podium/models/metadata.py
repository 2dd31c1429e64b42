"""The second input of a model: metadata, as features next to those of the image."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

METADATA = "metadata_features"
"""The name of the layer in a model."""


@keras.saving.register_keras_serializable("podium")
class MetadataFeatures(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Appends features of metadata to those of the image, by Dense layers.

    A number is scaled by the mean and the deviation of the training rows; where it is missing it is the mean, and a
    second feature is 1. A category has a feature of its own, so the kernel of the first Dense layer has an embedding of
    it. What no training row has, a category or a missing number, has no feature. These facts of the training rows are
    weights that are not trained, so they are saved and restored with the model. In float32: numbers may be large.
    """

    def __init__(
        self, sizes: Sequence[int], units: Sequence[int] = (), regularizer: Any = None, **options: Any
    ) -> None:
        """`sizes` has the number of categories of each column, 0 for numbers."""
        super().__init__(**{**options, "dtype": "float32"})
        self.sizes, self.units = list(sizes), list(units)
        self.regularizer = keras.regularizers.get(regularizer)
        self.dense = [
            keras.layers.Dense(count, activation="relu", kernel_regularizer=self.regularizer, dtype="float32")
            for count in self.units
        ]

    @property
    def _width(self) -> int:
        return sum(size or 2 for size in self.sizes)

    def build(self, input_shape: Any) -> None:
        count = len(self.sizes)
        self.offset = self.add_weight(name="offset", shape=(count,), initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=(count,), initializer="ones", trainable=False)
        self.known = self.add_weight(name="known", shape=(self._width,), initializer="ones", trainable=False)
        width = self._width
        for layer in self.dense:
            layer.build((None, width))
            width = layer.units
        super().build(input_shape)

    def start_from_rows(self, metadata: NDArray[np.float32]) -> None:
        """Set what the layer knows of the training rows, before the first step."""
        offset, scale, known = np.zeros(len(self.sizes)), np.ones(len(self.sizes)), []
        for position, size in enumerate(self.sizes):
            column = metadata[:, position].astype(np.float64)
            if size:
                known += np.isin(np.arange(size), column).tolist()
                continue
            numbers = column[~np.isnan(column)]
            known += [len(numbers) > 0, 0 < len(numbers) < len(column)]
            if len(numbers):
                offset[position], scale[position] = numbers.mean(), numbers.std() or 1.0
        for weight, value in ((self.offset, offset), (self.scale, scale), (self.known, np.array(known))):
            weight.assign(value.astype(np.float32))

    def call(self, inputs: Any) -> Any:
        features, metadata = inputs
        x = self.encode(metadata)
        for layer in self.dense:
            x = layer(x)
        return keras.ops.concatenate([features, x], axis=-1)

    def encode(self, metadata: Any) -> Any:
        """The features of the columns, before the Dense layers."""
        ops = keras.ops
        missing = ops.isnan(metadata)
        categories = ops.cast(ops.where(missing, -1.0, metadata), "int32")
        scaled = ops.where(missing, 0.0, (metadata - self.offset) / self.scale)
        parts = []
        for position, size in enumerate(self.sizes):
            column = slice(position, position + 1)
            if size:
                parts.append(ops.one_hot(categories[:, position], size))
            else:
                parts += [scaled[:, column], ops.cast(missing[:, column], "float32")]
        return ops.concatenate(parts, axis=-1) * self.known

    def compute_output_shape(self, input_shape: Any) -> Any:
        features, _ = input_shape
        return (features[0], features[-1] + (self.units[-1] if self.units else self._width))

    def get_config(self) -> dict[str, Any]:
        regularizer = keras.regularizers.serialize(self.regularizer) if self.regularizer else None
        return {**super().get_config(), "sizes": self.sizes, "units": self.units, "regularizer": regularizer}
