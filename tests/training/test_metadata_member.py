"""Training with metadata: it is learned from, and a stopped training resumes bit for bit."""

import cv2
import numpy as np
import pandas as pd
import pytest
from line_task import assert_same_weights, fit, stage, started, stopped, trained

from podium.config.backbone_settings import BackboneSettings
from podium.config.member import Head, MemberSettings
from podium.config.metadata import MetadataSettings
from podium.data.image_cache import Cache
from podium.data.labelled import LabelledImages
from podium.data.metadata import Metadata
from podium.data.targets import BinaryTarget
from podium.evaluation.metrics import METRICS
from podium.training.classification import ClassificationTask

COLUMNS = Metadata({"age": None, "sex": ["f", "m"]})
FAST = {"batch_size": 16, "image_size": 32, "optimizer": "Adam", "learning_rate": 0.05}


def member(stages, **changes):
    backbone = BackboneSettings(name="SmallResNet", weights="none", alpha=0.25)
    return MemberSettings(
        competition="-", backbone=backbone, head=Head(batchnorm=True), stages=stages, seed=1, **changes
    )


def rows(folder, count, seed):
    """All rows have the same image. An age above 50 decides; for half of the rows, one below."""
    image = folder / "image.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    random = np.random.default_rng(seed)
    age, sex = random.integers(20, 81, count).astype(np.float32), random.integers(2, size=count)
    truth = ((age > 50) ^ (sex == 1)).astype(np.int64)
    age[::9] = np.nan
    return LabelledImages([image] * count, truth, metadata=np.column_stack([age, sex]).astype(np.float32))


def task(settings, folder, count=32):
    parts = [rows(folder, number, number) for number in (count, count // 2)]
    if settings.metadata is None:
        parts = [LabelledImages(part.paths, part.truth) for part in parts]
    return ClassificationTask(
        settings, BinaryTarget(["no", "yes"]), METRICS["roc_auc"], *parts, 0, True, Cache("m", 1.0), metadata=COLUMNS
    )


@pytest.mark.slow
@pytest.mark.parametrize("takes_metadata", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_label_that_depends_on_metadata_only_is_learned_from_it(takes_metadata, tmp_path):
    chosen = {"metadata": MetadataSettings(units=[8])} if takes_metadata else {}
    settings = member([stage("head", unfreeze="none", epochs=10, views=1, **FAST)], **chosen)
    run = trained(tmp_path / "run", settings.stages, task(settings, tmp_path, 64), seed=1)
    reached = pd.read_csv(run.history)["val_roc_auc"].max()
    assert reached > 0.9 if takes_metadata else reached == 0.5


@pytest.mark.slow
def test_a_stopped_training_resumes_bit_for_bit(tmp_path):
    """Of the head on cached features, or of all layers at another image size."""
    all_layers = {**FAST, "image_size": 40, "learning_rate": 0.01}
    stages = [stage("head", unfreeze="none", epochs=2, views=1, **FAST), stage("all", epochs=1, **all_layers)]
    settings = member(stages, metadata=MetadataSettings(units=[4]))
    whole = trained(tmp_path / "whole", stages, task(settings, tmp_path), seed=1)
    for steps in (1, 5):
        run = started(tmp_path / str(steps))
        stopped(run, stages, steps, task(settings, tmp_path), seed=1)
        fit(run, stages, task(settings, tmp_path), seed=1)
        assert_same_weights(whole.best_weights, run.best_weights)
        assert whole.history.read_bytes() == run.history.read_bytes()
