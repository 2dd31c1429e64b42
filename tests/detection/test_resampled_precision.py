"""AP of resampled images: computed by hand, and compared with pycocotools on copies of the images."""

import numpy as np
import pandas as pd
import pytest
from detection_cases import dataset_of, random_case

from podium.detection.average_precision import average_precision, resampled_average_precision
from podium.detection.detections import detections_table
from podium.detection.evaluation import evaluate_part

# Images a, b, c; b has no box. By score: 0.9 a hit on a; 0.8 a false alarm on b; 0.7 a hit on c, of IoU 0.8; 0.6 a
# false alarm on a.
BOXES = [("a", "Boat", 0, 0, 10, 10), ("c", "Boat", 0, 0, 10, 10)]
FOUND = [
    ("a", "Boat", 0.9, 0, 0, 10, 10), ("b", "Boat", 0.8, 0, 0, 10, 10), ("c", "Boat", 0.7, 0, 0, 8, 10),
    ("a", "Boat", 0.6, 40, 40, 50, 50),
]  # fmt: skip


def class_detections(boxes, found, classes=("Boat",), images="abc"):
    dataset = dataset_of(boxes, dict.fromkeys(images, "test"), classes)
    return average_precision(detections_table(found), dataset.boxes, classes, list(images)).detections


def resampled(*times, boxes=BOXES, found=FOUND, classes=("Boat",)):
    return resampled_average_precision(np.array(times), class_detections(boxes, found, classes))


def test_values_computed_by_hand():
    again = resampled([1, 1, 1], [2, 0, 1], [0, 1, 2])
    # As in test_evaluation; a twice and no b: three boxes, three hits before any false alarm; no a: first the false
    # alarm, then both boxes of c, so 2/3 at every recall.
    assert again.ap50 == pytest.approx([(51 + 50 * 2 / 3) / 101, 1, 2 / 3])
    # From IoU 0.85 on c is never hit: of three boxes two are, so 67 of the 101 recalls are reached.
    assert again.ap == pytest.approx([(7 * (51 + 50 * 2 / 3) + 3 * 51) / 1010, (7 + 3 * 67 / 101) / 10, 0.7 * 2 / 3])


def test_resample_without_boxes_has_no_ap():
    again = resampled([0, 3, 0], [1, 1, 1])
    assert np.isnan(again.ap50).tolist() == np.isnan(again.ap).tolist() == [True, False]


def test_class_counts_in_resamples_with_its_boxes():
    again = resampled([0, 1, 2], [1, 0, 2], boxes=[*BOXES, ("a", "Canoe", 0, 0, 9, 9)], classes=("Boat", "Canoe"))
    assert again.ap50 == pytest.approx([2 / 3, (1 + 0) / 2])  # the canoe is never found


def test_no_detections_give_0():
    again = resampled([1, 1, 1], found=[])
    assert (again.ap50.tolist(), again.ap.tolist()) == ([0], [0])


@pytest.mark.parametrize("seed", range(6))
def test_each_image_once_equals_the_evaluation(seed):
    dataset, found = random_case(seed)
    images = dataset.images["id"].tolist()
    result = average_precision(found, dataset.boxes, dataset.classes, images)
    again = resampled_average_precision(np.ones((1, len(images)), dtype=int), result.detections)
    expected = evaluate_part(dataset, found, "test")
    assert again.ap50[0] == pytest.approx(expected.ap50, abs=1e-12)
    assert again.ap[0] == pytest.approx(expected.ap, abs=1e-12)
    assert 0.05 < expected.ap50 < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_resample_equals_pycocotools_on_copied_images(seed):
    dataset, found = random_case(seed, images=12)
    # Of equal scores on one image the copies of the first would all come before those of the second.
    random = np.random.default_rng(seed)
    found = found.assign(score=random.permutation(len(found)) / len(found))
    images = dataset.images["id"].tolist()
    result = average_precision(found, dataset.boxes, dataset.classes, images)
    times = random.multinomial(12, np.full(12, 1 / 12), 5)
    again = resampled_average_precision(times, result.detections)
    for number, each in enumerate(times):
        copies = [(name, f"{name}-{copy}") for name, count in zip(images, each, strict=True) for copy in range(count)]
        tables = [copied(table, copies) for table in (found, dataset.boxes)]
        theirs = average_precision(*tables, dataset.classes, [copy for _, copy in copies])
        assert again.ap50[number] == pytest.approx(np.nanmean(theirs.ap50), abs=1e-12)
        assert again.ap[number] == pytest.approx(np.nanmean(theirs.ap), abs=1e-12)


def copied(table, copies):
    return pd.concat([table[table["id"] == name].assign(id=copy) for name, copy in copies], ignore_index=True)
