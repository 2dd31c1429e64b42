"""Files written by `podium detect predict`, with a detector that detects a box in each image."""

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
from podium.workflows.detect import detect_objects


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
    """The console output."""

    def detect(images, console):
        return detections_table([(name, "Boat", 0.25, 5.0, 5.0, 30.0, 30.0) for name in images])

    trained = SimpleNamespace(name="boats", classes=["Boat"], threshold=chosen, detect=detect)
    console = Console(file=StringIO(), width=160, soft_wrap=True)
    detect_objects(trained, places, out, threshold=threshold, console=console)
    return console.file.getvalue()


def drawn(out):
    return sorted(path.relative_to(out / "drawn").as_posix() for path in (out / "drawn").rglob("*.jpg"))


def test_images_with_the_same_stem_are_drawn_to_different_files(places, tmp_path):
    for name in ("17.jpg", "17.png", "18.PNG", "deeper/17.png"):
        draw(places / name)
    find(places, out=tmp_path / "found")
    assert drawn(tmp_path / "found") == ["17.jpg", "17.png.jpg", "18.jpg", "deeper/17.jpg"]


def test_unreadable_files_are_skipped(places, tmp_path):
    draw(places / "whole.jpg")
    draw(places / "folder.jpg" / "inside.jpg")
    (places / "text.jpg").write_text("no image")
    (places / "nothing.png").touch()
    printed = find(places, out=tmp_path / "found", threshold=0.2)
    assert "skipped 2 of 4 files that cannot be read" in printed
    assert list(read_detections(tmp_path / "found" / "boxes.csv")["id"]) == ["folder.jpg/inside.jpg", "whole.jpg"]
    with pytest.raises(DataError, match=r"none of the 1 files is an image that can be read \(first: .*text\.jpg\)"):
        find(places / "text.jpg", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_images_drawn_before_are_skipped(places, monkeypatch):
    draw(places / "a.jpg")
    monkeypatch.chdir(places)
    for place in (places, Path(), places):  # however the two are named
        printed = find(place, out=Path("found"), threshold=0.2)
        assert "in 1 of 1 images" in printed


def test_threshold_of_the_evaluation_may_be_0(places, tmp_path):
    draw(places / "a.jpg")
    assert "1 box with score >= 0.00" in find(places, out=tmp_path / "found", chosen=0.0)
    assert "0 boxes with score >= 0.50" in find(places, out=tmp_path / "other")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_file_name_that_is_not_utf8_is_reported(places, tmp_path):
    draw(places / "a.jpg")
    (places / "a.jpg").rename(places / os.fsdecode(b"\xff.jpg"))
    with pytest.raises(DataError, match="not UTF-8"):
        find(places, out=tmp_path / "found")
    assert not (tmp_path / "found").exists()


def test_output_that_is_a_file_is_reported(places, tmp_path):
    draw(places / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg is not a folder"):
        find(places, out=places / "a.jpg")
