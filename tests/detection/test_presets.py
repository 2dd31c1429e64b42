"""Detectors on KerasHub presets: what is read from them, and building without them."""

import shutil
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from tiny_presets import OFFSET, SCALE, save_resnet, save_retinanet, save_text_model

from podium.config.backbone_settings import PresetSettings
from podium.config.stage import Unfreeze
from podium.detection.config import DetectorSettings
from podium.detection.model import build_detector, plain_detector
from podium.errors import ConfigError, PodiumError, RunError, WeightsError
from podium.models.backbone import unfreeze
from podium.models.devices import precision_scope
from podium.models.preset_places import place_of
from podium.models.presets import PresetScaling, save_preset

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
SCALED = IMAGES * np.float32(SCALE) + np.float32(OFFSET)


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    return tmp_path_factory.mktemp("presets")


@pytest.fixture(scope="module")
def resnet(presets):
    return save_resnet(presets / "resnet")


@pytest.fixture(scope="module")
def retinanet(presets):
    return save_retinanet(presets / "retinanet")


def settings_of(preset, **changes):
    content = {"slug": "squares", "source": "yolo", "backbone": {"preset": str(preset)}, "levels": 5}
    return DetectorSettings.model_validate({**content, "head": {"layers": 1}, **changes})


def answers(model, images=IMAGES):
    return [keras.ops.convert_to_numpy(answer) for answer in model(images, training=False).values()]


def test_images_are_scaled_by_the_image_converter():
    images = np.array([[[[0, 100, 255]]]], np.uint8)
    scaled = keras.ops.convert_to_numpy(PresetScaling(SCALE, OFFSET)(images))
    np.testing.assert_allclose(scaled[0, 0, 0], [0 * 0.01 - 1, 100 * 0.02, 255 * 0.04 + 2], rtol=1e-6)
    one_for_all = keras.ops.convert_to_numpy(PresetScaling(1 / 255, None)(images))
    np.testing.assert_allclose(one_for_all[0, 0, 0], [0, 100 / 255, 1], rtol=1e-6)
    as_they_are = keras.ops.convert_to_numpy(PresetScaling(None, None)(images))
    np.testing.assert_array_equal(as_they_are[0, 0, 0], [0.0, 100.0, 255.0])


def test_scaling_is_saved_with_a_model():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(PresetScaling(SCALE, None)))
    assert (again.scale, again.offset) == (SCALE, None)


def test_features_equal_those_of_the_preset(resnet):
    encoder = build_detector(settings_of(resnet), 2, 64).backbone.image_encoder
    own = keras_hub.models.ResNetBackbone.from_preset(str(resnet))
    expected = keras.Model(own.input, [own.pyramid_outputs[f"P{level}"] for level in (3, 4, 5)])(SCALED)
    for mine, theirs, size in zip(encoder(IMAGES), expected, (8, 4, 2), strict=True):
        assert mine.shape[1:3] == (size, size)
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


def test_retinanet_keeps_its_pyramid(retinanet):
    pyramid = build_detector(settings_of(retinanet, levels=6), 2, 64).backbone
    own = keras_hub.models.RetinaNetBackbone.from_preset(str(retinanet))
    mine, theirs = pyramid(IMAGES), own(SCALED)
    assert list(mine) == list(theirs) == ["P3", "P4", "P5", "P6"]
    for level in mine:
        np.testing.assert_allclose(mine[level], theirs[level], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("save", [save_resnet, save_retinanet])
def test_detector_is_built_again_without_the_preset(save, tmp_path):
    settings, recipe, weights = settings_of(tmp_path / "p", levels=6), tmp_path / "b.json", tmp_path / "w.weights.h5"
    save(tmp_path / "p")
    keras.utils.clear_session()
    one = build_detector(settings, 2, 64, recipe=recipe)
    plain_detector(one).save_weights(weights)
    shutil.rmtree(tmp_path / "p")
    keras.utils.clear_session()
    other = build_detector(settings, 2, 64, pretrained=False, recipe=recipe)
    plain_detector(other).load_weights(weights)
    assert [layer.name for layer in one.features.layers[1:]] == [layer.name for layer in other.features.layers[1:]]
    for mine, theirs in zip(answers(one), answers(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    larger = build_detector(settings, 2, 96, pretrained=False, recipe=recipe)
    assert larger.features.outputs[0].shape[1:3] == (12, 12)


@pytest.mark.parametrize("content", [None, "{}", '{"backbone": {}}', "[", "[]"])
def test_missing_or_damaged_recipe_is_one_line(content, resnet, tmp_path):
    if content is not None:
        (tmp_path / "backbone.json").write_text(content)
    with pytest.raises(RunError, match=r"backbone\.json.* run folder away and (train|run) again$"):
        build_detector(settings_of(resnet), 2, 64, pretrained=False, recipe=tmp_path / "backbone.json")


@pytest.mark.parametrize("save", [save_resnet, pytest.param(save_retinanet, marks=pytest.mark.slow)])
def test_precision_is_that_of_the_run(save, tmp_path):
    with precision_scope("mixed_bfloat16"):
        model = build_detector(settings_of(save(tmp_path / "p"), levels=6), 2, 64)
    assert {layer.compute_dtype for layer in model.features.layers[1:]} == {"bfloat16"}
    assert {weight.dtype for weight in model.features.weights} == {"float32"}


def test_unfreeze_by_layer_name_with_frozen_batchnorm(resnet):
    model = build_detector(settings_of(resnet), 2, 64)
    unfreeze(model.features, Unfreeze(from_="stack3"), freeze_batchnorm=True)
    learning = {layer.name for layer in model.features.layers if layer.trainable_weights}
    assert learning == {"stack3_block0_0_conv", "stack3_block0_1_conv", "stack3_block0_2_conv"}
    with pytest.raises(ConfigError, match="backbone has no layer whose name starts with 'conv5'"):
        unfreeze(model.features, Unfreeze(from_="conv5"), freeze_batchnorm=True)


def test_batchnorm_within_a_layer_is_frozen_too():
    block = keras_hub.src.models.efficientnet.mbconv.MBConvBlock(4, 4, expand_ratio=2)
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, block(inputs))
    unfreeze(model, Unfreeze(layers=1.0), freeze_batchnorm=False)
    everything = len(model.trainable_weights)
    unfreeze(model, Unfreeze(layers=1.0), freeze_batchnorm=True)
    norms = [part for part in block._flatten_layers() if isinstance(part, keras.layers.BatchNormalization)]
    assert len(norms) == 3
    assert len(model.trainable_weights) == everything - 2 * len(norms)
    assert not [weight for norm in norms for weight in norm.trainable_weights]


def without_converter(folder):
    (save_resnet(folder) / "image_converter.json").unlink()


def without_weights(folder):
    (save_resnet(folder) / "model.weights.h5").unlink()


def cut_short(folder):
    weights = save_resnet(folder) / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:5000])


def of_a_strange_class(folder):
    config = save_resnet(folder) / "config.json"
    config.write_text(config.read_text().replace("ResNetBackbone", "NoBackbone"))


def without_pyramid(folder):
    keras_hub.models.ViTBackbone((16, 16, 3), 4, 1, 1, 4, 4).save_to_preset(str(folder))


EXPECTED = "expected a preset of CSPNet, DenseNet, EfficientNet, ResNet or RetinaNet, which have features P3, P4 and P5"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (without_converter, "has no image converter, so the scaling of its images is unknown"),
        (without_weights, "cannot be read ("),
        (cut_short, "cannot be read ("),
        (of_a_strange_class, "cannot be read ("),
        (lambda folder: folder.mkdir(), "cannot be read ("),
        (lambda folder: None, "cannot be read ("),
        (save_text_model, EXPECTED),
        (without_pyramid, EXPECTED),
        (save_retinanet, "is a RetinaNet with levels 3 to 6, but this detector has levels 3 to 5; set levels: 6"),
    ],
)
def test_unsupported_preset_folder_is_one_line(write, message, tmp_path):
    write(tmp_path / "preset")
    with pytest.raises(PodiumError) as caught:
        build_detector(settings_of(tmp_path / "preset"), 2, 64, recipe=tmp_path / "backbone.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "backbone.json").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet_50_imagnet", "did you mean 'resnet_50_imagenet'?"),
        ("retinanet_resnet50_coco", "did you mean 'retinanet_resnet50_fpn_coco'?"),
        ("bert_base_en", f"KerasHub's preset bert_base_en is not supported; {EXPECTED}"),
        ("dinov2_small", "dinov2_small is not supported"),
        ("mine", "for the folder of that name use ./mine"),
    ],
)
def test_names_are_checked_before_a_download(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", None)
    Path("mine").mkdir()
    with pytest.raises(ConfigError) as caught:
        build_detector(settings_of(name), 2, 64)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["resnet_50_imagenet", "kaggle://keras/resnet/keras/x"])
def test_failed_download_is_one_line(name, monkeypatch):
    def unreachable(place, load_weights):
        assert place == name
        raise ConnectionError("Failed to resolve a host\nand more")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", unreachable)
    with pytest.raises(
        WeightsError, match=r"cannot be downloaded \(Failed to resolve a host\); connect to the internet once .*[^\n]$"
    ):
        build_detector(settings_of(name), 2, 64)


def test_a_model_of_hugging_face_needs_an_extra(monkeypatch):
    monkeypatch.setattr("podium.models.preset_places.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"hf://ada/resnet needs huggingface_hub: pip install 'podium-kit\[hf\]'$"):
        build_detector(settings_of("hf://ada/resnet"), 2, 64)


def test_preset_on_kaggle_is_found_where_it_is_mounted(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(tmp_path))
    place = settings_of("kaggle-dataset:ada/nets/tiny")
    with pytest.raises(WeightsError, match=r"is not mounted: looked in .*/datasets/ada/nets/tiny and .*/nets/tiny;"):
        build_detector(place, 2, 64)
    save_resnet(tmp_path / "datasets/ada/nets/tiny")
    build_detector(place, 2, 64)


@pytest.mark.parametrize(
    "place", ["models/keras/resnetv1/keras/resnet_50_imagenet", "resnetv1/keras/resnet_50_imagenet"]
)
@pytest.mark.parametrize("version", ["2", "7"])
@pytest.mark.parametrize("preset", ["resnet_50_imagenet", "kaggle://keras/resnetv1/keras/resnet_50_imagenet/2"])
def test_preset_is_read_from_its_kaggle_model_if_that_is_mounted(preset, version, place, tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(tmp_path))
    assert place_of(PresetSettings(preset=preset)) == preset
    folder = tmp_path / place / version
    folder.mkdir(parents=True)
    assert place_of(PresetSettings(preset=preset)) == str(folder)


def test_kaggle_model_named_in_a_config_is_found_where_it_is_mounted(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(tmp_path))
    save_resnet(tmp_path / "models/ada/nets/keras/tiny/1")
    build_detector(settings_of("kaggle-model:ada/nets/keras/tiny/1"), 2, 64)


def test_preset_is_saved_for_kernels_without_internet(retinanet, tmp_path):
    save_preset(PresetSettings(preset=str(retinanet)), tmp_path / "kept")
    one, other = (
        build_detector(settings_of(place, levels=6), 2, 64).backbone for place in (retinanet, tmp_path / "kept")
    )
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
