"""Batches as a `tf.data.Dataset`, prefetched in order by separate threads."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from podium.hardware import worker_count

PREFETCH = 4
"""Batches that are ready before the model asks for them."""


class Batches(Protocol):
    """Each batch is a tuple of arrays, or of tuples of arrays where a model has several inputs."""

    epoch: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, ...]: ...


@contextmanager
def as_dataset(
    batches: Batches,
    transform: Callable[[Any], tuple[Any, ...]] = tuple,
    note_waiting: Callable[[float], None] | None = None,
) -> Iterator[Any]:
    """A `tf.data.Dataset` of the batches, each passed through `transform`, for `fit` or `predict` within the block.

    An exception from loading a batch is raised unchanged, instead of TensorFlow's error about it. `note_waiting` is
    called with the seconds that each batch was waited for.
    """
    failures: list[BaseException] = []
    first = {batches.epoch: transform(batches[0])}
    structure = first[batches.epoch]
    specs = [np.asarray(part) for part in tf.nest.flatten(structure)]

    def load(index: Any) -> Any:
        try:
            known = first.pop(batches.epoch, None) if int(index) == 0 else None
            return tf.nest.flatten(transform(batches[int(index)]) if known is None else known)
        except BaseException as error:
            failures.append(error)
            raise

    def load_tensors(index: Any) -> Any:
        loaded = tf.numpy_function(load, [index], [part.dtype for part in specs], stateful=False)
        for part, spec in zip(loaded, specs, strict=True):
            part.set_shape((None, *spec.shape[1:]))
        return tf.nest.pack_sequence_as(structure, loaded)

    threads = worker_count() + 1  # one more than cores: while one hands over its batch, another waits
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread delays the end of every epoch by seconds
    options.threading.private_threadpool_size = threads  # so that the threads of the model do not wait for images
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    unconverted = tf.autograph.experimental.do_not_convert(load_tensors)  # AutoGraph has nothing to convert here
    dataset = tf.data.Dataset.range(len(batches)).map(unconverted, num_parallel_calls=threads, deterministic=True)
    dataset = dataset.prefetch(PREFETCH)
    if note_waiting:
        dataset = _timed(dataset, len(batches), note_waiting)
    try:
        yield dataset.with_options(options)
    except tf.errors.OpError:
        if failures:
            raise failures[0] from None
        raise


def _timed(dataset: Any, count: int, note_waiting: Callable[[float], None]) -> Any:
    """The same batches. Of two zipped datasets, the first gives its element before the second is asked for one."""

    def now(_: Any) -> Any:
        return np.float64(time.perf_counter())  # tf.timestamp fails where operations are deterministic

    def wait_from(asked: Any) -> Any:
        note_waiting(time.perf_counter() - float(asked))
        return asked

    def ask(index: Any) -> Any:
        return tf.numpy_function(now, [index], tf.float64)

    def note(asked: Any, batch: Any) -> Any:
        with tf.control_dependencies([tf.numpy_function(wait_from, [asked], tf.float64)]):
            return tf.nest.map_structure(tf.identity, batch)

    plain = tf.autograph.experimental.do_not_convert
    return tf.data.Dataset.zip((tf.data.Dataset.range(count).map(plain(ask)), dataset)).map(plain(note))
