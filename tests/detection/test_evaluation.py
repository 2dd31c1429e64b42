"""Metrics computed by hand, and compared with pycocotools and scikit-learn."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from detection_cases import dataset_of, random_case
from rich.console import Console
from sklearn.metrics import average_precision_score, precision_recall_curve

from podium.detection.average_precision import RECALLS, average_precision
from podium.detection.detections import detections_table, write_coco_results
from podium.detection.evaluation import DEFAULT_THRESHOLD, count_matches, evaluate, evaluate_part
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


def matches_of(dataset, found):
    return average_precision(found, dataset.boxes, dataset.classes, dataset.images["id"].tolist()).matches


def by_hand(**changes):
    return evaluate_part(dataset_of(BOXES, TEST, **changes), detections_table(FOUND), "test", threshold=0.7)


def test_average_precision_computed_by_hand():
    part = by_hand()
    # Precision 1 at the recalls 0 … 0.5 (51 of them), 2/3 at the other 50.
    assert part.ap50 == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    # The same at 0.5, 0.55, … 0.8; from 0.85 on only the first is a hit: 1 at 51 recalls, 0 at 50.
    assert part.ap == pytest.approx((7 * (51 + 50 * 2 / 3) + 3 * 51) / 101 / 10)


def test_precision_recall_f1_and_mean_iou_computed_by_hand():
    counted = by_hand().counts
    assert (counted.boxes, counted.detections, counted.true_positives) == (2, 3, 2)
    assert (counted.false_negatives, counted.false_positives) == (0, 1)
    assert counted.precision == pytest.approx(2 / 3)
    assert counted.recall == 1
    assert counted.f1 == pytest.approx(2 * (2 / 3 * 1) / (2 / 3 + 1))
    assert counted.mean_iou == pytest.approx((1 + 0.8) / 2)


def test_detections_on_images_without_boxes_are_false_positives_and_lower_ap():
    part = by_hand()
    assert part.images == 3
    assert (
        part.empty_images.images,
        part.empty_images.false_positives,
        part.empty_images.images_with_false_positives,
    ) == (
        1,
        1,
        1,
    )
    assert part.empty_images.share == 1
    all_of_it = evaluate_part(dataset_of(BOXES, TEST), detections_table(FOUND), "test", threshold=0.6)
    assert all_of_it.empty_images.share == 1 / 2
    without = evaluate_part(dataset_of(BOXES, TEST), detections_table([FOUND[0], *FOUND[2:]]), "test")
    assert without.ap50 == 1 > part.ap50


def test_group_boxes_and_detections_in_them_are_ignored():
    dataset = dataset_of([*BOXES, ("b", "Boat", 0, 0, 60, 60, True)], TEST)
    part = evaluate_part(dataset, detections_table(FOUND), "test", threshold=0.6)
    assert (part.counts.boxes, part.counts.detections, part.counts.true_positives) == (2, 3, 2)
    assert part.classes[0].group_boxes == 1
    assert part.empty_images.images == 0
    assert part.ap50 == 1


def test_class_without_boxes_has_no_ap_and_is_not_averaged():
    part = by_hand(classes=("Boat", "Canoe"))
    boat, canoe = part.classes
    assert math.isnan(canoe.ap50)
    assert math.isnan(canoe.counts.recall)
    assert math.isnan(canoe.counts.precision)
    assert part.ap50 == boat.ap50
    assert part.notes() == ["test: Canoe has no box, so its AP is undefined and not averaged"]


def test_detected_class_without_boxes_has_false_positives_only():
    dataset = dataset_of([*BOXES, ("a", "Canoe", 0, 0, 50, 50, True)], TEST, ("Boat", "Canoe"))
    part = evaluate_part(dataset, detections_table([*FOUND, ("b", "Canoe", 0.9, 0, 0, 5, 5)]), "test", threshold=0.7)
    canoe = part.classes[1]
    assert math.isnan(canoe.ap50)
    assert (canoe.counts.precision, canoe.counts.f1) == (0, 0)
    assert math.isnan(canoe.counts.recall)
    assert part.counts.precision == 2 / 4
    assert "Canoe has no box except group boxes" in part.notes()[0]


def test_undetected_class_has_an_ap_of_0():
    dataset = dataset_of([*BOXES, ("a", "Canoe", 0, 0, 50, 50)], TEST, ("Boat", "Canoe"))
    part = evaluate_part(dataset, detections_table(FOUND), "test", threshold=0.7)
    boat, canoe = part.classes
    assert (canoe.ap50, canoe.ap) == (0, 0)
    assert (canoe.counts.precision, canoe.counts.recall, canoe.counts.f1) == (0, 0, 0)
    assert math.isnan(canoe.counts.mean_iou)
    assert part.ap50 == boat.ap50 / 2
    assert part.notes() == ["test: no box of Canoe was detected, so its AP is 0"]


def test_no_boxes_or_no_detections_are_not_an_error(capsys):
    for boxes, found in (([], []), ([], FOUND), (BOXES, [])):
        part = evaluate_part(dataset_of(boxes, TEST), detections_table(found), "test")
        assert math.isnan(part.ap50) if not boxes else part.ap50 == 0
        assert part.threshold == DEFAULT_THRESHOLD
        assert part.empty_images.false_positives == (0 if boxes or not found else 4)
    assert capsys.readouterr() == ("", ""), "pycocotools prints, podium does not"


# Against pycocotools and scikit-learn


@pytest.mark.parametrize("seed", range(4))
def test_ap_equals_pycocotools_with_files(seed, tmp_path):
    dataset, found = random_case(seed)
    images = dataset.images["id"].tolist()
    part = evaluate_part(dataset, found, "test")
    theirs = direct_figures(dataset, found, images, tmp_path)
    assert (part.ap, part.ap50) == (pytest.approx(theirs[0], abs=1e-9), pytest.approx(theirs[1], abs=1e-9))
    assert 0.05 < part.ap50 < 0.95


def direct_figures(dataset, found, images, folder):
    """As COCO's own example does: a set and results from files, all figures with their standard settings."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    boxes = dataset.boxes
    truth = {
        "info": {},
        "images": [{"id": number} for number in range(1, len(images) + 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(dataset.classes, 1)],
        "annotations": [
            {
                "id": number, "image_id": images.index(name) + 1, "category_id": dataset.classes.index(kind) + 1,
                "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top),
                "iscrowd": int(group),
            }
            for number, (name, kind, left, top, right, bottom, _, _, group, _) in enumerate(
                boxes.itertuples(index=False), 1
            )
        ],
    }  # fmt: skip
    (folder / "truth.json").write_text(json.dumps(truth))
    write_coco_results(folder / "found.json", found, dataset.classes, images)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "found.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(4))
def test_precision_and_recall_equal_scikit_learn(seed):
    """scikit-learn knows no boxes that nothing found: its recalls are of those that were ever hit."""
    dataset, found = random_case(seed)
    matches = matches_of(dataset, found)
    precisions, recalls, thresholds = precision_recall_curve(matches.is_true_positive, matches.scores)
    ever_hit = matches.is_true_positive.sum() / matches.boxes.sum()
    for precision, recall, threshold in zip(precisions, recalls, thresholds, strict=False):
        counted = count_matches(matches, threshold)
        assert counted.precision == pytest.approx(precision)
        assert counted.recall == pytest.approx(recall * ever_hit)


@pytest.mark.parametrize("seed", range(4))
def test_ap_with_coco_interpolation_equals_scikit_learn_precisions(seed):
    """scikit-learn takes each precision as it is, at each hit; COCO the best from there on, at 101 recalls. So COCO's
    is higher where precision rises again. By scikit-learn's precisions and COCO's rule they agree."""
    random = np.random.default_rng(seed)
    rows = [(f"p{number}", "Boat", 0, 0, 10, 10) for number in range(40)]
    scores = random.permutation(80) / 100
    found = [(name, kind, scores[place], *box) for place, (name, kind, *box) in enumerate(rows)]
    found += [(rows[place][0], "Boat", scores[40 + place], 50, 50, 60, 60) for place in range(40)]
    dataset, table = dataset_of(rows, dict.fromkeys((row[0] for row in rows), "test")), detections_table(found)
    images = dataset.images["id"].tolist()
    result = average_precision(table, dataset.boxes, dataset.classes, images)
    matches, own = result.matches, result.ap50[0]
    plain = average_precision_score(matches.is_true_positive, matches.scores)
    assert plain < own < plain + 0.1
    precisions, recalls, _ = precision_recall_curve(matches.is_true_positive, matches.scores)
    best = [precisions[:-1][recalls[:-1] >= recall].max() for recall in RECALLS]
    assert own == pytest.approx(np.mean(best), abs=1e-9)


# Parts and thresholds

PARTS = {"a": "train", "b": "train", "c": "validation", "d": "test", "e": "test"}
IN_PARTS = [(name, "Boat", 0, 0, 10, 10) for name in "abcd"]
FOUND_IN_PARTS = [
    ("a", "Boat", 0.9, 0, 0, 10, 10), ("b", "Boat", 0.8, 0, 0, 10, 10), ("c", "Boat", 0.6, 0, 0, 10, 10),
    ("c", "Boat", 0.5, 50, 50, 60, 60), ("d", "Boat", 0.55, 0, 0, 10, 10), ("e", "Boat", 0.7, 0, 0, 10, 10),
]  # fmt: skip


def test_threshold_is_chosen_on_validation_for_all_parts():
    dataset, found = dataset_of(IN_PARTS, PARTS), detections_table(FOUND_IN_PARTS)
    figures = evaluate(dataset, found)
    assert [part.part for part in figures.parts] == ["train", "validation", "test"]
    assert {part.threshold for part in figures.parts} == {figures.threshold} == {0.6}
    assert [part.counts.f1 for part in figures.parts] == [1, 1, 0]
    # On test 0.7 on the empty image comes before the hit: precision 1/2 at every recall.
    assert [part.ap50 for part in figures.parts] == pytest.approx([1, 1, 0.5])
    assert figures.part("test").empty_images.false_positives == 1
    assert evaluate(dataset, found, threshold=0.5).part("test").counts.f1 == pytest.approx(2 / 3)


def test_single_part_has_its_own_best_threshold():
    dataset, found = dataset_of(IN_PARTS, PARTS), detections_table(FOUND_IN_PARTS)
    assert evaluate_part(dataset, found, "test").threshold == 0.55


def test_parts_without_images_are_left_out():
    dataset, found = dataset_of(BOXES, TEST), detections_table(FOUND)
    assert [part.part for part in evaluate(dataset, found).parts] == ["test"]
    with pytest.raises(DataError, match="the dataset boats has no image in train; choose another --part"):
        evaluate(dataset, found, parts=["train"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("z", "Boat", 0.5, 0, 0, 1, 1), r"1 detections have an image that is not in the dataset boats \(first: 'z'\)"),
        (
            ("a", "Ship", 0.5, 0, 0, 1, 1),
            r"have a class that is not in the dataset boats \(first: 'Ship'\)",
        ),
    ],
)
def test_detections_of_another_dataset_are_reported(row, message):
    with pytest.raises(DataError, match=message):
        evaluate(dataset_of(BOXES, TEST), detections_table([*FOUND, row]))


# As JSON and as a table


def test_metrics_as_json_with_null_for_nan():
    content = evaluate(dataset_of(BOXES, TEST, ("Boat", "Canoe")), detections_table(FOUND), 0.7).to_json()
    again = json.loads(json.dumps(content, allow_nan=False))
    test = again["parts"]["test"]
    assert (again["threshold"], test["images"], test["boxes"], test["true_positives"]) == (0.7, 3, 2, 2)
    assert test["classes"]["Canoe"]["ap50"] is None
    assert test["classes"]["Boat"]["f1"] == pytest.approx(0.8)
    assert test["images_without_boxes"] == {
        "images": 1, "false_positives": 1, "images_with_false_positives": 1, "share_of_false_positives": 1.0,
    }  # fmt: skip


def lines(table, width=100):
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_table_has_a_column_per_part():
    figures = evaluate(dataset_of(IN_PARTS, PARTS, ("Boat", "Canoe")), detections_table(FOUND_IN_PARTS))
    message = lines(figures.table())
    assert message[0].split() == ["train", "validation", "test"]
    assert message[1].split() == ["AP@0.5", "1.000", "1.000", "0.500"]
    assert message[3].split() == ["at", "score", ">=", "0.600:", "precision", "1.000", "1.000", "0.000"]
    assert message[6].split() == ["mean", "IoU", "of", "true", "positives", "1.000", "1.000", "–"]
    assert message[9].split()[-4:] == ["0", "0", "1", "(100%)"]
    by_class = lines(figures.class_table())
    assert by_class[1].split() == ["class"] + 3 * ["train", "validation", "test"]
    assert by_class[2].split()[:7] == ["Boat", "1.000", "1.000", "0.500", "1.000", "1.000", "0.000"]
    assert by_class[3].split()[:2] == ["Canoe", "–"]
    assert len(by_class) == 4
