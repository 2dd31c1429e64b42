"""YAML that podium writes is read as the same content."""

import yaml

from podium.config.yaml_file import read_yaml, to_yaml

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
