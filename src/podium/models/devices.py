"""Seeds, devices and precision: the one place where models are trained and asked that speaks to TensorFlow itself."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from podium.config.member import Precision
from podium.data.batches import EpochBatches, worker_count

FIRST_WITH_TENSOR_CORES = (7, 0)
"""Compute capability. A T4 has 7.5; older GPUs gain nothing from half precision."""


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


def resolved(precision: Precision) -> str:
    """What `auto` means on this machine."""
    if precision != "auto":
        return precision
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    capable = [one.get("compute_capability", (0, 0)) >= FIRST_WITH_TENSOR_CORES for one in details]
    return "mixed_float16" if capable and all(capable) else "float32"


@contextmanager
def precision_of(precision: Precision) -> Iterator[None]:
    """Layers and models made in this block compute so; their weights are float32 all the same."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(resolved(precision))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class Devices:
    """What a training runs on: one device, or several that each take a part of every batch."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._strategy = tf.distribute.MirroredStrategy(self.names) if len(self.names) > 1 else None

    @property
    def are_several(self) -> bool:
        return self._strategy is not None

    def scope(self) -> AbstractContextManager[Any]:
        """Where models, optimizers and their variables are made."""
        return self._strategy.scope() if self._strategy else nullcontext()

    def model(self, inputs: Any, outputs: Any, name: str) -> Any:
        return (SharedModel if self.are_several else keras.Model)(inputs, outputs, name=name)

    def fed(self, batches: EpochBatches) -> Any:
        """What `fit` takes: the batches themselves, or with every one brought to a size that can be shared evenly."""
        return _even(batches, len(self.names)) if self.are_several else batches


_found: dict[tuple[str, ...], Devices] = {}


def found() -> Devices:
    """All GPUs, or else the processors as one device."""
    names = tuple(names_of_gpus())
    if names not in _found:
        _found[names] = Devices(names)
    return _found[names]


def described(model: Any) -> str:
    """On what it trains, where that is not one device in float32."""
    names = found().names
    parts = [f"on {len(names)} GPUs"] if len(names) > 1 else []
    parts += [f"in {model.dtype_policy.name}"] if model.dtype_policy.name != "float32" else []
    return "".join(f", {part}" for part in parts)


class SharedModel(keras.Model):  # type: ignore[misc]
    """A model that several devices train, each on its part of a batch, with the loss that one of them would have.

    Keras averages on each device and then over the devices. Where their parts differ in size, as in an epoch's last
    batch, that is another loss. Here rows count, each once. BatchNormalization that learns takes the statistics of each
    device's own part, as it does everywhere: with half the rows they are noisier.
    """

    def compile(self, optimizer: Any, loss: Any, metrics: Sequence[Any], **options: Any) -> None:
        self._loss_of_rows = type(loss).from_config({**loss.get_config(), "reduction": "none"})
        for name in ("clipnorm", "global_clipnorm", "clipvalue"):
            limit = getattr(optimizer, name, None)
            if limit is not None:  # of the equal shares that `train_step` hands it
                setattr(optimizer, name, limit / self.distribute_strategy.num_replicas_in_sync)
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=list(metrics), **options)

    def train_step(self, data: Any) -> Any:
        pictures, targets, counts = data
        replica = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            answers = self(pictures, training=True)
            losses = self._loss_of_rows(targets, answers)
            penalty = tf.add_n(self.losses) if self.losses else tf.zeros((), losses.dtype)
            rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(counts))
            mine = tf.reduce_sum(losses * counts) / rows + penalty / replica.num_replicas_in_sync
            scaled = self.optimizer.scale_loss(mine)
        weights = self.trainable_weights
        # Keras sums gradients over the devices only after each has clipped its own, and after the first alone has said
        # whether half precision overflowed. So each gets the same ones: equal shares of the sum.
        summed = replica.all_reduce(tf.distribute.ReduceOp.SUM, tape.gradient(scaled, weights))
        shares = [one / replica.num_replicas_in_sync for one in summed]
        self.optimizer.apply_gradients(zip(shares, weights, strict=True))
        self._loss_tracker.update_state(losses + penalty, sample_weight=counts)
        return self.compute_metrics(pictures, targets, answers, sample_weight=counts)


def _even(batches: EpochBatches, parts: int) -> Any:
    """In the same order, as a `tf.data.Dataset`: Keras's own way to feed a PyDataset to several devices mixes it up.

    A short batch is filled up with rows of its own that count nothing.
    """
    kinds = [np.asarray(part) for part in _filled(batches[0], parts)]

    def load(number: Any) -> Any:
        loaded = tf.numpy_function(
            lambda index: _filled(batches[int(index)], parts), [number], [part.dtype for part in kinds], stateful=False
        )
        for part, kind in zip(loaded, kinds, strict=True):
            part.set_shape((None, *kind.shape[1:]))
        return tuple(loaded)

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    loaded = tf.data.Dataset.range(len(batches)).map(load, num_parallel_calls=worker_count(), deterministic=True)
    return loaded.with_options(options).prefetch(2)


def _filled(batch: tuple[Any, Any], parts: int) -> tuple[Any, Any, Any]:
    """With a weight for each row: 1, or 0 for those that only fill it up."""
    pictures, targets = batch
    missing = -len(pictures) % parts
    rows = np.arange(len(pictures) + missing) % len(pictures)
    counts = np.repeat(np.array([1, 0], np.float32), [len(pictures), missing])
    return pictures[rows], targets[rows], counts
