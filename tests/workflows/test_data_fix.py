"""Groups of copies beside those that people have written."""

from types import SimpleNamespace

import pytest

from podium.errors import DataError
from podium.workflows.data_fix import _with_copies, write_fixes


def test_groups_of_people_are_kept_and_joined_where_images_are_copies():
    before = {"a": "car", "b": "car", "c": "van", "d": "van", "e": "bus", "f": "copies-0", "g": "copies-0"}
    groups = _with_copies(before, {"b": 0, "c": 0, "x": 1, "y": 1})
    assert groups == {
        **dict.fromkeys("abcd", "car"),
        "e": "bus",
        **dict.fromkeys("xy", "copies-1"),
    }  # those of an earlier check are gone
    assert _with_copies({}, {"x": 5, "y": 5}) == dict.fromkeys("xy", "copies-5")


@pytest.mark.parametrize("content", ["id,reason\na\0b,blank\n", "image,reason\na.jpg,blank\n"])
def test_a_file_that_cannot_be_read_is_kept(content, tmp_path):
    file = tmp_path / "cars-ignore.csv"
    file.write_text(content)
    check = SimpleNamespace(ignored=["b.jpg"], findings={}, groups={})
    with pytest.raises(DataError, match=r"cars-ignore\.csv cannot be read .*: expected the columns id and reason"):
        list(write_fixes(check, tmp_path / "cars.yaml"))
    assert file.read_text() == content


def test_competitions_in_one_folder_have_files_of_their_own(tmp_path):
    for name in ("cars", "boats"):
        check = SimpleNamespace(ignored=[f"{name}.jpg"], findings={}, groups={"a.jpg": 0, "b.jpg": 0})
        first, *_ = write_fixes(check, tmp_path / f"{name}.yaml")
        assert f"use it with ignore: {name}-ignore.csv" in first
    for name in ("cars", "boats"):
        assert (tmp_path / f"{name}-ignore.csv").read_text() == f"id,reason\n{name}.jpg,\n"
        assert (tmp_path / f"{name}-groups.csv").read_text() == "id,group\na.jpg,copies-0\nb.jpg,copies-0\n"
