"""A folded model predicts as the model itself."""

import keras
import numpy as np
import pytest

from podium.models.backbone import initialize_batchnorm
from podium.models.classifier import InferenceMode
from podium.models.devices import precision_scope
from podium.models.predictor import MIN_IMAGES, Predictor, _fold_pair, _foldable_pairs

layers = keras.layers


def all_kinds(inputs):
    """Each kind of convolution with a BatchNormalization, and the cases that cannot be folded."""
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(6, 3, strides=2, padding="same")(inputs))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(layers.ReLU()(x)))
    x = layers.BatchNormalization()(layers.SeparableConv2D(8, 3, padding="same")(x))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, activation="relu")(x))  # an activation in between
    shared = layers.Conv2D(8, 1)(x)  # used twice
    x = layers.Add()([layers.BatchNormalization()(shared), shared])
    called = layers.Conv2D(8, 1)  # called twice
    x = layers.Add()([layers.BatchNormalization()(called(x)), called(layers.ReLU()(x))])
    norm = layers.BatchNormalization()  # called twice
    x = layers.Add()([norm(layers.Conv2D(8, 1)(x)), norm(layers.MaxPooling2D(1)(x))])
    x = layers.BatchNormalization(center=False)(layers.Conv2D(8, 1)(x))  # no beta
    x = layers.BatchNormalization(epsilon=0.1)(layers.MaxPooling2D()(x))  # no convolution
    return layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))


def with_statistics(model):
    """Weights as after training: none is 0 or 1, and predictions depend on the image."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 2.0, weight.shape) for weight in layer.get_weights()])
    initialize_batchnorm(model, random.uniform(0, 255, (32, *model.inputs[0].shape[1:])).astype(np.float32))
    return model


def small():
    inputs = keras.Input((20, 20, 3))
    return with_statistics(keras.Model(inputs, all_kinds(inputs), name="small"))


def nested():
    inputs = keras.Input((20, 20, 3), dtype="uint8")
    return keras.Model(inputs, layers.Dense(4)(InferenceMode(small())(layers.Rescaling(1.0)(inputs))))


def mobile_net():
    return with_statistics(keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, include_top=False))


def efficient_net():
    return with_statistics(keras.applications.EfficientNetB0(input_shape=(32, 32, 3), weights=None, include_top=False))


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)


def in_batches(images, model):
    size, kind = model.inputs[0].shape[1], model.inputs[0].dtype
    inputs = images[:, :size, :size].astype(kind)
    return [(inputs[start : start + 4],) for start in range(0, len(inputs), 4)], inputs


@pytest.mark.parametrize(
    "make",
    [
        small,
        nested,
        pytest.param(mobile_net, marks=pytest.mark.slow),
        pytest.param(efficient_net, marks=pytest.mark.slow),
    ],
)
def test_folded_model_predicts_the_same_up_to_rounding(make, images):
    model = make()
    weights = model.get_weights()
    batches, inputs = in_batches(images, model)
    probs = Predictor(model, MIN_IMAGES).predict(batches)
    expected = model.predict_on_batch(inputs)
    assert probs.shape == expected.shape
    np.testing.assert_allclose(probs, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected - expected[0]).max() > 1e-3 * np.abs(expected).max()  # predictions differ between images
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_folded_normalization_multiplies_by_one():
    """All but the six that cannot be folded."""
    model = small()
    norms = [one for one in model.layers if isinstance(one, layers.BatchNormalization)]
    values = {id(variable): variable.numpy() for variable in model.variables}
    pairs = list(_foldable_pairs(model))
    for pair in pairs:
        _fold_pair(*pair, values)
    assert len(norms) - len(pairs) == 6
    for convolution, normalization in pairs:
        factors = 1 / np.sqrt(values[id(normalization.moving_variance)] + np.float32(normalization.epsilon))
        np.testing.assert_array_equal(factors, np.ones_like(factors))
        assert not convolution.use_bias or not values[id(convolution.bias)].any()


def test_batches_are_predicted_in_order(images):
    model = small()
    batches, inputs = in_batches(images, model)
    for images in (1, MIN_IMAGES):
        answers = list(Predictor(model, images).predict_batches(batches))
        assert [len(answer) for answer in answers] == [4, 4, 2]
        np.testing.assert_allclose(np.concatenate(answers), model.predict_on_batch(inputs), rtol=1e-3, atol=1e-4)


def test_folded_model_keeps_half_precision(images):
    with precision_scope("mixed_bfloat16"):
        model = small()
    batches, inputs = in_batches(images, model)
    probs = Predictor(model, MIN_IMAGES).predict(batches)
    assert probs.dtype == model.predict_on_batch(inputs).dtype
    expected = model.predict_on_batch(inputs).astype(np.float32)
    np.testing.assert_allclose(probs.astype(np.float32), expected, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize("count", [1, MIN_IMAGES])
def test_a_model_with_two_inputs(count, images):
    pixels, columns = keras.Input((32, 32, 3), dtype="uint8"), keras.Input((2,))
    pooled = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(pixels))
    model = keras.Model([pixels, columns], layers.Dense(3)(layers.Concatenate()([pooled, columns])))
    values = np.random.default_rng(2).random((10, 2), dtype=np.float32)
    batches = [((images[start : start + 4], values[start : start + 4]),) for start in range(0, 10, 4)]
    expected = model.predict_on_batch((images, values))
    np.testing.assert_allclose(
        np.concatenate(list(Predictor(model, count).predict_batches(batches))), expected, rtol=1e-5
    )
