"""Files that somebody else may have written: text, JSON, and CSV as columns.

Text is UTF-8, with or without a byte order mark, with any line ends. What cannot be read is one DataError that names
the file and the line.
"""

import csv
import json
import math
import reprlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.errors import DataError

Cells = Callable[[Sequence[str]], NDArray[Any]]
"""Turns the texts of a column into its values; a text that is none of them is a ValueError."""

MEND = "mend the file, or make it again"
MOST_PIXELS = 1_000_000
"""Of a side: no format of images has more."""
_AT_A_TIME = 5_000
"""Rows whose texts are in memory together."""


def text_of(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; expected a file here: {MEND}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 ({error.reason}); save the file as UTF-8") from None


def json_of(path: Path) -> dict[str, Any]:
    text = text_of(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON, or cut off ({error.msg}); {MEND}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nested too deeply
        raise DataError(f"{path}: not JSON that can be read ({error}); {MEND}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with keys at the top: got {short(content)}; {MEND}")
    return content


def columns_of(path: Path, columns: Mapping[str, Cells]) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """The values of each column, and the line of each row. The file has exactly these columns, in this order."""
    lines = array("q")
    parts: dict[str, list[NDArray[Any]]] = {name: [cells([])] for name, cells in columns.items()}
    for rows in _parts_of(path, list(columns)):
        lines.extend(line for line, _ in rows)
        for position, (name, cells) in enumerate(columns.items()):
            texts = [row[position] for _, row in rows]
            try:
                parts[name].append(cells(texts))
            except ValueError:
                _tell_cell(path, name, cells, rows, position)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}, np.array(lines, dtype=np.int64)


def _parts_of(path: Path, columns: list[str]) -> Iterator[list[tuple[int, list[str]]]]:
    """Some rows at a time, each with its line."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header != columns:
                told = ",".join(header) or "nothing"
                raise DataError(f"{path}, line 1: expected the columns {','.join(columns)}: got {told}; {MEND}")
            rows = ((reader.line_num, row) for row in reader if row)
            while part := list(islice(rows, _AT_A_TIME)):
                for line, row in part:
                    if len(row) != len(columns):
                        told = f"expected {len(columns)} values: got {len(row)}"
                        raise DataError(f"{path}, line {line}: {told}; {MEND}")
                yield part
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; expected a file here: {MEND}") from None
    except UnicodeDecodeError:
        text_of(path)  # tells the line
        raise
    except csv.Error as error:
        raise DataError(f"{path}, after line {line or 1}: not CSV, or cut off ({error}); {MEND}") from None


def _tell_cell(path: Path, name: str, cells: Cells, rows: list[tuple[int, list[str]]], position: int) -> None:
    for line, row in rows:
        try:
            cells([row[position]])
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {name}: {error}; {MEND}") from None


def texts(cells: Sequence[str]) -> NDArray[np.object_]:
    return np.array(cells, dtype=object)


def numbers(cells: Sequence[str]) -> NDArray[np.float64]:
    """Finite ones."""
    try:
        found = np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
    except ValueError:
        found = np.array([math.nan])
    if not np.isfinite(found).all():
        raise ValueError(f"expected a finite number: got {short(cells[0])}")
    return found


def whole_numbers(cells: Sequence[str]) -> NDArray[np.int64]:
    try:
        return np.fromiter(map(int, cells), dtype=np.int64, count=len(cells))
    except (ValueError, OverflowError):
        raise ValueError(f"expected a whole number: got {short(cells[0])}") from None


def flags(cells: Sequence[str]) -> NDArray[np.bool_]:
    try:
        return np.fromiter(map({"0": False, "1": True}.__getitem__, cells), dtype=np.bool_, count=len(cells))
    except KeyError:
        raise ValueError(f"expected 0 or 1: got {short(cells[0])}") from None


def number_in(value: Any) -> float:
    """A finite number out of JSON or YAML, where text in quotes and true are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number: got {short(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number: got {short(value)}")
    return number


def pixels_in(value: Any) -> int:
    """A width or a height out of such a file."""
    number = number_in(value)
    if not 1 <= number <= MOST_PIXELS or not number.is_integer():
        raise ValueError(f"expected a whole number of pixels from 1 to {MOST_PIXELS:,}: got {short(value)}")
    return int(number)


def problem_of_classes(names: Sequence[Any]) -> str | None:
    """What is wrong with a list of classes, if anything is."""
    if not names:
        return "expected the name of at least one class: got none"
    for name in names:
        if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
            return f"expected a class's name as text in one line, without blanks around it: got {short(name)}"
    name, times = Counter(names).most_common(1)[0]
    return f"two classes have the name {short(name)}; expected each name once" if times > 1 else None


def short(value: Any) -> str:
    """What a message shows of a value, which may be very long."""
    return reprlib.repr(value)
