import numpy as np
import pytest

from podium.errors import DataError
from podium.evaluation.pairing import pair
from podium.predictions import Predictions


def out_of_fold(ids="abcd", labels="xyxy", folds=(0, 0, 1, 1), classes=("x", "y"), first=0.9):
    """Every row is given the same probabilities, `first` of them to the first class."""
    rest = (1 - first) / (len(classes) - 1)
    probs = np.tile([first, *[rest] * (len(classes) - 1)], (len(ids), 1))
    return Predictions(list(ids), list(classes), probs, list(labels), np.array(folds))


def test_rows_are_paired_by_id_in_the_order_of_the_first_run():
    one = out_of_fold("abcd")
    other = Predictions(["d", "c", "b", "a"], ["x", "y"], np.eye(2)[[1, 1, 1, 0]], list("yxyx"), np.array([1, 1, 0, 0]))
    paired = pair({"A": one, "B": other})
    assert paired.ids == list("abcd")
    assert paired.labels.tolist() == [0, 1, 0, 1]
    assert paired.probs[1].tolist() == [[1, 0], [0, 1], [0, 1], [0, 1]]
    assert paired.left_out == [0, 0]
    assert paired.in_other_folds == [0, 0]


def test_only_rows_that_all_have_are_kept_and_the_others_counted():
    runs = {
        "A": out_of_fold("abcd"),
        "B": out_of_fold("bcd", "yxy", (0, 1, 1)),
        "C": out_of_fold("dcxz", "yxxx", (1, 1, 0, 0)),
    }
    paired = pair(runs)
    assert paired.ids == ["c", "d"]
    assert paired.left_out == [2, 1, 2]
    assert paired.share_of_smallest == 2 / 3


def test_rows_in_another_fold_than_the_first_runs_are_counted():
    paired = pair({"A": out_of_fold(), "B": out_of_fold(folds=(0, 1, 1, 0)), "C": out_of_fold()})
    assert paired.in_other_folds == [0, 2, 0]


def test_classes_in_another_order_are_put_into_that_of_the_first_run():
    paired = pair({"A": out_of_fold(first=0.75), "B": out_of_fold(classes=("y", "x"), first=0.75)})
    assert paired.classes == ["x", "y"]
    assert paired.probs[0][0].tolist() == [0.75, 0.25]
    assert paired.probs[1][0].tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (
            out_of_fold(classes=("x", "y", "z")),
            r"A and B tell other classes apart \(2 and 3; only in one of them: 'z'\)",
        ),
        (
            out_of_fold(labels="xyyy"),
            r"1 of 4 common rows have other labels in B than in A \(first: 'c' is 'x' in A, 'y'",
        ),
        (
            out_of_fold("efgh"),
            r"No row was validated in all of these runs \(A 4 in fold 0 and 1, B 4 in fold 0 and 1\)",
        ),
        (out_of_fold(labels="xyzy"), "predictions of B hold the label 'z', which has no column there"),
        (Predictions(list("abcd"), ["x", "y"], np.full((4, 2), 0.5)), "predictions of B carry no labels"),
    ],
)
def test_runs_that_cannot_be_paired_are_told_in_one_line(other, told):
    with pytest.raises(DataError, match=told) as error:
        pair({"A": out_of_fold(), "B": other})
    assert "\n" not in str(error.value)
