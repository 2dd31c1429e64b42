"""Seeds, devices and precision: the one place where models are trained and asked that speaks to TensorFlow itself."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from podium.config.stage import Precision, Stage
from podium.models import feed

FIRST_WITH_TENSOR_CORES = (7, 0)
"""Compute capability. A T4 has 7.5; older GPUs gain nothing from half precision."""

OUT_OF_MEMORY = ("out of memory", "OUT_OF_MEMORY", "RESOURCE_EXHAUSTED", "ALLOC_FAILED", "Failed to allocate")
"""What is in the message where CUDA, cuDNN or XLA found that first, and TensorFlow gave it another name."""


def make_repeatable(seed: int) -> None:
    """Every later random number of Keras comes from the seed, whatever ran in this process before.

    On a CPU, TensorFlow's operations are made deterministic as well, which also keeps XLA away: so a prediction made
    right after training equals one made by another process. Not on a GPU, where some of them have no such
    form and the rest are slower.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def names_of_gpus() -> list[str]:
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def resolved(precision: Precision, on_processors: Callable[[], str] = lambda: "float32") -> str:
    """What `auto` means on this machine; without a GPU, what `on_processors` finds."""
    if precision != "auto":
        return precision
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    if not details:
        return on_processors()
    capable = [one.get("compute_capability", (0, 0)) >= FIRST_WITH_TENSOR_CORES for one in details]
    return "mixed_float16" if all(capable) else "float32"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether TensorFlow or Python failed for want of memory, whatever the error is called where it was noticed."""
    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        return True
    kinds = (tf.errors.InternalError, tf.errors.UnknownError, tf.errors.FailedPreconditionError, RuntimeError)
    return isinstance(error, kinds) and any(words in str(error) for words in OUT_OF_MEMORY)


@contextmanager
def precision_of(policy: str) -> Iterator[None]:
    """Layers and models made in this block compute so; their weights are float32 all the same."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class Devices:
    """What a model is made for: one device, or several that each take a part of every batch."""

    def __init__(self, names: Sequence[str]) -> None:
        self._strategy = tf.distribute.MirroredStrategy(list(names)) if len(names) > 1 else None

    def scope(self) -> AbstractContextManager[Any]:
        """Where models and their variables are made."""
        return self._strategy.scope() if self._strategy else nullcontext()

    def model(self, inputs: Any, outputs: Any, name: str) -> Any:
        return (SharedModel if self._strategy else keras.Model)(inputs, outputs, name=name)


ONE_DEVICE = Devices([])
ALONE = ("gradient_accumulation_steps", "ema_overwrite_frequency")
"""Arguments of an optimizer that make it decide at each step what to do, which Keras cannot on several devices."""
_found: dict[tuple[str, ...], Devices] = {}


def found(stages: Sequence[Stage]) -> Devices:
    """All GPUs that can train these stages together, or else one device: the first GPU, or the processors."""
    names = tuple(names_of_gpus())
    if any(map(_is_alone, stages)):
        return ONE_DEVICE
    if names not in _found:
        _found[names] = Devices(names)
    return _found[names]


def _is_alone(stage: Stage) -> bool:
    return any(stage.optimizer.arguments.get(name) is not None for name in ALONE)


def described(model: Any, stage: Stage) -> str:
    """On what it trains, where that is not the processors in float32."""
    count = len(names_of_gpus())
    if are_several(model):
        parts = [f"on {count} GPUs"]
    elif count > 1:
        why = f", since Keras cannot share {' or '.join(ALONE)}" if _is_alone(stage) else ""
        parts = [f"on one of {count} GPUs{why}"]
    else:
        parts = ["on the GPU"] * count
    parts += [f"in {model.dtype_policy.name}"] if model.dtype_policy.name != "float32" else []
    return "".join(f", {part}" for part in parts)


class SharedModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model that several devices train, each on its part of a batch, with the loss that one of them would have.

    Keras averages on each device and then over the devices. Where their parts differ in size, as in an epoch's last
    batch, that is another loss. Here rows count, each once. BatchNormalization that learns takes the statistics of each
    device's own part, as it does everywhere: with half the rows they are noisier. Those of the first device are kept.
    Dropout leaves out the same places on every device.
    """

    def compile(self, optimizer: Any, loss: Any, metrics: Sequence[Any], **options: Any) -> None:
        self._loss_of_rows = type(loss).from_config({**loss.get_config(), "reduction": "none"})
        for name in ("clipnorm", "global_clipnorm", "clipvalue"):
            limit = getattr(optimizer, name, None)
            if limit is not None:  # it clips what `train_step` hands it: the sum of the gradients, shared evenly
                setattr(optimizer, name, limit / self.distribute_strategy.num_replicas_in_sync)
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=list(metrics), **options)

    def train_step(self, data: Any) -> Any:
        images, targets, counts = data
        replica = tf.distribute.get_replica_context()
        devices = replica.num_replicas_in_sync
        with tf.GradientTape() as tape:
            answers = self(images, training=True)
            losses = self._loss_of_rows(targets, answers)
            penalty = tf.add_n(self.losses) if self.losses else tf.zeros((), losses.dtype)
            rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(counts))
            mine = tf.reduce_sum(losses * counts) / rows + penalty / devices
            scaled = self.optimizer.scale_loss(mine)
        weights = self.trainable_weights
        # Every device's optimizer clips its own gradients and, in half precision, the first one's alone says whether
        # any overflowed; only then are they summed. So they get the same ones here: equal shares of the sum.
        summed = replica.all_reduce(tf.distribute.ReduceOp.SUM, tape.gradient(scaled, weights))
        self.optimizer.apply_gradients([(one / devices, weight) for one, weight in zip(summed, weights, strict=True)])
        self._loss_tracker.update_state(losses + penalty, sample_weight=counts)
        return self.compute_metrics(images, targets, answers, sample_weight=counts)


def are_several(model: Any) -> bool:
    return isinstance(model, SharedModel)


def scope_of(model: Any) -> AbstractContextManager[Any]:
    """Where its optimizer and the optimizer's variables are made."""
    return model.distribute_strategy.scope() if are_several(model) else nullcontext()


def fed(model: Any, batches: feed.Batches) -> AbstractContextManager[Any]:
    """What its `fit` takes within the block: for several devices, every batch can be shared evenly.

    A short batch is then filled up with rows of its own that count nothing.
    """
    if not are_several(model):
        return feed.as_dataset(batches)
    return feed.as_dataset(batches, partial(_filled, parts=model.distribute_strategy.num_replicas_in_sync))


def on_each(model: Any, variable: Any) -> NDArray[Any]:
    """A variable's value on each device: those of metrics are summed up only when they are read."""
    parts = model.distribute_strategy.experimental_local_results(variable.value)
    return np.stack([part.numpy() for part in parts])


def put_on_each(model: Any, variable: Any, values: NDArray[Any]) -> None:
    parts = model.distribute_strategy.experimental_local_results(variable.value)
    for part, value in zip(parts, values, strict=True):
        part.assign(value)


def _filled(batch: tuple[Any, Any], parts: int) -> tuple[Any, Any, Any]:
    """With a weight for each row: 1, or 0 for those that only fill it up."""
    images, targets = batch
    missing = -len(images) % parts
    rows = np.arange(len(images) + missing) % len(images)
    counts = np.repeat(np.array([1, 0], np.float32), [len(images), missing])
    return images[rows], targets[rows], counts
