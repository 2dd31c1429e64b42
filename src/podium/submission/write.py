"""Write a submission: rows and columns of the sample, answers from probabilities, under a new name."""

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.errors import SubmissionError
from podium.files import atomic_write
from podium.submission.spec import Sample, SubmissionSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Probs = NDArray[np.floating[Any]]

_ROWS_AT_ONCE = 5_000
"""Rows formatted together, so that memory does not grow with the number of rows."""
_NEEDS_QUOTES = re.compile('[,"\r\n]')


def write_submission(
    spec: SubmissionSpec,
    ids: Sequence[str],
    probs: "Probs",
    *,
    folder: Path,
    name: str,
    partial: bool = False,
    now: datetime | None = None,
) -> Path:
    """Write `<name>__<time>.csv` with every id of the sample, and return its path.

    Other ids are left out. With `partial`, ids without a prediction are left out too, and the name contains "partial".
    The time is UTC, so that files from several machines sort by time.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SubmissionError(
            f"{name!r} cannot name a submission; expected letters, digits, dots, hyphens and underscores"
        )
    sample = spec.read_sample()
    row_of = _rows_by_id(ids, spec.classes, probs)
    written_ids = _ids_to_write(sample, row_of, partial)
    position = sample.columns.index(spec.id_column)
    if spec.format == "label":
        lines = _label_lines(written_ids, row_of, probs, _quoted(spec.classes), is_first=position == 0)
    else:
        order = [sample.answers.index(column) for column in sample.columns if column != spec.id_column]
        lines = _probability_lines(written_ids, row_of, probs, order, position)
    stem = f"{name}__{now or datetime.now(UTC):%Y%m%d-%H%M%S}"
    header = ",".join(_quoted(sample.columns)) + "\n"
    return _write_new(folder, stem, ".partial.csv" if partial else ".csv", chain([header], lines))


def _rows_by_id(ids: Sequence[str], classes: Sequence[str], probs: "Probs") -> dict[str, int]:
    import numpy as np

    row_of = {name: row for row, name in enumerate(ids)}
    if len(row_of) < len(ids):
        repeated = [name for name, times in Counter(ids).items() if times > 1]
        raise SubmissionError(
            f"{len(repeated)} ids are predicted more than once (first: {repeated[:3]}); average the predictions first"
        )
    if probs.shape != (len(ids), len(classes)):
        raise SubmissionError(
            f"expected probabilities of shape ({len(ids)}, {len(classes)}), a row per id and a column per class, got"
            f" {probs.shape}"
        )
    wrong = ~(np.isfinite(probs) & (probs >= 0)).all(axis=1) | ~(probs > 0).any(axis=1)
    if wrong.any():
        raise SubmissionError(
            f"the probabilities of {ids[int(wrong.argmax())]!r} are not numbers from 0 up with a positive sum; predict"
            " again"
        )
    return row_of


def _ids_to_write(sample: Sample, row_of: Mapping[str, int], partial: bool) -> list[str]:
    ids = [name for name in sample.ids if name in row_of]
    missing = [name for name in sample.ids if name not in row_of]
    if not ids or (missing and not partial):
        raise SubmissionError(
            f"{len(missing)} of the {len(sample.ids)} ids in {sample.path} have no prediction (first: {missing[:3]};"
            f" the predictions have ids like {list(row_of)[:3]}); predict the complete test set"
        )
    return ids


def _label_lines(
    ids: Sequence[str], row_of: Mapping[str, int], probs: "Probs", labels: Sequence[str], is_first: bool
) -> Iterator[str]:
    for names, rows in _in_parts(ids, row_of, probs):
        for name, number in zip(names, rows.argmax(axis=1).tolist(), strict=True):
            yield f"{name},{labels[number]}\n" if is_first else f"{labels[number]},{name}\n"


def _probability_lines(
    ids: Sequence[str], row_of: Mapping[str, int], probs: "Probs", order: Sequence[int], position: int
) -> Iterator[str]:
    """Each row scaled to sum 1, the classes in this order and the id at its position."""
    import numpy as np

    cells = ["%.9g"] * len(order)  # one format for a row is several times faster than number by number, or pandas
    cells.insert(position, "%s")
    line = ",".join(cells) + "\n"
    for names, rows in _in_parts(ids, row_of, probs):
        totals = np.array([sum(row) for row in rows.tolist()])
        for name, values in zip(names, (rows / totals[:, None])[:, order].tolist(), strict=True):
            values.insert(position, name)
            yield line % tuple(values)


def _in_parts(
    ids: Sequence[str], row_of: Mapping[str, int], probs: "Probs"
) -> "Iterator[tuple[list[str], NDArray[np.float64]]]":
    """Some ids at a time, quoted for CSV, with their probabilities."""
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        part = ids[start : start + _ROWS_AT_ONCE]
        yield _quoted(part), probs[[row_of[name] for name in part]].astype("float64")


def _quoted(cells: Sequence[str]) -> list[str]:
    return ['"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell for cell in cells]


def _write_new(folder: Path, stem: str, suffix: str, lines: Iterable[str]) -> Path:
    """Write a file under a name that no other process has or gets; it appears complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{stem}.{uuid.uuid4().hex}.tmp"
    try:
        with atomic_write(draft) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
        for number in count(1):
            path = folder / (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}")
            try:
                path.open("x").close()
            except FileExistsError:
                continue
            return draft.replace(path)
        raise AssertionError("there is always a next number")
    finally:
        draft.unlink(missing_ok=True)
