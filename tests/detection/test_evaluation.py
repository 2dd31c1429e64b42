"""What a detector is worth: figures worked by hand, and those of pycocotools and scikit-learn."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from detection_cases import boxset_of, random_case
from rich.console import Console
from sklearn.metrics import average_precision_score, precision_recall_curve

from podium.detection import matching
from podium.detection.average_precision import RECALLS, average_precision
from podium.detection.detections import detections_table, write_coco_results
from podium.detection.evaluation import choose_threshold, count, evaluate, evaluate_part
from podium.errors import DataError

# Two boxes, four detections, in the order of their scores:
#
#   image a    [Boat] <- 0.9 exactly           hit, IoU 1      precision 1/1, recall 1/2
#   image b    (no box)  0.8                   false alarm     precision 1/2
#   image c    [Boat] <- 0.7, 8 of 10 pixels   hit, IoU 0.8    precision 2/3, recall 2/2
#   image a    beside the box  0.6             false alarm     precision 2/4
BOXES = [("a", "Boat", 0, 0, 10, 10), ("c", "Boat", 0, 0, 10, 10)]
FOUND = [
    ("a", "Boat", 0.9, 0, 0, 10, 10),
    ("b", "Boat", 0.8, 0, 0, 10, 10),
    ("c", "Boat", 0.7, 0, 0, 8, 10),
    ("a", "Boat", 0.6, 40, 40, 50, 50),
]
TEST = dict.fromkeys("abc", "test")


def by_hand(**changes):
    return evaluate_part(boxset_of(BOXES, TEST, **changes), detections_table(FOUND), "test", threshold=0.7)


def test_average_precision_is_what_a_hand_computes():
    part = by_hand()
    # Precision 1 at the recalls 0 … 0.5 (51 of them), 2/3 at the other 50.
    assert part.ap50 == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    # The same at 0.5, 0.55, … 0.8; from 0.85 on only the first is a hit: 1 at 51 recalls, 0 at 50.
    assert part.ap == pytest.approx((7 * (51 + 50 * 2 / 3) + 3 * 51) / 101 / 10)


def test_precision_recall_f1_and_mean_iou_are_what_a_hand_computes():
    counted = by_hand().counted
    assert (counted.boxes, counted.detections, counted.hits) == (2, 3, 2)
    assert (counted.misses, counted.false_alarms) == (0, 1)
    assert counted.precision == pytest.approx(2 / 3)
    assert counted.recall == 1
    assert counted.f1 == pytest.approx(2 * (2 / 3 * 1) / (2 / 3 + 1))
    assert counted.mean_iou == pytest.approx((1 + 0.8) / 2)


def test_what_is_detected_on_images_without_boxes_is_a_false_alarm_and_lowers_ap():
    part = by_hand()
    assert part.images == 3
    assert (part.on_empty.images, part.on_empty.false_alarms, part.on_empty.with_false_alarms) == (1, 1, 1)
    assert part.on_empty.share == 1
    all_of_it = evaluate_part(boxset_of(BOXES, TEST), detections_table(FOUND), "test", threshold=0.6)
    assert all_of_it.on_empty.share == 1 / 2
    without = evaluate_part(boxset_of(BOXES, TEST), detections_table([FOUND[0], *FOUND[2:]]), "test")
    assert without.ap50 == 1 > part.ap50


def test_a_group_box_is_neither_missed_nor_are_detections_in_it_false_alarms():
    boxset = boxset_of([*BOXES, ("b", "Boat", 0, 0, 60, 60, True)], TEST)
    part = evaluate_part(boxset, detections_table(FOUND), "test", threshold=0.6)
    assert (part.counted.boxes, part.counted.detections, part.counted.hits) == (2, 3, 2)
    assert part.classes[0].groups == 1
    assert part.on_empty.images == 0
    assert part.ap50 == 1


def test_a_class_without_boxes_has_no_ap_and_is_left_out_of_the_mean():
    part = by_hand(classes=("Boat", "Canoe"))
    boat, canoe = part.classes
    assert math.isnan(canoe.ap50)
    assert math.isnan(canoe.counted.recall)
    assert math.isnan(canoe.counted.precision)
    assert part.ap50 == boat.ap50
    assert part.notes() == ["test: no box of Canoe: it has no AP, and the mean is over the others"]


def test_a_class_without_boxes_that_is_detected_has_only_false_alarms():
    boxset = boxset_of([*BOXES, ("a", "Canoe", 0, 0, 50, 50, True)], TEST, ("Boat", "Canoe"))
    part = evaluate_part(boxset, detections_table([*FOUND, ("b", "Canoe", 0.9, 0, 0, 5, 5)]), "test", threshold=0.7)
    canoe = part.classes[1]
    assert math.isnan(canoe.ap50)
    assert (canoe.counted.precision, canoe.counted.f1) == (0, 0)
    assert math.isnan(canoe.counted.recall)
    assert part.counted.precision == 2 / 4
    assert "no box of Canoe but group boxes" in part.notes()[0]


def test_a_class_that_is_never_detected_has_an_ap_of_0_that_counts():
    boxset = boxset_of([*BOXES, ("a", "Canoe", 0, 0, 50, 50)], TEST, ("Boat", "Canoe"))
    part = evaluate_part(boxset, detections_table(FOUND), "test", threshold=0.7)
    boat, canoe = part.classes
    assert (canoe.ap50, canoe.ap) == (0, 0)
    assert (canoe.counted.precision, canoe.counted.recall, canoe.counted.f1) == (0, 0, 0)
    assert math.isnan(canoe.counted.mean_iou)
    assert part.ap50 == boat.ap50 / 2
    assert part.notes() == ["test: no box of Canoe is ever hit: its AP is 0"]


def test_no_box_and_no_detection_at_all_are_told_as_unknown_and_not_as_an_error(capsys):
    for boxes, found in (([], []), ([], FOUND), (BOXES, [])):
        part = evaluate_part(boxset_of(boxes, TEST), detections_table(found), "test")
        assert math.isnan(part.ap50) if not boxes else part.ap50 == 0
        assert part.threshold == matching.DEFAULT_THRESHOLD
        assert part.on_empty.false_alarms == (0 if boxes or not found else 4)
    assert capsys.readouterr() == ("", ""), "pycocotools prints, podium does not"


# Against pycocotools and scikit-learn


@pytest.mark.parametrize("seed", range(4))
def test_ap_is_that_of_a_direct_call_of_pycocotools_with_files(seed, tmp_path):
    boxset, found = random_case(seed)
    images = boxset.images["id"].tolist()
    part = evaluate_part(boxset, found, "test")
    theirs = direct_figures(boxset, found, images, tmp_path)
    assert (part.ap, part.ap50) == (pytest.approx(theirs[0], abs=1e-9), pytest.approx(theirs[1], abs=1e-9))
    assert 0.05 < part.ap50 < 0.95


def direct_figures(boxset, found, images, folder):
    """As COCO's own example does: a set and results from files, all figures with their standard settings."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    boxes = boxset.boxes
    truth = {
        "info": {},
        "images": [{"id": number} for number in range(1, len(images) + 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(boxset.classes, 1)],
        "annotations": [
            {
                "id": number, "image_id": images.index(name) + 1, "category_id": boxset.classes.index(kind) + 1,
                "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top),
                "iscrowd": int(group),
            }
            for number, (name, kind, left, top, right, bottom, _, _, group, _) in enumerate(
                boxes.itertuples(index=False), 1
            )
        ],
    }  # fmt: skip
    (folder / "truth.json").write_text(json.dumps(truth))
    write_coco_results(folder / "found.json", found, boxset.classes, images)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "found.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(4))
def test_precision_and_recall_are_those_of_scikit_learn_on_the_matched_flags(seed):
    """scikit-learn knows no boxes that nothing found: its recalls are of those that were ever hit."""
    boxset, found = random_case(seed)
    matches = matching.match(found, boxset.boxes, boxset.classes, boxset.images["id"].tolist())
    precisions, recalls, thresholds = precision_recall_curve(matches.is_hit, matches.scores)
    ever_hit = matches.is_hit.sum() / matches.boxes.sum()
    for precision, recall, threshold in zip(precisions, recalls, thresholds, strict=False):
        counted = count(matches, threshold)
        assert counted.precision == pytest.approx(precision)
        assert counted.recall == pytest.approx(recall * ever_hit)


@pytest.mark.parametrize("seed", range(4))
def test_ap_is_near_scikit_learns_where_all_boxes_are_hit_and_scores_differ(seed):
    """scikit-learn takes each precision as it is, at each hit; COCO the best from there on, at 101 recalls. So COCO's
    is higher where precision rises again. By scikit-learn's precisions and COCO's rule they agree."""
    random = np.random.default_rng(seed)
    rows = [(f"p{number}", "Boat", 0, 0, 10, 10) for number in range(40)]
    scores = random.permutation(80) / 100
    found = [(name, kind, scores[place], *box) for place, (name, kind, *box) in enumerate(rows)]
    found += [(rows[place][0], "Boat", scores[40 + place], 50, 50, 60, 60) for place in range(40)]
    boxset, table = boxset_of(rows, dict.fromkeys((row[0] for row in rows), "test")), detections_table(found)
    images = boxset.images["id"].tolist()
    matches = matching.match(table, boxset.boxes, boxset.classes, images)
    own = average_precision(table, boxset.boxes, boxset.classes, images).ap50[0]
    plain = average_precision_score(matches.is_hit, matches.scores)
    assert plain < own < plain + 0.1
    precisions, recalls, _ = precision_recall_curve(matches.is_hit, matches.scores)
    best = [precisions[:-1][recalls[:-1] >= recall].max() for recall in RECALLS]
    assert own == pytest.approx(np.mean(best), abs=1e-9)


# Parts and thresholds

PARTS = {"a": "train", "b": "train", "c": "validation", "d": "test", "e": "test"}
IN_PARTS = [(name, "Boat", 0, 0, 10, 10) for name in "abcd"]
FOUND_IN_PARTS = [
    ("a", "Boat", 0.9, 0, 0, 10, 10), ("b", "Boat", 0.8, 0, 0, 10, 10), ("c", "Boat", 0.6, 0, 0, 10, 10),
    ("c", "Boat", 0.5, 50, 50, 60, 60), ("d", "Boat", 0.55, 0, 0, 10, 10), ("e", "Boat", 0.7, 0, 0, 10, 10),
]  # fmt: skip


def test_the_threshold_is_chosen_on_validation_and_holds_for_all_parts():
    boxset, found = boxset_of(IN_PARTS, PARTS), detections_table(FOUND_IN_PARTS)
    assert choose_threshold(boxset, found) == 0.6
    figures = evaluate(boxset, found)
    assert [part.part for part in figures.parts] == ["train", "validation", "test"]
    assert {part.threshold for part in figures.parts} == {figures.threshold} == {0.6}
    assert [part.counted.f1 for part in figures.parts] == [1, 1, 0]
    # On test 0.7 on the empty image comes before the hit: precision 1/2 at every recall.
    assert [part.ap50 for part in figures.parts] == pytest.approx([1, 1, 0.5])
    assert figures.part("test").on_empty.false_alarms == 1
    assert evaluate(boxset, found, threshold=0.5).part("test").counted.f1 == pytest.approx(2 / 3)


def test_a_part_alone_has_its_own_best_threshold():
    boxset, found = boxset_of(IN_PARTS, PARTS), detections_table(FOUND_IN_PARTS)
    assert evaluate_part(boxset, found, "test").threshold == 0.55


def test_parts_without_images_are_left_out_and_none_at_all_is_an_error():
    boxset, found = boxset_of(BOXES, TEST), detections_table(FOUND)
    assert [part.part for part in evaluate(boxset, found).parts] == ["test"]
    with pytest.raises(DataError, match="The set boats has no image in train; expected at least one"):
        evaluate(boxset, found, parts=["train"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("z", "Boat", 0.5, 0, 0, 1, 1), r"1 detections are of an image that the set boats lacks \(first: 'z'\)"),
        (("a", "Ship", 0.5, 0, 0, 1, 1), r"1 detections are of a class that the set boats lacks \(first: 'Ship'\)"),
    ],
)
def test_what_was_detected_by_another_detector_is_an_error(row, message):
    with pytest.raises(DataError, match=message):
        evaluate(boxset_of(BOXES, TEST), detections_table([*FOUND, row]))


# As JSON and as a table


def test_all_figures_are_json_and_unknown_ones_are_null():
    content = evaluate(boxset_of(BOXES, TEST, ("Boat", "Canoe")), detections_table(FOUND), 0.7).to_json()
    again = json.loads(json.dumps(content, allow_nan=False))
    test = again["parts"]["test"]
    assert (again["threshold"], test["images"], test["boxes"], test["hits"]) == (0.7, 3, 2, 2)
    assert test["classes"]["Canoe"]["ap50"] is None
    assert test["classes"]["Boat"]["f1"] == pytest.approx(0.8)
    assert test["on_images_without_boxes"] == {
        "images": 1, "false_alarms": 1, "with_false_alarms": 1, "share_of_false_alarms": 1.0,
    }  # fmt: skip


def lines(table, width=100):
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_parts_stand_beside_each_other():
    figures = evaluate(boxset_of(IN_PARTS, PARTS, ("Boat", "Canoe")), detections_table(FOUND_IN_PARTS))
    told = lines(figures.table())
    assert told[0].split() == ["train", "validation", "test"]
    assert told[1].split() == ["AP@0.5", "1.000", "1.000", "0.500"]
    assert told[3].split() == ["from", "score", "0.600", "on:", "precision", "1.000", "1.000", "0.000"]
    assert told[6].split() == ["mean", "IoU", "of", "hits", "1.000", "1.000", "–"]
    assert told[10].split()[-4:] == ["0", "0", "1", "(100%)"]
    by_class = lines(figures.class_table())
    assert by_class[1].split() == ["class"] + 3 * ["train", "validation", "test"]
    assert by_class[2].split()[:7] == ["Boat", "1.000", "1.000", "0.500", "1.000", "1.000", "0.000"]
    assert by_class[3].split()[:2] == ["Canoe", "–"]
    assert len(by_class) == 4
