"""What podium detect predict makes of the images that it is given: by a stand-in that finds a box in each."""

import os
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rich.console import Console

from podium.detection.detections import detections_table, read_detections
from podium.errors import DataError
from podium.workflows.detect_predict import find_in_images


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "holiday"
    folder.mkdir()
    return folder


def draw(path, grey=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(path.suffix.lower(), np.full((40, 60, 3), grey, np.uint8))[1].tofile(path)


def find(*places, out, threshold=None, chosen=None):
    """What was told."""

    def search(images, console):
        return detections_table([(name, "Boat", 0.25, 5.0, 5.0, 30.0, 30.0) for name in images])

    trained = SimpleNamespace(name="boats", classes=["Boat"], threshold=chosen, search=search)
    console = Console(file=StringIO(), width=160, soft_wrap=True)
    find_in_images(trained, places, out, threshold, True, console)
    return console.file.getvalue()


def drawn(out):
    return sorted(path.relative_to(out / "drawn").as_posix() for path in (out / "drawn").rglob("*.jpg"))


def test_images_whose_names_differ_only_in_their_endings_are_drawn_apart(places, tmp_path):
    for name in ("17.jpg", "17.png", "18.PNG", "deeper/17.png"):
        draw(places / name)
    find(places, out=tmp_path / "found")
    assert drawn(tmp_path / "found") == ["17.jpg", "17.png.jpg", "18.jpg", "deeper/17.jpg"]


def test_what_cannot_be_read_is_told_and_left_out_and_a_folder_is_no_image(places, tmp_path):
    draw(places / "whole.jpg")
    draw(places / "folder.jpg" / "inside.jpg")
    (places / "text.jpg").write_text("no image")
    (places / "nothing.png").touch()
    told = find(places, out=tmp_path / "found", threshold=0.2)
    assert "left out, since they cannot be read: 2 of 4 files" in told
    assert list(read_detections(tmp_path / "found" / "boxes.csv")["id"]) == ["folder.jpg/inside.jpg", "whole.jpg"]
    with pytest.raises(DataError, match=r"text\.jpg is not an image that can be read: name images"):
        find(places / "text.jpg", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_copies_that_were_drawn_before_are_not_searched(places, monkeypatch):
    draw(places / "a.jpg")
    monkeypatch.chdir(places)
    for place in (places, Path(), places):  # however the two are named
        told = find(place, out=Path("found"), threshold=0.2)
        assert "on 1 of 1 images" in told


def test_a_chosen_threshold_of_nothing_is_one_too(places, tmp_path):
    draw(places / "a.jpg")
    assert "1 box of score 0.00 or more" in find(places, out=tmp_path / "found", chosen=0.0)
    assert "0 boxes of score 0.50 or more" in find(places, out=tmp_path / "other")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_a_name_that_is_no_text_is_told_before_anything_is_written(places, tmp_path):
    draw(places / "a.jpg")
    (places / "a.jpg").rename(places / os.fsdecode(b"\xff.jpg"))
    with pytest.raises(DataError, match="no UTF-8"):
        find(places, out=tmp_path / "found")
    assert not (tmp_path / "found").exists()


def test_what_is_no_folder_to_write_into_is_told_before_the_search(places, tmp_path):
    draw(places / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg is no folder"):
        find(places, out=places / "a.jpg")
