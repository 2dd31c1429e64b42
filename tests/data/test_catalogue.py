import os

import cv2
import numpy as np
import pytest

from podium.console import make_console
from podium.data import catalogue as catalogue_module
from podium.data.catalogue import unreadable
from podium.data.images import read_image
from podium.errors import DataError


def noise(path, side=96):
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_a_truncated_file_is_unreadable(tmp_path, ending, share):
    path = noise(tmp_path / f"cut.{ending}")
    content = path.read_bytes()
    assert unreadable([path]) == []
    path.write_bytes(content[: int(len(content) * share)])
    assert unreadable([path]) == [path]


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", bytes(3000)], ids=["empty", "page", "zeros"])
def test_a_file_that_is_not_an_image_is_unreadable(tmp_path, content):
    path = tmp_path / "odd.jpg"
    path.write_bytes(content)
    assert unreadable([path]) == [path]
    with pytest.raises(DataError, match=r"odd\.jpg is not a readable image"):
        read_image(path)


def test_a_folder_in_place_of_an_image_is_unreadable(tmp_path):
    (tmp_path / "0001.jpg").mkdir()
    assert unreadable([tmp_path / "0001.jpg"]) == [tmp_path / "0001.jpg"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (5, 3)])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_tiny_images_are_readable(tmp_path, shape, ending):
    path = tmp_path / f"small.{ending}"
    cv2.imwrite(str(path), np.full((*shape, 3), 200, np.uint8))
    assert unreadable([path]) == []
    assert read_image(path).shape == (*shape, 3)


def test_data_appended_to_a_photograph_is_ignored(tmp_path):
    path = noise(tmp_path / "motion.jpg")
    path.write_bytes(path.read_bytes() + bytes(20_000))
    assert unreadable([path]) == []


def test_an_unreadable_file_prints_nothing_by_itself(tmp_path, capfd):
    path = noise(tmp_path / "cut.png")
    path.write_bytes(path.read_bytes()[:2000])
    assert unreadable([path]) == [path]
    assert capfd.readouterr() == ("", "")


def test_readable_files_are_read_once_and_unreadable_ones_again(tmp_path, monkeypatch):
    good, bad = noise(tmp_path / "good.jpg"), tmp_path / "bad.jpg"
    bad.write_text("no image")
    assert unreadable([good, bad]) == [bad]
    read, read_new = [], catalogue_module._read_new
    monkeypatch.setattr(
        catalogue_module, "_read_new", lambda path, *others: read.append(path) or read_new(path, *others)
    )
    assert unreadable([good, bad]) == [bad]
    assert read == [str(bad)]


@pytest.mark.parametrize("damage", [b"PK\x03\x04", b"", b"\x93NUMPY\x01\x00v\x00{'descr': ((", bytes(400)])
def test_a_damaged_catalogue_is_read_again(tmp_path, cache, damage):
    path = noise(tmp_path / "good.jpg")
    assert unreadable([path]) == []
    (memory,) = (cache / "catalogue").iterdir()
    memory.write_bytes(damage)
    assert unreadable([path]) == []


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_text("no image")
    assert unreadable([path]) == [path]
    noise(path)
    assert unreadable([path]) == []
    whole = path.read_bytes()
    path.write_bytes(bytes(len(whole)))  # as long as before
    os.utime(path, ns=(0, 10**18))
    assert unreadable([path]) == [path]


def test_work_on_many_files_prints_no_blank_line_in_a_log(monkeypatch, capsys):
    monkeypatch.setattr(catalogue_module, "_MANY", 2)
    assert list(catalogue_module.in_parallel(str, range(5), "reading images", make_console())) == list("01234")
    assert capsys.readouterr().out == ""
