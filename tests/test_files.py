import json
import os
import re
import stat

import pytest

from podium.errors import RunError
from podium.files import atomic_write, digest_of, read_json, write_json, write_text

# Writing


def test_file_is_written_into_new_folders(tmp_path):
    write_text(tmp_path / "new" / "deep" / "a.txt", "früh\n")
    assert (tmp_path / "new" / "deep" / "a.txt").read_bytes() == "früh\n".encode()
    assert stat.S_IMODE((tmp_path / "new" / "deep" / "a.txt").stat().st_mode) == 0o644


def test_failed_write_keeps_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")

    def interrupted():
        with atomic_write(path) as temporary:
            temporary.write_text("half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_old_file_is_intact_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "state.json"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_text(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_name_keeps_the_suffix_for_keras(tmp_path):
    with atomic_write(tmp_path / "best.weights.h5") as temporary:
        assert temporary.name.endswith(".weights.h5")


# Reading


def test_json_is_read_as_written(tmp_path):
    write_json(tmp_path / "a.json", {"größe": 1, "b": [1.5, None]})
    assert read_json(tmp_path / "a.json") == {"größe": 1, "b": [1.5, None]}
    assert "größe" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_missing_json_file_is_empty(tmp_path):
    assert read_json(tmp_path / "none.json") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ', r"a\.json cannot be read \(Expecting value.*\); move that run folder away and run again"),
        (b"\xff", r"a\.json cannot be read \(.*decode.*\); move that run folder away and run again"),
        (b"[1]", r"a\.json: expected a JSON object, got list; move that run folder away and run again"),
    ],
)
def test_damaged_json_is_an_error_with_the_fix(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=message):
        read_json(tmp_path / "a.json")


# Digests


def test_digest_depends_only_on_the_content():
    content = {"backbone": "Xception", "stages": [{"epochs": 3, "learning_rate": 1e-3}], "limit": None}
    assert digest_of(content) == "39b83fca"
    assert digest_of(dict(reversed(content.items()))) == "39b83fca"
    assert digest_of(json.loads(json.dumps(content))) == "39b83fca"


def test_any_change_gives_another_digest():
    contents = [
        {"a": 1},
        {"a": 2},
        {"a": "1"},
        {"a": 1.5},
        {"b": 1},
        {"a": [1]},
        {"a": [1, 2]},
        {"a": [2, 1]},
        {"a": None},
    ]
    assert len({digest_of(content) for content in contents}) == len(contents)
    assert all(re.fullmatch("[0-9a-f]{8}", digest_of(content)) for content in contents)
