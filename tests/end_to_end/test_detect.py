"""A detector on the command line: trained, evaluated, and asked what it finds."""

import json
import shutil
from pathlib import Path

import cv2
import pandas as pd
import pytest
import yaml
from boxed_images import CLASSES, draw_set

from podium.detection.dataset import write_dataset
from podium.runs import Run

STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 4, "image_size": 64, "learning_rate": 1e-3}
DETECTOR = {
    "slug": "squares",
    "source": "yolo",
    "backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25, "freeze_batchnorm": False},
    "levels": 5,
    "head": {"layers": 1},
    "augmentation": ["HorizontalFlip"],
    "stages": [STAGE],
}


def prepared(folder):
    """Images, their set, and a detector file."""
    write_dataset(draw_set(folder / "data"), folder / "runs" / "boxes" / "squares")
    (folder / "squares.yaml").write_text(yaml.safe_dump(DETECTOR))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, podium_in):
    folder = prepared(tmp_path_factory.mktemp("trained"))
    ended = podium_in(folder, "detect", "train", "squares.yaml", "--data", "data")
    assert ended.code == 0, ended.err
    return folder, ended


@pytest.fixture
def alone(tmp_path):
    return prepared(tmp_path)


def run_in(folder):
    (path,) = folder.glob("runs/squares-*/fold0")
    return Run(path)


def test_training_tells_what_it_does_and_leaves_a_run_folder(trained):
    folder, ended = trained
    assert "training on 12 images with 11 boxes of 2 classes, validating on 6" in ended.out
    assert "squares: val_ap50" in ended.out
    run = run_in(folder)
    assert run.is_trained
    assert (run.path / "loss.png").is_file()
    assert "keras-hub" in run.versions


def test_a_trained_one_is_not_trained_again_and_runs_lists_it(trained, podium_in):
    folder, _ = trained
    again = podium_in(folder, "detect", "train", "squares.yaml", "--data", "data")
    assert "already trained with this config, skipped" in again.out
    assert "trained" in podium_in(folder, "runs").out


def test_evaluation_has_a_column_a_part(trained, podium_in):
    folder, _ = trained
    ended = podium_in(folder, "detect", "evaluate", "squares.yaml", "--data", "data")
    assert ended.code == 0, ended.err
    assert "AP@0.5" in ended.out
    assert ended.out.index("train") < ended.out.index("validation")
    evaluation = run_in(folder).path / "evaluation"
    assert {path.name for path in evaluation.iterdir()} == {
        "figures.json", "train.csv", "train.png", "validation.csv", "validation.png",
    }  # fmt: skip
    figures = json.loads((evaluation / "figures.json").read_text())
    assert set(figures["parts"]) == {"train", "validation"}
    assert figures["parts"]["train"]["images"] == 12


def test_a_single_part_at_a_threshold(trained, podium_in):
    folder, _ = trained
    ended = podium_in(
        folder, "detect", "evaluate", "squares.yaml", "--data", "data", "--part", "train", "--threshold", 0.1
    )
    assert "from score 0.100 on" in ended.out
    assert "validation" not in ended.out.split("figures, boxes")[0]


def test_boxes_of_any_images_in_pixels_of_each(trained, podium_in):
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


def test_a_wide_image_is_searched_as_a_wide_one(trained, podium_in, monkeypatch):
    from podium.detection.inference import TrainedDetector

    folder, _ = trained
    (folder / "wide").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "wide" / "a.png"), cv2.resize(cv2.imread(str(folder / "data" / "001.png")), (128, 32)))
    shapes = []
    find = TrainedDetector.find
    monkeypatch.setattr(
        TrainedDetector, "find", lambda self, *asked: (shapes.extend(asked[0].shapes), find(self, *asked))[1]
    )
    ended = podium_in(folder, "detect", "predict", "squares.yaml", "wide", "--out", "wide-found", "--threshold", 0.0)
    assert ended.code == 0, ended.err
    assert shapes == [(32, 128)]  # height, width
    found = pd.read_csv(folder / "wide-found" / "boxes.csv")
    assert found["bottom"].max() <= 32 or found.empty


def test_a_stopped_training_goes_on_under_a_changed_rate(alone, podium_in):
    first = podium_in(alone, "detect", "train", "squares.yaml", "--data", "data", "--time-limit", "1s")
    assert first.code == 75
    assert "podium detect train squares.yaml --data data" in first.err
    told = podium_in(
        alone, "detect", "train", "squares.yaml", "--data", "data", "--resume", "--set", "stages.0.learning_rate=5e-4"
    )
    assert told.code == 0, told.err


def test_a_dry_run_takes_a_few_images(alone, podium_in):
    ended = podium_in(alone, "detect", "train", "squares.yaml", "--data", "data", "--dry-run")
    assert ended.code == 0, ended.err
    assert "training on 8 images" in ended.out
    evaluated = podium_in(alone, "detect", "evaluate", "squares.yaml", "--data", "data", "--dry-run")
    figures = json.loads((run_in(alone).path / "evaluation" / "figures.json").read_text())
    assert figures["parts"]["train"]["images"] == 8, evaluated.err
    assert figures["parts"]["train"]["boxes"] == 8  # of those that were searched alone


def test_a_limit_is_of_the_images_to_train_on(alone, podium_in):
    ended = podium_in(alone, "detect", "train", "squares.yaml", "--data", "data", "--limit", 5)
    assert "training on 5 images with 5 boxes of 2 classes, validating on 6" in ended.out
    assert json.loads((run_in(alone).path / "validation.json").read_text())["boxes"] == 5


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: _without(folder / "runs" / "boxes"), "build it with podium detect build first"),
        (lambda folder: (folder / "data" / "003.png").unlink(), "1 images of the set cannot be read"),
        (lambda folder: _change(folder, stages=[]), "names no stages"),
        (lambda folder: _change(folder, stages=[{**STAGE, "image_size": 50}]), "a multiple of 32 pixels"),
        (lambda folder: _change(folder, stages=[{**STAGE, "unfreeze": "none", "views": 1}]), "stages.0.views"),
        (lambda folder: _change(folder, augmentation=[{"MaskDropout": {}}]), "augmentation.0"),
        (lambda folder: _change(folder, backbone={"name": "ResNet50", "weights": "w.h5"}), "no weights at w.h5"),
    ],
)
def test_what_cannot_be_trained_is_one_line(spoil, told, alone, podium_in):
    spoil(alone)
    ended = podium_in(alone, "detect", "train", "squares.yaml", "--data", "data")
    assert ended.code == 1
    assert told in ended.err
    assert ended.err.count("\n") == 1
    assert not list(alone.glob("runs/squares-*"))


def test_what_cannot_be_searched_is_one_line(alone, trained, podium_in):
    ended = podium_in(alone, "detect", "predict", "squares.yaml", "data")
    assert (ended.code, "podium detect train" in ended.err) == (1, True)
    folder, _ = trained
    (folder / "nothing").mkdir(exist_ok=True)
    for place, told in (("nowhere", "nowhere is not there"), ("nothing", "holds no image")):
        ended = podium_in(folder, "detect", "predict", "squares.yaml", place, "--out", "other")
        assert (ended.code, told in ended.err) == (1, True)
    assert not (folder / "other").exists()
    ended = podium_in(alone, "detect", "evaluate", "squares.yaml", "--data", "data")
    assert "is not trained" in ended.err


def test_one_of_a_set_that_was_built_again_is_told_as_such(trained, alone, podium_in):
    folder, _ = trained
    shutil.copytree(folder / "runs" / run_in(folder).path.parent.name, alone / "runs" / run_in(folder).path.parent.name)
    images = alone / "runs" / "boxes" / "squares" / "images.csv"
    text = images.read_text()
    first = next(line for line in text.splitlines() if line.endswith(",train"))
    images.write_text(text.replace(first, f"{first.removesuffix('train')}test"))
    ended = podium_in(alone, "detect", "evaluate", "squares.yaml", "--data", "data")
    assert ended.code == 1
    assert "squares was trained on the set as it was before it was built again (runs/squares-" in ended.err


def _without(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _change(folder, **changes):
    Path(folder / "squares.yaml").write_text(yaml.safe_dump(DETECTOR | changes))
