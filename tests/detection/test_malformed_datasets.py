"""Malformed files of each format are reported in one line with the file and what is expected."""

import json

import pytest
from random_datasets import draw_headers, files_in, png_header, small_dataset

from podium.detection.coco import read_coco, write_coco
from podium.detection.dataset import read_dataset, write_dataset
from podium.detection.voc import read_voc, write_voc
from podium.detection.yolo import read_yolo, write_yolo
from podium.errors import DataError

READERS = {"index": read_dataset, "yolo": read_yolo, "voc": read_voc, "coco": read_coco}


@pytest.fixture
def good(tmp_path):
    """A folder with the small set in each format."""
    files = draw_headers(small_dataset(), tmp_path / "images")
    write_dataset(small_dataset(), tmp_path / "index")
    write_yolo(small_dataset(), tmp_path / "yolo", files)
    write_voc(small_dataset(), tmp_path / "voc", files)
    write_coco(small_dataset(), tmp_path / "coco", files)
    return tmp_path


def error_of(kind, folder):
    """The error message of reading a dataset, which leaves no files behind."""
    before = files_in(folder)
    with pytest.raises(DataError) as caught:
        READERS[kind](folder / kind)
    assert files_in(folder) == before
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message.replace(f"{folder / kind}/", "").replace(str(folder / kind), "FOLDER")


def change(path, old, new):
    """Replace bytes in a file; without `old` the entire content, without `new` the file is removed."""
    if new is None:
        path.unlink()
        return
    content, new = path.read_bytes(), new.encode() if isinstance(new, str) else new
    if old is not None:
        assert content.count(old.encode()) >= 1, f"{path} has no {old}"
        new = content.replace(old.encode(), new, 1)
    path.write_bytes(new)


def test_unchanged_folders_are_read(good):
    for kind, read in READERS.items():
        back = read(good / kind)
        assert (len(back.images), len(back.boxes)) == (2, 2)


BOAT = "one,Boat,10.0,20.0,30.5,40.0,1,0,0,0"
LABELS = "labels/train/one.txt"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("index.json", None, None, "FOLDER has no index.json: build the dataset with podium detect build"),
        ("index.json", None, "", "index.json: Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ("index.json", ' "source": {}\n}', ' "source": {', "Invalid JSON: EOF while parsing an object at line 9 c"),
        ("index.json", None, "[]", "index.json: Input should be an object, got []"),
        ("index.json", None, "[" * 9999, "index.json: Invalid JSON: recursion limit exceeded"),
        ("index.json", "small", b'caf\xe9', "line 3: not UTF-8 (invalid continuation byte); save the file as UTF-8"),
        ("index.json", '"format": 1', '"format": 2', "index.json: format: Input should be 1, got 2"),
        ("index.json", '"slug"', '"slog"', "index.json: slug: missing required key"),
        ("index.json", '"Car"', '"Boat"', "index.json: classes: duplicate class name 'Boat', got ['Boat', 'Boat']"),
        ("index.json", '"Car"', "7", "index.json: classes[1]: Input should be a valid string, got 7"),
        ("index.json", '"source": {}', '"source": "a"', "index.json: source: Input should be an object, got 'a'"),
        ("images.csv", None, None, "images.csv cannot be read: No such file or directory"),
        ("images.csv", None, "", "images.csv: No columns to parse from file"),
        ("images.csv", "two,", "one,", "line 3: id: expected an id that is not on an earlier line, got 'one'"),
        ("images.csv", "\ntwo,", "\n,", "images.csv, line 3: id: expected text, got ''"),
        ("images.csv", "100,50", "-100,50", "images.csv, line 2: width: expected 1 pixel or more, got -100"),
        ("images.csv", "100,50", "100,50.5", "images.csv, line 2: height: expected a whole number, got '50.5'"),
        ("images.csv", "100,50", "999999999999999999999999999999,50", "line 2: width: expected a whole number, go"),
        ("images.csv", "validation", "val", "line 3: split: expected train or validation or test, got 'val'"),
        ("images.csv", ",0,", ",no,", "images.csv, line 2: rotated: expected 0 or 1, got 'no'"),
        ("boxes.csv", None, None, "boxes.csv cannot be read: No such file or directory"),
        ("boxes.csv", None, "", "boxes.csv: No columns to parse from file"),
        ("boxes.csv", "class,left", "left,class", "expected the columns id,class,left,top,right,bottom,occluded,t"),
        ("boxes.csv", BOAT, BOAT.replace(",", ";"), "line 2: le"),
        ("boxes.csv", ",1,1,1\n", "", "boxes.csv, line 3: truncated: expected 0 or 1, got ''"),
        ("boxes.csv", BOAT, BOAT + ",0", "Length o"),
        ("boxes.csv", "one,Boat,10.0,20.0,30.5,40.0,1,0,0,0", '"one,Boat,10.0,20.0,30.5,40.0,1,0,0,0', "Error tok"),
        ("boxes.csv", "one,Car", "three,Car", "boxes.csv, line 3: id: expected the id of an image, got 'three'"),
        ("boxes.csv", "one,Car", "one,car", "boxes.csv, line 3: class: expected one of Boat, Car, got 'car'"),
        ("boxes.csv", "10.0", "nan", "boxes.csv, line 2: left: expected a finite number, got 'nan'"),
        ("boxes.csv", "10.0", "1e999", "boxes.csv, line 2: left: expected a finite number, got '1e999'"),
        ("boxes.csv", "10.0", '"""10.0"""', 'boxes.csv, line 2: left: expected a finite number, got \'"10.0"\''),
        ("boxes.csv", "10.0", "", "boxes.csv, line 2: left: expected a finite number, got ''"),
        ("boxes.csv", "30.5", "5", "line 2: left, top, right, bottom: expected left < right and top < bottom, got"),
        ("boxes.csv", "100.0", "100.5", "line 3: left, top, right, bottom: expected a box inside its image, got 0"),
        ("boxes.csv", "40.0,1", "40.0,2", "boxes.csv, line 2: occluded: expected 0 or 1, got '2'"),
        ("boxes.csv", "Car", b'Caf\xe9', "line 3: not UTF-8 (invalid continuation byte); save the file as UTF-8"),
    ],
)  # fmt: skip
def test_malformed_dataset_is_reported(name, old, new, message, good):
    change(good / "index" / name, old, new)
    assert message in error_of("index", good)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("data.yaml", None, "", "Input should be a valid dictionary or instance of _Description, got None"),
        ("data.yaml", None, "names: [a\nb: 2\n", "line 2: not valid YAML (expected ',' or ']', but got ':')"),
        ("data.yaml", None, "[" * 9999, "data.yaml: not valid YAML"),
        ("data.yaml", "Boat", b'Caf\xe9', "line 4: not UTF-8 (invalid continuation byte); save the file as UTF-8"),
        ("data.yaml", "1: Car", "1: Boat", "data.yaml: names: duplicate class name 'Boat', got ['Boat', 'Boat']"),
        ("data.yaml", "1: Car", "1: false", "data.yaml: names[1]: Input should be a valid string, got False"),
        ("data.yaml", "1: Car", "2: Car", "data.yaml: names: expected the keys 0 to 1, got {0: 'Boat', 2: 'Car'}"),
        ("data.yaml", "names:", "nc: 3\nnames:", "data.yaml: nc: expected 2, the number of names, got 3"),
        ("data.yaml", "names:", "named:", "data.yaml: names: missing required key"),
        ("data.yaml", None, "names: [a]\n", "data.yaml: expected the folder of the images of train, val or test"),
        ("data.yaml", "images/val", "images/vla", "data.yaml: val: expected a folder with images, got 'images/vla'"),
        ("data.yaml", "images/val", "images/train", "data.yaml: train, val: expected different folders"),
        ("data.yaml", "images/val", "val" * 999, "val: expected a folder with images, got 'valvalvalval..."),
        ("data.yaml", "images/val", "[1, 2]", "data.yaml: val: Input should be a valid string, got [1, 2]"),
        ("images/train/one.png", None, None, "labels/train/one.txt has no image in images/train; add it, or remov"),
        ("images/train/one.png", None, "", "one.png is not a readable image"),
        (LABELS, None, None, "labels/train: expected label files for the images in images/train, "),
        (LABELS, "0 ", "2 ", "one.txt, line 1: expected a class from 0 to 1, got '2'"),
        (LABELS, "1 ", "-1 ", "one.txt, line 2: expected a class from 0 to 1, got '-1'"),
        (LABELS, "0 ", "0.5 ", "one.txt, line 1: expected a class from 0 to 1, got '0.5'"),
        (LABELS, "0 ", "Boat ", "line 1: expected 5 numbers, class cx cy width height, got 'Boat "),
        (LABELS, "0.205", "-0.205", "line 1: width: expected a share of the image from 0 to 1, go"),
        (LABELS, "0.205", "nan #", "line 1: expected 5 values, class cx cy width height, got 6 (p"),
        (LABELS, "0.205000000", "nan", "line 1: width: expected a share of the image from 0 to 1,"),
        (LABELS, "0.2025", '"0.2025"', "line 1: expected 5 numbers, class cx cy width height, got"),
        (LABELS, "0.5", "320", "line 2: cx: expected a share of the image from 0 to 1, got '32000"),
        (LABELS, "0.5", "inf 0.5", "line 2: expected 5 values, class cx cy width height, got 6 (p"),
        (LABELS, None, "0 .1 .2 .3 .4 .9\n", "line 1: expected 5 values, class cx cy width height"),
        (LABELS, None, "\n0 1 1 0 1 0 0\n", "line 2: expected 5 values, class cx cy width height,"),
        (LABELS, None, "0 1 1 0 1 0 0\n", "line 1: expected 5 values, class cx cy width height, g"),
        (LABELS, None, "0 .1 .2 .3", "line 1: expected 5 values, class cx cy width height, got 4"),
        (LABELS, None, b'0 0.5 0.5 0.1 0.1\n\xe9\n', "line 2: not UTF-8 (invalid continuation byt"),
    ],
)  # fmt: skip
def test_malformed_yolo_folder_is_reported(name, old, new, message, good):
    change(good / "yolo" / name, old, new)
    assert message in error_of("yolo", good)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "FOLDER: expected data.yaml, or class names in obj.names or classes.txt"),
        ("", "obj.names: expected at least one class name, got []"),
        ("Boat\n\nCar\n", "obj.names: [1]: expected a class name on one line without surrounding blanks, got ''"),
        ("Boat\r\nBoat\r\n", "obj.names: duplicate class name 'Boat', got ['Boat', 'Boat']"),
        (b"Caf\xe9", "obj.names, line 1: not UTF-8 (unexpected end of data); save the file as UTF-8"),
    ],
)
def test_malformed_names_file_is_reported(names, message, good):
    change(good / "yolo/data.yaml", None, None)
    change(good / "yolo/obj.names", None, names)
    assert message in error_of("yolo", good)


def test_yolo_without_images_is_reported(good):
    (good / "yolo/images").rename(good / "yolo/elsewhere")
    assert "data.yaml: train: expected a folder with images, got 'images/train'" in error_of("yolo", good)
    change(good / "yolo/data.yaml", None, None)
    message = "FOLDER: expected data.yaml, or the folders images/train, images/val or images/test"
    assert error_of("yolo", good) == message


def test_yolo_images_with_the_same_name_are_reported(good):
    (good / "yolo/images/train/one.bmp").write_bytes(png_header(100, 50))
    message = "FOLDER: two images have the id 'one': 'images/train/one.bmp' and 'images/train/one.png'; rename one"
    assert error_of("yolo", good).startswith(message)


def test_elements_of_an_annotation_that_are_not_needed_may_be_nested(good):
    deep = "<part>" * 2_000 + "</part>" * 2_000
    change(good / "voc" / "Annotations" / "one.xml", "</bndbox>", f"</bndbox>{deep}")
    assert len(read_voc(good / "voc").boxes) == 2


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation>'
ONE, LIST = "Annotations/one.xml", "ImageSets/Main/train.txt"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (ONE, None, None, "ImageSets/Main/train.txt, line 1: 'one' has no XML file in Annotations"),
        (ONE, None, "", "one.xml, line 1: not valid XML (no element found: line 1, column 0)"),
        (ONE, "</bndbox>\n  </object>\n</annotation>", "", "line 35: not valid XML (no element "),
        (ONE, "</size>", "", "one.xml, line 36: not valid XML (mismatched tag: line 36, column 2)"),
        (ONE, "Boat", b'Caf\xe9', "line 11: not UTF-8 (invalid continuation byte); save the fil"),
        (ONE, "<annotation>", BOMB, "one.xml: expected XML without a document type declaration"),
        (ONE, None, "<html></html>", "one.xml: expected the element annotation, got 'html'"),
        (ONE, "Boat", "&boat;", "line 11: not valid XML (undefined entity: line 11, column 10)"),
        (ONE, "<filename>one.png</filename>", "", "one.xml: filename: missing required key"),
        (ONE, "<width>100</width>", "", "one.xml: size.width: missing required key"),
        (ONE, "<width>100<", "<width>0<", "size.width: Input should be greater than or equal to"),
        (ONE, "<height>50<", "<height>-50<", "size.height: Input should be greater than or equa"),
        (ONE, "<height>50<", "<height>tall<", "size.height: Input should be a valid integer, un"),
        (ONE, "<name>Boat</name>", "", "one.xml: object[0].name: missing required key"),
        (ONE, "<name>Car<", "<name>car<", "one.xml: object[1].name: 'car' is not in labels.txt"),
        (ONE, "<xmin>11</xmin>", "", "one.xml: object[0].bndbox.xmin: missing required key"),
        (ONE, "<xmin>11<", "<xmin>NaN<", "object[0].bndbox.xmin: Input should be a finite numbe"),
        (ONE, "<xmin>11<", '<xmin>"11"<', "object[0].bndbox.xmin: Input should be a valid numbe"),
        (ONE, "<truncated>1<", "<truncated>maybe<", "object[1].truncated: Input should be a val"),
        (LIST, "one", "one\none", "train.txt, line 2: 'one' is already in train.txt"),
        (LIST, "one", "one\ntwo", "ImageSets/Main/val.txt, line 1: 'two' is already in trai"),
        (LIST, "one", "../../one", "line 1: '../../one' has no XML file in Annotations"),
        (LIST, "one", "one\nsix", "train.txt, line 2: 'six' has no XML file in Annotations"),
        (LIST, "one", "one" * 999, "line 1: 'oneoneoneone...eoneoneoneone' has no XML file"),
        (LIST, "one", b'\xe9', "line 1: not UTF-8 (invalid continuation byte); save the fil"),
        ("labels.txt", "Car", "Boat", "labels.txt: duplicate class name 'Boat', got ['Boat', 'Boat']"),
        ("labels.txt", None, "", "labels.txt: expected at least one class name, got []"),
    ],
)  # fmt: skip
def test_malformed_voc_folder_is_reported(name, old, new, message, good):
    change(good / "voc" / name, old, new)
    assert message in error_of("voc", good)


def test_folder_without_voc_annotations_is_reported(good):
    (good / "voc/Annotations").rename(good / "voc/annotations")
    assert error_of("voc", good) == "FOLDER: expected the folders of Pascal VOC, got no folder Annotations"


def test_voc_without_classes_is_reported(good):
    (good / "voc/labels.txt").unlink()
    (good / "voc/ImageSets/Main/train.txt").unlink()
    assert error_of("voc", good) == (
        "FOLDER: classes (or list them in labels.txt): expected at least one class name, got []"
    )


FILE = "annotations/instances_train.json"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (None, "", "instances_train.json: Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ("]\n}", "", "instances_train.json: Invalid JSON: EOF while parsing a list at line 7 column 0"),
        (None, "[]", "instances_train.json: Input should be an object, got []"),
        (None, '{"images": ' + "[" * 9999, f"{FILE}: Invalid JSON: recursion limit exceeded"),
        (None, '{"images": ' + "9" * 5000, f"{FILE}: Invalid JSON: number out of range"),
        ("Boat", b'Caf\xe9', "line 5: not UTF-8 (invalid continuation byte); save the file as UTF-8"),
        ('"annotations"', '"boxes"', "instances_train.json: annotations: missing required key"),
        ('"images": [', '"images": [7, ', "instances_train.json: images[0]: Input should be an object, got 7"),
        ('"name": "Car"', '"name": "Boat"', "categories: duplicate class name 'Boat', got ['Boat', 'Boat']"),
        ('"name": "Car"', '"nom": "Car"', "instances_train.json: categories[1].name: missing required key"),
        ('{"id": 2, "name"', '{"id": 1, "name"', "instances_train.json: categories[1].id: duplicate id 1"),
        ('{"id": 2, "name"', '{"id": 3, "name"', "categories: expected those of instances_test.json, got {1: 'Boa"),
        ('"width": 100', '"width": -100', "images[0].width: Input should be greater than or equal to 1, got -100"),
        ('"width": 100', '"width": 1e300', "images[0].width: Unable to parse input string as an integer, exceeded"),
        ('"height": 50', '"height": null', "images[0].height: Input should be a valid integer, got None"),
        ('"file_name": "one.png"', '"file_name": ""', "images[0].file_name: String should have at least 1 charact"),
        ('"images": [{"id": 1', '"images": [{"id": null', "images[0].id: Input should be a valid integer, got None"),
        ('"image_id": 1', '"image_id": 2', "instances_train.json: annotations[0].image_id: 2 does not exist"),
        ('"image_id": 1', '"image_id": [1]', "annotations[0].image_id: Input should be a valid integer, got [1]"),
        ('"category_id": 2', '"category_id": 9', "annotations[1].category_id: 9 does not exist"),
        ("[10.0, 20.0", "[NaN, 20.0", "annotations[0].bbox[0]: Input should be a finite number, got nan"),
        ("[10.0, 20.0", "[1e999, 20.0", "annotations[0].bbox[0]: Input should be a finite number, got inf"),
        ("20.5, 20.0]", "-20.5, 20.0]", "annotations[0].bbox[2]: Input should be greater than or equal to 0, got "),
        ("20.5, 20.0]", "20.5]", "instances_train.json: annotations[0].bbox[3]: missing required key"),
        ('"bbox"', '"box"', "instances_train.json: annotations[0].bbox: missing required key"),
        ('"iscrowd": 1', '"iscrowd": 2', "annotations[1].iscrowd: Input should be 0 or 1, got 2"),
    ],
)  # fmt: skip
def test_malformed_coco_file_is_reported(old, new, message, good):
    change(good / "coco" / FILE, old, new)
    assert message in error_of("coco", good)


def test_duplicate_image_in_a_coco_file_is_reported(good):
    path = good / "coco" / FILE
    content = json.loads(path.read_text())
    content["images"] *= 2
    path.write_text(json.dumps(content))
    assert error_of("coco", good) == f"{FILE}: images[1].id: duplicate id 1"
    content["images"][1] = content["images"][1] | {"id": 2, "file_name": "other.png"}
    path.write_text(json.dumps(content))
    message = "FOLDER: two images have the id 'one': 'train/one.png' and 'train/other.png'; rename one of them"
    assert error_of("coco", good) == message


def test_coco_folder_without_files_is_reported(good):
    (good / "coco/annotations").rename(good / "coco/other")
    assert error_of("coco", good).startswith("FOLDER: expected annotations/instances_*.json, one file per split")


@pytest.mark.parametrize("kind", READERS)
def test_missing_folder_is_reported(kind, tmp_path):
    assert error_of(kind, tmp_path).startswith("FOLDER")
