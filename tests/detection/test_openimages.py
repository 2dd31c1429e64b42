"""The tables of Open Images, and errors in them."""

import csv
import random

import numpy as np
import pytest

from podium.detection import openimages
from podium.detection.openimages import (
    UNKNOWN,
    Address,
    KnownImage,
    addresses_of,
    class_of_codes,
    ids_in_random_order,
    read_addresses,
    read_boxes,
    read_class_codes,
    read_images,
    transfer_list,
)
from podium.detection.openimages_build import expand_patterns, find_images
from podium.errors import DataError

HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside,"
    "XClick1X,XClick2X"
)
CODES = {"/m/019jd": "Boat", "/m/0ph39": "Canoe"}
MD5 = "rL0Y20zC+Fzt72VPzMSk2A=="
IMAGES_HEADER = (
    "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,OriginalMD5,"
    "Thumbnail300KURL,Rotation"
)


def row(id_="000002b66c9c498e", code="/m/019jd", sides="0.1,0.5,0.2,0.6", flags="0,1,0,0,-1"):
    return f"{id_},xclick,{code},1,{sides},{flags},-1,-1"


def image_row(id_, url="", size="", md5="", thumbnail="", rotation="0.0", title="a boat"):
    return f'{id_},train,{url},,,,"Ada, by the sea","{title}",{size},{md5},{thumbnail},{rotation}'


@pytest.fixture
def table(tmp_path):
    """`table(rows)`: the path of a table of boxes with these rows."""

    def written(*rows, header=HEADER, end="\n"):
        path = tmp_path / "boxes.csv"
        path.write_bytes((end.join([header, *rows]) + end).encode())
        return path

    return written


@pytest.fixture
def images(tmp_path):
    def written(*rows, header=IMAGES_HEADER):
        path = tmp_path / "images.csv"
        path.write_text("\n".join([header, *rows, ""]))
        return path

    return written


def refusal(call, *arguments):
    with pytest.raises(DataError) as caught:
        call(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# Boxes


def test_box_has_corners_and_flags(table):
    boxes, rows = read_boxes(table(row(), row(code="/m/0k4j")), CODES)
    assert rows == 2
    assert boxes.to_dict("records") == [
        {"id": "000002b66c9c498e", "class": "Boat", "left": 0.1, "top": 0.2, "right": 0.5, "bottom": 0.6,
         "occluded": False, "truncated": True, "group": False, "depiction": False, "inside": False},
    ]  # fmt: skip


def test_block_size_does_not_change_the_result(table, monkeypatch):
    chance = random.Random(7)
    codes = [*CODES, "/m/0k4j", "/m/019jdx", "/m/01"]
    rows = [row(f"{number:016x}", chance.choice(codes), f"0.{number:04},0.9,0.1,0.8") for number in range(500)]
    path = table(*rows)
    expected = [
        (one["ImageID"], one["XMin"])
        for one in csv.DictReader(path.read_text().splitlines())
        if one["LabelName"] in CODES
    ]
    for size in (300, 997, 1 << 20):
        monkeypatch.setattr(openimages, "BLOCK", size)
        boxes = read_boxes(path, CODES)[0]
        assert [(id_, f"{left:.4f}") for id_, left in zip(boxes["id"], boxes["left"], strict=True)] == expected


def test_progress_reaches_the_file_size(table, monkeypatch):
    monkeypatch.setattr(openimages, "BLOCK", 200)
    path, message = table(*[row()] * 20), []
    read_boxes(path, CODES, message.append)
    assert message == sorted(message)
    assert message[-1] == path.stat().st_size


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_quotes_do_not_matter(table, end):
    path = table(row(), row(code='"/m/0ph39"'), row("00a"), end=end)
    path.write_bytes(path.read_bytes().removesuffix(end.encode()))
    boxes = read_boxes(path, CODES)[0]
    assert list(boxes["class"]) == ["Boat", "Canoe", "Boat"]
    assert list(boxes["id"]) == ["000002b66c9c498e", "000002b66c9c498e", "00a"]


def test_columns_may_be_in_another_order(table):
    header = "LabelName,ImageID,XMax,XMin,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    boxes = read_boxes(table("/m/019jd,00a,0.5,0.1,0.2,0.6,1,0,0,0,0", header=header), CODES)[0]
    assert (boxes["left"][0], boxes["right"][0], boxes["occluded"][0]) == (0.1, 0.5, True)


def test_quoted_field_may_contain_a_comma(table):
    boxes = read_boxes(table('00a,"x,y",/m/019jd,1,0.1,0.5,0.2,0.6,0,0,0,0,0,-1,-1'), CODES)[0]
    assert list(boxes["id"]) == ["00a"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(sides="0.1,abc,0.2,0.6"), "line 3: XMax: expected a number from 0 to 1, got 'abc'"),
        (row(sides="nan,0.5,0.2,0.6"), "line 3: XMin: expected a number from 0 to 1"),
        (row(sides="0.1,0.5,0.2,inf"), "line 3: YMax: expected a number from 0 to 1"),
        (row(sides=",0.5,0.2,0.6"), "line 3: XMin: expected a number from 0 to 1, got ''"),
        (row(flags="0,2,0,0,0"), "line 3: IsTruncated: expected 1, 0 or -1"),
        (row(id_="../../etc/passwd"), "line 3: expected an image id such as 000002b66c9c498e, got '../../etc/passwd'"),
        (row(id_=""), "line 3: expected an image id such as 000002b66c9c498e, got ''"),
        (row() + ",7", "line 3: expected 15 fields, as in the header, got 16"),
        ("00a,xclick,/m/019jd,1,0.1", "line 3: expected 15 fields, as in the header, got 5"),
        ("00a", "line 3: expected 15 fields, as in the header, got 1"),
        ("", "line 3: expected 15 fields, as in the header, got 1"),
    ],
)
def test_malformed_row_is_reported_with_its_line(table, bad, message):
    path = table(row(), bad, row())
    assert f"{path}, {message}" in refusal(read_boxes, path, CODES)


def test_line_number_is_right_after_the_first_block(table, monkeypatch):
    monkeypatch.setattr(openimages, "BLOCK", 300)
    path = table(*[row()] * 40, row(flags="0,2,0,0,0"), *[row()] * 9)
    assert f"{path}, line 42: " in refusal(read_boxes, path, CODES)


@pytest.mark.parametrize(
    ("header", "message"),
    [("ImageID,LabelName", "missing column XMin, YMin"), ("", "got nothing"), ("<html>", "got <html>")],
)
def test_other_table_is_reported(table, header, message):
    assert message in refusal(read_boxes, table(header=header), CODES)


def test_missing_file_is_reported(tmp_path):
    for read in (lambda path: read_boxes(path, CODES), read_class_codes, lambda path: read_images(path, {"a"})):
        assert f"{tmp_path / 'none.csv'} is missing; download it" in refusal(read, tmp_path / "none.csv")


def test_file_without_lines_is_reported(table, monkeypatch):
    monkeypatch.setattr(openimages, "BLOCK", 1_000)
    assert "too long for a table row" in refusal(read_boxes, table("x" * 5_000), CODES)


# Classes


def test_header_of_the_class_file_is_optional(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text('/m/019jd,Boat\n/m/01lsmm,"Scissors, large"\n')
    assert read_class_codes(path) == {"Boat": "/m/019jd", "Scissors, large": "/m/01lsmm"}
    path.write_text("LabelName,DisplayName\n/m/019jd,Boat\n")
    assert read_class_codes(path) == {"Boat": "/m/019jd"}


def test_unknown_class_is_reported_with_the_nearest_name(tmp_path):
    path = tmp_path / "classes.csv"
    known = {"Boat": "1", "Canoe": "2", "Car": "3"}
    assert class_of_codes({"vessel": ["Boat", "Canoe"]}, known, path) == {"1": "vessel", "2": "vessel"}
    message = refusal(class_of_codes, {"a": ["boat"], "b": ["Canoo"]}, known, path)
    assert "no class 'boat'; did you mean 'Boat'?; no class 'Canoo'; did you mean 'Canoe'?" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("/m/019jd\n", "line 1: expected a code and a name"),
     ("a,Boat\nb,Boat\n", "duplicate class 'Boat'"), ("a,Boat,c\n", "line 1: expected a code")],
)  # fmt: skip
def test_malformed_class_file_is_reported(tmp_path, text, message):
    path = tmp_path / "classes.csv"
    path.write_text(text)
    assert message in refusal(read_class_codes, path)


# Images and their addresses


def test_image_table_has_rotations_and_urls(images):
    path = images(
        image_row("a", "https://a/1_o.jpg", 7, MD5, "https://a/1_z.jpg", "90.0"),
        image_row("b", rotation="nan", title='says ""hello"",\nand goes'),
        image_row("c", rotation=""),
        image_row("d", rotation="270"),
    )
    known = read_images(path, {"a", "b", "c", "d"})
    assert known["a"] == KnownImage("train", Address("https://a/1_o.jpg", 7, MD5), "https://a/1_z.jpg", 90)
    assert [known[id_].rotation for id_ in "bcd"] == [UNKNOWN, UNKNOWN, 270]
    assert set(read_images(path, {"c", "elsewhere"})) == {"c"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (image_row("b", rotation="45"), "line 3: Rotation: expected 0, 90, 180, 270 or nan, got '45'"),
        (image_row("b", "https://a/2", "many"), "line 3: expected a size in bytes, got 'many'"),
        (image_row("b", "https://a/2", "7" * 5_000), "line 3: expected a size in bytes, got '777"),
        (image_row("b", "https://a/2", 7, "short"), "line 3: expected an MD5 checksum in base64, got 'short'"),
        ("b,train", "line 3: expected 12 fields, as in the header, got 2"),
        (image_row("b") + ",more", "line 3: expected 12 fields, as in the header, got 13"),
    ],
)
def test_malformed_image_row_is_reported_with_its_line(images, bad, message):
    path = images(image_row("a"), bad, image_row("c"))
    assert message in refusal(read_images, path, {"a", "b", "c"})


def test_rotated_image_is_not_downloaded_from_a_thumbnail():
    addresses = (Address("https://a/o.jpg", 5, MD5), "https://a/z.jpg")
    wanted = ["thumbnail", "original", "https://mirror/{subset}/{id}.jpg"]
    upright, turned = KnownImage("test", *addresses, 0), KnownImage("test", *addresses, 90)
    assert [one.url for one in addresses_of("x", upright, None, wanted)] == [
        "https://a/z.jpg", "https://a/o.jpg", "https://mirror/test/x.jpg",
    ]  # fmt: skip
    assert [one.url for one in addresses_of("x", turned, None, wanted)] == [
        "https://a/o.jpg", "https://mirror/test/x.jpg",
    ]  # fmt: skip


def test_listed_url_comes_first_without_duplicates():
    known = KnownImage("test", Address("https://a/o.jpg", 5, MD5))
    listed = Address("https://b/o.jpg", 5, MD5)
    assert addresses_of("x", known, listed, ["original"]) == (listed, Address("https://a/o.jpg", 5, MD5))
    assert addresses_of("x", known, Address("https://a/o.jpg"), ["original"]) == (Address("https://a/o.jpg"),)


def test_url_list_is_matched_by_original_name_or_id(tmp_path):
    path = tmp_path / "part0.tsv"
    path.write_text(
        f"TsvHttpData-1.0\nhttps://new/3/15611_o.jpg\t9\t{MD5}\nhttps://new/b.jpg\t8\t{MD5}\nhttps://new/no.jpg\t1\tx\n"
    )
    known = {"a": KnownImage(original=Address("https://old/5/15611_o.jpg")), "b": KnownImage()}
    found = read_addresses([path], known, lambda done: None)
    assert found == {
        "a": Address("https://new/3/15611_o.jpg", 9, MD5),
        "b": Address("https://new/b.jpg", 8, MD5),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://a/b.jpg\n", "expected a list of URLs that begins with TsvHttpData-1.0"),
        ("TsvHttpData-1.0\nhttps://a/b.jpg\tx\ty\n", "line 2: expected a size in bytes"),
        ("TsvHttpData-1.0\nhttps://a/b.jpg\t1\t2\t3\n", "line 2: expected a URL, a size and a checksum"),
    ],
)
def test_malformed_url_list_is_reported(tmp_path, text, message):
    path = tmp_path / "part0.tsv"
    path.write_text(text)
    assert message in refusal(read_addresses, [path], {"b": KnownImage()}, lambda done: None)


def test_transfer_list_is_sorted_by_url():
    text = transfer_list([Address("https://b/1", 5, MD5), Address("https://a/2", 7, MD5)])
    assert text == f"TsvHttpData-1.0\nhttps://a/2\t7\t{MD5}\nhttps://b/1\t5\t{MD5}\n"


def test_random_order_does_not_change_when_images_are_added(images):
    some = images(*[image_row(f"{number:03}") for number in range(0, 60, 2)])
    before = list(ids_in_random_order(some, 42, {"004"}))
    assert len(before) == 29
    assert before != sorted(before)
    after = list(ids_in_random_order(images(*[image_row(f"{number:03}") for number in range(60)]), 42, {"004"}))
    assert [id_ for id_ in after if id_ in before] == before
    assert list(ids_in_random_order(some, 43, {"004"})) != before


# Places


def test_first_existing_file_of_an_image_is_found(tmp_path):
    for name in ("train/0/a.jpg", "train/1/b.jpg", "test/b.jpg", "test/c.jpeg", "train/0/ab.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    patterns = expand_patterns(["train/*/{id}.jpg", "test/{id}.jpg", "nowhere/{id}.jpg"], tmp_path)
    assert patterns == ["train/0/{id}.jpg", "train/1/{id}.jpg", "test/{id}.jpg", "nowhere/{id}.jpg"]
    assert find_images({"a", "b", "c"}, patterns, tmp_path) == {"a": "train/0/a.jpg", "b": "train/1/b.jpg"}


def test_class_without_boxes_gives_an_empty_table(table):
    boxes = read_boxes(table(row()), {"/m/0ph39": "Canoe"})[0]
    assert boxes.empty
    assert boxes["left"].dtype == np.float64
