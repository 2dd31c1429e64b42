"""Input rates: images per second as arrays for a consumer that does nothing, or in Keras's `fit`.

The clock starts before the dataset is created, so the first epoch includes finding the files, filling caches and
starting worker processes. The libraries are already imported.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

SLOW_RATE, MAX_EPOCHS = 400, 40
"""Later epochs are repeated for as long as one epoch would take at this rate, to measure short ones accurately."""


@dataclass
class Clock:
    """The end of each epoch, and the time of the first batch."""

    images: int
    start: float = field(default_factory=time.perf_counter)
    first_batch: float | None = None
    ends: list[float] = field(default_factory=list)

    def record_batch(self) -> None:
        if self.first_batch is None:
            self.first_batch = time.perf_counter() - self.start

    def record_epoch(self) -> None:
        self.ends.append(time.perf_counter() - self.start)

    @property
    def is_enough(self) -> bool:
        later = self.ends[-1] - self.ends[0]
        return len(self.ends) >= MAX_EPOCHS or (len(self.ends) >= 2 and later >= self.images / SLOW_RATE)

    def figures(self) -> dict[str, Any]:
        """The median of the later epochs, since worker processes may still be starting in the second one."""
        seconds = [end - begin for begin, end in zip([0.0, *self.ends], self.ends, strict=False)]
        later = sorted(seconds[1:])
        return {
            "first": self.images / seconds[0],
            "later": self.images / later[(len(later) - 1) // 2],
            "second": self.images / seconds[1],
            "first_batch_seconds": self.first_batch,
            "epochs": len(seconds),
        }


def measure_arrays(
    make: Callable[[], Any], iterate_epoch: Callable[[Any, int], Iterable[Any]], images: int
) -> dict[str, Any]:
    """The rate of batches as arrays. `iterate_epoch(data, number)` yields the batches of an epoch, images first."""
    clock = Clock(images)
    data = make()
    while not clock.ends or not clock.is_enough:
        seen = 0
        for batch in iterate_epoch(data, len(clock.ends)):
            clock.record_batch()
            seen += len(batch[0])
        assert seen == images, f"expected {images} images per epoch, got {seen}"
        clock.record_epoch()
    return clock.figures()


def measure_fit(
    make: Callable[[], Any], images: int, before_epoch: Callable[[int], None] = lambda number: None
) -> dict[str, Any]:
    """The rate of Keras's `fit`, with a model whose training step does nothing."""
    import keras

    class Idle(keras.Model):
        def train_step(self, data):
            return {"loss": keras.ops.zeros(())}

        def call(self, inputs):
            return inputs

    class Ends(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            before_epoch(epoch)

        def on_train_batch_end(self, batch, logs=None):
            clock.record_batch()

        def on_epoch_end(self, epoch, logs=None):
            clock.record_epoch()
            self.model.stop_training = clock.is_enough

    model = Idle()
    model.compile()
    clock = Clock(images)
    data = make()
    model.fit(data, epochs=MAX_EPOCHS, callbacks=[Ends()], verbose=0)
    return clock.figures()
