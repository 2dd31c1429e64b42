"""Predictions as CSV files, which every step after training reads.

    id,label,fold,p_Audi,p_BMW                out of fold: the true class, and the fold whose model had not seen the row
    id,t_red,t_round,fold,p_red,p_round       the same where the truth is a number for each column
    id,p_Audi,p_BMW                           test
    id,p_Audi,p_BMW,m_age                     with the metadata of the row, if the competition has any

`data/targets.py` says what these numbers are. Ids and labels are text: "007" and "NA" stay as they are.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.errors import DataError, RunError, listed
from podium.files import atomic_write, check_table

_PREFIX, _TRUTH_PREFIX, _METADATA_PREFIX = "p_", "t_", "m_"
_LARGEST_FOLD = 10**6
_ROWS_AT_ONCE = 5_000
"""Rows formatted at a time, to save memory."""
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
EXACT_FLOATS: Any = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}
"""Options of `pd.read_csv` for the floats that the text stands for, which newer versions read anyway."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A row per id, a column per output. Out-of-fold predictions also have the truth and the folds."""

    ids: list[str]
    outputs: list[str]
    """The name of each column: a class, or what a number stands for."""
    values: NDArray[np.float64]
    truth: pd.DataFrame | None = None
    """The column `label` with the true classes, or numbers in columns named `t_…`; `Target.truth` makes an array of
    them."""
    folds: NDArray[np.int64] | None = None
    metadata: pd.DataFrame | None = None
    """Columns named `m_…`, parsed, or as text if they were read from a file; `Metadata.encode` takes both."""

    def __post_init__(self) -> None:
        rows = len(self.ids)
        if self.values.shape != (rows, len(self.outputs)) or not self.values.size:
            raise DataError(
                f"Predictions of shape {self.values.shape} do not fit {rows} ids and {len(self.outputs)} columns;"
                " expected a row per id and at least one of each"
            )
        if (self.truth is None) != (self.folds is None):
            raise DataError("Predictions have only one of truth and folds; expected both (out of fold) or none (test)")
        if self.truth is not None and self.folds is not None and not len(self.truth) == len(self.folds) == rows:
            raise DataError(
                f"The truth of {len(self.truth)} rows and {len(self.folds)} folds for {rows} ids; expected one per id"
            )
        for name, values in (("ids", self.ids), ("columns", self.outputs)):
            if len(set(values)) < len(values):
                repeated = [value for value, count in Counter(values).items() if count > 1]
                raise DataError(
                    f"{len(repeated)} {name} occur more than once in the predictions (first: {_few(repeated)});"
                    " expected each once: do not concatenate the same rows twice"
                )

    @property
    def known_truth(self) -> pd.DataFrame:
        if self.truth is None:
            raise RunError("these predictions have no truth; a score needs out-of-fold predictions")
        return self.truth


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write atomically. Nine digits preserve every float32 exactly."""
    truth, folds, metadata = predictions.truth, predictions.folds, predictions.metadata
    known = [] if truth is None else [*truth.columns, "fold"]
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        more = [] if metadata is None else list(metadata)
        writer.writerow(["id", *known, *(_PREFIX + name for name in predictions.outputs), *more])
        row_format = ",".join(["%.9g"] * len(predictions.outputs))  # twice as fast as one value at a time
        for start in range(0, len(predictions.ids), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            answers = [] if truth is None else _as_text(truth.iloc[part])
            after = [] if metadata is None else metadata.iloc[part].astype(str).to_numpy().tolist()
            for row, values in enumerate(predictions.values[part].tolist()):
                before = [] if folds is None else [*answers[row], folds[start + row]]
                texts = (row_format % tuple(values)).split(",")
                writer.writerow([predictions.ids[start + row], *before, *texts, *(after[row] if after else ())])


def _as_text(truth: pd.DataFrame) -> list[Sequence[str]]:
    if "label" in truth:
        return [(label,) for label in truth["label"]]
    row_format = ",".join(["%.15g"] * len(truth.columns))
    return [(row_format % tuple(row)).split(",") for row in truth.to_numpy(dtype=np.float64).tolist()]


def read_predictions(path: Path, expected: Sequence[str] | None = None) -> Predictions:
    """Read what `write_predictions` wrote; `expected` are the outputs that it must have."""
    try:
        check_table(path)
        with path.open(encoding="utf-8", newline="") as file:
            columns = next(csv.reader(file), [])
        known = columns[1 : columns.index("fold")] if "fold" in columns else []
        more = [name for name in columns if name.startswith(_METADATA_PREFIX)]
        names = columns[len(known) + 2 if known else 1 : len(columns) - len(more)]
        unknown = [name for name in names if not name.startswith(_PREFIX)]
        unknown += [name for name in known if known != ["label"] and not name.startswith(_TRUTH_PREFIX)]
        if columns[:1] != ["id"] or not names or unknown:
            raise ValueError(f"wrong columns (first: {_few(unknown or columns)})")
        table = pd.read_csv(
            path, header=0, names=columns, dtype=dict.fromkeys(["id", "label", *more], str), na_filter=False,
            skip_blank_lines=False, **EXACT_FLOATS,
        )  # fmt: skip
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("more values than columns")
        values = np.empty((len(table), len(names)))
        for number, name in enumerate(names):
            values[:, number] = _numbers(table[name])
        truth = folds = None
        if known:
            truth = (
                table[known] if known == ["label"] else pd.DataFrame({name: _numbers(table[name]) for name in known})
            )
            numbers = _numbers(table["fold"])
            if (np.abs(numbers) > _LARGEST_FOLD).any():
                raise ValueError(f"a fold is above {_LARGEST_FOLD:,}")
            folds = numbers.astype(np.int64)
        outputs = [name.removeprefix(_PREFIX) for name in names]
        if expected is not None and outputs != list(expected):
            raise ValueError(f"predictions of {listed(outputs)} instead of {listed(expected)}")
        return Predictions(table["id"].tolist(), outputs, values, truth, folds, table[more] if more else None)
    except OSError as error:
        raise RunError(
            f"cannot read {path} ({error.strerror}); expected predictions: train or predict first"
        ) from error
    except (ValueError, csv.Error, DataError) as error:
        raise RunError(
            f"{path}: {str(error).strip()}; expected the columns id, label (or t_<column>) and fold if out of fold, and"
            " p_<class> with numbers for each class: predict again"
        ) from error


def _numbers(column: "pd.Series[float]") -> NDArray[np.float64]:
    try:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    except OverflowError:  # pandas 3 raises it for an integer of hundreds of digits
        raise ValueError(f"a number in column {column.name} is too large") from None
    if len(invalid := np.flatnonzero(~np.isfinite(numbers))):
        raise ValueError(
            f"{str(column.iloc[invalid[0]])!r} in column {column.name}, row {invalid[0] + 1} is not a number"
        )
    return numbers


def average(parts: Sequence[Predictions]) -> Predictions:
    """The mean predictions of the same rows, in the order of the first."""
    if not parts:
        raise DataError("There are no predictions to average; expected at least one file")
    first = parts[0]
    aligned = [first]
    for part in parts[1:]:
        _check_same_outputs(first, part)
        if different := sorted(set(part.ids) ^ set(first.ids)):
            raise DataError(
                f"Predictions to average have different rows (only in one of two: {_few(different)}); expected the same"
                " ids in each: predict the same rows"
            )
        other = align(part, first.ids)
        if not _same_truth(first, other) or not np.array_equal(first.folds, other.folds):  # type: ignore[arg-type]
            raise DataError(
                "Predictions to average have different truths or folds; expected the same for each id: average runs of"
                " one table and one split"
            )
        aligned.append(other)
    return replace(first, values=np.mean([part.values for part in aligned], axis=0))


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The rows of all parts, such as the folds of a member."""
    if not parts:
        raise DataError("There are no predictions to concatenate; expected those of at least one fold")
    for part in parts[1:]:
        _check_same_outputs(parts[0], part)
    truths = [part.truth for part in parts if part.truth is not None]
    folds = [part.folds for part in parts if part.folds is not None]
    metadata = [part.metadata for part in parts if part.metadata is not None]
    if len(truths) not in (0, len(parts)):
        raise DataError(
            "Only some of the predictions to concatenate have the truth; expected all out of fold or all test"
        )
    return Predictions(
        ids=[name for part in parts for name in part.ids],
        outputs=parts[0].outputs,
        values=np.concatenate([part.values for part in parts]),
        truth=pd.concat(truths, ignore_index=True) if truths else None,
        folds=np.concatenate(folds) if folds else None,
        metadata=pd.concat(metadata, ignore_index=True) if len(metadata) == len(parts) else None,
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
        outputs=predictions.outputs,
        values=predictions.values[rows],
        truth=None if predictions.truth is None else predictions.truth.iloc[rows].reset_index(drop=True),
        folds=None if predictions.folds is None else predictions.folds[rows],
        metadata=None if predictions.metadata is None else predictions.metadata.iloc[rows].reset_index(drop=True),
    )


def _same_truth(first: Predictions, other: Predictions) -> bool:
    if first.truth is None or other.truth is None:
        return first.truth is other.truth
    return list(first.truth) == list(other.truth) and bool((first.truth.to_numpy() == other.truth.to_numpy()).all())


def _check_same_outputs(first: Predictions, other: Predictions) -> None:
    if other.outputs != first.outputs:
        different = sorted(set(first.outputs) ^ set(other.outputs))
        reason = f"only in one of two: {_few(different)}" if different else "in another order"
        raise DataError(f"Predictions have different columns ({reason}); expected runs of one competition file")


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3]))
