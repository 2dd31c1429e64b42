"""Statistics of detectors compared on the same images."""

import numpy as np
import pytest
from detection_cases import dataset_of, random_case
from test_resampled_precision import BOXES, FOUND

from podium.detection.compare_detectors import METRICS, Detections, compare_detections
from podium.detection.detections import detections_table
from podium.detection.evaluation import evaluate_part
from podium.errors import DataError
from podium.evaluation.statistics import Interval

TEST = dict.fromkeys("abc", "test")


def test_scores_and_differences_equal_hand_computed_values():
    """The second detects nothing on c: at IoU 0.5 it has precision 1 at 51 recalls and 0 at the others."""
    dataset = dataset_of(BOXES, TEST)
    less = [one for one in FOUND if one[0] != "c"]
    result = compare_detections(
        dataset, [Detections(detections_table(FOUND), 0.7), Detections(detections_table(less), 0.75)], resamples=200
    )
    assert result.count == 3
    assert [score.value for score in result.scores] == pytest.approx([(51 + 50 * 2 / 3) / 101, 51 / 101])
    (other,) = result.differences
    assert other.difference.value == pytest.approx(-50 * 2 / 3 / 101)
    assert other.gain == other.difference
    found = other.mcnemar
    assert (found.both_correct, found.only_baseline, found.only_run, found.both_wrong, found.p) == (1, 1, 0, 0, 1)
    ap, iou = result.secondary
    assert [one.metric for one in (ap, iou)] == list(METRICS[1:])
    assert [score.value for score in ap.scores][1] == pytest.approx(51 / 101)
    assert [score.value for score in iou.scores] == pytest.approx([0.9, 1])
    assert iou.differences[0].value == pytest.approx(0.1)
    assert 200 > result.resamples > 180, "one resample in 27 has the image without boxes alone"


def test_hits_need_the_threshold_and_groups_do_not_count():
    dataset = dataset_of([("b", "Boat", 0, 0, 60, 60, True), *BOXES], TEST)
    detectors = [Detections(detections_table(FOUND), threshold) for threshold in (0.9, 0.7)]
    found = compare_detections(dataset, detectors, resamples=50).differences[0].mcnemar
    assert (found.both_correct, found.only_baseline, found.only_run, found.both_wrong) == (1, 0, 1, 0)


def test_run_compared_with_itself_has_no_difference():
    dataset, found = random_case(1)
    result = compare_detections(dataset, [Detections(found, 0.3), Detections(found, 0.3)], resamples=100)
    (other,) = result.differences
    assert (other.difference.value, other.difference.interval, other.p) == (0, Interval(0, 0), 1)
    assert not other.is_significant
    for one in result.secondary:
        assert (one.differences[0].value, one.differences[0].interval, one.p_values) == (0, Interval(0, 0), [1])
    assert result.scores[0].interval.low < result.scores[0].value < result.scores[0].interval.high


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_those_of_the_evaluation(seed):
    dataset, found = random_case(seed)
    evaluated = evaluate_part(dataset, found, "test", threshold=0.4)
    result = compare_detections(dataset, [Detections(found, 0.4)] * 2, resamples=20)
    assert result.scores[0].value == evaluated.ap50
    assert [one.scores[0].value for one in result.secondary] == [evaluated.ap, evaluated.counts.mean_iou]
    assert result.differences[0].mcnemar.both_correct == evaluated.counts.true_positives
    assert result.differences[0].mcnemar.both_wrong == evaluated.counts.false_negatives


def test_more_hits_are_significantly_better():
    names = [f"p{number:03d}" for number in range(120)]
    dataset = dataset_of([(name, "Boat", 0, 0, 10, 10) for name in names], dict.fromkeys(names, "test"))
    all_found = detections_table([(name, "Boat", 0.9, 0, 0, 10, 10) for name in names])
    runs = [Detections(all_found[start:], 0.5) for start in (35, 5, 35)]
    result = compare_detections(dataset, runs, resamples=300)
    assert [score.value for score in result.scores] == pytest.approx([71 / 101, 96 / 101, 71 / 101])  # 85, 115 of 120
    better, same = result.differences
    assert better.is_significant
    assert better.p == 2 / 301
    assert better.holm_p == 4 / 301
    assert (same.is_significant, same.holm_p) == (False, 1)
    assert better.mcnemar.p < 1e-6
    width = result.scores[0].interval.high - result.scores[0].interval.low
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.71 * 0.29 / 120), rel=0.15)


def test_mean_iou_is_undefined_without_hits():
    dataset = dataset_of(BOXES, TEST)
    result = compare_detections(
        dataset, [Detections(detections_table(FOUND), 0.5), Detections(detections_table([]), 0.5)], resamples=50
    )
    assert [one.metric for one in result.secondary] == [METRICS[1]]
    assert result.scores[1].value == 0


def test_images_without_boxes_are_an_error():
    with pytest.raises(DataError, match="these 3 images of boats have no boxes, or too few"):
        compare_detections(dataset_of([], TEST), [Detections(detections_table(FOUND), 0.5)] * 2, resamples=20)


def test_same_seed_gives_the_same_result():
    dataset, found = random_case(2)
    runs = [Detections(found, 0.3), Detections(found[::2], 0.3)]
    assert compare_detections(dataset, runs, resamples=30) == compare_detections(dataset, runs, resamples=30)
    assert compare_detections(dataset, runs, resamples=30) != compare_detections(dataset, runs, resamples=30, seed=1)
