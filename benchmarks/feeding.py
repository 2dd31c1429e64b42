"""The rate at which images arrive: as arrays in a consumer that does nothing, or in Keras's own fit.

The clock starts before the data set is made, so a first epoch holds all that comes before it: looking for files, caches
made, worker processes started. The libraries are imported by then.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

SLOW, MOST_EPOCHS = 400, 40
"""Later epochs are repeated for as long as one at this rate, the second at least: quick ones would be noise else."""


@dataclass
class Clock:
    """When each epoch ended, and when the first batch came."""

    images: int
    began: float = field(default_factory=time.perf_counter)
    first_batch: float | None = None
    ends: list[float] = field(default_factory=list)

    def note_batch(self) -> None:
        if self.first_batch is None:
            self.first_batch = time.perf_counter() - self.began

    def note_epoch(self) -> None:
        self.ends.append(time.perf_counter() - self.began)

    @property
    def is_enough(self) -> bool:
        later = self.ends[-1] - self.ends[0]
        return len(self.ends) >= MOST_EPOCHS or (len(self.ends) >= 2 and later >= self.images / SLOW)

    def figures(self) -> dict[str, Any]:
        """Of the later epochs the middle one: worker processes may still be starting in the first of them."""
        seconds = [end - begin for begin, end in zip([0.0, *self.ends], self.ends, strict=False)]
        later = sorted(seconds[1:])
        return {
            "first": self.images / seconds[0],
            "later": self.images / later[(len(later) - 1) // 2],
            "second": self.images / seconds[1],
            "first_batch_seconds": self.first_batch,
            "epochs": len(seconds),
        }


def as_arrays(make: Callable[[], Any], an_epoch: Callable[[Any, int], Iterable[Any]], images: int) -> dict[str, Any]:
    """`an_epoch(data, number)` yields the batches of one epoch, images first."""
    clock = Clock(images)
    data = make()
    while not clock.ends or not clock.is_enough:
        seen = 0
        for batch in an_epoch(data, len(clock.ends)):
            clock.note_batch()
            seen += len(batch[0])
        assert seen == images, f"an epoch brought {seen} images, expected {images}"
        clock.note_epoch()
    return clock.figures()


def as_fit_is_fed(
    make: Callable[[], Any], images: int, before_epoch: Callable[[int], None] = lambda number: None
) -> dict[str, Any]:
    """Keras's fit with a model whose train step does nothing."""
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
            clock.note_batch()

        def on_epoch_end(self, epoch, logs=None):
            clock.note_epoch()
            self.model.stop_training = clock.is_enough

    model = Idle()
    model.compile()
    clock = Clock(images)
    data = make()
    model.fit(data, epochs=MOST_EPOCHS, callbacks=[Ends()], verbose=0)
    return clock.figures()
