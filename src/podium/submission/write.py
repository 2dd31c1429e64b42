"""Writing a submission: the sample's rows and columns, answers from the probabilities, a name never used before."""

import csv
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from podium.errors import DataError, SubmissionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Probs = NDArray[np.floating[Any]]

Format = Literal["label", "probabilities"]
_AT_A_TIME = 5_000
"""Rows that are turned into text together, so that a long file takes no more memory than a short one."""
_NEEDS_QUOTES = re.compile('[,"\r\n]')


@dataclass(frozen=True)
class Sample:
    """The competition's sample submission: which columns, and which ids in which order."""

    path: Path
    columns: list[str]
    ids: list[str]


def read_sample(path: Path, id_column: str) -> Sample:
    """Ids are text, so "007" stays what it is."""
    columns, ids, fits = _columns_and_ids(path, id_column)
    if id_column not in columns or not fits or not ids:
        raise DataError(
            f"The sample submission {path} has columns {columns} and {len(ids)} rows; expected a column "
            f"{id_column!r}, at least one row, and as many values in each row as columns: set the id column in the "
            "competition file, or download its data again"
        )
    doubled = [name for name, times in Counter(ids).items() if times > 1]
    if doubled:
        raise DataError(
            f"The sample submission {path} holds {len(doubled)} ids more than once (first: {doubled[0]!r}); expected "
            f"each once: is {id_column!r} the id column?"
        )
    return Sample(path, columns, ids)


def _columns_and_ids(path: Path, id_column: str) -> tuple[list[str], list[str], bool]:
    """And whether each row has as many values as there are columns. Of the sample's answers nothing is kept."""
    ids, fits = [], True
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = filter(None, csv.reader(file))
            columns = next(rows, [])
            position = columns.index(id_column) if id_column in columns else 0
            for row in rows:
                fits = fits and len(row) == len(columns)
                ids.append(row[position] if fits else "")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"The sample submission {path} cannot be read ({error}); expected the CSV the competition gives: download "
            "its data again"
        ) from error
    return columns, ids, fits


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
    ids = _ids_to_write(shape, row_of, partial)
    position = shape.columns.index(id_column)
    if format == "label":
        lines = _label_lines(ids, row_of, probs, _quoted(classes), is_first=position == 0)
    else:
        order = [answers.index(column) for column in shape.columns if column != id_column]
        lines = _share_lines(ids, row_of, probs, order, position)
    stamp = f"{now or datetime.now(UTC):%Y%m%d-%H%M%S}"
    return _write_new(
        folder,
        f"{name}__{stamp}",
        ".partial.csv" if partial else ".csv",
        chain([",".join(_quoted(shape.columns)) + "\n"], lines),
    )


def _rows_by_id(ids: Sequence[str], classes: Sequence[str], probs: "Probs") -> dict[str, int]:
    import numpy as np

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
    wrong = ~(np.isfinite(probs) & (probs >= 0)).all(axis=1) | ~(probs > 0).any(axis=1)
    if wrong.any():
        raise SubmissionError(
            f"Probabilities of {ids[int(wrong.argmax())]!r} are not numbers from 0 up with a positive sum; expected "
            "those of a trained model: predict again"
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


def _label_lines(
    ids: Sequence[str], row_of: Mapping[str, int], probs: "Probs", labels: Sequence[str], is_first: bool
) -> Iterator[str]:
    for names, given in _parts(ids, row_of, probs):
        for name, number in zip(names, given.argmax(axis=1).tolist(), strict=True):
            yield f"{name},{labels[number]}\n" if is_first else f"{labels[number]},{name}\n"


def _share_lines(
    ids: Sequence[str], row_of: Mapping[str, int], probs: "Probs", order: Sequence[int], position: int
) -> Iterator[str]:
    """What each class has of its row's sum, the classes in this order and the id at its position."""
    import numpy as np

    form = ["%.9g"] * len(order)  # a whole line at once: several times as fast as number by number
    form.insert(position, "%s")
    line = ",".join(form) + "\n"
    for names, given in _parts(ids, row_of, probs):
        totals = np.array([sum(row) for row in given.tolist()])
        for name, cells in zip(names, (given / totals[:, None])[:, order].tolist(), strict=True):
            cells.insert(position, name)
            yield line % tuple(cells)


def _parts(
    ids: Sequence[str], row_of: Mapping[str, int], probs: "Probs"
) -> "Iterator[tuple[list[str], NDArray[np.float64]]]":
    """Some of the ids, as a CSV spells them, with their probabilities."""
    for start in range(0, len(ids), _AT_A_TIME):
        some = ids[start : start + _AT_A_TIME]
        yield _quoted(some), probs[[row_of[name] for name in some]].astype("float64")


def _quoted(cells: Sequence[str]) -> list[str]:
    return ['"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell for cell in cells]


def _write_new(folder: Path, stem: str, suffix: str, lines: Iterable[str]) -> Path:
    """Complete under a temporary name first, so a kill leaves no half file under a name one would send."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{stem}.{uuid.uuid4().hex}.tmp"
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
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
