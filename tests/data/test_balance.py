"""Sampling and class weights of unbalanced rows."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from podium.data.balance import class_weights, draw_rows, row_shares
from podium.data.targets import BinaryTarget, MultiLabelTarget, OrdinalTarget, SingleLabelTarget, SoftLabelTarget

ABC = ["a", "b", "c"]
TRUTH = np.repeat([0, 1, 2], [90, 25, 4])


def drawn_rows(balance, epochs=1):
    shares = row_shares(balance, SingleLabelTarget(ABC), TRUTH)
    return [draw_rows(shares, np.random.default_rng(epoch)) for epoch in range(epochs)]


@pytest.mark.parametrize(("balance", "shares"), [("balanced", [1, 1, 1]), ("sqrt", np.sqrt([90, 25, 4]))])
def test_classes_are_drawn_as_often_as_the_sampling_says(balance, shares):
    expected = len(TRUTH) * np.array(shares) / np.sum(shares)
    for drawn in drawn_rows(balance, epochs=3):
        counts = np.bincount(TRUTH[drawn % len(TRUTH)], minlength=3)
        assert counts.sum() == len(TRUTH)
        assert np.abs(counts - expected).max() < 1


def test_each_row_of_a_class_is_drawn_equally_often():
    rare = TRUTH == 2
    times = np.array(
        [np.bincount(drawn % len(TRUTH), minlength=len(TRUTH)) for drawn in drawn_rows("balanced", epochs=60)]
    )
    assert set(np.unique(times[:, rare])) <= {9, 10}  # 119 rows of 3 classes, 4 rows in this one
    assert times[:, ~rare].max() <= 2
    assert times.mean(axis=0)[TRUTH == 0] == pytest.approx(np.full(90, 119 / 3 / 90), abs=0.25)


def test_what_is_drawn_again_has_a_number_of_its_own():
    (drawn,) = drawn_rows("balanced")
    assert len(set(drawn)) == len(drawn)
    assert (drawn % len(TRUTH) != np.sort(drawn % len(TRUTH))).any()  # in random order


def test_a_row_with_several_labels_is_drawn_for_its_rarest_one():
    truth = np.array([[1, 0]] * 10 + [[1, 1]] * 2 + [[0, 0]] * 4, float)
    shares = row_shares("balanced", MultiLabelTarget(["common", "rare"]), truth)
    assert shares == pytest.approx([1 / 10] * 10 + [1 / 2] * 2 + [1 / 4] * 4)


def test_balanced_weights_are_those_of_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=TRUTH)
    for target in (SingleLabelTarget(ABC), OrdinalTarget(ABC)):
        assert class_weights("balanced", target, TRUTH) == pytest.approx(expected)
    soft = class_weights("balanced", SoftLabelTarget(ABC), np.eye(3)[TRUTH])
    assert soft == pytest.approx(expected)


def test_weights_by_the_square_root_have_the_mean_1():
    weights = class_weights("sqrt", SingleLabelTarget(ABC), TRUTH)
    assert weights / weights[0] == pytest.approx(np.sqrt([1, 90 / 25, 90 / 4]))
    assert weights[TRUTH].mean() == pytest.approx(1)


def test_yes_and_no_have_their_own_weights():
    binary = class_weights("balanced", BinaryTarget(["no", "yes"]), np.repeat([0, 1], [30, 10]))
    assert binary == pytest.approx(np.array([[2 / 3], [2]]))
    truth = np.repeat([[0, 1], [1, 1], [0, 0]], [6, 2, 2], axis=0).astype(float)
    weights = class_weights("balanced", MultiLabelTarget(["a", "b"]), truth)
    assert weights == pytest.approx(np.array([[10 / 16, 10 / 4], [10 / 4, 10 / 16]]))


def test_given_weights_are_used_as_they_are():
    assert class_weights({"c": 5.0, "a": 0.5}, SingleLabelTarget(ABC), TRUTH).tolist() == [0.5, 1, 5]
    assert class_weights({"yes": 3.0}, BinaryTarget(["no", "yes"]), TRUTH).tolist() == [[1], [3]]
    assert class_weights({"b": 4.0}, MultiLabelTarget(ABC), np.eye(3)).tolist() == [[1, 1, 1], [1, 4, 1]]


def test_a_class_without_rows_has_a_finite_weight():
    assert np.isfinite(class_weights("balanced", SingleLabelTarget(ABC), np.array([0, 0, 1]))).all()
