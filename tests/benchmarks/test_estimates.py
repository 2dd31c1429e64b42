"""`make estimates`: how far nested estimates are from hidden scores."""

import pytest

from benchmarks.estimates import Comparison, table


def test_distance_counts_the_errors_of_both_scores():
    one = Comparison(1, nested=0.80, standard_error=0.03, hidden=0.90, test_rows=56)
    assert one.distance == pytest.approx(-0.10 / (0.03**2 + 0.9 * 0.1 / 56) ** 0.5)


def test_table_counts_the_seeds_within_two_standard_errors():
    far, near = Comparison(1, 0.80, 0.01, 0.90, 1000), Comparison(2, 0.91, 0.01, 0.90, 1000)
    text = table([far, near])
    assert "| 2 | 0.9100 ± 0.0100 | 0.9000 | +0.7 |" in text
    assert text.endswith("1 of 2 within two standard errors; the mean difference is -0.0450.")
