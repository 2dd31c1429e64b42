"""Predictions as CSV files, which every step after training reads.

    id,label,fold,p_Audi,p_BMW     out of fold: the true label, and the fold whose model had not seen the row
    id,p_Audi,p_BMW                test

Ids and labels are text: "007" and "NA" stay as they are.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.errors import DataError, RunError
from podium.files import atomic_write

_PREFIX = "p_"
_LABEL_COLUMNS = ["label", "fold"]
_ROWS_AT_ONCE = 5_000
"""Rows formatted at a time, to save memory."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A row per id, a column per class. Out-of-fold predictions also have the true labels and the folds."""

    ids: list[str]
    classes: list[str]
    probs: NDArray[np.float64]
    labels: list[str] | None = None
    folds: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        rows = len(self.ids)
        if self.probs.shape != (rows, len(self.classes)) or not self.probs.size:
            raise DataError(
                f"Probabilities of shape {self.probs.shape} do not fit {rows} ids and {len(self.classes)} classes;"
                " expected a row per id and a column per class, at least one of each"
            )
        if (self.labels is None) != (self.folds is None):
            raise DataError("Predictions have only one of labels and folds; expected both (out of fold) or none (test)")
        if self.labels is not None and self.folds is not None and not len(self.labels) == len(self.folds) == rows:
            raise DataError(
                f"{len(self.labels)} labels and {len(self.folds)} folds for {rows} ids; expected one per id"
            )
        for name, values in (("ids", self.ids), ("classes", self.classes)):
            if len(set(values)) < len(values):
                repeated = [value for value, count in Counter(values).items() if count > 1]
                raise DataError(
                    f"{len(repeated)} {name} occur more than once in the predictions (first: {_few(repeated)});"
                    " expected each once: do not concatenate the same rows twice"
                )

    @property
    def class_numbers(self) -> NDArray[np.int64]:
        """The true labels as column numbers."""
        if self.labels is None:
            raise RunError("these predictions have no labels; a score needs out-of-fold predictions")
        number = {label: index for index, label in enumerate(self.classes)}
        return np.array([number[label] for label in self.labels], dtype=np.int64)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write atomically. Nine digits preserve every float32 exactly."""
    has_labels = predictions.labels is not None
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["id", *(_LABEL_COLUMNS if has_labels else []), *(_PREFIX + name for name in predictions.classes)]
        )
        row_format = ",".join(["%.9g"] * len(predictions.classes))  # twice as fast as one value at a time
        for start in range(0, len(predictions.ids), _ROWS_AT_ONCE):
            for row, probs in enumerate(predictions.probs[start : start + _ROWS_AT_ONCE].tolist(), start=start):
                known = []
                if predictions.labels is not None and predictions.folds is not None:
                    known = [predictions.labels[row], predictions.folds[row]]
                writer.writerow([predictions.ids[row], *known, *(row_format % tuple(probs)).split(",")])


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            columns = next(csv.reader(file), [])
        names = columns[3 if columns[1:3] == _LABEL_COLUMNS else 1 :]
        unknown = [name for name in names if not name.startswith(_PREFIX)]
        if columns[:1] != ["id"] or not names or unknown:
            raise ValueError(f"wrong columns (first: {_few(unknown or columns)})")
        table = pd.read_csv(
            path, header=0, names=columns, dtype={"id": str, "label": str}, na_filter=False, skip_blank_lines=False,
            float_precision="round_trip",
        )  # fmt: skip
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("more values than columns")
        probs = np.empty((len(table), len(names)))
        for number, name in enumerate(names):
            probs[:, number] = _numbers(table[name])
        labels = table["label"].tolist() if "label" in columns else None
        folds = _numbers(table["fold"]).astype(np.int64) if "fold" in columns else None
        return Predictions(table["id"].tolist(), [name.removeprefix(_PREFIX) for name in names], probs, labels, folds)
    except OSError as error:
        raise RunError(
            f"cannot read {path} ({error.strerror}); expected predictions: train or predict first"
        ) from error
    except (ValueError, DataError) as error:
        raise RunError(
            f"{path}: {str(error).strip()}; expected the columns id, label and fold if out of fold, and p_<class> with"
            " numbers for each class: predict again"
        ) from error


def _numbers(column: "pd.Series[float]") -> NDArray[np.float64]:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if len(invalid := np.flatnonzero(~np.isfinite(numbers))):
        raise ValueError(
            f"{str(column.iloc[invalid[0]])!r} in column {column.name}, row {invalid[0] + 1} is not a number"
        )
    return numbers


def average(parts: Sequence[Predictions]) -> Predictions:
    """The mean probabilities of the same rows, in the order of the first."""
    if not parts:
        raise DataError("There are no predictions to average; expected at least one file")
    first = parts[0]
    aligned = [first]
    for part in parts[1:]:
        _check_same_classes(first, part)
        if different := sorted(set(part.ids) ^ set(first.ids)):
            raise DataError(
                f"Predictions to average have different rows (only in one of two: {_few(different)}); expected the same"
                " ids in each: predict the same rows"
            )
        other = align(part, first.ids)
        if first.labels != other.labels or not np.array_equal(first.folds, other.folds):  # type: ignore[arg-type]
            raise DataError(
                "Predictions to average have different labels or folds; expected the same for each id: average runs of"
                " one table and one split"
            )
        aligned.append(other)
    return replace(first, probs=np.mean([part.probs for part in aligned], axis=0))


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The rows of all parts, such as the folds of a member."""
    if not parts:
        raise DataError("There are no predictions to concatenate; expected those of at least one fold")
    for part in parts[1:]:
        _check_same_classes(parts[0], part)
    labels = [part.labels for part in parts if part.labels is not None]
    folds = [part.folds for part in parts if part.folds is not None]
    if len(labels) not in (0, len(parts)):
        raise DataError("Only some of the predictions to concatenate have labels; expected all out of fold or all test")
    return Predictions(
        ids=[name for part in parts for name in part.ids],
        classes=parts[0].classes,
        probs=np.concatenate([part.probs for part in parts]),
        labels=[label for part in labels for label in part] if labels else None,
        folds=np.concatenate(folds) if folds else None,
    )


def align(predictions: Predictions, ids: Sequence[str]) -> Predictions:
    """The rows with these ids, in this order."""
    row_of = {name: row for row, name in enumerate(predictions.ids)}
    if missing := [name for name in ids if name not in row_of]:
        raise DataError(
            f"{len(missing)} of {len(ids)} ids have no prediction (first: {_few(missing)}); expected one for each:"
            " predict these rows too"
        )
    rows = [row_of[name] for name in ids]
    return Predictions(
        ids=list(ids),
        classes=predictions.classes,
        probs=predictions.probs[rows],
        labels=None if predictions.labels is None else [predictions.labels[row] for row in rows],
        folds=None if predictions.folds is None else predictions.folds[rows],
    )


def _check_same_classes(first: Predictions, other: Predictions) -> None:
    if other.classes != first.classes:
        different = sorted(set(first.classes) ^ set(other.classes))
        reason = f"only in one of two: {_few(different)}" if different else "in another order"
        raise DataError(f"Predictions have different classes ({reason}); expected runs of one competition file")


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3]))
