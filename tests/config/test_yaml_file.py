"""YAML that podium writes is read as the same content, and values are replaced in place."""

import pytest
import yaml

from podium.config.yaml_file import read_yaml, replace_value, text_with_values, to_yaml
from podium.errors import ConfigError

CONTENT = {
    "slug": "cars-cropped",
    "title": "Cars: a title, with # and ' in it",
    "classes": {0: "off", "007": "no", "1e-3": "2026-01-01", "ünïcode": "true"},
    "train": {"images": "train/{label}/{id}", "table": "train.csv"},
    "extra": [{"folder": "../more", "images": "{id}"}],
    "folds": {"kind": "shares", "train": 0.8, "seed": 42, "small": 1e-5},
}


def test_written_yaml_is_read_as_the_same_content(tmp_path):
    (tmp_path / "a.yaml").write_text(to_yaml(CONTENT), encoding="utf-8")
    read = read_yaml(tmp_path / "a.yaml")
    assert (read.content, read.problems) == (CONTENT, [])
    assert list(read.content) == list(CONTENT)


def test_other_yaml_readers_read_text_as_text():
    assert yaml.safe_load(to_yaml(CONTENT))["classes"] == CONTENT["classes"]


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("a: 1  # one\n\nb: 2\n", "a", "a: 1e-3  # one\n\nb: 2\n"),
        ("s:\r\n  - {n: x, rate: 0.1}  # é\r\n", "s.0.rate", "s:\r\n  - {n: x, rate: 1e-3}  # é\r\n"),
        ("s:\n  - n: x\n  - rate: '5'\n", "s.1.rate", "s:\n  - n: x\n  - rate: 1e-3\n"),
    ],
)
def test_replaced_value_leaves_the_rest_of_the_file(text, key, expected, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode())
    line = replace_value(path, key, "1e-3")
    assert path.read_bytes().decode() == expected
    assert "1e-3" in expected.splitlines()[line - 1]


@pytest.mark.parametrize(("text", "key"), [("a: &r 1\nb: *r\n", "b"), ("a: 1\n", "b"), ("a: [1]\n", "a")])
def test_value_that_is_not_alone_in_its_place_is_not_replaced(text, key, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"{key} cannot be replaced in the file; change it to 2 by hand"):
        replace_value(path, key, "2")
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("text", "key", "value", "expected"),
    [
        ("# a\na: 1  # one\n\nb: 2\n", "a", 1e-3, "# a\na: 0.001  # one\n\nb: 2\n"),
        ("s:\n  - {n: x, r: 0.1}  # r\n", "s.0.r", "text", "s:\n  - {n: x, r: text}  # r\n"),
        ("s:\n  - {n: x}\n", "s.0.o.p", [1, 2], "s:\n  - {o: {p: [1, 2]}, n: x}\n"),
        ("h:\n  n: x  # name\n# end\n", "h.d", 0.5, "h:\n  d: 0.5\n  n: x  # name\n# end\n"),
        ("l:\n  - A\n  - B\n# next\nm: 1\n", "l", ["C"], "l:\n  [C]\n# next\nm: 1\n"),
        ("a: 1\n# end", "h.d", {"x": None}, "a: 1\n# end\nh: {d: {x: null}}\n"),
    ],
)
def test_a_value_in_the_text_is_replaced_or_added_with_comments_kept(text, key, value, expected, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    assert text_with_values(path, {key: value}) == expected
    assert path.read_text() == text


@pytest.mark.parametrize(("text", "key"), [("a: &r 1\nb: *r\n", "b"), ("a: 1\n", "a.b"), ("a: [1]\n", "a.1")])
def test_a_value_that_has_no_place_of_its_own_is_an_error(text, key, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"{key} cannot be set to 2 in the file: write the key out there"):
        text_with_values(path, {key: 2})
