"""Stochastic depth of the backbones and presets that have it."""

import json

import keras
import numpy as np
import pytest
from tiny_presets import SIDE, save_tiny

from podium.config.backbone_settings import BackboneSettings, PresetSettings
from podium.errors import ConfigError
from podium.models.backbone import build_backbone
from podium.models.preset_backbone import build_preset
from podium.models.stochastic_depth import StochasticDepth

IMAGES = np.random.default_rng(0).uniform(0, 255, (8, SIDE, SIDE, 3)).astype(np.float32)


def named(name, rate):
    keras.utils.set_random_seed(1)
    return build_backbone(BackboneSettings(name=name, weights="none", stochastic_depth=rate), SIDE)


def rates_in(layer):
    """Of all blocks, from the first on."""
    if isinstance(layer, keras.layers.Dropout) and (isinstance(layer, StochasticDepth) or layer.noise_shape):
        return [layer.rate]
    return [rate for part in layer._layers for rate in rates_in(part)]


def assert_skips_in_training_only(backbone, plain):
    features = np.asarray(backbone(IMAGES))
    np.testing.assert_allclose(features, np.asarray(plain(IMAGES)), atol=1e-5)
    assert (features != np.asarray(backbone(IMAGES, training=True))).any()


def test_outputs_of_an_image_are_dropped_whole_or_scaled():
    layer = StochasticDepth(0.25)
    for shape in ((400, 3, 2), (400, 2, 2, 3)):
        ones = np.ones(shape, np.float32)
        outputs = np.asarray(layer(ones, training=True)).reshape(400, -1)
        assert set(np.unique(outputs)) == {0, np.float32(1 / 0.75)}
        assert (outputs == outputs[:, :1]).all()
        assert 0.15 < (outputs[:, 0] == 0).mean() < 0.35
        assert (np.asarray(layer(ones)) == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "blocks"),
    [("EfficientNetB0", 9), ("EfficientNetV2B0", 15), ("efficientnet.EfficientNetB0", 9), ("ConvNeXtTiny", 18)],
)
def test_rates_rise_to_that_of_the_last_block(name, blocks):
    backbone = named(name, 0.4)
    assert rates_in(backbone) == pytest.approx(np.linspace(0, 0.4, blocks + 1)[1:])
    assert_skips_in_training_only(backbone, named(name, None))


def test_other_backbones_have_none():
    with pytest.raises(ConfigError, match="stochastic_depth: ResNet50 has no stochastic depth, only the EfficientNets"):
        BackboneSettings(name="ResNet50", stochastic_depth=0.1)


def preset(folder, rate, pretrained=True, file=None):
    settings = PresetSettings(preset=str(folder), stochastic_depth=rate)
    return build_preset(settings, SIDE, "avg", pretrained=pretrained, file=file, sizes=[SIDE])[1]


@pytest.mark.parametrize(
    "kind",
    [
        "DINOV2",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("DINOV3", "EfficientNet", "MiT", "MobileNetV5")),
    ],
)
def test_presets_skip_blocks_with_saved_random_numbers(kind, tmp_path):
    folder, recipe = save_tiny(kind, tmp_path / "preset"), tmp_path / "recipe.json"
    model = preset(folder, 0.5, file=recipe)
    rates = rates_in(model)
    assert rates == sorted(rates)
    assert rates[-1] == 0.5
    assert_skips_in_training_only(model, preset(folder, None))
    seeds = [variable for variable in model.variables if "seed" in variable.path]
    assert len(seeds) >= len(rates_in(model))
    before = [np.array(seed) for seed in seeds]
    first = np.asarray(model(IMAGES, training=True))
    assert (np.asarray(model(IMAGES, training=True)) != first).any()
    for layer in model._flatten_layers():
        layer.trainable = False  # so that BatchNormalization does not learn
    outputs = []
    for _ in range(2):
        for seed, value in zip(seeds, before, strict=True):
            seed.assign(value)
        outputs.append(np.asarray(model(IMAGES, training=True)))
    assert (outputs[0] == outputs[1]).all()
    again = preset(folder, 0.5, pretrained=False, file=recipe)
    assert [variable.shape for variable in again.variables] == [variable.shape for variable in model.variables]


def test_an_efficientnet_that_was_saved_without_it(tmp_path):
    folder = save_tiny("EfficientNet", tmp_path / "preset")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "config": {**config["config"], "dropout": 0.0}}))
    assert not rates_in(preset(folder, None))
    model = preset(folder, 0.5)
    assert rates_in(model)[-1] == 0.5
    assert_skips_in_training_only(model, preset(folder, None))


@pytest.mark.parametrize("kind", ["ResNet", "HGNetV2"])
def test_other_presets_have_none(kind, tmp_path):
    folder = save_tiny(kind, tmp_path / "preset")
    with pytest.raises(ConfigError, match=f"the preset is a {kind}Backbone without stochastic depth: remove backbone"):
        preset(folder, 0.5)
