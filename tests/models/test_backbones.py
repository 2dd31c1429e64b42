"""Every backbone of the table: the first of each family, its smallest, in the fast set, the others in the slow one."""

import gc

import keras
import numpy as np
import pytest

from podium.config.backbones import BACKBONES
from podium.config.member import BackboneSettings, Head, MemberSettings
from podium.config.stage import Stage, Unfreeze
from podium.models.backbone import InputScaling, build_backbone, family_preprocessing, settle_statistics
from podium.models.classifier import build_classifier

FIRST_OF_FAMILY = {row.family: name for name, row in reversed(BACKBONES.items())}.values()
OWN_SCALING = (keras.layers.Rescaling, keras.layers.Normalization)


def backbones(chosen=lambda row: True):
    """The names of the rows, each as a parameter; slow unless it is the first of its family."""
    return [
        pytest.param(name, marks=[] if name in FIRST_OF_FAMILY else [pytest.mark.slow])
        for name, row in BACKBONES.items()
        if chosen(row)
    ]


def classifier(name):
    size = BACKBONES[name].minimum_size
    stage = Stage(
        name="head", unfreeze=Unfreeze(layers=0.0), epochs=1, batch_size=2, image_size=size, learning_rate=1e-3
    )
    settings = MemberSettings(
        competition="-", backbone=BackboneSettings(name=name, weights="none"), head=Head(), stages=[stage]
    )
    return build_classifier(settings, classes=3, image_size=size)


def random_images(size, count=4):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def predict(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


@pytest.fixture
def _forget_models():
    yield
    keras.utils.clear_session()
    gc.collect()  # the largest backbones take gigabytes


@pytest.mark.parametrize("name", BACKBONES)
def test_scaling_in_the_model_is_the_family_s_own(name):
    row, images = BACKBONES[name], random_images(8)
    ours = keras.ops.convert_to_numpy(InputScaling(row.scaling)(images))
    theirs = family_preprocessing(row)(images.astype("float32"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", backbones(lambda row: row.scaling == "none"))
def test_family_that_wants_plain_images_scales_them_itself(name):
    backbone = build_backbone(BackboneSettings(name=name, weights="none"), 32)
    last = [layer for layer in backbone.layers if isinstance(layer, OWN_SCALING)][-1]
    scaled = keras.ops.convert_to_numpy(keras.Model(backbone.input, last.output)(random_images(32)))
    assert np.abs(scaled).max() < 3


@pytest.mark.parametrize("name", backbones(lambda row: row.package == "efficientnet.tfkeras"))
def test_efficientnet_of_the_other_package_does_not_scale_inside(name):
    backbone = build_backbone(BackboneSettings(name=name, weights="none"), 32)
    assert not [layer for layer in backbone.layers if isinstance(layer, OWN_SCALING)]


@pytest.mark.usefixtures("_forget_models")
@pytest.mark.parametrize("name", backbones())
def test_model_built_anew_predicts_the_same_from_saved_weights(name, tmp_path):
    images, path = random_images(BACKBONES[name].minimum_size), tmp_path / "saved.weights.h5"
    model = classifier(name)
    settle_statistics(model, images)
    model.save_weights(path)
    expected = predict(model, images)
    del model
    again = classifier(name)
    assert not np.allclose(predict(again, images), expected)
    again.load_weights(path)
    np.testing.assert_array_equal(predict(again, images), expected)


def test_efficientnet_sees_the_same_whether_keras_fetches_its_weights_or_a_file_brings_them(tmp_path, monkeypatch):
    fetched = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3))
    normalization = next(layer for layer in fetched.layers if isinstance(layer, keras.layers.Normalization))
    normalization.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(1)])
    path = tmp_path / "efficientnetb0.weights.h5"
    fetched.save_weights(path)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(path))
    images = random_images(32)
    by_keras, from_file = (
        predict(build_backbone(BackboneSettings(name="EfficientNetB0", weights=weights), 32), images)
        for weights in ("imagenet", str(path))
    )
    np.testing.assert_array_equal(from_file, by_keras)
