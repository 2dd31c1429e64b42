"""Malformed files of each format, and what a person is told: the file, the line or the element, what was expected."""

import json

import pytest
from random_boxsets import draw_headers, files_in, png_header, small_boxset

from podium.detection.coco import read_coco, write_coco
from podium.detection.dataset import read_dataset, write_dataset
from podium.detection.voc import read_voc, write_voc
from podium.detection.yolo import read_yolo, write_yolo
from podium.errors import DataError

READERS = {"index": read_dataset, "yolo": read_yolo, "voc": read_voc, "coco": read_coco}


@pytest.fixture
def good(tmp_path):
    """A folder with the small set in each format."""
    files = draw_headers(small_boxset(), tmp_path / "images")
    write_dataset(small_boxset(), tmp_path / "index")
    write_yolo(small_boxset(), tmp_path / "yolo", files)
    write_voc(small_boxset(), tmp_path / "voc", files)
    write_coco(small_boxset(), tmp_path / "coco", files)
    return tmp_path


def told(kind, folder):
    """The one line about a set that cannot be read. Nothing is left behind."""
    before = files_in(folder)
    with pytest.raises(DataError) as caught:
        READERS[kind](folder / kind)
    assert files_in(folder) == before
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message.replace(f"{folder / kind}/", "").replace(str(folder / kind), "THE FOLDER")


def change(path, old, new):
    """In the file's bytes; with None for the new ones the file is removed, and without old ones it is all replaced."""
    if new is None:
        path.unlink()
        return
    content, new = path.read_bytes(), new.encode() if isinstance(new, str) else new
    if old is not None:
        assert content.count(old.encode()) >= 1, f"{path} has no {old}"
        new = content.replace(old.encode(), new, 1)
    path.write_bytes(new)


def test_the_folders_that_the_tests_break_are_good(good):
    for kind, read in READERS.items():
        back = read(good / kind)
        assert (len(back.images), len(back.boxes)) == (2, 2)


HEADING = "expected the columns id,class,left,top,right,bottom,occluded,truncated,group,depiction: got"
BOAT = "one,Boat,10.0,20.0,30.5,40.0,1,0,0,0"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("index.json", None, None, "THE FOLDER holds no index.json; expected a whole set of boxes: build it (again)"),
        ("index.json", None, "", "index.json, line 1: not JSON, or cut off (Expecting value)"),
        ("index.json", ' "source": {}\n}', ' "source": {', "index.json, line 9: not JSON, or cut off"),
        ("index.json", None, "[]", "index.json: expected an object with keys at the top: got []"),
        ("index.json", None, "[" * 9999, "index.json: not JSON that can be read"),
        ("index.json", "small", b"caf\xe9", "index.json, line 3: not UTF-8"),
        ("index.json", '"format": 1', '"format": 2', "index.json: format: expected 1: got 2; build the set again"),
        ("index.json", '"slug"', '"slog"', "index.json: slug: expected text: got None"),
        ("index.json", '"Car"', '"Boat"', "index.json: classes: two classes have the name 'Boat'; expected each name"),
        ("index.json", '"Car"', "7", "index.json: classes: expected a class's name as text in one line"),
        ("index.json", '"source": {}', '"source": "a"', "index.json: source: expected an object: got 'a'"),
        ("images.csv", None, None, "images.csv cannot be read: No such file or directory; expected a file here"),
        ("images.csv", None, "", "line 1: expected the columns id,file,width,height,turned,split: got nothing"),
        ("images.csv", "two,", "one,", "images.csv, line 3: id: 'one' is on an earlier line too; expected each"),
        ("images.csv", "\ntwo,", "\n,", "images.csv, line 3: id: expected text: got ''"),
        ("images.csv", "100,50", "-100,50", "line 2: width: expected 1 pixel or more: got -100"),
        ("images.csv", "100,50", "100,50.5", "line 2: height: expected a whole number: got '50.5'"),
        ("images.csv", "100,50", "9" * 30 + ",50", "line 2: width: expected a whole number: got '9999"),
        ("images.csv", "validation", "val", "line 3: split: expected one of train, validation, test: got 'val'"),
        ("images.csv", ",0,", ",no,", "images.csv, line 2: turned: expected 0 or 1: got 'no'"),
        ("boxes.csv", None, None, "boxes.csv cannot be read: No such file or directory"),
        ("boxes.csv", None, "", f"boxes.csv, line 1: {HEADING} nothing"),
        ("boxes.csv", "class,left", "left,class", f"boxes.csv, line 1: {HEADING} id,left,class,top"),
        ("boxes.csv", BOAT, BOAT.replace(",", ";"), "boxes.csv, line 2: expected 10 values: got 1"),
        ("boxes.csv", ",1,1,1\n", "", "boxes.csv, line 3: expected 10 values: got 7"),
        ("boxes.csv", BOAT, BOAT + ",0", "boxes.csv, line 2: expected 10 values: got 11"),
        ("boxes.csv", BOAT, '"' + BOAT, "boxes.csv, after line 1: not CSV, or cut off (unexpected end of data)"),
        ("boxes.csv", "one,Car", "three,Car", "boxes.csv, line 3: id: 'three' is no image of the set"),
        ("boxes.csv", "one,Car", "one,car", "boxes.csv, line 3: class: 'car' is none of the set's, Boat, Car"),
        ("boxes.csv", "10.0", "nan", "boxes.csv, line 2: left: expected a finite number: got 'nan'"),
        ("boxes.csv", "10.0", "1e999", "boxes.csv, line 2: left: expected a finite number: got '1e999'"),
        ("boxes.csv", "10.0", '"""10.0"""', "line 2: left: expected a finite number: got '\"10.0\"'"),
        ("boxes.csv", "10.0", "", "boxes.csv, line 2: left: expected a finite number: got ''"),
        ("boxes.csv", "30.5", "5", "line 2: expected left below right and top below bottom: got left 10, top"),
        ("boxes.csv", "100.0", "100.5", "line 3: expected a box within its image: got left 0, top 0, right 100.5"),
        ("boxes.csv", "40.0,1", "40.0,2", "boxes.csv, line 2: occluded: expected 0 or 1: got '2'"),
        ("boxes.csv", "Car", b"Caf\xe9", "boxes.csv, line 3: not UTF-8"),
    ],
)  # fmt: skip
def test_a_broken_index_is_told(name, old, new, message, good):
    change(good / "index" / name, old, new)
    assert message in told("index", good)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("data.yaml", None, "", "data.yaml: expected keys with values (train, val, names): got None"),
        ("data.yaml", None, "names: [a\nb: 2\n", "data.yaml, line 2: not YAML (expected ',' or ']'"),
        ("data.yaml", None, "[" * 9999, "data.yaml: not YAML that can be read"),
        ("data.yaml", "Boat", b"Caf\xe9", "data.yaml, line 4: not UTF-8"),
        ("data.yaml", "1: Car", "1: Boat", "data.yaml: names: two classes have the name 'Boat'; expected"),
        ("data.yaml", "1: Car", "1: no", "data.yaml: names: expected a class's name as text in one line"),
        ("data.yaml", "1: Car", "2: Car", "data.yaml: names: expected the keys 0 to 1: got [0, 2]"),
        ("data.yaml", "names:", "nc: 3\nnames:", "data.yaml: nc: expected 2, as there are names: got 3"),
        ("data.yaml", "names:", "named:", "data.yaml: names: expected the names of the classes: got None"),
        ("data.yaml", None, "names: [a]\n", "data.yaml: expected the folder of images of train, val or test"),
        ("data.yaml", "images/val", "images/vla", "data.yaml: val: expected a folder with images: 'images/vla'"),
        ("data.yaml", "images/val", "images/train", "data.yaml: train, val: expected a folder each, so that no"),
        ("data.yaml", "images/val", "val" * 999, "data.yaml: val: expected a folder with images: 'valvalvalval..."),
        ("data.yaml", "images/val", "[1, 2]", "data.yaml: val: expected the path of a folder: got [1, 2]"),
        ("images/train/one.png", None, None, "labels/train/one.txt: no image of this name in"),
        ("images/train/one.png", None, "", "one.png is not a readable image; replace it"),
        ("labels/train/one.txt", None, None, "labels/train has no label file for the images in"),
        ("labels/train/one.txt", "0 ", "2 ", "one.txt, line 1: class: expected a whole number from 0 to 1: got '2'"),
        ("labels/train/one.txt", "1 ", "-1 ", "one.txt, line 2: class: expected a whole number from 0 to 1: got '-1'"),
        ("labels/train/one.txt", "0 ", "0.5 ", "line 1: class: expected a whole number from 0 to 1: got '0.5'"),
        ("labels/train/one.txt", "0 ", "Boat ", "line 1: expected 5 numbers, class cx cy width height: got 'Boat 0.2"),
        ("labels/train/one.txt", "0.205", "-0.205", "line 1: width: expected a share of the image, from 0 to 1"),
        ("labels/train/one.txt", "0.205", "nan #", "line 1: expected 5 values, class cx cy width height: got 6"),
        ("labels/train/one.txt", "0.205000000", "nan", "line 1: width: expected a share of the image, from 0 to"),
        ("labels/train/one.txt", "0.2025", '"0.2025"', "one.txt, line 1: expected 5 numbers, class cx cy width height"),
        ("labels/train/one.txt", "0.5", "320", "one.txt, line 2: cx: expected a share of the image, from 0 to 1"),
        ("labels/train/one.txt", "0.5", "inf 0.5", "line 2: expected 5 values, class cx cy width height: got 6, as"),
        ("labels/train/one.txt", None, "0 .1 .2 .3 .4 .9\n", "height: got 6, as predictions have with"),
        ("labels/train/one.txt", None, "\n0 1 1 0 1 0 0\n", "one.txt, line 2: expected 5 values, class cx cy width"),
        ("labels/train/one.txt", None, "0 1 1 0 1 0 0\n", "height: got 7, as outlines for segmentation have; mend"),
        ("labels/train/one.txt", None, "0 .1 .2 .3", "line 1: expected 5 values, class cx cy width height: got 4;"),
        ("labels/train/one.txt", None, b"0 0.5 0.5 0.1 0.1\n\xe9\n", "one.txt, line 2: not UTF-8"),
    ],
)  # fmt: skip
def test_a_broken_yolo_folder_is_told(name, old, new, message, good):
    change(good / "yolo" / name, old, new)
    assert message in told("yolo", good)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "THE FOLDER has no data.yaml, obj.names or classes.txt; expected the names of the classes in one"),
        ("", "obj.names: expected the name of at least one class: got none"),
        ("Boat\n\nCar\n", "obj.names: expected a class's name as text in one line, without blanks around it: got ''"),
        ("Boat\r\nBoat\r\n", "obj.names: two classes have the name 'Boat'; expected each name once"),
        (b"Caf\xe9", "obj.names, line 1: not UTF-8"),
    ],
)
def test_a_broken_names_file_is_told(names, message, good):
    change(good / "yolo/data.yaml", None, None)
    change(good / "yolo/obj.names", None, names)
    assert message in told("yolo", good)


def test_yolo_without_any_images_is_told(good):
    (good / "yolo/images").rename(good / "yolo/images")
    assert "data.yaml: train: expected a folder with images: 'images/train' is none" in told("yolo", good)
    change(good / "yolo/data.yaml", None, None)
    message = "THE FOLDER has no data.yaml and no images/train, images/val or images/test; expected either"
    assert told("yolo", good) == message


def test_two_yolo_images_with_one_name_are_told(good):
    (good / "yolo/images/train/one.bmp").write_bytes(png_header(100, 50))
    message = "THE FOLDER: two images have the id 'one', 'images/train/one.bmp' and 'images/train/one.png'; rename one"
    assert told("yolo", good) == message


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation>'
ONE, LIST = "Annotations/one.xml", "ImageSets/Main/train.txt"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (ONE, None, None, "train.txt, line 1: 'one' has no XML file of this name in Annotations; put"),
        (ONE, None, "", "one.xml, line 1: not XML, or cut off (no element found"),
        (ONE, "</bndbox>\n  </object>\n</annotation>", "", "one.xml, line 35: not XML, or cut off"),
        (ONE, "</size>", "", "one.xml, line 36: not XML, or cut off (mismatched tag"),
        (ONE, "Boat", b"Caf\xe9", "one.xml, line 11: not UTF-8"),
        (ONE, "<annotation>", BOMB, "one.xml: holds a document type, which may declare entities; expected none"),
        (ONE, None, "<html></html>", "one.xml: expected the element annotation: got 'html'"),
        (ONE, "Boat", "&boat;", "one.xml, line 11: not XML, or cut off (undefined entity"),
        (ONE, "<filename>one.png</filename>", "", "one.xml: filename: this element is needed, and is missing or empty"),
        (ONE, "<width>100</width>", "", "one.xml: size/width: this element is needed, and is missing or empty"),
        (ONE, "<width>100<", "<width>0<", "size/width: expected a whole number of pixels from 1 to 1,000,000: got 0.0"),
        (ONE, "<height>50<", "<height>-50<", "size/height: expected a whole number of pixels from 1 to 1,000,000"),
        (ONE, "<height>50<", "<height>tall<", "one.xml: size/height: expected a finite number: got 'tall'"),
        (ONE, "<name>Boat</name>", "", "one.xml: object 1: name: this element is needed, and is missing or empty"),
        (ONE, "<name>Car<", "<name>car<", "one.xml: object 2: name: 'car' is none of the classes in labels.txt"),
        (ONE, "<xmin>11</xmin>", "", "one.xml: object 1: bndbox/xmin: this element is needed, and is missing or empty"),
        (ONE, "<xmin>11<", "<xmin>NaN<", "one.xml: object 1: bndbox/xmin: expected a finite number: got 'NaN'"),
        (ONE, "<xmin>11<", '<xmin>"11"<', "one.xml: object 1: bndbox/xmin: expected a finite number: got '\"11\"'"),
        (ONE, "<truncated>1<", "<truncated>maybe<", "object 2: truncated: expected 0 or 1: got 'maybe'"),
        (LIST, "one", "one\none", "train.txt, line 2: 'one' is in train.txt already; expected each image once"),
        (LIST, "one", "one\ntwo", "'two' is in train.txt already; expected each image once"),
        (LIST, "one", "../../one", "train.txt, line 1: '../../one' has no XML file of this name"),
        (LIST, "one", "one\nsix", "train.txt, line 2: 'six' has no XML file of this name in Annotations"),
        (LIST, "one", "one" * 999, "train.txt, line 1: 'oneoneoneone...eoneoneoneone' has no XML file of this name"),
        (LIST, "one", b"\xe9", "train.txt, line 1: not UTF-8"),
        ("labels.txt", "Car", "Boat", "labels.txt: two classes have the name 'Boat'; expected each name once"),
        ("labels.txt", None, "", "labels.txt: expected the name of at least one class: got none"),
    ],
)  # fmt: skip
def test_a_broken_voc_folder_is_told(name, old, new, message, good):
    change(good / "voc" / name, old, new)
    assert message in told("voc", good)


def test_a_folder_that_is_no_vocs_is_told(good):
    (good / "voc/Annotations").rename(good / "voc/annotations")
    assert told("voc", good).startswith("THE FOLDER has no folder Annotations; expected Pascal VOC's folders")


def test_voc_without_any_class_is_told(good):
    (good / "voc/labels.txt").unlink()
    (good / "voc/ImageSets/Main/train.txt").unlink()
    assert told("voc", good) == (
        "THE FOLDER: expected the name of at least one class: got none; name the classes in labels.txt, a line each"
    )


FILE = "annotations/instances_train.json"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (None, "", f"{FILE}, line 1: not JSON, or cut off (Expecting value)"),
        ("]\n}", "", f"{FILE}, line 7: not JSON, or cut off"),
        (None, "[]", f"{FILE}: expected an object with keys at the top: got []"),
        (None, '{"images": ' + "[" * 9999, f"{FILE}: not JSON that can be read"),
        (None, '{"images": ' + "9" * 5000, f"{FILE}: not JSON that can be read"),
        ("Boat", b"Caf\xe9", f"{FILE}, line 5: not UTF-8"),
        ('"annotations"', '"boxes"', f"{FILE}: annotations: expected a list: got None"),
        ('"images": [', '"images": [7, ', f"{FILE}, images[0]: expected an object: got 7"),
        ('"name": "Car"', '"name": "Boat"', f"{FILE}, categories: two classes have the name 'Boat'; expected"),
        ('"name": "Car"', '"nom": "Car"', f"{FILE}, categories: expected a class's name as text in one line"),
        ('{"id": 2, "name"', '{"id": 1, "name"', f"{FILE}, categories[1]: id: 1 is there already; expected each once"),
        ('{"id": 2, "name"', '{"id": 3, "name"', f"{FILE}: categories: others than in instances_test.json; expected"),
        ('"width": 100', '"width": "100"', f"{FILE}, images[0]: width: expected a number: got '100'"),
        ('"width": 100', '"width": -100', "width: expected a whole number of pixels from 1 to 1,000,000: got"),
        ('"width": 100', '"width": 1e300', "width: expected a whole number of pixels from 1 to 1,000,000: got"),
        ('"height": 50', '"height": null', f"{FILE}, images[0]: height: expected a number: got None"),
        ('"file_name": "one.png"', '"file_name": ""', f"{FILE}, images[0]: file_name: expected text: got ''"),
        ('"images": [{"id": 1', '"images": [{"id": null', f"{FILE}, images[0]: id: expected a number: got None"),
        ('"image_id": 1', '"image_id": 2', f"{FILE}, annotations[0]: image_id: 2 is the id of nothing in images"),
        ('"image_id": 1', '"image_id": [1]', f"{FILE}, annotations[0]: image_id: [1] is the id of nothing in images"),
        ('"category_id": 2', '"category_id": 9', "annotations[1]: category_id: 9 is the id of nothing in categories"),
        ("[10.0, 20.0", "[NaN, 20.0", f"{FILE}, annotations[0]: bbox: expected a finite number: got nan"),
        ("[10.0, 20.0", "[1e999, 20.0", f"{FILE}, annotations[0]: bbox: expected a finite number: got inf"),
        ("[10.0, 20.0", '["10.0", 20.0', f"{FILE}, annotations[0]: bbox: expected a number: got '10.0'"),
        ("[10.0, 20.0", "[true, 20.0", f"{FILE}, annotations[0]: bbox: expected a number: got True"),
        ("20.5, 20.0]", "-20.5, 20.0]", "annotations[0]: bbox: expected a width and a height of 0 or more: got [10.0,"),
        ("20.5, 20.0]", "20.5]", "annotations[0]: bbox: expected four numbers, left, top, width, height: got [10.0"),
        ('"bbox"', '"box"', "annotations[0]: bbox: expected four numbers, left, top, width, height: got None"),
        ('"iscrowd": 1', '"iscrowd": 2', f"{FILE}, annotations[1]: iscrowd: expected 0 or 1: got 2"),
    ],
)  # fmt: skip
def test_a_broken_coco_file_is_told(old, new, message, good):
    change(good / "coco" / FILE, old, new)
    assert message in told("coco", good)


def test_a_doubled_image_in_a_coco_file_is_told(good):
    path = good / "coco" / FILE
    content = json.loads(path.read_text())
    content["images"] *= 2
    path.write_text(json.dumps(content))
    assert told("coco", good) == (
        f"{FILE}, images[1]: id: 1 is there already; expected each once: mend the file, or make it again"
    )
    content["images"][1] = content["images"][1] | {"id": 2, "file_name": "other.png"}
    path.write_text(json.dumps(content))
    assert (
        told("coco", good)
        == "THE FOLDER: two images have the id 'one', 'train/one.png' and 'train/other.png'; rename one"
    )


def test_a_coco_folder_without_files_is_told(good):
    (good / "coco/annotations").rename(good / "coco/other")
    assert told("coco", good).startswith("THE FOLDER has no annotations/instances_*.json; expected one a split")


@pytest.mark.parametrize("kind", READERS)
def test_a_folder_that_is_not_there_is_told(kind, tmp_path):
    assert "expected" in told(kind, tmp_path)
