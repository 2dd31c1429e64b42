"""Wrong labels are found, and the more certain the models are, the sooner."""

import numpy as np
import pytest

from podium.evaluation.label_errors import find_label_errors


def predictions(rows=400, classes=4, seed=0, sureness=4.0):
    """The true classes, and probabilities of a model that is right in most rows."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, rows)
    odds = np.exp(random.normal(size=(rows, classes)) + sureness * np.eye(classes)[truth])
    return truth, odds / odds.sum(axis=1, keepdims=True)


def test_planted_errors_are_found_with_the_right_class():
    truth, probabilities = predictions()
    planted = np.arange(0, 400, 20)
    labels = truth.copy()
    labels[planted] = (truth[planted] + 1) % 4
    found = find_label_errors(probabilities, labels)
    assert len(set(found.rows) & set(planted)) >= 18
    assert len(set(found.rows) - set(planted)) <= 4
    is_planted = np.isin(found.rows, planted)
    assert (found.suggested == truth[found.rows])[is_planted].mean() >= 0.9
    assert set(found.rows[:15]) <= set(planted)  # the most suspicious first
    assert (np.diff(found.margin) >= 0).all()


def test_right_labels_of_a_sure_model_are_not_suspicious():
    truth, probabilities = predictions(sureness=8.0)
    assert len(find_label_errors(probabilities, truth).rows) == 0


def test_class_of_which_models_are_seldom_sure_needs_a_lower_probability():
    """Rows of class 1 have a probability of 0.4 as a rule; that of 0.45 in row 0 is much for them."""
    probabilities = np.array([[0.55, 0.45], *[[0.9, 0.1]] * 5, *[[0.6, 0.4]] * 5])
    labels = np.array([0] * 6 + [1] * 5)
    found = find_label_errors(probabilities, labels)
    assert found.rows.tolist() == [0]
    assert found.suggested.tolist() == [1]
    assert found.margin == pytest.approx([0.1])


def test_class_without_rows_is_never_suggested():
    found = find_label_errors(np.array([[0.2, 0.1, 0.7], [0.8, 0.1, 0.1]]), np.array([1, 0]))
    assert 2 not in found.suggested
