import math

import numpy as np
import pytest
from scipy.stats import binomtest

from podium.errors import DataError
from podium.evaluation.metrics import METRICS
from podium.evaluation.statistics import bootstrap_error, bootstrap_gain, holm, mcnemar


def correct(both, only_baseline, only_run, neither):
    counts = (both, only_baseline, only_run, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


# McNemar's test


def test_mcnemar_counts_pairs():
    test = mcnemar(*correct(7, 3, 2, 1))
    assert (test.both_correct, test.only_baseline, test.only_run, test.both_wrong) == (7, 3, 2, 1)


def test_mcnemar_is_exact_with_few_discordant_pairs():
    # 5 heads or fewer in 20 throws: (1 + 20 + 190 + 1140 + 4845 + 15504) / 2^20, and as many tails.
    test = mcnemar(*correct(100, 15, 5, 10))
    assert test.is_exact
    assert test.p == pytest.approx(2 * 21_700 / 2**20)


def test_mcnemar_is_chi_squared_with_continuity_correction_with_many():
    # (|40 - 20| - 1)² / 60; chi-squared with one degree of freedom is the square of a normal deviate.
    test = mcnemar(*correct(100, 40, 20, 10))
    assert not test.is_exact
    assert test.p == pytest.approx(math.erfc(math.sqrt(19**2 / 60 / 2)))


def test_both_forms_of_mcnemar_agree_at_25_discordant_pairs():
    assert mcnemar(*correct(0, 16, 8, 0)).is_exact
    test = mcnemar(*correct(0, 17, 8, 0))
    assert not test.is_exact
    assert test.p == pytest.approx(binomtest(8, 25).pvalue, abs=0.003)


@pytest.mark.parametrize("each", [0, 3, 50])
def test_equal_counts_have_p_of_1(each):
    assert mcnemar(*correct(10, each, each, 10)).p == 1


def test_mcnemar_is_symmetric():
    one, other = correct(10, 9, 2, 3)
    assert mcnemar(one, other).p == mcnemar(other, one).p


def test_false_positives_are_as_rare_as_p():
    random = np.random.default_rng(0)
    small = [mcnemar(*(random.random((2, 300)) < 0.8)).p < 0.05 for _ in range(1000)]
    assert 0.02 < np.mean(small) < 0.06


# Holm's correction


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 · 0.01; 2 · 0.03; 1 · 0.04, but not below 0.06
        ([0.5, 0.001], [0.5, 0.002]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([], []),
    ],
)
def test_holm_equals_hand_computed_values(before, after):
    assert holm(before) == pytest.approx(after)


# Bootstrap


def test_gain_is_positive_when_better_for_every_metric():
    labels = np.array([0, 1] * 20)
    good, bad = np.eye(2)[labels] * 0.8 + 0.1, np.full((40, 2), 0.5)
    for name in ("log_loss", "roc_auc", "balanced_accuracy"):
        gain, error = bootstrap_gain(METRICS[name], labels, before=bad, after=good, resamples=20)
        assert gain > 3 * error
    gain, _ = bootstrap_gain(METRICS["log_loss"], labels, bad, good, resamples=20)
    assert gain == pytest.approx(math.log(0.9 / 0.5))


def test_gain_of_equal_predictions_has_no_error():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    probs = random.dirichlet([1, 1], 200)
    assert bootstrap_gain(METRICS["accuracy"], labels, probs, probs) == (0, 0)
    assert bootstrap_error(METRICS["accuracy"], labels, probs) > 0.02


def test_bootstrap_error_of_accuracy_is_near_the_binomial_one():
    labels = np.zeros(400, dtype=int)
    probs = np.where(np.arange(400)[:, None] < 320, [0.9, 0.1], [0.1, 0.9])
    assert bootstrap_error(METRICS["accuracy"], labels, probs) == pytest.approx(math.sqrt(0.8 * 0.2 / 400), rel=0.2)


def test_bootstrap_skips_resamples_of_one_class():
    labels = np.array([0, 0, 1])
    probs = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    gain, error = bootstrap_gain(METRICS["roc_auc"], labels, before=1 - probs, after=probs)
    assert (gain, error) == (1, 0)


def test_bootstrap_error_of_one_row_is_undefined():
    with pytest.raises(DataError, match="No standard error: the score is defined in 0 of 5 resamples"):
        bootstrap_error(METRICS["roc_auc"], np.array([0]), np.array([[0.9, 0.1]]), resamples=5)
