"""Write a submission: rows and columns of the sample, answers from predictions, under a new name."""

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.errors import SubmissionError
from podium.files import atomic_write
from podium.paths import FILE_NAME
from podium.submission.spec import Sample, SubmissionSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from podium.evaluation.decisions import Decision

    Values = NDArray[np.floating[Any]]

_ROWS_AT_ONCE = 5_000
"""Rows formatted together, so that memory does not grow with the number of rows."""
_NEEDS_QUOTES = re.compile('[,"\r\n]')


def write_submission(
    spec: SubmissionSpec,
    ids: Sequence[str],
    predictions: "Values",
    decision: "Decision | None" = None,
    *,
    folder: Path,
    name: str,
    partial: bool = False,
    now: datetime | None = None,
) -> Path:
    """Write `<name>__<time>.csv` with every id of the sample, and return its path.

    `decision` makes the answers of formats that have any, by default the most probable class or 0.5 as the threshold.
    Other ids than the sample's are left out. With `partial`, ids without a prediction are left out too, and the name
    contains "partial". The time is UTC, so that files from several machines sort by time.
    """
    if not re.fullmatch(FILE_NAME, name):
        raise SubmissionError(
            f"{name!r} cannot name a submission; expected letters, digits, dots, hyphens and underscores"
        )
    sample = spec.read_sample()
    row_of = _rows_by_id(spec, ids, predictions)
    written_ids = _ids_to_write(sample, row_of, partial)
    position = sample.columns.index(spec.id_column)
    order = [spec.answer_columns.index(column) for column in sample.columns if column != spec.id_column]
    cells = _cells(spec, decision)
    lines = _lines(written_ids, row_of, predictions, cells, order, position)
    stem = f"{name}__{now or datetime.now(UTC):%Y%m%d-%H%M%S}"
    header = ",".join(_quoted(sample.columns)) + "\n"
    return _write_new(folder, stem, ".partial.csv" if partial else ".csv", chain([header], lines))


def _rows_by_id(spec: SubmissionSpec, ids: Sequence[str], predictions: "Values") -> dict[str, int]:
    import numpy as np

    row_of = {name: row for row, name in enumerate(ids)}
    if len(row_of) < len(ids):
        repeated = [name for name, times in Counter(ids).items() if times > 1]
        raise SubmissionError(
            f"{len(repeated)} ids are predicted more than once (first: {repeated[:3]}); average the predictions first"
        )
    shape = (len(ids), spec.predictions)
    if predictions.shape != shape:
        raise SubmissionError(
            f"expected predictions of shape {shape}, a row per id and a column per class or number, got"
            f" {predictions.shape}"
        )
    wrong = ~np.isfinite(predictions).all(axis=1)
    expected = "finite numbers"
    if spec.format != "numbers":
        wrong |= (predictions < 0).any(axis=1)
        expected = "numbers from 0 up"
    if spec.target not in ("binary", "multi_label", "regression"):
        wrong |= ~(predictions > 0).any(axis=1)
        expected = "numbers from 0 up with a positive sum"
    if wrong.any():
        raise SubmissionError(f"the predictions of {ids[int(wrong.argmax())]!r} are not {expected}; predict again")
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


@dataclass(frozen=True)
class _Cells:
    """What is written besides the id: the form of one cell, and the values of some rows, a list for each row."""

    form: str
    values: "Callable[[Values], list[list[Any]]]"


def _cells(spec: SubmissionSpec, decision: "Decision | None") -> _Cells:
    from podium.evaluation.decisions import default_decision

    decide = (decision or default_decision(spec.target)).apply
    if spec.format == "label":
        return _Cells("%s", lambda predictions: _label(spec, decide(predictions)))
    if spec.format == "labels":
        return _Cells("%s", lambda predictions: _labels(spec, predictions, decide(predictions)))
    if spec.format == "indicators" or spec.is_whole:
        return _Cells("%d", lambda predictions: decide(predictions).tolist())
    if spec.sums_to_one:
        return _Cells("%.9g", _scaled)
    return _Cells("%.9g", lambda predictions: predictions.tolist())


def _label(spec: SubmissionSpec, answers: "Values") -> list[list[str]]:
    labels = _quoted(spec.labels)
    numbers = answers.argmax(axis=1) if answers.shape[1] > 1 else answers[:, 0]
    return [[labels[int(number)]] for number in numbers.tolist()]


def _labels(spec: SubmissionSpec, predictions: "Values", answers: "Values") -> list[list[str]]:
    """The most probable labels, the first one first; or those that are answers, in the order of the classes."""
    import numpy as np

    ranked = np.argsort(-predictions, axis=1, kind="stable")
    if spec.most_labels is not None:
        return _joined(spec, ranked[:, : spec.most_labels].tolist())
    chosen = [np.flatnonzero(row).tolist() for row in answers]
    if spec.no_label is None:
        chosen = [row or [best] for row, best in zip(chosen, ranked[:, 0].tolist(), strict=True)]
    return _joined(spec, chosen)


def _joined(spec: SubmissionSpec, rows: Iterable[Sequence[int]]) -> list[list[str]]:
    texts = [spec.separator.join(spec.labels[number] for number in row) if row else spec.no_label or "" for row in rows]
    return [[text] for text in _quoted(texts)]


def _scaled(predictions: "Values") -> list[list[float]]:
    """Each row scaled to sum 1."""
    import numpy as np

    totals = np.array([sum(row) for row in predictions.tolist()])
    scaled: list[list[float]] = (predictions / totals[:, None]).tolist()
    return scaled


def _lines(
    ids: Sequence[str],
    row_of: Mapping[str, int],
    predictions: "Values",
    cells: _Cells,
    order: Sequence[int],
    position: int,
) -> Iterator[str]:
    """A line for each id, with the answers in this order and the id at its position."""
    forms = [cells.form] * len(order)  # one format for a row is several times faster than cell by cell, or pandas
    forms.insert(position, "%s")
    line = ",".join(forms) + "\n"
    in_order = list(order) == list(range(len(order)))
    for names, rows in _in_parts(ids, row_of, predictions):
        for name, values in zip(names, cells.values(rows), strict=True):
            row = values if in_order else [values[number] for number in order]
            row.insert(position, name)
            yield line % tuple(row)


def _in_parts(
    ids: Sequence[str], row_of: Mapping[str, int], predictions: "Values"
) -> "Iterator[tuple[list[str], NDArray[np.float64]]]":
    """Some ids at a time, quoted for CSV, with their predictions."""
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        part = ids[start : start + _ROWS_AT_ONCE]
        yield _quoted(part), predictions[[row_of[name] for name in part]].astype("float64")


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
