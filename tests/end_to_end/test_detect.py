"""Detectors on the command line: train, evaluate, predict."""

import json
import shutil
from pathlib import Path

import cv2
import pandas as pd
import pytest
import yaml
from boxed_images import CLASSES, DETECTOR, STAGE, prepare_squares

from podium.runs import Run


@pytest.fixture
def trained(trained_detector):
    return trained_detector


@pytest.fixture
def alone(tmp_path):
    return prepare_squares(tmp_path)


def run_in(folder):
    (path,) = folder.glob("runs/squares-*/fold0")
    return Run(path)


def test_training_writes_a_run_folder(trained):
    folder, ended = trained
    assert "training on 12 images with 11 boxes of 2 classes, validating on 6" in ended.out
    assert "squares: val_ap50" in ended.out
    run = run_in(folder)
    assert run.is_trained
    assert (run.path / "loss.png").is_file()
    assert "keras-hub" in run.versions


def test_trained_detector_is_not_trained_again_and_is_listed(trained, podium_in):
    folder, _ = trained
    again = podium_in(folder, "detect", "train", "squares.yaml", "--data", "data")
    assert "already trained with this config, skipped" in again.out
    assert "trained" in podium_in(folder, "runs").out


@pytest.mark.slow
def test_evaluation_has_a_column_per_part(trained, podium_in):
    folder, _ = trained
    ended = podium_in(folder, "detect", "evaluate", "squares.yaml", "--data", "data")
    assert ended.code == 0, ended.err
    assert "AP@0.5" in ended.out
    assert ended.out.index("train") < ended.out.index("validation")
    evaluation = run_in(folder).path / "evaluation"
    assert {path.name for path in evaluation.iterdir()} == {
        "metrics.json", "train.csv", "train.png", "validation.csv", "validation.png",
    }  # fmt: skip
    figures = json.loads((evaluation / "metrics.json").read_text())
    assert set(figures["parts"]) == {"train", "validation"}
    assert figures["parts"]["train"]["images"] == 12


def test_one_part_is_evaluated_at_a_threshold_as_json(trained, podium_in):
    folder, _ = trained
    options = ("--part", "validation", "--threshold", 0.1, "--json")
    ended = podium_in(folder, "detect", "evaluate", "squares.yaml", "--data", "data", *options)
    metrics = json.loads(ended.out)
    assert metrics["threshold"] == 0.1
    assert list(metrics["parts"]) == ["validation"]
    assert set(metrics["parts"]["validation"]["classes"]) == set(CLASSES)


def test_predicted_boxes_are_in_pixels_of_each_image(trained, podium_in):
    folder, _ = trained
    unseen = folder / "unseen"
    (unseen / "more").mkdir(parents=True, exist_ok=True)
    image = cv2.imread(str(folder / "data" / "001.png"))
    cv2.imwrite(str(unseen / "small.png"), image)
    cv2.imwrite(str(unseen / "more" / "large.jpg"), cv2.resize(image, (256, 256), interpolation=cv2.INTER_NEAREST))
    ended = podium_in(folder, "detect", "predict", "squares.yaml", "unseen", "--out", "found", "--threshold", 0.0)
    assert ended.code == 0, ended.err
    found = pd.read_csv(folder / "found" / "boxes.csv")
    assert set(found["id"]) <= {"small.png", "more/large.jpg"}
    assert set(found["class"]) <= set(CLASSES)
    of_large, of_small = (found[found["id"] == name] for name in ("more/large.jpg", "small.png"))
    assert of_small[["right", "bottom"]].to_numpy().max(initial=0) <= 64
    assert of_large[["right", "bottom"]].to_numpy().max(initial=0) <= 256
    results = json.loads((folder / "found" / "coco.json").read_text())
    assert len(results) == len(found)
    for name, side in (("small", 64), ("more/large", 256)):
        assert cv2.imread(str(folder / "found" / "drawn" / f"{name}.jpg")).shape == (side, side, 3)


@pytest.mark.slow
def test_wide_image_keeps_its_shape(trained, podium_in, monkeypatch):
    from podium.detection.inference import LoadedDetector

    folder, _ = trained
    (folder / "wide").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "wide" / "a.png"), cv2.resize(cv2.imread(str(folder / "data" / "001.png")), (128, 32)))
    shapes = []
    detect = LoadedDetector.detect
    monkeypatch.setattr(
        LoadedDetector, "detect", lambda self, *given: (shapes.extend(given[0].shapes), detect(self, *given))[1]
    )
    ended = podium_in(folder, "detect", "predict", "squares.yaml", "wide", "--out", "wide-found", "--threshold", 0.0)
    assert ended.code == 0, ended.err
    assert shapes == [(32, 128)]  # height, width
    found = pd.read_csv(folder / "wide-found" / "boxes.csv")
    assert found["bottom"].max() <= 32 or found.empty


@pytest.mark.slow
def test_stopped_training_resumes_with_a_changed_learning_rate(alone, podium_in):
    first = podium_in(alone, "detect", "train", "squares.yaml", "--data", "data", "--time-limit", "1s")
    assert first.code == 75
    assert "podium detect train squares.yaml --data data" in first.err
    message = podium_in(
        alone, "detect", "train", "squares.yaml", "--data", "data", "--resume", "--set", "stages.0.learning_rate=5e-4"
    )
    assert message.code == 0, message.err


@pytest.mark.slow
def test_dry_run_uses_few_images(alone, podium_in):
    ended = podium_in(alone, "detect", "train", "squares.yaml", "--data", "data", "--dry-run")
    assert ended.code == 0, ended.err
    assert "training on 8 images" in ended.out
    evaluated = podium_in(alone, "detect", "evaluate", "squares.yaml", "--data", "data", "--dry-run")
    figures = json.loads((run_in(alone).path / "evaluation" / "metrics.json").read_text())
    assert figures["parts"]["train"]["images"] == 8, evaluated.err
    assert figures["parts"]["train"]["boxes"] == 8  # of those that were searched alone


@pytest.mark.slow
def test_limit_applies_to_training_images(alone, podium_in):
    ended = podium_in(alone, "detect", "train", "squares.yaml", "--data", "data", "--limit", 5)
    assert "training on 5 images with 5 boxes of 2 classes, validating on 6" in ended.out
    assert json.loads((run_in(alone).path / "validation.json").read_text())["boxes"] == 5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: _without(folder / "runs" / "boxes"), "build it with podium detect build"),
        (lambda folder: (folder / "data" / "003.png").unlink(), "1 images of the dataset cannot be read"),
        (lambda folder: _change(folder, stages=[]), "has no stages to train"),
        (lambda folder: _change(folder, stages=[{**STAGE, "image_size": 50}]), "expected a multiple of 32, got 50"),
        (lambda folder: _change(folder, stages=[{**STAGE, "unfreeze": "none", "views": 1}]), "stages.0.views"),
        (lambda folder: _change(folder, augmentation=[{"MaskDropout": {}}]), "augmentation.0"),
        (lambda folder: _change(folder, backbone={"name": "ResNet50", "weights": "w.h5"}), "no weights at w.h5"),
    ],
)
def test_error_in_training_is_one_line(spoil, message, alone, podium_in):
    spoil(alone)
    ended = podium_in(alone, "detect", "train", "squares.yaml", "--data", "data")
    assert ended.code == 1
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not list(alone.glob("runs/squares-*"))


def test_error_in_prediction_is_one_line(alone, trained, podium_in):
    ended = podium_in(alone, "detect", "predict", "squares.yaml", "data")
    assert (ended.code, "podium detect train" in ended.err) == (1, True)
    folder, _ = trained
    (folder / "nothing").mkdir(exist_ok=True)
    for place, message in (("nowhere", "nowhere does not exist"), ("nothing", "contains no image")):
        ended = podium_in(folder, "detect", "predict", "squares.yaml", place, "--out", "other")
        assert (ended.code, message in ended.err) == (1, True)
    assert not (folder / "other").exists()
    ended = podium_in(alone, "detect", "evaluate", "squares.yaml", "--data", "data")
    assert "is not trained" in ended.err


def test_detector_of_an_earlier_build_is_not_evaluated(trained, alone, podium_in):
    folder, _ = trained
    shutil.copytree(folder / "runs" / run_in(folder).path.parent.name, alone / "runs" / run_in(folder).path.parent.name)
    images = alone / "runs" / "boxes" / "squares" / "images.csv"
    text = images.read_text()
    first = next(line for line in text.splitlines() if line.endswith(",train"))
    images.write_text(text.replace(first, f"{first.removesuffix('train')}test"))
    ended = podium_in(alone, "detect", "evaluate", "squares.yaml", "--data", "data")
    assert ended.code == 1
    assert "squares was trained on an earlier build of the dataset (runs/squares-" in ended.err


def _without(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _change(folder, **changes):
    Path(folder / "squares.yaml").write_text(yaml.safe_dump(DETECTOR | {"stages": [STAGE]} | changes))
