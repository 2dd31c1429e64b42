from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from random_boxsets import files_in, random_boxset, small_boxset

from podium.detection.dataset import CORNERS, image_path, ordered, read_dataset, write_dataset
from podium.errors import DataError


def with_boxes(boxset, *rows):
    return replace(boxset, boxes=pd.DataFrame(rows, columns=boxset.boxes.columns))


def with_image(boxset, **values):
    return replace(boxset, images=boxset.images.assign(**values))


@pytest.mark.parametrize("seed", range(8))
def test_what_is_written_is_read_as_it_was(seed, tmp_path):
    boxset = random_boxset(seed)
    write_dataset(boxset, tmp_path / "set")
    back = read_dataset(tmp_path / "set")
    expected = ordered(boxset)
    pd.testing.assert_frame_equal(back.images, expected.images)
    pd.testing.assert_frame_equal(back.boxes, expected.boxes)
    assert (back.slug, back.classes, back.source) == (boxset.slug, boxset.classes, boxset.source)
    assert back.images.dtypes.astype(str).tolist() == ["object", "object", "int64", "int64", "bool", "object"]


def test_the_three_files_are_plain(tmp_path):
    write_dataset(small_boxset(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes.csv", "index.json", "images.csv"]
    assert (tmp_path / "images.csv").read_text() == (
        "id,file,width,height,turned,split\none,some/one.png,100,50,0,train\ntwo,some/two.png,100,50,0,validation\n"
    )
    assert (tmp_path / "boxes.csv").read_text() == (
        "id,class,left,top,right,bottom,occluded,truncated,group,depiction\n"
        "one,Boat,10.0,20.0,30.5,40.0,1,0,0,0\n"
        "one,Car,0.0,0.0,100.0,50.0,0,1,1,1\n"
    )


def test_rows_are_in_the_order_of_ids_and_boxes_of_a_image_stay_in_theirs(tmp_path):
    boxset = small_boxset()
    first, second = boxset.boxes.to_numpy().tolist()
    turned_round = replace(boxset, images=boxset.images.iloc[::-1])
    turned_round = with_boxes(turned_round, ["two", *first[1:]], second, first)
    write_dataset(turned_round, tmp_path)
    back = read_dataset(tmp_path)
    assert back.images["id"].tolist() == ["one", "two"]
    assert back.boxes[["id", "class"]].to_numpy().tolist() == [["one", "Car"], ["one", "Boat"], ["two", "Boat"]]


def test_corners_are_kept_to_a_millionth_of_a_pixel(tmp_path):
    boxset = with_boxes(small_boxset(), ["one", "Boat", -0.0, 1 / 3, 99.99999999, 2e-6 + 1 / 3, 0, 0, 0, 0])
    write_dataset(boxset, tmp_path)
    assert (tmp_path / "boxes.csv").read_text().splitlines()[1] == "one,Boat,0.0,0.333333,100.0,0.333335,0,0,0,0"
    assert read_dataset(tmp_path).corners().tolist() == [[0, 0.333333, 100, 0.333335]]


def test_a_set_without_boxes_or_images_is_one_too(tmp_path):
    boxset = small_boxset()
    empty = replace(boxset, images=boxset.images.iloc[:0], boxes=boxset.boxes.iloc[:0])
    write_dataset(replace(boxset, boxes=boxset.boxes.iloc[:0]), tmp_path / "no-boxes")
    write_dataset(empty, tmp_path / "nothing")
    assert len(read_dataset(tmp_path / "no-boxes").images) == 2
    back = read_dataset(tmp_path / "nothing")
    assert len(back.images) == len(back.boxes) == 0
    assert back.boxes[list(CORNERS)].dtypes.eq(np.float64).all()


def test_files_that_a_person_saved_on_windows_are_read(tmp_path):
    write_dataset(small_boxset(), tmp_path)
    for path in list(tmp_path.iterdir()):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(read_dataset(tmp_path).boxes, small_boxset().boxes)


def test_a_set_takes_the_place_of_an_earlier_one(tmp_path):
    write_dataset(random_boxset(0), tmp_path)
    (tmp_path / "turned").mkdir()
    write_dataset(small_boxset(), tmp_path)
    assert read_dataset(tmp_path).slug == "small"
    assert (tmp_path / "turned").is_dir()


def test_an_earlier_set_stays_where_the_new_one_cannot_be_written(tmp_path):
    write_dataset(random_boxset(0), tmp_path)
    before = files_in(tmp_path)
    with pytest.raises(DataError, match="clean the boxes first"):
        write_dataset(with_boxes(small_boxset(), ["one", "Boat", 5, 5, 4, 6, 0, 0, 0, 0]), tmp_path)
    with pytest.raises(TypeError):
        write_dataset(replace(small_boxset(), source={"a": {1, 2}}), tmp_path)
    assert files_in(tmp_path) == before


def test_a_kill_between_the_files_leaves_no_mixture_of_two_sets(tmp_path, monkeypatch):
    write_dataset(random_boxset(0), tmp_path)
    rename = Path.replace

    def killed(self, target):
        if target.name == "images.csv":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(small_boxset(), tmp_path)
    with pytest.raises(DataError, match=r"holds no index.json; expected a whole set of boxes: build it"):
        read_dataset(tmp_path)


BOX = ["one", "Boat", 10, 20, 30, 40, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("position", "value", "told"),
    [
        (0, "three", "id: 'three' is no image of the set"),
        (1, "boat", "class: 'boat' is none of the set's, Boat, Car"),
        (2, 30, "expected left below right and top below bottom: got left 30, top 20, right 30, bottom 40"),
        (3, 41, "expected left below right and top below bottom: got left 10, top 41, right 30, bottom 40"),
        (2, -1, "expected a box within its image: got left -1, top 20, right 30, bottom 40"),
        (4, 100.5, "expected a box within its image: got left 10, top 20, right 100.5, bottom 40"),
        (5, 51, "expected a box within its image: got left 10, top 20, right 30, bottom 51"),
        (2, np.nan, "expected finite corners: got left nan"),
        (4, np.inf, "expected finite corners: got left 10, top 20, right inf"),
    ],
)
def test_a_box_that_is_not_clean_is_not_written(position, value, told, tmp_path):
    box = [*BOX[:position], value, *BOX[position + 1 :]]
    with pytest.raises(DataError) as caught:
        write_dataset(with_boxes(small_boxset(), BOX, box), tmp_path / "set")
    name = repr(box[0])
    assert f"the set of boxes small cannot be written: a row of the image {name}: {told}" in str(caught.value)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("id", ["one", "one"], "id: 'one' is on an earlier line too"),
        ("id", ["one", ""], "id: expected text: got ''"),
        ("id", ["one", 2], "id: expected text: got 2"),
        ("id", ["one", "caf\udce9"], r"id: expected text: got 'caf\udce9'"),
        ("file", ["a.png", ""], "file: expected a path in UTF-8: got ''"),
        ("width", [0, 100], "width: expected 1 pixel or more: got 0"),
        ("height", [50, -1], "height: expected 1 pixel or more: got -1"),
        ("split", ["train", "val"], "split: expected one of train, validation, test: got 'val'"),
    ],
)
def test_a_image_that_cannot_be_is_not_written(column, value, told, tmp_path):
    with pytest.raises(DataError) as caught:
        write_dataset(with_image(small_boxset(), **{column: value}), tmp_path / "set")
    assert told in str(caught.value)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("classes", [[], ["Boat", "Boat"], ["Boat", " Car"], ["Boat", "C\nar"], ["Boat", ""]])
def test_classes_are_different_lines_of_text(classes, tmp_path):
    with pytest.raises(DataError, match=r"the set of boxes small cannot be written: .*name"):
        write_dataset(replace(small_boxset(), classes=classes), tmp_path)


def test_a_turned_image_lies_in_the_sets_own_folder():
    assert image_path("a/b.jpg", False, Path("data"), Path("runs/boxes/boats")) == Path("data/a/b.jpg")
    assert image_path("turned/b.png", True, Path("data"), Path("own")) == Path("own/turned/b.png")
