"""Submissions are written for every id of the sample, under a new name, completely or not at all."""

import errno
import os
import re
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from podium.errors import DataError, SubmissionError
from podium.submission.spec import SubmissionSpec
from podium.submission.write import write_submission

NOON = datetime(2026, 5, 17, 12, 0, 0)
IDS = ["NA", "007", "b.jpg"]
CLASSES = ["0", "1", "2"]
PROBS = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
COLUMNS = {"0": "cat", "1": "dog", "2": "eel"}


@pytest.fixture
def write(tmp_path):
    """Write a submission; the sample's text, fields of the spec and arguments can be changed."""

    def written(sample="Id,Category\n007,0\nb.jpg,0\nNA,0\n", ids=IDS, probs=PROBS, name="blend", **changes):
        (tmp_path / "sample.csv").write_text(sample)
        options = {key: changes.pop(key) for key in ("partial", "now") if key in changes}
        spec = SubmissionSpec(tmp_path / "sample.csv", "label", "Id", "Category", CLASSES, {})
        spec = replace(spec, **changes)
        return write_submission(
            spec, ids, probs, folder=tmp_path / "submissions", name=name, **({"now": NOON} | options)
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
        sample="eel,Id,cat,dog\n0,007,0,0\n0,NA,0,0\n", format="probabilities", columns=COLUMNS, probs=PROBS * 2
    )
    assert path.read_text() == "eel,Id,cat,dog\n0.1,007,0.6,0.3\n0.3,NA,0.2,0.5\n"


def test_column_is_named_like_the_class_by_default(write):
    path = write(sample="Id,0,dog,2\nNA,0,0,0\n", format="probabilities", columns={"1": "dog"})
    assert path.read_text() == "Id,0,dog,2\nNA,0.2,0.5,0.3\n"


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
        ({"probs": PROBS[:2]}, r"shape \(3, 3\), a row per id and a column per class, got \(2, 3\)"),
        ({"probs": PROBS * [[1], [np.nan], [1]]}, "probabilities of '007' are not numbers"),
        ({"probs": PROBS * [[1], [1], [0]]}, "probabilities of 'b.jpg' are not numbers"),
        ({"probs": PROBS * [[-1], [1], [1]]}, "probabilities of 'NA' are not numbers"),
        ({"label_column": "Class"}, "has the columns Id, Category; the competition file expects Id, Class"),
        ({"label_column": None}, "the competition file expects Id:"),
        ({"format": "probabilities"}, "the competition file expects Id, 0, 1, 2"),
        ({"sample": "Id,cat,dog,eel,fox\nNA,0,0,0,0\n", "format": "probabilities", "columns": COLUMNS}, "eel, fox;"),
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
        ("Id,Category\nNA,0\nNA,0\n", "1 ids more than once .first: 'NA'"),
    ],
)
def test_invalid_sample_is_an_error(write, sample, message):
    with pytest.raises(DataError, match=message):
        write(sample=sample)


def test_missing_sample_is_an_error(tmp_path):
    spec = SubmissionSpec(tmp_path / "nowhere.csv", "label", "Id", "Category", CLASSES, {})
    with pytest.raises(DataError, match=r"cannot read the sample submission .*nowhere\.csv .*download"):
        spec.read_sample()


def test_sample_with_a_byte_order_mark_is_read(write):
    assert write(sample="\ufeffId,Category\r\nNA,0\r\n").read_bytes() == b"Id,Category\nNA,1\n"
