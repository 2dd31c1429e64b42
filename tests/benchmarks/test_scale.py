"""`make scale`: every step is measured at two sizes, and the page has the line through both."""

import pytest

from benchmarks import scale


def test_a_million_is_on_the_line_through_both_measurements():
    few, many = {"seconds": 2.0, "most": 500e6}, {"seconds": 11.0, "most": 590e6}
    row = scale.table({"folds": {10_000: few, 100_000: many}}).splitlines()[-1]
    cells = ["2.0 s, 500 MB", "11.0 s, 590 MB", "100 µs, 1,000 bytes", "101 s, 1.5 GB"]
    assert row == f"| splitting into folds | {' | '.join(cells)} |"


def test_pairs_of_a_million_images_are_a_hundred_times_as_many():
    few, many = ({"seconds": 1 + scale.SECONDS_PER_PAIR["check"] * rows**2, "most": 1} for rows in (10_000, 100_000))
    row = scale.table({"check": {10_000: few, 100_000: many}}).splitlines()[-1]
    assert row.endswith(f" {(1 + 20 * 100) / 60:.0f} min, 0.0 GB |")


@pytest.mark.slow
def test_all_steps_are_measured_and_written(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{scale.START}{scale.END}\nafter\n")
    scale.main(["--images", "600", "--root", str(tmp_path), "--out", str(page)])
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "| step | 60 images | 600 images |" in page.read_text()
    assert sum(line.startswith("|") for line in lines) == 2 + len(scale.STEPS)
