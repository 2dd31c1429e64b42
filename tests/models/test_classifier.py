import re
import urllib.error

import keras
import numpy as np
import pytest

from podium.config.backbone_settings import BackboneSettings
from podium.config.member import Head, MemberSettings
from podium.config.stage import Stage, Unfreeze
from podium.data.targets import SingleLabelTarget
from podium.errors import ConfigError, WeightsError
from podium.models.backbone import build_backbone, initialize_batchnorm, unfreeze
from podium.models.classifier import BACKBONE, GeneralizedMeanPooling, build_classifier
from podium.models.devices import precision_scope

ALL = Unfreeze(layers=1.0)
TWO, THREE = SingleLabelTarget(list("ab")), SingleLabelTarget(list("abc"))
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def member(name="SmallResNet", weights="none", alpha=None, freeze_batchnorm=True, **head):
    backbone = BackboneSettings(name=name, weights=weights, alpha=alpha, freeze_batchnorm=freeze_batchnorm)
    stage = Stage(name="all", unfreeze=ALL, epochs=1, batch_size=8, image_size=96, learning_rate=1e-3)
    return MemberSettings(competition="-", backbone=backbone, head=Head(**head), stages=[stage])


def tiny(**head):
    return build_classifier(member(alpha=0.25, **head), THREE, image_size=32)


def backbone(name="SmallResNet", size=32, **settings):
    return build_backbone(BackboneSettings(name=name, **{"weights": "none"} | settings), size)


def trainable(model):
    """The names of the layers with trainable weights."""
    return [layer.name for layer in model.layers if layer.trainable_weights]


def predict(model, images=IMAGES):
    return keras.ops.convert_to_numpy(model(images, training=False))


# Head

# Two channels of 2 × 2: one is 4, 0, 0, 0, the other is 2 everywhere.
FEATURES = np.array([[[[4.0, 2.0], [0.0, 2.0]], [[0.0, 2.0], [0.0, 2.0]]]], dtype="float32")


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("avg", [1.0, 2.0]), ("max", [4.0, 2.0]), ("gem", [(4**3 / 4) ** (1 / 3), 2.0])],
)
def test_pooling_equals_hand_computed_values(pooling, expected):
    layer = tiny(pooling=pooling).get_layer("pooling")
    np.testing.assert_allclose(type(layer)()(FEATURES), [expected], rtol=1e-5)


@pytest.mark.parametrize(
    ("exponent", "expected"), [(1.0, 1.0), (20.0, 4.0 / 4 ** (1 / 20)), (99.0, 4.0 / 4 ** (1 / 20))]
)
def test_exponent_of_generalized_mean_pooling_is_bounded(exponent, expected):
    pooling = GeneralizedMeanPooling()
    pooling.build(FEATURES.shape)
    pooling.exponent.assign(exponent)
    assert float(pooling(FEATURES)[0, 0]) == pytest.approx(expected, rel=1e-4)


def test_exponent_of_generalized_mean_pooling_is_trainable():
    model = tiny(pooling="gem")
    assert [weight.path for weight in model.trainable_weights if "exponent" in weight.path] == ["pooling/exponent"]


def test_head_has_the_layers_of_the_config_in_order():
    model = tiny(batchnorm=True, dense=[16, 8], dropout=0.25)
    names = [layer.name for layer in model.layers]
    assert names[:3] == ["images", "scaling", BACKBONE]
    assert names[3:] == ["pooling", "head_batchnorm", "head_dense_0", "head_dense_1", "head_dropout", "probabilities"]
    assert [model.get_layer(f"head_dense_{number}").units for number in (0, 1)] == [16, 8]
    assert model.get_layer("head_dropout").rate == 0.25
    assert [layer.name for layer in tiny().layers][3:] == ["pooling", "probabilities"]


def test_l2_regularizes_the_kernels_of_the_head():
    model = tiny(dense=[4], l2=0.1)
    kernels = [model.get_layer(name).kernel for name in ("head_dense_0", "probabilities")]
    expected = [0.1 * float(np.sum(np.square(kernel))) for kernel in kernels]
    assert [float(loss) for loss in model.losses] == pytest.approx(expected)
    assert tiny(dense=[4]).losses == []


def test_probabilities_are_float32_with_mixed_precision():
    with precision_scope("mixed_float16"):
        model = tiny()
    probs = predict(model)
    assert model.get_layer("scaling").compute_dtype == "float16"
    assert probs.dtype == np.float32
    assert probs.sum(axis=1) == pytest.approx(np.ones(8), abs=1e-6)


def test_alpha_is_the_width_multiplier():
    assert backbone(alpha=0.25).output_shape[-1] == 48
    assert backbone().output_shape[-1] == 192


# Trainable layers


def test_unfreeze_none_and_all():
    model = backbone(alpha=0.25)
    unfreeze(model, Unfreeze(layers=0.0), freeze_batchnorm=True)
    assert trainable(model) == []
    unfreeze(model, ALL, freeze_batchnorm=True)
    assert trainable(model) == [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    unfreeze(model, ALL, freeze_batchnorm=False)
    assert trainable(model) == [layer.name for layer in model.layers if layer.weights]


@pytest.mark.parametrize(
    ("name", "size", "block", "shortcut", "frozen"),
    [
        ("SmallResNet", 32, "block3", "block3_shortcut_conv", "block2_second_conv"),
        pytest.param(
            "ResNet50", 32, "conv5_block1", "conv5_block1_0_conv", "conv4_block6_3_conv", marks=pytest.mark.slow
        ),
        pytest.param("Xception", 71, "block13", "conv2d_3", "block12_sepconv3", marks=pytest.mark.slow),
    ],
)
def test_unfreeze_from_a_block_includes_every_later_layer(name, size, block, shortcut, frozen):
    model = backbone(name, size)
    unfreeze(model, Unfreeze(from_=block), freeze_batchnorm=False)
    names = [layer.name for layer in model.layers if layer.weights]
    first = next(number for number, layer in enumerate(names) if layer.startswith(block))
    assert trainable(model) == names[first:]
    assert shortcut in trainable(model)
    assert frozen not in trainable(model)


def test_unknown_block_is_reported_with_the_existing_ones():
    with pytest.raises(
        ConfigError, match=r"starts with 'blok1'; expected one of stem, block1, block2, block3, block4$"
    ):
        unfreeze(backbone(alpha=0.25), Unfreeze(from_="blok1"), freeze_batchnorm=True)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_parameters_is_reached_by_the_fewest_last_layers(share):
    model = backbone(alpha=0.25)
    unfreeze(model, Unfreeze(parameters=share), freeze_batchnorm=False)
    counts = [layer.count_params() for layer in model.layers if layer.name in trainable(model)]
    assert sum(counts) >= share * model.count_params()
    assert sum(counts[1:]) < share * model.count_params() or not counts


def test_share_of_layers_counts_from_the_end():
    model = backbone(alpha=0.25)
    unfreeze(model, Unfreeze(layers=0.5), freeze_batchnorm=False)
    frozen = len(model.layers) // 2
    assert [layer.trainable for layer in model.layers] == [False] * frozen + [True] * (len(model.layers) - frozen)


def one_step(freeze_batchnorm):
    """The weights of the backbone's BatchNormalization layers and of its other layers, before and after one step."""
    settings = member(alpha=0.25, freeze_batchnorm=freeze_batchnorm)
    model = build_classifier(settings, TWO, image_size=32)
    inner = model.get_layer(BACKBONE)
    unfreeze(inner, ALL, freeze_batchnorm)
    initialize_batchnorm(model, IMAGES)
    model.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy")
    norms = [layer for layer in inner.layers if isinstance(layer, keras.layers.BatchNormalization)]
    others = [layer for layer in inner.layers if layer.weights and layer not in norms]
    before = [[layer.get_weights() for layer in layers] for layers in (norms, others)]
    model.train_on_batch(IMAGES, np.eye(2)[[0, 1] * 4])
    return before, [[layer.get_weights() for layer in layers] for layers in (norms, others)]


def changed(before, after):
    return [
        any(not np.array_equal(old, new) for old, new in zip(*pair, strict=True))
        for pair in zip(before, after, strict=True)
    ]


def test_frozen_batchnorm_keeps_its_statistics_gamma_and_beta():
    (norms, others), (norms_after, others_after) = one_step(freeze_batchnorm=True)
    assert not any(changed(norms, norms_after))
    assert any(changed(others, others_after))


def test_batchnorm_is_trained_if_not_frozen():
    (norms, _), (norms_after, _) = one_step(freeze_batchnorm=False)
    assert all(changed(norms, norms_after))


# Weights


def test_weights_are_loaded_from_a_file(tmp_path):
    saved, path = backbone(alpha=0.25), tmp_path / "small.weights.h5"
    saved.save_weights(path)
    np.testing.assert_array_equal(predict(backbone(alpha=0.25, weights=str(path))), predict(saved))


def test_missing_weights_file(tmp_path):
    with pytest.raises(
        WeightsError, match=r"SmallResNet: no weights at .*absent.h5; expected an existing file"
    ) as error:
        backbone(weights=str(tmp_path / "absent.h5"))
    assert "\n" not in str(error.value)


def test_a_folder_as_weights_is_an_error_with_the_key_of_a_preset(tmp_path):
    message = f"SmallResNet: the weights {tmp_path} are a folder; expected a file, or for a KerasHub preset"
    with pytest.raises(WeightsError, match=re.escape(f"{message} --set 'backbone={{preset: {tmp_path}}}'")):
        backbone(weights=str(tmp_path))


def weights_of_another_backbone(folder):
    path = folder / "other.weights.h5"
    backbone(alpha=0.5).save_weights(path)
    return path


def weights_of_a_classifier(folder):
    path = folder / "classifier.weights.h5"
    tiny().save_weights(path)
    return path


def file_of_bytes(name):
    def write(folder):
        (folder / name).write_bytes(b"no weights")
        return folder / name

    return write


@pytest.mark.parametrize(
    "write",
    [
        weights_of_another_backbone,
        weights_of_a_classifier,
        *(file_of_bytes(name) for name in ("broken.weights.h5", "broken.h5", "broken.keras", "notes.txt")),
    ],
)
def test_weights_file_that_does_not_fit(write, tmp_path):
    path = write(tmp_path)
    with pytest.raises(WeightsError, match=r"do not fit SmallResNet: .*saved by Keras's save_weights") as error:
        backbone(alpha=0.25, weights=str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("MobileNetV2", "imagenet"),
        pytest.param("EfficientNetB0", "imagenet", marks=pytest.mark.slow),
        pytest.param("efficientnet.EfficientNetB0", "noisy-student", marks=pytest.mark.slow),
    ],
)
def test_failed_download_of_weights_lists_the_alternatives(name, weights, tmp_path, monkeypatch):
    def no_network(*_):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=f"cannot load the {weights} weights of {name} ") as error:
        backbone(name, 224, weights=weights)
    message = str(error.value)
    for way in ("connect to the internet once", "set backbone.weights to a file", "set it to none"):
        assert way in message
    assert "\n" not in message


def test_pretrained_false_downloads_nothing(monkeypatch):
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: pytest.fail("downloaded weights"))
    model = build_classifier(member("MobileNet", weights="imagenet"), TWO, image_size=96, pretrained=False)
    assert model.output_shape == (None, 2)


def test_initialized_batchnorm_has_the_statistics_of_the_images():
    model = tiny(batchnorm=True)
    initialize_batchnorm(model, IMAGES)
    inner = model.get_layer(BACKBONE)
    first = keras.Model(inner.input, inner.get_layer("stem_bn").output)
    normalized = predict(first, model.get_layer("scaling")(IMAGES))
    np.testing.assert_allclose(normalized.mean(axis=(0, 1, 2)), 0.0, atol=1e-3)
    np.testing.assert_allclose(normalized.std(axis=(0, 1, 2)), 1.0, atol=0.01)


def test_initializing_batchnorm_changes_nothing_else():
    model = tiny(batchnorm=True)
    inner = model.get_layer(BACKBONE)
    unfreeze(inner, Unfreeze(from_="block4"), freeze_batchnorm=True)
    norms = [layer for layer in [*inner.layers, *model.layers] if isinstance(layer, keras.layers.BatchNormalization)]
    before = [(layer.momentum, layer.trainable) for layer in norms]
    weights = [weight.numpy() for weight in model.trainable_weights]
    initialize_batchnorm(model, IMAGES)
    assert [(layer.momentum, layer.trainable) for layer in norms] == before
    assert before[0] == (0.9, False)
    for weight, old in zip(model.trainable_weights, weights, strict=True):
        np.testing.assert_array_equal(weight, old)
