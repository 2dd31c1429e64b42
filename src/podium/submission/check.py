"""Everything wrong with a submission, told at once, before one of the day's few is spent on it."""

import csv
import difflib
import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.submission.write import Format, Sample, answer_columns, read_sample

_SUM_TOLERANCE = 1e-3
_EMPTY = {"", "nan", "na", "n/a", "none", "null", "<na>"}  # how programs spell a missing value
_WRONG_LABELS_TOLD = 5


@dataclass(frozen=True)
class _Table:
    """A CSV as text: its header, and the rows that fit it with their line numbers."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        position = self.header.index(name)
        return [row[position] for row in self.rows]


class _UnreadableError(Exception):
    """Not a CSV at all; the message is the fault."""


def check_submission(
    path: Path,
    *,
    sample: Path,
    id_column: str,
    label_column: str | None,
    format: Format,
    classes: Sequence[str],
    columns: Mapping[str, str],
) -> list[str]:
    """All faults of the file, one line each; an empty list means it may be sent.

    The order of rows is free. A faulty sample or competition file is not the submission's fault: that is a PodiumError.
    """
    shape = read_sample(sample, id_column)
    answers = answer_columns(
        shape, format=format, id_column=id_column, label_column=label_column, classes=classes, columns=columns
    )
    faults = []
    if ".partial." in path.name:
        faults.append("the name says it is partial: made with --limit-test, it lacks rows; predict the whole test set")
    try:
        table, broken = _read_table(path)
    except _UnreadableError as fault:
        return [*faults, str(fault)]
    faults += _column_faults(table, shape) + broken
    if id_column in table.header:
        faults += _id_faults(table, shape, id_column)
    present = [name for name in answers if name in table.header]
    if format == "label" and present:
        faults += _label_faults(table, present[0], classes)
    elif present:
        faults += _probability_faults(table, present, whole=present == answers)
    if present:
        faults += _constant_faults(table, present, format)
    if id_column in table.header and present == answers:
        faults += _repeat_faults(path, table, id_column, answers)
    return faults


def _read_table(path: Path) -> tuple[_Table, list[str]]:
    """The table, and a fault where rows do not fit the header; those rows are not looked at further."""
    header: list[str] = []
    rows, lines, misfits = [], [], []
    for line, cells in _csv_rows(path):
        if not header:
            header = cells
        elif len(cells) == len(header):
            rows.append(cells)
            lines.append(line)
        else:
            misfits.append(line)
    if not header:
        raise _UnreadableError("the file is empty; expected a header and a row for each id of the sample")
    faults = []
    if misfits:
        faults.append(f"{_rows_at(misfits)} not the {len(header)} values the header announces; expected one a column")
    if not rows:
        faults.append("there are no rows under the header; expected one for each id of the sample")
    return _Table(header, rows, lines), faults


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            raise _UnreadableError("there are zero bytes in the file; expected CSV text in UTF-8")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except OSError as error:
        raise _UnreadableError(f"the file cannot be read ({error.strerror}); expected a CSV at {path}") from error
    except UnicodeDecodeError as error:
        raise _UnreadableError(
            f"byte {error.start + 1} is not UTF-8 ({error.reason}); expected CSV text: save it as UTF-8"
        ) from error
    except csv.Error as error:
        raise _UnreadableError(f"not a CSV ({error}, line {reader.line_num}); expected comma-separated text") from error


def _column_faults(table: _Table, sample: Sample) -> list[str]:
    expected = f"expected {_few(sample.columns, 12)}"
    missing = [name for name in sample.columns if name not in table.header]
    extra = [name for name in table.header if name not in sample.columns]
    doubled = [name for name, times in Counter(table.header).items() if times > 1]
    faults = [
        f"{what} columns: {_few(names)}; {expected}"
        for what, names in (("missing", missing), ("extra", extra), ("doubled", doubled))
        if names
    ]
    if not faults and table.header != sample.columns:
        faults.append(f"columns in the wrong order: {_few(table.header, 12)}; {expected}")
    return faults


def _id_faults(table: _Table, sample: Sample, id_column: str) -> list[str]:
    ids = table.column(id_column)
    times, wanted = Counter(ids), set(sample.ids)
    missing = [name for name in sample.ids if name not in times]
    extra = [name for name in times if name not in wanted]
    doubled = [name for name, count in times.items() if count > 1]
    faults = []
    if missing:
        faults.append(
            f"{len(missing)} ids missing: {_few(missing)}; expected all {len(sample.ids)} of {sample.path.name}"
        )
    if extra:
        lines = f"first on line {table.lines[ids.index(extra[0])]}"
        faults.append(
            f"{len(extra)} ids not in the sample ({lines}): {_few(extra)}; expected ids like {_few(sample.ids, 1)}"
        )
    if doubled:
        faults.append(f"{len(doubled)} ids more than once: {_few(doubled)}; expected one row each")
    return faults


def _label_faults(table: _Table, column: str, classes: Sequence[str]) -> list[str]:
    known = set(classes)
    empty: list[int] = []
    wrong: dict[str, list[int]] = {}
    for line, label in zip(table.lines, table.column(column), strict=True):
        if label in known:
            continue
        if label.strip().casefold() in _EMPTY:
            empty.append(line)
        else:
            wrong.setdefault(label, []).append(line)
    faults = [f"{_rows_at(empty)} no label in {_quoted(column)}; expected one of {_few(classes)}"] if empty else []
    for label, lines in list(wrong.items())[:_WRONG_LABELS_TOLD]:
        near = _nearest(label, classes)
        hint = f"did you mean {_quoted(near)}?" if near is not None else f"expected one of {_few(classes)}"
        faults.append(f"{_rows_at(lines)} a label that does not exist, {_quoted(label)}; {hint}")
    if len(wrong) > _WRONG_LABELS_TOLD:
        faults.append(
            f"{len(wrong) - _WRONG_LABELS_TOLD} more labels that do not exist; expected one of {_few(classes)}"
        )
    return faults


def _nearest(label: str, classes: Sequence[str]) -> str | None:
    """The class meant by a label only spelt otherwise: another number format, case, spaces, a slip of the finger."""
    number = _number(label.strip())
    for name in classes:
        if name.strip().casefold() == label.strip().casefold() or (number is not None and _number(name) == number):
            return name
    near = difflib.get_close_matches(label[:80], classes, n=1)
    return near[0] if near else None


def _probability_faults(table: _Table, columns: Sequence[str], whole: bool) -> list[str]:
    """`whole`: every class has its column, so rows can be summed."""
    positions = [table.header.index(name) for name in columns]
    empty, words, outside, sums = [], [], [], []
    for line, row in zip(table.lines, table.rows, strict=True):
        cells = [row[position] for position in positions]
        numbers = [_number(cell) for cell in cells]
        known = [number for number in numbers if number is not None]
        gaps = [cell for cell, number in zip(cells, numbers, strict=True) if number is None]
        blanks = [cell for cell in gaps if cell.strip().casefold() in _EMPTY]
        far = [number for number in known if not 0 <= number <= 1]
        if blanks:
            empty.append(line)
        if len(gaps) > len(blanks):
            words.append(line)
        if far:
            outside.append(line)
        if whole and not gaps and not far and abs(math.fsum(known) - 1) > _SUM_TOLERANCE:
            sums.append(line)
    wanted = "expected numbers from 0 to 1 that sum to 1 in each row"
    told = (
        (empty, "empty or NaN probabilities"),
        (words, "probabilities that are not numbers"),
        (outside, "probabilities outside 0 to 1"),
        (sums, "probabilities that do not sum to 1"),
    )
    return [f"{_rows_at(lines)} {what}; {wanted}" for lines, what in told if lines]


def _constant_faults(table: _Table, columns: Sequence[str], format: Format) -> list[str]:
    answers = set(zip(*(table.column(name) for name in columns), strict=True))
    if len(table.rows) < 2 or len(answers) > 1:
        return []
    answer = f"the label {_quoted(answers.pop()[0])}" if format == "label" else "the same probabilities"
    return [f"all {len(table.rows)} rows have {answer}; expected answers that differ: was the model trained?"]


def _repeat_faults(path: Path, table: _Table, id_column: str, answers: Sequence[str]) -> list[str]:
    own = dict(zip(table.column(id_column), zip(*map(table.column, answers), strict=True), strict=True))
    for earlier in _earlier_files(path):
        if _same_answers(earlier, own, id_column, answers):
            return [f"the answers equal those of {earlier.name}; expected a new submission: send that one or neither"]
    return []


def _earlier_files(path: Path) -> list[Path]:
    """CSV files of the same folder written before, oldest first."""
    ages = {}
    for other in path.parent.glob("[!.]*.csv"):
        try:
            ages[other.name] = (other.stat().st_mtime_ns, other.name)
        except OSError:  # gone since, or a link that leads nowhere
            continue
    own = ages.get(path.name)
    return [path.with_name(name) for name in sorted(ages, key=ages.__getitem__) if own is not None and ages[name] < own]


def _same_answers(other: Path, own: Mapping[str, tuple[str, ...]], id_column: str, answers: Sequence[str]) -> bool:
    """Compared row by row and left at the first difference, for a folder may hold many large files."""
    remaining = set(own)
    try:
        rows = _csv_rows(other)
        _, header = next(rows, (0, []))
        if sorted(header) != sorted([id_column, *answers]):
            return False
        id_position, positions = header.index(id_column), [header.index(name) for name in answers]
        for _, cells in rows:
            if len(cells) != len(header) or cells[id_position] not in remaining:
                return False
            remaining.remove(cells[id_position])
            if not _equal((cells[position] for position in positions), own[cells[id_position]]):
                return False
    except _UnreadableError:
        return False
    return bool(own) and not remaining


def _equal(some: Iterable[str], others: Iterable[str]) -> bool:
    """0.5 and 0.50 are one answer; "3" and "3.0" are too, for whoever reads numbers."""
    return all(
        one == other or (_number(one) is not None and _number(one) == _number(other))
        for one, other in zip(some, others, strict=True)
    )


def _number(text: str) -> float | None:
    """A finite number as other languages write it too: Python alone would take "1_000" and "١"."""
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _rows_at(lines: Sequence[int]) -> str:
    first = ", ".join(map(str, lines[:3]))
    if len(lines) == 1:
        return f"line {first} has"
    return f"{len(lines)} rows (lines {first}{', …' if len(lines) > 3 else ''}) have"


def _few(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(map(_quoted, names[:most])) + (", …" if len(names) > most else "")


def _quoted(text: str) -> str:
    """On one line and not endless, whatever the file held."""
    return repr(text if len(text) <= 60 else text[:57] + "…")
