"""The benchmark in its short form: every row is there, and nothing has collapsed. It asserts no speed."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COLLAPSED = 10
"""How many times as slow as a peer podium may be here, where start-up is nearly all that is measured."""
RATES = ("first epoch's input rate", "later epochs' input rate", "input rate with nothing")
TIMES = ("a full stage", "five views", "`podium --help`")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out, keep = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("keep")
    words = [sys.executable, "-m", "benchmarks", "--short", "--out", out, "--keep", keep]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def rows(results):
    return json.loads((results / "results.json").read_text())["rows"]


@pytest.mark.parametrize(
    "what",
    [
        *("first epoch's input rate, as arrays", "first epoch's input rate, as fit is fed"),
        *("later epochs' input rate, as arrays", "later epochs' input rate, as fit is fed"),
        *("input rate with nothing but decode and resize", "frozen stage", *TIMES),
        *("rows: time", "rows: writing and checking", "rows: memory", "training memory"),
    ],
)
def test_every_figure_to_reach_has_its_row_and_a_finite_ratio(rows, what):
    (row,) = [row for row in rows if row["what"].startswith(what)]
    assert math.isfinite(row["ratio"])
    assert row["is_met"] in (True, False)


def test_no_rate_and_no_time_has_collapsed(rows):
    ratios = {row["what"]: row["ratio"] for row in rows}
    for what, ratio in ratios.items():
        if what.startswith(RATES):
            assert ratio > 1 / COLLAPSED, what
        if what.startswith(TIMES):
            assert ratio < COLLAPSED, what


def test_the_page_has_the_table_the_machine_and_what_was_not_measured(results, rows):
    page = (results / "results.md").read_text()
    assert all(f"| {row['what']} |" in page for row in rows)
    assert "- tensorflow: " in page
    assert "torch is not installed" in page
