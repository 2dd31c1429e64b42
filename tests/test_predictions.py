import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from podium.data.metadata import Metadata
from podium.errors import DataError, RunError
from podium.predictions import Predictions, align, average, concatenate, read_predictions, write_predictions
from podium.workflows.predict import read_frame


def out_of_fold(ids, fold=0, value=0.25):
    rows = len(ids)
    probs = np.tile([value, 1 - value], (rows, 1))
    return Predictions(list(ids), ["0", "NA"], probs, pd.DataFrame({"label": ["NA"] * rows}), np.full(rows, fold))


def test_ids_and_labels_are_text(tmp_path):
    ids = ["007", "NA", "", "1e5", 'a,"b"', "with\nnewline", "früh.jpg"]
    write_predictions(tmp_path / "oof.csv", out_of_fold(ids, fold=3))
    read = read_predictions(tmp_path / "oof.csv")
    assert read.ids == ids
    assert read.outputs == ["0", "NA"]
    assert read.truth["label"].tolist() == ["NA"] * 7
    assert read.folds is not None
    assert read.folds.tolist() == [3] * 7


def test_float32_is_preserved_exactly(tmp_path):
    single = np.random.default_rng(0).dirichlet(np.ones(5), 200).astype(np.float32)
    single[0, 0] = np.float32(1e-30)
    predictions = Predictions([str(row) for row in range(200)], list("abcde"), single.astype(np.float64))
    write_predictions(tmp_path / "test.csv", predictions)
    read = read_predictions(tmp_path / "test.csv")
    assert (read.values.astype(np.float32) == single).all()
    assert read.truth is None
    assert read.folds is None


def test_file_content(tmp_path):
    write_predictions(tmp_path / "new" / "oof.csv", out_of_fold(["a"], fold=2))
    assert (tmp_path / "new" / "oof.csv").read_bytes() == b"id,label,fold,p_0,p_NA\na,NA,2,0.25,0.75\n"


def test_matrix_of_truth_is_written_beside_the_predictions(tmp_path):
    truth = pd.DataFrame({"t_age": [1 / 3, 1e6], "t_mass": [0.1, -2.0]})
    predictions = Predictions(["a", "b"], ["age", "mass"], np.array([[0.5, 1.0], [2.0, 3.0]]), truth, np.array([0, 1]))
    write_predictions(tmp_path / "oof.csv", predictions)
    lines = (tmp_path / "oof.csv").read_text().splitlines()
    assert lines[::2] == ["id,t_age,t_mass,fold,p_age,p_mass", "b,1000000,-2,1,2,3"]
    read = read_predictions(tmp_path / "oof.csv")
    pd.testing.assert_frame_equal(read.truth, truth, rtol=1e-14)
    assert (read.outputs, read.values.tolist(), read.folds.tolist()) == (["age", "mass"], [[0.5, 1], [2, 3]], [0, 1])


def test_metadata_is_written_after_the_predictions_and_read_as_text(tmp_path):
    metadata = pd.DataFrame({"m_age": [0.1, np.nan], "m_site": pd.Categorical(["007", 'NA,"x"'])})
    predictions = Predictions(["a", "b"], ["x"], np.array([[0.5], [0.25]]), metadata=metadata)
    write_predictions(tmp_path / "test.csv", predictions)
    kinds = SimpleNamespace(metadata={"age": "number", "site": "category"})
    table = read_frame(tmp_path / "test.csv", kinds)
    assert table["m_age"].tolist() == pytest.approx([0.1, np.nan], nan_ok=True)
    assert table["m_site"].tolist() == ["007", 'NA,"x"']
    assert (tmp_path / "test.csv").read_text() == 'id,p_x,m_age,m_site\na,0.5,0.1,007\nb,0.25,nan,"NA,""x"""\n'
    read = read_predictions(tmp_path / "test.csv")
    assert read.metadata.to_numpy().tolist() == [["0.1", "007"], ["nan", 'NA,"x"']]
    other = Predictions(["c"], ["x"], np.array([[0.0]]), metadata=read.metadata.iloc[:1])
    both = align(concatenate([read, other]), ["c", "b"])
    assert both.metadata["m_site"].tolist() == ["007", 'NA,"x"']
    assert average([both, both]).metadata is both.metadata
    plain = Predictions(["d"], ["x"], np.array([[0.0]]))
    assert concatenate([read, plain]).metadata is None
    encoded = Metadata({"age": None, "site": ["007"]})
    np.testing.assert_array_equal(encoded.encode(read.metadata), encoded.encode(metadata))


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
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
    ("content", "message"),
    [
        (b"", "wrong columns"),
        (b"id,label,p_a\nx,a,1\n", "wrong columns .first: 'label'"),
        (b"Id,p_a\nx,1\n", "wrong columns"),
        (b"id,label,fold\nx,a,0\n", "wrong columns"),
        (b"id,p_a,p_a\nx,1,0\n", "Duplicate names"),
        (b"id,p_a\n", "do not fit 0 ids"),
        (b"id,p_a,p_b\nx,0.5,0.5\ny,0.5\n", "'' in column p_b, row 2 is not a number"),
        (b"id,p_a\nx,0.5,0.5\n", "more values than columns"),
        (b"id,p_a\nx,0.5\ny,0.5,0.5\n", "Expected 2 fields in line 3, saw 3"),
        (b"id,p_a\nx,0.5\n\n", "'' in column p_a, row 2 is not a number"),
        (b"id,p_a\nx,0.5\ny,nan\n", "'nan' in column p_a, row 2 is not a number"),
        (b"id,p_a\nx,inf\n", "'inf' in column p_a, row 1 is not a number"),
        (b"id,p_a\nx,high\n", "'high' in column p_a, row 1 is not a number"),
        (b"id,label,fold,p_a\nx,a,first,1\n", "'first' in column fold, row 1 is not a number"),
        (b"id,p_a\nx,1\nx,1\n", "1 ids occur more than once"),
        (b"id,p_a\nx,1\n\xff\xfe,1\n", "'utf-8' codec can't decode"),
        (b'id,p_a\n"x,1\n', "EOF inside string"),
    ],
)
def test_invalid_file(tmp_path, content, message):
    path = tmp_path / "oof.csv"
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"oof\.csv: .*{message}") as error:
        read_predictions(path)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(RunError, match=r"cannot read .*oof\.csv \(No such file.*train or predict first"):
        read_predictions(tmp_path / "oof.csv")


def test_average_pairs_rows_by_id():
    one = Predictions(["a", "b"], ["x", "y"], np.array([[0.2, 0.8], [1.0, 0.0]]))
    two = Predictions(["b", "a"], ["x", "y"], np.array([[0.6, 0.4], [0.4, 0.6]]))
    mean = average([one, two])
    assert mean.ids == ["a", "b"]
    assert mean.values == pytest.approx(np.array([[0.3, 0.7], [0.8, 0.2]]))


def test_average_keeps_labels_and_folds():
    mean = average([out_of_fold("ab", value=0.2), out_of_fold("ba", value=0.4)])
    assert mean.truth["label"].tolist() == ["NA", "NA"]
    assert mean.folds is not None
    assert mean.values[:, 0] == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (out_of_fold("ac"), "different rows.*'b', 'c'"),
        (out_of_fold("abc"), "different rows.*'c'"),
        (out_of_fold("ab", fold=1), "different truths or folds"),
        (Predictions(["a", "b"], ["0", "NA"], np.ones((2, 2))), "different truths or folds"),
        (Predictions(["a", "b"], ["NA", "0"], np.ones((2, 2))), "different columns .in another order"),
        (Predictions(["a", "b"], ["0", "1"], np.ones((2, 2))), "different columns .only in one of two: '1', 'NA'"),
    ],
)
def test_average_of_different_rows_truth_or_columns(other, message):
    with pytest.raises(DataError, match=message):
        average([out_of_fold("ab"), other])


def test_nothing_to_average_or_concatenate():
    for function in (average, concatenate):
        with pytest.raises(DataError, match="There are no predictions"):
            function([])


def test_concatenate_joins_folds():
    whole = concatenate([out_of_fold("ab", fold=0), out_of_fold("c", fold=1)])
    assert whole.ids == ["a", "b", "c"]
    assert whole.truth["label"].tolist() == ["NA"] * 3
    assert whole.folds is not None
    assert whole.folds.tolist() == [0, 0, 1]


def test_concatenate_rejects_repeated_ids_and_partial_labels():
    with pytest.raises(DataError, match=r"1 ids occur more than once .*'b'"):
        concatenate([out_of_fold("ab"), out_of_fold("bc", fold=1)])
    with pytest.raises(DataError, match="Only some of the predictions"):
        concatenate([out_of_fold("a"), Predictions(["b"], ["0", "NA"], np.ones((1, 2)))])


def test_align_selects_rows_in_order():
    probs = np.array([[0.0], [0.1], [0.2]])
    truth = pd.DataFrame({"label": ["la", "lb", "lc"]})
    predictions = Predictions(["a", "b", "c"], ["x"], probs, truth, np.array([0, 1, 2]))
    aligned = align(predictions, ["c", "a"])
    assert aligned.ids == ["c", "a"]
    assert aligned.values.tolist() == [[0.2], [0.0]]
    assert aligned.truth["label"].tolist() == ["lc", "la"]
    assert aligned.folds is not None
    assert aligned.folds.tolist() == [2, 0]


def test_align_reports_missing_ids():
    with pytest.raises(DataError, match=r"2 of 3 ids have no prediction \(first: 'y', 'z'\)"):
        align(out_of_fold("ab"), ["a", "y", "z"])


def test_predictions_check_their_shapes():
    with pytest.raises(DataError, match=r"shape \(2, 2\) do not fit 1 ids and 2 columns"):
        Predictions(["a"], ["x", "y"], np.ones((2, 2)))
    with pytest.raises(DataError, match="only one of truth and folds"):
        Predictions(["a"], ["x"], np.ones((1, 1)), truth=pd.DataFrame({"label": ["x"]}))
    with pytest.raises(DataError, match="truth of 2 rows and 1 folds"):
        Predictions(["a"], ["x"], np.ones((1, 1)), pd.DataFrame({"label": ["x", "x"]}), np.array([0]))
