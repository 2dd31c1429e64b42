"""Out-of-fold predictions of several runs side by side: the rows that all of them have, paired by id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from podium.errors import DataError
from podium.predictions import Predictions, align, numbers_of


@dataclass(frozen=True, eq=False)
class Paired:
    """The common rows, in the order that the first run has them. What is a list has one entry a run."""

    ids: list[str]
    classes: list[str]
    labels: NDArray[np.int64]
    probs: list[NDArray[np.float64]]
    left_out: list[int]
    """Rows that not all the others have."""
    in_other_folds: list[int]
    """Common rows that were validated in another fold than the first run's."""

    @property
    def share_of_smallest(self) -> float:
        """How much of the run with the fewest rows is common to all."""
        return max(len(self.ids) / (len(self.ids) + count) for count in self.left_out)


def pair(runs: Mapping[str, Predictions]) -> Paired:
    """Put runs side by side, which are called by these names where something does not fit.

    Refused are other classes, and an id that has another label in another run. Other folds are only counted: every
    row is still predicted by a model that had not seen it.
    """
    names, tables = list(runs), list(runs.values())
    for name, table in runs.items():
        _can_be_scored(name, table)
    tables = [tables[0], *(_same_columns(names[0], tables[0], name, runs[name]) for name in names[1:])]
    common = set(tables[0].ids).intersection(*(table.ids for table in tables[1:]))
    if not common:
        counted = ", ".join(f"{name} {len(table.ids):,}{_folds_of(table)}" for name, table in runs.items())
        raise DataError(
            f"No row was validated in all of these runs ({counted}); expected rows in common: compare the same folds of"
            " one competition, or all folds of each"
        )
    ids = [name for name in tables[0].ids if name in common]
    aligned = [align(table, ids) for table in tables]
    for name, table in zip(names[1:], aligned[1:], strict=True):
        _same_labels(names[0], aligned[0], name, table)
    return Paired(
        ids,
        tables[0].classes,
        numbers_of(aligned[0]),
        [table.probs for table in aligned],
        [len(table.ids) - len(ids) for table in tables],
        [_in_other_folds(aligned[0], table) for table in aligned],
    )


def _can_be_scored(name: str, table: Predictions) -> None:
    if table.labels is None:
        raise DataError(f"The predictions of {name} carry no labels; expected out-of-fold ones: predict again")
    strange = sorted(set(table.labels) - set(table.classes))
    if strange:
        raise DataError(
            f"The predictions of {name} hold the label {strange[0]!r}, which has no column there; expected one a class:"
            " predict again, or mend the file"
        )


def _same_columns(first_name: str, first: Predictions, name: str, table: Predictions) -> Predictions:
    """The classes in the order of the first run."""
    strange = sorted(set(first.classes) ^ set(table.classes))
    if strange:
        raise DataError(
            f"{first_name} and {name} tell other classes apart ({len(first.classes)} and {len(table.classes)}; only in"
            f" one of them: {_few(strange)}); expected runs of one competition"
        )
    column = {label: number for number, label in enumerate(table.classes)}
    return replace(table, classes=first.classes, probs=table.probs[:, [column[label] for label in first.classes]])


def _same_labels(first_name: str, first: Predictions, name: str, table: Predictions) -> None:
    rows = zip(first.ids, first.labels or [], table.labels or [], strict=True)
    differ = [row for row in rows if row[1] != row[2]]
    if differ:
        row, here, there = differ[0]
        raise DataError(
            f"{len(differ):,} of {len(first.ids):,} common rows have other labels in {name} than in {first_name}"
            f" (first: {row!r} is {here!r} in {first_name}, {there!r} in {name}); expected runs of one table of"
            " answers: another competition, or one whose table was changed, cannot be compared"
        )


def _in_other_folds(first: Predictions, table: Predictions) -> int:
    assert first.folds is not None
    assert table.folds is not None
    return int((first.folds != table.folds).sum())


def _folds_of(table: Predictions) -> str:
    numbers = sorted(set(table.folds.tolist())) if table.folds is not None else []
    return f" in fold {' and '.join(map(str, numbers))}" if len(numbers) < 3 else ""


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
