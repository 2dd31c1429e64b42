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
from podium.training.checkpoints import LOSSES, CheckpointStore


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("squares")


@pytest.fixture(scope="module")
def boxset(folder):
    return draw_set(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, folder, boxset):
    return trained(tmp_path_factory.mktemp("whole"), [stage()], task_of(folder, boxset))


def test_a_part_of_a_set_has_its_images_with_their_boxes(folder, boxset):
    part = ImagesWithBoxes.of(boxset, "train", folder, folder)
    assert part.ids == [f"{number:03d}" for number in range(12)]
    assert part.count == 11
    assert part.shapes == [(64, 64)] * 12
    assert [len(one.boxes) for one in part.boxed] == [1] * 11 + [0]
    assert part.boxed[1].boxes[0, 4] == CLASSES.index("Blue")
    assert ImagesWithBoxes.of(boxset, "train", folder, folder, limit=3).ids == ["000", "001", "002"]


def test_boxes_around_groups_are_not_learned(folder, boxset):
    grouped = boxset.boxes.assign(group=boxset.boxes["id"] == "000")
    other = type(boxset)(boxset.slug, boxset.classes, boxset.images, grouped, {})
    assert [len(one.boxes) for one in ImagesWithBoxes.of(other, "train", folder, folder).boxed[:2]] == [0, 1]


def test_a_training_leaves_figures_boxes_and_charts(whole):
    assert whole.is_trained
    history = pd.read_csv(whole.history)
    assert history["epoch"].tolist() == [0, 1]
    assert {"loss", "val_ap50", "val_ap", "val_f1", "val_iou"} <= set(history.columns)
    assert history[["val_ap50", "val_iou"]].to_numpy().min() >= 0
    figures = json.loads((whole.path / "validation.json").read_text())
    assert figures["images"] == 6
    assert read_detections(whole.path / "validation_boxes.csv", CLASSES).columns[0] == "id"
    for name in ("loss.png", "iou_ap.png"):
        assert (whole.path / name).read_bytes().startswith(b"\x89PNG")


def test_the_loss_of_every_step_is_kept_and_gives_the_epochs_own(whole):
    losses = CheckpointStore(whole.path).newest(None).part(LOSSES)[0]
    assert losses.shape == (6,)  # two epochs of three steps, each of four images
    history = pd.read_csv(whole.history)
    np.testing.assert_allclose(losses.reshape(2, 3).mean(axis=1), history["loss"], rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_stopped_and_gone_on_with_it_ends_as_if_it_had_not_been(steps, whole, folder, boxset, tmp_path):
    run = started(tmp_path)
    stopped(run, [stage()], steps, task_of(folder, boxset))
    fit(run, [stage()], task_of(folder, boxset))
    assert_same_weights(run.best_weights, whole.best_weights)
    assert run.history.read_bytes() == whole.history.read_bytes()
    mine, theirs = (CheckpointStore(one.path).newest(None).part(LOSSES)[0] for one in (run, whole))
    np.testing.assert_allclose(mine, theirs, rtol=1e-4)


def test_it_learns_where_the_squares_are(folder, boxset, tmp_path):
    run = trained(tmp_path, [stage(epochs=25, learning_rate=2e-3)], task_of(folder, boxset))
    history = pd.read_csv(run.history)
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert history["val_ap50"].max() > 0.3


def test_the_next_stage_may_take_larger_images(folder, boxset, tmp_path):
    stages = [stage(name="small", epochs=1), stage(name="large", epochs=1, image_size=96)]
    run = trained(tmp_path, stages, task_of(folder, boxset))
    assert pd.read_csv(run.history)["stage"].tolist() == ["small", "large"]


def test_unfreeze_counts_in_the_backbone_and_the_heads_always_learn(folder, boxset):
    task = task_of(folder, boxset)
    model = task.build(64, pretrained=True)
    task.unfreeze(model, stage(unfreeze=Unfreeze(layers=0.0)))
    assert not model.features.trainable_weights
    frozen = len(model.trainable_weights)
    task.unfreeze(model, stage())
    assert len(model.trainable_weights) > frozen > 0


def test_all_images_without_boxes_teach_nothing_and_break_nothing(folder, boxset):
    task = task_of(folder, boxset)
    model = task.build(64, pretrained=True)
    task.compile(model, keras.optimizers.SGD(0.1))
    before = [weight.numpy().copy() for weight in model.trainable_weights]
    images, nothing = np.zeros((2, 64, 64, 3), np.uint8), np.full((2, 1, 5), -1, np.float32)
    assert model.train_on_batch(images, nothing)[0] == pytest.approx(0.0)
    for weight, was in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), was)


def test_an_untrained_detector_finds_nothing_anywhere():
    model = build_detector(detector(), 2, 64)
    answers = keras.ops.convert_to_numpy(model(np.zeros((1, 64, 64, 3), np.float32))["cls_logits"])
    scores = 1 / (1 + np.exp(-answers))
    assert np.median(scores) == pytest.approx(0.01, abs=0.01)
