"""A model that only predicts. On processors its weights become constants of its graph, and each BatchNormalization part
of the convolution before it: what every call would compute anew is computed once. Only the rounding differs."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from podium.models.classifier import AsPredicting
from podium.models.devices import names_of_gpus

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
AT_ONCE = 2
"""Batches that are answered at the same time: the many small operations of one leave cores idle."""
PAYS_FROM = 256
"""Images. Below, making the graph anew takes longer than it saves."""


class Predictor:
    """The weights may not change while it is used."""

    def __init__(self, model: Any, images: int) -> None:
        """`images` is about how many it will see."""
        self.model = model
        self._folded: Callable[[Any], Any] | None = None
        if images >= PAYS_FROM and not names_of_gpus():
            self._folded = _with_constants(model)

    def one_by_one(self, feed: Any) -> Iterator[NDArray[Any]]:
        """The answers to each batch of a data set."""
        if self._folded is None:
            for (images,) in feed:
                yield np.asarray(self.model.predict_on_batch(images))
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            begun: deque[Future[NDArray[Any]]] = deque()
            for (images,) in feed:
                begun.append(pool.submit(self._answer, images))
                if len(begun) > AT_ONCE:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()

    def _answer(self, images: Any) -> NDArray[Any]:
        assert self._folded is not None
        return np.asarray(self._folded(images))

    def all(self, feed: Any) -> NDArray[Any]:
        """The answers to a whole data set of batches, one after the other."""
        if self._folded is None:
            return np.asarray(self.model.predict(feed, verbose=0))
        return np.concatenate(list(self.one_by_one(feed)))


def _with_constants(model: Any) -> Callable[[Any], Any]:
    values = {id(variable): keras.ops.convert_to_numpy(variable) for variable in model.variables}
    for part in _parts(model):
        for convolution, normalization in _pairs(part):
            _fold(convolution, normalization, values)

    def answer(images: Any) -> Any:
        trainable, others = (
            [tf.constant(values[id(variable)]) for variable in some]
            for some in (model.trainable_variables, model.non_trainable_variables)
        )
        return model.stateless_call(trainable, others, images, training=False)[0]

    (taken,) = model.inputs
    # Called as it is, the function of every fold would warn of being traced again.
    folded: Callable[[Any], Any] = tf.function(answer).get_concrete_function(tf.TensorSpec(taken.shape, taken.dtype))
    return folded


def _parts(model: Any) -> Iterator[Any]:
    """The model, and the models in it."""
    yield model
    for layer in model.layers:
        inner = layer.model if isinstance(layer, AsPredicting) else layer
        if isinstance(inner, keras.Model):
            yield from _parts(inner)


def _pairs(model: Any) -> Iterator[tuple[Any, Any]]:
    """Each convolution whose outputs go to a BatchNormalization and nowhere else, with that layer."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    once = {id(layer) for layer in layers if len(layer._inbound_nodes) == 1}  # not shared: Keras does not say it aloud
    taken = Counter(id(tensor) for layer in layers for tensor in keras.tree.flatten(layer.input))
    taken.update(id(tensor) for tensor in model.outputs)
    makers = {id(layer.output): layer for layer in layers if isinstance(layer, CONVOLUTIONS) and id(layer) in once}
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.center and id(layer) in once:
            maker = makers.get(id(layer.input))
            if maker is not None and taken[id(layer.input)] == 1 and maker.activation is keras.activations.linear:
                yield maker, layer


def _fold(convolution: Any, normalization: Any, values: dict[int, NDArray[Any]]) -> None:
    """Put the factors of a normalization into the kernel before it, and leave it only something to add: then
    TensorFlow leaves out the product with one, which it does not do by itself for depthwise kernels."""

    def exact(variable: Any) -> NDArray[np.float64]:
        return values[id(variable)].astype(np.float64)

    def put(variable: Any, value: Any) -> None:
        old = values[id(variable)]
        values[id(variable)] = np.broadcast_to(value, old.shape).astype(old.dtype)

    factors = 1 / np.sqrt(exact(normalization.moving_variance) + normalization.epsilon)
    if normalization.scale:
        factors *= exact(normalization.gamma)
        put(normalization.gamma, 1.0)
    added = -exact(normalization.moving_mean)
    if convolution.use_bias:
        added += exact(convolution.bias)
        put(convolution.bias, 0.0)
    put(normalization.beta, exact(normalization.beta) + added * factors)
    put(normalization.moving_mean, 0.0)
    put(normalization.moving_variance, np.float32(1) - np.float32(normalization.epsilon))
    if isinstance(convolution, keras.layers.DepthwiseConv2D):
        put(convolution.kernel, exact(convolution.kernel) * factors.reshape(convolution.kernel.shape[2:]))
    elif isinstance(convolution, keras.layers.SeparableConv2D):
        put(convolution.pointwise_kernel, exact(convolution.pointwise_kernel) * factors)
    else:
        put(convolution.kernel, exact(convolution.kernel) * factors)
