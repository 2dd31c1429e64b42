"""ArcFace (Deng et al., https://arxiv.org/abs/1801.07698) and its sub-centres: classes as directions of the features,
which are trained with a margin between the angles."""

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("podium")
class ClassAngles(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Probabilities of the classes, from the angle between the features and the nearest of a class's centres.

    While training, the scaled cosines before the softmax, which `ArcFace` needs.
    """

    def __init__(self, classes: int, centres: int, scale: float, regularizer: Any = None, **options: Any) -> None:
        super().__init__(**{**options, "dtype": "float32"})
        self.classes, self.centres, self.scale = classes, centres, scale
        self.regularizer = keras.regularizers.get(regularizer)

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.classes * self.centres), regularizer=self.regularizer
        )
        super().build(input_shape)

    def call(self, features: Any, training: bool = False) -> Any:
        cosines = ops.matmul(ops.normalize(features, axis=-1), ops.normalize(self.kernel, axis=0))
        nearest = ops.max(ops.reshape(cosines, (-1, self.classes, self.centres)), axis=-1)
        return self.scale * nearest if training else ops.softmax(self.scale * nearest)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        own = {
            "classes": self.classes,
            "centres": self.centres,
            "scale": self.scale,
            "regularizer": keras.regularizers.serialize(self.regularizer),
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("podium")
class ArcFace(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """The cross-entropy of scaled cosines, after the angle to the row's own class was made larger by `margin`.

    Of a row with shares of several classes, each has its share of the margin.
    """

    def __init__(self, margin: float, scale: float, label_smoothing: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.margin, self.scale, self.label_smoothing = margin, scale, label_smoothing

    def call(self, truth: Any, scaled_cosines: Any) -> Any:
        cosines = ops.clip(scaled_cosines / self.scale, -1.0, 1.0)
        sines = ops.sqrt(ops.maximum(1.0 - ops.square(cosines), 1e-9))
        further = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        # Beyond 180° the cosine would rise again: a straight line continues it.
        beyond = cosines < -math.cos(self.margin)
        further = ops.where(beyond, cosines - self.margin * math.sin(self.margin), further)
        logits = scaled_cosines + truth * (self.scale * further - scaled_cosines)
        return keras.losses.categorical_crossentropy(
            truth, logits, from_logits=True, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        own = {"margin": self.margin, "scale": self.scale, "label_smoothing": self.label_smoothing}
        return {**super().get_config(), **own}
