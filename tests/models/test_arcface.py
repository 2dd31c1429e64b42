"""ArcFace: angles to the centres of the classes, margins in training, none in prediction."""

import keras
import numpy as np
import pytest

from podium.models.arcface import ArcFace, ClassAngles

FEATURES = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
TRUTH = np.eye(3, dtype=np.float32)[np.arange(6) % 3]


def layer(centres=1, kernel=None):
    built = ClassAngles(3, centres, scale=10.0)
    built.build((None, 5))
    built.kernel.assign(np.random.default_rng(1).normal(size=(5, 3 * centres)) if kernel is None else kernel)
    return built


def cosines_of(kernel):
    return (FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)) @ (kernel / np.linalg.norm(kernel, axis=0))


def test_training_has_scaled_cosines_and_prediction_probabilities():
    built = layer()
    expected = 10 * cosines_of(np.asarray(built.kernel))
    np.testing.assert_allclose(built(FEATURES, training=True), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(built(FEATURES), keras.ops.softmax(expected), rtol=1e-4)
    np.testing.assert_allclose(built(7 * FEATURES), built(FEATURES), rtol=1e-4)  # their length does not matter


def test_nearest_of_the_centres_of_a_class_counts():
    built = layer(centres=2)
    every = cosines_of(np.asarray(built.kernel)).reshape(6, 3, 2)
    np.testing.assert_allclose(built(FEATURES, training=True), 10 * every.max(axis=-1), rtol=1e-4, atol=1e-5)


def test_margin_is_added_to_the_angle_of_the_own_class():
    angles = np.array([[0.4, 1.0, 2.0], [1.5, 0.2, 3.0], [0.9, 1.0, 2.9]])
    logits = 10 * np.cos(angles)
    moved = angles + 0.5 * np.eye(3)
    expected = 10 * np.cos(moved)
    expected[2, 2] = 10 * (np.cos(2.9) - 0.5 * np.sin(0.5))  # the angle would be above 180°
    shares = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    loss = ArcFace(margin=0.5, scale=10.0, reduction="none")
    of_rows = np.asarray(loss(np.eye(3, dtype=np.float32), logits.astype(np.float32)))
    np.testing.assert_allclose(of_rows, -np.log(np.diag(shares)), rtol=1e-4)


def test_no_margin_is_the_crossentropy():
    random = np.random.default_rng(2)
    logits, mixed = (10 * random.uniform(-1, 1, (4, 3))).astype(np.float32), random.dirichlet([1, 1, 1], 4)
    plain = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    mixed = mixed.astype(np.float32)
    assert float(ArcFace(0.0, 10.0, 0.1)(mixed, logits)) == pytest.approx(float(plain(mixed, logits)), rel=1e-4)


def test_gradients_are_finite_at_angles_of_0_and_180_degrees():
    kernel = np.concatenate([FEATURES[:1].T, -FEATURES[:1].T, FEATURES[1:2].T], axis=1)
    model = keras.Sequential([keras.Input((5,)), layer(kernel=kernel)])
    model.compile(keras.optimizers.SGD(0.1), ArcFace(0.5, 10.0))
    model.train_on_batch(FEATURES[[0, 0]], TRUTH[:2])
    assert np.isfinite(model.get_weights()[0]).all()


@pytest.mark.slow
def test_margin_trains_larger_angles_between_classes():
    """The same steps on two overlapping classes: with a margin their centres end further apart."""

    def angle(margin):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4), ClassAngles(2, 1, scale=8.0)])
        model.compile(keras.optimizers.Adam(0.02), ArcFace(margin, 8.0))
        rows = np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32)
        truth = np.eye(2, dtype=np.float32)[(rows[:, 0] > 0).astype(int)]
        model.fit(rows, truth, epochs=15, batch_size=50, shuffle=False, verbose=0)
        features = np.asarray(model.layers[0](rows))
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
        means = [features[truth[:, number] == 1].mean(axis=0) for number in (0, 1)]
        return np.linalg.norm(means[0] - means[1])

    assert angle(0.5) > angle(0.0) + 0.05
