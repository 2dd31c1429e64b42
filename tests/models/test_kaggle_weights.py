"""Weights that lie at Kaggle: named in a config, found in either layout, told where they are not."""

import keras
import numpy as np
import pytest

from podium.config.loading import load_member
from podium.config.member import BackboneSettings
from podium.errors import ConfigError, WeightsError
from podium.kernel.job import Job
from podium.kernel.metadata import Machine, kernel_metadata
from podium.models.backbone import build_backbone
from podium.models.weights import fingerprint

DATASET = "kaggle-dataset:ada/some-weights/nets/small.weights.h5"
KERNEL = "kaggle-kernel:ada/podium-weights/small.weights.h5"


def settings(weights):
    return BackboneSettings(name="MobileNetV2", weights=weights, alpha=0.35)


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """`mounted(place)` lays weights below Kaggle's inputs, and gives the model they are of."""
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(tmp_path))

    def lay(place):
        model = keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35, input_shape=(64, 64, 3))
        (tmp_path / place).parent.mkdir(parents=True)
        model.save_weights(tmp_path / place)
        return model

    return lay


@pytest.mark.parametrize(
    ("weights", "place"),
    [
        (DATASET, "datasets/ada/some-weights/nets/small.weights.h5"),
        (DATASET, "some-weights/nets/small.weights.h5"),
        (KERNEL, "notebooks/ada/podium-weights/small.weights.h5"),
        (KERNEL, "podium-weights/small.weights.h5"),
    ],
)
def test_weights_are_found_in_either_layout(weights, place, mounted):
    model, built = mounted(place), build_backbone(settings(weights), 64)
    for one, other in zip(model.get_weights(), built.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_at_home_they_are_missing_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"is not mounted: looked for .*/datasets/ada/some-weights/nets/small\S+ and "
    ):
        build_backbone(settings(DATASET), 64)


def test_home_and_kaggle_name_the_same_run(tiny_competition):
    backbone = {"name": "MobileNetV2", "weights": KERNEL, "alpha": 0.35}
    member = load_member(tiny_competition.member(backbone=backbone))
    assert fingerprint(member.name, member.settings.backbone) == KERNEL


def test_source_is_attached(tiny_competition):
    members = [
        load_member(tiny_competition.member(backbone={"name": "MobileNetV2", "weights": one}))
        for one in (DATASET, KERNEL)
    ]
    content = kernel_metadata(Job(kind="ensemble", config="x.yaml"), members, "ada", Machine(), "build/kernel.py")
    assert (content["dataset_sources"], content["kernel_sources"]) == (["ada/some-weights"], ["ada/podium-weights"])


def test_folder_of_this_machine_may_be_called_like_it():
    assert settings("kaggle-weights/small.weights.h5").weights_are_a_path


@pytest.mark.parametrize(
    "weights",
    [
        "kaggle-dataset:",
        "kaggle-dataset:ada/x",
        "kaggle-dataset:ada/x/../y.h5",
        "kaggle-model:a/b/c",
        "kaggle-kernel:a b/c/d.h5",
    ],
)
def test_what_names_no_file_at_kaggle_is_a_problem(weights, tiny_competition):
    path = tiny_competition.member(backbone={"name": "MobileNetV2", "weights": weights})
    with pytest.raises(ConfigError, match="expected kaggle-dataset:<owner>/<slug>/<file>"):
        load_member(path)
