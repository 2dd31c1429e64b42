"""Models for images of other than three channels, made of those for three."""

import keras
import numpy as np
import pytest
from tiny_presets import OFFSET, SCALE, SIDE, TINY, save_tiny

from podium.config.backbone_settings import BackboneSettings
from podium.config.member import MemberSettings
from podium.data.targets import SingleLabelTarget
from podium.models.backbone import IMAGENET_MEAN, IMAGENET_STD, InputScaling, build_backbone, scaling_of
from podium.models.channels import spread_channels
from podium.models.classifier import build_classifier
from podium.models.presets import PresetScaling


def noise(channels, size=8):
    return np.random.default_rng(0).integers(0, 256, (2, size, size, channels), dtype=np.uint8)


def scaled(layer, images):
    return keras.ops.convert_to_numpy(layer(images))


def test_first_kernel_is_the_mean_or_the_three_in_turn():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 5))
    mean = spread_channels(kernel, (3, 3, 4, 5), "mean")
    for channel in range(4):
        np.testing.assert_allclose(mean[:, :, channel], kernel.sum(axis=2) / 4)
    repeated = spread_channels(kernel, (3, 3, 4, 5), "repeat")
    np.testing.assert_allclose(repeated, kernel[:, :, [0, 1, 2, 0]] * 3 / 4)
    of_bgr = spread_channels(kernel, (3, 3, 4, 5), "repeat", is_flipped=True)
    np.testing.assert_allclose(of_bgr, kernel[:, :, [2, 1, 0, 2]] * 3 / 4)
    np.testing.assert_allclose(spread_channels(kernel, (3, 3, 1, 5), "mean")[:, :, 0], kernel.sum(axis=2))
    np.testing.assert_allclose(spread_channels(kernel, (3, 3, 1, 5), "repeat")[:, :, 0], kernel.sum(axis=2))
    assert spread_channels(np.array([1.0, 2, 6]), (4,), "repeat").tolist() == [3, 3, 3, 3]  # of a normalization
    assert spread_channels(kernel, kernel.shape, "mean") is kernel


def test_each_channel_is_scaled_by_the_mean_of_the_three():
    images = noise(5)
    torch = (images / 255 - np.mean(IMAGENET_MEAN)) / np.mean(IMAGENET_STD)
    np.testing.assert_allclose(scaled(InputScaling("torch"), images), torch, rtol=1e-4, atol=1e-4)
    caffe = images - np.mean([103.939, 116.779, 123.68])
    np.testing.assert_allclose(scaled(InputScaling("caffe"), images), caffe, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scaled(InputScaling("tf"), images), images / 127.5 - 1, rtol=1e-4, atol=1e-4)
    preset = images * np.mean(SCALE) + np.mean(OFFSET)
    np.testing.assert_allclose(scaled(PresetScaling(SCALE, OFFSET), images), preset, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["ConvNeXtTiny", "EfficientNetV2B0"])
def test_what_a_model_scales_itself_for_three_channels_only_is_scaled_before(name):
    settings = BackboneSettings(name=name, weights="none")
    assert [scaling_of(settings, channels).scaling for channels in (3, 4)] == ["none", "torch"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["mean", "repeat"])
def test_equal_channels_give_the_features_of_a_grey_image(how, tmp_path):
    plain = BackboneSettings(name="SmallResNet", weights="none", alpha=0.5)
    three, path = build_backbone(plain, 32), tmp_path / "three.weights.h5"
    three.save_weights(path)
    from_file = plain.model_copy(update={"weights": str(path), "channels": how})
    scaling, grey = scaling_of(plain), noise(1, 32)
    expected = keras.ops.convert_to_numpy(three(scaling(np.repeat(grey, 3, axis=-1))))
    for channels in (1, 3, 6) if how == "repeat" else (1, 2, 3, 7):
        model = build_backbone(from_file, 32, channels)
        found = keras.ops.convert_to_numpy(model(scaling(np.repeat(grey, channels, axis=-1))))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("EfficientNetB0", "ConvNeXtTiny", "ResNet50", "VGG16")],
)
def test_weights_of_a_family_are_spread(name, tmp_path):
    three, path = build_backbone(BackboneSettings(name=name, weights="none"), 32), tmp_path / "three.weights.h5"
    three.save_weights(path)
    model = build_backbone(BackboneSettings(name=name, weights=str(path)), 32, 4)
    kernels = [(before, after) for before, after in zip(three.weights, model.weights, strict=True)]
    changed = [before.name for before, after in kernels if before.shape != after.shape]
    assert changed[-1] == "kernel"
    assert set(changed[:-1]) <= {"mean", "variance"}
    assert model(scaling_of(BackboneSettings(name=name, weights="none"), 4)(noise(4, 32))).shape[0] == 2


def test_a_pretrained_model_scales_as_when_it_is_loaded_again(tmp_path):
    three, path = build_backbone(BackboneSettings(name="EfficientNetB0", weights="none"), 32), tmp_path / "a.weights.h5"
    (normalization,) = (layer for layer in three.layers if isinstance(layer, keras.layers.Normalization))
    normalization.set_weights([np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.4]), np.array(0)])
    three.save_weights(path)
    model = build_backbone(BackboneSettings(name="EfficientNetB0", weights=str(path)), 32, 4)
    images = noise(4, 32).astype(np.float32)
    before = scaled(model, images)
    model.save_weights(tmp_path / "again.weights.h5")
    model.load_weights(tmp_path / "again.weights.h5")
    np.testing.assert_allclose(before, scaled(model, images), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY)
def test_a_preset_of_every_kind_takes_four_channels(kind, tmp_path):
    stage = {"name": "all", "unfreeze": "all", "epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "image_size": SIDE}
    pooling = "token" if kind == "SigLIP" else "avg"
    settings = MemberSettings.model_validate(
        {
            "competition": "-",
            "backbone": {"preset": str(save_tiny(kind, tmp_path))},
            "head": {"pooling": pooling},
            "stages": [stage],
        }
    )
    target, recipe = SingleLabelTarget(list("abc")), tmp_path / "backbone.json"
    three = build_classifier(settings, target, SIDE)
    four = build_classifier(settings, target, SIDE, channels=4, recipe=recipe)
    pairs = list(zip(three.get_layer("backbone").weights, four.get_layer("backbone").weights, strict=True))
    ((before, after),) = [(before, after) for before, after in pairs if before.shape != after.shape]
    expected = np.repeat(keras.ops.convert_to_numpy(before).sum(axis=2, keepdims=True) / 4, 4, axis=2)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(after), expected, rtol=1e-5)
    assert np.isfinite(keras.ops.convert_to_numpy(four(noise(4, SIDE)))).all()
    again = build_classifier(settings, target, SIDE, channels=4, recipe=recipe, pretrained=False)
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in four.weights]
