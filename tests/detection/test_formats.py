import contextlib
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from random_datasets import IDS, draw_headers, files_in, png_header, random_dataset, small_dataset

from podium.detection.cleaning import clean_boxes
from podium.detection.coco import read_coco, write_coco
from podium.detection.dataset import CORNERS, FLAGS, ordered, read_dataset, write_dataset
from podium.detection.formats import ImageFiles, check_sizes, id_of, stem_of
from podium.detection.voc import pixel_corners, read_voc, write_voc
from podium.detection.yolo import read_yolo, write_yolo
from podium.errors import DataError

FORMATS = {"yolo": (write_yolo, read_yolo), "voc": (write_voc, read_voc), "coco": (write_coco, read_coco)}


def sides_of(dataset):
    """The width and height of each corner's image, in the order of the corners."""
    sizes = dataset.images.set_index("id")[["width", "height"]]
    return sizes.loc[dataset.boxes["id"]].to_numpy()[:, [0, 1, 0, 1]]


def away_and_back(name, dataset, folder, how="copy"):
    write, read = FORMATS[name]
    write(dataset, folder / name, replace(draw_headers(dataset, folder), how=how))
    return read(folder / name)


def same_but_corners_and(names, dataset, back):
    """What every format keeps, and these flags; gives both sets' corners."""
    expected = ordered(dataset)
    kept = ["id", "width", "height", "split"]
    pd.testing.assert_frame_equal(back.images[kept], expected.images[kept])
    pd.testing.assert_frame_equal(back.boxes[["id", "class", *names]], expected.boxes[["id", "class", *names]])
    assert back.classes == dataset.classes
    assert not back.boxes[[flag for flag in FLAGS if flag not in names]].to_numpy().any()
    return expected.corners(), back.corners()


@pytest.mark.parametrize("seed", range(6))
def test_yolo_keeps_everything_except_flags(seed, tmp_path):
    dataset = random_dataset(seed)
    back = away_and_back("yolo", dataset, tmp_path)
    before, after = same_but_corners_and([], dataset, back)
    assert (np.abs(after - before) <= 0.75e-9 * sides_of(back) + 0.5000001e-6).all()


@pytest.mark.parametrize("seed", range(6))
def test_voc_keeps_whole_pixels_and_three_flags(seed, tmp_path):
    dataset = random_dataset(seed)
    before, after = same_but_corners_and(
        ["occluded", "truncated", "group"], dataset, away_and_back("voc", dataset, tmp_path)
    )
    is_whole = (before == before.round()).all(axis=1)
    assert is_whole.any()
    assert not is_whole.all()
    assert (after[is_whole] == before[is_whole]).all()
    is_thin = ((before[:, 2:] - before[:, :2]) < 1).any(axis=1)
    assert (np.abs(after - before)[~is_thin] <= 0.5).all()
    assert (np.abs(after - before)[is_thin] < 1).all()


@pytest.mark.parametrize("seed", range(6))
def test_coco_keeps_everything(seed, tmp_path):
    dataset = random_dataset(seed)
    before, after = same_but_corners_and([*FLAGS], dataset, away_and_back("coco", dataset, tmp_path))
    assert (after == before).all()


@pytest.mark.parametrize("seed", range(6))
def test_coco_without_images_keeps_their_files_too(seed, tmp_path):
    dataset = random_dataset(seed)
    write_coco(dataset, tmp_path / "coco")
    back = read_coco(tmp_path / "coco")
    pd.testing.assert_frame_equal(back.images, ordered(dataset).images)
    pd.testing.assert_frame_equal(back.boxes, ordered(dataset).boxes)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_imported_dataset_can_be_written_and_exported_again(name, seed, tmp_path):
    """Rounding brings no box out of its image; a second round trip changes nothing more."""
    once = away_and_back(name, random_dataset(seed), tmp_path)
    cleaned, counts = clean_boxes(once.images, once.boxes, minimum=1e-6)
    assert counts.clipped == counts.swapped == counts.empty == 0
    write_dataset(replace(once, boxes=cleaned), tmp_path / "set")
    kept = read_dataset(tmp_path / "set")
    write, read = FORMATS[name]
    write(kept, tmp_path / "again", ImageFiles("link", data_folder=tmp_path / name, dataset_folder=tmp_path))
    again = read(tmp_path / "again")
    pd.testing.assert_frame_equal(again.boxes, kept.boxes, atol=2e-5)
    pd.testing.assert_frame_equal(again.images, kept.images)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("how", ["copy", "link"])
def test_images_are_exported(name, how, tmp_path):
    dataset = random_dataset(1)
    back = away_and_back(name, dataset, tmp_path, how)
    assert dataset.images["rotated"].any()
    assert not back.images["rotated"].any()
    check_sizes(back, data_folder=tmp_path / name, dataset_folder=tmp_path / "nowhere")
    assert all((tmp_path / name / file).is_symlink() == (how == "link") for file in back.images["file"])


@pytest.mark.parametrize("name", FORMATS)
def test_no_id_leads_out_of_the_folder(name, tmp_path):
    dataset = random_dataset(2)
    ids = ["..", "../..", "/etc/passwd", "a/../../b", "..\\up", "C:\\boot", "/"]
    images = dataset.images.iloc[: len(ids)].assign(id=ids[: len(dataset.images)], turned=False)
    dataset = replace(dataset, images=images, boxes=dataset.boxes.iloc[:0])
    inside = tmp_path / "deep" / "inside"
    files = draw_headers(dataset, tmp_path)
    before = files_in(tmp_path)
    FORMATS[name][0](dataset, inside / "export", files)
    after = files_in(tmp_path)
    assert {path for path in after if inside / "export" not in path.parents} == {
        *before,
        tmp_path / "deep",
        inside,
        inside / "export",
    }
    assert FORMATS[name][1](inside / "export").images["id"].tolist() == sorted(ids)


@pytest.mark.parametrize("name", FORMATS)
def test_existing_folder_is_not_overwritten(name, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    before = files_in(tmp_path)
    for place in ("full", "file"):
        with pytest.raises(DataError, match=f"{place} already exists; expected a new or empty folder"):
            FORMATS[name][0](small_dataset(), tmp_path / place)
    assert files_in(tmp_path) == before
    FORMATS[name][0](small_dataset(), tmp_path / "empty")
    assert any((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_exported_if_an_image_is_missing(name, tmp_path):
    files = draw_headers(small_dataset(), tmp_path)
    (tmp_path / "data/some/two.png").unlink()
    before = files_in(tmp_path)
    with pytest.raises(DataError, match=r"two.png is missing; restore it, or export with --images none"):
        FORMATS[name][0](small_dataset(), tmp_path / "export", files)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("name", FORMATS)
def test_dataset_that_is_not_clean_is_not_exported(name, tmp_path):
    dataset = small_dataset()
    with pytest.raises(DataError, match="expected a box inside its image"):
        FORMATS[name][0](replace(dataset, boxes=dataset.boxes.assign(right=101.0)), tmp_path / "export")
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("ids", [["a", "A"], ["x" * 300, "b"]])
def test_ids_that_cannot_be_file_names_are_reported(ids, tmp_path):
    dataset = small_dataset()
    dataset = replace(dataset, images=dataset.images.assign(id=ids), boxes=dataset.boxes.iloc[:0])
    with pytest.raises(DataError, match=r"differ only in upper and lower case|too long for a file name"):
        write_voc(dataset, tmp_path / "export")
    assert not any(tmp_path.iterdir())


def test_id_is_restored_from_its_file_name():
    stems = [stem_of(name) for name in IDS]
    assert [id_of(stem) for stem in stems] == IDS
    assert len(set(stems)) == len(IDS)
    assert (stem_of("a/b"), stem_of(".."), stem_of("Жук 1")) == ("a%2Fb", "%2E%2E", "Жук%201")
    for foreign in ("a%20b%zz", "100%", "%41", "%FF", "a/b c"):
        assert id_of(foreign) == foreign


def test_sizes_are_compared_with_the_images(tmp_path):
    files = draw_headers(small_dataset(), tmp_path)
    (tmp_path / "data/some/two.png").write_bytes(png_header(50, 100))
    with pytest.raises(DataError, match=r"two.png has 50 × 100 pixels, but 100 × 50 in its annotations"):
        check_sizes(small_dataset(), files.data_folder, files.dataset_folder)


# YOLO


def test_yolo_files(tmp_path):
    write_yolo(small_dataset(), tmp_path / "yolo", draw_headers(small_dataset(), tmp_path))
    found = {
        path.relative_to(tmp_path / "yolo").as_posix(): content for path, content in files_in(tmp_path / "yolo").items()
    }
    assert found["data.yaml"] == (b"train: images/train\nval: images/val\nnames:\n  0: Boat\n  1: Car\n")
    assert found["obj.names"] == b"Boat\nCar\n"
    assert found["labels/train/one.txt"] == (
        b"0 0.202500000 0.600000000 0.205000000 0.400000000\n1 0.500000000 0.500000000 1.000000000 1.000000000\n"
    )
    assert found["labels/val/two.txt"] == b""
    assert found["images/train/one.png"] == png_header(100, 50)
    assert "images/val/two.png" in found
    # A part without images has no folders: empty ones get lost on the way.
    assert not any(path.endswith("/test") for path in found)


def foreign_yolo(folder, description):
    """A folder as another tool leaves it: one image of 100 × 50 to train, one to validate."""
    for place, name in (("train", "a"), ("valid", "b")):
        (folder / place / "images").mkdir(parents=True)
        (folder / place / "labels").mkdir()
        (folder / place / "images" / f"{name}.PNG").write_bytes(png_header(100, 50))
    (folder / "train/labels/a.txt").write_bytes(b"\xef\xbb\xbf1 0.5 0.5 0.2 0.4  \r\n\r\n0\t.5 5e-1 1 1\r\n")
    (folder / "data.yaml").write_text(description)
    (folder / "valid/labels/b.txt").write_text("")
    return folder


@pytest.mark.parametrize(
    "description",
    [
        "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: [ship, buoy]\n",
        "path: .\ntrain: train/images\nval: valid/images\ntest:\nnames: {0: ship, 1: buoy}\nextra: 1\n",
        "path: /content/set\ntrain: train/images\nval: valid/images\nnames:\n- ship\n- buoy\n",
    ],
)
def test_yolo_of_other_tools_is_read(description, tmp_path):
    back = read_yolo(foreign_yolo(tmp_path / "set", description))
    assert back.slug == "set"
    assert back.classes == ["ship", "buoy"]
    assert back.images.to_numpy().tolist() == [
        ["a", "train/images/a.PNG", 100, 50, False, "train"],
        ["b", "valid/images/b.PNG", 100, 50, False, "validation"],
    ]
    assert back.boxes["class"].tolist() == ["buoy", "ship"]
    assert back.corners().tolist() == [[40, 15, 60, 35], [0, 0, 100, 50]]


def test_yolo_labels_may_be_next_to_images_with_classes_in_obj_names(tmp_path):
    (tmp_path / "images/train/deep").mkdir(parents=True)
    (tmp_path / "images/train/deep/a.png").write_bytes(png_header(100, 50))
    (tmp_path / "images/train/deep/a.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    (tmp_path / "images/train/b.png").write_bytes(png_header(100, 50))
    (tmp_path / "images/train/classes.txt").write_text("boat\n")
    (tmp_path / "obj.names").write_text("boat\nno\n\n")
    back = read_yolo(tmp_path, slug="boats")
    assert back.slug == "boats"
    assert back.classes == ["boat", "no"]
    assert back.images["id"].tolist() == ["b", "deep/a"]
    assert back.boxes["id"].tolist() == ["deep/a"]


def test_same_name_in_two_splits_gives_two_images(tmp_path):
    foreign_yolo(tmp_path, "train: train/images\nval: valid/images\nnames: [ship, buoy]\n")
    for part, suffix in (("images", "PNG"), ("labels", "txt")):
        (tmp_path / "valid" / part / f"b.{suffix}").rename(tmp_path / "valid" / part / f"a.{suffix}")
    back = read_yolo(tmp_path)
    assert back.images["id"].tolist() == ["train/a", "val/a"]
    assert back.boxes["id"].tolist() == ["train/a"] * 2


# VOC


def test_voc_files(tmp_path):
    write_voc(small_dataset(), tmp_path / "voc")
    found = files_in(tmp_path / "voc")
    assert found[tmp_path / "voc/ImageSets/Main/train.txt"] == b"one\n"
    assert found[tmp_path / "voc/ImageSets/Main/val.txt"] == b"two\n"
    assert found[tmp_path / "voc/ImageSets/Main/test.txt"] == b""
    assert found[tmp_path / "voc/labels.txt"] == b"Boat\nCar\n"
    text = found[tmp_path / "voc/Annotations/one.xml"].decode()
    assert "<filename>one.png</filename>" in text
    assert text.count("<object>") == 2
    boat = " ".join(text.split("<object>")[1].split())
    assert boat == (
        "<name>Boat</name> <pose>Unspecified</pose> <truncated>0</truncated> <occluded>1</occluded>"
        " <difficult>0</difficult> <bndbox> <xmin>11</xmin> <ymin>21</ymin> <xmax>31</xmax> <ymax>40</ymax> </bndbox>"
        " </object>"
    )


@pytest.mark.parametrize(
    ("left", "right", "xmin", "xmax"),
    [
        (0, 100, 1, 100),
        (10, 11, 11, 11),
        (10.4, 20.4, 11, 20),
        (10.5, 20.5, 12, 21),
        (10.6, 11.4, 12, 12),
        (10.1, 10.2, 11, 11),
        (99.2, 99.4, 100, 100),
        (99.6, 100, 100, 100),
        (0, 0.000001, 1, 1),
    ],
)
def test_voc_counts_pixels_from_1(left, right, xmin, xmax):
    assert pixel_corners(np.array([[left, left, right, right]])).tolist() == [[xmin, xmin, xmax, xmax]]


FOREIGN_XML = """\
<?xml version="1.0" encoding="utf-8"?>
<annotation verified="no">
\t<filename> a.jpg </filename><source><database>Unknown</database></source>
\t<size><width>100</width><height>50.0</height><depth>3</depth></size>
\t<object><name>ship</name><bndbox><xmin>10.5</xmin><ymin>1</ymin><xmax>2e1</xmax><ymax>50</ymax></bndbox>
\t\t<part><name>mast</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>
\t<object><difficult>1</difficult><truncated>True</truncated><bndbox><ymax>9</ymax><xmax>3</xmax><ymin>8</ymin>
\t\t<xmin>4</xmin></bndbox><name>buoy &amp; bell</name></object>
</annotation>
"""


def test_voc_of_other_tools_is_read(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/a.xml").write_bytes(b"\xef\xbb\xbf" + FOREIGN_XML.replace("\n", "\r\n").encode())
    empty = "<annotation><filename>b.jpg</filename><size><height>5</height><width>6</width></size></annotation>"
    (tmp_path / "Annotations/b.xml").write_text(empty)
    back = read_voc(tmp_path)
    assert back.classes == ["buoy & bell", "ship"]
    assert back.images.to_numpy().tolist() == [
        ["a", "JPEGImages/a.jpg", 100, 50, False, "train"],
        ["b", "JPEGImages/b.jpg", 6, 5, False, "train"],
    ]
    assert back.boxes["class"].tolist() == ["ship", "buoy & bell"]
    assert back.corners().tolist() == [[9.5, 0, 20, 50], [3, 7, 3, 9]]  # the second is swapped by a pixel
    assert back.boxes[["occluded", "truncated", "group"]].to_numpy().tolist() == [[False] * 3, [False, True, True]]


def test_only_images_in_voc_lists_are_read(tmp_path):
    write_voc(small_dataset(), tmp_path / "voc")
    lists = tmp_path / "voc/ImageSets/Main"
    (lists / "val.txt").write_bytes(b"one \r\n\r\n")
    (lists / "train.txt").unlink()
    back = read_voc(tmp_path / "voc")
    assert back.images[["id", "split"]].to_numpy().tolist() == [["one", "validation"]]


# COCO


def test_coco_is_loaded_by_pycocotools(tmp_path):
    module = pytest.importorskip("pycocotools.coco")
    dataset = ordered(random_dataset(3))
    write_coco(dataset, tmp_path / "coco", draw_headers(dataset, tmp_path))
    images = boxes = 0
    for split, short_name in (("train", "train"), ("validation", "val"), ("test", "test")):
        with contextlib.redirect_stdout(io.StringIO()):
            loaded = module.COCO(str(tmp_path / f"coco/annotations/instances_{short_name}.json"))
        assert [category["name"] for category in loaded.loadCats(loaded.getCatIds())] == dataset.classes
        for entry in loaded.loadImgs(loaded.getImgIds()):
            image = dataset.images.set_index("id").loc[entry["podium_id"]]
            assert image[["width", "height", "split"]].tolist() == [entry["width"], entry["height"], split]
            assert (tmp_path / "coco" / short_name / entry["file_name"]).is_file()
            own = dataset.boxes[dataset.boxes["id"] == entry["podium_id"]]
            annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=entry["id"]))
            lefts_and_tops = [annotation["bbox"][:2] for annotation in annotations]
            assert lefts_and_tops == own[["left", "top"]].to_numpy().tolist()
            assert [annotation["iscrowd"] for annotation in annotations] == own["group"].astype(int).tolist()
            images, boxes = images + 1, boxes + len(annotations)
    assert (images, boxes) == (len(dataset.images), len(dataset.boxes))


FOREIGN_COCO = {
    "info": {"year": 2017},
    "images": [
        {"id": 139, "file_name": "deep/000139.jpg", "width": 100, "height": 50.0, "license": 3},
        {"id": "7", "file_name": "000285.jpg", "width": 30, "height": 40},
    ],
    "annotations": [
        {"id": 1, "image_id": 139, "category_id": 90, "bbox": [10, 20.5, 30, 0], "segmentation": [[1, 2, 3, 4, 5, 6]]},
        {"id": 1, "image_id": 139, "category_id": 3, "bbox": [0, 0, 99.999, 50], "iscrowd": 1, "attributes": "none"},
        {"image_id": 139, "category_id": 3, "bbox": [0, 0, 9, 5], "attributes": {"occluded": True, "depiction": 0}},
    ],
    "categories": [{"id": 3, "name": "car"}, {"id": 90, "name": "toothbrush", "supercategory": "indoor"}],
}


def test_coco_of_other_tools_is_read(tmp_path):
    for place in ("annotations", "val2017"):
        (tmp_path / place).mkdir()
    content = b"\xef\xbb\xbf" + json.dumps(FOREIGN_COCO).encode()
    (tmp_path / "annotations/instances_val2017.json").write_bytes(content)
    back = read_coco(tmp_path)
    assert back.classes == ["car", "toothbrush"]
    assert back.images.to_numpy().tolist() == [
        ["000285", "val2017/000285.jpg", 30, 40, False, "validation"],
        ["deep/000139", "val2017/deep/000139.jpg", 100, 50, False, "validation"],
    ]
    assert back.boxes["class"].tolist() == ["toothbrush", "car", "car"]
    assert back.corners().tolist() == [[10, 20.5, 40, 20.5], [0, 0, 99.999, 50], [0, 0, 9, 5]]
    assert back.boxes["group"].tolist() == [False, True, False]
    assert back.boxes["occluded"].tolist() == [False, False, True]


def test_single_coco_file_is_read(tmp_path):
    (tmp_path / "boats.json").write_text(json.dumps(FOREIGN_COCO))
    back = read_coco(tmp_path / "boats.json", slug="boats")
    assert back.images["split"].tolist() == ["train", "train"]
    assert back.images["file"].tolist() == ["000285.jpg", "deep/000139.jpg"]


def test_coco_files_may_be_next_to_their_images(tmp_path):
    for place in ("train", "valid"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "_annotations.coco.json").write_text(json.dumps(FOREIGN_COCO))
    back = read_coco(tmp_path)
    assert back.images["id"].tolist() == ["train/000285", "train/deep/000139", "val/000285", "val/deep/000139"]
    assert back.images["file"].tolist()[2] == "valid/000285.jpg"
    assert back.boxes["id"].tolist() == ["train/deep/000139"] * 3 + ["val/deep/000139"] * 3


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("images", [0, 2])
def test_dataset_without_boxes_is_restored(name, images, tmp_path):
    dataset = small_dataset()
    dataset = replace(dataset, images=dataset.images.iloc[:images], boxes=dataset.boxes.iloc[:0])
    back = away_and_back(name, dataset, tmp_path)
    assert (back.classes, len(back.images), len(back.boxes)) == (dataset.classes, images, 0)
    assert [dtype.kind for dtype in back.boxes.dtypes] == [dtype.kind for dtype in dataset.boxes.dtypes]


def test_moved_export_is_read(tmp_path):
    for name, (write, read) in FORMATS.items():
        write(small_dataset(), tmp_path / name, draw_headers(small_dataset(), tmp_path / "images"))
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
        back = read(tmp_path / "elsewhere" / name)
        assert back.boxes[list(CORNERS)].to_numpy().shape == (2, 4)
        assert back.slug == name
