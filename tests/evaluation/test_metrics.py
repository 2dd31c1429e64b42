import math
import subprocess
import sys

import numpy as np
import pytest

from podium.errors import ConfigError, DataError
from podium.evaluation.metrics import METRICS, bootstrap_error, bootstrap_gain, find_metric

# Rows 0 to 3 are predicted as classes 0, 0, 1, 2; class 3 occurs neither here nor there.
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
        # Of the pairs, every class's own rows are more probable than all others.
        ("roc_auc", 1.0),
    ],
)
def test_metric_is_what_a_hand_computes_though_a_class_is_absent(name, expected):
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


def test_roc_auc_of_two_classes_counts_pairs_in_the_right_order():
    positive = np.array([0.1, 0.4, 0.35, 0.8])
    probs = np.column_stack([1 - positive, positive])
    assert METRICS["roc_auc"](np.array([0, 0, 1, 1]), probs) == pytest.approx(3 / 4)


def test_roc_auc_averages_over_the_classes_that_have_rows():
    probs = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.3, 0.6, 0.1]])
    # Class 0, rows 0 and 1 against row 2: 0.6 is above 0.3, 0.2 is not. Class 1, row 2 above both. Class 2 has no rows.
    assert METRICS["roc_auc"](np.array([0, 0, 1]), probs) == pytest.approx((1 / 2 + 1) / 2)


def test_undefined_scores_are_told_and_not_nan():
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
    ],
)
def test_what_cannot_be_scored_is_told(labels, probs, message):
    with pytest.raises(DataError, match=message):
        METRICS["accuracy"](labels, probs)


def test_better_knows_the_direction_and_that_anything_beats_nothing():
    assert METRICS["accuracy"].better(0.9, 0.8)
    assert METRICS["log_loss"].better(0.1, 0.2)
    assert not METRICS["log_loss"].better(0.2, 0.2)
    assert METRICS["log_loss"].better(0.2, math.nan)
    assert not METRICS["log_loss"].better(math.nan, 0.2)


def test_unknown_metric_tells_the_names_there_are():
    assert find_metric("log_loss") is METRICS["log_loss"]
    with pytest.raises(ConfigError, match=r"no metric 'logloss'; expected one of accuracy,.*log_loss"):
        find_metric("logloss")


def test_gain_is_positive_when_better_whatever_the_metric():
    labels = np.array([0, 1] * 20)
    good, bad = np.eye(2)[labels] * 0.8 + 0.1, np.full((40, 2), 0.5)
    for name in ("log_loss", "roc_auc", "balanced_accuracy"):
        gain, error = bootstrap_gain(METRICS[name], labels, before=bad, after=good, rounds=20)
        assert gain > 3 * error
    assert bootstrap_gain(METRICS["log_loss"], labels, bad, good, rounds=20)[0] == pytest.approx(math.log(0.9 / 0.5))


def test_gain_is_certain_where_both_err_alike():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    probs = random.dirichlet([1, 1], 200)
    assert bootstrap_gain(METRICS["accuracy"], labels, probs, probs) == (0, 0)
    assert bootstrap_error(METRICS["accuracy"], labels, probs) > 0.02


def test_bootstrap_error_of_accuracy_is_near_the_binomial_one():
    labels = np.zeros(400, dtype=int)
    probs = np.where(np.arange(400)[:, None] < 320, [0.9, 0.1], [0.1, 0.9])
    assert bootstrap_error(METRICS["accuracy"], labels, probs) == pytest.approx(math.sqrt(0.8 * 0.2 / 400), rel=0.2)


def test_bootstrap_leaves_out_resamples_of_one_class():
    labels = np.array([0, 0, 1])
    probs = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    gain, error = bootstrap_gain(METRICS["roc_auc"], labels, before=1 - probs, after=probs)
    assert (gain, error) == (1, 0)


def test_bootstrap_of_one_row_tells_that_there_is_no_error():
    with pytest.raises(DataError, match="No standard error: the score is defined in 0 of 5 resamples"):
        bootstrap_error(METRICS["roc_auc"], np.array([0]), np.array([[0.9, 0.1]]), rounds=5)


def test_importing_the_names_of_metrics_brings_no_numpy():
    code = "import sys, podium.evaluation.metrics; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
