"""What is done to images between a file and a model, for one block of rows; processes and threads do the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from podium.data.augmentation import Augmentation
from podium.data.boxes import Boxes, to_square
from podium.data.image_source import Loader, Source
from podium.data.images import Frame, Image, Resize, square


class Look(Protocol):
    """How an image is looked at: from its frame to a square of the model's size. Can be sent to another process."""

    @property
    def frame(self) -> Frame: ...

    @property
    def size(self) -> int: ...

    def __call__(self, scaled: Image, row: int, epoch: int) -> Image: ...


@dataclass(frozen=True)
class TrainingLook:
    """The whole image, augmented anew in every epoch."""

    size: int
    resize: Resize
    augmentation: Augmentation
    seed: tuple[int, ...]

    @property
    def frame(self) -> Frame:
        return Frame(self.size, self.resize)

    def __call__(self, scaled: Image, row: int, epoch: int) -> Image:
        return self.augmentation(square(scaled, self.size, self.resize), self._seed_of(row, epoch))

    def with_boxes(self, scaled: Image, row: int, epoch: int, boxed: "Boxed") -> tuple[Image, Boxes]:
        """The boxes go where what they hold goes."""
        boxes = to_square(boxed.boxes, boxed.height, boxed.width, self.size, self.resize)
        image = square(scaled, self.size, self.resize)
        return self.augmentation.with_boxes(image, boxes, self._seed_of(row, epoch))

    def _seed_of(self, row: int, epoch: int) -> int:
        return int(np.random.SeedSequence([*self.seed, epoch, row]).generate_state(1)[0])


@dataclass(frozen=True)
class PlainLook:
    """The whole image as it is."""

    size: int
    resize: Resize

    @property
    def frame(self) -> Frame:
        return Frame(self.size, self.resize)

    def __call__(self, scaled: Image, row: int, epoch: int) -> Image:
        return square(scaled, self.size, self.resize)


@dataclass(frozen=True)
class Boxed:
    """The boxes of an image, in pixels of the whole of it, and how many of these it has."""

    height: int
    width: int
    boxes: Boxes


@dataclass(frozen=True)
class Block:
    """Some rows, each to be looked at in these ways, one after the other."""

    sources: Sequence[Source]
    rows: Sequence[int]
    epoch: int
    boxed: Sequence[Boxed] | None = None
    """The rows' boxes, where a single TrainingLook takes them along."""

    def __len__(self) -> int:
        return len(self.rows)


def shape_of(block: Block, looks: Sequence[Look]) -> tuple[int, int, int, int]:
    return (len(block) * len(looks), looks[0].size, looks[0].size, 3)


def prepare(block: Block, looks: Sequence[Look], load: Loader, into: Image) -> list[Boxes]:
    """Image after image; of each, look after look. What it returns are the boxes, of a block that has them."""
    if block.boxed is not None:
        return _prepare_with_boxes(block, block.boxed, looks, load, into)
    frames = [look.frame for look in looks]
    position = 0
    for source, row in zip(block.sources, block.rows, strict=True):
        for look, scaled in zip(looks, load(source, frames), strict=True):
            into[position] = look(scaled, row, block.epoch)
            position += 1
    return []


def _prepare_with_boxes(
    block: Block, boxed: Sequence[Boxed], looks: Sequence[Look], load: Loader, into: Image
) -> list[Boxes]:
    (look,) = looks
    assert isinstance(look, TrainingLook)
    found = []
    for position, (source, row, its) in enumerate(zip(block.sources, block.rows, boxed, strict=True)):
        (scaled,) = load(source, [look.frame])
        into[position], boxes = look.with_boxes(scaled, row, block.epoch, its)
        found.append(boxes)
    return found
