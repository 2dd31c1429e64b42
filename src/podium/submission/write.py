"""Writing a submission: the sample's rows and columns, answers from the probabilities, a name never used before."""

import csv
import io
import math
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from podium.errors import DataError, SubmissionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Probs = NDArray[np.floating[Any]]

Format = Literal["label", "probabilities"]


@dataclass(frozen=True)
class Sample:
    """The competition's sample submission: which columns, and which ids in which order."""

    path: Path
    columns: list[str]
    ids: list[str]


def read_sample(path: Path, id_column: str) -> Sample:
    """Ids are text, so "007" stays what it is."""
    try:
        rows = [row for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"The sample submission {path} cannot be read ({error}); expected the CSV the competition gives: download "
            "its data again"
        ) from error
    columns = rows[0] if rows else []
    if id_column not in columns or any(len(row) != len(columns) for row in rows) or len(rows) < 2:
        raise DataError(
            f"The sample submission {path} has columns {columns} and {max(len(rows) - 1, 0)} rows; expected a column "
            f"{id_column!r}, at least one row, and as many values in each row as columns: set the id column in the "
            "competition file, or download its data again"
        )
    ids = [row[columns.index(id_column)] for row in rows[1:]]
    doubled = [name for name, times in Counter(ids).items() if times > 1]
    if doubled:
        raise DataError(
            f"The sample submission {path} holds {len(doubled)} ids more than once (first: {doubled[0]!r}); expected "
            f"each once: is {id_column!r} the id column?"
        )
    return Sample(path, columns, ids)


def answer_columns(
    sample: Sample,
    *,
    format: Format,
    id_column: str,
    label_column: str | None,
    classes: Sequence[str],
    columns: Mapping[str, str],
) -> list[str]:
    """The columns besides the id; for probabilities one a class, in the order of the classes.

    Raises a SubmissionError where the sample has others.
    """
    wanted = [columns.get(name, name) for name in classes]
    if format == "label":
        wanted = [label_column] if label_column is not None else []
    if sorted([id_column, *wanted]) != sorted(sample.columns):
        raise SubmissionError(
            f"The sample submission {sample.path} has columns {', '.join(sample.columns)}; the competition file says "
            f"{', '.join([id_column, *wanted])}: make its classes, columns and format agree with the sample"
        )
    return wanted


def write_submission(
    predictions_ids: Sequence[str],
    classes: Sequence[str],
    probs: "Probs",
    *,
    sample: Path,
    format: Format,
    id_column: str,
    label_column: str | None,
    columns: Mapping[str, str],
    folder: Path,
    name: str,
    partial: bool = False,
    now: datetime | None = None,
) -> Path:
    """Write `<name>__<time>.csv` for every id of the sample and give its path.

    Predictions for ids the sample does not ask for are left out. With `partial` the ids without a prediction are left
    out too, and the file's name says so. The time is UTC, so that files from several machines sort.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SubmissionError(
            f"{name!r} cannot name a submission; expected letters, digits, dots, hyphens and underscores: rename it"
        )
    shape = read_sample(sample, id_column)
    answers = answer_columns(
        shape, format=format, id_column=id_column, label_column=label_column, classes=classes, columns=columns
    )
    row_of = _rows_by_id(predictions_ids, classes, probs)
    rows = [shape.columns]
    for row_id in _ids_to_write(shape, row_of, partial):
        given = probs[row_of[row_id]]
        values = [classes[int(given.argmax())]] if format == "label" else _shares(given)
        cells = {id_column: row_id, **dict(zip(answers, values, strict=True))}
        rows.append([cells[column] for column in shape.columns])
    stamp = f"{now or datetime.now(UTC):%Y%m%d-%H%M%S}"
    return _write_new(folder, f"{name}__{stamp}", ".partial.csv" if partial else ".csv", rows)


def _rows_by_id(ids: Sequence[str], classes: Sequence[str], probs: "Probs") -> dict[str, int]:
    row_of = {name: row for row, name in enumerate(ids)}
    if len(row_of) < len(ids):
        doubled = [name for name, times in Counter(ids).items() if times > 1]
        raise SubmissionError(
            f"{len(doubled)} ids are predicted more than once (first: {doubled[:3]}); expected each once: average the "
            "predictions first"
        )
    if probs.shape != (len(ids), len(classes)):
        raise SubmissionError(
            f"Probabilities of shape {probs.shape} do not fit {len(ids)} ids and {len(classes)} classes; expected one "
            "row an id and one column a class: give all three from one table of predictions"
        )
    for name, values in zip(ids, probs.tolist(), strict=True):
        if not all(math.isfinite(value) and value >= 0 for value in values) or not sum(values) > 0:
            raise SubmissionError(
                f"Probabilities of {name!r} are not numbers from 0 up with a positive sum; expected those of a "
                "trained model: predict again"
            )
    return row_of


def _ids_to_write(sample: Sample, row_of: Mapping[str, int], partial: bool) -> list[str]:
    ids = [name for name in sample.ids if name in row_of]
    missing = [name for name in sample.ids if name not in row_of]
    if not ids or (missing and not partial):
        raise SubmissionError(
            f"{len(missing)} of the {len(sample.ids)} ids in {sample.path} have no prediction (first: {missing[:3]}, "
            f"predicted are for instance {list(row_of)[:3]}); expected one for each: predict the whole test set"
        )
    return ids


def _shares(given: "Probs") -> list[str]:
    values = [float(value) for value in given]
    total = sum(values)
    return [f"{value / total:.9g}" for value in values]


def _write_new(folder: Path, stem: str, suffix: str, rows: Sequence[Sequence[str]]) -> Path:
    """Complete under a temporary name first, so a kill leaves no half file under a name one would send."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{stem}.{uuid.uuid4().hex}.tmp"
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        for path in _candidates(folder, stem, suffix):
            try:
                _give_name(draft, path)
            except FileExistsError:
                continue
            return path
        raise AssertionError("there is always a next number")
    finally:
        draft.unlink(missing_ok=True)


def _candidates(folder: Path, stem: str, suffix: str) -> Iterator[Path]:
    yield folder / f"{stem}{suffix}"
    for number in count(2):
        yield folder / f"{stem}-{number}{suffix}"


def _give_name(draft: Path, path: Path) -> None:
    """A link, unlike a renaming, fails where the name is taken."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError:  # no links on this file system (a mounted Google Drive, exFAT): hold the name, then rename over it
        path.open("x").close()
        draft.replace(path)
