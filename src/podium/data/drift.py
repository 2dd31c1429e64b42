"""Whether test images look like training images: how well simple statistics distinguish them."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from podium.data.quality import Measurements

_MOST = 20_000
"""Images of each part that the classifier is trained on."""
_FOLDS = 3
_COLOURS = 4
"""Pixels per side of the image whose colours are statistics."""
LEAST = 60
"""Images of each part, below which there is no answer."""


@dataclass(frozen=True)
class Drift:
    auc: float
    """0.5: nothing distinguishes test from training images; 1: the statistics do."""
    likely_test: NDArray[np.float64]
    """For each test image the probability that it is one, by a classifier that has not seen it; NaN if unused."""


def measure_drift(train: Measurements, test: Measurements) -> Drift | None:
    """None if there are too few images."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    random = np.random.default_rng(0)
    chosen = [np.sort(random.permutation(len(part))[:_MOST]) for part in (train, test)]
    if min(map(len, chosen)) < LEAST:
        return None
    features = np.concatenate([_features(part[rows]) for part, rows in zip((train, test), chosen, strict=True)])
    is_test = np.repeat([0, 1], [len(rows) for rows in chosen])
    model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=0)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    probabilities = cross_val_predict(model, features, is_test, cv=folds, method="predict_proba")[:, 1]
    likely = np.full(len(test), np.nan)
    likely[chosen[1]] = probabilities[is_test == 1]
    return Drift(float(roc_auc_score(is_test, probabilities)), likely)


def _features(measured: Measurements) -> NDArray[np.float32]:
    """The shape, the light and the colours of each image."""
    names = ("width", "height", "brightness", "contrast", "blur", "flags")
    simple = np.stack([measured[name].astype(np.float32) for name in names], axis=1)
    thumbnails = measured["thumbnail"]
    size = (_COLOURS, _COLOURS)
    colours = [cv2.resize(thumbnail, size, interpolation=cv2.INTER_AREA).ravel() for thumbnail in thumbnails]
    return np.concatenate([simple, np.array(colours, np.float32)], axis=1)
