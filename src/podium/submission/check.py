"""All problems of a submission file, reported in one pass.

The file is read with the standard library's csv module: it is exact about lines and quotes, needs little memory and
starts faster than pandas.
"""

import csv
import difflib
import math
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from podium.errors import DataError, SubmissionError, shortened
from podium.files import check_separator
from podium.submission.spec import Sample, SubmissionSpec

DRY_RUN = "_dry-run"
"""In the name of a submission that a dry run wrote."""
LIMITED = "_limit-"
"""In the name of a submission of models that were trained on some of the rows, before their number."""
_SUM_TOLERANCE = 1e-3
_EMPTY = {"", "nan", "na", "n/a", "none", "null", "<na>"}
_MAX_WRONG_LABELS = 5


class _NotCsvError(Exception):
    """The message is the problem."""


def find_problems(path: Path, spec: SubmissionSpec) -> list[str]:
    """All problems of the file, one line each. Rows may be in any order.

    A broken sample or competition file raises a PodiumError.
    """
    sample = spec.read_sample()
    problems = []
    if ".partial." in path.name:
        problems.append(
            "the file name marks a partial submission (--limit-test): rows are missing; predict the complete test set"
        )
    try:
        rows = _read_rows(path)
        header = next(rows, (0, []))[1]
        if not header:
            raise _NotCsvError("the file is empty; expected a header and a row for each id of the sample")
        check_separator(path, header)
        scan = _Scan(header, sample, spec, is_dry_run=DRY_RUN in path.name)
        scan.read(rows)
    except (_NotCsvError, DataError) as problem:
        return [*problems, str(problem)]
    problems += [*_column_problems(header, sample.columns), *scan.problems()]
    if scan.can_compare and (repeated := scan.find_repeat(path)):
        problems.append(f"same predictions as {repeated.name}; expected a new submission")
    return problems


def report_problems(path: Path, problems: Sequence[str], console: Console) -> None:
    """Raise a SubmissionError with all problems, or print that the file is valid."""
    if problems:
        listed = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n  {problem}" for problem in problems)
        raise SubmissionError(f"{path} must not be submitted:{listed}")
    if DRY_RUN in path.name:
        console.print(f"{path}: well-formed, but from a dry run; do not submit it")
    else:
        note = "; its models were trained on some of the rows only (--limit)" if LIMITED in path.name else ""
        console.print(f"{path}: valid, ready to submit{note}")


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except OSError as error:
        raise _NotCsvError(f"cannot read the file ({error.strerror}); expected a CSV at {path}") from error
    except UnicodeDecodeError as error:
        raise _NotCsvError(f"not UTF-8 text ({error.reason}); expected a CSV in UTF-8") from error
    except csv.Error as error:
        raise _NotCsvError(f"not a CSV ({error}, line {reader.line_num}); expected comma-separated text") from error


def _column_problems(header: list[str], expected: list[str]) -> list[str]:
    by_problem = {
        "missing": [name for name in expected if name not in header],
        "unknown": [name for name in header if name not in expected],
        "repeated": [name for name, count in Counter(header).items() if count > 1],
    }
    expectation = f"expected {_listed(expected, 12)}"
    problems = [f"{problem} columns: {_listed(names)}; {expectation}" for problem, names in by_problem.items() if names]
    if not problems and header != expected:
        problems.append(f"columns in the wrong order: {_listed(header, 12)}; {expectation}")
    return problems


@dataclass(frozen=True)
class _Numbers:
    """The numbers that a format allows."""

    name: str
    low: float = -sys.float_info.max
    high: float = sys.float_info.max
    slack: float = 0.0
    """How far a number may be outside because it was rounded."""
    is_whole: bool = False
    sum_to_one: bool = False

    def allow(self, numbers: Sequence[float]) -> bool:
        if not (self.low - self.slack <= min(numbers) and max(numbers) <= self.high + self.slack):
            return False
        return not math.isnan(sum(numbers)) and (not self.is_whole or all(map(float.is_integer, numbers)))

    @property
    def not_allowed(self) -> str:
        outside = f"outside {self.low:g} to {self.high:g}"
        return ("not whole or " * self.is_whole) + outside if self.has_limits else "that are not whole"

    @property
    def has_limits(self) -> bool:
        return self.high < sys.float_info.max

    def __str__(self) -> str:
        kind = "whole numbers" if self.is_whole else "numbers"
        limits = f" from {self.low:g} to {self.high:g}" if self.has_limits else ""
        return kind + limits + " that sum to 1 in each row" * self.sum_to_one


def _expected_numbers(spec: SubmissionSpec) -> _Numbers:
    if spec.format == "indicators":
        return _Numbers("indicators", 0, 1, is_whole=True)
    if spec.format != "numbers":
        return _Numbers("probabilities", 0, 1, sum_to_one=spec.sums_to_one)
    if spec.range is None:
        return _Numbers("numbers", is_whole=spec.is_whole)
    low, high = spec.range
    return _Numbers("numbers", low, high, slack=1e-8 * max(abs(low), abs(high)), is_whole=spec.is_whole)


class _Scan:
    """One pass over the rows. It keeps the lines with problems, and a hash of each answer."""

    def __init__(self, header: list[str], sample: Sample, spec: SubmissionSpec, is_dry_run: bool = False) -> None:
        self.header, self.sample, self.spec, self._is_dry_run = header, sample, spec, is_dry_run
        self._id_at = header.index(spec.id_column) if spec.id_column in header else None
        self._answers_at = [header.index(name) for name in spec.answer_columns if name in header]
        self._has_all_answers = len(self._answers_at) == len(spec.answer_columns)
        self._is_text = spec.format in ("label", "labels")
        self._known_labels = set(spec.labels)
        self._numbers = _expected_numbers(spec)
        self._lines: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
        self._wrong_labels: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
        self._hashes: dict[str, int] = {}
        self._unknown_ids: dict[str, int] = {}
        self._repeated_ids: dict[str, None] = {}
        self._count = 0
        self._different: set[Hashable] = set()
        """The first two answers that differ."""

    @property
    def can_compare(self) -> bool:
        return self._id_at is not None and self._has_all_answers

    def read(self, rows: Iterable[tuple[int, list[str]]]) -> None:
        width, id_at, known_ids = len(self.header), self._id_at, set(self.sample.ids)
        hashes, different = self._hashes, self._different
        check_answer = self._check_labels if self._is_text else self._check_numbers
        for line, row in rows:
            if len(row) != width:
                self._lines["misfit"].append(line)
                continue
            self._count += 1
            answer = check_answer(line, row) if self._answers_at else None
            if len(different) < 2 and self._answers_at:
                different.add(answer)
            if id_at is None:
                continue
            name = row[id_at]
            if name in hashes:
                self._repeated_ids[name] = None
            else:
                hashes[name] = hash(answer)
            if name not in known_ids:
                self._unknown_ids.setdefault(name, line)

    def _check_labels(self, line: int, row: list[str]) -> Hashable:
        cell = row[self._answers_at[0]]
        if self.spec.format == "label":
            self._check_label(line, cell)
        elif cell != self.spec.no_label:
            labels = cell.split(self.spec.separator)
            for label in dict.fromkeys(labels):
                self._check_label(line, label)
            if len(set(labels)) < len(labels):
                self._lines["repeated"].append(line)
            if self.spec.most_labels is not None and len(labels) > self.spec.most_labels:
                self._lines["too many"].append(line)
        return cell

    def _check_label(self, line: int, label: str) -> None:
        if label not in self._known_labels:
            if label.strip().casefold() in _EMPTY:
                self._lines["empty"].append(line)
            else:
                self._wrong_labels[label].append(line)

    def _check_numbers(self, line: int, row: list[str]) -> Hashable:
        cells = [row[position] for position in self._answers_at]
        numbers, expected = _as_numbers(cells), self._numbers
        needs_sum = expected.sum_to_one and self._has_all_answers
        if numbers and expected.allow(numbers) and not (needs_sum and abs(math.fsum(numbers) - 1) > _SUM_TOLERANCE):
            return numbers
        self._note_wrong_numbers(line, cells)
        return numbers or tuple(cells)

    def _comparable(self, cells: list[str]) -> Hashable:
        """Equal for equal answers: 0.5 and 0.50 are the same probability."""
        return cells[0] if self._is_text else (_as_numbers(cells) or tuple(cells))

    def _note_wrong_numbers(self, line: int, cells: list[str]) -> None:
        numbers = [_number(cell) for cell in cells]
        unreadable = [cell for cell, number in zip(cells, numbers, strict=True) if number is None]
        empty = [cell for cell in unreadable if cell.strip().casefold() in _EMPTY]
        found = {
            "empty": bool(empty),
            "words": len(unreadable) > len(empty),
            "not allowed": any(number is not None and not self._numbers.allow([number]) for number in numbers),
        }
        found["sum"] = not any(found.values())
        for problem in (name for name, is_found in found.items() if is_found):
            self._lines[problem].append(line)

    def problems(self) -> list[str]:
        problems = []
        if misfits := self._lines["misfit"]:
            width = len(self.header)
            problems.append(f"{_on_lines(misfits)} not the {width} values of the header; expected one for each column")
        if not self._count:
            problems.append("no rows after the header; expected one for each id of the sample")
        if self._id_at is not None:
            problems += self._id_problems()
        problems += self._label_problems() if self._is_text else self._number_problems()
        if self._count > 1 and len(self._different) == 1 and not self._is_dry_run:
            (answer,) = self._different
            same = f"the label {_quoted(str(answer))}" if self._is_text else f"the same {self._numbers.name}"
            problems.append(
                f"all {self._count} rows have {same}; expected different predictions: was the model trained?"
            )
        return problems

    def _id_problems(self) -> list[str]:
        sample, problems = self.sample, []
        if missing := [name for name in sample.ids if name not in self._hashes]:
            problems.append(
                f"{len(missing)} ids missing: {_listed(missing)}; expected all {len(sample.ids)} of {sample.path.name}"
            )
        if unknown := self._unknown_ids:
            first = next(iter(unknown.values()))
            problems.append(
                f"{len(unknown)} ids not in the sample (first on line {first}): {_listed([*unknown])}; expected ids"
                f" like {_listed(sample.ids, 1)}"
            )
        if repeated := self._repeated_ids:
            problems.append(f"{len(repeated)} ids more than once: {_listed([*repeated])}; expected one row each")
        return problems

    def _label_problems(self) -> list[str]:
        labels, problems = self.spec.labels, []
        if empty := self._lines["empty"]:
            column = _quoted(self.spec.answer_columns[0])
            problems.append(f"{_on_lines(empty)} no label in {column}; expected one of {_listed(labels)}")
        for label, lines in list(self._wrong_labels.items())[:_MAX_WRONG_LABELS]:
            near = _nearest(label, labels)
            hint = f"did you mean {_quoted(near)}?" if near is not None else f"expected one of {_listed(labels)}"
            problems.append(f"{_on_lines(lines)} an unknown label, {_quoted(label)}; {hint}")
        if (more := len(self._wrong_labels) - _MAX_WRONG_LABELS) > 0:
            problems.append(f"{more} more unknown labels; expected one of {_listed(labels)}")
        if repeated := self._lines["repeated"]:
            problems.append(f"{_on_lines(repeated)} a label more than once; expected each once")
        if too_many := self._lines["too many"]:
            problems.append(f"{_on_lines(too_many)} too many labels; expected at most {self.spec.most_labels}")
        return problems

    def _number_problems(self) -> list[str]:
        expected, name = f"expected {self._numbers}", self._numbers.name
        texts = {
            "empty": f"empty or NaN {name}",
            "words": f"{name} that are not numbers",
            "not allowed": f"{name} {self._numbers.not_allowed}",
            "sum": f"{name} that do not sum to 1",
        }
        return [f"{_on_lines(self._lines[key])} {text}; {expected}" for key, text in texts.items() if self._lines[key]]

    def find_repeat(self, path: Path) -> Path | None:
        """The oldest file of the folder that was written earlier and has the same answers."""
        return next((earlier for earlier in _earlier_files(path) if self._is_equal_to(earlier)), None)

    def _is_equal_to(self, other: Path) -> bool:
        """Compare row by row, up to the first difference: the folder may have many large files."""
        rows = _read_rows(other)
        try:
            header = next(rows, (0, []))[1]
            if sorted(header) != sorted([self.spec.id_column, *self.spec.answer_columns]):
                return False
            id_at = header.index(self.spec.id_column)
            answers_at = [header.index(name) for name in self.spec.answer_columns]
            count = 0
            for _, row in rows:
                if len(row) != len(header):
                    return False
                cells = [row[position] for position in answers_at]
                if self._hashes.get(row[id_at]) != hash(self._comparable(cells)):
                    return False
                count += 1
        except _NotCsvError:
            return False
        return 0 < count == len(self._hashes)


def _earlier_files(path: Path) -> list[Path]:
    """The CSV files of the same folder that are older, oldest first; equal times are ordered by name."""
    times = {}
    for other in path.parent.glob("[!.]*.csv"):
        try:
            times[other] = (other.stat().st_mtime_ns, other.name)
        except OSError:  # deleted meanwhile, or a broken link
            continue
    own = times.get(path)
    return [other for other in sorted(times, key=times.__getitem__) if own is not None and times[other] < own]


def _nearest(label: str, classes: Sequence[str]) -> str | None:
    """The class that differs only in number format, case, spaces or a typing error."""
    number = _number(label.strip())
    for name in classes:
        if name.strip().casefold() == label.strip().casefold() or (number is not None and _number(name) == number):
            return name
    near = difflib.get_close_matches(label[:80], classes, n=1)
    return near[0] if near else None


def _as_numbers(cells: Sequence[str]) -> tuple[float, ...] | None:
    """All cells as numbers, without the forms that only Python accepts, such as "1_000" and "١"; or None."""
    try:
        numbers = tuple(map(float, cells))
    except ValueError:
        return None
    text = "".join(cells)
    return numbers if text.isascii() and "_" not in text else None


def _number(text: str) -> float | None:
    """A finite number."""
    numbers = _as_numbers([text])
    return numbers[0] if numbers and math.isfinite(numbers[0]) else None


def _on_lines(lines: Sequence[int]) -> str:
    first = ", ".join(map(str, lines[:3]))
    if len(lines) == 1:
        return f"line {first} has"
    return f"{len(lines)} rows (lines {first}{', …' if len(lines) > 3 else ''}) have"


def _listed(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(map(_quoted, names[:most])) + (", …" if len(names) > most else "")


def _quoted(text: str) -> str:
    """On one line and of limited length."""
    return repr(shortened(text))
