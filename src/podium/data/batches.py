"""Batches: images read, fitted and augmented on every core, in an order that only the seed decides."""

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.data.augmentation import Augmentation
from podium.data.boxes import CORNERS, Boxes
from podium.data.image_source import Supply
from podium.data.images import Image, Resize
from podium.data.preprocessing import Block, Boxed, Look, TrainingLook
from podium.data.workers import workers


class EpochBatches:
    """Every row once an epoch, in a new order each, the last short batch included.

    All randomness comes from (seed, epoch, row): which thread is first changes nothing. `epoch` is set from outside,
    by the trainer's own callback.
    An epoch that was broken off goes on after the rows it has seen, also where the batch size is another now.
    """

    def __init__(self, rows: int, batch_size: int, seed: Sequence[int]) -> None:
        self._rows, self._batch_size = rows, batch_size
        self.seed = tuple(seed)
        self._orders: dict[int, NDArray[np.int32]] = {}
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

    def order(self, epoch: int) -> NDArray[np.int32]:
        """Which row stands where in this epoch."""
        if epoch not in self._orders:
            order = np.random.default_rng([*self.seed, epoch]).permutation(self._rows)
            self._orders = {epoch: order.astype(np.int32)}
        return self._orders[epoch]

    def __getitem__(self, index: int) -> Any:
        epoch, start = self.epoch, self._rows_before + index * self._batch_size
        return self.batch(self.order(epoch)[start : start + self._batch_size].astype(np.int64), epoch)

    def batch(self, rows: NDArray[np.int64], epoch: int) -> Any:
        """What the model trains on in one step."""
        raise NotImplementedError  # each kind of batches has its own


class Preparation:
    """Rows of a supply, looked at in some ways, on whatever is free to do it."""

    def __init__(self, supply: Supply, looks: Sequence[Look]) -> None:
        self._supply, self._looks = supply, list(looks)
        self._frames = [look.frame for look in looks]
        self._packed = pickle.dumps(self._looks)
        supply.keep(self._frames)

    def __call__(self, rows: Sequence[int], epoch: int = 0) -> Image:
        """Row after row; of each, look after look."""
        return self._prepared(rows, epoch)[0]

    def with_boxes(self, rows: Sequence[int], epoch: int, boxed: Sequence[Boxed]) -> tuple[Image, list[Boxes]]:
        """The same with each row's boxes, where they are after what is done to its image."""
        return self._prepared(rows, epoch, boxed)

    def _prepared(
        self, rows: Sequence[int], epoch: int, boxed: Sequence[Boxed] | None = None
    ) -> tuple[Image, list[Boxes]]:
        block = Block([self._supply.source(row, self._frames) for row in rows], rows, epoch, boxed)
        return workers().prepare(block, self._looks, self._packed)


class OneHot:
    """Labels as the model answers: a row of zeros with a one. Made for a batch at a time, since a row has a number for
    every class."""

    def __init__(self, labels: NDArray[np.int64], classes: int) -> None:
        self._labels, self._rows = labels, np.eye(classes, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(self._rows[self._labels[rows]])


class TrainingBatches(EpochBatches):
    """Images with their targets."""

    def __init__(
        self,
        supply: Supply,
        targets: NDArray[np.float32] | OneHot,
        *,
        image_size: int,
        resize: Resize,
        batch_size: int,
        augmentation: Augmentation,
        seed: Sequence[int],
    ) -> None:
        super().__init__(len(supply), batch_size, seed)
        self._supply, self._targets = supply, targets
        self._look = TrainingLook(image_size, resize, augmentation, self.seed)
        self._prepare = Preparation(supply, [self._look])

    def batch(self, rows: NDArray[np.int64], epoch: int) -> tuple[Image, NDArray[np.float32]]:
        return self._prepare(rows.tolist(), epoch), self._targets[rows]

    def in_row_order(self, epoch: int) -> "PredictionBatches":
        """The same images that this epoch shows, one row after the other, to be predicted."""
        return PredictionBatches(self._supply, [self._look], self._batch_size, epoch)


class BoxBatches(EpochBatches):
    """Images with their boxes: for each image as many rows as the one with the most has, those missing all -1.

    A row is left, top, right, bottom and the number of the class.
    """

    def __init__(
        self,
        supply: Supply,
        boxed: Sequence[Boxed],
        *,
        image_size: int,
        resize: Resize,
        batch_size: int,
        augmentation: Augmentation,
        seed: Sequence[int],
    ) -> None:
        super().__init__(len(supply), batch_size, seed)
        self._boxed = boxed
        self._most = max((len(one.boxes) for one in boxed), default=0) or 1
        self._prepare = Preparation(supply, [TrainingLook(image_size, resize, augmentation, self.seed)])

    def batch(self, rows: NDArray[np.int64], epoch: int) -> tuple[Image, NDArray[np.float32]]:
        images, boxes = self._prepare.with_boxes(rows.tolist(), epoch, [self._boxed[row] for row in rows])
        filled = np.full((len(rows), self._most, CORNERS + 1), -1, np.float32)
        for its, known in zip(filled, boxes, strict=True):
            its[: len(known)] = known
        return images, filled


class PredictionBatches:
    """Images in the order of their rows, each looked at in the same ways every time: row after row, and of each row
    look after look."""

    def __init__(self, supply: Supply, looks: Sequence[Look], batch_size: int, epoch: int = 0) -> None:
        self._rows, self.epoch = len(supply), epoch
        self._at_once = max(1, batch_size // len(looks))
        self._prepare = Preparation(supply, looks)

    def __len__(self) -> int:
        return math.ceil(self._rows / self._at_once)

    def __getitem__(self, index: int) -> tuple[Image]:
        start = index * self._at_once
        return (self._prepare(range(start, min(start + self._at_once, self._rows)), self.epoch),)
