"""The repository's kernel-metadata.json is explicit about what the official client would otherwise choose."""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
METADATA = json.loads((ROOT / "kernel-metadata.json").read_text())


def test_internet_is_off_and_two_t4s_are_requested():
    assert METADATA["enable_internet"] is False
    assert METADATA["enable_gpu"] is True
    assert METADATA["machine_shape"] == "NvidiaTeslaT4"


def test_slug_fits_the_title():
    assert METADATA["id"].partition("/")[2] == METADATA["title"]


def test_competition_has_a_competition_file():
    slugs = [yaml.safe_load(path.read_text())["slug"] for path in (ROOT / "configs" / "competitions").glob("*.yaml")]
    assert set(METADATA["competition_sources"]) <= set(slugs)
