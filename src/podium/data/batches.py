"""Batches of images: read, scaled and augmented on all cores, in an order that depends on the seed only."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.data.augmentation import Augmentation, Block, ImageView, TrainingView, Views
from podium.data.balance import draw_rows
from podium.data.boxes import CORNERS, Boxes, ImageBoxes
from podium.data.catalogue import ImageSource
from podium.data.images import Image, Resize
from podium.data.mixing import Mixing
from podium.data.target import Encoded, Floats
from podium.data.workers import worker_pool


def with_metadata(images: Any, metadata: NDArray[np.float32] | None, rows: Any) -> Any:
    """The inputs of a model: the images of these rows, or their features, and the metadata if it takes any."""
    return images if metadata is None else (images, metadata[rows])


class EpochBatches:
    """Every row once per epoch, in a new order each time, including the last, smaller batch.

    All randomness depends only on (seed, epoch, row), not on the order of threads. The trainer's callback sets `epoch`.
    An interrupted epoch resumes after the rows that were trained on, even if the batch size has changed.
    """

    def __init__(self, rows: int, batch_size: int, seed: Sequence[int]) -> None:
        self._rows, self._batch_size = rows, batch_size
        self.seed = tuple(seed)
        self._order: tuple[int, NDArray[Any]] | None = None
        self.epoch = 0
        self.shares: Floats | None = None
        """How often each row is drawn relative to the others, if an epoch draws its rows: see `draw_rows`."""
        self.mixing: Mixing | None = None
        self.weights: NDArray[np.float32] | None = None
        """How much each row counts in the loss; the third part of a batch, if it is set."""
        self.steps_before, self._rows_before = 0, 0
        self.seconds_waited = 0.0
        """How long the model has waited for batches."""

    def note_waiting(self, seconds: float) -> None:
        self.seconds_waited += seconds

    def resume_after(self, steps: int, rows: int) -> None:
        """Skip the finished steps and rows of an epoch; (0, 0) skips none."""
        self.steps_before, self._rows_before = steps, rows

    def __len__(self) -> int:
        return math.ceil((self._rows - self._rows_before) / self._batch_size)

    @property
    def steps(self) -> int:
        """The number of steps in the epoch, including those that are skipped."""
        return self.steps_before + len(self)

    def rows_after(self, steps: int) -> int:
        """The number of rows that the model has seen after this many steps of the epoch."""
        return min(self._rows_before + (steps - self.steps_before) * self._batch_size, self._rows)

    def order(self, epoch: int) -> NDArray[Any]:
        """The rows of this epoch in order; a row that is drawn again is counted on, as in `draw_rows`."""
        known = self._order
        if known is None or known[0] != epoch:
            generator = np.random.default_rng([*self.seed, epoch])
            if self.shares is None:
                known = epoch, generator.permutation(self._rows).astype(np.int32)
            else:
                known = epoch, draw_rows(self.shares, generator)
            self._order = known
        return known[1]

    def __getitem__(self, index: int) -> Any:
        epoch, start = self.epoch, self._rows_before + index * self._batch_size
        rows = self.order(epoch)[start : start + self._batch_size].astype(np.int64)
        batch = self.batch(rows, epoch)
        if self.weights is not None:
            batch = (*batch, self.weights[rows % self._rows])
        return self.mixing(batch, epoch, [*self.seed, epoch, *rows]) if self.mixing else batch

    def batch(self, rows: NDArray[np.int64], epoch: int) -> Any:
        """The inputs and targets of one training step; each task defines its own. `rows` are a part of `order`."""
        raise NotImplementedError


class ViewLoader:
    """Loads rows of an image source in some views, by threads or processes."""

    def __init__(self, source: ImageSource, views: Sequence[ImageView]) -> None:
        self._source, self._views = source, Views(views)
        source.cache_images(self._views.scalings)

    def __call__(self, rows: Sequence[int], epoch: int = 0) -> Image:
        """The views of the first row, those of the second, and so on."""
        return self._load(rows, epoch)[0]

    def with_boxes(self, rows: Sequence[int], epoch: int, boxes: Sequence[ImageBoxes]) -> tuple[Image, list[Boxes]]:
        """The augmented images and the boxes of each row."""
        return self._load(rows, epoch, boxes)

    def _load(
        self, rows: Sequence[int], epoch: int, boxes: Sequence[ImageBoxes] | None = None
    ) -> tuple[Image, list[Boxes]]:
        locations = [self._source.location(row % len(self._source), self._views.scalings) for row in rows]
        return worker_pool().do(Block(locations, rows, epoch, self._views, boxes))


class TrainingBatches(EpochBatches):
    """Augmented images, with the metadata of their rows if there is any, and their targets."""

    def __init__(
        self,
        source: ImageSource,
        targets: Encoded,
        metadata: NDArray[np.float32] | None = None,
        *,
        image_size: int,
        resize: Resize,
        batch_size: int,
        augmentation: Augmentation,
        seed: Sequence[int],
        before: int | None = None,
    ) -> None:
        """`before` is the size to augment at, by default that of the model's inputs."""
        super().__init__(len(source), batch_size, seed)
        self._source, self._targets, self._metadata = source, targets, metadata
        self._view = TrainingView(image_size, resize, augmentation, self.seed, before)
        self._load = ViewLoader(source, [self._view])

    def batch(self, rows: NDArray[np.int64], epoch: int) -> tuple[Any, NDArray[np.float32]]:
        images, rows = self._load(rows.tolist(), epoch), rows % self._rows
        return with_metadata(images, self._metadata, rows), self._targets[rows]

    def in_row_order(self, epoch: int) -> "PredictionBatches":
        """The augmented images of this epoch in the order of their rows, without metadata."""
        return PredictionBatches(self._source, [self._view], self._batch_size, epoch=epoch)


class BoxBatches(EpochBatches):
    """Augmented images with their boxes. Every image has as many rows as the largest number of boxes, filled with -1.

    A row is left, top, right, bottom and the class index.
    """

    def __init__(
        self,
        source: ImageSource,
        boxes: Sequence[ImageBoxes],
        *,
        image_size: int,
        resize: Resize,
        batch_size: int,
        augmentation: Augmentation,
        seed: Sequence[int],
    ) -> None:
        super().__init__(len(source), batch_size, seed)
        self._boxes = boxes
        self._max_boxes = max((len(labelled.boxes) for labelled in boxes), default=0) or 1
        self._load = ViewLoader(source, [TrainingView(image_size, resize, augmentation, self.seed)])

    def batch(self, rows: NDArray[np.int64], epoch: int) -> tuple[Image, NDArray[np.float32]]:
        images, moved = self._load.with_boxes(rows.tolist(), epoch, [self._boxes[row] for row in rows])
        padded = np.full((len(rows), self._max_boxes, CORNERS + 1), -1, np.float32)
        for target, boxes in zip(padded, moved, strict=True):
            target[: len(boxes)] = boxes
        return images, padded


class PredictionBatches:
    """Images in the order of their rows: the views of the first row, those of the second, and so on."""

    def __init__(
        self,
        source: ImageSource,
        views: Sequence[ImageView],
        batch_size: int,
        metadata: NDArray[np.float32] | None = None,
        epoch: int = 0,
    ) -> None:
        self._rows, self.epoch, self._metadata = len(source), epoch, metadata
        self._views, self._rows_per_batch = len(views), max(1, batch_size // len(views))
        self._load = ViewLoader(source, views)

    def __len__(self) -> int:
        return math.ceil(self._rows / self._rows_per_batch)

    def __getitem__(self, index: int) -> tuple[Any]:
        start = index * self._rows_per_batch
        rows = range(start, min(start + self._rows_per_batch, self._rows))
        return (with_metadata(self._load(rows, self.epoch), self._metadata, np.repeat(rows, self._views)),)
