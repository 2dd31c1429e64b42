"""Weights in a Kaggle dataset or in the output of a kernel."""

import numpy as np
import pytest

from podium.config.backbone_settings import BackboneSettings
from podium.config.loading import load_member
from podium.errors import ConfigError, WeightsError
from podium.kernel.job import Job
from podium.kernel.metadata import Machine, kernel_metadata
from podium.models.backbone import build_backbone
from podium.models.weights import weights_digest

DATASET = "kaggle-dataset:ada/some-weights/nets/small.weights.h5"
KERNEL = "kaggle-kernel:ada/podium-weights/small.weights.h5"
MODEL = "kaggle-model:ada/some-nets/keras/small_1.0/2/nets/small.weights.h5"


def settings(weights):
    return BackboneSettings(name="SmallResNet", weights=weights, alpha=0.25)


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """`mounted(path)`: a model whose weights are in this file below Kaggle's inputs."""
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(tmp_path))

    def save(path):
        model = build_backbone(settings("none"), 32)
        (tmp_path / path).parent.mkdir(parents=True)
        model.save_weights(tmp_path / path)
        return model

    return save


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "path"),
    [
        (DATASET, "datasets/ada/some-weights/nets/small.weights.h5"),
        (DATASET, "some-weights/nets/small.weights.h5"),
        (KERNEL, "notebooks/ada/podium-weights/small.weights.h5"),
        (KERNEL, "podium-weights/small.weights.h5"),
        (MODEL, "models/ada/some-nets/keras/small_1.0/2/nets/small.weights.h5"),
        (MODEL, "some-nets/keras/small_1.0/2/nets/small.weights.h5"),
    ],
)
def test_weights_are_found_in_both_layouts(weights, path, mounted):
    model, built = mounted(path), build_backbone(settings(weights), 32)
    for one, other in zip(model.get_weights(), built.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_that_are_not_mounted(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"is not mounted: looked for .*/datasets/ada/some-weights/nets/small\S+ and "
    ):
        build_backbone(settings(DATASET), 32)


def test_digest_is_the_same_with_and_without_the_file(tiny_competition):
    backbone = {"name": "MobileNetV2", "weights": KERNEL, "alpha": 0.35}
    member = load_member(tiny_competition.member(backbone=backbone))
    assert weights_digest(member.name, member.settings.backbone) == KERNEL


def test_source_is_attached_to_the_kernel(tiny_competition):
    members = [
        load_member(tiny_competition.member(backbone={"name": "MobileNetV2", "weights": one}))
        for one in (DATASET, KERNEL, MODEL)
    ]
    content = kernel_metadata(Job(kind="ensemble", config="x.yaml"), members, "ada", Machine(), "build/kernel.py")
    assert (content["dataset_sources"], content["kernel_sources"]) == (["ada/some-weights"], ["ada/podium-weights"])
    assert content["model_sources"] == ["ada/some-nets/keras/small_1.0/2"]


def test_local_folder_may_have_a_similar_name():
    assert settings("kaggle-weights/small.weights.h5").weights_are_a_path


@pytest.mark.parametrize(
    "weights",
    [
        "kaggle-dataset:",
        "kaggle-dataset:ada/x",
        "kaggle-dataset:ada/x/../y.h5",
        "kaggle-model:a/b/c",
        "kaggle-model:a/b/keras/c/small.weights.h5",
        "kaggle-model:a/b/keras/c/1",
        "kaggle-kernel:a b/c/d.h5",
    ],
)
def test_invalid_name_of_a_kaggle_file(weights, tiny_competition):
    path = tiny_competition.member(backbone={"name": "MobileNetV2", "weights": weights})
    with pytest.raises(ConfigError, match="expected kaggle-dataset:<owner>/<slug>/<file>"):
        load_member(path)
