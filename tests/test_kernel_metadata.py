"""The root's kernel-metadata.json says what the official client would otherwise guess."""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
METADATA = json.loads((ROOT / "kernel-metadata.json").read_text())


def test_the_internet_is_off_and_two_t4s_are_asked_for_in_so_many_words():
    assert METADATA["enable_internet"] is False
    assert METADATA["enable_gpu"] is True
    assert METADATA["machine_shape"] == "NvidiaTeslaT4"


def test_the_slug_is_the_titles():
    assert METADATA["id"].partition("/")[2] == METADATA["title"]


def test_its_competition_is_one_that_podium_has_a_file_for():
    slugs = [yaml.safe_load(path.read_text())["slug"] for path in (ROOT / "configs" / "competitions").glob("*.yaml")]
    assert set(METADATA["competition_sources"]) <= set(slugs)
