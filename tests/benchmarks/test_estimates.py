"""`make estimates`: how far nested estimates are from hidden scores."""

import pytest

from benchmarks.estimates import Comparison, table, table_of_blends


def test_distance_counts_the_errors_of_both_scores():
    one = Comparison(1, nested=0.80, standard_error=0.03, hidden=0.90, test_rows=56)
    assert one.distance == pytest.approx(-0.10 / (0.03**2 + 0.9 * 0.1 / 56) ** 0.5)


def test_table_counts_the_seeds_within_two_standard_errors():
    far, near = Comparison(1, 0.80, 0.01, 0.90, 1000), Comparison(2, 0.91, 0.01, 0.90, 1000)
    text = table([far, near])
    assert "| 2 | 0.9100 ± 0.0100 | 0.9000 | +0.7 |" in text
    assert text.endswith("1 of 2 within two standard errors; the mean difference is -0.0450.")


def test_ways_to_blend_are_compared_with_the_mean_on_hidden_images():
    def seed(number, mean, ranks):
        scores = {"mean": mean, "mean of ranks": ranks}
        return {name: Comparison(number, score - 0.01, 0.01, score, 1000) for name, score in scores.items()}

    text = table_of_blends([seed(1, 0.80, 0.81), seed(2, 0.90, 0.93)])
    assert "| mean | 0.8400 | 0.8500 |  |" in text
    assert "| mean of ranks | 0.8600 | 0.8700 | +2.00 ± 1.00 |" in text
