"""The boxes of Open Images: which codes its classes have, and all boxes of some of them out of fourteen million rows.

The table of boxes has no text in it that could hold a comma, and a row's class is one of its first fields. So a block
of the file is cut into lines, the one field is looked at in each, and only the rows that are wanted are read on.
"""

import csv
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.problems import nearest
from podium.errors import DataError

Tell = Callable[[int], None]
"""Told how many bytes of a file are read."""
SIDES = ("XMin", "YMin", "XMax", "YMax")
"""In the order of the corners of a BoxSet. Shares of the image's width and height."""
FLAGS = {"occluded": "IsOccluded", "truncated": "IsTruncated", "group": "IsGroupOf", "depiction": "IsDepiction",
         "inside": "IsInside"}  # fmt: skip
BLOCK = 8 << 20
"""Bytes that are read at a time."""
AGAIN = "download it again"
_FLAG = {"1": True, "0": False, "-1": False}
"""-1 is for: nobody said."""
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""What can be a file's name wherever podium runs, and leads to no other folder."""
_HEADINGS = (["LabelName", "DisplayName"], ["LabelName", "Name"])


def read_class_codes(path: Path) -> dict[str, str]:
    """Code by name. The official file has no header; one that another version has is passed over."""
    codes: dict[str, str] = {}
    for number, row in enumerate(_rows_of(path), start=1):
        if number == 1 and row in _HEADINGS:
            continue
        if len(row) != 2 or not all(row):
            raise DataError(f"{path}, line {number}: expected a code and a name, such as /m/019jd,Boat: got {row}")
        code, name = row
        if name in codes:
            raise DataError(f"{path}, line {number}: {name!r} stands twice; is it the official file?")
        codes[name] = code
    if not codes:
        raise DataError(f"{path} is empty; download class-descriptions-boxable.csv again")
    return codes


def wanted_codes(classes: Mapping[str, Sequence[str]], codes: Mapping[str, str], path: Path) -> dict[str, str]:
    """The class that each code stands for, where classes name their sources by Open Images' own, exact names."""
    unknown = [name for sources in classes.values() for name in sources if name not in codes]
    if unknown:
        first = f"{path} has no class {unknown[0]!r}{nearest(unknown[0], list(codes))}"
        more = "".join(f"; nor {name!r}{nearest(name, list(codes))}" for name in unknown[1:])
        raise DataError(f"{first}{more} (names are matched exactly)")
    return {codes[source]: name for name, sources in classes.items() for source in sources}


def check_id(text: str, where: str) -> str:
    """The id, if it may be part of a file's name."""
    if not _ID.fullmatch(text):
        raise DataError(f"{where}: {text!r} is no id of an image, such as 000002b66c9c498e")
    return text


@dataclass
class _Columns:
    """What is read so far."""

    ids: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    sides: list[NDArray[np.float64]] = field(default_factory=list)
    flags: list[NDArray[np.bool_]] = field(default_factory=list)

    def frame(self, names: Sequence[str]) -> pd.DataFrame:
        sides = np.concatenate([np.empty((0, len(SIDES))), *self.sides])
        flags = np.concatenate([np.empty((0, len(FLAGS)), dtype=bool), *self.flags])
        columns = {"id": self.ids, "class": pd.Categorical(self.classes, categories=names)}
        shares = {name: sides[:, number] for number, name in enumerate(("left", "top", "right", "bottom"))}
        return pd.DataFrame(columns | shares | {name: flags[:, number] for number, name in enumerate(FLAGS)})


@dataclass(frozen=True)
class FoundBoxes:
    boxes: pd.DataFrame
    """id, class, left, top, right and bottom as shares of the image, and a column for each flag."""
    rows: int
    """Of the whole table."""


def read_boxes(path: Path, class_of: Mapping[str, str], tell: Tell = lambda done: None) -> FoundBoxes:
    """All boxes of these codes, in the order of the table."""
    table = _Table(path, _header_of(path))
    columns, ids, rows = _Columns(), dict[str, str](), 0
    codes = {code.encode() for code in class_of}
    for lines, first in _blocks(path, tell):
        rows += len(lines)
        chosen = [at for at, label in enumerate(table.labels_of(lines, first)) if label in codes]
        if chosen:
            _add(columns, table.fields_of(lines, chosen, first), class_of, ids)
    return FoundBoxes(columns.frame(list(dict.fromkeys(class_of.values()))), rows)


def _add(columns: _Columns, fields: "_Fields", class_of: Mapping[str, str], ids: dict[str, str]) -> None:
    # An image's boxes share one text for its id.
    columns.ids += [ids.setdefault(text, text) for text in fields.ids()]
    columns.classes += [class_of[label] for label in fields.column("LabelName")]
    columns.sides.append(np.column_stack([fields.numbers(name) for name in SIDES]))
    columns.flags.append(np.column_stack([fields.truths(name) for name in FLAGS.values()]))


class _Table:
    """Which field of a line is which."""

    def __init__(self, path: Path, header: list[str]) -> None:
        self.path, self.header = path, header
        self._position = header.index("LabelName")
        self._label = re.compile(rf"(?:[^,\n]*,){{{self._position}}}([^,\n]*)[^\n]*\n".encode())

    def labels_of(self, lines: "_Lines", first: int) -> list[bytes]:
        """The class of each line, the first of which is the line of this number."""
        if not lines.are_quoted:
            labels: list[bytes] = self._label.findall(lines.content)
            if len(labels) == len(lines):  # a line without the field is passed over
                return labels
        rows = lines.split(range(len(lines)))
        for at, row in enumerate(rows):
            if len(row) <= self._position:
                raise self.problem(first + at, f"expected {len(self.header)} fields: got {len(row)}")
        return [row[self._position].encode() for row in rows]

    def fields_of(self, lines: "_Lines", chosen: Sequence[int], first: int) -> "_Fields":
        rows = lines.split(chosen)
        for at, row in zip(chosen, rows, strict=True):
            if len(row) != len(self.header):
                raise self.problem(first + at, f"expected {len(self.header)} fields, as in the header: got {len(row)}")
        return _Fields(self, rows, [first + at for at in chosen])

    def problem(self, line: int, message: str) -> DataError:
        return DataError(f"{self.path}, line {line}: {message}; {AGAIN}")


@dataclass(frozen=True)
class _Fields:
    """The fields of some rows, and the numbers of their lines."""

    table: _Table
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        position = self.table.header.index(name)
        return [row[position] for row in self.rows]

    def ids(self) -> list[str]:
        texts = self.column("ImageID")
        for line, text in zip(self.lines, texts, strict=True):
            check_id(text, f"{self.table.path}, line {line}")
        return texts

    def numbers(self, name: str) -> NDArray[np.float64]:
        texts = self.column(name)
        try:
            numbers = np.array(texts, dtype=np.float64)
        except ValueError:
            numbers = np.array([_number(text) for text in texts])
        if not np.isfinite(numbers).all():
            at = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise self.table.problem(self.lines[at], f"{name} is a number from 0 to 1: got {texts[at]!r}")
        return numbers

    def truths(self, name: str) -> NDArray[np.bool_]:
        texts = self.column(name)
        try:
            return np.array([_FLAG[text] for text in texts], dtype=bool)
        except KeyError:
            at = next(number for number, text in enumerate(texts) if text not in _FLAG)
            raise self.table.problem(self.lines[at], f"{name} is 1, 0 or -1: got {texts[at]!r}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


class _Lines:
    """Whole lines of a file."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.are_quoted = b'"' in content
        self._length = content.count(b"\n")
        self._split: list[bytes] | None = None

    def __len__(self) -> int:
        return self._length

    def split(self, chosen: Iterable[int]) -> list[list[str]]:
        """The fields of these lines."""
        if self._split is None:
            self._split = self.content.split(b"\n")
        texts = [self._split[at].decode(errors="replace").rstrip("\r") for at in chosen]
        return [next(csv.reader([text]), []) for text in texts] if self.are_quoted else [t.split(",") for t in texts]


def _blocks(path: Path, tell: Tell) -> Iterator[tuple[_Lines, int]]:
    """The file but its header, some whole lines at a time, with the number of the first of them."""
    rest = b""
    with path.open("rb") as opened:
        done, first = len(opened.readline()), 2
        while block := opened.read(BLOCK):
            done += len(block)
            end = block.rfind(b"\n") + 1
            if not end:
                raise DataError(f"{path}, line {first} is longer than any row: this is no table; {AGAIN}")
            lines = _Lines(rest + block[:end])
            rest = block[end:]
            yield lines, first
            first += len(lines)
            tell(done)
    if rest:
        yield _Lines(rest + b"\n"), first


def _header_of(path: Path) -> list[str]:
    needed = ["ImageID", "LabelName", *SIDES, *FLAGS.values()]
    try:
        with path.open("rb") as opened:
            first = opened.readline(100_000)
    except FileNotFoundError:
        raise missing(path) from None
    header = first.decode("utf-8-sig", errors="replace").strip().split(",")
    return checked_header(path, header, needed)


def checked_header(path: Path, header: list[str], needed: Collection[str]) -> list[str]:
    absent = [name for name in needed if name not in header]
    if absent:
        shown = ", ".join(header)[:100] or "nothing"
        raise DataError(f"{path} lacks the column {', '.join(absent)} in its first line: got {shown}")
    return header


def missing(path: Path) -> DataError:
    return DataError(f"{path} is not there; download it, name it in the detector file, or give its folder with --data")


def _rows_of(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            return list(csv.reader(opened))
    except FileNotFoundError:
        raise missing(path) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV of codes and names ({error}); {AGAIN}") from None
