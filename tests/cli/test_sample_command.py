"""`podium data sample`: the sizes and scenes it draws, and invalid ones."""

import cv2
import pytest


def test_the_size_can_be_set(podium, tmp_path):
    folder = tmp_path / "cars"
    options = ("--train", 20, "--test", 10, "--size", "200x150")
    code, out, _ = podium("data", "sample", folder, *options)
    assert (code, "20 training images, 10 test images" in out) == (0, True)
    assert "cars that fill their images" in " ".join(out.split())
    assert {cv2.imread(str(path)).shape for path in folder.rglob("*.jpg")} == {(150, 200, 3)}


def test_the_scene_can_be_set(podium, tmp_path):
    folder = tmp_path / "streets"
    code, out, _ = podium("data", "sample", folder, "--train", 20, "--test", 10, "--scene", "street")
    assert (code, "small cars in busy streets" in " ".join(out.split())) == (0, True)
    assert min(cv2.imread(str(path)).shape[1] for path in folder.rglob("*.jpg")) >= 296


def test_an_unknown_scene_is_a_usage_error(podium, tmp_path):
    code, _, err = podium("data", "sample", tmp_path / "cars", "--scene", "forest")
    assert code == 2
    assert all(word in err for word in ("forest", "portrait", "street"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("size", "expected"),
    [("640", "WIDTHxHEIGHT"), ("640x", "WIDTHxHEIGHT"), ("ax480", "WIDTHxHEIGHT"), ("10x10", "pixels per side"),
     ("240x320", "one to two heights"), ("9000x6000", "pixels per side")],
)  # fmt: skip
def test_an_invalid_size_is_a_usage_error(podium, tmp_path, size, expected):
    code, _, err = podium("data", "sample", tmp_path / "cars", "--size", size)
    assert code == 2
    assert expected in " ".join(err.split())
    assert not list(tmp_path.iterdir())
