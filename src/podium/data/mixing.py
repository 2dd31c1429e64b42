"""Mixing the images of a batch with each other, and their targets in the same shares: mixup and CutMix.

Rows are in random order, so the other image of a row is that of the row before it. Categories cannot be mixed: metadata
are those of the image with the larger share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from podium.config.mixing import Mix
from podium.config.stage import Stage
from podium.data.images import Image


@dataclass(frozen=True)
class Mixing:
    mixup: Mix | None
    cutmix: Mix | None
    """With both, each batch is mixed by one of the two."""
    epochs: int
    """Later epochs are not mixed."""
    of_shares: bool = True
    """Whether targets are shares or labels, of which a row that counts less has less; numbers are of the image."""

    @classmethod
    def of(cls, stage: Stage, *, of_shares: bool = True) -> "Mixing":
        return cls(stage.mixup, stage.cutmix, stage.epochs - stage.plain_epochs, of_shares)

    def __call__(self, batch: tuple[Any, ...], epoch: int, seed: Sequence[int]) -> tuple[Any, ...]:
        """A batch of images, or of images and metadata, with targets and perhaps weights of rows."""
        inputs, *others = batch
        images, *metadata = inputs if isinstance(inputs, tuple) else (inputs,)
        ways = [way for way in ((_blend, self.mixup), (_paste, self.cutmix)) if way[1]]
        if not ways or len(images) < 2 or epoch >= self.epochs:
            return batch
        generator = np.random.default_rng(seed)
        mix, settings = ways[generator.integers(len(ways))]
        assert settings
        if generator.random() >= settings.probability:
            return batch
        images, share = mix(images, generator.beta(settings.alpha, settings.alpha), generator)
        mixed = self._targets(share, *others)
        if share < 0.5:
            metadata = [np.roll(part, 1, axis=0) for part in metadata]
        return ((images, *metadata) if metadata else images, *mixed)

    def _targets(self, share: float, targets: Any, weights: Any = None) -> list[Any]:
        """Each row counts as much as its part of both rows: its loss is their losses, weighted."""
        if weights is None:
            return [_mean(targets, share)]
        both = _mean(weights, share)
        if not self.of_shares:
            return [_mean(targets, share), both]
        columns = weights.reshape(-1, *[1] * (targets.ndim - 1))
        return [_mean(targets * columns, share) / np.maximum(both, 1e-12).reshape(columns.shape), both]


def _mean(part: Any, share: float) -> Any:
    return (share * part + (1 - share) * np.roll(part, 1, axis=0)).astype(part.dtype)


def _blend(images: Image, share: float, generator: np.random.Generator) -> tuple[Image, float]:
    """Mixup (Zhang et al., 2018): the weighted mean of two images."""
    flat = images.reshape(len(images), -1)
    blended: Image = cv2.addWeighted(flat, share, np.roll(flat, 1, axis=0), 1 - share, 0)
    return blended.reshape(images.shape), share


def _paste(images: Image, share: float, generator: np.random.Generator) -> tuple[Image, float]:
    """CutMix (Yun et al., 2019): a rectangle of the other image, which may be cut off at the edge."""
    height, width = images.shape[1:3]
    side = np.sqrt(1 - share) / 2
    rows, columns = (
        slice(max(0, round((centre - side) * size)), min(size, round((centre + side) * size)))
        for centre, size in zip(generator.random(2), (height, width), strict=True)
    )
    pasted = images.copy()
    pasted[:, rows, columns] = np.roll(images[:, rows, columns], 1, axis=0)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return pasted, 1 - area / (height * width)
