"""Images with what a model is trained on: the truth, or soft labels in the form of predictions, and weights of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.data.image_paths import ImagePaths
from podium.data.target import AsFloats, Encoded, Floats, Target, Truth


@dataclass(frozen=True)
class LabelledImages:
    paths: Sequence[Path]
    truth: Truth
    """The nearest truth, where labels are soft."""
    labels: NDArray[np.float32] | None = None
    """What to train on instead of the truth, in the form of predictions."""
    weights: NDArray[np.float32] | None = None
    """How much each row counts in the loss; 1 by default."""
    metadata: NDArray[np.float32] | None = None
    """The second input of a model that takes one."""

    def encode(self, target: Target) -> Encoded:
        """What a model is trained on."""
        return target.encode(self.truth) if self.labels is None else AsFloats(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "LabelledImages":
        """These rows, in this order; a row may be repeated."""
        assert isinstance(self.paths, ImagePaths)
        more = (part if part is None else part[rows] for part in (self.labels, self.weights, self.metadata))
        return LabelledImages(self.paths.take(rows), self.truth[rows], *more)


def join(parts: Sequence[LabelledImages], target: Target) -> LabelledImages:
    """The rows of all parts, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    labels = weights = metadata = None
    if any(part.labels is not None for part in parts):
        labels = np.concatenate([as_labels(target, part) for part in parts])
    if any(part.weights is not None for part in parts):
        ones = [np.ones(len(part.truth), np.float32) if part.weights is None else part.weights for part in parts]
        weights = np.concatenate(ones)
    if known := [part.metadata for part in parts if part.metadata is not None]:
        missing = [np.full((len(part.truth), known[0].shape[1]), np.nan, np.float32) for part in parts]
        metadata = np.concatenate(
            [none if part.metadata is None else part.metadata for part, none in zip(parts, missing, strict=True)]
        )
    paths: Any = [part.paths for part in parts]
    return LabelledImages(
        ImagePaths.join(paths), np.concatenate([part.truth for part in parts]), labels, weights, metadata
    )


def as_labels(target: Target, images: LabelledImages) -> NDArray[np.float32]:
    """What a model is trained on, as a matrix."""
    return np.asarray(images.encode(target)[np.arange(len(images.truth))])


def soft_labelled(target: Target, paths: ImagePaths, labels: Floats, weight: float = 1.0) -> LabelledImages:
    """Images with labels in the form of predictions."""
    truth = nearest_truth(target, labels)
    images = LabelledImages(paths, truth, None, weights_of(len(truth), weight))
    encoded = labels.astype(np.float32)
    if (as_labels(target, images) == encoded).all():  # they are not soft
        return images
    return LabelledImages(paths, truth, encoded, images.weights)


def weights_of(rows: int, weight: float) -> NDArray[np.float32] | None:
    return None if weight == 1.0 else np.full(rows, weight, np.float32)


def nearest_truth(target: Target, labels: Floats) -> Truth:
    """The truth that is nearest to labels in the form of predictions; for numbers and shares, the labels."""
    if not target.truth_is_class:
        return labels
    return (labels[:, 0] >= 0.5).astype(np.int64) if labels.shape[1] == 1 else labels.argmax(axis=1)
