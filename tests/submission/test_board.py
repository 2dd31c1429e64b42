"""Cross-validation against leaderboard: correlations, the ranking, and a chart without overlapping numbers."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import stats

from podium.submission import chart
from podium.submission.board import (
    agreement,
    agreement_lines,
    format_score,
    pearson,
    place_among,
    ranks,
    rule_lines,
    short_name,
    spearman,
    standing_lines,
    standings,
)
from podium.submission.ledger import Row

BEGIN = datetime(2026, 3, 1, 9, tzinfo=UTC)


def row(number=0, own=0.97, public=0.96, error=0.003, **values):
    return Row.of(
        **{
            "time": BEGIN + timedelta(hours=13 * number),
            "competition": "cars",
            "file": f"cars_blend__{number}.csv",
            "status": "complete",
            "marker": f"{number:012x}",
            "ref": number,
            "cross_validation": own,
            "standard_error": error,
            "public_score": public,
            **values,
        }
    )


def rows_of(*pairs):
    return [row(number, own, public) for number, (own, public) in enumerate(pairs)]


SOME = [0.90, 0.93, 0.95, 0.94, 0.97, 0.96]
OTHERS = [0.88, 0.93, 0.92, 0.94, 0.95, 0.955]


def test_pearson_and_its_interval_equal_those_of_scipy():
    found = pearson(SOME, OTHERS)
    expected = stats.pearsonr(SOME, OTHERS)
    interval = expected.confidence_interval(0.95)
    assert found.value == pytest.approx(expected.statistic, abs=1e-12)
    assert (found.low, found.high) == (pytest.approx(interval.low, abs=1e-6), pytest.approx(interval.high, abs=1e-6))


def test_spearman_equals_that_of_scipy_also_with_ties():
    for others in (OTHERS, [0.88, 0.93, 0.93, 0.93, 0.95, 0.95]):
        assert spearman(SOME, others).value == pytest.approx(stats.spearmanr(SOME, others).statistic, abs=1e-12)
    assert ranks([0.5, 0.7, 0.5, 0.1]) == [2.5, 4.0, 2.5, 1.0]


def test_fewer_than_three_points_or_constant_scores_have_no_correlation():
    assert pearson([0.1, 0.2], [0.1, 0.2]) is None
    assert spearman([0.1, 0.2], [0.1, 0.2]) is None
    assert pearson([0.1, 0.1, 0.1], [0.1, 0.2, 0.3]) is None
    assert spearman([0.1, 0.2, 0.3], [0.1, 0.1, 0.1]) is None


def test_three_points_are_never_significant():
    found = agreement(rows_of((0.90, 0.91), (0.92, 0.93), (0.94, 0.95)))
    assert found.pearson.value == pytest.approx(1.0)
    assert (found.pearson.low, found.spearman.low) == (None, None)
    assert not found.is_significant


def test_perfect_order_is_significant_from_five_points_on():
    """By chance four points are in order once in 12 times, in either direction, and five once in 60."""
    line = [0.90, 0.92, 0.94, 0.96, 0.98]
    assert not spearman(line[:4], line[:4]).is_significant
    assert spearman(line, line).is_significant
    assert agreement(rows_of(*zip(line, line, strict=True))).is_significant


def test_one_bad_early_submission_is_not_enough_to_be_significant():
    pairs = [(0.20, 0.21), (0.971, 0.960), (0.972, 0.963), (0.973, 0.958), (0.974, 0.961), (0.975, 0.957)]
    found = agreement(rows_of(*pairs))
    assert found.pearson.is_significant
    assert not found.is_significant


def test_gap_is_the_mean_difference_with_its_standard_error():
    found = agreement(rows_of((0.90, 0.89), (0.92, 0.90), (0.94, 0.91)))
    assert found.gap == pytest.approx(-0.02)
    assert found.gap_error == pytest.approx(0.01 / math.sqrt(3))
    assert agreement(rows_of((0.90, 0.89))).gap_error is None


def test_same_content_sent_twice_is_one_point():
    once = row(1, 0.95, 0.94)
    again = once.changed(marker=f"{1:012x} 2", ref=99)
    assert agreement([once, again, row(2, None), row(3, 0.9, None)]).points == 1


def test_text_says_if_there_are_too_few_points():
    assert agreement_lines(agreement([]))[0].endswith("0 submissions with both scores; a correlation needs 3")
    assert agreement_lines(agreement(rows_of((0.9, 0.88)))) == [
        "cross-validation against leaderboard: 1 submission with both scores; a correlation needs 3",
        "leaderboard minus cross-validation: -0.0200 on average",
    ]
    three = agreement_lines(agreement(rows_of((0.90, 0.91), (0.92, 0.90), (0.94, 0.95))))[0]
    assert three == (
        "cross-validation against leaderboard, 3 submissions with both scores: Pearson 0.76, Spearman 0.50; not"
        " significant: an interval needs four"
    )
    flat = agreement_lines(agreement(rows_of((0.90, 0.91), (0.92, 0.91), (0.94, 0.91))))[0]
    assert flat.endswith("3 submissions with both scores; no correlation, since one score is constant")


def test_text_has_the_intervals():
    line = agreement_lines(agreement(rows_of(*zip(SOME, OTHERS, strict=True))))[0]
    assert line == (
        "cross-validation against leaderboard, 6 submissions with both scores: Pearson 0.89 (95 % interval 0.27 to"
        " 0.99), Spearman 0.77 (95 % interval -0.26 to 0.98)"
    )


# Ranking


def test_ranking_is_by_cross_validation_and_differences_within_two_errors_are_ties():
    rows = [row(0, 0.950), row(1, 0.970), row(2, 0.965), row(3, 0.9614)]
    order = standings(rows, higher_is_better=True, use_public=False)
    assert [(one.row.ref, one.rank, one.is_tied) for one in order] == [
        (1, 1, True),
        (2, 1, True),
        (3, 3, False),
        (0, 4, False),
    ]
    assert order[1].two_errors == pytest.approx(2 * math.sqrt(2) * 0.003)


def test_lower_can_be_better():
    order = standings([row(0, 0.30), row(1, 0.20)], higher_is_better=False, use_public=False)
    assert [(one.row.ref, one.rank) for one in order] == [(1, 1), (0, 2)]
    assert order[1].behind == pytest.approx(0.1)


def test_public_scores_break_ties_only_on_request():
    rows = [row(0, 0.970, 0.950), row(1, 0.969, 0.960), row(2, 0.968, None), row(3, 0.900, 0.990)]
    assert [(one.row.ref, one.rank) for one in standings(rows, True, use_public=True)] == [
        (1, 1),
        (0, 2),
        (2, 3),
        (3, 4),
    ]
    assert [(one.row.ref, one.rank) for one in standings(rows, True, use_public=False)] == [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 4),
    ]


def test_without_standard_errors_only_equal_scores_are_tied():
    order = standings([row(0, 0.97, error=None), row(1, 0.9699, error=None), row(2, 0.97, error=None)], True, False)
    assert [(one.row.ref, one.rank) for one in order] == [(0, 1), (2, 1), (1, 3)]


def test_nothing_to_rank():
    assert standings([row(0, None)], True, False) == []


def test_ranking_text_has_the_reasons():
    rows = [row(0, 0.950), row(1, 0.970), row(2, 0.965), row(3, 0.95, error=None)]
    assert standing_lines(standings(rows, True, False)) == [
        "  1=  blend__1  0.9700 ± 0.0030  best",
        "  1=  blend__2  0.9650 ± 0.0030  tie: 0.0050 behind, two standard errors are 0.0085",
        "  3   blend__0  0.9500 ± 0.0030  0.0200 behind, two standard errors are 0.0085",
        "  4   blend__3  0.9500  0.0200 behind, two standard errors are 0.0060",
    ]


def test_rule_says_whether_public_scores_are_used():
    line = [0.90, 0.92, 0.94, 0.96, 0.98]
    proven, unproven = agreement(rows_of(*zip(line, line, strict=True))), agreement(rows_of((0.9, 0.9)))
    assert rule_lines(proven)[1].startswith("leaderboard and cross-validation agree")
    assert rule_lines(unproven)[1].startswith("no significant agreement")
    assert all("two standard errors" in rule_lines(one)[0] for one in (proven, unproven))


def test_place_is_after_all_strictly_better_scores():
    scores = [0.99, 0.98, 0.98, 0.97, None]
    assert [place_among(score, scores, True) for score in (1.0, 0.98, 0.975, 0.1)] == [1, 2, 4, 5]
    assert place_among(0.3, [0.1, 0.2, 0.3], False) == 3
    assert place_among(0.3, [0.1, 0.2, 0.3], None) == 3
    assert place_among(0.3, [0.5], None) == 2
    assert place_among(0.3, [], None) == 1


def test_short_names_and_scores():
    assert short_name(row(4)) == "blend__4"
    assert short_name(row(4, file="submission.csv", kernel="ada/cars", kernel_version=3)) == "ada/cars/3 submission"
    assert short_name(Row.of(competition="cars", ref=17)) == "ref 17"
    assert format_score(row(1, 0.9, error=None)) == "0.9000"
    assert format_score(row(1, None)) == ""


# The chart


def image(path):
    """The pixels of a PNG file."""
    import cv2

    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def many(count, spread=0.02, seed=0):
    random = np.random.default_rng(seed)
    own = 0.95 + spread * random.standard_normal(count)
    public = own - 0.004 + spread / 3 * random.standard_normal(count)
    return [row(number, float(own[number]), float(public[number])) for number in range(count)]


@pytest.fixture
def boxes(monkeypatch):
    """Where the numbers of a chart were placed, and which boxes they had to avoid."""
    seen = []
    original = chart._free_position

    def noted(x, y, half, layers, inside, scale):
        position = original(x, y, half, layers, inside, scale)
        seen.append((chart._around(*position, *half), list(layers[0]), inside))
        return position

    monkeypatch.setattr(chart, "_free_position", noted)
    return seen


@pytest.mark.parametrize("count", [1, 2, 5, 30, 60])
def test_numbers_of_the_chart_overlap_neither_each_other_nor_points(tmp_path, boxes, count):
    rows = many(count)
    chart.draw_board(rows, tmp_path / "board.png", metric="accuracy", higher_is_better=True, best=rows[-1])
    assert len(boxes) == min(count, chart.MOST_NAMED)
    for box, taken, inside in boxes:
        assert chart._is_within(box, inside)
        assert not any(chart._overlap(box, other) for other in taken)
    pixels = image(tmp_path / "board.png")
    assert pixels.shape[1] == 1495
    orange = (pixels == (217, 99, 42)).all(axis=2)
    assert orange.any()


@pytest.mark.parametrize("higher_is_better", [True, False, None])
def test_equal_scores_and_messages_with_any_characters_are_drawn(tmp_path, higher_is_better):
    rows = [
        row(number, 0.5, 0.5, error=None, message=f"$x_{number}$ [red] ночь 夜 🚗 " + "m" * 90) for number in range(4)
    ]
    chart.draw_board(rows, tmp_path / "board.png", metric="", higher_is_better=higher_is_better, best=None)
    assert image(tmp_path / "board.png").mean() > 200
    assert [path.name for path in tmp_path.iterdir()] == ["board.png"]


def test_best_submission_without_public_score_is_not_highlighted(tmp_path):
    chart.draw_board(many(2), tmp_path / "board.png", metric="accuracy", higher_is_better=True, best=row(7, 0.99, None))
    assert not (image(tmp_path / "board.png") == (217, 99, 42)).all(axis=2).any()


def test_same_rows_give_the_same_image(tmp_path):
    for name in ("a.png", "b.png"):
        chart.draw_board(many(5), tmp_path / name, metric="accuracy", higher_is_better=True, best=None)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
