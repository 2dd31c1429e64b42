import urllib.error

import keras
import numpy as np
import pytest

from podium.config.member import BackboneSettings, Head, MemberSettings
from podium.config.stage import Stage, Unfreeze
from podium.errors import ConfigError, WeightsError
from podium.models.backbone import build_backbone, settle_statistics, unfreeze
from podium.models.classifier import BACKBONE, GeneralizedMeanPooling, build_classifier
from podium.models.devices import precision_of

UNFROZEN = Unfreeze(layers=1.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def member(name="MobileNet", weights="none", alpha=None, freeze_batchnorm=True, **head):
    backbone = BackboneSettings(name=name, weights=weights, alpha=alpha, freeze_batchnorm=freeze_batchnorm)
    stage = Stage(name="all", unfreeze=UNFROZEN, epochs=1, batch_size=8, image_size=96, learning_rate=1e-3)
    return MemberSettings(competition="-", backbone=backbone, head=Head(**head), stages=[stage])


def tiny(**head):
    return build_classifier(member(alpha=0.25, **head), classes=3, image_size=32)


def backbone(name, size=32, **settings):
    return build_backbone(BackboneSettings(name=name, **{"weights": "none"} | settings), size)


def learning(model):
    """The names of the layers that have weights to learn and may."""
    return [layer.name for layer in model.layers if layer.trainable_weights]


def predict(model, images=IMAGES):
    return keras.ops.convert_to_numpy(model(images, training=False))


# Two channels of 2 × 2: one has a single 4 among zeros, the other is 2 everywhere.
FEATURES = np.array([[[[4.0, 2.0], [0.0, 2.0]], [[0.0, 2.0], [0.0, 2.0]]]], dtype="float32")


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("avg", [1.0, 2.0]), ("max", [4.0, 2.0]), ("gem", [(4**3 / 4) ** (1 / 3), 2.0])],
)
def test_pooling_of_the_head_is_what_a_hand_computes(pooling, expected):
    layer = tiny(pooling=pooling).get_layer("pooling")
    pooled = type(layer)()(FEATURES)
    np.testing.assert_allclose(pooled, [expected], rtol=1e-5)


@pytest.mark.parametrize(
    ("exponent", "expected"), [(1.0, 1.0), (20.0, 4.0 / 4 ** (1 / 20)), (99.0, 4.0 / 4 ** (1 / 20))]
)
def test_generalised_mean_lies_between_average_and_maximum_and_its_exponent_has_bounds(exponent, expected):
    pooling = GeneralizedMeanPooling()
    pooling.build(FEATURES.shape)
    pooling.exponent.assign(exponent)
    assert float(pooling(FEATURES)[0, 0]) == pytest.approx(expected, rel=1e-4)


def test_exponent_of_the_generalised_mean_is_learned():
    model = tiny(pooling="gem")
    assert [weight.path for weight in model.trainable_weights if "exponent" in weight.path] == ["pooling/exponent"]


def test_head_has_the_layers_that_the_config_names_in_this_order():
    model = tiny(batchnorm=True, dense=[16, 8], dropout=0.25)
    names = [layer.name for layer in model.layers]
    assert names[:3] == ["images", "scaling", BACKBONE]
    assert names[3:] == ["pooling", "head_batchnorm", "head_dense_0", "head_dense_1", "head_dropout", "probabilities"]
    assert [model.get_layer(f"head_dense_{number}").units for number in (0, 1)] == [16, 8]
    assert model.get_layer("head_dropout").rate == 0.25


def test_plain_head_is_pooling_and_probabilities():
    assert [layer.name for layer in tiny().layers][3:] == ["pooling", "probabilities"]


def test_l2_adds_the_squares_of_the_head_s_kernels_to_the_loss_and_none_adds_nothing():
    model = tiny(dense=[4], l2=0.1)
    kernels = [model.get_layer(name).kernel for name in ("head_dense_0", "probabilities")]
    expected = [0.1 * float(np.sum(np.square(kernel))) for kernel in kernels]
    assert [float(loss) for loss in model.losses] == pytest.approx(expected)
    assert tiny(dense=[4]).losses == []


def test_probabilities_are_float32_and_sum_to_one_under_mixed_precision_too():
    with precision_of("mixed_float16"):
        model = tiny()
    probs = predict(model)
    assert model.get_layer("scaling").compute_dtype == "float16"
    assert probs.dtype == np.float32
    assert probs.sum(axis=1) == pytest.approx(np.ones(8), abs=1e-6)


def test_alpha_is_the_width_of_a_mobilenet():
    assert backbone("MobileNet", alpha=0.25).output_shape[-1] == 256
    assert backbone("MobileNet").output_shape[-1] == 1024


def test_none_holds_the_whole_backbone_and_all_lets_all_of_it_learn_but_batchnorm():
    model = backbone("MobileNet", alpha=0.25)
    unfreeze(model, Unfreeze(layers=0.0), freeze_batchnorm=True)
    assert learning(model) == []
    unfreeze(model, UNFROZEN, freeze_batchnorm=True)
    convolutions = [
        layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    ]
    assert learning(model) == convolutions
    unfreeze(model, UNFROZEN, freeze_batchnorm=False)
    assert learning(model) == [layer.name for layer in model.layers if layer.weights]


@pytest.mark.parametrize(
    ("name", "size", "block", "shortcut", "held"),
    [
        ("ResNet50", 32, "conv5_block1", "conv5_block1_0_conv", "conv4_block6_3_conv"),
        ("Xception", 71, "block13", "conv2d_3", "block12_sepconv3"),
    ],
)
def test_from_a_block_on_every_later_layer_learns_shortcuts_too(name, size, block, shortcut, held):
    model = backbone(name, size)
    unfreeze(model, Unfreeze(from_=block), freeze_batchnorm=False)
    names = [layer.name for layer in model.layers if layer.weights]
    first = next(number for number, layer in enumerate(names) if layer.startswith(block))
    assert learning(model) == names[first:]
    assert shortcut in learning(model)
    assert names[first - 1].startswith(held.removesuffix("conv").removesuffix("3_"))
    assert held not in learning(model)


def test_unknown_block_is_named_beside_those_there_are():
    with pytest.raises(
        ConfigError, match=r"begins with 'conv6_block1'; its parts are conv1, conv2, conv3, conv4, conv5"
    ):
        unfreeze(backbone("ResNet50"), Unfreeze(from_="conv6_block1"), freeze_batchnorm=True)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_parameters_is_held_by_the_fewest_last_layers_that_reach_it(share):
    model = backbone("MobileNet", alpha=0.25)
    unfreeze(model, Unfreeze(parameters=share), freeze_batchnorm=False)
    counts = [layer.count_params() for layer in model.layers if layer.name in learning(model)]
    assert sum(counts) >= share * model.count_params()
    assert sum(counts[1:]) < share * model.count_params() or not counts


def test_share_of_layers_counts_from_the_end():
    model = backbone("MobileNet", alpha=0.25)
    unfreeze(model, Unfreeze(layers=0.5), freeze_batchnorm=False)
    assert len(model.layers) == 86
    assert [layer.trainable for layer in model.layers] == [False] * 43 + [True] * 43


def one_step(freeze_batchnorm):
    """The weights of a backbone's BatchNormalization layers and of the rest, before and after a training step."""
    settings = member(alpha=0.25, freeze_batchnorm=freeze_batchnorm)
    model = build_classifier(settings, classes=2, image_size=32)
    inner = model.get_layer(BACKBONE)
    unfreeze(inner, UNFROZEN, freeze_batchnorm)
    settle_statistics(model, IMAGES)
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


def test_batchnorm_of_the_backbone_keeps_its_statistics_gamma_and_beta_while_its_neighbours_learn():
    (norms, others), (norms_after, others_after) = one_step(freeze_batchnorm=True)
    assert not any(changed(norms, norms_after))
    assert any(changed(others, others_after))


def test_batchnorm_learns_where_the_config_says_so():
    (norms, _), (norms_after, _) = one_step(freeze_batchnorm=False)
    assert all(changed(norms, norms_after))


def test_backbone_takes_its_weights_from_a_file(tmp_path):
    given, path = backbone("MobileNet", alpha=0.25), tmp_path / "mobilenet.weights.h5"
    given.save_weights(path)
    taken = backbone("MobileNet", alpha=0.25, weights=str(path))
    np.testing.assert_array_equal(predict(taken), predict(given))


def test_weights_file_that_is_not_there_is_told_with_what_to_do(tmp_path):
    with pytest.raises(
        WeightsError, match=r"no weights at .*absent.h5 for MobileNet; give a file that is there"
    ) as told:
        backbone("MobileNet", weights=str(tmp_path / "absent.h5"))
    assert "\n" not in str(told.value)


def weights_of_another_backbone(folder):
    path = folder / "other.weights.h5"
    backbone("MobileNetV2", alpha=0.35).save_weights(path)
    return path


def weights_of_a_whole_classifier(folder):
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
        weights_of_a_whole_classifier,
        *(file_of_bytes(name) for name in ("broken.weights.h5", "broken.h5", "broken.keras", "notes.txt")),
    ],
)
def test_weights_file_that_does_not_fit_is_told_in_one_line(write, tmp_path):
    path = write(tmp_path)
    with pytest.raises(WeightsError, match=r"do not fit MobileNet: .*as keras save_weights writes them") as told:
        backbone("MobileNet", alpha=0.25, weights=str(path))
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "weights"),
    [("MobileNetV2", "imagenet"), ("EfficientNetB0", "imagenet"), ("efficientnet.EfficientNetB0", "noisy-student")],
)
def test_without_a_network_one_line_names_the_three_ways_out(name, weights, tmp_path, monkeypatch):
    def no_network(*_):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=f"the {weights} weights of {name} cannot be had") as told:
        backbone(name, 224, weights=weights)
    message = str(told.value)
    for way in ("connect to the internet once", "set backbone.weights to a file", "set it to none"):
        assert way in message
    assert "\n" not in message


def test_pretrained_false_builds_without_fetching_anything(monkeypatch):
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: pytest.fail("fetched weights"))
    model = build_classifier(member("MobileNetV2", weights="imagenet"), classes=2, image_size=96, pretrained=False)
    assert model.output_shape == (None, 2)


def test_settled_statistics_are_those_of_the_images():
    model = tiny(batchnorm=True)
    settle_statistics(model, IMAGES)
    first = model.get_layer(BACKBONE).get_layer("conv1_bn")
    upto = keras.Model(model.get_layer(BACKBONE).input, first.output)
    normalised = predict(upto, model.get_layer("scaling")(IMAGES))
    np.testing.assert_allclose(normalised.mean(axis=(0, 1, 2)), 0.0, atol=1e-3)
    np.testing.assert_allclose(normalised.std(axis=(0, 1, 2)), 1.0, atol=0.01)


def test_settling_leaves_momentum_what_learns_and_all_other_weights_as_they_were():
    model = tiny(batchnorm=True)
    inner = model.get_layer(BACKBONE)
    unfreeze(inner, Unfreeze(from_="conv_dw_12"), freeze_batchnorm=True)
    norms = [layer for layer in [*inner.layers, *model.layers] if isinstance(layer, keras.layers.BatchNormalization)]
    before = [(layer.momentum, layer.trainable) for layer in norms], [w.numpy() for w in model.trainable_weights]
    settle_statistics(model, IMAGES)
    assert [(layer.momentum, layer.trainable) for layer in norms] == before[0]
    assert before[0][0] == (0.99, False)
    for weight, old in zip(model.trainable_weights, before[1], strict=True):
        np.testing.assert_array_equal(weight, old)
