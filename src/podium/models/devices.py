"""Seeds, precision and devices: training on several GPUs, and the differences between CPUs and GPUs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from podium.config.stage import Precision
from podium.models import feed

TENSOR_CORES = (7, 0)
"""The first compute capability with tensor cores; older GPUs are not faster in half precision."""
OUT_OF_MEMORY = ("out of memory", "OUT_OF_MEMORY", "RESOURCE_EXHAUSTED", "ALLOC_FAILED", "Failed to allocate")
"""In out-of-memory messages of CUDA, cuDNN and XLA that TensorFlow raises as other errors."""


def make_repeatable(seed: int) -> None:
    """Seed all random generators, and on a CPU make TensorFlow's operations deterministic.

    That also disables XLA, so a prediction right after training equals one made by another process. On a GPU some
    operations have no deterministic form and others are slower.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def gpu_names() -> list[str]:
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def gpu_models() -> list[str]:
    """What each GPU is, such as `Tesla T4`."""
    gpus = tf.config.list_physical_devices("GPU")
    return [str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus]


def resolve_precision(precision: Precision, on_cpu: Callable[[], str] = lambda: "float32") -> str:
    """What `auto` means on this machine; `on_cpu` decides without a GPU."""
    if precision != "auto":
        return precision
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    if not details:
        return on_cpu()
    have_tensor_cores = [gpu.get("compute_capability", (0, 0)) >= TENSOR_CORES for gpu in details]
    return "mixed_float16" if all(have_tensor_cores) else "float32"


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        return True
    kinds = (tf.errors.InternalError, tf.errors.UnknownError, tf.errors.FailedPreconditionError, RuntimeError)
    return isinstance(error, kinds) and any(words in str(error) for words in OUT_OF_MEMORY)


@contextmanager
def precision_scope(policy: str) -> Iterator[None]:
    """Layers built in this block compute in this precision; their weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class Devices:
    """One device, or several that each train on a part of every batch."""

    def __init__(self, names: Sequence[str]) -> None:
        self._strategy = tf.distribute.MirroredStrategy(list(names)) if len(names) > 1 else None

    def scope(self) -> AbstractContextManager[Any]:
        """The context in which models and their variables are built."""
        return self._strategy.scope() if self._strategy else nullcontext()

    def make_model(self, inputs: Any, outputs: Any, name: str) -> Any:
        return (DistributedModel if self._strategy else keras.Model)(inputs, outputs, name=name)


ONE_DEVICE = Devices([])


def all_devices() -> Devices:
    """All GPUs, or the CPU."""
    return _devices(tuple(gpu_names()))


@cache
def _devices(names: tuple[str, ...]) -> Devices:
    return Devices(names)


def describe_devices(model: Any) -> str:
    """For example ", on 2 GPUs, in mixed_float16"; empty on a CPU in float32."""
    count = len(gpu_names())
    if is_distributed(model):
        parts = [f"on {count} GPUs"]
    elif count > 1:
        parts = [f"on one of {count} GPUs"]
    else:
        parts = ["on the GPU"] * count
    parts += [f"in {model.dtype_policy.name}"] if model.dtype_policy.name != "float32" else []
    return "".join(f", {part}" for part in parts)


class DistributedModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model trained by several devices, each on its part of a batch, with the loss of a single device.

    Keras averages on each device and then over the devices, which is a different loss if their parts differ in size,
    as in the last batch of an epoch. Here every row has its own weight, 1 by default. Trainable BatchNormalization
    uses the statistics of each device's own part, which are noisier with fewer rows, and keeps those of the first
    device. Dropout is the same on every device.
    """

    def compile(self, optimizer: Any, loss: Any, metrics: Sequence[Any], **options: Any) -> None:
        self._row_loss = type(loss).from_config({**loss.get_config(), "reduction": "none"})
        for name in ("clipnorm", "global_clipnorm", "clipvalue"):
            limit = getattr(optimizer, name, None)
            if limit is not None:  # it clips the gradients from `train_step`: equal shares of the sum
                setattr(optimizer, name, limit / self.distribute_strategy.num_replicas_in_sync)
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=list(metrics), **options)

    def train_step(self, data: Any) -> Any:
        inputs, targets, row_weights = data
        replica = tf.distribute.get_replica_context()
        replicas = replica.num_replicas_in_sync
        with tf.GradientTape() as tape:
            outputs = self(inputs, training=True)
            losses = self._row_loss(targets, outputs)
            regularization = tf.add_n(self.losses) if self.losses else tf.zeros((), losses.dtype)
            is_row = tf.cast(row_weights > 0, losses.dtype)
            rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(is_row))
            losses *= row_weights
            loss = tf.reduce_sum(losses) / rows + regularization / replicas
            scaled_loss = self.optimizer.scale_loss(loss)
        weights = self.trainable_weights
        # The optimizer of each device clips its own gradients and, in half precision, only that of the first device
        # detects an overflow. So each gets the same gradients: an equal share of the sum.
        # That of an embedding has only some rows, and cannot be divided.
        own = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(scaled_loss, weights)]
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, own)
        shares = [gradient / replicas for gradient in gradients]
        self.optimizer.apply_gradients(list(zip(shares, weights, strict=True)))
        self._loss_tracker.update_state(losses + regularization, sample_weight=is_row)
        return self.compute_metrics(inputs, targets, outputs, sample_weight=is_row)


def is_distributed(model: Any) -> bool:
    return isinstance(model, DistributedModel)


def model_scope(model: Any) -> AbstractContextManager[Any]:
    """The context in which the optimizer of the model and its variables are built."""
    return model.distribute_strategy.scope() if is_distributed(model) else nullcontext()


def training_dataset(
    model: Any, batches: feed.Batches, note_waiting: Callable[[float], None] | None = None
) -> AbstractContextManager[Any]:
    """The batches for the model's `fit`.

    For several devices, a batch that cannot be divided evenly is padded with rows of weight 0. On one device,
    `note_waiting` is called with the seconds that each batch was waited for.
    """
    if not is_distributed(model):
        return feed.as_dataset(batches, note_waiting=note_waiting)
    return feed.as_dataset(batches, partial(_pad, parts=model.distribute_strategy.num_replicas_in_sync))


def device_values(model: Any, variable: Any) -> NDArray[Any]:
    """The value of a variable on each device; those of metrics are summed only when they are read."""
    parts = model.distribute_strategy.experimental_local_results(variable.value)
    return np.stack([part.numpy() for part in parts])


def assign_device_values(model: Any, variable: Any, values: NDArray[Any]) -> None:
    parts = model.distribute_strategy.experimental_local_results(variable.value)
    for part, value in zip(parts, values, strict=True):
        part.assign(value)


def _pad(batch: tuple[Any, ...], parts: int) -> tuple[Any, Any, Any]:
    inputs, targets, *weights = batch
    missing = -len(targets) % parts
    rows = np.arange(len(targets) + missing) % len(targets)
    row_weights = np.repeat(np.array([1, 0], np.float32), [len(targets), missing])
    if weights:
        row_weights *= weights[0][rows]
    return keras.tree.map_structure(lambda part: part[rows], inputs), targets[rows], row_weights
