"""Matching detections with boxes, and the best confidence threshold."""

import numpy as np
import pytest
from detection_cases import dataset_of, random_case
from sklearn.metrics import f1_score

from podium.detection.average_precision import average_precision
from podium.detection.detections import detections_table
from podium.detection.evaluation import DEFAULT_THRESHOLD, best_threshold


def matches_of(boxes, found, classes=("Boat",), images=("a", "b")):
    dataset = dataset_of(boxes, dict.fromkeys(images, "test"), classes)
    return average_precision(detections_table(found), dataset.boxes, classes, images).matches


def described(matches):
    return [
        (float(score), None if np.isnan(iou) else round(float(iou), 4))
        for score, iou in zip(matches.scores, matches.ious, strict=True)
    ]


def test_iou_of_two_boxes_computed_by_hand():
    # 10 x 10 against 10 x 10, moved 4 to the right and 2 down: intersection 8 x 9 = 72 of 100 + 100 - 72
    found = [("a", "Boat", 0.9, 2, 1, 12, 11)]
    assert described(matches_of([("a", "Boat", 0, 0, 10, 10)], found)) == [(0.9, 0.5625)]


def test_iou_of_exactly_a_half_is_a_match():
    # A box of 10 x 10 and one of 10 x 5 inside it: 50 / 100.
    box = ("a", "Boat", 0, 0, 10, 10)
    assert described(matches_of([box], [("a", "Boat", 0.9, 0, 0, 10, 5)])) == [(0.9, 0.5)]
    assert described(matches_of([box], [("a", "Boat", 0.9, 0, 0, 10, 4.99)])) == [(0.9, None)]


def test_box_is_matched_once_by_the_highest_score():
    #  the box 0..10, high 10; detections: 0.9 at 0..8 (IoU 0.8), 0.7 exactly on it
    found = [("a", "Boat", 0.7, 0, 0, 10, 10), ("a", "Boat", 0.9, 0, 0, 8, 10)]
    assert described(matches_of([("a", "Boat", 0, 0, 10, 10)], found)) == [(0.9, 0.8), (0.7, None)]


def test_next_nearest_box_is_matched_if_the_nearest_is_taken():
    #  boxes at 0..10 and 2..12; both detections lie on the first, and overlap the second by 8 / 12
    boxes = [("a", "Boat", 0, 0, 10, 10), ("a", "Boat", 2, 0, 12, 10)]
    found = [("a", "Boat", 0.9, 0, 0, 10, 10), ("a", "Boat", 0.8, 0, 0, 10, 10)]
    assert described(matches_of(boxes, found)) == [(0.9, 1.0), (0.8, 0.6667)]


def test_match_has_the_row_of_its_box():
    boxes = [("a", "Boat", 0, 0, 40, 10, True), ("b", "Boat", 0, 0, 10, 10), ("a", "Boat", 50, 0, 60, 10)]
    found = [("a", "Boat", 0.9, 50, 0, 60, 10), ("b", "Boat", 0.8, 0, 0, 10, 10), ("a", "Boat", 0.7, 80, 0, 90, 10)]
    assert matches_of(boxes, found).matched.tolist() == [2, 1, -1]


def test_only_boxes_of_the_same_class_and_image_are_matched():
    boxes = [("a", "Boat", 0, 0, 10, 10)]
    found = [("b", "Boat", 0.9, 0, 0, 10, 10), ("a", "Canoe", 0.8, 0, 0, 10, 10)]
    matches = matches_of(boxes, found, ("Boat", "Canoe"))
    assert described(matches) == [(0.9, None), (0.8, None)]
    assert matches.boxes.tolist() == [1, 0]
    assert matches.on_empty_image.tolist() == [True, False]


def test_detections_in_a_group_box_are_left_out():
    # +--------------------+   a group of boats, 0..40; two detections of 10 x 10 in it, a third half in it,
    # |  [ ]  [ ]       [ ]|]  a fourth by less than half
    # +--------------------+
    group = ("a", "Boat", 0, 0, 40, 10, True)
    inside = [
        ("a", "Boat", 0.9, 0, 0, 10, 10), ("a", "Boat", 0.8, 12, 0, 22, 10), ("a", "Boat", 0.7, 35, 0, 45, 10),
    ]  # fmt: skip
    matches = matches_of([group], [*inside, ("a", "Boat", 0.6, 36, 0, 46, 10)])
    assert described(matches) == [(0.6, None)]
    assert matches.boxes.tolist() == [0]
    assert not matches.on_empty_image.any(), "an image with a group of boats is not without boats"


def test_single_box_is_matched_before_a_group_box():
    boxes = [("a", "Boat", 0, 0, 40, 10, True), ("a", "Boat", 0, 0, 10, 10)]
    found = [("a", "Boat", 0.9, 0, 0, 10, 9), ("a", "Boat", 0.8, 0, 0, 10, 10)]
    assert described(matches_of(boxes, found)) == [(0.9, 0.9)]


def test_detection_without_area_is_a_false_positive():
    boxes = [("a", "Boat", 0, 0, 10, 10), ("a", "Boat", 0, 0, 40, 10, True)]
    assert described(matches_of(boxes, [("a", "Boat", 0.9, 5, 5, 5, 8)])) == [(0.9, None)]


def test_at_most_100_detections_per_class_and_image_count():
    found = [("a", "Boat", score / 1000, 50, 50, 60, 60) for score in range(150)]
    found += [("a", "Boat", 0.0001, 0, 0, 10, 10), ("b", "Boat", 0.0001, 0, 0, 10, 10)]
    matches = matches_of([("a", "Boat", 0, 0, 10, 10), ("b", "Boat", 0, 0, 10, 10)], found)
    assert len(matches.scores) == 101
    assert described(matches)[-1] == (0.0001, 1.0)
    assert not matches.is_true_positive[:-1].any()


def test_no_detections_and_no_boxes_are_not_an_error():
    assert described(matches_of([], [])) == []
    assert matches_of([("a", "Boat", 0, 0, 9, 9)], []).boxes.tolist() == [1]
    assert best_threshold(matches_of([], [])) == DEFAULT_THRESHOLD


# The threshold


def test_best_threshold_has_the_best_f1():
    # Two boxes. Scores: 0.9 hit, 0.8 false alarm, 0.7 hit, 0.6 false alarm.
    # F1 = 2 hits / (boxes + detections): 2/3 = 0.67, 2/4 = 0.5, 4/5 = 0.8, 4/6 = 0.67
    boxes = [("a", "Boat", 0, 0, 10, 10), ("b", "Boat", 0, 0, 10, 10)]
    found = [
        ("a", "Boat", 0.9, 0, 0, 10, 10), ("a", "Boat", 0.8, 50, 0, 60, 10),
        ("b", "Boat", 0.7, 0, 0, 10, 10), ("b", "Boat", 0.6, 50, 0, 60, 10),
    ]  # fmt: skip
    assert best_threshold(matches_of(boxes, found)) == 0.7


def test_highest_of_equally_good_thresholds_is_chosen():
    # Two boxes: from 0.9 on 2/3; from 0.5 on, with three false alarms and the second hit, 4/(2 + 4) = 2/3.
    boxes = [("a", "Boat", 0, 0, 10, 10), ("b", "Boat", 0, 0, 10, 10)]
    found = [("a", "Boat", 0.9, 0, 0, 10, 10), ("b", "Boat", 0.5, 0, 0, 10, 10)]
    found += [("b", "Boat", 0.6, 50 + place, 0, 60 + place, 10) for place in range(2)]
    assert best_threshold(matches_of(boxes, found)) == 0.9


def test_threshold_does_not_separate_equal_scores():
    # The hit alone would have 2/2; with its equal, the false alarm, it is 2/3.
    boxes = [("a", "Boat", 0, 0, 10, 10)]
    found = [("a", "Boat", 0.5, 0, 0, 10, 10), ("b", "Boat", 0.5, 0, 0, 10, 10)]
    assert best_threshold(matches_of(boxes, found)) == 0.5


def test_default_threshold_without_true_positives():
    assert best_threshold(matches_of([("a", "Boat", 0, 0, 9, 9)], [("b", "Boat", 0.9, 0, 0, 9, 9)])) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_better_f1_by_scikit_learn(seed):
    dataset, found = random_case(seed)
    images = dataset.images["id"].tolist()
    matches = average_precision(found, dataset.boxes, dataset.classes, images).matches
    missed = int(matches.boxes.sum() - matches.is_true_positive.sum())
    truth = [*matches.is_true_positive, *[True] * missed]  # a box that is never hit is a row that is never predicted

    def f1(threshold):
        return f1_score(truth, [*(matches.scores >= threshold), *[False] * missed])

    best = best_threshold(matches)
    assert max(map(f1, np.unique(matches.scores))) == pytest.approx(f1(best))
    assert all(f1(score) < f1(best) for score in np.unique(matches.scores) if score > best)
