"""The kinds of target, behind the interface `Target`."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.competition import Competition
from podium.config.sources import TrainSource
from podium.config.target import SEPARATORS, MultiLabel, Regression
from podium.data.target import LABEL, SMALLEST, TRUTH_PREFIX, AsFloats, Encoded, Floats, Head, OneHot, Target, Truth
from podium.errors import DataError, listed
from podium.evaluation.metrics import SMALLEST_PROBABILITY
from podium.evaluation.reports import Reports, class_reports, error_reports, label_reports

BINS, ROWS_PER_BIN = 10, 20
"""Numbers are stratified by up to BINS ranges, of at least ROWS_PER_BIN rows each."""


class _ClassTarget(Target):
    """The truth is a class number."""

    truth_is_class = True

    @property
    def columns(self) -> list[str]:
        return [LABEL]

    def source_columns(self, source: TrainSource) -> list[str]:
        return [source.label]

    def parse(self, table: pd.DataFrame, source: TrainSource, path: Path) -> pd.DataFrame:
        labels = table[source.label]
        rows = np.flatnonzero(~labels.isin(self.labels))
        _refuse_unknown(zip(rows.tolist(), labels.iloc[rows], strict=True), self.labels, path)
        return pd.DataFrame({LABEL: pd.Categorical(labels, categories=self.labels)})

    def _truth(self, table: pd.DataFrame) -> Truth:
        numbers = np.asarray(pd.Index(self.labels).get_indexer(table[LABEL]), dtype=np.int64)
        if (numbers < 0).any():
            unknown = sorted(set(table[LABEL]) - set(self.labels))
            raise DataError(
                f"labels that are not classes of the competition file: {listed(unknown)}; expected"
                f" {listed(self.labels)}: predict again with the same competition file"
            )
        return numbers

    def table(self, truth: Truth) -> pd.DataFrame:
        return pd.DataFrame({LABEL: pd.Categorical.from_codes(truth.tolist(), pd.Index(self.labels))})

    def encode(self, truth: Truth) -> Encoded:
        return OneHot(truth, len(self.labels))

    def loss(self, truth: Truth, predictions: Floats) -> float:
        clipped = predictions.clip(SMALLEST_PROBABILITY)
        right = clipped[np.arange(len(truth)), truth]
        return float(-np.log(right / clipped.sum(axis=1)).mean())

    def figures(self, truth: Truth, predictions: Floats) -> dict[str, float]:
        return {"accuracy": float((self._answers(predictions) == truth).mean())}

    def reports(self, truth: Truth, predictions: Floats) -> Reports:
        return class_reports(self.labels, truth, self._answers(predictions))

    def strata(self, truth: Truth) -> NDArray[np.int64]:
        return truth

    def classes_without_rows(self, truth: Truth) -> list[str]:
        counts = np.bincount(truth, minlength=len(self.labels))
        return [label for label, count in zip(self.labels, counts, strict=True) if not count]

    def _answers(self, predictions: Floats) -> NDArray[np.int64]:
        return np.asarray(predictions.argmax(axis=1))


class SingleLabelTarget(_ClassTarget):
    kind = "single_label"
    head: Head = "softmax"

    def normalize(self, predictions: Floats) -> Floats:
        return _to_sum_one(predictions)

    def prior(self, truth: Truth) -> Floats:
        counts = np.bincount(truth, minlength=len(self.labels))
        return np.asarray(counts / counts.sum())


class OrdinalTarget(SingleLabelTarget):
    kind = "ordinal"
    head = "ordinal"

    def loss(self, truth: Truth, predictions: Floats) -> float:
        """The mean log loss of "above this class", over all classes but the last."""
        above = predictions[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:] / predictions.sum(axis=1, keepdims=True)
        return _log_loss(truth[:, None] > np.arange(len(self.labels) - 1), above)


class BinaryTarget(_ClassTarget):
    kind = "binary"
    head = "sigmoid"

    @property
    def outputs(self) -> list[str]:
        return self.labels[1:]

    def encode(self, truth: Truth) -> Encoded:
        return AsFloats(truth[:, None])

    def loss(self, truth: Truth, predictions: Floats) -> float:
        return _log_loss(truth[:, None], predictions)

    def normalize(self, predictions: Floats) -> Floats:
        return predictions.clip(0.0, 1.0)

    def geometric_mean(self, predictions: Floats, smallest: float = SMALLEST, power: float = 1.0) -> Floats:
        return _mean_of_odds(predictions, smallest, power)

    def _answers(self, predictions: Floats) -> NDArray[np.int64]:
        return (predictions[:, 0] >= 0.5).astype(np.int64)


class _MatrixTarget(Target):
    """The truth is a matrix, with a column for each output."""

    dtype: ClassVar[Any] = np.float32
    """In the table of rows, which may be long."""

    @property
    def columns(self) -> list[str]:
        return [TRUTH_PREFIX + name for name in self.outputs]

    def source_columns(self, source: TrainSource) -> list[str]:
        return self.outputs

    def parse(self, table: pd.DataFrame, source: TrainSource, path: Path) -> pd.DataFrame:
        texts = table[self.source_columns(source)]
        numbers = np.column_stack([pd.to_numeric(texts[name], errors="coerce") for name in texts])
        problems = self._problems(texts, numbers)
        if problems:
            raise DataError(f"{path} has {'; '.join(problems)}")
        return self.table(self._from_numbers(numbers))

    def _truth(self, table: pd.DataFrame) -> Truth:
        return table[self.columns].to_numpy(dtype=np.float64)

    def table(self, truth: Truth) -> pd.DataFrame:
        return pd.DataFrame(truth.astype(self.dtype, copy=False), columns=self.columns)

    def encode(self, truth: Truth) -> Encoded:
        return AsFloats(truth)

    @abstractmethod
    def _problems(self, texts: pd.DataFrame, numbers: Floats) -> list[str]:
        """What is invalid, and what was expected."""

    def _from_numbers(self, numbers: Floats) -> Floats:
        return numbers


@dataclass(frozen=True)
class MultiLabelTarget(_MatrixTarget):
    separator: str | None = None
    """Between the labels in one column; None if each class has a column."""
    kind = "multi_label"
    head = "sigmoid"
    dtype = np.uint8

    @classmethod
    def of(cls, competition: Competition) -> "Target":
        assert isinstance(competition.target, MultiLabel)
        return cls(competition.labels, competition.target.separator)

    def source_columns(self, source: TrainSource) -> list[str]:
        return [source.label] if self.separator else self.outputs

    def parse(self, table: pd.DataFrame, source: TrainSource, path: Path) -> pd.DataFrame:
        if not self.separator:
            return super().parse(table, source, path)
        separator = SEPARATORS[self.separator]
        number_of = {label: number for number, label in enumerate(self.labels)}
        numbers = np.zeros((len(table), len(self.labels)), self.dtype)
        unknown: dict[str, int] = {}
        for row, text in enumerate(table[source.label]):
            for label in filter(None, (part.strip() for part in text.split(separator))):
                if label in number_of:
                    numbers[row, number_of[label]] = 1
                else:
                    unknown.setdefault(label, row)
        _refuse_unknown(((row, label) for label, row in unknown.items()), self.labels, path)
        return self.table(numbers)

    def _truth(self, table: pd.DataFrame) -> Truth:
        """As bytes, an eighth of the memory, unless the table has other numbers than 0 and 1."""
        numbers = table[self.columns].to_numpy()
        return numbers if numbers.dtype == self.dtype else numbers.astype(np.float64)

    def loss(self, truth: Truth, predictions: Floats) -> float:
        return _log_loss(truth, predictions)

    def reports(self, truth: Truth, predictions: Floats) -> Reports:
        return label_reports(self.labels, truth, predictions)

    def strata(self, truth: Truth) -> NDArray[np.int64]:
        """The rarest label of each row, and one number more for rows without a label. A soft label is one from 0.5."""
        rarest_first = np.argsort(truth.sum(axis=0), kind="stable")
        labels = truth[:, rarest_first] >= 0.5
        return np.where(labels.any(axis=1), labels.argmax(axis=1), labels.shape[1])

    def features(self, truth: Truth) -> NDArray[np.bool_]:
        return truth > 0

    def normalize(self, predictions: Floats) -> Floats:
        return predictions.clip(0.0, 1.0)

    def geometric_mean(self, predictions: Floats, smallest: float = SMALLEST, power: float = 1.0) -> Floats:
        return _mean_of_odds(predictions, smallest, power)

    def _problems(self, texts: pd.DataFrame, numbers: Floats) -> list[str]:
        return invalid_values(texts, ~np.isin(numbers, (0, 1)), "0 or 1")


class SoftLabelTarget(_MatrixTarget):
    kind = "soft_label"
    head = "softmax"

    def _truth(self, table: pd.DataFrame) -> Truth:
        return _to_sum_one(super()._truth(table))

    def loss(self, truth: Truth, predictions: Floats) -> float:
        """The Kullback-Leibler divergence of the predictions from the truth."""
        predicted = _to_sum_one(predictions.clip(SMALLEST_PROBABILITY))
        return float((truth * np.log(truth.clip(SMALLEST_PROBABILITY) / predicted)).sum(axis=1).mean())

    def reports(self, truth: Truth, predictions: Floats) -> Reports:
        errors = error_reports(self.outputs, truth, predictions)
        return {**class_reports(self.labels, truth.argmax(axis=1), predictions.argmax(axis=1)), **errors}

    def strata(self, truth: Truth) -> NDArray[np.int64]:
        return np.asarray(truth.argmax(axis=1))

    def normalize(self, predictions: Floats) -> Floats:
        return _to_sum_one(predictions)

    def _problems(self, texts: pd.DataFrame, numbers: Floats) -> list[str]:
        wrong = ~(np.isfinite(numbers) & (numbers >= 0))
        problems = invalid_values(texts, wrong, "a number from 0 up")
        empty = np.flatnonzero(~wrong.any(axis=1) & (numbers.sum(axis=1) == 0))
        if len(empty):
            rows = listed([str(row + 2) for row in empty])
            problems.append(f"only zeros in line {rows}; expected votes or probabilities with a positive sum")
        return problems

    def _from_numbers(self, numbers: Floats) -> Floats:
        return _to_sum_one(numbers)


@dataclass(frozen=True)
class RegressionTarget(_MatrixTarget):
    numbers: list[str] = field(default_factory=list)
    """The names of the numbers: of their columns in the table, unless each source has one column with its own name."""
    range: list[float] | None = None
    """The smallest and the largest possible number."""
    in_label_column: bool = False
    kind = "regression"
    dtype = np.float64

    @classmethod
    def of(cls, competition: Competition) -> "Target":
        target = competition.target
        assert isinstance(target, Regression)
        return cls([], target.columns or [competition.train.label], target.range, target.columns is None)

    @property
    def outputs(self) -> list[str]:
        return self.numbers

    @property
    def head(self) -> Head:
        return "bounded" if self.range else "linear"

    @property
    def description(self) -> str:
        return f"{len(self.numbers)} number{'s' * (len(self.numbers) > 1)} each"

    def source_columns(self, source: TrainSource) -> list[str]:
        return [source.label] if self.in_label_column else self.numbers

    def offset_and_scale(self, truth: Truth) -> tuple[Floats, Floats]:
        """What brings the numbers near 0 and 1: their range, else the mean and deviation of these rows."""
        width = len(self.outputs)
        if self.range:
            low, high = self.range
            return np.full(width, low), np.full(width, high - low)
        deviation = truth.std(axis=0)
        return truth.mean(axis=0), np.where(deviation > 0, deviation, 1.0)

    def loss(self, truth: Truth, predictions: Floats) -> float:
        """The mean squared error on the scale of `offset_and_scale`."""
        _, scale = self.offset_and_scale(truth)
        return float((((predictions - truth) / scale) ** 2).mean())

    def reports(self, truth: Truth, predictions: Floats) -> Reports:
        return error_reports(self.outputs, truth, predictions)

    def strata(self, truth: Truth) -> NDArray[np.int64]:
        """Ranges of the number with as many rows each; of several numbers, of their mean rank."""
        return _bins(_ranks(truth).mean(axis=1, keepdims=True))[:, 0]

    def features(self, truth: Truth) -> NDArray[np.bool_]:
        bins = _bins(truth)
        return np.asarray(bins[:, :, None] == np.unique(bins)).reshape(len(truth), -1)

    def normalize(self, predictions: Floats) -> Floats:
        return predictions.clip(self.range[0], self.range[1]) if self.range else predictions

    def geometric_mean(self, predictions: Floats, smallest: float = SMALLEST, power: float = 1.0) -> Floats:
        raise DataError("numbers have no geometric mean; expected the arithmetic mean")

    def _problems(self, texts: pd.DataFrame, numbers: Floats) -> list[str]:
        low, high = self.range or (-np.inf, np.inf)
        expected = f"a number from {low:g} to {high:g} (target.range)" if self.range else "a number"
        return invalid_values(texts, ~(np.isfinite(numbers) & (numbers >= low) & (numbers <= high)), expected)


TARGETS: dict[str, type[Target]] = {
    target.kind: target
    for target in (
        SingleLabelTarget, BinaryTarget, MultiLabelTarget, OrdinalTarget, RegressionTarget, SoftLabelTarget,
    )
}  # fmt: skip


def target_of(competition: Competition) -> Target:
    return TARGETS[competition.target.kind].of(competition)


def target_fields(target: Target) -> dict[str, Any]:
    """A target as JSON, for another process; `target_from` reads it."""
    return {"kind": target.kind, **asdict(target)}


def target_from(fields: dict[str, Any]) -> Target:
    return TARGETS[fields["kind"]](**{name: value for name, value in fields.items() if name != "kind"})


def _ranks(numbers: Floats) -> NDArray[np.int64]:
    return numbers.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")


def _bins(numbers: Floats) -> NDArray[np.int64]:
    """Of every column, the number of the range that a row is in; all ranges have as many rows."""
    bins = max(1, min(BINS, len(numbers) // ROWS_PER_BIN))
    return _ranks(numbers) * bins // max(len(numbers), 1)


def _to_sum_one(values: Floats) -> Floats:
    """The last axis sums to 1; zeros become equal shares."""
    positive = values.clip(min=0)
    total = positive.sum(axis=-1, keepdims=True)
    return np.where(total > 0, positive / np.where(total > 0, total, 1), 1 / values.shape[-1])


def _mean_of_odds(probabilities: Floats, smallest: float, power: float) -> Floats:
    """The geometric mean over the first axis, to this power, of yes and of no, which then sum to 1."""
    parts = (probabilities, 1 - probabilities)
    yes, no = (power * np.log(part.clip(smallest)).mean(axis=0) for part in parts)
    return np.asarray(1 / (1 + np.exp(no - yes)))


def _log_loss(truth: Truth, probabilities: Floats) -> float:
    right = np.where(truth, probabilities, 1 - probabilities)
    return float(-np.log(right.clip(SMALLEST_PROBABILITY, 1.0)).mean())


def _refuse_unknown(unknown: Iterable[tuple[int, str]], classes: Sequence[str], path: Path) -> None:
    """Fail if there are rows with labels that are not classes: one error names each label once."""
    texts: dict[str, str] = {}
    for row, label in unknown:
        if label.strip():
            texts.setdefault(label, f"{label!r} in line {row + 2}")
        else:
            texts[f" {row}"] = f"an empty label in line {row + 2}"
    if texts:
        raise DataError(
            f"{path} has labels that are not classes of the competition file: {listed(list(texts.values()))}; expected"
            f" {listed(classes)}"
        )


def invalid_values(texts: pd.DataFrame, wrong: NDArray[np.bool_], expected: str) -> list[str]:
    """A problem for each column with invalid values, with examples and their lines in the file."""
    problems = []
    for number, column in enumerate(texts):
        rows = np.flatnonzero(wrong[:, number])
        if len(rows):
            examples = listed([f"{texts[column].iloc[row]!r} in line {row + 2}" for row in rows])
            problems.append(f"invalid values in column {column}: {examples}; expected {expected}")
    return problems
