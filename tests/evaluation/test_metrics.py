import math
import subprocess
import sys

import numpy as np
import pytest

from podium.errors import DataError
from podium.evaluation.metrics import METRICS, find_metric, make_metric

# Rows 0 to 3 are predicted as classes 0, 0, 1, 2; class 3 is neither a label nor a prediction.
LABELS = np.array([0, 1, 1, 2])
PROBS = np.array([[0.7, 0.1, 0.1, 0.1], [0.5, 0.3, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.1, 0.2, 0.6, 0.1]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 3 / 4),
        ("balanced_accuracy", (1 + 1 / 2 + 1) / 3),
        ("macro_f1", (2 / 3 + 2 / 3 + 1) / 3),
        ("log_loss", -(math.log(0.7) + math.log(0.3) + math.log(0.6) + math.log(0.6)) / 4),
        # One row off by one class; by chance, summing rows(t) * rows(p) * (t - p)² / 4 over true t and predicted p,
        # (1 * (1 + 4) + 2 * (2 + 1) + 1 * (8 + 1)) / 4 = 5.
        ("quadratic_kappa", 1 - 1 / 5),
        # Of the pairs, each class is more probable for its own rows than for the others.
        ("roc_auc", 1.0),
    ],
)
def test_metric_equals_hand_computed_value_with_an_absent_class(name, expected):
    assert METRICS[name](LABELS, PROBS) == pytest.approx(expected)


def test_log_loss_clips_and_renormalises_rows_that_do_not_sum_to_one():
    certain_and_wrong = np.array([[0.0, 1.0]])
    assert METRICS["log_loss"](np.array([0]), certain_and_wrong) == pytest.approx(-math.log(1e-15))
    twice_too_large = np.array([[1.0, 1.0], [0.5, 1.5]])
    assert METRICS["log_loss"](np.array([0, 1]), twice_too_large) == pytest.approx(
        -(math.log(0.5) + math.log(0.75)) / 2
    )


def test_log_loss_takes_float32_softmax():
    probs = np.array([[0.1, 0.2, 0.7]], dtype=np.float32)
    assert METRICS["log_loss"](np.array([2]), probs) == pytest.approx(-math.log(0.7), rel=1e-6)
    assert METRICS["log_loss"](np.array([2]), probs) == METRICS["log_loss"](np.array([2]), probs.astype(np.float64))


def test_roc_auc_of_two_classes_is_the_share_of_ordered_pairs():
    positive = np.array([0.1, 0.4, 0.35, 0.8])
    probs = np.column_stack([1 - positive, positive])
    assert METRICS["roc_auc"](np.array([0, 0, 1, 1]), probs) == pytest.approx(3 / 4)


def test_roc_auc_averages_over_the_classes_that_have_rows():
    probs = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.3, 0.6, 0.1]])
    # Class 0, rows 0 and 1 against row 2: 0.6 is above 0.3, 0.2 is not. Class 1, row 2 above both. Class 2 has no rows.
    assert METRICS["roc_auc"](np.array([0, 0, 1]), probs) == pytest.approx((1 / 2 + 1) / 2)


def test_undefined_scores_are_errors():
    one_class = np.array([1, 1])
    probs = np.array([[0.2, 0.8], [0.3, 0.7]])
    with pytest.raises(DataError, match="ROC AUC is undefined: every row is of class 1"):
        METRICS["roc_auc"](one_class, probs)
    with pytest.raises(DataError, match="Kappa is undefined"):
        METRICS["quadratic_kappa"](one_class, probs)
    assert METRICS["accuracy"](one_class, probs) == 1
    assert METRICS["balanced_accuracy"](one_class, probs) == 1


@pytest.mark.parametrize(
    ("labels", "probs", "message"),
    [
        (np.array([0, 1]), np.ones((3, 2)), "same rows"),
        (np.array([], dtype=int), np.ones((0, 2)), "at least one row"),
        (np.array([0, 2]), np.ones((2, 2)), "from 0 to 1"),
        (np.array([0, -1]), np.ones((2, 2)), "from 0 to 1"),
        (np.array([0.0, 1.0]), np.ones((2, 2)), "class numbers"),
        (np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, 0.5]]), "first: row 1"),
        (np.array([0, 2]), np.ones((2, 1)), "from 0 to 1"),
        (np.ones((2, 3)), np.ones((2, 2)), r"shape \(2, 2\) with truth of shape \(2, 3\)"),
        (np.array([[np.nan], [0.0]]), np.ones((2, 1)), "The truth has NaN"),
    ],
)
def test_invalid_input_is_an_error(labels, probs, message):
    with pytest.raises(DataError, match=message):
        METRICS["accuracy"](labels, probs)


def test_better_follows_the_direction_of_the_metric_and_treats_nan_as_worst():
    assert METRICS["accuracy"].better(0.9, 0.8)
    assert not METRICS["accuracy"].better(0.8, 0.8)
    assert METRICS["log_loss"].better(0.1, 0.2)
    assert not METRICS["log_loss"].better(0.2, 0.2)
    assert METRICS["log_loss"].better(0.2, math.nan)
    assert not METRICS["log_loss"].better(math.nan, 0.2)


def test_number_in_a_name_may_be_any_that_makes_sense():
    assert find_metric("macro_f2").higher_is_better
    assert find_metric("map@3").targets == METRICS["map@5"].targets
    assert find_metric("samples_f0.5").takes_answers
    assert make_metric("map@3").name == "map@3"
    assert not make_metric("map@3").is_own
    for name in ("map@0", "map@2.5", "top_0_accuracy", "macro_f0", "partial_auc@1", "r3", "f", "map@3x", "map@*"):
        assert find_metric(name) is None, name


def test_unknown_metric_is_an_error():
    with pytest.raises(DataError, match="no metric 'akkuracy'; expected one of accuracy, balanced_accuracy"):
        make_metric("akkuracy")


def test_importing_metrics_does_not_import_numpy():
    code = "import sys, podium.evaluation.metrics; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
