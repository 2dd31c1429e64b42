"""Read text, JSON and CSV files that other programs may have written.

Text is UTF-8 with or without a byte order mark. Any problem is a DataError with the file and its first problem.
"""

import reprlib
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, Field, RootModel, ValidationError

from podium.errors import DataError
from podium.files import check_table
from podium.predictions import EXACT_FLOATS

Model = TypeVar("Model", bound=BaseModel)
short = reprlib.repr
"""A value in an error message, shortened."""


def _check_class_name(name: str) -> str:
    if not name or name != name.strip() or not name.isprintable():
        raise ValueError("expected a class name on one line without surrounding blanks")
    return name


def _check_class_names(names: list[str]) -> list[str]:
    if not names:
        raise ValueError("expected at least one class name")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ValueError(f"duplicate class name {short(name)}")
    return names


ClassName = Annotated[str, AfterValidator(_check_class_name)]
ClassNames = Annotated[list[ClassName], AfterValidator(_check_class_names)]
Coordinate = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
"""In pixels."""
PixelCount = Annotated[int, Field(ge=1, le=1_000_000)]


class _Names(RootModel[ClassNames]):
    pass


def read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 ({error.reason}); save the file as UTF-8") from None


def read_json(path: Path, model: type[Model]) -> Model:
    text = read_text(path)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{path}: {_first_problem(error)}") from None


def read_names(path: Path) -> list[str]:
    """Class names from a text file, one per line."""
    return check_names([line.strip() for line in read_text(path).rstrip().splitlines()], str(path))


def check_names(names: list[Any], where: str) -> list[str]:
    return validated(_Names, names, where).root


def validated(model: type[Model], content: Any, where: str) -> Model:
    """`where` is the file, and the line or the element if known."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{where}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    location = [part for part in problem["loc"] if part not in ("int", "str")]  # the members of a union
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    message = "missing required key" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
    got = "" if problem["type"] in ("missing", "json_invalid") else f", got {short(problem['input'])}"
    return f"{key}: {message}{got}" if key else f"{message}{got}"


def read_table(path: Path, columns: Mapping[str, type]) -> pd.DataFrame:
    """A CSV file with exactly these columns, of type str, int, float or bool (0 or 1)."""
    options: Any = {"na_filter": False, "index_col": False, "encoding": "utf-8-sig", **EXACT_FLOATS}
    dtypes: Any = {name: np.int8 if kind is bool else kind for name, kind in columns.items()}
    try:
        check_table(path)
        with warnings.catch_warnings(), np.errstate(invalid="raise", over="raise"):
            warnings.simplefilter("error", pd.errors.ParserWarning)
            header = list(pd.read_csv(path, nrows=0, **options).columns)
            if header != list(columns):
                raise DataError(f"{path}: expected the columns {','.join(columns)}, got {short(','.join(header))}")
            table: pd.DataFrame = pd.read_csv(path, dtype=dtypes, **options)
        if not np.isfinite(table[[name for name, kind in columns.items() if kind is float]]).all(axis=None):
            raise ValueError("expected finite numbers")
        flags = [name for name, kind in columns.items() if kind is bool]
        if not table[flags].isin((0, 1)).all(axis=None):
            raise ValueError("expected 0 or 1")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        read_text(path)  # reports the line
        raise
    except (ValueError, ArithmeticError, pd.errors.ParserWarning) as error:  # pandas' errors are ValueErrors
        problem = _first_bad_cell(path, columns, options) or f": {' '.join(str(error).split())}"
        raise DataError(f"{path}{problem}") from None
    return table.astype(dict.fromkeys(flags, bool))


def _first_bad_cell(path: Path, columns: Mapping[str, type], options: Any) -> str | None:
    """The line, the column and the value that pandas could not convert."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table: pd.DataFrame = pd.read_csv(path, dtype=str, **options)
    except (ValueError, pd.errors.ParserWarning):
        return None
    if list(table.columns) != list(columns):
        return None
    for name, kind in columns.items():
        if kind is str:
            continue
        numbers = pd.to_numeric(table[name], errors="coerce")
        is_good = np.isfinite(numbers) & (numbers.isin((0, 1)) if kind is bool else kind is float or numbers % 1 == 0)
        is_good &= numbers.abs() < 2**63
        if not is_good.all():
            row = int((~is_good).to_numpy().argmax())
            expected = {bool: "0 or 1", int: "a whole number", float: "a finite number"}[kind]
            return f", line {row + 2}: {name}: expected {expected}, got {short(table[name].iloc[row])}"
    return None
