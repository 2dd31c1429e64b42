"""The metrics equal scikit-learn's and SciPy's, or the formula, and say so where they are undefined."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from podium.errors import DataError
from podium.evaluation.metrics import METRICS, find_metric

RANDOM = np.random.default_rng(0)
ROWS, COLUMNS = 200, 4
CLASSES = RANDOM.integers(0, COLUMNS, ROWS)
SHARES = RANDOM.dirichlet(np.ones(COLUMNS), ROWS)
ANSWERS = SHARES.argmax(axis=1)
YES_NO = RANDOM.integers(0, 2, ROWS)
POSITIVE = np.round((RANDOM.random(ROWS) + YES_NO * 0.4) / 1.5 + 0.02, 2)[:, None]  # rounded: with ties
LABELS = (RANDOM.random((ROWS, COLUMNS)) < [0.1, 0.3, 0.5, 0.9]).astype(float)
PROBS = np.round(RANDOM.random((ROWS, COLUMNS)) * 0.9 + 0.05, 2)
NUMBERS = RANDOM.gamma(2.0, 30.0, (ROWS, 3))
GUESSES = NUMBERS + RANDOM.normal(0, 20, (ROWS, 3))
GRADES = RANDOM.integers(0, 5, (ROWS, 1)).astype(float)
GRADED = GRADES + RANDOM.normal(0, 1, (ROWS, 1))
TRUE_SHARES = RANDOM.dirichlet(np.ones(COLUMNS) / 2, ROWS)


def f_beta(truth, answers, beta, average):
    return reference.fbeta_score(truth, answers, beta=beta, average=average, zero_division=0)


def partial_auc_of_isic(truth, predictions, min_tpr):
    """As Kaggle's competition ISIC 2024 defines it."""
    max_fpr = 1 - min_tpr
    scaled = reference.roc_auc_score(1 - truth, 1 - predictions, max_fpr=max_fpr)
    return 0.5 * max_fpr**2 + (max_fpr - 0.5 * max_fpr**2) / (1.0 - 0.5) * (scaled - 0.5)


def average_precision_at(truth, predictions, k):
    """The mean over the rows of the sum of precision at each hit, over the number of possible hits."""
    rows = []
    for actual, scored in zip(truth, predictions, strict=True):
        hits, total = 0, 0.0
        for place, column in enumerate(sorted(range(len(scored)), key=lambda n: (-scored[n], n))[:k]):
            hits += actual[column]
            total += hits / (place + 1) if actual[column] else 0
        rows.append(total / min(actual.sum(), k) if actual.any() else 0)
    return np.mean(rows)


CASES = {
    "accuracy": [
        (CLASSES, SHARES, reference.accuracy_score(CLASSES, ANSWERS)),
        (YES_NO, POSITIVE, reference.accuracy_score(YES_NO, POSITIVE[:, 0] >= 0.5)),
        (LABELS, PROBS, reference.accuracy_score(LABELS, PROBS >= 0.5)),
    ],
    "balanced_accuracy": [
        (CLASSES, SHARES, reference.balanced_accuracy_score(CLASSES, ANSWERS)),
        (YES_NO, POSITIVE, reference.balanced_accuracy_score(YES_NO, POSITIVE[:, 0] >= 0.5)),
    ],
    "f1": [(YES_NO, POSITIVE, f_beta(YES_NO, POSITIVE[:, 0] >= 0.5, 1, "binary"))],
    "f0.5": [(YES_NO, POSITIVE, f_beta(YES_NO, POSITIVE[:, 0] >= 0.5, 0.5, "binary"))],
    "macro_f1": [
        (CLASSES, SHARES, f_beta(CLASSES, ANSWERS, 1, "macro")),
        (YES_NO, POSITIVE, f_beta(YES_NO, POSITIVE[:, 0] >= 0.5, 1, "macro")),
        (LABELS, PROBS, f_beta(LABELS, PROBS >= 0.5, 1, "macro")),
    ],
    "macro_f2": [(LABELS, PROBS, f_beta(LABELS, PROBS >= 0.5, 2, "macro"))],
    "micro_f1": [
        (CLASSES, SHARES, f_beta(CLASSES, ANSWERS, 1, "micro")),
        (LABELS, PROBS, f_beta(LABELS, PROBS >= 0.5, 1, "micro")),
    ],
    "micro_f0.5": [(LABELS, PROBS, f_beta(LABELS, PROBS >= 0.5, 0.5, "micro"))],
    "samples_f1": [(LABELS[LABELS.any(axis=1)], PROBS[LABELS.any(axis=1)], None)],
    "samples_f2": [(LABELS[LABELS.any(axis=1)], PROBS[LABELS.any(axis=1)], None)],
    "matthews": [
        (CLASSES, SHARES, reference.matthews_corrcoef(CLASSES, ANSWERS)),
        (YES_NO, POSITIVE, reference.matthews_corrcoef(YES_NO, POSITIVE[:, 0] >= 0.5)),
    ],
    "quadratic_kappa": [
        (CLASSES, SHARES, reference.cohen_kappa_score(CLASSES, ANSWERS, weights="quadratic")),
        (GRADES, GRADED, None),
    ],
    "top_2_accuracy": [(CLASSES, SHARES, reference.top_k_accuracy_score(CLASSES, SHARES, k=2))],
    "top_5_accuracy": [(CLASSES, SHARES, 1.0)],
    "map@3": [
        (CLASSES, SHARES, average_precision_at(np.eye(COLUMNS)[CLASSES], SHARES, 3)),
        (LABELS, PROBS, average_precision_at(LABELS, PROBS, 3)),
    ],
    "map@5": [
        (CLASSES, SHARES, average_precision_at(np.eye(COLUMNS)[CLASSES], SHARES, 5)),
        (LABELS, PROBS, average_precision_at(LABELS, PROBS, 5)),
    ],
    "roc_auc": [
        (CLASSES, SHARES, reference.roc_auc_score(np.eye(COLUMNS)[CLASSES], SHARES)),
        (YES_NO, POSITIVE, reference.roc_auc_score(YES_NO, POSITIVE[:, 0])),
        (LABELS, PROBS, reference.roc_auc_score(LABELS, PROBS)),
    ],
    "partial_auc@0.8": [(YES_NO, POSITIVE, partial_auc_of_isic(YES_NO, POSITIVE[:, 0], 0.8))],
    "partial_auc@0.25": [(YES_NO, POSITIVE, partial_auc_of_isic(YES_NO, POSITIVE[:, 0], 0.25))],
    "partial_auc@0": [(YES_NO, POSITIVE, reference.roc_auc_score(YES_NO, POSITIVE[:, 0]))],
    "average_precision": [(YES_NO, POSITIVE, reference.average_precision_score(YES_NO, POSITIVE[:, 0]))],
    "macro_average_precision": [
        (CLASSES, SHARES, reference.average_precision_score(np.eye(COLUMNS)[CLASSES], SHARES)),
        (LABELS, PROBS, reference.average_precision_score(LABELS, PROBS)),
    ],
    "micro_average_precision": [
        (CLASSES, SHARES, reference.average_precision_score(np.eye(COLUMNS)[CLASSES], SHARES, average="micro")),
        (LABELS, PROBS, reference.average_precision_score(LABELS, PROBS, average="micro")),
    ],
    "log_loss": [
        (CLASSES, SHARES, reference.log_loss(CLASSES, SHARES)),
        (YES_NO, POSITIVE, reference.log_loss(YES_NO, POSITIVE[:, 0])),
        (TRUE_SHARES, SHARES, -(TRUE_SHARES * np.log(SHARES)).sum(axis=1).mean()),
    ],
    "columnwise_log_loss": [
        (LABELS, PROBS, np.mean([reference.log_loss(LABELS[:, n], PROBS[:, n]) for n in range(COLUMNS)]))
    ],
    "brier": [
        (CLASSES, SHARES, ((np.eye(COLUMNS)[CLASSES] - SHARES) ** 2).sum(axis=1).mean()),
        (YES_NO, POSITIVE, reference.brier_score_loss(YES_NO, POSITIVE[:, 0])),
    ],
    "kl_divergence": [(TRUE_SHARES, SHARES, stats.entropy(TRUE_SHARES, SHARES, axis=1).mean())],
    "rmse": [
        (NUMBERS, GUESSES, np.sqrt(reference.mean_squared_error(NUMBERS, GUESSES))),
        (TRUE_SHARES, SHARES, np.sqrt(reference.mean_squared_error(TRUE_SHARES, SHARES))),
    ],
    "columnwise_rmse": [(NUMBERS, GUESSES, reference.root_mean_squared_error(NUMBERS, GUESSES))],
    "rmsle": [(NUMBERS, np.abs(GUESSES), np.sqrt(reference.mean_squared_log_error(NUMBERS, np.abs(GUESSES))))],
    "mae": [(NUMBERS, GUESSES, reference.mean_absolute_error(NUMBERS, GUESSES))],
    "r2": [(NUMBERS, GUESSES, reference.r2_score(NUMBERS, GUESSES))],
    "pearson": [(NUMBERS, GUESSES, np.mean([stats.pearsonr(NUMBERS[:, n], GUESSES[:, n])[0] for n in range(3)]))],
    "spearman": [(NUMBERS, GUESSES, np.mean([stats.spearmanr(NUMBERS[:, n], GUESSES[:, n])[0] for n in range(3)]))],
}
for _name in ("samples_f1", "samples_f2"):
    _truth, _predictions, _ = CASES[_name][0]
    CASES[_name] = [(_truth, _predictions, f_beta(_truth, _predictions >= 0.5, int(_name[-1]), "samples"))]
CASES["quadratic_kappa"][1] = (
    GRADES,
    GRADED,
    reference.cohen_kappa_score(GRADES[:, 0].astype(int), np.rint(GRADED[:, 0]).astype(int), weights="quadratic"),
)


@pytest.mark.parametrize("name", CASES)
def test_metric_equals_its_reference(name):
    for truth, predictions, expected in CASES[name]:
        assert find_metric(name)(truth, predictions) == pytest.approx(expected, rel=1e-9)


def test_every_metric_has_a_reference_for_each_form_of_its_truth():
    for name, metric in METRICS.items():
        forms = {target in ("single_label", "binary", "ordinal") for target in metric.targets}
        assert {truth.ndim == 1 for truth, _, _ in CASES[name]} == forms, name


# Degenerate cases: rows of one class, labels without rows, constant predictions.

ONE_CLASS, NO_LABELS = np.ones(3, dtype=int), np.zeros((3, 2))
EVEN = np.full((3, 2), 0.5)


@pytest.mark.parametrize(
    ("name", "truth", "predictions", "message"),
    [
        ("roc_auc", ONE_CLASS, EVEN, "every row is of class 1; expected rows of at least two classes"),
        ("roc_auc", NO_LABELS, EVEN, "undefined: every label is on all rows or on none"),
        ("partial_auc@0.8", ONE_CLASS, EVEN[:, :1], "every row is of class 1; expected rows of both"),
        ("partial_auc@0.8", np.zeros(3, dtype=int), EVEN[:, :1], "every row is of class 0; expected rows of both"),
        ("average_precision", np.zeros(3, dtype=int), EVEN[:, :1], "no row is positive"),
        ("macro_average_precision", NO_LABELS, EVEN, "no row is positive"),
        ("micro_average_precision", NO_LABELS, EVEN, "no row is positive"),
        ("macro_f1", NO_LABELS, np.zeros((3, 2)), "no row has a label and none is given one"),
        ("f1", np.zeros(3, dtype=int), np.zeros((3, 1)), "no row has a label and none is given one"),
        ("quadratic_kappa", ONE_CLASS, np.eye(2)[ONE_CLASS], "every label and every prediction is class 1"),
        ("r2", np.full((3, 1), 7.0), np.zeros((3, 1)), "^R2 is undefined: the truth is 7 in every row"),
        ("pearson", np.full((3, 1), 7.0), np.zeros((3, 1)), "^Correlation is undefined"),
        ("spearman", np.full((3, 1), 7.0), np.zeros((3, 1)), "Correlation is undefined"),
        ("rmsle", np.full((3, 1), -2.0), np.zeros((3, 1)), "RMSLE is undefined: the truth has the number -2"),
    ],
)
def test_an_undefined_score_is_an_error_that_says_why(name, truth, predictions, message):
    with pytest.raises(DataError, match=message):
        METRICS[name](truth, predictions)


@pytest.mark.parametrize(
    ("name", "truth", "predictions", "expected"),
    [
        # The second label has no row and is given none: it does not count.
        ("macro_f1", np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.9, 0.1], [0.1, 0.1]]), 2 / 3),
        ("roc_auc", np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.9, 0.1], [0.1, 0.1]]), 1.0),
        ("macro_average_precision", np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.9, 0.1], [0.1, 0.1]]), 1.0),
        ("samples_f1", NO_LABELS, np.zeros((3, 2)), 1.0),
        ("map@5", NO_LABELS, EVEN, 0.0),
        ("matthews", np.array([0, 1, 1]), np.zeros((3, 1)), 0.0),
        ("pearson", np.array([[1.0], [2.0]]), np.full((2, 1), 0.1), 0.0),
        ("spearman", np.array([[1.0], [2.0]]), np.full((2, 1), 0.1), 0.0),
        ("pearson", np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([[1.0, 5.0], [2.0, 5.0]]), 1 / 2),
        # The second column is the same in every row: it does not count.
        ("r2", np.array([[1.0, 7.0], [2.0, 7.0]]), np.array([[1.0, 0.0], [2.0, 0.0]]), 1.0),
        ("rmsle", np.zeros((2, 1)), np.full((2, 1), -5.0), 0.0),
        ("kl_divergence", np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), -np.log(1e-15)),
        ("columnwise_log_loss", np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]), -np.log(1e-15) / 2),
        ("roc_auc", np.array([0, 1, 1]), np.zeros((3, 1)), 0.5),
        ("balanced_accuracy", np.array([0, 1, 1, 2]), np.eye(3)[[0, 0, 1, 1]], (1 + 1 / 2 + 0) / 3),
        # The second label has no row and is given once.
        ("macro_f1", np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.9, 0.9], [0.9, 0.1]]), 1 / 2),
        ("samples_f1", np.array([[0.0, 0.0]]), np.array([[0.9, 0.1]]), 0.0),
        # Equal predictions are in the order of the columns.
        ("map@5", np.array([[1.0] * 5 + [0.0] * 35]), np.zeros((1, 40)), 1.0),
        # Rows are scaled to sum 1, and what is above 1 counts as 1.
        ("log_loss", np.array([[0.5, 0.5]]), np.array([[1.0, 1.0]]), np.log(2)),
        ("kl_divergence", np.array([[0.5, 0.5]]), np.array([[1.0, 1.0]]), 0.0),
        ("columnwise_log_loss", np.array([[1.0]]), np.array([[1.2]]), 0.0),
        ("partial_auc@0.8", np.array([0, 1, 1]), np.zeros((3, 1)), 0.2**2 / 2),
    ],
)
def test_degenerate_cases_have_the_documented_value(name, truth, predictions, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert METRICS[name](truth, predictions) == pytest.approx(expected)


def test_kappa_is_averaged_over_the_columns_that_vary():
    kappa = CASES["quadratic_kappa"][1][2]
    truth, predictions = np.hstack([GRADES, GRADES + 9, GRADES * 0]), np.hstack([GRADED, GRADES + 9, GRADES * 0])
    assert METRICS["quadratic_kappa"](truth, predictions) == pytest.approx((kappa + 1) / 2)


def test_one_half_is_the_answer_1():
    for name, metric in METRICS.items():
        for kind, truth in (("binary", np.array([1, 0])), ("multi_label", np.array([[1.0, 0.0], [0.0, 1.0]]))):
            if metric.takes_answers and kind in metric.targets:
                half = np.array([[0.5], [0.2]]) if kind == "binary" else np.array([[0.5, 0.2], [0.5, 0.5]])
                assert metric(truth, half) == metric(truth, (half >= 0.5).astype(float)) != 0, name


def test_answers_as_zeros_and_ones_score_like_the_probabilities_they_come_from():
    for name, metric in METRICS.items():
        if metric.takes_answers:
            for truth, predictions, expected in CASES[name]:
                if truth.ndim == 1 and predictions.shape[1] > 1:
                    answers = np.eye(COLUMNS, dtype=bool)[predictions.argmax(axis=1)]
                else:
                    answers = np.rint(predictions) if predictions is GRADED else predictions >= 0.5
                assert metric.function(truth, answers) == pytest.approx(expected), name
