"""Where a model looks: the parts of an image that speak for a class, and the features of images for a map of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from podium.data.images import Image
from podium.models.classifier import ClassifierParts, split_classifier
from podium.models.heads import LAST

_SMALLEST = 1e-7
_HEAT = 0.45
"""How much of the colour of the heat is mixed into an image."""
Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class Explainer:
    """Explains the predictions of a classifier with one input, the images."""

    model: Any

    def heat(self, images: Image, outputs: Sequence[int]) -> Floats32:
        """For each image, from 0 to 1, how much each place speaks for this output, at the size of the images.

        Grad-CAM (Selvaraju et al., 2017) for backbones that end with a map or with patches. Where only the class token
        is pooled, no gradient reaches the patches: then it is the size of the gradient at each pixel.
        """
        parts = split_classifier(self.model)
        heat = self._of_features(parts, images, outputs)
        if heat is None:
            heat = self._of_pixels(parts, images, outputs)
        size = images.shape[2], images.shape[1]
        return np.stack([_scaled(cv2.resize(each, size, interpolation=cv2.INTER_CUBIC)) for each in heat])

    def _of_features(self, parts: ClassifierParts, images: Image, outputs: Sequence[int]) -> Floats32 | None:
        features = parts.backbone(parts.scaling(keras.ops.convert_to_tensor(images)), training=False)
        with tf.GradientTape() as tape:
            tape.watch(features)
            score = _score(_head(parts, features), outputs)
        gradient = tape.gradient(score, features)
        values, slopes = (np.asarray(keras.ops.convert_to_numpy(part), np.float32) for part in (features, gradient))
        if values.ndim == 3:  # (images, tokens, channels): without the tokens before the patches
            side = int(np.sqrt(values.shape[1]))
            values, slopes = (part[:, -side * side :].reshape(len(part), side, side, -1) for part in (values, slopes))
        if values.ndim != 4 or not np.abs(slopes).max() > 0:
            return None
        weights = slopes.mean(axis=(1, 2), keepdims=True)
        return np.asarray(np.maximum((values * weights).sum(axis=-1), 0), np.float32)

    def _of_pixels(self, parts: ClassifierParts, images: Image, outputs: Sequence[int]) -> Floats32:
        inputs = keras.ops.cast(keras.ops.convert_to_tensor(images), "float32")
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            score = _score(_head(parts, parts.backbone(parts.scaling(inputs), training=False)), outputs)
        gradient = np.abs(keras.ops.convert_to_numpy(tape.gradient(score, inputs))).max(axis=-1)
        sigma = images.shape[1] / 32
        return np.stack([cv2.GaussianBlur(each, (0, 0), sigma) for each in gradient.astype(np.float32)])

    def features(self, images: Image) -> Floats32:
        """The input of the last layer."""
        model = keras.Model(self.model.inputs, self.model.get_layer(LAST).input)
        return np.asarray(keras.ops.convert_to_numpy(model([images], training=False)), np.float32)


def _head(parts: ClassifierParts, features: Any) -> Any:
    pooled = features if parts.pooling is None else parts.pooling(features)
    for layer in parts.head:
        pooled = layer(pooled, training=False) if "training" in layer._call_signature.parameters else layer(pooled)
    return pooled


def _score(predictions: Any, outputs: Sequence[int]) -> Any:
    """The logarithm of the probability of each image's output; it does not saturate as the probability does.

    With a single output, 0 is its absence.
    """
    if predictions.shape[-1] == 1:
        predictions = keras.ops.concatenate([1 - predictions, predictions], axis=-1)
    chosen = keras.ops.take_along_axis(predictions, keras.ops.convert_to_tensor(outputs)[:, None], axis=1)
    return keras.ops.sum(keras.ops.log(keras.ops.maximum(keras.ops.cast(chosen, "float32"), _SMALLEST)))


def _scaled(heat: Floats32) -> Floats32:
    heat = np.maximum(heat, 0)
    return np.asarray(heat / max(float(heat.max()), 1e-12), np.float32)


def overlay(image: Image, heat: Floats32) -> Image:
    """The image in grey, with the heat in colours."""
    grey = cv2.cvtColor(cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    share = (0.15 + _HEAT * heat)[..., None]
    return np.asarray(grey * (1 - share) + colours * share, np.uint8)
