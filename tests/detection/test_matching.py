"""Which detection takes which box: small drawings, and pycocotools on random ones."""

import contextlib
import io

import numpy as np
import pytest
from detection_cases import boxset_of, random_case
from sklearn.metrics import f1_score

from podium.detection.average_precision import _coco
from podium.detection.detections import detections_table
from podium.detection.matching import DEFAULT_THRESHOLD, areas, best_threshold, match, overlaps


def matches_of(boxes, found, classes=("Boat",), images=("a", "b")):
    boxset = boxset_of(boxes, dict.fromkeys(images, "test"), classes)
    return match(detections_table(found), boxset.boxes, classes, images)


def told(matches):
    return [
        (float(score), None if np.isnan(iou) else round(float(iou), 4))
        for score, iou in zip(matches.scores, matches.ious, strict=True)
    ]


def test_the_overlap_of_two_boxes_is_what_a_hand_counts():
    # 0    4    8   12        10 x 10 against 10 x 10, moved by 4 to the right and 2 down:
    # +---------+             shared (10 - 4) x (10 - 2) = 48, areas 100 and 100
    # |    +----+----+        IoU 48 / (100 + 100 - 48) = 0.3158
    # +----+----+    |
    #      +---------+
    one, other, apart = (np.array([box], dtype=float) for box in ([0, 0, 10, 10], [4, 2, 14, 12], [10, 0, 20, 10]))
    assert overlaps(one, other).tolist() == [48]
    assert areas(other).tolist() == [100]
    assert overlaps(one, apart).tolist() == [0]


def test_an_iou_of_exactly_a_half_is_a_hit_and_a_little_less_is_none():
    # A box of 10 x 10 and one of 10 x 5 inside it: 50 / 100.
    box = ("a", "Boat", 0, 0, 10, 10)
    assert told(matches_of([box], [("a", "Boat", 0.9, 0, 0, 10, 5)])) == [(0.9, 0.5)]
    assert told(matches_of([box], [("a", "Boat", 0.9, 0, 0, 10, 4.99)])) == [(0.9, None)]


def test_a_box_is_hit_once_and_by_the_highest_score_though_another_lies_nearer():
    #  the box 0..10, high 10; detections: 0.9 at 0..8 (IoU 0.8), 0.7 exactly on it
    found = [("a", "Boat", 0.7, 0, 0, 10, 10), ("a", "Boat", 0.9, 0, 0, 8, 10)]
    assert told(matches_of([("a", "Boat", 0, 0, 10, 10)], found)) == [(0.9, 0.8), (0.7, None)]


def test_who_finds_the_nearest_box_taken_takes_the_next_one():
    #  boxes at 0..10 and 2..12; both detections lie on the first, and overlap the second by 8 / 12
    boxes = [("a", "Boat", 0, 0, 10, 10), ("a", "Boat", 2, 0, 12, 10)]
    found = [("a", "Boat", 0.9, 0, 0, 10, 10), ("a", "Boat", 0.8, 0, 0, 10, 10)]
    assert told(matches_of(boxes, found)) == [(0.9, 1.0), (0.8, 0.6667)]


def test_each_hit_tells_the_row_of_the_box_that_it_took():
    boxes = [("a", "Boat", 0, 0, 40, 10, True), ("b", "Boat", 0, 0, 10, 10), ("a", "Boat", 50, 0, 60, 10)]
    found = [("a", "Boat", 0.9, 50, 0, 60, 10), ("b", "Boat", 0.8, 0, 0, 10, 10), ("a", "Boat", 0.7, 80, 0, 90, 10)]
    assert matches_of(boxes, found).taken.tolist() == [2, 1, -1]


def test_only_boxes_of_the_same_class_on_the_same_image_are_taken():
    boxes = [("a", "Boat", 0, 0, 10, 10)]
    found = [("b", "Boat", 0.9, 0, 0, 10, 10), ("a", "Canoe", 0.8, 0, 0, 10, 10)]
    matches = matches_of(boxes, found, ("Boat", "Canoe"))
    assert told(matches) == [(0.9, None), (0.8, None)]
    assert matches.boxes.tolist() == [1, 0]
    assert matches.is_on_empty.tolist() == [True, False]


def test_what_lies_in_a_group_box_is_left_out_however_much_of_it():
    # +--------------------+   a group of boats, 0..40; two detections of 10 x 10 in it, a third half in it,
    # |  [ ]  [ ]       [ ]|]  a fourth by less than half
    # +--------------------+
    group = ("a", "Boat", 0, 0, 40, 10, True)
    inside = [
        ("a", "Boat", 0.9, 0, 0, 10, 10), ("a", "Boat", 0.8, 12, 0, 22, 10), ("a", "Boat", 0.7, 35, 0, 45, 10),
    ]  # fmt: skip
    matches = matches_of([group], [*inside, ("a", "Boat", 0.6, 36, 0, 46, 10)])
    assert told(matches) == [(0.6, None)]
    assert matches.boxes.tolist() == [0]
    assert not matches.is_on_empty.any(), "an image with a group of boats is not without boats"


def test_an_own_box_comes_before_the_group_it_lies_in():
    boxes = [("a", "Boat", 0, 0, 40, 10, True), ("a", "Boat", 0, 0, 10, 10)]
    found = [("a", "Boat", 0.9, 0, 0, 10, 9), ("a", "Boat", 0.8, 0, 0, 10, 10)]
    assert told(matches_of(boxes, found)) == [(0.9, 0.9)]


def test_a_detection_without_area_hits_nothing():
    boxes = [("a", "Boat", 0, 0, 10, 10), ("a", "Boat", 0, 0, 40, 10, True)]
    assert told(matches_of(boxes, [("a", "Boat", 0.9, 5, 5, 5, 8)])) == [(0.9, None)]


def test_of_many_detections_of_a_class_on_a_image_the_hundred_best_count():
    found = [("a", "Boat", score / 1000, 50, 50, 60, 60) for score in range(150)]
    found += [("a", "Boat", 0.0001, 0, 0, 10, 10), ("b", "Boat", 0.0001, 0, 0, 10, 10)]
    matches = matches_of([("a", "Boat", 0, 0, 10, 10), ("b", "Boat", 0, 0, 10, 10)], found)
    assert len(matches.scores) == 101
    assert told(matches)[-1] == (0.0001, 1.0)
    assert not matches.is_hit[:-1].any()


def test_nothing_found_and_nothing_to_find_is_no_error():
    assert told(matches_of([], [])) == []
    assert matches_of([("a", "Boat", 0, 0, 9, 9)], []).boxes.tolist() == [1]
    assert best_threshold(matches_of([], [])) == DEFAULT_THRESHOLD


# The threshold


def test_the_best_threshold_is_the_one_with_the_best_f1():
    # Two boxes. Scores: 0.9 hit, 0.8 false alarm, 0.7 hit, 0.6 false alarm.
    # F1 = 2 hits / (boxes + detections): 2/3 = 0.67, 2/4 = 0.5, 4/5 = 0.8, 4/6 = 0.67
    boxes = [("a", "Boat", 0, 0, 10, 10), ("b", "Boat", 0, 0, 10, 10)]
    found = [
        ("a", "Boat", 0.9, 0, 0, 10, 10), ("a", "Boat", 0.8, 50, 0, 60, 10),
        ("b", "Boat", 0.7, 0, 0, 10, 10), ("b", "Boat", 0.6, 50, 0, 60, 10),
    ]  # fmt: skip
    assert best_threshold(matches_of(boxes, found)) == 0.7


def test_of_equally_good_thresholds_it_is_the_highest():
    # Two boxes: from 0.9 on 2/3; from 0.5 on, with three false alarms and the second hit, 4/(2 + 4) = 2/3.
    boxes = [("a", "Boat", 0, 0, 10, 10), ("b", "Boat", 0, 0, 10, 10)]
    found = [("a", "Boat", 0.9, 0, 0, 10, 10), ("b", "Boat", 0.5, 0, 0, 10, 10)]
    found += [("b", "Boat", 0.6, 50 + place, 0, 60 + place, 10) for place in range(2)]
    assert best_threshold(matches_of(boxes, found)) == 0.9


def test_equal_scores_come_together_or_not_at_all():
    # The hit alone would have 2/2; with its equal, the false alarm, it is 2/3.
    boxes = [("a", "Boat", 0, 0, 10, 10)]
    found = [("a", "Boat", 0.5, 0, 0, 10, 10), ("b", "Boat", 0.5, 0, 0, 10, 10)]
    assert best_threshold(matches_of(boxes, found)) == 0.5


def test_where_nothing_is_right_the_threshold_is_a_half():
    assert best_threshold(matches_of([("a", "Boat", 0, 0, 9, 9)], [("b", "Boat", 0.9, 0, 0, 9, 9)])) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_has_a_better_f1_by_scikit_learn(seed):
    boxset, found = random_case(seed)
    matches = match(found, boxset.boxes, boxset.classes, boxset.images["id"].tolist())
    missed = int(matches.boxes.sum() - matches.is_hit.sum())
    truth = [*matches.is_hit, *[True] * missed]  # a box that is never hit is a row that is never predicted

    def f1(threshold):
        return f1_score(truth, [*(matches.scores >= threshold), *[False] * missed])

    best = best_threshold(matches)
    assert max(map(f1, np.unique(matches.scores))) == pytest.approx(f1(best))
    assert all(f1(score) < f1(best) for score in np.unique(matches.scores) if score > best)


# As pycocotools


@pytest.mark.parametrize("seed", range(8))
def test_hits_and_what_is_left_out_are_those_of_pycocotools(seed):
    from pycocotools.cocoeval import COCOeval

    boxset, found = random_case(seed, images=40)
    images = boxset.images["id"].tolist()
    matches = match(found, boxset.boxes, boxset.classes, images)
    with contextlib.redirect_stdout(io.StringIO()):
        parts = [_coco(table, boxset.classes, images) for table in (boxset.boxes, found)]
        evaluation = COCOeval(*parts, "bbox")
        evaluation.params.areaRng, evaluation.params.iouThrs = [[0, 1e10]], np.array([0.5])
        evaluation.evaluate()
    theirs = [
        (one["category_id"] - 1, one["image_id"] - 1, score, match > 0)
        for one in evaluation.evalImgs if one
        for score, match, out in zip(one["dtScores"], one["dtMatches"][0], one["dtIgnore"][0], strict=True) if not out
    ]  # fmt: skip
    ours = zip(matches.classes, matches.images, matches.scores, matches.is_hit, strict=True)
    assert sorted((int(a), int(b), float(c), bool(d)) for a, b, c, d in ours) == sorted(
        (int(a), int(b), float(c), bool(d)) for a, b, c, d in theirs
    )
    assert matches.is_hit.sum() > 10
    assert len(matches.scores) < len(found), "some lay in group boxes"
