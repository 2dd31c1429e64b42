"""Cross-validation against leaderboard: figures that a person can check, and a chart whose numbers do not collide."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import stats

from podium.submission import chart
from podium.submission.board import (
    agreement,
    agreement_lines,
    pearson,
    place_among,
    ranks,
    rule_lines,
    short_name,
    spearman,
    spell_score,
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


def test_pearson_and_its_fisher_interval_are_those_of_scipy():
    found = pearson(SOME, OTHERS)
    expected = stats.pearsonr(SOME, OTHERS)
    interval = expected.confidence_interval(0.95)
    assert found.value == pytest.approx(expected.statistic, abs=1e-12)
    assert (found.low, found.high) == (pytest.approx(interval.low, abs=1e-6), pytest.approx(interval.high, abs=1e-6))


def test_spearman_is_that_of_scipy_also_with_ties():
    for others in (OTHERS, [0.88, 0.93, 0.93, 0.93, 0.95, 0.95]):
        assert spearman(SOME, others).value == pytest.approx(stats.spearmanr(SOME, others).statistic, abs=1e-12)
    assert ranks([0.5, 0.7, 0.5, 0.1]) == [2.5, 4.0, 2.5, 1.0]


def test_fewer_than_three_points_and_scores_that_never_change_give_no_figure():
    assert pearson([0.1, 0.2], [0.1, 0.2]) is None
    assert spearman([0.1, 0.2], [0.1, 0.2]) is None
    assert pearson([0.1, 0.1, 0.1], [0.1, 0.2, 0.3]) is None
    assert spearman([0.1, 0.2, 0.3], [0.1, 0.1, 0.1]) is None


def test_three_points_have_no_interval_and_prove_nothing():
    found = agreement(rows_of((0.90, 0.91), (0.92, 0.93), (0.94, 0.95)))
    assert found.pearson.value == pytest.approx(1.0)
    assert (found.pearson.low, found.spearman.low) == (None, None)
    assert not found.is_proven


def test_four_points_in_order_prove_nothing_and_five_do():
    """By chance four are in order once in 12 times, one way or the other, and five once in 60."""
    line = [0.90, 0.92, 0.94, 0.96, 0.98]
    assert not spearman(line[:4], line[:4]).is_proven
    assert spearman(line, line).is_proven
    assert agreement(rows_of(*zip(line, line, strict=True))).is_proven


def test_one_bad_early_submission_alone_proves_nothing():
    pairs = [(0.20, 0.21), (0.971, 0.960), (0.972, 0.963), (0.973, 0.958), (0.974, 0.961), (0.975, 0.957)]
    found = agreement(rows_of(*pairs))
    assert found.pearson.is_proven
    assert not found.is_proven


def test_the_gap_is_the_mean_difference_with_its_standard_error():
    found = agreement(rows_of((0.90, 0.89), (0.92, 0.90), (0.94, 0.91)))
    assert found.gap == pytest.approx(-0.02)
    assert found.gap_error == pytest.approx(0.01 / math.sqrt(3))
    assert agreement(rows_of((0.90, 0.89))).gap_error is None


def test_the_same_content_sent_twice_is_one_point_and_what_lacks_a_score_none():
    once = row(1, 0.95, 0.94)
    again = once.changed(marker=f"{1:012x} 2", ref=99)
    assert agreement([once, again, row(2, None), row(3, 0.9, None)]).points == 1


def test_words_say_how_few_points_there_are():
    assert agreement_lines(agreement([]))[0].endswith(
        "0 submissions with both scores; fewer than 3 give no correlation"
    )
    assert agreement_lines(agreement(rows_of((0.9, 0.88)))) == [
        "cross-validation against leaderboard: 1 submission with both scores; fewer than 3 give no correlation",
        "the leaderboard less cross-validation: -0.0200 on average",
    ]
    three = agreement_lines(agreement(rows_of((0.90, 0.91), (0.92, 0.90), (0.94, 0.95))))[0]
    assert three == (
        "cross-validation against leaderboard, 3 submissions with both scores: Pearson 0.76, Spearman 0.50; three"
        " points prove nothing, an interval needs four"
    )
    flat = agreement_lines(agreement(rows_of((0.90, 0.91), (0.92, 0.91), (0.94, 0.91))))[0]
    assert flat.endswith("3 submissions with both scores; no correlation, since one score never changes")


def test_figures_come_with_their_intervals():
    line = agreement_lines(agreement(rows_of(*zip(SOME, OTHERS, strict=True))))[0]
    assert line == (
        "cross-validation against leaderboard, 6 submissions with both scores: Pearson 0.89 (95 % interval 0.27 to"
        " 0.99), Spearman 0.77 (95 % interval -0.26 to 0.98)"
    )


# Which to trust


def test_the_best_by_cross_validation_is_first_and_what_two_errors_do_not_part_is_tied():
    rows = [row(0, 0.950), row(1, 0.970), row(2, 0.965), row(3, 0.9614)]
    order = standings(rows, higher_is_better=True, follows=False)
    assert [(one.row.ref, one.rank, one.is_tied) for one in order] == [
        (1, 1, True),
        (2, 1, True),
        (3, 3, False),
        (0, 4, False),
    ]
    assert order[1].two_errors == pytest.approx(2 * math.sqrt(2) * 0.003)


def test_lower_is_better_where_the_metric_says_so():
    order = standings([row(0, 0.30), row(1, 0.20)], higher_is_better=False, follows=False)
    assert [(one.row.ref, one.rank) for one in order] == [(1, 1), (0, 2)]
    assert order[1].behind == pytest.approx(0.1)


def test_public_scores_break_ties_only_where_the_leaderboard_is_proven_to_follow():
    rows = [row(0, 0.970, 0.950), row(1, 0.969, 0.960), row(2, 0.968, None), row(3, 0.900, 0.990)]
    assert [(one.row.ref, one.rank) for one in standings(rows, True, follows=True)] == [(1, 1), (0, 2), (2, 3), (3, 4)]
    assert [(one.row.ref, one.rank) for one in standings(rows, True, follows=False)] == [(0, 1), (1, 1), (2, 1), (3, 4)]


def test_without_standard_errors_nothing_is_tied_but_what_is_equal():
    order = standings([row(0, 0.97, error=None), row(1, 0.9699, error=None), row(2, 0.97, error=None)], True, False)
    assert [(one.row.ref, one.rank) for one in order] == [(0, 1), (2, 1), (1, 3)]


def test_nothing_to_rank_is_no_order():
    assert standings([row(0, None)], True, False) == []


def test_the_order_is_told_with_the_reason():
    rows = [row(0, 0.950), row(1, 0.970), row(2, 0.965), row(3, 0.95, error=None)]
    assert standing_lines(standings(rows, True, False), short_name) == [
        "  1=  blend__1  0.9700 ± 0.0030  the best",
        "  1=  blend__2  0.9650 ± 0.0030  tie: 0.0050 behind, two standard errors are 0.0085",
        "  3   blend__0  0.9500 ± 0.0030  0.0200 behind, two standard errors are 0.0085",
        "  4   blend__3  0.9500  0.0200 behind, two standard errors are 0.0060",
    ]


def test_the_rule_says_whether_the_leaderboard_counts():
    line = [0.90, 0.92, 0.94, 0.96, 0.98]
    proven, unproven = agreement(rows_of(*zip(line, line, strict=True))), agreement(rows_of((0.9, 0.9)))
    assert rule_lines(proven)[1].startswith("the leaderboard is proven to follow")
    assert rule_lines(unproven)[1].startswith("the leaderboard is not proven to follow")
    assert all("two standard errors" in rule_lines(one)[0] for one in (proven, unproven))


def test_a_place_is_after_all_that_are_strictly_better():
    scores = [0.99, 0.98, 0.98, 0.97, None]
    assert [place_among(score, scores, True) for score in (1.0, 0.98, 0.975, 0.1)] == [1, 2, 4, 5]
    assert place_among(0.3, [0.1, 0.2, 0.3], False) == 3
    assert place_among(0.3, [0.1, 0.2, 0.3], None) == 3
    assert place_among(0.3, [0.5], None) == 2
    assert place_among(0.3, [], None) == 1


def test_names_are_short_and_scores_come_with_their_error():
    assert short_name(row(4)) == "blend__4"
    assert short_name(row(4, file="submission.csv", kernel="ada/cars", kernel_version=3)) == "ada/cars/3 submission"
    assert short_name(Row.of(competition="cars", ref=17)) == "ref 17"
    assert spell_score(row(1, 0.9, error=None)) == "0.9000"
    assert spell_score(row(1, None)) == ""


# The chart


def image(path):
    """The pixels of a PNG as matplotlib writes one: 8 bits, RGBA, no interlacing."""
    import cv2

    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def many(count, spread=0.02, seed=0):
    random = np.random.default_rng(seed)
    own = 0.95 + spread * random.standard_normal(count)
    public = own - 0.004 + spread / 3 * random.standard_normal(count)
    return [row(number, float(own[number]), float(public[number])) for number in range(count)]


@pytest.fixture
def boxes(monkeypatch):
    """What a chart's numbers were kept clear of, and where they were put."""
    seen = []
    original = chart._free_spot

    def noted(x, y, half, layers, inside, scale):
        spot = original(x, y, half, layers, inside, scale)
        seen.append((chart._around(*spot, *half), list(layers[0]), inside))
        return spot

    monkeypatch.setattr(chart, "_free_spot", noted)
    return seen


@pytest.mark.parametrize("count", [1, 2, 5, 30, 60])
def test_no_number_of_the_chart_covers_another_or_a_point(tmp_path, boxes, count):
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
def test_scores_that_are_all_equal_and_messages_of_any_letters_are_drawn(tmp_path, higher_is_better):
    rows = [
        row(number, 0.5, 0.5, error=None, message=f"$x_{number}$ [red] ночь 夜 🚗 " + "m" * 90) for number in range(4)
    ]
    chart.draw_board(rows, tmp_path / "board.png", metric="", higher_is_better=higher_is_better, best=None)
    assert image(tmp_path / "board.png").mean() > 200
    assert [path.name for path in tmp_path.iterdir()] == ["board.png"]


def test_a_best_one_that_has_no_public_score_is_not_pointed_at(tmp_path):
    chart.draw_board(many(2), tmp_path / "board.png", metric="accuracy", higher_is_better=True, best=row(7, 0.99, None))
    assert not (image(tmp_path / "board.png") == (217, 99, 42)).all(axis=2).any()


def test_the_same_rows_give_the_same_image(tmp_path):
    for name in ("a.png", "b.png"):
        chart.draw_board(many(5), tmp_path / name, metric="accuracy", higher_is_better=True, best=None)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
