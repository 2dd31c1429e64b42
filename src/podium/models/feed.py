"""Batches as TensorFlow takes them: made ahead by threads of their own, in their order."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from podium.paths import worker_count

AHEAD = 4
"""Batches that wait for the model."""


class Batches(Protocol):
    epoch: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, ...]: ...


@contextmanager
def fed(batches: Batches, formed: Callable[[Any], tuple[Any, ...]] = tuple) -> Iterator[Any]:
    """A `tf.data.Dataset` of the batches, each `formed`, for a model's `fit` or `predict` within the block.

    What goes wrong while one is made comes out of the block as itself, not as TensorFlow's account of it.
    """
    failed: list[BaseException] = []
    first = {batches.epoch: formed(batches[0])}
    kinds = [np.asarray(part) for part in first[batches.epoch]]

    def make(index: Any) -> Sequence[Any]:
        try:
            known = first.pop(batches.epoch, None) if int(index) == 0 else None
            return formed(batches[int(index)]) if known is None else known
        except BaseException as error:
            failed.append(error)
            raise

    def load(number: Any) -> Any:
        loaded = tf.numpy_function(make, [number], [part.dtype for part in kinds], stateful=False)
        for part, kind in zip(loaded, kinds, strict=True):
            part.set_shape((None, *kind.shape[1:]))
        return tuple(loaded)

    threads = worker_count() + 1  # one more than there is work for: while one hands over, another waits
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads  # the model's own threads do not wait for images
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    as_it_is = tf.autograph.experimental.do_not_convert(load)  # looking for what to convert takes its time
    made = tf.data.Dataset.range(len(batches)).map(as_it_is, num_parallel_calls=threads, deterministic=True)
    try:
        yield made.prefetch(AHEAD).with_options(options)
    except tf.errors.OpError:
        if failed:
            raise failed[0] from None
        raise
