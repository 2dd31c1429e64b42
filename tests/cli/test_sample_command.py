"""`podium data sample`: the sizes and scenes it draws, and those it refuses."""

import cv2
import pytest


def test_a_size_may_be_asked_for(podium, tmp_path):
    folder = tmp_path / "cars"
    asked = ("--train", 20, "--test", 10, "--size", "200x150")
    code, out, _ = podium("data", "sample", folder, *asked)
    assert (code, "20 images to train on, 10 to predict" in out) == (0, True)
    assert "cars that fill their images" in " ".join(out.split())
    assert {cv2.imread(str(path)).shape for path in folder.rglob("*.jpg")} == {(150, 200, 3)}


def test_a_street_may_be_asked_for(podium, tmp_path):
    folder = tmp_path / "streets"
    code, out, _ = podium("data", "sample", folder, "--train", 20, "--test", 10, "--scene", "street")
    assert (code, "small cars in busy streets" in " ".join(out.split())) == (0, True)
    assert min(cv2.imread(str(path)).shape[1] for path in folder.rglob("*.jpg")) >= 296


def test_a_scene_that_does_not_exist_is_wrong_usage_and_draws_nothing(podium, tmp_path):
    code, _, err = podium("data", "sample", tmp_path / "cars", "--scene", "forest")
    assert code == 2
    assert all(word in err for word in ("forest", "portrait", "street"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("written", "expected"),
    [("640", "WIDTHxHEIGHT"), ("640x", "WIDTHxHEIGHT"), ("ax480", "WIDTHxHEIGHT"), ("10x10", "pixels each way"),
     ("240x320", "as wide as high"), ("9000x6000", "pixels each way")],
)  # fmt: skip
def test_what_is_no_size_is_wrong_usage_and_draws_nothing(podium, tmp_path, written, expected):
    code, _, err = podium("data", "sample", tmp_path / "cars", "--size", written)
    assert code == 2
    assert expected in " ".join(err.split())
    assert not list(tmp_path.iterdir())
