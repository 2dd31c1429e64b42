"""Decisions find the thresholds and cut points that a metric rewards, on other rows than those they are scored on."""

import json

import numpy as np
import pytest

from podium.evaluation.decisions import (
    Decision,
    cross_fitted_answers,
    default_decision,
    fit_decision,
    needs_decision,
)
from podium.evaluation.metric_file import own_metric
from podium.evaluation.metrics import METRICS, find_metric
from podium.evaluation.statistics import stratified_folds


def labelled(rows=400, shares=(0.05, 0.3, 0.5), scale=0.5, seed=0):
    """Several labels, and probabilities that are all too small by `scale`."""
    random = np.random.default_rng(seed)
    truth = (random.random((rows, len(shares))) < shares).astype(float)
    return truth, scale * np.clip(0.25 + 0.5 * truth + random.normal(0, 0.15, truth.shape), 0, 1)


def graded(rows=400, grades=5, seed=0):
    """Grades, and numbers that are squeezed towards the middle, as those of a regression are."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, grades, rows)
    return truth, 2 + 0.4 * (truth - 2) + random.normal(0, 0.2, rows)


def class_probs(numbers, grades=5):
    """Probabilities of the two grades around each number, whose mean is the number."""
    low = np.clip(np.floor(numbers), 0, grades - 2).astype(int)
    probs, share = np.zeros((len(numbers), grades)), np.clip(numbers - low, 0, 1)
    probs[np.arange(len(low)), low], probs[np.arange(len(low)), low + 1] = 1 - share, share
    return probs


def test_defaults_are_the_most_probable_class_one_half_and_rounding():
    assert default_decision("single_label").apply(np.array([[0.2, 0.5, 0.3]])).tolist() == [[0, 1, 0]]
    assert default_decision("ordinal").apply(np.array([[0.2, 0.5, 0.3]])).tolist() == [[0, 1, 0]]
    assert default_decision("binary").apply(np.array([[0.5], [0.49]])).tolist() == [[1], [0]]
    assert default_decision("multi_label").apply(np.array([[0.5, 0.49]])).tolist() == [[1, 0]]
    assert default_decision("regression").apply(np.array([[1.6, -0.6]])).tolist() == [[2, -1]]


def test_thresholds_and_cut_points_are_applied():
    assert Decision("multi_label", thresholds=[0.2, 0.8]).apply(np.array([[0.2, 0.7]])).tolist() == [[1, 0]]
    cut = Decision("regression", cut_points=[[1.2, 2.9]], lowest=[3])
    assert cut.apply(np.array([[1.0], [1.2], [5.0]])).tolist() == [[3], [4], [5]]
    ordinal = Decision("ordinal", cut_points=[[0.4, 0.9]], lowest=[0])
    assert ordinal.apply(np.array([[0.7, 0.3, 0.0], [0.4, 0.3, 0.3]])).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_a_decision_is_read_back_from_json():
    for made in (Decision("binary", thresholds=[0.3]), Decision("ordinal", cut_points=[[0.4, 1.8]], lowest=[0])):
        again = Decision.from_dict(json.loads(json.dumps(made.to_dict())))
        assert again.to_dict() == made.to_dict()


def test_decisions_are_fitted_where_a_metric_takes_answers():
    assert needs_decision(METRICS["macro_f1"], "multi_label")
    assert not needs_decision(METRICS["macro_f1"], "single_label")
    assert not needs_decision(METRICS["roc_auc"], "multi_label")
    truth, probs = labelled()
    assert fit_decision(METRICS["roc_auc"], "multi_label", truth, probs) == default_decision("multi_label")


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1", "samples_f2", "accuracy"])
def test_thresholds_of_labels_raise_the_score(name):
    metric = find_metric(name)
    truth, probs = labelled()
    fitted = fit_decision(metric, "multi_label", truth, probs)
    assert metric(truth, fitted.apply(probs)) > metric(truth, probs) + 0.1
    new_truth, new_probs = labelled(seed=1)
    assert metric(new_truth, fitted.apply(new_probs)) > metric(new_truth, new_probs) + 0.1
    assert fitted == fit_decision(metric, "multi_label", truth, probs)


def test_macro_f1_thresholds_are_the_best_of_each_label():
    truth, probs = labelled(rows=60)
    fitted = fit_decision(METRICS["macro_f1"], "multi_label", truth, probs)
    for column, threshold in enumerate(fitted.thresholds):
        scores = [
            METRICS["macro_f1"](truth[:, [column]], (probs[:, [column]] >= value).astype(float))
            for value in probs[:, column]
        ]
        reached = METRICS["macro_f1"](truth[:, [column]], (probs[:, [column]] >= threshold).astype(float))
        assert reached == pytest.approx(max(scores))


def test_rare_labels_get_a_threshold_among_their_few_positives():
    random = np.random.default_rng(0)
    truth = (np.arange(5000)[:, None] < 25).astype(float)  # one in 200
    probs = np.where(truth == 1, 0.2, 0.02) * random.uniform(0.5, 1.5, truth.shape)
    fitted = fit_decision(METRICS["macro_f1"], "multi_label", truth, probs)
    assert METRICS["macro_f1"](truth, fitted.apply(probs)) == 1


@pytest.mark.parametrize("name", ["f1", "f0.5", "matthews", "accuracy"])
def test_threshold_of_a_binary_target_raises_the_score(name):
    truth, probs = labelled(shares=[0.2])
    truth = truth[:, 0].astype(int)
    metric = find_metric(name)
    fitted = fit_decision(metric, "binary", truth, probs)
    assert len(fitted.thresholds) == 1
    assert metric(truth, fitted.apply(probs)) > max(metric(truth, probs), 0.9 if name == "accuracy" else 0.8)


def test_cut_points_of_grades_raise_kappa():
    kappa = METRICS["quadratic_kappa"]
    truth, numbers = graded()
    as_numbers = fit_decision(kappa, "regression", truth[:, None].astype(float), numbers[:, None])
    before = kappa(truth[:, None], numbers[:, None])
    assert kappa(truth[:, None], as_numbers.apply(numbers[:, None])) > before + 0.05
    assert as_numbers.lowest == [0]
    assert (np.diff(as_numbers.cut_points[0]) >= 0).all()
    probs = class_probs(numbers)
    as_classes = fit_decision(kappa, "ordinal", truth, probs)
    assert kappa(truth, as_classes.apply(probs)) > kappa(truth, probs) + 0.05
    assert len(as_classes.cut_points[0]) == 4


def test_numbers_that_are_not_whole_or_too_many_are_only_rounded():
    kappa = METRICS["quadratic_kappa"]
    truth, numbers = graded()
    halves = truth[:, None] + 0.5
    assert fit_decision(kappa, "regression", halves, numbers[:, None]) == default_decision("regression")
    wide = truth[:, None] * 100.0
    assert fit_decision(kappa, "regression", wide, numbers[:, None]) == default_decision("regression")


def test_default_stays_where_nothing_is_better():
    truth = np.array([[1.0, 0.0], [0.0, 1.0]] * 10)
    assert fit_decision(METRICS["micro_f1"], "multi_label", truth, truth * 0.8 + 0.1) == Decision("multi_label")


def test_a_label_without_rows_keeps_one_half():
    truth, probs = labelled(rows=50, shares=(0.0, 0.5))
    assert fit_decision(METRICS["macro_f1"], "multi_label", truth, probs).thresholds[0] == 0.5


def test_answers_are_decided_without_the_rows_they_are_for():
    """On noise a fitted threshold cannot help, so fitting and scoring on the same rows is too optimistic."""
    metric, random = METRICS["f1"], np.random.default_rng(0)
    gains = []
    for seed in range(5):
        truth, probs = random.integers(0, 2, 60), random.random((60, 1))
        fold_of = stratified_folds(truth, 5, seed)
        honest = cross_fitted_answers(metric, "binary", truth, probs, fold_of)
        assert set(np.unique(honest)) <= {0, 1}
        optimistic = fit_decision(metric, "binary", truth, probs).apply(probs)
        gains.append(metric(truth, optimistic) - metric(truth, honest))
        held_out = fold_of == 0
        decision = fit_decision(metric, "binary", truth[~held_out], probs[~held_out])
        assert (honest[held_out] == decision.apply(probs[held_out])).all()
    assert np.mean(gains) > 0.02


def test_answers_of_other_metrics_are_the_predictions():
    truth, probs = labelled(rows=20)
    assert cross_fitted_answers(METRICS["roc_auc"], "multi_label", truth, probs, np.arange(20) % 2) is probs


def test_decisions_are_fitted_for_a_metric_of_its_own():
    code = """
HIGHER_IS_BETTER = False
TAKES_ANSWERS = True

def mistakes(truth, predictions):
    assert set(predictions.ravel()) <= {0, 1}
    return abs(truth - predictions).sum()
"""
    metric = own_metric("mine.py:mistakes", code, "multi_label", ["a", "b", "c"])
    truth, probs = labelled()
    fitted = fit_decision(metric, "multi_label", truth, probs)
    assert metric(truth, fitted.apply(probs)) < 0.5 * metric(truth, probs)


def test_folds_spread_rare_labels_and_classes_evenly():
    labels = np.array([0] * 10 + [1] * 5 + [2] * 85)
    fold_of = stratified_folds(labels, 5, seed=0)
    assert np.bincount(fold_of).tolist() == [20] * 5
    assert np.bincount(fold_of[labels == 1]).tolist() == [1] * 5
    several = np.zeros((100, 3), dtype=bool)
    several[:60, 0], several[::2, 1], several[[3, 17, 40, 66, 90], 2] = True, True, True
    fold_of = stratified_folds(several, 5, seed=0)
    assert np.bincount(fold_of[several[:, 2]]).tolist() == [1] * 5
