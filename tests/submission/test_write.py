import errno
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from podium.errors import DataError, SubmissionError
from podium.submission.write import read_sample, write_submission

NOON = datetime(2026, 5, 17, 12, 0, 0)
IDS = ["NA", "007", "b.jpg"]
CLASSES = ["0", "1", "2"]
PROBS = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
COLUMNS = {"0": "cat", "1": "dog", "2": "eel"}


@pytest.fixture
def write(tmp_path):
    """Write a submission; the sample's text and everything else can be given otherwise."""

    def written(sample="Id,Category\n007,0\nb.jpg,0\nNA,0\n", ids=IDS, probs=PROBS, **changes) -> Path:
        (tmp_path / "sample.csv").write_text(sample)
        settings = {
            "sample": tmp_path / "sample.csv",
            "format": "label",
            "id_column": "Id",
            "label_column": "Category",
            "columns": {},
            "folder": tmp_path / "submissions",
            "name": "blend",
            "now": NOON,
        }
        return write_submission(ids, CLASSES, probs, **{**settings, **changes})

    return written


def test_labels_are_written_in_the_order_of_the_sample_and_ids_stay_text(write):
    path = write()
    assert path.name == "blend__20260517-120000.csv"
    assert path.read_bytes() == b"Id,Category\n007,0\nb.jpg,2\nNA,1\n"


def test_columns_keep_the_order_of_the_sample_too(write):
    assert write(sample="Category,Id\n0,NA\n").read_text() == "Category,Id\n1,NA\n"


def test_probabilities_go_to_the_columns_of_their_classes_and_sum_to_one(write):
    path = write(
        sample="eel,Id,cat,dog\n0,007,0,0\n0,NA,0,0\n", format="probabilities", columns=COLUMNS, probs=PROBS * 2
    )
    assert path.read_text() == "eel,Id,cat,dog\n0.1,007,0.6,0.3\n0.3,NA,0.2,0.5\n"


def test_a_class_without_a_column_of_another_name_has_its_own(write):
    path = write(sample="Id,0,dog,2\nNA,0,0,0\n", format="probabilities", columns={"1": "dog"})
    assert path.read_text() == "Id,0,dog,2\nNA,0.2,0.5,0.3\n"


def test_an_id_without_prediction_is_told(write):
    with pytest.raises(SubmissionError, match=r"1 of the 4 ids in .*sample\.csv have no prediction \(first: \['c'\]"):
        write(sample="Id,Category\n007,0\nb.jpg,0\nNA,0\nc,0\n")


def test_a_partial_submission_leaves_those_ids_out_and_says_so_in_its_name(write):
    path = write(sample="Id,Category\nc,0\nNA,0\n", partial=True)
    assert path.name == "blend__20260517-120000.partial.csv"
    assert path.read_text() == "Id,Category\nNA,1\n"


def test_a_partial_submission_of_no_row_at_all_is_told(write):
    with pytest.raises(SubmissionError, match="1 of the 1 ids"):
        write(sample="Id,Category\nc,0\n", partial=True)


def test_predictions_the_sample_does_not_ask_for_are_left_out(write):
    assert write(sample="Id,Category\nNA,0\n").read_text() == "Id,Category\nNA,1\n"


def test_a_name_is_never_used_twice(write):
    names = [write().name for _ in range(3)]
    assert names == [f"blend__20260517-120000{number}.csv" for number in ("", "-2", "-3")]
    assert write(partial=True).name == "blend__20260517-120000.partial.csv"
    assert write(partial=True).name == "blend__20260517-120000-2.partial.csv"


def test_an_existing_file_is_not_touched(write):
    first = write()
    first.write_text("mine")
    write()
    assert first.read_text() == "mine"


def test_no_temporary_file_stays_behind(write):
    path = write()
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_no_file_at_all(write, tmp_path, monkeypatch):
    def full_disk(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write()
    assert list((tmp_path / "submissions").iterdir()) == []


def test_where_files_cannot_be_linked_names_are_still_never_used_twice(write, monkeypatch):
    def no_links(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    paths = [write(), write()]
    assert [path.name for path in paths] == ["blend__20260517-120000.csv", "blend__20260517-120000-2.csv"]
    assert [path.read_text().count("\n") for path in paths] == [4, 4]
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)


def test_without_a_time_the_name_holds_the_present_one(write):
    assert re.fullmatch(r"blend__20\d{6}-\d{6}\.csv", write(now=None).name)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "two words", "a\nb"])
def test_a_name_that_is_no_file_name_is_told(write, name):
    with pytest.raises(SubmissionError, match="cannot name a submission"):
        write(name=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ["a", "a", "b"]}, r"1 ids are predicted more than once \(first: \['a'\]"),
        ({"probs": PROBS[:2]}, r"shape \(2, 3\) do not fit 3 ids and 3 classes"),
        ({"probs": PROBS * [[1], [np.nan], [1]]}, "Probabilities of '007' are not numbers"),
        ({"probs": PROBS * [[1], [1], [0]]}, "Probabilities of 'b.jpg' are not numbers"),
        ({"probs": PROBS * [[-1], [1], [1]]}, "Probabilities of 'NA' are not numbers"),
        ({"label_column": "Class"}, "has columns Id, Category; the competition file says Id, Class"),
        ({"label_column": None}, "the competition file says Id:"),
        ({"format": "probabilities"}, "the competition file says Id, 0, 1, 2"),
        ({"sample": "Id,cat,dog,eel,fox\nNA,0,0,0,0\n", "format": "probabilities", "columns": COLUMNS}, "eel, fox;"),
    ],
)
def test_what_must_not_be_sent_is_told(write, changes, message):
    with pytest.raises(SubmissionError, match=message):
        write(**changes)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("", r"columns \[\] and 0 rows"),
        ("Id,Category\n", "and 0 rows; expected a column 'Id', at least one row"),
        ("id,Category\nNA,0\n", "expected a column 'Id'"),
        ("Id,Category\nNA\n", "as many values in each row as columns"),
        ("Id,Category\nNA,0\nNA,0\n", "1 ids more than once .first: 'NA'"),
    ],
)
def test_a_sample_that_is_none_is_told(write, sample, message):
    with pytest.raises(DataError, match=message):
        write(sample=sample)


def test_an_absent_sample_is_told(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read .*download its data again"):
        read_sample(tmp_path / "nowhere.csv", "Id")


def test_a_sample_from_a_spreadsheet_with_a_byte_order_mark_is_read(write):
    assert write(sample="\ufeffId,Category\r\nNA,0\r\n").read_bytes() == b"Id,Category\nNA,1\n"


def test_importing_the_writer_and_the_checker_brings_no_numpy():
    code = "import sys, podium.submission.write, podium.submission.check; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
