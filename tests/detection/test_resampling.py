"""AP of resampled images: worked by hand, and against what pycocotools says of the same images written out."""

import numpy as np
import pandas as pd
import pytest
from detection_cases import boxset_of, random_case

from podium.detection.average_precision import average_precision
from podium.detection.detections import detections_table
from podium.detection.evaluation import evaluate_part
from podium.detection.resampling import average_precision_of

# Images a, b, c; b has no box. By score: 0.9 a hit on a; 0.8 a false alarm on b; 0.7 a hit on c, of IoU 0.8; 0.6 a
# false alarm on a.
BOXES = [("a", "Boat", 0, 0, 10, 10), ("c", "Boat", 0, 0, 10, 10)]
FOUND = [
    ("a", "Boat", 0.9, 0, 0, 10, 10), ("b", "Boat", 0.8, 0, 0, 10, 10), ("c", "Boat", 0.7, 0, 0, 8, 10),
    ("a", "Boat", 0.6, 40, 40, 50, 50),
]  # fmt: skip


def judged(boxes, found, classes=("Boat",), images="abc"):
    boxset = boxset_of(boxes, dict.fromkeys(images, "test"), classes)
    return average_precision(detections_table(found), boxset.boxes, classes, list(images)).judged


def resampled(*times, boxes=BOXES, found=FOUND, classes=("Boat",)):
    return average_precision_of(np.array(times), judged(boxes, found, classes))


def test_it_is_what_a_hand_computes():
    again = resampled([1, 1, 1], [2, 0, 1], [0, 1, 2])
    # As in test_evaluation; a twice and no b: three boxes, three hits before any false alarm; no a: first the false
    # alarm, then both boxes of c, so 2/3 at every recall.
    assert again.ap50 == pytest.approx([(51 + 50 * 2 / 3) / 101, 1, 2 / 3])
    # From IoU 0.85 on c is never hit: of three boxes two are, so 67 of the 101 recalls are reached.
    assert again.ap == pytest.approx([(7 * (51 + 50 * 2 / 3) + 3 * 51) / 1010, (7 + 3 * 67 / 101) / 10, 0.7 * 2 / 3])


def test_a_resample_without_any_box_has_no_ap():
    again = resampled([0, 3, 0], [1, 1, 1])
    assert np.isnan(again.ap50).tolist() == np.isnan(again.ap).tolist() == [True, False]


def test_a_class_counts_where_a_resample_has_a_box_of_it():
    again = resampled([0, 1, 2], [1, 0, 2], boxes=[*BOXES, ("a", "Canoe", 0, 0, 9, 9)], classes=("Boat", "Canoe"))
    assert again.ap50 == pytest.approx([2 / 3, (1 + 0) / 2])  # the canoe is never found


def test_nothing_found_is_0():
    again = resampled([1, 1, 1], found=[])
    assert (again.ap50.tolist(), again.ap.tolist()) == ([0], [0])


@pytest.mark.parametrize("seed", range(6))
def test_with_each_image_once_it_is_the_figure_that_an_evaluation_tells(seed):
    boxset, found = random_case(seed)
    images = boxset.images["id"].tolist()
    worth = average_precision(found, boxset.boxes, boxset.classes, images)
    again = average_precision_of(np.ones((1, len(images)), dtype=int), worth.judged)
    told = evaluate_part(boxset, found, "test")
    assert again.ap50[0] == pytest.approx(told.ap50, abs=1e-12)
    assert again.ap[0] == pytest.approx(told.ap, abs=1e-12)
    assert 0.05 < told.ap50 < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_it_is_pycocotools_figure_of_the_drawn_images_as_copies(seed):
    boxset, found = random_case(seed, images=12)
    # Of equal scores on one image the copies of the first would all come before those of the second.
    random = np.random.default_rng(seed)
    found = found.assign(score=random.permutation(len(found)) / len(found))
    images = boxset.images["id"].tolist()
    worth = average_precision(found, boxset.boxes, boxset.classes, images)
    times = random.multinomial(12, np.full(12, 1 / 12), 5)
    again = average_precision_of(times, worth.judged)
    for number, each in enumerate(times):
        copies = [(name, f"{name}-{copy}") for name, count in zip(images, each, strict=True) for copy in range(count)]
        tables = [copied(table, copies) for table in (found, boxset.boxes)]
        theirs = average_precision(*tables, boxset.classes, [copy for _, copy in copies])
        assert again.ap50[number] == pytest.approx(np.nanmean(theirs.ap50), abs=1e-12)
        assert again.ap[number] == pytest.approx(np.nanmean(theirs.ap), abs=1e-12)


def copied(table, copies):
    return pd.concat([table[table["id"] == name].assign(id=copy) for name, copy in copies], ignore_index=True)
