"""Detections as CSV and as COCO results."""

import json

import numpy as np
import pytest

from podium.detection.detections import (
    DETECTION_COLUMNS,
    detections_table,
    read_detections,
    write_coco_results,
    write_detections,
)
from podium.errors import DataError

HEAD = "id,class,score,left,top,right,bottom\n"
ROWS = [
    ("007", "Boat", float(np.float32(0.1)), 0.0, 0.0, float(np.float32(100.123456)), 50.5),
    ("with, comma", 'Sea "turtle"', 1.0, 3.0, 4.0, 3.0, 4.0),
    ("NA", "Boat", 1e-9, 12.25, 7.0, 4000.0, 3000.0),
]
CLASSES = ["Boat", 'Sea "turtle"']
IMAGES = ["first", "007", "NA", "with, comma"]


def test_csv_restores_ids_classes_and_float32_numbers(tmp_path):
    write_detections(tmp_path / "detections.csv", detections_table(ROWS))
    back = read_detections(tmp_path / "detections.csv", CLASSES)
    for column in ("score", "left", "right"):
        assert back[column].astype(np.float32).tolist() == [
            np.float32(row[DETECTION_COLUMNS.index(column)]) for row in ROWS
        ]
    assert back[["id", "class"]].to_numpy().tolist() == [list(row[:2]) for row in ROWS]
    assert (tmp_path / "detections.csv").read_text().startswith(HEAD + "007,Boat,0.100000001,0,0,100.123459,50.5\n")


def test_no_detections_are_an_empty_file_with_the_right_types(tmp_path):
    write_detections(tmp_path / "detections.csv", detections_table([]))
    assert (tmp_path / "detections.csv").read_text() == HEAD
    back = read_detections(tmp_path / "detections.csv")
    assert len(back) == 0
    assert back["score"].dtype == back["left"].dtype == np.float64
    write_coco_results(tmp_path / "detections.json", back, CLASSES, IMAGES)
    assert json.loads((tmp_path / "detections.json").read_text()) == []


def test_coco_results_number_images_and_classes_from_1(tmp_path):
    write_coco_results(tmp_path / "detections.json", detections_table(ROWS), CLASSES, IMAGES)
    entries = json.loads((tmp_path / "detections.json").read_text())
    assert [(one["image_id"], one["category_id"], one["podium_id"]) for one in entries] == [
        (2, 1, "007"), (4, 2, "with, comma"), (3, 1, "NA"),
    ]  # fmt: skip
    assert entries[2]["bbox"] == [12.25, 7, 3987.75, 2993]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "No columns to parse from file"),
        ("id,score\n", "expected the columns id,class,score,left,top,right,bottom, got 'id,score'"),
        ("id,class,score,xmin,ymin,xmax,ymax\n", "expected the columns id,class,score,left,top,right,bottom"),
        (HEAD + "a,Boat,0.5,0,0,1\n", "line 2: bottom: expected a finite number, got ''"),
        (HEAD + "a,Boat,0.5,0,0,1,1,1\n", "Length of header or names does not match length of data"),
        (HEAD + "a,Boat,0.5,0,0,1,1\na,Boat,0.5,0,0,1,1,1\n", "Expected 7 fields in line 3, saw 8"),
        (HEAD + ",Boat,0.5,0,0,1,1\n", "line 2: id: expected the name of an image, got ''"),
        (HEAD + "a,Ship,0.5,0,0,1,1\n", "line 2: class: expected one of 'Boat', got 'Ship'"),
        (HEAD + "a,Boat,high,0,0,1,1\n", "line 2: score: expected a finite number, got 'high'"),
        (HEAD + "a,Boat,1.5,0,0,1,1\n", "line 2: score: expected a score from 0 to 1, got 1.5"),
        (HEAD + "a,Boat,nan,0,0,1,1\n", "line 2: score: expected a finite number, got 'nan'"),
        (HEAD + "a,Boat,0.5,0,0,inf,1\n", "right: expected a finite number, got 'inf'"),
        (HEAD + "a,Boat,0.5,5,0,1,1\n", "expected left <= right and top <= bottom, got 5.0, 0.0, 1.0, 1.0"),
        (HEAD + 'a,"Boat,0.5,0,0,1,1\n', "EOF inside string"),
        (HEAD + "a,Boat,0.5,0,0,1,1\na,B\xff,0.5,0,0,1,1\n", "line 3: not UTF-8"),
    ],
)
def test_malformed_csv_is_reported_in_one_line(tmp_path, content, message):
    (tmp_path / "detections.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError) as error:
        read_detections(tmp_path / "detections.csv", ["Boat"])
    assert message in str(error.value)
    assert str(tmp_path / "detections.csv") in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_is_reported(tmp_path):
    with pytest.raises(DataError, match=r"detections.csv cannot be read: No such file or directory"):
        read_detections(tmp_path / "detections.csv")
