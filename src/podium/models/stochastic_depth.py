"""Stochastic depth (Huang et al., 2016): while training, blocks are skipped at random for each image.

Later blocks are skipped more often: the probability rises evenly to that of the last one.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable("podium")
class StochasticDepth(keras.layers.Dropout):  # type: ignore[misc]  # Keras has no types
    """Drops the whole output of a block.

    ConvNeXt's own layer and most of KerasHub's have a random state that is not saved.
    """

    def call(self, features: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return features
        of_each_image = (None, *[1] * (len(features.shape) - 1))
        return keras.random.dropout(features, self.rate, noise_shape=of_each_image, seed=self.seed_generator)


def set_stochastic_depth(backbone: Any, rate: float) -> bool:
    """Set the probability of the last block of an EfficientNet or a model of KerasHub; False if it cannot be set."""
    layers = list(_layers_in_order(backbone))
    dropped = [layer for layer in layers if isinstance(layer, keras.layers.Dropout) and layer.noise_shape]
    for layer, own in zip(dropped, _rising(rate, len(dropped)), strict=True):
        layer.rate = own
    blocks = [layer for layer in layers if callable(getattr(layer, "drop_path", None))]
    for block, own in zip(blocks, _rising(rate, len(blocks)), strict=True):
        block._tracker.unlock()  # Keras locks what is built
        block.drop_path = StochasticDepth(own, name="drop_path", dtype=block.dtype_policy)
        block._tracker.lock()
    return bool(dropped or blocks)


def _layers_in_order(layer: Any) -> Iterator[Any]:
    """All layers inside, each before those inside it; `_flatten_layers` has those of a layer from the last on."""
    for part in layer._layers:
        yield part
        yield from _layers_in_order(part)


def with_stochastic_depth(convnext: Any, rate: float) -> Any:
    """A copy of a ConvNeXt: without stochastic depth, its blocks have a layer without effect in that place."""
    blocks = [layer.name for layer in convnext.layers if layer.name.endswith("_identity")]
    rates = dict(zip(blocks, _rising(rate, len(blocks)), strict=True))

    def clone(layer: Any) -> Any:
        if layer.name in rates:
            return StochasticDepth(rates[layer.name], name=layer.name)
        return type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(convnext, clone_function=clone)
    copy.set_weights(convnext.get_weights())
    return copy


def _rising(rate: float, blocks: int) -> list[float]:
    return [float(own) for own in np.linspace(0, rate, blocks + 1)[1:]]
