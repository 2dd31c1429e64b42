"""Submissions are written for every id of the sample, under a new name, completely or not at all."""

import errno
import os
import re
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from podium.config.submission import FORMATS
from podium.errors import DataError, SubmissionError
from podium.evaluation.decisions import Decision
from podium.submission.check import find_problems
from podium.submission.spec import SubmissionSpec
from podium.submission.write import write_submission

NOON = datetime(2026, 5, 17, 12, 0, 0)
IDS = ["NA", "007", "b.jpg"]
CLASSES = ["0", "1", "2"]
PROBS = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
COLUMNS = ["cat", "dog", "eel"]


@pytest.fixture
def write(tmp_path):
    """Write a submission; the sample's text, fields of the spec and arguments can be changed."""

    def written(
        sample="Id,Category\n007,0\nb.jpg,0\nNA,0\n", ids=IDS, probs=PROBS, name="blend", decision=None, **changes
    ):
        (tmp_path / "sample.csv").write_text(sample)
        options = {key: changes.pop(key) for key in ("partial", "now") if key in changes}
        spec = SubmissionSpec(
            sample=tmp_path / "sample.csv", format="label", id_column="Id", answer_columns=["Category"], labels=CLASSES
        )
        spec = replace(spec, **changes)
        return write_submission(
            spec, ids, probs, decision, folder=tmp_path / "submissions", name=name, **({"now": NOON} | options)
        )

    return written


def test_labels_are_written_in_the_order_of_the_sample_and_ids_stay_text(write):
    path = write()
    assert path.name == "blend__20260517-120000.csv"
    assert path.read_bytes() == b"Id,Category\n007,0\nb.jpg,2\nNA,1\n"


def test_columns_are_in_the_order_of_the_sample(write):
    assert write(sample="Category,Id\n0,NA\n").read_text() == "Category,Id\n1,NA\n"


def test_probabilities_are_scaled_to_sum_one_in_the_columns_of_their_classes(write):
    path = write(
        sample="eel,Id,cat,dog\n0,007,0,0\n0,NA,0,0\n", format="probabilities", answer_columns=COLUMNS, probs=PROBS * 2
    )
    assert path.read_text() == "eel,Id,cat,dog\n0.1,007,0.6,0.3\n0.3,NA,0.2,0.5\n"


def test_column_is_named_like_the_class_by_default(write):
    path = write(sample="Id,0,dog,2\nNA,0,0,0\n", format="probabilities", answer_columns=["0", "dog", "2"])
    assert path.read_text() == "Id,0,dog,2\nNA,0.2,0.5,0.3\n"


LABELS = {"target": "multi_label", "format": "labels"}
MANY = np.array([[0.9, 0.2, 0.7], [0.1, 0.2, 0.3], [0.4, 0.6, 0.4]])


@pytest.mark.parametrize(
    ("changes", "decision", "expected"),
    [
        (LABELS, None, ["0 2", "2", "1"]),  # the most probable label of the second, which has none above 0.5
        (LABELS | {"no_label": ""}, None, ["0 2", "", "1"]),
        (LABELS | {"no_label": "none", "separator": "|"}, None, ["0|2", "none", "1"]),
        (LABELS | {"separator": ","}, None, ['"0,2"', "2", "1"]),
        (LABELS, Decision("multi_label", thresholds=[0.4, 0.15, 0.8]), ["0 1", "1", "0 1"]),
        (LABELS | {"most_labels": 2}, None, ["0 2", "2 1", "1 0"]),
        (LABELS | {"target": "single_label", "most_labels": 2}, None, ["0 2", "2 1", "1 0"]),
    ],
)
def test_several_labels_are_written(write, changes, decision, expected):
    path = write(sample="Id,Category\nNA,0\n007,0\nb.jpg,0\n", probs=MANY, decision=decision, **changes)
    assert path.read_text() == "Id,Category\n" + "".join(
        f"{name},{cell}\n" for name, cell in zip(IDS, expected, strict=True)
    )


SAMPLE = "Id,cat,dog,eel\nNA,0,0,0\n"


@pytest.mark.parametrize(
    ("changes", "decision", "expected"),
    [
        ({"target": "multi_label", "format": "probabilities"}, None, "0.9,0.2,0.7"),
        ({"target": "multi_label", "format": "indicators"}, None, "1,0,1"),
        (
            {"target": "multi_label", "format": "indicators"},
            Decision("multi_label", thresholds=[0.95, 0.1, 0.7]),
            "0,1,1",
        ),
        ({"target": "regression", "format": "numbers", "labels": []}, None, "0.9,0.2,0.7"),
        ({"target": "regression", "format": "numbers", "labels": [], "is_whole": True}, None, "1,0,1"),
        (
            {"target": "regression", "format": "numbers", "labels": [], "is_whole": True},
            Decision("regression", cut_points=[[0.3, 0.8], [0.5], []], lowest=[-1, 0, 3]),
            "1,0,3",
        ),
        ({"target": "soft_label", "format": "probabilities"}, None, "0.5,0.111111111,0.388888889"),
    ],
)
def test_columns_of_each_target_are_written(write, changes, decision, expected):
    path = write(sample=SAMPLE, probs=MANY, decision=decision, answer_columns=COLUMNS, **changes)
    assert path.read_text() == f"Id,cat,dog,eel\nNA,{expected}\n"


@pytest.mark.parametrize(
    ("format", "decision", "expected"),
    [
        ("probabilities", None, ["0.25", "0.75", "0.5"]),
        ("indicators", None, ["0", "1", "1"]),
        ("indicators", Decision("binary", thresholds=[0.7]), ["0", "1", "0"]),
        ("label", Decision("binary", thresholds=[0.2]), ["sick", "sick", "sick"]),
        ("label", None, ["well", "sick", "sick"]),
    ],
)
def test_one_column_of_a_binary_target_is_written(write, format, decision, expected):
    changes = {"target": "binary", "format": format, "labels": ["well", "sick"], "answer_columns": ["sick"]}
    sample = "Id,sick\nNA,0\n007,0\nb.jpg,0\n"
    path = write(sample=sample, probs=np.array([[0.25], [0.75], [0.5]]), decision=decision, **changes)
    assert [line.partition(",")[2] for line in path.read_text().splitlines()[1:]] == expected


def test_ordinal_classes_are_written_by_their_cut_points(write):
    decision = Decision("ordinal", cut_points=[[0.4, 1.8]], lowest=[0])
    path = write(target="ordinal", decision=decision)  # the expected classes are 1.1, 0.5 and 1.7
    assert path.read_text() == "Id,Category\n007,1\nb.jpg,1\nNA,1\n"


def random_case(random, target, format):
    """A spec with its predictions and a decision, all at random."""
    rows, width = 40, int(random.integers(2, 6))
    labels = [f"label{number}" for number in range(width)] if target != "regression" else []
    is_whole = bool(random.integers(2)) and target == "regression"
    decision, changes = None, {}
    predictions = random.random((rows, 1 if target == "binary" else width))
    if target in ("single_label", "ordinal", "soft_label"):
        predictions /= predictions.sum(axis=1, keepdims=True)
    if target == "binary":
        labels, decision = ["no", "yes"], Decision(target, thresholds=[float(random.random())])
    if target == "multi_label":
        decision = Decision(target, thresholds=random.random(width).tolist())
    if target == "ordinal":
        expected = np.sort(predictions @ np.arange(width))
        decision = Decision(target, cut_points=[expected[10 : 9 + width].tolist()], lowest=[0])
    if target == "regression":
        predictions = predictions * 90 + 5
        changes = {"range": (5, 95), "is_whole": is_whole}
    if format == "labels":
        changes |= {"most_labels": 2} if target == "single_label" or random.integers(2) else {"no_label": "none"}
        changes |= {"separator": [" ", ",", "|"][random.integers(3)]}
    one_column = format in ("label", "labels") or target == "binary"
    columns = ["answer"] if one_column else [f"column{number}" for number in range(width)]
    return dict(target=target, format=format, labels=labels, answer_columns=columns, **changes), predictions, decision


@pytest.mark.parametrize(
    ("target", "format"), [(target, format) for target, formats in FORMATS.items() for format in formats]
)
def test_what_is_written_is_valid_and_what_is_broken_is_found(tmp_path, target, format):
    random = np.random.default_rng(0)
    for number in range(5):
        changes, predictions, decision = random_case(random, target, format)
        ids = [f"{row:03}" for row in range(len(predictions))]
        columns = changes["answer_columns"]
        rows = "".join(f"{name}{',0' * len(columns)}\n" for name in reversed(ids))
        (tmp_path / "sample.csv").write_text(f"{','.join([*columns, 'Id'][::-1])}\n{rows}")
        spec = SubmissionSpec(sample=tmp_path / "sample.csv", id_column="Id", **changes)
        folder = tmp_path / f"submissions{number}"
        path = write_submission(spec, ids, predictions, decision, folder=folder, name="blend")
        assert find_problems(path, spec) == []
        good = path.read_text().splitlines()
        for broken in ("", "x y", "-1e9", "1e9", "nan", "0.5;0.5", "label0 label0 label0", "none none"):
            line = f"{good[1].partition(',')[0]},{broken}{',0.5' * (len(columns) - 1)}"
            path.write_text("\n".join([good[0], line, *good[2:]]) + "\n")
            allowed = spec.no_label == broken or (
                format == "numbers" and broken in ("-1e9", "1e9") and spec.range is None
            )
            assert bool(find_problems(path, spec)) != allowed, (broken, line)


def test_id_without_prediction_is_an_error(write):
    with pytest.raises(SubmissionError, match=r"1 of the 4 ids in .*sample\.csv have no prediction \(first: \['c'\]"):
        write(sample="Id,Category\n007,0\nb.jpg,0\nNA,0\nc,0\n")


def test_partial_submission_leaves_out_ids_without_prediction_and_has_another_name(write):
    path = write(sample="Id,Category\nc,0\nNA,0\n", partial=True)
    assert path.name == "blend__20260517-120000.partial.csv"
    assert path.read_text() == "Id,Category\nNA,1\n"


def test_partial_submission_without_any_row_is_an_error(write):
    with pytest.raises(SubmissionError, match="1 of the 1 ids"):
        write(sample="Id,Category\nc,0\n", partial=True)


def test_ids_that_are_not_in_the_sample_are_left_out(write):
    assert write(sample="Id,Category\nNA,0\n").read_text() == "Id,Category\nNA,1\n"


def test_name_is_never_used_twice(write):
    names = [write().name for _ in range(3)]
    assert names == [f"blend__20260517-120000{number}.csv" for number in ("", "-2", "-3")]
    assert write(partial=True).name == "blend__20260517-120000.partial.csv"
    assert write(partial=True).name == "blend__20260517-120000-2.partial.csv"


def test_existing_file_is_not_changed(write):
    first = write()
    first.write_text("mine")
    write()
    assert first.read_text() == "mine"


def test_no_temporary_file_is_left(write):
    path = write()
    assert list(path.parent.iterdir()) == [path]


def test_full_disk_leaves_no_file(write, tmp_path, monkeypatch):
    def full_disk(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write()
    assert list((tmp_path / "submissions").iterdir()) == []


def test_name_has_the_current_time(write):
    assert re.fullmatch(r"blend__20\d{6}-\d{6}\.csv", write(now=None).name)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "two words", "a\nb"])
def test_invalid_file_name_is_an_error(write, name):
    with pytest.raises(SubmissionError, match="cannot name a submission"):
        write(name=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ["a", "a", "b"]}, r"1 ids are predicted more than once \(first: \['a'\]"),
        ({"probs": PROBS[:2]}, r"shape \(3, 3\), a row per id and a column per class or number, got \(2, 3\)"),
        ({"probs": PROBS * [[1], [np.nan], [1]]}, "predictions of '007' are not"),
        ({"probs": PROBS * [[1], [1], [0]]}, "predictions of 'b.jpg' are not"),
        ({"probs": PROBS * [[-1], [1], [1]]}, "predictions of 'NA' are not"),
        ({"answer_columns": ["Class"]}, "has the columns Id, Category; the competition file expects Id, Class"),
        ({"format": "probabilities", "answer_columns": CLASSES}, "the competition file expects Id, 0, 1, 2"),
        (
            {"sample": "Id,cat,dog,eel,fox\nNA,0,0,0,0\n", "format": "probabilities", "answer_columns": COLUMNS},
            "eel, fox;",
        ),
    ],
)
def test_invalid_predictions_and_settings_are_errors(write, changes, message):
    with pytest.raises(SubmissionError, match=message):
        write(**changes)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("", r"has the columns  and 0 rows"),
        ("Id,Category\n", "and 0 rows; expected a column 'Id', at least one row"),
        ("id,Category\nNA,0\n", "expected a column 'Id'"),
        ("Id,Category\nNA\n", "as many values in each row as columns"),
        ("Id\tCategory\nNA\t0\n", r"columns of .* seem to be separated by '\\t'; expected commas"),
        ("Id,Category\nNA,0\nNA,0\n", "1 ids more than once .first: 'NA'"),
    ],
)
def test_invalid_sample_is_an_error(write, sample, message):
    with pytest.raises(DataError, match=message):
        write(sample=sample)


def test_missing_sample_is_an_error(tmp_path):
    spec = SubmissionSpec(
        sample=tmp_path / "nowhere.csv", format="label", id_column="Id", answer_columns=["Category"], labels=CLASSES
    )
    with pytest.raises(
        DataError, match=r"cannot read the sample submission .*nowhere\.csv .*correct its path, or download"
    ):
        spec.read_sample()
    spec.sample.write_text("Id,Category\nNA,0\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"nowhere\.csv .*; expected a CSV in UTF-8: correct its path"):
        spec.read_sample()


def test_sample_with_a_byte_order_mark_is_read(write):
    assert write(sample="\ufeffId,Category\r\nNA,0\r\n").read_bytes() == b"Id,Category\nNA,1\n"
