import json

import keras
import numpy as np
import pandas as pd
import pytest
from boxed_images import CLASSES, detector, draw_set, stage, task_of
from line_task import assert_same_weights, fit, started, stopped, trained

from podium.config.stage import Unfreeze
from podium.detection.detections import read_detections
from podium.detection.model import build_detector
from podium.detection.task import ImagesWithBoxes
from podium.runs import Run
from podium.training.checkpoints import LOSSES, CheckpointStore


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("squares")


@pytest.fixture(scope="module")
def dataset(folder):
    return draw_set(folder)


@pytest.fixture
def finished(trained_detector):
    (path,) = trained_detector[0].glob("runs/squares-*/fold0")
    return Run(path)


def test_part_of_a_dataset_has_its_images_and_boxes(folder, dataset):
    part = ImagesWithBoxes.of(dataset, "train", folder, folder)
    assert part.ids == [f"{number:03d}" for number in range(12)]
    assert part.count == 11
    assert part.shapes == [(64, 64)] * 12
    assert [len(one.boxes) for one in part.boxed] == [1] * 11 + [0]
    assert part.boxed[1].boxes[0, 4] == CLASSES.index("Blue")
    assert ImagesWithBoxes.of(dataset, "train", folder, folder, limit=3).ids == ["000", "001", "002"]


def test_group_boxes_are_not_trained_on(folder, dataset):
    grouped = dataset.boxes.assign(group=dataset.boxes["id"] == "000")
    other = type(dataset)(dataset.slug, dataset.classes, dataset.images, grouped, {})
    assert [len(one.boxes) for one in ImagesWithBoxes.of(other, "train", folder, folder).boxed[:2]] == [0, 1]


def test_training_writes_metrics_boxes_and_charts(finished):
    assert finished.is_trained
    history = pd.read_csv(finished.history)
    assert history["epoch"].tolist() == [0, 1]
    assert {"loss", "val_ap50", "val_ap", "val_f1", "val_iou"} <= set(history.columns)
    assert history[["val_ap50", "val_iou"]].to_numpy().min() >= 0
    figures = json.loads((finished.path / "validation.json").read_text())
    assert figures["images"] == 6
    assert read_detections(finished.path / "validation_boxes.csv", CLASSES).columns[0] == "id"
    for name in ("loss.png", "iou_ap.png"):
        assert (finished.path / name).read_bytes().startswith(b"\x89PNG")


def test_losses_of_all_steps_average_to_those_of_the_epochs(finished):
    losses = CheckpointStore(finished.path).load_newest(None).part(LOSSES)[0]
    assert losses.shape == (6,)  # two epochs of three steps, each of four images
    history = pd.read_csv(finished.history)
    np.testing.assert_allclose(losses.reshape(2, 3).mean(axis=1), history["loss"], rtol=1e-4)


@pytest.mark.slow
def test_resumed_training_equals_an_uninterrupted_one(folder, dataset, tmp_path):
    whole = trained(tmp_path / "whole", [stage()], task_of(folder, dataset))
    for steps in (2, 4):  # within the first epoch, and within the second
        check_resumed(steps, whole, folder, dataset, tmp_path / str(steps))


def check_resumed(steps, whole, folder, dataset, tmp_path):
    run = started(tmp_path)
    stopped(run, [stage()], steps, task_of(folder, dataset))
    fit(run, [stage()], task_of(folder, dataset))
    assert_same_weights(run.best_weights, whole.best_weights)
    assert run.history.read_bytes() == whole.history.read_bytes()
    mine, theirs = (CheckpointStore(one.path).load_newest(None).part(LOSSES)[0] for one in (run, whole))
    np.testing.assert_allclose(mine, theirs, rtol=1e-4)


@pytest.mark.slow
def test_detector_learns_to_find_squares(tmp_path):
    task = task_of(tmp_path / "images", draw_set(tmp_path / "images", train=96, validation=16))
    run = trained(tmp_path, [stage(epochs=12, learning_rate=2e-3)], task)
    history = pd.read_csv(run.history)
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert history["val_ap50"].max() > 0.3


@pytest.mark.slow
def test_next_stage_may_use_larger_images(folder, dataset, tmp_path):
    stages = [stage(name="small", epochs=1), stage(name="large", epochs=1, image_size=96)]
    run = trained(tmp_path, stages, task_of(folder, dataset))
    assert pd.read_csv(run.history)["stage"].tolist() == ["small", "large"]


def test_unfreeze_applies_to_the_backbone_and_heads_are_always_trainable(folder, dataset):
    task = task_of(folder, dataset)
    model = task.build(64, pretrained=True)
    task.unfreeze(model, stage(unfreeze=Unfreeze(layers=0.0)))
    assert not model.features.trainable_weights
    frozen = len(model.trainable_weights)
    task.unfreeze(model, stage())
    assert len(model.trainable_weights) > frozen > 0


def test_batch_without_boxes_changes_no_weights(folder, dataset):
    task = task_of(folder, dataset, eager=True)
    model = task.build(64, pretrained=True)
    task.compile(model, keras.optimizers.SGD(0.1))
    before = [weight.numpy().copy() for weight in model.trainable_weights]
    images, nothing = np.zeros((2, 64, 64, 3), np.uint8), np.full((2, 1, 5), -1, np.float32)
    assert model.train_on_batch(images, nothing)[0] == pytest.approx(0.0)
    for weight, was in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), was)


def test_untrained_detector_has_low_scores():
    model = build_detector(detector(), 2, 64)
    answers = keras.ops.convert_to_numpy(model(np.zeros((1, 64, 64, 3), np.float32))["cls_logits"])
    scores = 1 / (1 + np.exp(-answers))
    assert np.median(scores) == pytest.approx(0.01, abs=0.01)
