"""The metrics of competitions, by name, and which targets they score.

The functions are in `metric_functions.py`; `metric_file.py` reads a competition's own. A metric is called with the
truth, (rows,) class numbers or a (rows, columns) matrix, and with predictions as (rows, columns).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

from podium.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Truth = NDArray[Any]
    Floats = NDArray[np.floating[Any]]
    Function = Callable[[Truth, Floats], float]

SMALLEST_PROBABILITY = 1e-15
"""Kaggle's log loss clips here, so that a probability of 0 for the true class does not give an infinite loss."""
TARGETS = ("single_label", "binary", "multi_label", "ordinal", "regression", "soft_label")
OWN_METRIC = re.compile(r"(?P<file>[^/\\:]+\.py):(?P<function>[A-Za-z_]\w*)")
"""A function of a Python file next to the competition file."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Metric:
    """A score of predictions."""

    name: str
    higher_is_better: bool
    targets: Sequence[str]
    """The kinds of target that it scores."""
    takes_answers: bool = False
    """Whether it scores answers such as classes: probabilities become the most probable class, or 1 from 0.5 up."""
    averages_columns: bool = False
    """Whether it is the mean of the columns' scores, so that each column has a best threshold of its own."""
    load: Callable[[], Function] | None = field(default=None, repr=False, compare=False)
    """Loads a competition's own function; the others are in `metric_functions`."""

    @property
    def is_own(self) -> bool:
        """Whether it is a competition's own function."""
        return self.load is not None

    @cached_property
    def function(self) -> Function:
        """The function, without checks of its arguments."""
        return _load_function(self.name) if self.load is None else self.load()

    def __call__(self, truth: Truth, predictions: Floats) -> float:
        return float(self.function(*_checked(truth, predictions)))

    def comparable(self, truth: Truth, predictions: Floats) -> float:
        """A score of which greater is better; -inf where it is undefined, such as that of rows of one class."""
        try:
            score = self(truth, predictions)
        except DataError:
            return -math.inf
        return score if self.higher_is_better else -score

    def better(self, new: float, old: float) -> bool:
        """Whether `new` is better than `old`; any score is better than NaN, which means no score yet."""
        if math.isnan(old):
            return not math.isnan(new)
        return new > old if self.higher_is_better else new < old


_CLASSES = ("single_label", "ordinal", "binary")
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", True, (*_CLASSES, "multi_label"), takes_answers=True),
        Metric("balanced_accuracy", True, _CLASSES, takes_answers=True),
        Metric("f1", True, ("binary",), takes_answers=True),
        Metric("macro_f1", True, (*_CLASSES, "multi_label"), takes_answers=True, averages_columns=True),
        Metric("micro_f1", True, ("single_label", "ordinal", "multi_label"), takes_answers=True),
        Metric("samples_f1", True, ("multi_label",), takes_answers=True),
        Metric("matthews", True, _CLASSES, takes_answers=True),
        Metric("quadratic_kappa", True, ("single_label", "ordinal", "regression"), takes_answers=True),
        Metric("top_5_accuracy", True, ("single_label",)),
        Metric("map@5", True, ("single_label", "multi_label")),
        Metric("roc_auc", True, (*_CLASSES, "multi_label")),
        Metric("partial_auc@0.8", True, ("binary",)),
        Metric("average_precision", True, ("binary",)),
        Metric("macro_average_precision", True, ("single_label", "multi_label")),
        Metric("micro_average_precision", True, ("single_label", "multi_label")),
        Metric("log_loss", False, (*_CLASSES, "soft_label")),
        Metric("columnwise_log_loss", False, ("multi_label",)),
        Metric("brier", False, _CLASSES),
        Metric("kl_divergence", False, ("soft_label",)),
        Metric("rmse", False, ("regression", "soft_label")),
        Metric("columnwise_rmse", False, ("regression", "soft_label")),
        Metric("rmsle", False, ("regression",)),
        Metric("mae", False, ("regression", "soft_label")),
        Metric("r2", True, ("regression",)),
        Metric("pearson", True, ("regression",)),
        Metric("spearman", True, ("regression",)),
    )
}
"""Those of `_FAMILIES` with one of their numbers; `find_metric` knows all."""


def _beta(text: str) -> float | None:
    return float(text) or None


def _count(text: str) -> int | None:
    return int(text) or None if text.isdecimal() else None


def _rate(text: str) -> float | None:
    return float(text) if float(text) < 1 else None


_FAMILIES: Mapping[str, tuple[str, str, Callable[[str], float | None]]] = {
    "f*": ("f1", "f_beta", _beta),
    "macro_f*": ("macro_f1", "macro_f_beta", _beta),
    "micro_f*": ("micro_f1", "micro_f_beta", _beta),
    "samples_f*": ("samples_f1", "samples_f_beta", _beta),
    "top_*_accuracy": ("top_5_accuracy", "top_accuracy", _count),
    "map@*": ("map@5", "mean_average_precision_at", _count),
    "partial_auc@*": ("partial_auc@0.8", "partial_auc", _rate),
}
"""Metrics with a number in their name: one of them, the function of the number, and how the number is read."""


def _find_family(name: str) -> tuple[str, str, float] | None:
    """The metric of METRICS, the function and the number of a name such as `macro_f2`."""
    number = _NUMBER.search(name)
    if number is None or (pattern := _NUMBER.sub("*", name, count=1)) not in _FAMILIES:
        return None
    example, function, read = _FAMILIES[pattern]
    value = read(number.group())
    return None if value is None else (example, function, value)


def _load_function(name: str) -> Function:
    from podium.evaluation import metric_functions

    if found := _find_family(name):
        _, function, number = found
        return partial(getattr(metric_functions, function), number=number)
    return getattr(metric_functions, name)  # type: ignore[no-any-return]


def find_metric(name: str) -> Metric | None:
    """The metric with this name, such as `accuracy` or `map@3`; None if there is none."""
    if name in METRICS:
        return METRICS[name]
    found = _find_family(name)
    return replace(METRICS[found[0]], name=name) if found else None


def make_metric(
    name: str,
    *,
    code: str | None = None,
    target: str = "single_label",
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> Metric:
    """The metric with this name; for a competition's own, from the `code` of its file.

    If its function takes answers, it gets those to this kind of target; if it takes DataFrames, they have these
    columns, or one column of the true and the most probable `labels`.
    """
    if OWN_METRIC.fullmatch(name):
        from podium.evaluation.metric_file import own_metric

        return own_metric(name, code or "", target, columns, labels)
    metric = find_metric(name)
    if metric is None:
        raise DataError(f"no metric {name!r}; expected one of {', '.join(METRICS)}")
    return metric


class _Target(Protocol):
    @property
    def kind(self) -> str: ...


class _Competition(Protocol):
    """What `metric_of` reads of a competition."""

    @property
    def metric(self) -> str: ...

    @property
    def metric_code(self) -> str | None: ...

    @property
    def target(self) -> _Target: ...

    @property
    def submission_format(self) -> str: ...

    @property
    def label_column(self) -> str: ...

    @property
    def answer_columns(self) -> list[str]: ...

    @property
    def labels(self) -> list[str]: ...


def metric_of(competition: _Competition) -> Metric:
    """The metric of a competition: one of METRICS, or its own function."""
    has_label = competition.submission_format == "label"
    return make_metric(
        competition.metric,
        code=competition.metric_code,
        target=competition.target.kind,
        columns=[competition.label_column] if has_label else competition.answer_columns,
        labels=competition.labels if has_label else (),
    )


def _checked(truth: Truth, predictions: Floats) -> tuple[Truth, Floats]:
    import numpy as np

    truth, predictions = np.asarray(truth), np.asarray(predictions, dtype=np.float64)
    if predictions.ndim != 2 or not predictions.size or truth.shape not in (predictions.shape[:1], predictions.shape):
        raise DataError(
            f"Cannot score predictions of shape {predictions.shape} with truth of shape {truth.shape}; expected"
            " predictions as (rows, columns), and as truth a class number per row or numbers of the same shape, with"
            " at least one row: give both from the same rows"
        )
    if truth.ndim == 1:
        classes = max(2, predictions.shape[1])
        if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= classes:
            raise DataError(
                f"Labels run from {truth.min()} to {truth.max()} ({truth.dtype}); expected class numbers from 0 to"
                f" {classes - 1}: use the class list the model was trained with"
            )
    elif truth.dtype.kind not in "iub" and not np.isfinite(truth.astype(np.float64)).all():
        raise DataError("The truth has NaN or infinite numbers; expected finite ones: fix the table of labels")
    invalid = np.flatnonzero(~np.isfinite(predictions).all(axis=1))
    if len(invalid):
        raise DataError(
            f"Predictions of {len(invalid)} rows are NaN or infinite (first: row {invalid[0]}); expected finite"
            " numbers: predict again with a run that did not diverge"
        )
    return truth, predictions
