"""docs/licences.md names every distribution of the lock that podium needs to run."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LINUX = {"sys_platform": "linux", "implementation_name": "cpython", "platform_python_implementation": "CPython"}
ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ; (.+?))? \\\n((?:    .*\n)*)", re.MULTILINE)
"""Of the lock: name, version, marker; then the digests, and as comments what needs it."""


def locked():
    """The versions of each distribution of the lock for Linux, and the names of those that need it."""
    versions, needed_by = {}, {}
    for name, version, marker, more in ENTRY.findall((ROOT / "requirements.txt").read_text()):
        if not marker or any(
            Marker(marker).evaluate(LINUX | {"python_full_version": f"3.{x}.0"}) for x in (11, 12, 13)
        ):
            versions.setdefault(name, set()).add(version)
            needed_by.setdefault(name, set()).update(re.findall(r"# (?:via |  )([a-z0-9-]+)", more))
    return versions, needed_by


def needed_to_run(needed_by):
    """podium's dependencies and theirs, by the comments of the lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    while more := {name for name, parents in needed_by.items() if parents & found} - found:
        found |= more
    return found


@pytest.fixture(scope="module")
def table():
    """The rows of the page: the version and the licence of each distribution."""
    page = (ROOT / "docs" / "licences.md").read_text()
    rows = re.findall(r"^\| ([a-z0-9-]+) \| ([0-9]\S*) \| (.+?) \|", page, re.MULTILINE)
    return {name: (version, licence) for name, version, licence in rows}


def test_the_table_names_every_distribution_that_podium_needs(table):
    versions, needed_by = locked()
    assert len(versions) > 100
    assert set(table) == needed_to_run(needed_by)
    assert {name: version for name, (version, _) in table.items() if version not in versions[name]} == {}
    assert [name for name, (_, licence) in table.items() if licence == "not declared"] == []


def test_a_copyleft_licence_is_named_and_looked_at(table):
    page = (ROOT / "docs" / "licences.md").read_text()
    copyleft = {name for name, (_, licence) in table.items() if re.search("GPL|General Public|MPL|Mozilla", licence)}
    assert copyleft == set(re.findall(r"^- ([a-z0-9-]+): ", page, re.MULTILINE))
    assert "not looked at yet" not in page
