"""docs/configuration.md: its tables are those of the schemas, and its examples run."""

import re
from pathlib import Path

import pytest
import yaml
from layouts import draw

from podium.cli.reference import parts_with_keys, reference
from podium.cli.schema import Kind, schema_of_kind
from podium.config.loading import load_competition
from podium.workflows.configs import load_member

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
EXAMPLES = re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
COMPETITIONS = {name: text for name, text in EXAMPLES if "/" not in name}
FILES = {name: text for name, text in EXAMPLES if "/" in name}


def tables():
    """The keys of each kind; parts that several kinds have are described once."""
    shown = set()
    for kind in Kind:
        schema = schema_of_kind(kind)
        yield kind, reference(schema, shown)
        shown |= parts_with_keys(schema)


def test_the_keys_are_those_of_the_schemas():
    page = PAGE.read_text(encoding="utf-8")
    for kind, table in tables():
        start, end = f"<!-- podium schema {kind} --markdown -->\n", f"<!-- end of {kind} -->"
        written = page[page.index(start) + len(start) : page.index(end)].strip()
        assert written == table.strip(), f"the keys of a {kind} have changed"


@pytest.mark.parametrize("kind", Kind)
def test_every_key_is_described(kind):
    """In its own words, or in those of its part."""
    schema = schema_of_kind(kind)
    missing = [
        f"{name}.{key}"
        for name, part in [(kind.value, schema), *schema["$defs"].items()]
        for form in (part, *part.get("anyOf", []))
        for key, content in form.get("properties", {}).items()
        if not content.get("description")
        and f"`{key}`" not in form.get("description", "")
        and key not in ("kind", "method")
    ]
    assert missing == []


@pytest.mark.parametrize("name", COMPETITIONS)
def test_the_examples_describe_their_data(name, tmp_path, monkeypatch, podium):
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(COMPETITIONS[name])
    draw(name, Path("data") / content["slug"], train=60, test=6)
    write_example(name)
    assert load_competition(Path("configs/competitions/discs.yaml")).slug == content["slug"]
    code, out, err = podium("config", "check", "configs/competitions/discs.yaml", "configs/members/first.yaml")
    assert (code, err) == (0, ""), out


def write_example(name):
    """The competition of this name with the member and the ensemble of the page."""
    for path, text in {**FILES, "competitions/discs.yaml": COMPETITIONS[name]}.items():
        file = Path("configs") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    load_member(Path("configs/members/first.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPETITIONS)
def test_the_examples_run(name, tmp_path, monkeypatch, podium):
    monkeypatch.chdir(tmp_path)
    draw(name, Path("data") / yaml.safe_load(COMPETITIONS[name])["slug"], train=60, test=6)
    write_example(name)
    code, out, err = podium("run", "configs/ensembles/first.yaml", "--dry-run")
    assert (code, "well-formed" in out) == (0, True), err
