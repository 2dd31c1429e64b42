from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from random_datasets import files_in, random_dataset, small_dataset

from podium.detection.dataset import CORNERS, image_path, ordered, read_dataset, write_dataset
from podium.errors import DataError


def with_boxes(dataset, *rows):
    return replace(dataset, boxes=pd.DataFrame(rows, columns=dataset.boxes.columns))


def with_image(dataset, **values):
    return replace(dataset, images=dataset.images.assign(**values))


@pytest.mark.parametrize("seed", range(8))
def test_written_dataset_is_restored(seed, tmp_path):
    dataset = random_dataset(seed)
    write_dataset(dataset, tmp_path / "set")
    back = read_dataset(tmp_path / "set")
    expected = ordered(dataset)
    pd.testing.assert_frame_equal(back.images, expected.images)
    pd.testing.assert_frame_equal(back.boxes, expected.boxes)
    assert (back.slug, back.classes, back.source) == (dataset.slug, dataset.classes, dataset.source)
    assert [dtype.kind for dtype in back.images.dtypes] == list("OOiibO")


def test_files_of_a_dataset(tmp_path):
    write_dataset(small_dataset(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes.csv", "images.csv", "index.json"]
    assert (tmp_path / "images.csv").read_text() == (
        "id,file,width,height,rotated,split\none,some/one.png,100,50,0,train\ntwo,some/two.png,100,50,0,validation\n"
    )
    assert (tmp_path / "boxes.csv").read_text() == (
        "id,class,left,top,right,bottom,occluded,truncated,group,depiction\n"
        "one,Boat,10.0,20.0,30.5,40.0,1,0,0,0\n"
        "one,Car,0.0,0.0,100.0,50.0,0,1,1,1\n"
    )


def test_rows_are_sorted_by_id_and_boxes_of_an_image_keep_their_order(tmp_path):
    dataset = small_dataset()
    first, second = dataset.boxes.to_numpy().tolist()
    reversed_rows = replace(dataset, images=dataset.images.iloc[::-1])
    reversed_rows = with_boxes(reversed_rows, ["two", *first[1:]], second, first)
    write_dataset(reversed_rows, tmp_path)
    back = read_dataset(tmp_path)
    assert back.images["id"].tolist() == ["one", "two"]
    assert back.boxes[["id", "class"]].to_numpy().tolist() == [["one", "Car"], ["one", "Boat"], ["two", "Boat"]]


def test_corners_are_rounded_to_six_digits(tmp_path):
    dataset = with_boxes(small_dataset(), ["one", "Boat", -0.0, 1 / 3, 99.99999999, 2e-6 + 1 / 3, 0, 0, 0, 0])
    write_dataset(dataset, tmp_path)
    assert (tmp_path / "boxes.csv").read_text().splitlines()[1] == "one,Boat,0.0,0.333333,100.0,0.333335,0,0,0,0"
    assert read_dataset(tmp_path).corners().tolist() == [[0, 0.333333, 100, 0.333335]]


def test_dataset_may_have_no_boxes_or_images(tmp_path):
    dataset = small_dataset()
    empty = replace(dataset, images=dataset.images.iloc[:0], boxes=dataset.boxes.iloc[:0])
    write_dataset(replace(dataset, boxes=dataset.boxes.iloc[:0]), tmp_path / "no-boxes")
    write_dataset(empty, tmp_path / "nothing")
    assert len(read_dataset(tmp_path / "no-boxes").images) == 2
    back = read_dataset(tmp_path / "nothing")
    assert len(back.images) == len(back.boxes) == 0
    assert back.boxes[list(CORNERS)].dtypes.eq(np.float64).all()


def test_files_with_bom_and_crlf_are_read(tmp_path):
    write_dataset(small_dataset(), tmp_path)
    for path in list(tmp_path.iterdir()):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(read_dataset(tmp_path).boxes, small_dataset().boxes)


def test_dataset_replaces_an_earlier_one(tmp_path):
    write_dataset(random_dataset(0), tmp_path)
    (tmp_path / "rotated").mkdir()
    write_dataset(small_dataset(), tmp_path)
    assert read_dataset(tmp_path).slug == "small"
    assert (tmp_path / "rotated").is_dir()


def test_earlier_dataset_is_kept_if_the_new_one_is_invalid(tmp_path):
    write_dataset(random_dataset(0), tmp_path)
    before = files_in(tmp_path)
    with pytest.raises(DataError, match="expected left < right"):
        write_dataset(with_boxes(small_dataset(), ["one", "Boat", 5, 5, 4, 6, 0, 0, 0, 0]), tmp_path)
    with pytest.raises(TypeError):
        write_dataset(replace(small_dataset(), source={"a": {1, 2}}), tmp_path)
    assert files_in(tmp_path) == before


def test_interruption_between_files_does_not_mix_two_datasets(tmp_path, monkeypatch):
    write_dataset(random_dataset(0), tmp_path)
    rename = Path.replace

    def killed(self, target):
        if target.name == "images.csv":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(small_dataset(), tmp_path)
    with pytest.raises(DataError, match=r"has no index.json: build the dataset"):
        read_dataset(tmp_path)


BOX = ["one", "Boat", 10, 20, 30, 40, 0, 0, 0, 0]
ORDER = "left, top, right, bottom: expected left < right and top < bottom, got"
INSIDE = "left, top, right, bottom: expected a box inside its image, got"
FINITE = "left, top, right, bottom: expected finite numbers, got"


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, "three", "id: expected the id of an image, got 'three'"),
        (1, "boat", "class: expected one of Boat, Car, got 'boat'"),
        (2, 30, f"{ORDER} 30.0, 20.0, 30.0, 40.0"),
        (3, 41, f"{ORDER} 10.0, 41.0, 30.0, 40.0"),
        (2, -1, f"{INSIDE} -1.0, 20.0, 30.0, 40.0"),
        (4, 100.5, f"{INSIDE} 10.0, 20.0, 100.5, 40.0"),
        (5, 51, f"{INSIDE} 10.0, 20.0, 30.0, 51.0"),
        (2, np.nan, f"{FINITE} nan"),
        (4, np.inf, f"{FINITE} 10.0, 20.0, inf"),
    ],
)
def test_box_that_is_not_clean_is_not_written(position, value, message, tmp_path):
    box = [*BOX[:position], value, *BOX[position + 1 :]]
    with pytest.raises(DataError) as caught:
        write_dataset(with_boxes(small_dataset(), BOX, box), tmp_path / "set")
    assert f"cannot write the dataset small: image {box[0]!r}: {message}" in str(caught.value)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("id", ["one", "one"], "id: expected an id that is not on an earlier line, got 'one'"),
        ("id", ["one", ""], "id: expected text, got ''"),
        ("id", ["one", 2], "id: expected text, got 2"),
        ("id", ["one", "caf\udce9"], r"id: expected text, got 'caf\udce9'"),
        ("file", ["a.png", ""], "file: expected a path, got ''"),
        ("width", [0, 100], "width: expected 1 pixel or more, got 0"),
        ("height", [50, -1], "height: expected 1 pixel or more, got -1"),
        ("split", ["train", "val"], "split: expected train or validation or test, got 'val'"),
    ],
)
def test_invalid_image_is_not_written(column, value, message, tmp_path):
    with pytest.raises(DataError) as caught:
        write_dataset(with_image(small_dataset(), **{column: value}), tmp_path / "set")
    assert message in str(caught.value)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("classes", [[], ["Boat", "Boat"], ["Boat", " Car"], ["Boat", "C\nar"], ["Boat", ""]])
def test_class_names_are_unique_lines_of_text(classes, tmp_path):
    with pytest.raises(DataError, match=r"cannot write the dataset small: classes: .*class name"):
        write_dataset(replace(small_dataset(), classes=classes), tmp_path)


def test_rotated_image_is_in_the_folder_of_the_dataset():
    assert image_path("a/b.jpg", False, Path("data"), Path("runs/boxes/boats")) == Path("data/a/b.jpg")
    assert image_path("rotated/b.png", True, Path("data"), Path("own")) == Path("own/rotated/b.png")
