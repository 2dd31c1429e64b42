"""The models of a stack: from the predictions of all members, and metadata of the rows, to the target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from podium.data.target import SMALLEST, Floats, Truth
from podium.ensemble.rows import BlendRows

BOOSTING = {
    "learning_rate": 0.1,
    "max_iter": 50,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 20,
    "l2_regularization": 10.0,
    "early_stopping": False,
    "random_state": 0,
}
"""Small trees: the members' predictions are nearly right already."""
MOST_CATEGORIES = 255
"""More are split like numbers."""


@dataclass(frozen=True)
class Estimators:
    """Models of scikit-learn for features whose first columns are metadata."""

    model: Literal["regression", "boosting"]
    C: float
    sizes: Sequence[int]
    """The number of categories of each column of metadata, 0 for numbers."""

    def classifier(self) -> Any:
        if self.model == "boosting":
            return HistGradientBoostingClassifier(**BOOSTING, categorical_features=self._categories())
        return self._with_encoding(LogisticRegression(C=self.C, max_iter=1000))

    def regressor(self) -> Any:
        if self.model == "boosting":
            return HistGradientBoostingRegressor(**BOOSTING, categorical_features=self._categories())
        return self._with_encoding(Ridge(alpha=1 / self.C))

    def _categories(self) -> list[int]:
        return [column for column, size in enumerate(self.sizes) if 0 < size <= MOST_CATEGORIES]

    def _with_encoding(self, estimator: Any) -> Any:
        """With metadata encoded as members do it, in `models/metadata.py`, from the rows that it is fitted to."""
        if not self.sizes:
            return estimator
        numbers = [column for column, size in enumerate(self.sizes) if not size]
        categories = [column for column, size in enumerate(self.sizes) if size]
        zeros = SimpleImputer(strategy="constant", fill_value=0.0, add_indicator=True, keep_empty_features=True)
        known = [np.arange(self.sizes[column], dtype=np.float64) for column in categories]
        one_hot = OneHotEncoder(categories=known, handle_unknown="ignore", sparse_output=False)
        parts = [("numbers", make_pipeline(StandardScaler(), zeros), numbers), ("categories", one_hot, categories)]
        return make_pipeline(ColumnTransformer(parts, remainder="passthrough", sparse_threshold=0), estimator)

    def fit_classifier(self, features: Floats, truth: Truth) -> Any:
        """None if all rows have the same answer."""
        return None if len(np.unique(truth)) == 1 else self.classifier().fit(self._without_empty(features), truth)

    def fit_regressor(self, features: Floats, truth: Floats) -> Any:
        return self.regressor().fit(self._without_empty(features), truth)

    def _without_empty(self, features: Floats) -> Floats:
        """Trees of scikit-learn 1.9 fail on a column without any number; zeros are never split."""
        if self.model != "boosting":
            return features
        empty = np.isnan(features).all(axis=0)
        empty[self._categories()] = False
        return np.where(empty, 0.0, features)


class StackedClasses:
    """Classes from the log probabilities; classes without rows get the members' mean."""

    def __init__(self, rows: BlendRows, labels: Truth, estimators: Estimators) -> None:
        self._seen = np.unique(labels)
        self._model = estimators.fit_classifier(self._features(rows), labels)
        self.converged = _has_converged(self._model)

    def predict(self, rows: BlendRows, mean: Floats) -> Floats:
        share_of_seen = mean[:, self._seen].sum(axis=1, keepdims=True)
        among_seen = 1.0 if self._model is None else self._model.predict_proba(self._features(rows))
        mean[:, self._seen] = among_seen * share_of_seen
        return mean

    def _features(self, rows: BlendRows) -> Floats:
        rows_first = np.log(rows.predictions.clip(SMALLEST)).transpose(1, 0, 2)
        return rows.features(rows_first.reshape(rows.shape[1], -1))


class StackedLabels:
    """Each column from its log odds; columns with one answer in all rows get the mean."""

    def __init__(self, rows: BlendRows, truth: Truth, estimators: Estimators) -> None:
        odds, truth = _log_odds(rows.predictions), truth.reshape(rows.shape[1:])
        self._models = [
            estimators.fit_classifier(rows.features(odds[:, :, number].T), truth[:, number] > 0.5)
            for number in range(rows.shape[2])
        ]
        self.converged = all(map(_has_converged, self._models))

    def predict(self, rows: BlendRows, mean: Floats) -> Floats:
        odds = _log_odds(rows.predictions)
        for number, model in enumerate(self._models):
            if model is not None:
                mean[:, number] = model.predict_proba(rows.features(odds[:, :, number].T))[:, 1]
        return mean


class StackedNumbers:
    """Each column from the members' mean and each member's difference from it."""

    converged = True

    def __init__(self, rows: BlendRows, truth: Truth, estimators: Estimators) -> None:
        mean, deviation = rows.predictions.mean(axis=0), truth.std(axis=0)
        self._scale = np.where(deviation > 0, deviation, 1.0)
        errors = (truth - mean) / self._scale
        self._models = [
            estimators.fit_regressor(self._features(rows, number), errors[:, number]) for number in range(rows.shape[2])
        ]

    def predict(self, rows: BlendRows, mean: Floats) -> Floats:
        errors = [model.predict(self._features(rows, number)) for number, model in enumerate(self._models)]
        return np.asarray(mean + np.column_stack(errors) * self._scale)

    def _features(self, rows: BlendRows, number: int) -> Floats:
        differences = (rows.predictions - rows.predictions.mean(axis=0)) / self._scale
        return rows.features(differences[:, :, number].T)


STACKS: dict[str, type[StackedClasses | StackedLabels | StackedNumbers]] = {
    "single_label": StackedClasses,
    "ordinal": StackedClasses,
    "binary": StackedLabels,
    "multi_label": StackedLabels,
    "regression": StackedNumbers,
}


def _log_odds(probs: Floats) -> Floats:
    clipped = probs.clip(SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _has_converged(model: Any) -> bool:
    """Only logistic regressions may stop early."""
    model = model[-1] if isinstance(model, Pipeline) else model
    return not isinstance(model, LogisticRegression) or int(model.n_iter_.max()) < model.max_iter
