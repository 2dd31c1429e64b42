"""KerasHub presets as backbones of members: every supported kind, at any image size."""

import shutil

import keras
import keras_hub
import numpy as np
import pytest
from tiny_presets import OFFSET, SCALE, SIDE, TINY, VIT_BLOCK, image_part, save_text_model, save_tiny

from podium.config.backbones import DETECTOR_PRESETS, MEMBER_PRESETS
from podium.config.member import MemberSettings
from podium.config.stage import Unfreeze
from podium.data.targets import SingleLabelTarget
from podium.errors import ConfigError, PodiumError
from podium.models.backbone import layer_groups, layers_in_order, unfreeze
from podium.models.classifier import BACKBONE, build_classifier, split_classifier
from podium.models.devices import precision_scope
from podium.models.predictor import MIN_IMAGES, Predictor
from podium.models.preset_backbone import assign_weights

THREE = SingleLabelTarget(list("abc"))
ALL = Unfreeze(layers=1.0)
NEWER_THAN_THE_LOCK = {"SwinTransformer"}
TOKENS = {"CLIP": 1, "DeiT": 2, "DINOV2": 3, "DINOV3": 5, "ViT": 1}
"""Transformers with tokens before those of the patches."""
IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
SCALED = IMAGES * np.float32(SCALE) + np.float32(OFFSET)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder, saved = tmp_path_factory.mktemp("presets"), {}

    def path(kind):
        if kind not in saved:
            saved[kind] = save_tiny(kind, folder / kind)
        return saved[kind]

    return path


def kinds(*fast, of=tuple(TINY)):
    """All of these kinds; only some of them are in the fast set."""
    return [pytest.param(name, marks=[] if name in fast else [pytest.mark.slow]) for name in of]


def settings_of(folder, size=SIDE, pooling="avg", **backbone):
    stage = {"name": "all", "unfreeze": "all", "epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "image_size": size}
    content = {"competition": "-", "backbone": {"preset": str(folder), **backbone}, "head": {"pooling": pooling}}
    return MemberSettings.model_validate(content | {"stages": [stage]})


def classifier(folder, size=SIDE, pooling="avg", recipe=None, pretrained=True, **backbone):
    settings = settings_of(folder, size, pooling, **backbone)
    return build_classifier(settings, THREE, size, recipe=recipe, pretrained=pretrained)


def pooling_of(kind):
    return "token" if kind == "SigLIP" else "avg"


def pooled(model, images=IMAGES):
    features = keras.Model(model.inputs[0], model.get_layer("pooling").output)
    return keras.ops.convert_to_numpy(features(images, training=False))


def images_of(size):
    return np.random.default_rng(1).integers(0, 256, (4, size, size, 3), dtype=np.uint8)


def of_keras_hub(folder, images=SCALED, **changes):
    """The output of KerasHub's own backbone."""
    own = image_part(keras_hub.models.Backbone.from_preset(str(folder), **changes))
    output = keras.Model(own.inputs[0], own.output)(images, training=False)
    if isinstance(output, dict):
        output = output["stage2"]
    return keras.ops.convert_to_numpy(output)


# Every kind


@pytest.mark.parametrize("kind", MEMBER_PRESETS.names)
def test_every_supported_kind_is_a_backbone_of_keras_hub_with_an_image_converter(kind):
    assert hasattr(keras_hub.models, f"{kind}Backbone")
    assert hasattr(keras_hub.layers, f"{kind}ImageConverter")
    assert kind in TINY


def test_every_image_classifier_of_keras_hub_is_supported():
    named = [name for name in dir(keras_hub.models) if name.endswith("ImageClassifier") and name != "ImageClassifier"]
    kinds = {getattr(keras_hub.models, name).backbone_cls.__name__.removesuffix("Backbone") for name in named}
    assert len(kinds) > 10
    assert kinds - NEWER_THAN_THE_LOCK <= set(MEMBER_PRESETS.names)
    assert set(DETECTOR_PRESETS.names) <= set(MEMBER_PRESETS.names)


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds("EfficientNet", "DINOV2"))
def test_features_equal_those_of_the_preset(kind, preset):
    expected = of_keras_hub(preset(kind))
    if expected.ndim == 3:
        expected = expected[:, TOKENS.get(kind, 0) :]
    if expected.ndim > 2:
        expected = expected.mean(axis=tuple(range(1, expected.ndim - 1)))
    found = pooled(classifier(preset(kind), pooling=pooling_of(kind)))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert np.abs(found - found[0]).max() > 1e-3 * np.abs(found).max()


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds("ViT"))
def test_model_of_another_size_is_trained_saved_and_built_again_without_the_preset(kind, preset, tmp_path):
    folder, recipe, images = tmp_path / "preset", tmp_path / "backbone.json", images_of(64)
    shutil.copytree(preset(kind), folder)
    model = classifier(folder, 64, pooling_of(kind), recipe)
    unfreeze(model.get_layer(BACKBONE), ALL, freeze_batchnorm=False)
    model.compile(keras.optimizers.SGD(0.01), "categorical_crossentropy")
    before = [weight.numpy() for weight in model.trainable_weights]
    model.train_on_batch(images, np.eye(3)[[0, 1, 2, 0]])
    assert any((weight.numpy() != old).any() for weight, old in zip(model.trainable_weights, before, strict=True))
    model.save_weights(tmp_path / "w.weights.h5")
    shutil.rmtree(folder)
    again = classifier(folder, 64, pooling_of(kind), recipe, pretrained=False)
    again.load_weights(tmp_path / "w.weights.h5")
    for mine, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    np.testing.assert_array_equal(again(images, training=False), model(images, training=False))


# Transformers


@pytest.mark.parametrize("kind", kinds("ViT", of=TOKENS))
def test_class_token_may_be_the_output(kind, preset):
    found = pooled(classifier(preset(kind), pooling="token"))
    np.testing.assert_allclose(found, of_keras_hub(preset(kind))[:, 0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("pooling", "expected"), [("max", np.max), ("gem", None)])
def test_patches_are_pooled_without_the_other_tokens(pooling, expected, preset):
    found = pooled(classifier(preset("DINOV2"), pooling=pooling))
    patches = of_keras_hub(preset("DINOV2"))[:, TOKENS["DINOV2"] :]
    by_hand = expected(patches, axis=1) if expected else (np.maximum(patches, 1e-6) ** 3).mean(axis=1) ** (1 / 3)
    np.testing.assert_allclose(found, by_hand, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", kinds("ViT", of=["ViT", "DeiT", "SigLIP", "CLIP", "DINOV2"]))
def test_position_embeddings_are_interpolated_for_another_image_size(kind, preset):
    own, larger = (classifier(preset(kind), size, pooling_of(kind)).get_layer(BACKBONE) for size in (SIDE, 64))
    interpolated = 0
    for small, large in zip(own.weights, larger.weights, strict=True):
        if small.shape == large.shape:
            np.testing.assert_array_equal(small.numpy(), large.numpy())
        elif small.name != "position_ids":
            interpolated += 1
            assert large.shape[-2] - small.shape[-2] == (64 // 8) ** 2 - (SIDE // 8) ** 2
            np.testing.assert_allclose(small.numpy().mean(), large.numpy().mean(), atol=0.05)
    assert interpolated == 1


@pytest.mark.parametrize("change", [pytest.param(1.0, marks=pytest.mark.slow), -1.0])
def test_trained_position_embeddings_are_saved(change, preset, tmp_path):
    """KerasHub's own DINOV2 loses those whose sum became smaller, and changes the others."""
    one, other = (classifier(preset("DINOV2"), 64) for _ in range(2))

    def positions(model):
        return next(weight for weight in model.weights if weight.name == "interpolated_position_embeddings")

    expected = positions(one).numpy() + change * np.random.default_rng(0).random(positions(one).shape)
    positions(one).assign(expected)
    one.save_weights(tmp_path / "w.weights.h5")
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(positions(other).numpy(), positions(one).numpy())


def test_interpolation_keeps_tokens_and_gradients():
    positions = np.array([[9.0], [0.0], [1.0], [0.0], [1.0]], np.float32)  # a token, then 2 × 2 from left to right
    larger = keras.Variable(np.zeros((17, 1), np.float32))
    assign_weights([larger], [positions], antialias=True)
    token, grid = larger.numpy()[0, 0], larger.numpy()[1:, 0].reshape(4, 4)
    assert token == 9.0
    np.testing.assert_allclose(grid, np.tile(grid[0], (4, 1)), atol=1e-6)
    assert (np.diff(grid[0]) > 0).all()


@pytest.mark.parametrize("size", [pytest.param(40, marks=pytest.mark.slow), 64])
def test_interpolation_equals_that_of_keras_hub(size, preset):
    images = images_of(size)
    scaled = images * np.float32(SCALE) + np.float32(OFFSET)
    expected = of_keras_hub(preset("DINOV2"), scaled, image_shape=(size, size, 3))[:, 0]
    found = pooled(classifier(preset("DINOV2"), size, "token"), images)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [40, pytest.param(64, marks=pytest.mark.slow)])
def test_grid_has_as_many_patches_as_the_image(size, preset):
    backbone = classifier(preset("ViT"), size).get_layer(BACKBONE)
    assert backbone.output_shape == (None, size // 8, size // 8, 8)


@pytest.mark.parametrize(("size", "message"), [(36, "got 36; use 32 or 40"), (63, "got 63; use 56 or 64")])
def test_image_size_that_patches_do_not_fill_is_one_line(size, message, preset):
    with pytest.raises(ConfigError, match=f"takes image sizes that are multiples of 8, {message}$"):
        classifier(preset("ViT"), size)


def test_image_sizes_of_later_stages_are_checked_first(preset):
    settings = settings_of(preset("ViT"), size=100)
    with pytest.raises(ConfigError, match="multiples of 8, got 100; use 96 or 104"):
        build_classifier(settings, THREE, SIDE)


@pytest.mark.parametrize(
    ("kind", "pooling", "message"),
    [
        ("EfficientNet", "token", "has no class token: set head.pooling to avg, max or gem"),
        pytest.param("SigLIP", "avg", "pools its features itself: set head.pooling to token", marks=pytest.mark.slow),
    ],
)
def test_pooling_that_does_not_fit_is_one_line(kind, pooling, message, preset):
    with pytest.raises(ConfigError, match=message) as caught:
        classifier(preset(kind), pooling=pooling)
    assert "\n" not in str(caught.value)


# Trainable layers


def learning(backbone):
    return [layer.name for layer in layers_in_order(backbone) if layer.trainable_weights]


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("ViT", f"{VIT_BLOCK}_2"),
        pytest.param("DINOV2", "layers_1", marks=pytest.mark.slow),
        pytest.param("DINOV3", "layers_1", marks=pytest.mark.slow),
        pytest.param("DeiT", "transformer_block_2", marks=pytest.mark.slow),
    ],
)
def test_blocks_of_a_transformer_are_unfrozen_one_by_one(kind, first, preset):
    backbone = classifier(preset(kind)).get_layer(BACKBONE)
    layers = [layer for layer in layers_in_order(backbone) if layer.weights]
    unfreeze(backbone, Unfreeze(from_=first), freeze_batchnorm=True)
    names = [layer.name for layer in layers]
    assert learning(backbone) == names[names.index(first) :]
    assert len(learning(backbone)) == 3  # two of the three blocks, and the last normalization
    trainable = [id(weight) for layer in layers[-3:] for weight in layer.trainable_weights]
    assert sorted(trainable) == sorted(id(weight) for weight in backbone.trainable_weights)
    assert len(trainable) > 20


def test_share_of_layers_counts_the_blocks_of_a_transformer(preset):
    backbone = classifier(preset("ViT")).get_layer(BACKBONE)
    layers = layers_in_order(backbone)
    unfreeze(backbone, Unfreeze(layers=0.5), freeze_batchnorm=True)
    assert [layer.trainable for layer in layers].index(True) == len(layers) // 2
    unfreeze(backbone, Unfreeze(parameters=0.1), freeze_batchnorm=True)
    assert learning(backbone) == [f"{VIT_BLOCK}_3", "ln"]
    unfreeze(backbone, Unfreeze(layers=0.0), freeze_batchnorm=True)
    assert learning(backbone) == []


def test_unknown_block_of_a_transformer_is_reported_with_the_existing_ones(preset):
    backbone = classifier(preset("ViT")).get_layer(BACKBONE)
    with pytest.raises(ConfigError, match=rf"expected one of .*, {VIT_BLOCK}_1, .*_2, {VIT_BLOCK}_3, ln$"):
        unfreeze(backbone, Unfreeze(from_=f"{VIT_BLOCK}_9"), freeze_batchnorm=True)


@pytest.mark.slow
def test_batchnorm_inside_the_layers_is_frozen(preset):
    model = classifier(preset("EfficientNet"))
    backbone = model.get_layer(BACKBONE)
    norms = [layer for layer in backbone._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) > len([layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)])
    for freeze in (True, False):
        unfreeze(backbone, ALL, freeze_batchnorm=freeze)
        before = [norm.get_weights() for norm in norms]
        model.compile("sgd", "categorical_crossentropy")
        model.train_on_batch(IMAGES, np.eye(3)[[0, 1, 2, 0]])
        same = [
            all(np.array_equal(old, new) for old, new in zip(values, norm.get_weights(), strict=True))
            for norm, values in zip(norms, before, strict=True)
        ]
        assert same == [freeze] * len(norms)


@pytest.mark.parametrize("kind", kinds("EfficientNet", "DINOV2"))
def test_every_layer_with_weights_is_in_one_group(kind, preset):
    backbone = classifier(preset(kind), pooling=pooling_of(kind)).get_layer(BACKBONE)
    grouped = [id(weight) for layers in layer_groups(backbone).values() for layer in layers for weight in layer.weights]
    assert sorted(grouped) == sorted({id(weight) for weight in backbone.weights})


# Precision, prediction, random weights


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds("EfficientNet", of=["EfficientNet", "ViT", "DINOV2", "DINOV3", "SigLIP"]))
def test_precision_is_that_of_the_run(kind, preset):
    with precision_scope("mixed_bfloat16"):
        model = classifier(preset(kind), pooling=pooling_of(kind))
    backbone = model.get_layer(BACKBONE)
    assert {layer.compute_dtype for layer in backbone._flatten_layers() if layer.weights} == {"bfloat16"}
    assert {str(weight.dtype) for weight in backbone.weights} <= {"float32", "int64", "int32"}
    probs = keras.ops.convert_to_numpy(model(IMAGES, training=False))
    assert probs.dtype == np.float32
    full = keras.ops.convert_to_numpy(classifier(preset(kind), pooling=pooling_of(kind))(IMAGES, training=False))
    assert np.isfinite(probs).all()
    assert full.shape == probs.shape


@pytest.mark.parametrize("kind", kinds("EfficientNet", of=["EfficientNet", "ViT", "ResNet", "DINOV3", "MobileNet"]))
def test_folded_model_predicts_the_same_up_to_rounding(kind, preset):
    model = classifier(preset(kind))
    found = Predictor(model, MIN_IMAGES).predict([(IMAGES,)])
    np.testing.assert_allclose(found, model.predict_on_batch(IMAGES), rtol=1e-3, atol=1e-5)


def test_frozen_features_give_the_same_probabilities(preset):
    model = classifier(preset("DINOV2"))
    parts = split_classifier(model)
    features = parts.feature_model()
    assert features.output_shape == (None, 8)
    np.testing.assert_allclose(
        parts.head_model(features)(features(IMAGES)), model(IMAGES, training=False), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_weights_may_be_random(preset, tmp_path):
    folder = shutil.copytree(preset("ViT"), tmp_path / "preset")
    (folder / "model.weights.h5").unlink()
    one = pooled(classifier(folder, weights="none"))
    assert not np.allclose(one, pooled(classifier(preset("ViT"))))
    with pytest.raises(PodiumError, match="cannot be read"):
        classifier(folder)


def test_only_the_description_is_read_without_pretrained_weights(preset, tmp_path):
    folder = shutil.copytree(preset("ViT"), tmp_path / "preset")
    (folder / "model.weights.h5").unlink()
    assert classifier(folder, pretrained=False).output_shape == (None, 3)


def test_unsupported_preset_is_one_line(tmp_path):
    save_text_model(tmp_path / "preset")
    with pytest.raises(ConfigError, match=r"is not supported; expected a preset of CLIP, CSPNet, .* or Xception$"):
        classifier(tmp_path / "preset")
