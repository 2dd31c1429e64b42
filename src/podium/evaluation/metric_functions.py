"""The functions behind METRICS, each of the truth and the predictions.

truth         (rows,) class numbers, or (rows, columns): 0 and 1 for each label, class shares, or numbers
predictions   (rows, columns): a probability for each class or label, one for `binary`, or numbers

Columns and classes without rows of their own are left out of means over columns: a fold seldom has every class. Where
that leaves nothing, the score is undefined, a DataError. Bootstraps call these functions thousands of times, so those
of scikit-learn, whose checks take most of the time, are only in the tests.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.errors import DataError
from podium.evaluation.metrics import SMALLEST_PROBABILITY

Truth = NDArray[Any]
Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]


# Answers


def accuracy(truth: Truth, predictions: Floats) -> float:
    """The share of right rows; with several labels per row all of them have to be right."""
    if truth.ndim == 1:
        return float((_classes(predictions) == truth).mean())
    return float(((predictions >= 0.5) == (truth >= 0.5)).all(axis=1).mean())


def balanced_accuracy(truth: Truth, predictions: Floats) -> float:
    """Recall, averaged over the classes that have rows."""
    hits, actual, _ = _counts(truth, predictions)
    return float((hits[actual > 0] / actual[actual > 0]).mean())


def f_beta(truth: Truth, predictions: Floats, number: float) -> float:
    """F-beta of the positive class."""
    hits, actual, answered = _counts(truth, predictions)
    return float(_f_beta(hits[1:], actual[1:], answered[1:], number)[0])


def macro_f_beta(truth: Truth, predictions: Floats, number: float) -> float:
    """F-beta, averaged over the classes that are truth or answers."""
    return float(_f_beta(*_counts(truth, predictions), number).mean())


def micro_f_beta(truth: Truth, predictions: Floats, number: float) -> float:
    """F-beta of the counts of all classes together."""
    hits, actual, answered = (counts.sum(keepdims=True) for counts in _counts(truth, predictions))
    return float(_f_beta(hits, actual, answered, number)[0])


def samples_f_beta(truth: Truth, predictions: Floats, number: float) -> float:
    """F-beta of each row's labels, averaged over the rows; a row without labels that is given none scores 1."""
    actual, answers = truth >= 0.5, predictions >= 0.5
    hits, weight = (actual & answers).sum(axis=1), number**2
    total = weight * actual.sum(axis=1) + answers.sum(axis=1)
    return float(np.where(total > 0, (1 + weight) * hits / np.where(total > 0, total, 1), 1.0).mean())


def matthews(truth: Truth, predictions: Floats) -> float:
    """0 if all answers are the same class, as in scikit-learn."""
    hits, actual, answered = (counts.astype(np.float64) for counts in _counts(truth, predictions))
    rows = float(len(truth))
    spread = (rows**2 - (answered**2).sum()) * (rows**2 - (actual**2).sum())
    return float((hits.sum() * rows - (actual * answered).sum()) / np.sqrt(spread)) if spread > 0 else 0.0


def quadratic_kappa(truth: Truth, predictions: Floats) -> float:
    """A mistake is weighted by the square of its distance in classes; numbers are rounded, columns averaged."""
    answers = _classes(predictions)[:, None] if truth.ndim == 1 else np.rint(predictions)
    actual = truth.reshape(answers.shape).astype(np.float64)
    observed = ((actual - answers) ** 2).mean(axis=0)
    by_chance = (actual**2).mean(axis=0) + (answers**2).mean(axis=0) - 2 * actual.mean(axis=0) * answers.mean(axis=0)
    known = by_chance > 1e-12
    if not known.any():
        raise DataError(
            f"Kappa is undefined: every label and every prediction is class {int(actual[0, 0])}; expected at least two"
            " classes: score more rows, or choose another metric"
        )
    return float((1 - observed[known] / by_chance[known]).mean())


def _classes(predictions: Floats) -> Ints:
    """The most probable class of each row; one column has the probability of class 1."""
    return predictions.argmax(axis=1) if predictions.shape[1] > 1 else (predictions[:, 0] >= 0.5).astype(np.int64)


def _counts(truth: Truth, predictions: Floats) -> tuple[Ints, Ints, Ints]:
    """For each class, how many rows are rightly given it, have it, and are given it."""
    if truth.ndim == 1:
        answers, classes = _classes(predictions), max(2, predictions.shape[1])
        hits = truth[truth == answers]
        return (
            np.bincount(hits, minlength=classes),
            np.bincount(truth, minlength=classes),
            np.bincount(answers, minlength=classes),
        )
    actual, answered = truth >= 0.5, predictions >= 0.5
    return (actual & answered).sum(axis=0), actual.sum(axis=0), answered.sum(axis=0)


def _f_beta(hits: Ints, actual: Ints, answered: Ints, beta: float) -> Floats:
    """For each class that is truth or an answer."""
    total = beta**2 * actual + answered
    known = total > 0
    if not known.any():
        raise DataError(
            "F-beta is undefined: no row has a label and none is given one; expected rows with labels: score more rows,"
            " or choose another metric"
        )
    return np.asarray((1 + beta**2) * hits[known] / total[known])


# Rankings


def top_accuracy(truth: Truth, predictions: Floats, number: int) -> float:
    """How often the true class is among the `number` most probable ones."""
    return float((_rank_of_truth(truth, predictions) < number).mean())


def mean_average_precision_at(truth: Truth, predictions: Floats, number: int) -> float:
    """The average precision of each row's most probable labels, averaged over the rows."""
    if truth.ndim == 1:
        rank = _rank_of_truth(truth, predictions)
        return float(np.where(rank < number, 1 / (rank + 1), 0.0).mean())
    best = np.argsort(-predictions, axis=1, kind="stable")[:, :number]
    hits = np.take_along_axis(truth, best, axis=1) >= 0.5
    precision = hits.cumsum(axis=1) / np.arange(1, best.shape[1] + 1)
    possible = (truth >= 0.5).sum(axis=1).clip(1, number)  # a row without labels scores 0
    return float(((precision * hits).sum(axis=1) / possible).mean())


def roc_auc(truth: Truth, predictions: Floats) -> float:
    """One class against the rest, averaged over the classes that have rows and are not all rows."""
    positive, scored = _one_column_each(truth, predictions)
    if truth.ndim == 1 and predictions.shape[1] == 2:  # the first column gives the same value
        positive, scored = positive[:, 1:], scored[:, 1:]
    count = positive.sum(axis=0)
    known = np.flatnonzero((count > 0) & (count < len(truth)))
    if not len(known):
        reason = f"every row is of class {truth[0]}" if truth.ndim == 1 else "every label is on all rows or on none"
        raise DataError(
            f"ROC AUC is undefined: {reason}; expected rows of at least two classes: score more rows, or choose another"
            " metric"
        )
    return float(np.mean([_roc_auc(positive[:, column], scored[:, column]) for column in known]))


def _roc_auc(positive: NDArray[np.bool_], scored: Floats) -> float:
    """How often a positive row is above a negative one, from the ranks of the positive rows; equal ones count half."""
    of_positive, ordered = scored[positive], np.sort(scored)
    count = len(of_positive)
    below, up_to = np.searchsorted(ordered, of_positive, "left"), np.searchsorted(ordered, of_positive, "right")
    ranks = float((below + up_to + 1).sum()) / 2
    return (ranks - count * (count + 1) / 2) / (count * (len(scored) - count))


def partial_auc(truth: Truth, predictions: Floats, number: float) -> float:
    """The area under the ROC curve and above the true positive rate `number`; the best is 1 - `number`."""
    positive = truth == 1
    count = int(positive.sum())
    if count in (0, len(truth)):
        raise DataError(
            f"Partial AUC is undefined: every row is of class {truth[0]}; expected rows of both classes: score more"
            " rows, or choose another metric"
        )
    # With the classes and the order exchanged, the area above a true positive rate is that left of a false one.
    order = np.argsort(predictions[:, 0], kind="stable")
    ends = _ends_of_ties(predictions[order, 0])
    negatives = np.concatenate([[0], (~positive[order]).cumsum()[ends]]) / (len(truth) - count)
    positives = np.concatenate([[0], positive[order].cumsum()[ends]]) / count
    limit = 1 - number
    inside = positives <= limit
    heights = np.append(negatives[inside], np.interp(limit, positives, negatives))
    return float((np.diff(np.append(positives[inside], limit)) * (heights[1:] + heights[:-1]) / 2).sum())


def average_precision(truth: Truth, predictions: Floats) -> float:
    """Of the positive class."""
    return _average_precision(truth == 1, predictions[:, 0])


def macro_average_precision(truth: Truth, predictions: Floats) -> float:
    """Averaged over the classes that have rows."""
    positive, scored = _one_column_each(truth, predictions)
    known = np.flatnonzero(positive.any(axis=0))
    if not len(known):
        return _average_precision(positive[:, 0], scored[:, 0])
    return float(np.mean([_average_precision(positive[:, column], scored[:, column]) for column in known]))


def micro_average_precision(truth: Truth, predictions: Floats) -> float:
    """Of all pairs of a row and a class together."""
    positive, scored = _one_column_each(truth, predictions)
    return _average_precision(positive.ravel(), scored.ravel())


def _rank_of_truth(truth: Truth, predictions: Floats) -> Ints:
    """How many classes are more probable than the true one; equal ones are in the order of the columns."""
    right = predictions[np.arange(len(truth)), truth][:, None]
    is_earlier = np.arange(predictions.shape[1]) < truth[:, None]
    return np.asarray(((predictions > right) | ((predictions == right) & is_earlier)).sum(axis=1))


def _one_column_each(truth: Truth, predictions: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Whether a row is of a class, and how likely, in a column for each class, or in one for `binary`."""
    if truth.ndim == 2:
        return truth >= 0.5, predictions
    classes = np.arange(predictions.shape[1]) if predictions.shape[1] > 1 else np.array([1])
    return truth[:, None] == classes, predictions


def _average_precision(positive: NDArray[np.bool_], scored: Floats) -> float:
    order = np.argsort(-scored, kind="stable")
    ends = _ends_of_ties(scored[order])
    hits = positive[order].cumsum()[ends]
    if hits[-1] == 0:
        raise DataError(
            "Average precision is undefined: no row is positive; expected at least one: score more rows, or choose"
            " another metric"
        )
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / hits[-1])


def _ends_of_ties(ordered: Floats) -> Ints:
    """The last position of each run of equal values."""
    return np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)


# Probabilities


def log_loss(truth: Truth, predictions: Floats) -> float:
    """Rows are scaled to sum 1. The truth may also be the shares of the classes."""
    if predictions.shape[1] == 1:
        return _binary_log_loss(truth[:, None] == 1, predictions)
    clipped = predictions.clip(SMALLEST_PROBABILITY)
    if truth.ndim == 2:
        return float(-(truth * np.log(clipped / clipped.sum(axis=1, keepdims=True))).sum(axis=1).mean())
    right = clipped[np.arange(len(truth)), truth]
    return float(-np.log(right / clipped.sum(axis=1)).mean())


def columnwise_log_loss(truth: Truth, predictions: Floats) -> float:
    """The log loss of each label, averaged over the labels."""
    return _binary_log_loss(truth >= 0.5, predictions)


def _binary_log_loss(positive: NDArray[np.bool_], predictions: Floats) -> float:
    right = np.where(positive, predictions, 1 - predictions)
    return float(-np.log(right.clip(SMALLEST_PROBABILITY, 1)).mean())


def brier(truth: Truth, predictions: Floats) -> float:
    """The squared error of the probabilities, summed over the classes; `binary` has one column."""
    positive, scored = _one_column_each(truth, predictions)
    return float(((scored - positive) ** 2).sum(axis=1).mean())


def kl_divergence(truth: Truth, predictions: Floats) -> float:
    """From the true to the predicted shares, which are clipped and scaled to sum 1."""
    from scipy.special import rel_entr

    clipped = predictions.clip(SMALLEST_PROBABILITY)
    return float(rel_entr(truth, clipped / clipped.sum(axis=1, keepdims=True)).sum(axis=1).mean())


# Numbers


def rmse(truth: Truth, predictions: Floats) -> float:
    """Of the numbers of all columns together."""
    return float(np.sqrt(((predictions - truth) ** 2).mean()))


def columnwise_rmse(truth: Truth, predictions: Floats) -> float:
    """The RMSE of each column, averaged over the columns."""
    return float(np.sqrt(((predictions - truth) ** 2).mean(axis=0)).mean())


def rmsle(truth: Truth, predictions: Floats) -> float:
    """The RMSE of log(1 + number); negative predictions count as 0."""
    if truth.min() < 0:
        raise DataError(
            f"RMSLE is undefined: the truth has the number {truth.min():g}; expected none below 0: choose another"
            " metric, such as rmse"
        )
    return rmse(np.log1p(truth), np.log1p(predictions.clip(0)))


def mae(truth: Truth, predictions: Floats) -> float:
    """Of the numbers of all columns together."""
    return float(np.abs(predictions - truth).mean())


def r2(truth: Truth, predictions: Floats) -> float:
    """Averaged over the columns whose truth varies."""
    truth, predictions = _varying_columns("R2", truth, predictions)
    error = ((predictions - truth) ** 2).sum(axis=0)
    return float((1 - error / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)).mean())


def pearson(truth: Truth, predictions: Floats) -> float:
    """Averaged over the columns whose truth varies; predictions that are all equal score 0."""
    truth, predictions = _varying_columns("Correlation", truth, predictions)
    actual, scored = truth - truth.mean(axis=0), predictions - predictions.mean(axis=0)
    size = np.sqrt((actual**2).sum(axis=0) * (scored**2).sum(axis=0))
    varies = np.ptp(predictions, axis=0) > 0
    return float(np.where(varies, (actual * scored).sum(axis=0) / np.where(varies, size, 1), 0.0).mean())


def spearman(truth: Truth, predictions: Floats) -> float:
    """Pearson's correlation of the ranks."""
    from scipy.stats import rankdata

    return pearson(rankdata(truth, axis=0), rankdata(predictions, axis=0))


def _varying_columns(name: str, truth: Truth, predictions: Floats) -> tuple[Truth, Floats]:
    varies = np.ptp(truth, axis=0) > 0
    if not varies.any():
        raise DataError(
            f"{name} is undefined: the truth is {truth[0, 0]:g} in every row; expected different numbers: score more"
            " rows, or choose another metric"
        )
    return truth[:, varies], predictions[:, varies]
