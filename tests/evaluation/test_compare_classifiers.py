import math

import numpy as np
import pandas as pd
import pytest

from podium.data.targets import MultiLabelTarget, SingleLabelTarget
from podium.errors import DataError
from podium.evaluation.compare_classifiers import PairedPredictions, compare_predictions, pair
from podium.evaluation.metrics import METRICS
from podium.evaluation.statistics import Interval, bootstrap_error, bootstrap_gain
from podium.predictions import Predictions

ACCURACY, LOG_LOSS, ROC_AUC = METRICS["accuracy"], METRICS["log_loss"], METRICS["roc_auc"]
XY = SingleLabelTarget(["x", "y"])
# With two classes the accuracy of the first five is always 1.
OF_CLASSES = [m for m in METRICS.values() if "single_label" in m.targets and m.name != "top_5_accuracy"]


def paired(labels, *probs):
    """Runs that have the same rows in the same folds."""
    rows, zeros = len(labels), [0] * len(probs)
    return PairedPredictions([str(row) for row in range(rows)], np.asarray(labels), list(probs), zeros, zeros)


def answers(labels, wrong, sure=0.9):
    """Probabilities that are wrong on the rows `wrong`."""
    predicted = np.array(labels)
    predicted[list(wrong)] = 1 - predicted[list(wrong)]
    return np.where(np.eye(2, dtype=bool)[predicted], sure, 1 - sure)


# Scores and differences


def test_scores_and_difference_are_those_of_the_metric():
    labels = [0, 1] * 50
    result = compare_predictions(
        paired(labels, answers(labels, range(30)), answers(labels, range(10))), ACCURACY, resamples=200
    )
    assert [score.value for score in result.scores] == [0.7, 0.9]
    (other,) = result.differences
    assert other.difference.value == pytest.approx(0.2)
    assert other.gain == other.difference
    assert (other.mcnemar.only_baseline, other.mcnemar.only_run) == (0, 20)
    assert other.p == other.holm_p == pytest.approx(2 / 2**20)
    assert other.is_significant


def test_lower_loss_is_a_gain():
    labels = [0, 1] * 50
    result = compare_predictions(
        paired(labels, answers(labels, [], 0.6), answers(labels, [], 0.9)), LOG_LOSS, resamples=50
    )
    (other,) = result.differences
    assert other.difference.value == pytest.approx(math.log(0.6 / 0.9))
    assert other.gain.value == pytest.approx(math.log(0.9 / 0.6))
    assert other.gain.interval == Interval(-other.difference.interval.high, -other.difference.interval.low)
    assert other.is_significant


def test_interval_has_no_width_if_all_rows_are_alike():
    labels = [0, 1] * 20
    result = compare_predictions(
        paired(labels, answers(labels, [], 0.6), answers(labels, [], 0.9)), LOG_LOSS, resamples=50
    )
    for score, sure in zip(result.scores, (0.6, 0.9), strict=True):
        assert score.interval.low == pytest.approx(-math.log(sure))
        assert score.interval.high == pytest.approx(-math.log(sure))
    (other,) = result.differences
    assert other.p == 2 / 51  # the smallest p of 50 resamples
    perfect = compare_predictions(paired(labels, answers(labels, []), answers(labels, [])), ACCURACY, resamples=50)
    assert perfect.scores[0].interval == Interval(1, 1)


def test_run_compared_with_itself_has_no_difference():
    labels = [0, 1] * 50
    same = answers(labels, range(20))
    for metric in OF_CLASSES:
        (other,) = compare_predictions(paired(labels, same, same), metric, resamples=20).differences
        assert (other.difference.value, other.difference.interval, other.p) == (0, Interval(0, 0), 1)
        assert not other.is_significant


def test_width_of_an_interval_is_four_standard_errors():
    labels = np.arange(400) % 2
    one, other = answers(labels, range(80)), answers(labels, range(60, 120))
    result = compare_predictions(paired(labels, one, other), ACCURACY)
    width = result.scores[0].interval.high - result.scores[0].interval.low
    assert width == pytest.approx(2 * 1.96 * math.sqrt(0.8 * 0.2 / 400), rel=0.1)
    assert width == pytest.approx(2 * 1.96 * bootstrap_error(ACCURACY, labels, one), rel=0.15)
    gain, error = bootstrap_gain(ACCURACY, labels, one, other)
    reported = result.differences[0].gain
    assert reported.value == gain
    assert reported.interval.high - reported.interval.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_rows_hard_for_both_do_not_widen_the_interval_of_the_difference():
    labels = np.arange(400) % 2
    result = compare_predictions(
        paired(labels, answers(labels, range(200)), answers(labels, range(190))), ACCURACY, resamples=300
    )
    of_score, of_difference = result.scores[0].interval, result.differences[0].difference.interval
    assert of_difference.high - of_difference.low < (of_score.high - of_score.low) / 3
    assert result.differences[0].is_significant


def test_interval_covers_the_true_difference_in_95_percent():
    """True accuracies are 0.85 and 0.8, errors are partly shared."""
    random, covered, significant = np.random.default_rng(0), 0, 0
    trials, rows = 200, 250
    for _ in range(trials):
        labels = random.integers(0, 2, rows)
        luck = random.random((3, rows))
        hard = luck[0] < 0.1
        wrong = [hard | (luck[1] < 1 - 0.85 / 0.9), hard | (luck[2] < 1 - 0.8 / 0.9)]
        runs = [answers(labels, np.flatnonzero(one)) for one in wrong]
        (other,) = compare_predictions(paired(labels, *runs), ACCURACY, resamples=200).differences
        interval = other.difference.interval
        covered += interval.low - 1e-9 <= -0.05 <= interval.high + 1e-9
        significant += other.is_significant and other.gain.value > 0
    assert 0.90 < covered / trials < 0.99
    assert significant == 0


def test_same_seed_gives_the_same_result():
    labels = np.arange(100) % 2
    rows = paired(labels, answers(labels, range(30)), answers(labels, range(20, 40)))
    assert compare_predictions(rows, ACCURACY, resamples=100) == compare_predictions(rows, ACCURACY, resamples=100)
    assert compare_predictions(rows, ACCURACY, resamples=100, seed=1) != compare_predictions(
        rows, ACCURACY, resamples=100
    )


def test_bootstrap_decides_for_other_metrics_than_accuracy():
    """Both are correct on the same rows, so McNemar's test has no difference; the second is more certain."""
    labels = np.arange(60) % 2
    random = np.random.default_rng(0)
    surer = random.uniform(0.8, 0.99, 60)
    one, other = answers(labels, [], 0.6), np.where(np.eye(2, dtype=bool)[labels], surer[:, None], 1 - surer[:, None])
    (found,) = compare_predictions(paired(labels, one, other), LOG_LOSS, resamples=300).differences
    assert found.mcnemar.p == 1
    assert found.p == 2 / 301
    assert found.is_significant


def test_p_of_several_runs_is_holm_corrected():
    labels = np.arange(200) % 2
    runs = [answers(labels, range(wrong)) for wrong in (40, 33, 31, 40)]
    result = compare_predictions(paired(labels, *runs), ACCURACY, resamples=300)
    p_values = [2 / 2**7, 2 / 2**9, 1]
    assert [other.p for other in result.differences] == pytest.approx(p_values)
    assert [other.holm_p for other in result.differences] == pytest.approx([2 * p_values[0], 3 * p_values[1], 1])
    assert [other.is_significant for other in result.differences] == [True, True, False]


def test_resamples_with_an_undefined_metric_are_skipped():
    labels = [0] * 8 + [1] * 2
    rows = paired(labels, answers(labels, [0, 9]), answers(labels, [1]))
    result = compare_predictions(rows, ROC_AUC, resamples=200)
    assert 150 < result.resamples < 200  # one in ten has no row of the two
    with pytest.raises(DataError, match=r"roc_auc is defined in only \d+ of 200 resamples of the 2 common rows"):
        compare_predictions(paired([0, 1], answers([0, 1], []), answers([0, 1], [0])), ROC_AUC, resamples=200, seed=3)


@pytest.mark.parametrize("metric", OF_CLASSES, ids=lambda metric: metric.name)
def test_every_metric_can_be_compared(metric):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 80)
    runs = [random.dirichlet([1, 1], 80) * 0.6 + 0.4 * np.eye(2)[labels] for _ in range(2)]
    result = compare_predictions(paired(labels, *runs), metric, resamples=50)
    for score, probs in zip(result.scores, runs, strict=True):
        assert score.value == metric(labels, probs)
        assert score.interval.low < score.value < score.interval.high


# Pairing rows


def out_of_fold(ids="abcd", labels="xyxy", folds=(0, 0, 1, 1), classes=("x", "y"), first=0.9):
    """Every row has the same probabilities, `first` for the first class."""
    rest = (1 - first) / (len(classes) - 1)
    probs = np.tile([first, *[rest] * (len(classes) - 1)], (len(ids), 1))
    return Predictions(list(ids), list(classes), probs, pd.DataFrame({"label": list(labels)}), np.array(folds))


def test_rows_are_paired_by_id_in_the_order_of_the_first_run():
    one = out_of_fold("abcd")
    truth = pd.DataFrame({"label": list("yxyx")})
    other = Predictions(["d", "c", "b", "a"], ["x", "y"], np.eye(2)[[1, 1, 1, 0]], truth, np.array([1, 1, 0, 0]))
    paired = pair({"A": one, "B": other}, XY.truth)
    assert paired.ids == list("abcd")
    assert paired.truth.tolist() == [0, 1, 0, 1]
    assert paired.predictions[1].tolist() == [[1, 0], [0, 1], [0, 1], [0, 1]]
    assert paired.left_out == paired.in_other_folds == [0, 0]


def test_only_common_rows_are_paired():
    runs = {
        "A": out_of_fold("abcd"),
        "B": out_of_fold("bcd", "yxy", (0, 1, 1)),
        "C": out_of_fold("dcxz", "yxxx", (1, 1, 0, 0)),
    }
    paired = pair(runs, XY.truth)
    assert paired.ids == ["c", "d"]
    assert paired.left_out == [2, 1, 2]
    assert paired.share_of_smallest == 2 / 3


def test_rows_in_another_fold_than_in_the_first_run_are_counted():
    paired = pair({"A": out_of_fold(), "B": out_of_fold(folds=(0, 1, 1, 0)), "C": out_of_fold()}, XY.truth)
    assert paired.in_other_folds == [0, 2, 0]


def test_classes_get_the_order_of_the_first_run():
    paired = pair({"A": out_of_fold(first=0.75), "B": out_of_fold(classes=("y", "x"), first=0.75)}, XY.truth)
    assert paired.predictions[0][0].tolist() == [0.75, 0.25]
    assert paired.predictions[1][0].tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            out_of_fold(classes=("x", "y", "z")),
            r"A and B have different classes \(2 and 3; only in one of them: 'z'\)",
        ),
        (
            out_of_fold(labels="xyyy"),
            r"1 of 4 common rows have different labels in A and B \(first: 'c' is 'x' and 'y'\)",
        ),
        (
            out_of_fold("efgh"),
            r"No row was validated in all of these runs \(A 4 in fold 0 and 1, B 4 in fold 0 and 1\)",
        ),
        (Predictions(list("abcd"), ["x", "y"], np.full((4, 2), 0.5)), "predictions of B have no truth"),
        (
            Predictions(
                list("abcd"), ["x", "y"], np.full((4, 2), 0.5), pd.DataFrame({"t_x": [0.0] * 4}), np.zeros(4, dtype=int)
            ),
            "A and B have different kinds of truth",
        ),
    ],
)
def test_runs_that_cannot_be_paired(other, message):
    with pytest.raises(DataError, match=message):
        pair({"A": out_of_fold(), "B": other}, XY.truth)


# Other targets


def matrix(truth, ids="abcd", columns=("x", "y")):
    table = pd.DataFrame(np.asarray(truth, dtype=float), columns=[f"t_{name}" for name in columns])
    return Predictions(list(ids), list(columns), np.full(table.shape, 0.5), table, np.zeros(len(table), dtype=int))


def test_rows_with_several_labels_are_paired():
    one, other = matrix([[0, 1], [1, 1], [0, 0], [1, 0]]), matrix([[1, 1], [1, 0]], "ba", ("y", "x"))
    paired = pair({"A": one, "B": other}, MultiLabelTarget(["x", "y"]).truth)
    assert paired.ids == ["a", "b"]
    assert paired.truth.tolist() == [[0, 1], [1, 1]]
    changed = matrix([[0, 1], [0, 1], [0, 0], [1, 0]])
    with pytest.raises(
        DataError, match=r"1 of 4 common rows have different labels in A and B \(first: 'b' is '1.0, 1.0'"
    ):
        pair({"A": one, "B": changed}, MultiLabelTarget(["x", "y"]).truth)


def test_runs_of_a_regression_are_compared_without_mcnemar():
    random = np.random.default_rng(0)
    truth = random.normal(0, 1, (100, 1))
    good, bad = truth + random.normal(0, 0.1, (100, 1)), truth + random.normal(0, 0.5, (100, 1))
    (found,) = compare_predictions(paired(truth, bad, good), METRICS["rmse"], "regression", resamples=100).differences
    assert found.mcnemar is None
    assert found.is_significant
    assert found.gain.value == pytest.approx(METRICS["rmse"](truth, bad) - METRICS["rmse"](truth, good))


def test_thresholds_of_runs_with_several_labels_are_fitted():
    """The second run's probabilities are half as large, which thresholds make up for."""
    random = np.random.default_rng(0)
    truth = (random.random((300, 3)) < 0.3).astype(float)
    probs = np.clip(0.3 + 0.4 * truth + random.normal(0, 0.15, (300, 3)), 0, 1)
    rows = paired(truth, probs, probs / 2)
    result = compare_predictions(rows, METRICS["macro_f1"], "multi_label", resamples=50)
    (found,) = result.differences
    assert found.mcnemar is None
    assert abs(found.difference.value) < 0.02
    assert result.scores[1].value > METRICS["macro_f1"](truth, probs / 2) + 0.2


def test_binary_accuracy_is_decided_by_mcnemar():
    truth = np.arange(100) % 2
    good = np.where(truth == 1, 0.9, 0.1)[:, None]
    bad = good.copy()
    bad[:20] = 1 - bad[:20]
    (found,) = compare_predictions(paired(truth, bad, good), ACCURACY, "binary", resamples=50).differences
    assert (found.mcnemar.only_baseline, found.mcnemar.only_run) == (0, 20)
    assert found.p == found.mcnemar.p
