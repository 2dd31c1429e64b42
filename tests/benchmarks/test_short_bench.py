"""The short benchmark has every row. Speed is not asserted, except that nothing is ten times as slow as its peer."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_TIMES_SLOWER = 10
"""Than a peer: in the short benchmark, most of the time is start-up."""
RATES = ("input rate",)
TIMES = ("full stage", "five views", "`podium --help`")
ROWS = (
    *("input rate of the first epoch, as arrays", "input rate of the first epoch, in fit"),
    *("input rate of later epochs, as arrays", "input rate of later epochs, in fit"),
    *("input rate, only decoding and resizing", "frozen stage", *TIMES),
    *("rows: time", "rows: writing and checking", "rows: memory", "training memory"),
)


def run_short(folder, *options):
    words = [sys.executable, "-m", "benchmarks", "--short", *options, "--out", folder, "--keep", folder / "images"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "results.json").read_text())["rows"], (folder / "results.md").read_text()


@pytest.mark.slow
def test_every_measure_writes_its_rows(tmp_path):
    rows, page = run_short(tmp_path)
    for what in ROWS:
        (row,) = [row for row in rows if row["what"].startswith(what)]
        assert math.isfinite(row["ratio"])
        assert row["is_met"] in (True, False)
        if what.startswith(RATES):
            assert row["ratio"] > 1 / MOST_TIMES_SLOWER, what
        if what.startswith(TIMES):
            assert row["ratio"] < MOST_TIMES_SLOWER, what
    assert all(f"| {row['what']} |" in page for row in rows)
    assert "torch is not installed" in page
