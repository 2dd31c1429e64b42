"""Detectors compared on the same images: by hand, and by what must hold whatever they found."""

import numpy as np
import pytest
from detection_cases import boxset_of, random_case
from test_resampling import BOXES, FOUND

from podium.detection.comparing import METRICS, Detections, compare
from podium.detection.detections import detections_table
from podium.detection.evaluation import evaluate_part
from podium.errors import DataError
from podium.evaluation.statistics import Interval

TEST = dict.fromkeys("abc", "test")


def test_figures_and_differences_are_what_a_hand_computes():
    """The second finds nothing on c; so at IoU 0.5 it has precision 1 at 51 recalls and 0 at the others."""
    boxset = boxset_of(BOXES, TEST)
    less = [one for one in FOUND if one[0] != "c"]
    result = compare(
        boxset, [Detections(detections_table(FOUND), 0.7), Detections(detections_table(less), 0.75)], rounds=200
    )
    assert result.rows == 3
    assert [score.value for score in result.scores] == pytest.approx([(51 + 50 * 2 / 3) / 101, 51 / 101])
    (other,) = result.others
    assert other.difference.value == pytest.approx(-50 * 2 / 3 / 101)
    assert other.gain == other.difference
    found = other.mcnemar
    assert (found.both_right, found.only_first, found.only_other, found.both_wrong, found.p) == (1, 1, 0, 0, 1)
    ap, iou = result.beside
    assert [one.name for one in (ap, iou)] == list(METRICS[1:])
    assert [score.value for score in ap.scores][1] == pytest.approx(51 / 101)
    assert [score.value for score in iou.scores] == pytest.approx([0.9, 1])
    assert iou.differences[0].value == pytest.approx(0.1)
    assert 200 > result.rounds > 180, "one resample in 27 has the image without boxes alone"


def test_a_box_counts_as_hit_from_the_threshold_on_and_group_boxes_not_at_all():
    boxset = boxset_of([("b", "Boat", 0, 0, 60, 60, True), *BOXES], TEST)
    detectors = [Detections(detections_table(FOUND), threshold) for threshold in (0.9, 0.7)]
    found = compare(boxset, detectors, rounds=50).others[0].mcnemar
    assert (found.both_right, found.only_first, found.only_other, found.both_wrong) == (1, 0, 1, 0)


def test_a_run_against_itself_differs_in_nothing_in_no_resample():
    boxset, found = random_case(1)
    result = compare(boxset, [Detections(found, 0.3), Detections(found, 0.3)], rounds=100)
    (other,) = result.others
    assert (other.difference.value, other.difference.interval, other.p) == (0, Interval(0, 0), 1)
    assert not other.is_proven
    for one in result.beside:
        assert (one.differences[0].value, one.differences[0].interval, one.chances) == (0, Interval(0, 0), [1])
    assert result.scores[0].interval.low < result.scores[0].value < result.scores[0].interval.high


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_is_that_of_an_evaluation(seed):
    boxset, found = random_case(seed)
    told = evaluate_part(boxset, found, "test", threshold=0.4)
    result = compare(boxset, [Detections(found, 0.4)] * 2, rounds=20)
    assert result.scores[0].value == told.ap50
    assert [one.scores[0].value for one in result.beside] == [told.ap, told.counted.mean_iou]
    assert result.others[0].mcnemar.both_right == told.counted.hits
    assert result.others[0].mcnemar.both_wrong == told.counted.misses


def test_what_is_found_in_more_images_is_better_and_proven():
    names = [f"p{number:03d}" for number in range(120)]
    boxset = boxset_of([(name, "Boat", 0, 0, 10, 10) for name in names], dict.fromkeys(names, "test"))
    all_found = detections_table([(name, "Boat", 0.9, 0, 0, 10, 10) for name in names])
    runs = [Detections(all_found[start:], 0.5) for start in (35, 5, 35)]
    result = compare(boxset, runs, rounds=300)
    assert [score.value for score in result.scores] == pytest.approx([71 / 101, 96 / 101, 71 / 101])  # 85, 115 of 120
    better, same = result.others
    assert better.is_proven
    assert better.p == 2 / 301
    assert better.holm == 4 / 301
    assert (same.is_proven, same.holm) == (False, 1)
    assert better.mcnemar.p < 1e-6
    width = result.scores[0].interval.high - result.scores[0].interval.low
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.71 * 0.29 / 120), rel=0.15)


def test_without_a_hit_there_is_no_mean_iou_to_tell():
    boxset = boxset_of(BOXES, TEST)
    result = compare(
        boxset, [Detections(detections_table(FOUND), 0.5), Detections(detections_table([]), 0.5)], rounds=50
    )
    assert [one.name for one in result.beside] == [METRICS[1]]
    assert result.scores[1].value == 0


def test_images_without_any_box_are_one_line():
    with pytest.raises(DataError, match="these 3 images of boats have no boxes, or too few"):
        compare(boxset_of([], TEST), [Detections(detections_table(FOUND), 0.5)] * 2, rounds=20)


def test_the_same_seed_gives_the_same_figures():
    boxset, found = random_case(2)
    runs = [Detections(found, 0.3), Detections(found[::2], 0.3)]
    assert compare(boxset, runs, rounds=30) == compare(boxset, runs, rounds=30)
    assert compare(boxset, runs, rounds=30) != compare(boxset, runs, rounds=30, seed=1)
