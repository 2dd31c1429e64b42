import os

import numpy as np
import pytest

from podium.errors import DataError, RunError
from podium.predictions import Predictions, align, average, concatenate, read_predictions, write_predictions


def out_of_fold(ids, fold=0, value=0.25):
    rows = len(ids)
    probs = np.tile([value, 1 - value], (rows, 1))
    return Predictions(list(ids), ["0", "NA"], probs, ["NA"] * rows, np.full(rows, fold))


def test_text_that_looks_like_something_else_survives(tmp_path):
    ids = ["007", "NA", "", "1e5", 'a,"b"', "with\nnewline", "früh.jpg"]
    write_predictions(tmp_path / "oof.csv", out_of_fold(ids, fold=3))
    read = read_predictions(tmp_path / "oof.csv")
    assert read.ids == ids
    assert read.classes == ["0", "NA"]
    assert read.labels == ["NA"] * 7
    assert read.folds is not None
    assert read.folds.tolist() == [3] * 7


def test_float32_comes_back_exactly(tmp_path):
    single = np.random.default_rng(0).dirichlet(np.ones(5), 200).astype(np.float32)
    single[0, 0] = np.float32(1e-30)
    predictions = Predictions([str(row) for row in range(200)], list("abcde"), single.astype(np.float64))
    write_predictions(tmp_path / "test.csv", predictions)
    read = read_predictions(tmp_path / "test.csv")
    assert (read.probs.astype(np.float32) == single).all()
    assert read.labels is None
    assert read.folds is None


def test_the_file_is_plain(tmp_path):
    write_predictions(tmp_path / "new" / "oof.csv", out_of_fold(["a"], fold=2))
    assert (tmp_path / "new" / "oof.csv").read_bytes() == b"id,label,fold,p_0,p_NA\na,NA,2,0.25,0.75\n"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "oof.csv"
    write_predictions(path, out_of_fold(["old"]))

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_predictions(path, out_of_fold(["new"]))
    assert read_predictions(path).ids == ["old"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "wrong columns"),
        (b"id,label,p_a\nx,a,1\n", 1, "wrong columns .first: 'label'"),
        (b"Id,p_a\nx,1\n", 1, "wrong columns"),
        (b"id,label,fold\nx,a,0\n", 1, "wrong columns"),
        (b"id,p_a,p_a\nx,1,0\n", 1, "a class has two columns"),
        (b"id,p_a\n", 1, "do not fit 0 ids"),
        (b"id,p_a,p_b\nx,0.5,0.5\ny,0.5\n", 3, "2 values, expected 3"),
        (b"id,p_a\nx,0.5\n\n", 3, "0 values, expected 2"),
        (b"id,p_a\nx,0.5\ny,nan\n", 3, "nan is not a finite number"),
        (b"id,p_a\nx,inf\n", 2, "inf is not a finite number"),
        (b"id,p_a\nx,high\n", 2, "could not convert string to float: 'high'"),
        (b"id,p_a\nx,\n", 2, "could not convert string to float"),
        (b"id,label,fold,p_a\nx,a,first,1\n", 2, "invalid literal"),
        (b"id,label,fold,p_a\nx,a," + b"9" * 30 + b",1\n", 2, "too large"),
        (b"id,p_a\nx,1\nx,1\n", 3, "id 'x' is on an earlier line too"),
        (b"id,p_a\nx,1\n\xff\xfe,1\n", 3, "not UTF-8"),
        (b'id,p_a\n"x,1\n', 2, "unexpected end of data"),
    ],
)
def test_a_broken_file_is_told_with_its_line(tmp_path, content, line, message):
    path = tmp_path / "oof.csv"
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"oof\.csv, line {line}: .*{message}"):
        read_predictions(path)


def test_an_absent_file_is_told(tmp_path):
    with pytest.raises(RunError, match=r"oof\.csv cannot be read \(No such file.*train or predict first"):
        read_predictions(tmp_path / "oof.csv")


def test_average_pairs_rows_by_id():
    one = Predictions(["a", "b"], ["x", "y"], np.array([[0.2, 0.8], [1.0, 0.0]]))
    two = Predictions(["b", "a"], ["x", "y"], np.array([[0.6, 0.4], [0.4, 0.6]]))
    mean = average([one, two])
    assert mean.ids == ["a", "b"]
    assert mean.probs == pytest.approx(np.array([[0.3, 0.7], [0.8, 0.2]]))


def test_average_keeps_labels_and_folds():
    mean = average([out_of_fold("ab", value=0.2), out_of_fold("ba", value=0.4)])
    assert mean.labels == ["NA", "NA"]
    assert mean.folds is not None
    assert mean.probs[:, 0] == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (out_of_fold("ac"), "different rows.*'b', 'c'"),
        (out_of_fold("abc"), "different rows.*'c'"),
        (out_of_fold("ab", fold=1), "disagree on labels or folds"),
        (Predictions(["a", "b"], ["0", "NA"], np.ones((2, 2))), "disagree on labels or folds"),
        (Predictions(["a", "b"], ["NA", "0"], np.ones((2, 2))), "different classes .in another order"),
        (Predictions(["a", "b"], ["0", "1"], np.ones((2, 2))), "different classes .only in one of two: '1', 'NA'"),
    ],
)
def test_average_of_what_does_not_match_is_told(other, message):
    with pytest.raises(DataError, match=message):
        average([out_of_fold("ab"), other])


def test_nothing_to_average_or_put_together_is_told():
    for put_together in (average, concatenate):
        with pytest.raises(DataError, match="There are no predictions"):
            put_together([])


def test_concatenate_puts_folds_one_after_another():
    whole = concatenate([out_of_fold("ab", fold=0), out_of_fold("c", fold=1)])
    assert whole.ids == ["a", "b", "c"]
    assert whole.labels == ["NA"] * 3
    assert whole.folds is not None
    assert whole.folds.tolist() == [0, 0, 1]


def test_concatenate_refuses_an_id_twice_and_a_mix_of_kinds():
    with pytest.raises(DataError, match=r"1 ids occur more than once .*'b'"):
        concatenate([out_of_fold("ab"), out_of_fold("bc", fold=1)])
    with pytest.raises(DataError, match="some have not"):
        concatenate([out_of_fold("a"), Predictions(["b"], ["0", "NA"], np.ones((1, 2)))])


def test_align_picks_rows_in_the_order_asked_for():
    probs = np.array([[0.0], [0.1], [0.2]])
    predictions = Predictions(["a", "b", "c"], ["x"], probs, ["la", "lb", "lc"], np.array([0, 1, 2]))
    aligned = align(predictions, ["c", "a"])
    assert aligned.ids == ["c", "a"]
    assert aligned.probs.tolist() == [[0.2], [0.0]]
    assert aligned.labels == ["lc", "la"]
    assert aligned.folds is not None
    assert aligned.folds.tolist() == [2, 0]


def test_align_tells_ids_without_a_prediction():
    with pytest.raises(DataError, match=r"2 of 3 ids have no prediction \(first: 'y', 'z'\)"):
        align(out_of_fold("ab"), ["a", "y", "z"])


def test_predictions_of_mismatched_parts_cannot_be_made():
    with pytest.raises(DataError, match=r"shape \(2, 2\) do not fit 1 ids and 2 classes"):
        Predictions(["a"], ["x", "y"], np.ones((2, 2)))
    with pytest.raises(DataError, match="labels or folds alone"):
        Predictions(["a"], ["x"], np.ones((1, 1)), labels=["x"])
    with pytest.raises(DataError, match="2 labels and 1 folds"):
        Predictions(["a"], ["x"], np.ones((1, 1)), ["x", "x"], np.array([0]))
