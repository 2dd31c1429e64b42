"""What is done to pictures between a file and a model, for one block of rows; processes and threads do the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from podium.data.augmentation import Augmentation
from podium.data.pictures import Frame, Picture, Resize, square
from podium.data.supply import Loader, Source


class Look(Protocol):
    """How a picture is looked at: from its frame to a square of the model's size. Can be sent to another process."""

    @property
    def frame(self) -> Frame: ...

    @property
    def size(self) -> int: ...

    def __call__(self, scaled: Picture, row: int, epoch: int) -> Picture: ...


@dataclass(frozen=True)
class TrainingLook:
    """The whole picture, augmented anew in every epoch."""

    size: int
    resize: Resize
    augmentation: Augmentation
    seed: tuple[int, ...]

    @property
    def frame(self) -> Frame:
        return Frame(self.size, self.resize)

    def __call__(self, scaled: Picture, row: int, epoch: int) -> Picture:
        seed = np.random.SeedSequence([*self.seed, epoch, row]).generate_state(1)[0]
        return self.augmentation(square(scaled, self.size, self.resize), int(seed))


@dataclass(frozen=True)
class PlainLook:
    """The whole picture as it is."""

    size: int
    resize: Resize

    @property
    def frame(self) -> Frame:
        return Frame(self.size, self.resize)

    def __call__(self, scaled: Picture, row: int, epoch: int) -> Picture:
        return square(scaled, self.size, self.resize)


@dataclass(frozen=True)
class Block:
    """Some rows, each to be looked at in these ways, one after the other."""

    sources: Sequence[Source]
    rows: Sequence[int]
    epoch: int

    def __len__(self) -> int:
        return len(self.rows)


def shape_of(block: Block, looks: Sequence[Look]) -> tuple[int, int, int, int]:
    return (len(block) * len(looks), looks[0].size, looks[0].size, 3)


def prepare(block: Block, looks: Sequence[Look], load: Loader, into: Picture) -> None:
    """Picture after picture; of each, look after look."""
    frames = [look.frame for look in looks]
    position = 0
    for source, row in zip(block.sources, block.rows, strict=True):
        for look, scaled in zip(looks, load(source, frames), strict=True):
            into[position] = look(scaled, row, block.epoch)
            position += 1
