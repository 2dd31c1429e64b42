"""Detections as CSV and as COCO results: they come back as they were, and what is malformed is told in one line."""

import json

import numpy as np
import pandas as pd
import pytest

from podium.detection.detections import (
    DETECTION_COLUMNS,
    detections_table,
    read_coco_results,
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


def test_a_csv_brings_everything_back_ids_and_float32_figures_too(tmp_path):
    write_detections(tmp_path / "found.csv", detections_table(ROWS))
    back = read_detections(tmp_path / "found.csv", CLASSES)
    for column in ("score", "left", "right"):
        assert back[column].astype(np.float32).tolist() == [
            np.float32(row[DETECTION_COLUMNS.index(column)]) for row in ROWS
        ]
    assert back[["id", "class"]].to_numpy().tolist() == [list(row[:2]) for row in ROWS]
    assert (tmp_path / "found.csv").read_text().startswith(HEAD + "007,Boat,0.100000001,0,0,100.123459,50.5\n")


def test_nothing_detected_is_a_file_without_rows_and_a_table_of_the_right_kinds(tmp_path):
    write_detections(tmp_path / "found.csv", detections_table([]))
    assert (tmp_path / "found.csv").read_text() == HEAD
    back = read_detections(tmp_path / "found.csv")
    assert len(back) == 0
    assert back["score"].dtype == back["left"].dtype == np.float64
    write_coco_results(tmp_path / "found.json", back, CLASSES, IMAGES)
    assert json.loads((tmp_path / "found.json").read_text()) == []
    assert len(read_coco_results(tmp_path / "found.json", CLASSES, IMAGES)) == 0


def test_coco_results_number_images_and_classes_from_1_in_their_order(tmp_path):
    write_coco_results(tmp_path / "found.json", detections_table(ROWS), CLASSES, IMAGES)
    entries = json.loads((tmp_path / "found.json").read_text())
    assert [(one["image_id"], one["category_id"], one["podium_id"]) for one in entries] == [
        (2, 1, "007"), (4, 2, "with, comma"), (3, 1, "NA"),
    ]  # fmt: skip
    assert entries[2]["bbox"] == [12.25, 7, 3987.75, 2993]
    back = read_coco_results(tmp_path / "found.json", CLASSES, IMAGES)
    pd.testing.assert_frame_equal(back, detections_table(ROWS), rtol=1e-8)


@pytest.mark.parametrize(("row", "what"), [(("nowhere", "Boat"), "image 'nowhere'"), (("007", "Ship"), "class 'Ship'")])
def test_what_has_no_number_is_told_and_nothing_is_written(tmp_path, row, what):
    with pytest.raises(DataError, match=f"A box is of {what}, which is none of the "):
        write_coco_results(tmp_path / "found.json", detections_table([*ROWS, (*row, 0.5, 0, 0, 1, 1)]), CLASSES, IMAGES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: columns none; expected id,class,score"),
        ("id,score\n", "line 1: columns 'id', 'score'"),
        ("id,class,score,xmin,ymin,xmax,ymax\n", "line 1: columns 'id', 'class', 'score', 'xmin'"),
        (HEAD + "a,Boat,0.5,0,0,1\n", "line 2: 6 values, expected 7"),
        (HEAD + "a,Boat,0.5,0,0,1,1\n\n", "line 3: 0 values"),
        (HEAD + ",Boat,0.5,0,0,1,1\n", "line 2: an empty id"),
        (HEAD + "a,Ship,0.5,0,0,1,1\n", "line 2: class 'Ship' is none of 'Boat'"),
        (HEAD + "a,Boat,high,0,0,1,1\n", "line 2: could not convert string to float: 'high'"),
        (HEAD + "a,Boat,1.5,0,0,1,1\n", "line 2: score 1.5 is not from 0 to 1"),
        (HEAD + "a,Boat,nan,0,0,1,1\n", "line 2: nan is not a finite number"),
        (HEAD + "a,Boat,0.5,0,0,inf,1\n", "line 2: inf is not a finite number"),
        (HEAD + "a,Boat,0.5,5,0,1,1\n", "line 2: the box 5, 0, 1, 1 ends before it begins"),
        (HEAD + 'a,"Boat,0.5,0,0,1,1\n', "line 2: unexpected end of data"),
        (HEAD + "a,Boat,0.5,0,0,1,1\na,B\xff,0.5,0,0,1,1\n", "'utf-8' codec can't decode"),
    ],
)
def test_a_malformed_csv_is_told_with_its_line(tmp_path, content, message):
    (tmp_path / "found.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError) as error:
        read_detections(tmp_path / "found.csv", ["Boat"])
    assert message in str(error.value)
    assert str(tmp_path / "found.csv") in str(error.value)
    assert "\n" not in str(error.value)


GOOD = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "is no JSON"),
        (json.dumps({"images": [], "annotations": []}), "holds a whole COCO set; expected a list of COCO results"),
        ("7", "holds int; expected a list"),
        ("[7]", "entry 1: 7 is no object"),
        (json.dumps([GOOD, {"image_id": 1}]), "entry 2: no category_id, bbox, score"),
        (json.dumps([GOOD | {"image_id": 0}]), "entry 1: image_id 0; expected image_id from 1 to 4"),
        (json.dumps([GOOD | {"image_id": "a"}]), "entry 1: image_id 'a'"),
        (json.dumps([GOOD | {"category_id": 3}]), "entry 1: category_id 3;"),
        (json.dumps([GOOD | {"category_id": True}]), "entry 1: category_id True"),
        (json.dumps([GOOD | {"bbox": [1, 2, 3]}]), "entry 1: bbox [1, 2, 3]"),
        (json.dumps([GOOD | {"bbox": [1, 2, 3, "x"]}]), "entry 1: bbox [1, 2, 3, 'x']"),
        (json.dumps([GOOD | {"bbox": [1, 2, -3, 1]}]), "entry 1: the box 1, 2, -2, 3 ends before it begins"),
        (json.dumps([GOOD | {"bbox": [1, 2, 10**400, 1]}]), "entry 1: int too large to convert to float"),
        (json.dumps([GOOD | {"score": None}]), "entry 1: score None"),
        (json.dumps([GOOD | {"score": 7}]), "entry 1: score 7 is not from 0 to 1"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": NaN}]', "nan is not a finite number"),
    ],
)
def test_malformed_coco_results_are_told_with_the_entry(tmp_path, content, message):
    (tmp_path / "found.json").write_text(content)
    with pytest.raises(DataError) as error:
        read_coco_results(tmp_path / "found.json", CLASSES, IMAGES)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_not_there_are_told(tmp_path):
    with pytest.raises(DataError, match=r"found.csv cannot be read \(No such file or directory\)"):
        read_detections(tmp_path / "found.csv")
    with pytest.raises(DataError, match=r"found.json cannot be read"):
        read_coco_results(tmp_path / "found.json", CLASSES, IMAGES)
