"""What a competition predicts: the interface of every kind of target. The kinds are in `targets.py`.

The truth is an array: class numbers as (rows,), or a matrix as (rows, columns), of bytes for multi_label and of float64
else. Predictions are a matrix of float64 as (rows, outputs).

kind           truth                      predictions
single_label   class numbers              a probability for each class; they sum to 1
ordinal        class numbers              the same
binary         1 is the positive class    one column, the probability of the positive class
multi_label    0 or 1 for each class      a probability for each class
soft_label     shares that sum to 1       shares that sum to 1
regression     numbers                    numbers, in the units of the table
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.competition import Competition
from podium.config.sources import TrainSource
from podium.errors import DataError, listed
from podium.evaluation.metrics import SMALLEST_PROBABILITY
from podium.evaluation.reports import Reports

Floats = NDArray[np.float64]
Truth = NDArray[Any]
Head = Literal["softmax", "sigmoid", "linear", "bounded", "ordinal"]
"""The last layers of a model; `models/heads.py` builds them."""

SMALLEST = 1e-7
"""In logarithms: float32 softmax is not accurate below, and one probability of 0 must not exclude a class."""
LABEL = "label"
"""In a table of rows or predictions: the column of true classes, as text."""
TRUTH_PREFIX = "t_"
"""Before the name of every column of the truth, where it is a matrix."""


class OneHot:
    """One-hot labels, created one batch at a time to save memory."""

    def __init__(self, labels: NDArray[np.int64], classes: int) -> None:
        self._labels, self._rows = labels, np.eye(classes, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(self._rows[self._labels[rows]])


class AsFloats:
    """A matrix as float32, converted one batch at a time to save memory."""

    def __init__(self, matrix: NDArray[Any]) -> None:
        self._matrix = matrix

    def __len__(self) -> int:
        return len(self._matrix)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._matrix[rows].astype(np.float32)


Encoded = AsFloats | OneHot
"""The truth as what a model is trained on."""


@dataclass(frozen=True)
class Target(ABC):
    labels: list[str]
    """The classes, in order; none for regression."""
    kind: ClassVar[str]
    truth_is_class: ClassVar[bool] = False
    """Whether the truth is a class number, else a matrix."""

    @classmethod
    def of(cls, competition: Competition) -> "Target":
        return cls(competition.labels)

    @property
    def outputs(self) -> list[str]:
        """The names of the prediction columns."""
        return self.labels

    @property
    @abstractmethod
    def head(self) -> Head: ...

    @property
    def description(self) -> str:
        """For messages."""
        return f"{len(self.labels)} classes"

    # Tables: `rows` of a competition and `truth` of predictions have the same columns.

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """The columns of the truth in a table: LABEL, or the TRUTH_PREFIX and a name for each column of the matrix."""

    @abstractmethod
    def source_columns(self, source: TrainSource) -> list[str]:
        """The columns to read from the competition's table."""

    @abstractmethod
    def parse(self, table: pd.DataFrame, source: TrainSource, path: Path) -> pd.DataFrame:
        """The `columns`, from text as it is in the competition's table. One error names everything that is invalid."""

    def truth(self, table: pd.DataFrame) -> Truth:
        """The truth from the `columns` of a table."""
        if missing := [name for name in self.columns if name not in table]:
            raise DataError(
                f"the truth has the columns {listed([str(name) for name in table])} instead of {listed(missing)};"
                " expected rows of the same competition"
            )
        return self._truth(table)

    @abstractmethod
    def _truth(self, table: pd.DataFrame) -> Truth:
        """The truth from a table with the `columns`."""

    @abstractmethod
    def table(self, truth: Truth) -> pd.DataFrame:
        """The `columns` from the truth."""

    # Training

    @abstractmethod
    def encode(self, truth: Truth) -> Encoded:
        """What a model is trained on."""

    @abstractmethod
    def loss(self, truth: Truth, predictions: Floats) -> float:
        """The validation loss."""

    def figures(self, truth: Truth, predictions: Floats) -> dict[str, float]:
        """What else is reported of every validation, by name."""
        return {}

    @abstractmethod
    def reports(self, truth: Truth, predictions: Floats) -> Reports:
        """Tables about the best weights' predictions, by the names of their files."""

    # Splitting rows

    @abstractmethod
    def strata(self, truth: Truth) -> NDArray[np.int64]:
        """A number for each row, the same for similar rows: what a simple split balances."""

    def features(self, truth: Truth) -> NDArray[np.bool_]:
        """As (rows, features): what folds balance where a row has several classes or none, or a class is rare."""
        strata = self.strata(truth)
        return np.asarray(strata[:, None] == np.unique(strata))

    def classes_without_rows(self, truth: Truth) -> list[str]:
        """The classes that cannot be learned since they have no row."""
        return []

    # Predictions

    @abstractmethod
    def normalize(self, predictions: Floats) -> Floats:
        """Any average or blend of predictions in the allowed form; the last axis has the outputs."""

    def geometric_mean(self, predictions: Floats, smallest: float = SMALLEST, power: float = 1.0) -> Floats:
        """The mean over the first axis, to this power, of probabilities that are at least `smallest`."""
        return self.normalize(np.exp(power * np.log(predictions.clip(smallest)).mean(axis=0)))

    def with_temperature(self, probabilities: Floats, temperature: float) -> Floats:
        """As if the logits had been divided by the temperature: less certain if it is above 1, else more."""
        return self.geometric_mean(probabilities[None], SMALLEST_PROBABILITY, 1 / temperature)

    def prior(self, truth: Truth) -> Floats:
        """The prediction for an image that cannot be read."""
        return np.asarray(truth.mean(axis=0), dtype=np.float64).reshape(len(self.outputs))
