"""Batches: pictures read, fitted and augmented by threads, in an order that only the seed decides."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from podium.data.augmentation import Augmentation
from podium.data.pictures import Picture, Resize, fit_picture, read_picture

Prepare = Callable[[Picture, int], Picture]
"""From a picture as it was read, and its row's number, to one of the model's size."""


def worker_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class EpochBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Every row once an epoch, in a new order each, the last short batch included.

    All randomness comes from (seed, epoch, row): which thread is first changes nothing. `epoch` is set from outside,
    by the trainer's own callback, because Keras calls a data set's epoch hooks from its worker threads as well.
    An epoch that was broken off goes on after the rows it has seen, also where the batch size is another now.
    """

    def __init__(self, rows: int, batch_size: int, seed: Sequence[int]) -> None:
        super().__init__(workers=worker_count(), use_multiprocessing=False, max_queue_size=8)
        self._rows, self._batch_size = rows, batch_size
        self.seed = tuple(seed)
        self._orders: dict[int, NDArray[np.int64]] = {}
        self.epoch = 0
        self.steps_before, self._rows_before = 0, 0

    def go_on_after(self, steps: int, rows: int) -> None:
        """Leave out what an epoch has done already; nothing of it with (0, 0)."""
        self.steps_before, self._rows_before = steps, rows

    def __len__(self) -> int:
        return math.ceil((self._rows - self._rows_before) / self._batch_size)

    @property
    def steps(self) -> int:
        """Of the whole epoch."""
        return self.steps_before + len(self)

    def rows_after(self, steps: int) -> int:
        """How many rows the epoch has seen after so many of its steps."""
        return min(self._rows_before + (steps - self.steps_before) * self._batch_size, self._rows)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Which row stands where in this epoch."""
        if epoch not in self._orders:
            self._orders = {epoch: np.random.default_rng([*self.seed, epoch]).permutation(self._rows)}
        return self._orders[epoch]

    def __getitem__(self, index: int) -> Any:
        epoch, start = self.epoch, self._rows_before + index * self._batch_size
        return self.batch(self.order(epoch)[start : start + self._batch_size], epoch)

    def batch(self, rows: NDArray[np.int64], epoch: int) -> Any:
        """What the model trains on in one step."""
        raise NotImplementedError


class TrainingBatches(EpochBatches):
    """Pictures with their targets."""

    def __init__(
        self,
        paths: Sequence[Path],
        targets: NDArray[np.float32],
        *,
        image_size: int,
        resize: Resize,
        batch_size: int,
        augmentation: Augmentation,
        seed: Sequence[int],
    ) -> None:
        super().__init__(len(paths), batch_size, seed)
        self._paths, self._targets = list(paths), targets
        self._image_size, self._resize, self._augmentation = image_size, resize, augmentation

    def batch(self, rows: NDArray[np.int64], epoch: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        pictures = np.stack([self._picture(int(row), epoch) for row in rows])
        return pictures, self._targets[rows]

    def in_row_order(self, epoch: int) -> "PredictionBatches":
        """The same pictures that this epoch shows, one row after the other, to be predicted."""
        return PredictionBatches(self._paths, lambda picture, row: self._seen(picture, row, epoch), self._batch_size)

    def _picture(self, row: int, epoch: int) -> Picture:
        return self._seen(read_picture(self._paths[row]), row, epoch)

    def _seen(self, picture: Picture, row: int, epoch: int) -> Picture:
        fitted = fit_picture(picture, self._image_size, self._resize)
        seed = np.random.SeedSequence([*self.seed, epoch, row]).generate_state(1)[0]
        return self._augmentation(fitted, int(seed))


class PredictionBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Pictures in the order of their rows, each prepared the same way every time."""

    def __init__(self, paths: Sequence[Path], prepare: Prepare, batch_size: int) -> None:
        super().__init__(workers=worker_count(), use_multiprocessing=False, max_queue_size=8)
        self._paths, self._prepare, self._batch_size = list(paths), prepare, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._paths) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8]]:
        start = index * self._batch_size
        rows = range(start, min(start + self._batch_size, len(self._paths)))
        return (np.stack([self._prepare(read_picture(self._paths[row]), row) for row in rows]),)
