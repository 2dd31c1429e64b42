"""Everything wrong with a submission, told at once, before one of the day's few is spent on it."""

import codecs
import csv
import difflib
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from operator import itemgetter
from pathlib import Path
from typing import Protocol

from podium.submission.write import Format, Sample, answer_columns, read_sample

_SUM_TOLERANCE = 1e-3
_EMPTY = {"", "nan", "na", "n/a", "none", "null", "<na>"}  # how programs spell a missing value
_WRONG_LABELS_TOLD = 5


Answers = tuple[str, ...]


class _Look(Protocol):
    """One thing that can be wrong. It sees each row that fits the header once, and keeps only what it must."""

    def see(self, line: int, row: list[str]) -> None: ...

    def problems(self) -> list[str]: ...


class _UnreadableError(Exception):
    """Not a CSV at all; the message is the problem."""


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
    """All problems of the file, one line each; an empty list means it may be sent.

    The order of rows is free. A broken sample or competition file raises a PodiumError instead.
    """
    shape = read_sample(sample, id_column)
    answers = answer_columns(
        shape, format=format, id_column=id_column, label_column=label_column, classes=classes, columns=columns
    )
    problems = []
    if ".partial." in path.name:
        problems.append(
            "the name says it is partial (made with --limit-test): rows are missing; predict the whole test set"
        )
    try:
        rows = _csv_rows(path)
        _, header = next(rows, (0, []))
        if not header:
            raise _UnreadableError("the file is empty; expected a header and a row for each id of the sample")
        present = [name for name in answers if name in header]
        looks = _looks(header, shape, id_column, answers, format, classes)
        problems += _column_problems(header, shape) + _look_at(rows, len(header), looks)
    except _UnreadableError as problem:
        return [*problems, str(problem)]
    problems += [problem for look in looks for problem in look.problems()]
    if id_column in header and present == answers:
        problems += _repeat_problems(path, id_column, answers)
    return problems


def _looks(
    header: list[str], sample: Sample, id_column: str, answers: list[str], format: Format, classes: Sequence[str]
) -> list[_Look]:
    """At whatever the file's columns allow."""
    looks: list[_Look] = []
    present = [name for name in answers if name in header]
    if id_column in header:
        looks.append(_Ids(sample, header.index(id_column)))
    if format == "label" and present:
        looks.append(_Labels(present[0], header.index(present[0]), classes))
    elif present:
        looks.append(_Probabilities(_cells_of(header, present), whole=present == answers))
    if present:
        looks.append(_Constant(_cells_of(header, present), format))
    return looks


def _look_at(rows: Iterator[tuple[int, list[str]]], width: int, looks: Sequence[_Look]) -> list[str]:
    """A problem where rows do not fit the header; those rows are not looked at further."""
    misfits, fitting = array("q"), 0
    sees = [look.see for look in looks]
    for line, cells in rows:
        if len(cells) != width:
            misfits.append(line)
            continue
        fitting += 1
        for see in sees:
            see(line, cells)
    problems = []
    if misfits:
        problems.append(f"{_rows_at(misfits)} not the {width} values the header announces; expected one a column")
    if not fitting:
        problems.append("there are no rows under the header; expected one for each id of the sample")
    return problems


def _cells_of(header: Sequence[str], names: Sequence[str]) -> Callable[[list[str]], Answers]:
    """What takes these columns out of a row."""
    positions = [header.index(name) for name in names]
    if len(positions) == 1:
        return lambda row: (row[positions[0]],)
    return itemgetter(*positions)


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        _make_sure_of_text(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
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


def _make_sure_of_text(path: Path) -> None:
    """A look at the whole file, a part at a time, before its first row is believed."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    has_zero = False
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                has_zero = has_zero or b"\0" in block
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        path.read_bytes().decode("utf-8-sig")  # tells the place within the whole file
    if has_zero:
        raise _UnreadableError("there are zero bytes in the file; expected CSV text in UTF-8")


def _column_problems(header: list[str], sample: Sample) -> list[str]:
    expected = f"expected {_few(sample.columns, 12)}"
    missing = [name for name in sample.columns if name not in header]
    extra = [name for name in header if name not in sample.columns]
    doubled = [name for name, times in Counter(header).items() if times > 1]
    problems = [
        f"{what} columns: {_few(names)}; {expected}"
        for what, names in (("missing", missing), ("extra", extra), ("doubled", doubled))
        if names
    ]
    if not problems and header != sample.columns:
        problems.append(f"columns in the wrong order: {_few(header, 12)}; {expected}")
    return problems


class _Ids:
    def __init__(self, sample: Sample, position: int) -> None:
        self._sample, self._position = sample, position
        self._ids: list[str] = []
        self._lines = array("q")

    def see(self, line: int, row: list[str]) -> None:
        self._ids.append(row[self._position])
        self._lines.append(line)

    def problems(self) -> list[str]:
        ids, sample = self._ids, self._sample
        times, wanted = Counter(ids), set(sample.ids)
        missing = [name for name in sample.ids if name not in times]
        extra = [name for name in times if name not in wanted]
        doubled = [name for name, count in times.items() if count > 1]
        problems = []
        if missing:
            problems.append(
                f"{len(missing)} ids missing: {_few(missing)}; expected all {len(sample.ids)} of {sample.path.name}"
            )
        if extra:
            lines = f"first on line {self._lines[ids.index(extra[0])]}"
            problems.append(
                f"{len(extra)} ids not in the sample ({lines}): {_few(extra)}; expected ids like {_few(sample.ids, 1)}"
            )
        if doubled:
            problems.append(f"{len(doubled)} ids more than once: {_few(doubled)}; expected one row each")
        return problems


class _Labels:
    def __init__(self, column: str, position: int, classes: Sequence[str]) -> None:
        self._column, self._position, self._classes = column, position, classes
        self._known = set(classes)
        self._empty = array("q")
        self._wrong: dict[str, array[int]] = {}

    def see(self, line: int, row: list[str]) -> None:
        label = row[self._position]
        if label in self._known:
            return
        if label.strip().casefold() in _EMPTY:
            self._empty.append(line)
        else:
            self._wrong.setdefault(label, array("q")).append(line)

    def problems(self) -> list[str]:
        classes, wrong = self._classes, self._wrong
        problems = []
        if self._empty:
            problems.append(
                f"{_rows_at(self._empty)} no label in {_quoted(self._column)}; expected one of {_few(classes)}"
            )
        for label, lines in list(wrong.items())[:_WRONG_LABELS_TOLD]:
            near = _nearest(label, classes)
            hint = f"did you mean {_quoted(near)}?" if near is not None else f"expected one of {_few(classes)}"
            problems.append(f"{_rows_at(lines)} a label that does not exist, {_quoted(label)}; {hint}")
        if len(wrong) > _WRONG_LABELS_TOLD:
            problems.append(
                f"{len(wrong) - _WRONG_LABELS_TOLD} more labels that do not exist; expected one of {_few(classes)}"
            )
        return problems


def _nearest(label: str, classes: Sequence[str]) -> str | None:
    """The class meant by a label only spelt otherwise: another number format, case, spaces, a slip of the finger."""
    number = _number(label.strip())
    for name in classes:
        if name.strip().casefold() == label.strip().casefold() or (number is not None and _number(name) == number):
            return name
    near = difflib.get_close_matches(label[:80], classes, n=1)
    return near[0] if near else None


class _Probabilities:
    """`whole`: every class has its column, so rows can be summed."""

    def __init__(self, cells_of: Callable[[list[str]], Answers], whole: bool) -> None:
        self._cells_of, self._whole = cells_of, whole
        self._empty, self._words, self._outside, self._sums = array("q"), array("q"), array("q"), array("q")

    def see(self, line: int, row: list[str]) -> None:
        cells = self._cells_of(row)
        if not self._are_right(cells):
            self._note_what_is_wrong(line, cells)

    def _are_right(self, cells: Answers) -> bool:
        """Quickly, for nearly all rows are. Not a number is neither from 0 to 1 nor makes a sum."""
        try:
            numbers = [*map(float, cells)]
        except ValueError:
            return False
        if not (min(numbers) >= 0 and max(numbers) <= 1):
            return False
        total, text = math.fsum(numbers), "".join(cells)
        in_sum = abs(total - 1) <= _SUM_TOLERANCE if self._whole else not math.isnan(total)
        return in_sum and text.isascii() and "_" not in text

    def _note_what_is_wrong(self, line: int, cells: Answers) -> None:
        numbers = [_number(cell) for cell in cells]
        known = [number for number in numbers if number is not None]
        gaps = [cell for cell, number in zip(cells, numbers, strict=True) if number is None]
        blanks = [cell for cell in gaps if cell.strip().casefold() in _EMPTY]
        far = [number for number in known if not 0 <= number <= 1]
        if blanks:
            self._empty.append(line)
        if len(gaps) > len(blanks):
            self._words.append(line)
        if far:
            self._outside.append(line)
        if self._whole and not gaps and not far and abs(math.fsum(known) - 1) > _SUM_TOLERANCE:
            self._sums.append(line)

    def problems(self) -> list[str]:
        wanted = "expected numbers from 0 to 1 that sum to 1 in each row"
        told = (
            (self._empty, "empty or NaN probabilities"),
            (self._words, "probabilities that are not numbers"),
            (self._outside, "probabilities outside 0 to 1"),
            (self._sums, "probabilities that do not sum to 1"),
        )
        return [f"{_rows_at(lines)} {what}; {wanted}" for lines, what in told if lines]


class _Constant:
    def __init__(self, cells_of: Callable[[list[str]], Answers], format: Format) -> None:
        self._cells_of, self._format = cells_of, format
        self._first: Answers | None = None
        self._rows, self._differ = 0, False

    def see(self, line: int, row: list[str]) -> None:
        if self._differ:
            return
        self._rows += 1
        answer = self._cells_of(row)
        self._first = self._first or answer
        self._differ = answer != self._first

    def problems(self) -> list[str]:
        if self._differ or self._first is None or self._rows < 2:
            return []
        answer = f"the label {_quoted(self._first[0])}" if self._format == "label" else "the same probabilities"
        return [f"all {self._rows} rows have {answer}; expected answers that differ: was the model trained?"]


def _repeat_problems(path: Path, id_column: str, answers: Sequence[str]) -> list[str]:
    by_id: dict[str, Answers] = {}
    for earlier in _earlier_files(path):
        same = _same_in_order(path, earlier, id_column, answers)
        if same is None:  # only then is a file as long as both worth holding in memory
            by_id = by_id or dict(_answers_in(path, id_column, answers, only_fitting=True))
            same = _same_by_id(earlier, by_id, id_column, answers)
        if same:
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


def _answers_in(
    path: Path, id_column: str, answers: Sequence[str], only_fitting: bool
) -> Iterator[tuple[str, Answers]]:
    """Each id and its answers. A file of another form is an _UnreadableError; rows of one may be left out."""
    rows = _csv_rows(path)
    _, header = next(rows, (0, []))
    if not only_fitting and sorted(header) != sorted([id_column, *answers]):
        raise _UnreadableError("of other columns")
    position, cells_of = header.index(id_column), _cells_of(header, answers)
    for _, cells in rows:
        if len(cells) == len(header):
            yield cells[position], cells_of(cells)
        elif not only_fitting:
            raise _UnreadableError("of rows that do not fit its header")


def _same_in_order(own: Path, other: Path, id_column: str, answers: Sequence[str]) -> bool | None:
    """Row by row and left at the first difference, for a folder may hold many large files. None where the ids stand in
    another order."""
    seen = set()
    pairs = zip_longest(
        _answers_in(own, id_column, answers, only_fitting=True),
        _answers_in(other, id_column, answers, only_fitting=False),
    )
    try:
        for mine, theirs in pairs:
            if mine is not None and theirs is not None and mine[0] != theirs[0]:
                return None
            if mine is None or theirs is None or mine[0] in seen or not _equal(mine[1], theirs[1]):
                return False
            seen.add(mine[0])
    except _UnreadableError:
        return False
    return bool(seen)


def _same_by_id(other: Path, own: Mapping[str, Answers], id_column: str, answers: Sequence[str]) -> bool:
    remaining = set(own)
    try:
        for name, cells in _answers_in(other, id_column, answers, only_fitting=False):
            if name not in remaining or not _equal(cells, own[name]):
                return False
            remaining.remove(name)
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
