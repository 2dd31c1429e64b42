import os

import cv2
import numpy as np
import pytest

from podium.data import catalogue as catalogue_module
from podium.data.catalogue import catalogue, images_of, leave_out_unreadable, unreadable
from podium.data.images import read_image
from podium.data.table import numbered, read_rows
from podium.errors import DataError


def noise(path, side=96):
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_a_file_that_was_cut_off_is_found(tmp_path, ending, share):
    path = noise(tmp_path / f"cut.{ending}")
    content = path.read_bytes()
    assert unreadable([path]) == []
    path.write_bytes(content[: int(len(content) * share)])
    assert unreadable([path]) == [path]


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", bytes(3000)], ids=["empty", "page", "zeros"])
def test_a_file_that_is_no_image_is_found_and_named_when_read(tmp_path, content):
    path = tmp_path / "odd.jpg"
    path.write_bytes(content)
    assert unreadable([path]) == [path]
    with pytest.raises(DataError, match=r"odd\.jpg is not an image that can be read"):
        read_image(path)


def test_a_folder_in_the_place_of_a_image_is_found(tmp_path):
    (tmp_path / "0001.jpg").mkdir()
    assert unreadable([tmp_path / "0001.jpg"]) == [tmp_path / "0001.jpg"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (5, 3)])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_the_smallest_images_are_whole(tmp_path, shape, ending):
    path = tmp_path / f"small.{ending}"
    cv2.imwrite(str(path), np.full((*shape, 3), 200, np.uint8))
    assert unreadable([path]) == []
    assert read_image(path).shape == (*shape, 3)


def test_what_a_phone_appends_to_a_photograph_does_no_harm(tmp_path):
    path = noise(tmp_path / "motion.jpg")
    path.write_bytes(path.read_bytes() + bytes(20_000))
    assert unreadable([path]) == []


def test_a_bad_file_writes_nothing_of_its_own_to_the_terminal(tmp_path, capfd):
    path = noise(tmp_path / "cut.png")
    path.write_bytes(path.read_bytes()[:2000])
    assert unreadable([path]) == [path]
    assert capfd.readouterr() == ("", "")


def test_what_was_whole_is_remembered_as_long_as_it_is_unchanged(tmp_path, monkeypatch):
    good, bad = noise(tmp_path / "good.jpg"), tmp_path / "bad.jpg"
    bad.write_text("no image")
    assert unreadable([good, bad]) == [bad]
    looked = []
    real = catalogue_module._read
    monkeypatch.setattr(catalogue_module, "_read", lambda path, keeper: looked.append(path) or real(path, keeper))
    assert unreadable([good, bad]) == [bad]
    assert looked == [str(bad)]


@pytest.mark.parametrize("damage", [b"PK\x03\x04", b"", b"\x93NUMPY\x01\x00v\x00{'descr': ((", bytes(400)])
def test_a_damaged_memory_is_none(tmp_path, cache, damage):
    path = noise(tmp_path / "good.jpg")
    assert unreadable([path]) == []
    (memory,) = (cache / "catalogue").iterdir()
    memory.write_bytes(damage)
    assert unreadable([path]) == []


def test_a_changed_file_is_looked_at_again(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_text("no image")
    assert unreadable([path]) == [path]
    noise(path)
    assert unreadable([path]) == []
    whole = path.read_bytes()
    path.write_bytes(bytes(len(whole)))  # as long as before
    os.utime(path, ns=(0, 10**18))
    assert unreadable([path]) == [path]


@pytest.fixture
def spoiled(tiny_competition):
    """The rows of a competition with two training images and a test image that cannot be read."""
    rows = read_rows(tiny_competition.competition, tiny_competition.folder)
    bad = [rows.train["path"][0], rows.train["path"][9], rows.test["path"][2]]
    for path in bad:
        path.write_bytes(path.read_bytes()[:100])
    return rows, bad


def test_all_unreadable_images_are_named_in_one_error(spoiled):
    rows, bad = spoiled
    with pytest.raises(DataError, match=r"3 images cannot be read: .*on_bad_image: skip") as caught:
        leave_out_unreadable(rows, "error", catalogue(images_of(rows)))
    assert all(str(path) in str(caught.value) for path in bad)


def test_skip_drops_training_rows_and_keeps_test_rows(spoiled):
    rows, bad = spoiled
    left, found = leave_out_unreadable(rows, "skip", catalogue(images_of(rows)))
    assert found == set(bad)
    assert len(left.train) == len(rows.train) - 2
    assert not left.train["path"].isin(bad).any()
    assert left.test["id"].tolist() == rows.test["id"].tolist()


def test_skip_never_loses_a_whole_class(tiny_competition):
    rows = read_rows(tiny_competition.competition, tiny_competition.folder)
    for path in rows.train["path"][rows.train["label"] == "2"]:
        path.write_text("no image")
    with pytest.raises(DataError, match="no readable image is left of the class 2"):
        leave_out_unreadable(rows, "skip", catalogue(images_of(rows)))


def test_labels_become_the_numbers_of_the_models_outputs():
    assert numbered(["dog", "cat", "dog"], ["cat", "dog"]).tolist() == [1, 0, 1]
