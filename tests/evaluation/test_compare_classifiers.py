import math

import numpy as np
import pytest
from scipy.stats import binomtest

from podium.errors import DataError
from podium.evaluation.compare_classifiers import compare
from podium.evaluation.metrics import METRICS, bootstrap_error, bootstrap_gain
from podium.evaluation.pairing import Paired
from podium.evaluation.statistics import Interval, holms, mcnemar

ACCURACY, LOG_LOSS, ROC_AUC = METRICS["accuracy"], METRICS["log_loss"], METRICS["roc_auc"]


def paired(labels, *probs):
    """Rows that all runs have, in the same folds."""
    rows, zeros = len(labels), [0] * len(probs)
    return Paired([str(row) for row in range(rows)], ["x", "y"], np.asarray(labels), list(probs), zeros, zeros)


def answers(labels, wrong, sure=0.9):
    """Probabilities that are right but in the rows `wrong`."""
    said = np.array(labels)
    said[list(wrong)] = 1 - said[list(wrong)]
    return np.where(np.eye(2, dtype=bool)[said], sure, 1 - sure)


def rights(both, first, other, neither):
    counts = (both, first, other, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


# McNemar's test


def test_mcnemar_counts_who_is_right_alone():
    found = mcnemar(*rights(7, 3, 2, 1))
    assert (found.both_right, found.only_first, found.only_other, found.both_wrong) == (7, 3, 2, 1)


def test_few_rows_are_tested_exactly():
    # 5 heads or fewer in 20 throws: (1 + 20 + 190 + 1140 + 4845 + 15504) / 2^20, and as many tails.
    found = mcnemar(*rights(100, 15, 5, 10))
    assert found.is_exact
    assert found.p == pytest.approx(2 * 21_700 / 2**20)


def test_many_rows_are_tested_by_chi_squared_with_the_correction_for_continuity():
    # (|40 - 20| - 1)² / 60; chi-squared of one degree of freedom is the square of a normal deviate.
    found = mcnemar(*rights(100, 40, 20, 10))
    assert not found.is_exact
    assert found.p == pytest.approx(math.erfc(math.sqrt(19**2 / 60 / 2)))
    assert found.p == pytest.approx(0.01417, abs=5e-6)


def test_exact_until_25_rows_decide_and_both_tests_agree_there():
    assert mcnemar(*rights(0, 16, 8, 0)).is_exact
    found = mcnemar(*rights(0, 17, 8, 0))
    assert not found.is_exact
    assert found.p == pytest.approx(binomtest(8, 25).pvalue, abs=0.003)


@pytest.mark.parametrize("each", [0, 3, 50])
def test_as_many_right_alone_on_both_sides_is_pure_chance(each):
    assert mcnemar(*rights(10, each, each, 10)).p == 1


def test_mcnemar_is_the_same_turned_round():
    one, other = rights(10, 9, 2, 3)
    assert mcnemar(one, other).p == mcnemar(other, one).p


def test_without_a_difference_a_small_p_is_as_rare_as_it_says():
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
def test_holm_is_what_a_hand_computes(before, after):
    assert holms(before) == pytest.approx(after)


# Scores and differences


def test_scores_and_their_difference_are_the_metrics_own():
    labels = [0, 1] * 50
    result = compare(paired(labels, answers(labels, range(30)), answers(labels, range(10))), ACCURACY, rounds=200)
    assert [score.value for score in result.scores] == [0.7, 0.9]
    (other,) = result.others
    assert other.difference.value == pytest.approx(0.2)
    assert other.gain == other.difference
    assert (other.mcnemar.only_first, other.mcnemar.only_other) == (0, 20)
    assert other.p == other.holm == pytest.approx(2 / 2**20)
    assert other.is_proven


def test_a_loss_that_is_lower_is_a_gain():
    labels = [0, 1] * 50
    result = compare(paired(labels, answers(labels, [], 0.6), answers(labels, [], 0.9)), LOG_LOSS, rounds=50)
    (other,) = result.others
    assert other.difference.value == pytest.approx(math.log(0.6 / 0.9))
    assert other.gain.value == pytest.approx(math.log(0.9 / 0.6))
    assert other.gain.interval == Interval(-other.difference.interval.high, -other.difference.interval.low)
    assert other.is_proven


def test_where_all_rows_are_alike_resampling_changes_nothing():
    labels = [0, 1] * 20
    result = compare(paired(labels, answers(labels, [], 0.6), answers(labels, [], 0.9)), LOG_LOSS, rounds=50)
    for score, sure in zip(result.scores, (0.6, 0.9), strict=True):
        assert score.interval.low == pytest.approx(-math.log(sure))
        assert score.interval.high == pytest.approx(-math.log(sure))
    (other,) = result.others
    assert other.p == 2 / 51  # no resample disagrees, which proves no more than so many resamples can
    perfect = compare(paired(labels, answers(labels, []), answers(labels, [])), ACCURACY, rounds=50)
    assert perfect.scores[0].interval == Interval(1, 1)


def test_a_run_against_itself_is_never_better():
    labels = [0, 1] * 50
    same = answers(labels, range(20))
    for metric in METRICS.values():
        (other,) = compare(paired(labels, same, same), metric, rounds=20).others
        assert (other.difference.value, other.difference.interval, other.p) == (0, Interval(0, 0), 1)
        assert not other.is_proven


def test_the_width_of_an_interval_is_four_standard_errors():
    labels = np.arange(400) % 2
    one, other = answers(labels, range(80)), answers(labels, range(60, 120))
    result = compare(paired(labels, one, other), ACCURACY)
    width = result.scores[0].interval.high - result.scores[0].interval.low
    assert width == pytest.approx(2 * 1.96 * math.sqrt(0.8 * 0.2 / 400), rel=0.1)
    assert width == pytest.approx(2 * 1.96 * bootstrap_error(ACCURACY, labels, one), rel=0.15)
    gain, error = bootstrap_gain(ACCURACY, labels, one, other)
    told = result.others[0].gain
    assert told.value == gain
    assert told.interval.high - told.interval.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_what_is_hard_for_both_does_not_widen_the_interval_of_their_difference():
    labels = np.arange(400) % 2
    result = compare(paired(labels, answers(labels, range(200)), answers(labels, range(190))), ACCURACY, rounds=300)
    of_score, of_difference = result.scores[0].interval, result.others[0].difference.interval
    assert of_difference.high - of_difference.low < (of_score.high - of_score.low) / 3
    assert result.others[0].is_proven


def test_an_interval_covers_the_true_difference_about_as_often_as_it_says():
    """Accuracies of 0.85 and 0.8 in truth, errors partly shared."""
    random, covered, proven = np.random.default_rng(0), 0, 0
    trials, rows = 200, 250
    for _ in range(trials):
        labels = random.integers(0, 2, rows)
        luck = random.random((3, rows))
        hard = luck[0] < 0.1
        wrong = [hard | (luck[1] < 1 - 0.85 / 0.9), hard | (luck[2] < 1 - 0.8 / 0.9)]
        runs = [answers(labels, np.flatnonzero(one)) for one in wrong]
        (other,) = compare(paired(labels, *runs), ACCURACY, rounds=200).others
        interval = other.difference.interval
        covered += interval.low - 1e-9 <= -0.05 <= interval.high + 1e-9
        proven += other.is_proven and other.gain.value > 0
    assert 0.90 < covered / trials < 0.99
    assert proven == 0


def test_the_same_seed_gives_the_same_figures_and_another_seed_others():
    labels = np.arange(100) % 2
    rows = paired(labels, answers(labels, range(30)), answers(labels, range(20, 40)))
    assert compare(rows, ACCURACY, rounds=100) == compare(rows, ACCURACY, rounds=100)
    assert compare(rows, ACCURACY, rounds=100, seed=1) != compare(rows, ACCURACY, rounds=100)


def test_for_other_metrics_than_accuracy_the_resamples_decide():
    """Both have the same rows right, so McNemar sees nothing; the second is far surer of them."""
    labels = np.arange(60) % 2
    random = np.random.default_rng(0)
    surer = random.uniform(0.8, 0.99, 60)
    one, other = answers(labels, [], 0.6), np.where(np.eye(2, dtype=bool)[labels], surer[:, None], 1 - surer[:, None])
    (found,) = compare(paired(labels, one, other), LOG_LOSS, rounds=300).others
    assert found.mcnemar.p == 1
    assert found.p == 2 / 301
    assert found.is_proven


def test_of_several_runs_the_p_is_corrected_by_holm():
    labels = np.arange(200) % 2
    runs = [answers(labels, range(wrong)) for wrong in (40, 33, 31, 40)]
    result = compare(paired(labels, *runs), ACCURACY, rounds=300)
    chances = [2 / 2**7, 2 / 2**9, 1]
    assert [other.p for other in result.others] == pytest.approx(chances)
    assert [other.holm for other in result.others] == pytest.approx([2 * chances[0], 3 * chances[1], 1])
    assert [other.is_proven for other in result.others] == [True, True, False]


def test_resamples_in_which_the_metric_is_undefined_are_left_out():
    labels = [0] * 8 + [1] * 2
    rows = paired(labels, answers(labels, [0, 9]), answers(labels, [1]))
    result = compare(rows, ROC_AUC, rounds=200)
    assert 150 < result.rounds < 200  # one in ten has no row of the two
    with pytest.raises(DataError, match=r"roc_auc is defined in only \d+ of 200 resamples of the 2 common rows"):
        compare(paired([0, 1], answers([0, 1], []), answers([0, 1], [0])), ROC_AUC, rounds=200, seed=3)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_is_compared_by_what_it_says_of_the_whole_rows(metric):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 80)
    runs = [random.dirichlet([1, 1], 80) * 0.6 + 0.4 * np.eye(2)[labels] for _ in range(2)]
    result = compare(paired(labels, *runs), metric, rounds=50)
    for score, probs in zip(result.scores, runs, strict=True):
        assert score.value == metric(labels, probs)
        assert score.interval.low < score.value < score.interval.high
