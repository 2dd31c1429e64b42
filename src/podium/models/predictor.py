"""A faster model for many predictions on a CPU.

Its weights are constants of the graph, and each BatchNormalization is folded into the convolution before it. Its
predictions differ from those of the model only by rounding.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from podium.models.classifier import InferenceMode
from podium.models.devices import gpu_names

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
CONCURRENT_BATCHES = 2
"""The many small operations of a single batch leave cores idle."""
MIN_IMAGES = 256
"""For fewer, tracing the graph again takes longer than it saves."""

Values = dict[int, NDArray[Any]]
"""The value of each variable, by the variable's id."""


class Predictor:
    """The weights of the model must not change while it is used."""

    def __init__(self, model: Any, images: int) -> None:
        """`images` is the approximate number of images that it will predict."""
        self._model = model
        self._folded = _fold(model) if images >= MIN_IMAGES and not gpu_names() else None

    def predict(self, dataset: Any) -> NDArray[Any]:
        """The predictions of all batches."""
        if self._folded is None:
            return np.asarray(self._model.predict(dataset, verbose=0))
        return np.concatenate(list(self.predict_batches(dataset)))

    def predict_batches(self, dataset: Iterable[tuple[Any]]) -> Iterator[NDArray[Any]]:
        """The predictions of each batch, in order."""
        if self._folded is None:
            for (inputs,) in dataset:
                yield np.asarray(self._model.predict_on_batch(inputs))
            return
        with ThreadPoolExecutor(CONCURRENT_BATCHES) as pool:
            running: deque[Future[NDArray[Any]]] = deque()
            for (inputs,) in dataset:
                running.append(pool.submit(self._folded, inputs))
                if len(running) > CONCURRENT_BATCHES:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()


def _fold(model: Any) -> Callable[[Any], NDArray[Any]]:
    values = {id(variable): keras.ops.convert_to_numpy(variable) for variable in model.variables}
    for part in _models_within(model):
        for convolution, normalization in _foldable_pairs(part):
            _fold_pair(convolution, normalization, values)

    def call(*inputs: Any) -> Any:
        trainable, non_trainable = (
            [tf.constant(values[id(variable)]) for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        )
        data = inputs if len(inputs) > 1 else inputs[0]
        return model.stateless_call(trainable, non_trainable, data, training=False)[0]

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    # Calling the tf.function itself would warn about retracing, once per fold.
    graph = tf.function(call).get_concrete_function(*specs)
    return lambda inputs: np.asarray(graph(*keras.tree.flatten(inputs)))


def _models_within(model: Any) -> Iterator[Any]:
    yield model
    for layer in model.layers:
        inner = layer.model if isinstance(layer, InferenceMode) else layer
        if isinstance(inner, keras.Model):
            yield from _models_within(inner)


def _foldable_pairs(model: Any) -> Iterator[tuple[Any, Any]]:
    """Each convolution whose output is used only by a BatchNormalization, with that layer."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    called_once = {id(layer) for layer in layers if len(layer._inbound_nodes) == 1}  # Keras has no public attribute
    steps = [step for step in getattr(model, "operations", layers) if not isinstance(step, keras.layers.InputLayer)]
    uses = Counter(id(tensor) for step in steps for tensor in keras.tree.flatten(step.input))
    uses.update(id(tensor) for tensor in model.outputs)
    convolutions = {
        id(layer.output): layer for layer in layers if isinstance(layer, CONVOLUTIONS) and id(layer) in called_once
    }
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.center and id(layer) in called_once:
            convolution = convolutions.get(id(layer.input))
            if convolution is not None and uses[id(layer.input)] == 1 and _is_linear(convolution):
                yield convolution, layer


def _is_linear(convolution: Any) -> bool:
    return convolution.activation is keras.activations.linear


def _fold_pair(convolution: Any, normalization: Any, values: Values) -> None:
    """Multiply the kernel by the factors of the normalization, which then only adds an offset.

    TensorFlow removes a multiplication by one, but does not fold it into depthwise kernels automatically.
    """

    def get(variable: Any) -> NDArray[np.float64]:
        return values[id(variable)].astype(np.float64)

    def put(variable: Any, value: Any) -> None:
        old = values[id(variable)]
        values[id(variable)] = np.broadcast_to(value, old.shape).astype(old.dtype)

    factors = 1 / np.sqrt(get(normalization.moving_variance) + normalization.epsilon)
    if normalization.scale:
        factors *= get(normalization.gamma)
        put(normalization.gamma, 1.0)
    offset = -get(normalization.moving_mean)
    if convolution.use_bias:
        offset += get(convolution.bias)
        put(convolution.bias, 0.0)
    put(normalization.beta, get(normalization.beta) + offset * factors)
    put(normalization.moving_mean, 0.0)
    put(normalization.moving_variance, np.float32(1) - np.float32(normalization.epsilon))
    if isinstance(convolution, keras.layers.DepthwiseConv2D):
        put(convolution.kernel, get(convolution.kernel) * factors.reshape(convolution.kernel.shape[2:]))
    elif isinstance(convolution, keras.layers.SeparableConv2D):
        put(convolution.pointwise_kernel, get(convolution.pointwise_kernel) * factors)
    else:
        put(convolution.kernel, get(convolution.kernel) * factors)
