"""The smallest backbone of each family in the table; a few of them in the fast set, all of them in the slow one."""

import gc
import importlib

import keras
import numpy as np
import pytest

from podium.config.backbone_settings import BackboneSettings
from podium.config.backbones import BACKBONES
from podium.config.member import Head, MemberSettings
from podium.config.stage import Stage, Unfreeze
from podium.data.targets import SingleLabelTarget
from podium.models.backbone import InputScaling, build_backbone, initialize_batchnorm
from podium.models.classifier import build_classifier

FAST = ("SmallResNet", "MobileNet", "EfficientNetB0", "efficientnet.EfficientNetB0")
SMALLEST = sorted({row.family: name for name, row in reversed(BACKBONES.items())}.values())
"""The first of each family; the others have the same layers, only more and wider ones."""
OWN_SCALING = (keras.layers.Rescaling, keras.layers.Normalization)


def smallest(condition=lambda row: True):
    return [
        pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
        for name in SMALLEST
        if condition(BACKBONES[name])
    ]


def classifier(name):
    size = BACKBONES[name].minimum_size
    stage = Stage(
        name="head", unfreeze=Unfreeze(layers=0.0), epochs=1, batch_size=2, image_size=size, learning_rate=1e-3
    )
    settings = MemberSettings(
        competition="-", backbone=BackboneSettings(name=name, weights="none"), head=Head(), stages=[stage]
    )
    return build_classifier(settings, SingleLabelTarget(list("abc")), image_size=size)


def random_images(size, count=4):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def predict(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


@pytest.fixture
def _free_models():
    yield
    keras.utils.clear_session()
    gc.collect()  # the largest backbones take gigabytes


@pytest.mark.parametrize("name", BACKBONES)
def test_input_scaling_equals_preprocess_input_of_the_family(name):
    row, images = BACKBONES[name], random_images(8)
    scaled = keras.ops.convert_to_numpy(InputScaling(row.scaling)(images))
    expected = importlib.import_module(row.family).preprocess_input(images.astype("float32"))
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("_free_models")
@pytest.mark.parametrize("name", smallest(lambda row: row.scaling == "none"))
def test_backbone_without_input_scaling_scales_inside(name):
    backbone = build_backbone(BackboneSettings(name=name, weights="none"), 32)
    last = [layer for layer in backbone.layers if isinstance(layer, OWN_SCALING)][-1]
    scaled = keras.ops.convert_to_numpy(keras.Model(backbone.input, last.output)(random_images(32)))
    assert np.abs(scaled).max() < 3


@pytest.mark.usefixtures("_free_models")
@pytest.mark.parametrize("name", smallest(lambda row: row.package == "efficientnet.tfkeras"))
def test_efficientnet_package_does_not_scale_inside(name):
    backbone = build_backbone(BackboneSettings(name=name, weights="none"), 32)
    assert not [layer for layer in backbone.layers if isinstance(layer, OWN_SCALING)]


@pytest.mark.usefixtures("_free_models")
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one == "SmallResNet" else [pytest.mark.slow]) for one in SMALLEST]
)
def test_rebuilt_model_with_saved_weights_predicts_the_same(name, tmp_path):
    images, path = random_images(BACKBONES[name].minimum_size), tmp_path / "saved.weights.h5"
    model = classifier(name)
    initialize_batchnorm(model, images)
    model.save_weights(path)
    expected = predict(model, images)
    del model
    rebuilt = classifier(name)
    assert not np.allclose(predict(rebuilt, images), expected)
    rebuilt.load_weights(path)
    np.testing.assert_array_equal(predict(rebuilt, images), expected)


@pytest.mark.slow
def test_efficientnet_scales_the_same_with_downloaded_weights_and_with_a_file(tmp_path, monkeypatch):
    downloaded = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3))
    normalization = next(layer for layer in downloaded.layers if isinstance(layer, keras.layers.Normalization))
    normalization.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(1)])
    path = tmp_path / "efficientnetb0.weights.h5"
    downloaded.save_weights(path)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(path))
    images = random_images(32)
    by_keras, from_file = (
        predict(build_backbone(BackboneSettings(name="EfficientNetB0", weights=weights), 32), images)
        for weights in ("imagenet", str(path))
    )
    np.testing.assert_array_equal(from_file, by_keras)
