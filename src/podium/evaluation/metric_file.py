"""A competition's own metric: a function of a Python file next to the competition file.

    HIGHER_IS_BETTER = True
    TAKES_ANSWERS = False                   # True if it wants classes instead of probabilities; False by default

    def score(truth, predictions):          # arrays, as in `metrics.py`
        return ...

A function with three arguments gets DataFrames, as the metrics that Kaggle publishes do, so that their code works as
it is:

    def score(solution, submission, row_id_column_name): ...

The file is only read, not run, until its metric is computed for the first time.
"""

from __future__ import annotations

import ast
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from podium.errors import ConfigError, DataError
from podium.evaluation.metrics import TARGETS, Metric
from podium.python_text import parse_python

if TYPE_CHECKING:
    from podium.evaluation.metrics import Floats, Function, Truth

ROW_ID = "row_id"
"""The column of row numbers in the DataFrames of a metric."""


@dataclass(frozen=True)
class MetricFile:
    """What the code of a metric's file says about it."""

    higher_is_better: bool
    takes_answers: bool
    takes_frames: bool


def read_metric_file(name: str, code: str) -> MetricFile:
    """`name` is FILE:FUNCTION. A ValueError names everything that is wrong with the code."""
    file, _, function = name.partition(":")
    try:
        body = parse_python(code)
    except ValueError as error:
        raise ValueError(f"{file}, {error}") from None
    constants = dict(pair for statement in body for pair in _constants(statement))
    functions = {statement.name: statement for statement in body if isinstance(statement, ast.FunctionDef)}
    problems = []
    higher_is_better, takes_answers = constants.get("HIGHER_IS_BETTER"), constants.get("TAKES_ANSWERS", False)
    if not isinstance(higher_is_better, bool):
        problems.append("expected a line HIGHER_IS_BETTER = True, or False")
    if not isinstance(takes_answers, bool):
        problems.append(f"expected TAKES_ANSWERS to be True or False, got {takes_answers!r}")
    count = 2
    if function not in functions:
        defined = f"; it defines {', '.join(functions)}" if functions else ""
        problems.append(f"expected a function `def {function}(truth, predictions)`{defined}")
    elif (count := _required(functions[function])) not in (2, 3):
        problems.append(
            f"expected {function} to take (truth, predictions), or (solution, submission, row_id_column_name)"
        )
    if problems:
        raise ValueError(f"{file}: {'; '.join(problems)}")
    return MetricFile(bool(higher_is_better), bool(takes_answers), count == 3)


def _constants(statement: ast.stmt) -> list[tuple[str, Any]]:
    """The names that a statement assigns a constant to."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or not isinstance(statement.value, ast.Constant):
        return []
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [(target.id, statement.value.value) for target in targets if isinstance(target, ast.Name)]


def _required(function: ast.FunctionDef) -> int:
    """The number of arguments without a default; 0 if one of them is a keyword."""
    arguments = function.args
    if None in arguments.kw_defaults:
        return 0
    return len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)


def own_metric(name: str, code: str, target: str, columns: Sequence[str] = (), labels: Sequence[str] = ()) -> Metric:
    """See `make_metric`."""
    try:
        facts = read_metric_file(name, code)
    except ValueError as error:
        raise ConfigError(str(error)) from None

    def load() -> Function:
        function = _run(name, code)
        if facts.takes_frames:
            return _of_frames(partial(_call, name, function), facts, target, columns, labels)
        return _of_arrays(partial(_call, name, function), facts, target)

    return Metric(name, facts.higher_is_better, TARGETS, facts.takes_answers, load=load)


def _of_arrays(call: Callable[..., float], facts: MetricFile, target: str) -> Function:
    import numpy as np

    from podium.evaluation.decisions import default_decision

    def score(truth: Truth, predictions: Floats) -> float:
        answers = default_decision(target).apply(predictions) if facts.takes_answers else predictions.copy()
        return call(truth.astype(np.int64 if truth.ndim == 1 else np.float64), answers)

    return score


def _of_frames(
    call: Callable[..., float], facts: MetricFile, target: str, columns: Sequence[str], labels: Sequence[str]
) -> Function:
    import numpy as np
    import pandas as pd

    from podium.evaluation.decisions import default_decision

    def frame(values: Floats) -> pd.DataFrame:
        if labels:
            classes = values.argmax(axis=1) if values.shape[1] > 1 else values[:, 0].astype(int)
            made = pd.DataFrame({columns[0]: np.asarray(labels, dtype=object)[classes]})
        else:
            made = pd.DataFrame(values, columns=list(columns))
        made.insert(0, ROW_ID, range(len(made)))
        return made

    def score(truth: Truth, predictions: Floats) -> float:
        if facts.takes_answers or labels:
            predictions = default_decision(target).apply(predictions)
        return call(frame(_as_columns(truth, predictions)), frame(predictions), ROW_ID)

    return score


@cache
def _run(name: str, code: str) -> Callable[..., Any]:
    file, _, function = name.partition(":")
    module = ModuleType(f"metric_{file.removesuffix('.py')}")
    sys.modules[module.__name__] = module  # dataclasses look for their module there
    try:
        exec(compile(code, file, "exec"), module.__dict__)
    except Exception as error:
        raise DataError(f"{_describe(file, error)}; the competition's metric cannot be loaded: fix the file") from error
    return module.__dict__[function]  # type: ignore[no-any-return]


def _call(name: str, function: Callable[..., Any], *arguments: Any) -> float:
    file, _, function_name = name.partition(":")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is computed thousands of times
            score = float(function(*arguments))
    except Exception as error:
        raise DataError(
            f"{_describe(file, error)}; expected {function_name} to return the score: fix the competition's metric"
        ) from error
    if score != score:
        raise DataError(f"{file}: {function_name} returned NaN; expected the score: fix the competition's metric")
    return score


def _describe(file: str, error: Exception) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f"{file}, line {lines[-1]}" if lines else file
    return " ".join(f"{place}: {type(error).__name__}: {error}".split())


def _as_columns(truth: Truth, predictions: Floats) -> Floats:
    """The truth as a matrix in the form of the predictions: one-hot, or 1 for the positive class."""
    import numpy as np

    if truth.ndim == 2:
        return truth.astype(np.float64)
    width = predictions.shape[1]
    return np.eye(width)[truth] if width > 1 else truth[:, None].astype(np.float64)
