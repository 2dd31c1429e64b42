"""Folded models answer as the models they were made of."""

import keras
import numpy as np
import pytest

from podium.models.backbone import settle_statistics
from podium.models.classifier import AsPredicting
from podium.models.predictor import PAYS_FROM, Predictor, _fold, _pairs

layers = keras.layers


def all_kinds(inputs):
    """Each kind of convolution with a BatchNormalization, and the cases in which the two must stay apart."""
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(6, 3, strides=2, padding="same")(inputs))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(layers.ReLU()(x)))
    x = layers.BatchNormalization()(layers.SeparableConv2D(8, 3, padding="same")(x))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, activation="relu")(x))  # something between
    shared = layers.Conv2D(8, 1)(x)  # used twice
    x = layers.Add()([layers.BatchNormalization()(shared), shared])
    called = layers.Conv2D(8, 1)  # called twice
    x = layers.Add()([layers.BatchNormalization()(called(x)), called(layers.ReLU()(x))])
    norm = layers.BatchNormalization()  # called twice as well
    x = layers.Add()([norm(layers.Conv2D(8, 1)(x)), norm(layers.MaxPooling2D(1)(x))])
    x = layers.BatchNormalization(center=False)(layers.Conv2D(8, 1)(x))  # nothing to add
    x = layers.BatchNormalization(epsilon=0.1)(layers.MaxPooling2D()(x))  # no convolution
    return layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))


def with_statistics(model):
    """Weights as after a training: none is zero or one, and images are told apart."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 2.0, weight.shape) for weight in layer.get_weights()])
    settle_statistics(model, random.uniform(0, 255, (32, *model.inputs[0].shape[1:])).astype(np.float32))
    return model


def small():
    inputs = keras.Input((20, 20, 3))
    return with_statistics(keras.Model(inputs, all_kinds(inputs), name="small"))


def nested():
    inputs = keras.Input((20, 20, 3), dtype="uint8")
    return keras.Model(inputs, layers.Dense(4)(AsPredicting(small())(layers.Rescaling(1.0)(inputs))))


def mobile_net():
    return with_statistics(keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, include_top=False))


def efficient_net():
    return with_statistics(keras.applications.EfficientNetB0(input_shape=(32, 32, 3), weights=None, include_top=False))


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)


def in_batches(images, model):
    size, kind = model.inputs[0].shape[1], model.inputs[0].dtype
    taken = images[:, :size, :size].astype(kind)
    return [(taken[start : start + 4],) for start in range(0, len(taken), 4)], taken


@pytest.mark.parametrize("make", [small, nested, mobile_net, efficient_net])
def test_a_folded_model_answers_the_same_but_for_the_rounding(make, images):
    model = make()
    weights = model.get_weights()
    batches, taken = in_batches(images, model)
    answers = Predictor(model, PAYS_FROM).all(batches)
    expected = model.predict_on_batch(taken)
    assert answers.shape == expected.shape
    np.testing.assert_allclose(answers, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected - expected[0]).max() > 1e-3 * np.abs(expected).max()  # it tells images apart
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_is_folded_leaves_a_normalization_that_multiplies_by_one():
    """All but the six that have to stay."""
    model = small()
    kept = [one for one in model.layers if isinstance(one, layers.BatchNormalization)]
    values = {id(variable): variable.numpy() for variable in model.variables}
    pairs = list(_pairs(model))
    for pair in pairs:
        _fold(*pair, values)
    assert len(kept) - len(pairs) == 6
    for convolution, normalization in pairs:
        factors = 1 / np.sqrt(values[id(normalization.moving_variance)] + np.float32(normalization.epsilon))
        np.testing.assert_array_equal(factors, np.ones_like(factors))
        assert not convolution.use_bias or not values[id(convolution.bias)].any()


def test_the_answers_come_in_order_and_one_for_each_batch(images):
    model = small()
    batches, taken = in_batches(images, model)
    for some in (1, PAYS_FROM):
        answers = list(Predictor(model, some).one_by_one(batches))
        assert [len(answer) for answer in answers] == [4, 4, 2]
        np.testing.assert_allclose(np.concatenate(answers), model.predict_on_batch(taken), rtol=1e-3, atol=1e-4)


def test_half_precision_stays_half_precision(images):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy(before)
    batches, taken = in_batches(images, model)
    answers = Predictor(model, PAYS_FROM).all(batches)
    assert answers.dtype == model.predict_on_batch(taken).dtype
    expected = model.predict_on_batch(taken).astype(np.float32)
    np.testing.assert_allclose(answers.astype(np.float32), expected, atol=0.05 * np.abs(expected).max())
