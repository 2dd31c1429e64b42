"""Predictions from the most similar training images, instead of those of the last layer.

The features of all training images are computed once for each fold, and kept in its run folder.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from podium.arrays import read_npz
from podium.config.member import Neighbours
from podium.errors import RunError
from podium.files import atomic_write
from podium.models.heads import LAST
from podium.models.predictor import Predictor

MOST_SIMILARITIES = 2**24
"""So many similarities are in memory at once."""

Floats32 = NDArray[np.float32]


class Predicts(Protocol):
    def predict(self, dataset: Any) -> NDArray[Any]:
        """The predictions of all batches."""


@dataclass(frozen=True)
class LabelledFeatures:
    features: Floats32
    labels: Floats32
    """In the form of predictions."""
    votes: Floats32
    """How much each row counts."""

    def save(self, file: Path, weights: str) -> None:
        features = self.features.astype(np.float16)
        with atomic_write(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, features=features, labels=self.labels, votes=self.votes, weights=weights)

    @classmethod
    def load(cls, file: Path, weights: str, features: int, outputs: int) -> "LabelledFeatures | None":
        """So many features and outputs; None if they are missing or by other weights than these."""
        if not file.is_file():
            return None
        try:
            content = read_npz(file)
            if missing := {"weights", "features", "labels", "votes"} - content.keys():
                raise ValueError(f"it has no {' and '.join(sorted(missing))}")
            if str(content["weights"]) != weights:
                return None
            arrays = (content["features"], content["labels"], content["votes"])
            rows = arrays[-1].size
            if [array.shape for array in arrays] != [(rows, features), (rows, outputs), (rows,)] or not rows:
                raise ValueError(f"expected {features} features, {outputs} labels and a vote of each image")
            if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in arrays):
                raise ValueError("expected numbers")
            return cls(*(array.astype(np.float32, copy=False) for array in arrays))
        except (OSError, ValueError) as error:
            raise RunError(f"{file} cannot be read ({error}): delete it, and it is written again") from None


@dataclass(frozen=True)
class NeighbourPredictor:
    """The mean of the labels of the nearest training images by cosine, weighted by exp(cosine / temperature)."""

    predictor: Predicts
    """From images to features."""
    known: LabelledFeatures
    settings: Neighbours

    def predict(self, dataset: Any) -> Floats32:
        features = normalized(self.predictor.predict(dataset))
        parts = max(len(features) * len(self.known.features) // MOST_SIMILARITIES, 1)
        return np.concatenate([self._vote(part) for part in np.array_split(features, parts)])

    def _vote(self, features: Floats32) -> Floats32:
        similarity = features @ self.known.features.T
        count = min(self.settings.count, similarity.shape[1])
        nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        similarity = np.take_along_axis(similarity, nearest, axis=1)
        weights = np.exp((similarity - similarity.max(axis=1, keepdims=True)) / self.settings.temperature)
        weights *= self.known.votes[nearest]
        weights /= weights.sum(axis=1, keepdims=True)
        votes: Floats32 = np.einsum("rn,rno->ro", weights, self.known.labels[nearest])
        return votes


def feature_predictor(model: Any, images: int) -> Predictor:
    """From images to the input of the last layer."""
    return Predictor(keras.Model(model.inputs, model.get_layer(LAST).input), images)


def normalized(features: NDArray[Any]) -> Floats32:
    features = features.astype(np.float32)
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))
