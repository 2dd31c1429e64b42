"""Predictions as plain files: what every step after training reads, and all that it needs.

    id,label,fold,p_Audi,p_BMW     out-of-fold: the true label, and the fold whose model had not seen the row
    id,p_Audi,p_BMW                test

Ids and labels are text, whatever they look like: "007" and "NA" come back as they were.
"""

import csv
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from podium.errors import DataError, RunError
from podium.files import atomic_write

_PREFIX = "p_"
_TRUTH = ["label", "fold"]
_AT_A_TIME = 5_000
"""Rows that are turned into text together, so that a long file takes no more memory than a short one."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row an id, one column a class; out-of-fold predictions also carry the true labels and the folds."""

    ids: list[str]
    classes: list[str]
    probs: NDArray[np.float64]
    labels: list[str] | None = None
    folds: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        rows = len(self.ids)
        if self.probs.shape != (rows, len(self.classes)) or not self.probs.size:
            raise DataError(
                f"Probabilities of shape {self.probs.shape} do not fit {rows} ids and {len(self.classes)} classes; "
                "expected one row an id and one column a class, and at least one of each"
            )
        if (self.labels is None) != (self.folds is None):
            raise DataError("Predictions have labels or folds alone; expected both (out-of-fold) or neither (test)")
        if self.labels is not None and self.folds is not None and not len(self.labels) == len(self.folds) == rows:
            raise DataError(
                f"{len(self.labels)} labels and {len(self.folds)} folds came with {rows} ids; expected one each a row"
            )
        for what, names in (("ids", self.ids), ("classes", self.classes)):
            if len(set(names)) < len(names):
                doubled = [name for name, count in Counter(names).items() if count > 1]
                raise DataError(
                    f"{len(doubled)} {what} occur more than once in the predictions (first: {_few(doubled)}); expected "
                    "each once: do not put the same rows together twice"
                )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the whole file or nothing; nine digits bring every float32 back exactly."""
    truth = [] if predictions.labels is None else _TRUTH
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", *truth, *(_PREFIX + name for name in predictions.classes)])
        form = ",".join(["%.9g"] * len(predictions.classes))  # all of a row at once: twice as fast as one by one
        for start in range(0, len(predictions.ids), _AT_A_TIME):
            for row, probs in enumerate(predictions.probs[start : start + _AT_A_TIME].tolist(), start=start):
                known = []
                if predictions.labels is not None and predictions.folds is not None:
                    known = [predictions.labels[row], str(predictions.folds[row])]
                writer.writerow([predictions.ids[row], *known, *(form % tuple(probs)).split(",")])


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote; anything else is a RunError naming the file and the line."""
    reader = csv.reader(_lines_of(path), strict=True)
    ids: dict[str, None] = {}  # in order, and quick to ask whether an id came before
    labels: list[str] = []
    spelt: dict[str, str] = {}
    folds: list[int] = []
    probs = array("d")
    try:
        classes, has_truth = _read_header(next(reader, []))
        first = 3 if has_truth else 1
        for cells in reader:
            if len(cells) != first + len(classes):
                raise ValueError(f"{len(cells)} values, expected {first + len(classes)}")
            if cells[0] in ids:
                raise ValueError(f"id {cells[0]!r} is on an earlier line too")
            ids[cells[0]] = None
            if has_truth:
                labels.append(spelt.setdefault(cells[1], cells[1]))  # one text a class, not one a row
                folds.append(int(cells[2]))
            probs.extend(_finite(cells[first:]))
        table = np.array(probs, dtype=np.float64).reshape(len(ids), len(classes))
        truth = (labels, np.array(folds, dtype=np.int64)) if has_truth else (None, None)
        return Predictions(list(ids), classes, table, *truth)
    except (ValueError, OverflowError, csv.Error, DataError) as error:
        raise RunError(
            f"{path}, line {max(reader.line_num, 1)}: {error}; expected `id`, then `label` and `fold` if out-of-fold, "
            "then a finite number for each class in a column p_<class>: predict again, or mend the file"
        ) from error


def average(parts: Sequence[Predictions]) -> Predictions:
    """The mean probabilities of the same rows, in the order of the first."""
    if not parts:
        raise DataError("There are no predictions to average; expected at least one file of them")
    first = parts[0]
    aligned = [first]
    for part in parts[1:]:
        _same_classes(first, part)
        if set(part.ids) != set(first.ids):
            raise DataError(
                f"Predictions to average are of different rows (only in one of two: "
                f"{_few(sorted(set(part.ids) ^ set(first.ids)))}); expected the same ids in each: predict the same rows"
            )
        other = align(part, first.ids)
        if not _same_truth(first, other):
            raise DataError(
                "Predictions to average disagree on labels or folds; expected the same for each id: average runs that "
                "were made from one table and one split"
            )
        aligned.append(other)
    return replace(first, probs=np.mean([part.probs for part in aligned], axis=0))


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The rows of all parts one after another: the folds of a run into its whole out-of-fold table."""
    if not parts:
        raise DataError("There are no predictions to put together; expected those of at least one fold")
    for part in parts[1:]:
        _same_classes(parts[0], part)
    labels = [part.labels for part in parts if part.labels is not None]
    folds = [part.folds for part in parts if part.folds is not None]
    if len(labels) not in (0, len(parts)):
        raise DataError(
            "Some of the predictions to put together have labels and some have not; expected all out-of-fold or all "
            "test: choose files of one kind"
        )
    return Predictions(
        ids=[name for part in parts for name in part.ids],
        classes=parts[0].classes,
        probs=np.concatenate([part.probs for part in parts]),
        labels=[label for part in labels for label in part] if labels else None,
        folds=np.concatenate(folds) if folds else None,
    )


def align(predictions: Predictions, ids: Sequence[str]) -> Predictions:
    """The rows of these ids, in this order; other rows are left out."""
    row_of = {name: row for row, name in enumerate(predictions.ids)}
    missing = [name for name in ids if name not in row_of]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(ids)} ids have no prediction (first: {_few(missing)}); expected one for each: "
            "predict these rows too"
        )
    rows = [row_of[name] for name in ids]
    return Predictions(
        ids=list(ids),
        classes=predictions.classes,
        probs=predictions.probs[rows],
        labels=None if predictions.labels is None else [predictions.labels[row] for row in rows],
        folds=None if predictions.folds is None else predictions.folds[rows],
    )


def _lines_of(path: Path) -> Iterator[str]:
    """The lines as they are, read as they are asked for."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from file
    except OSError as error:
        raise RunError(
            f"{path} cannot be read ({error.strerror}); expected a file of predictions: train or predict first"
        ) from error
    except UnicodeDecodeError:
        _tell_where_text_ends(path)


def _tell_where_text_ends(path: Path) -> None:
    content = path.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RunError(
            f"{path}, line {line}: not UTF-8 ({error.reason}); expected a file as podium writes it: predict again"
        ) from error


def _read_header(columns: list[str]) -> tuple[list[str], bool]:
    has_truth = columns[1:3] == _TRUTH
    names = columns[3 if has_truth else 1 :]
    wrong = [name for name in names if not name.startswith(_PREFIX)]
    if columns[:1] != ["id"] or not names or wrong:
        raise ValueError(f"wrong columns (first: {_few(wrong or columns) or 'none at all'})")
    if len(set(names)) < len(names):
        raise ValueError("a class has two columns")
    return [name.removeprefix(_PREFIX) for name in names], has_truth


def _finite(cells: Sequence[str]) -> list[float]:
    values = [*map(float, cells)]
    if not all(map(math.isfinite, values)):
        wrong = next(cell for cell, value in zip(cells, values, strict=True) if not math.isfinite(value))
        raise ValueError(f"{wrong} is not a finite number")
    return values


def _same_classes(first: Predictions, other: Predictions) -> None:
    if other.classes != first.classes:
        only_one = sorted(set(first.classes) ^ set(other.classes))
        difference = f"only in one of two: {_few(only_one)}" if only_one else "in another order"
        raise DataError(
            f"Predictions are of different classes ({difference}); expected the same list in each: use runs of one "
            "competition file"
        )


def _same_truth(first: Predictions, other: Predictions) -> bool:
    if first.folds is None or other.folds is None:
        return first.folds is other.folds
    return first.labels == other.labels and np.array_equal(first.folds, other.folds)


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3]))


def numbers_of(predictions: Predictions) -> NDArray[np.int64]:
    """The true labels as numbers of the classes."""
    if predictions.labels is None:
        raise RunError("these predictions carry no labels; a score needs out-of-fold predictions")
    number = {label: index for index, label in enumerate(predictions.classes)}
    return np.array([number[label] for label in predictions.labels], dtype=np.int64)
