"""Multi-sample dropout: several masks for each row in training, and the mean of their losses."""

import keras
import numpy as np
import pytest

from podium.models.dropout_samples import DropoutSamples, MeanOverSamples, accuracy
from podium.models.losses import of_rows

FEATURES = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
TRUTH = np.eye(3, dtype=np.float32)[np.arange(6) % 3]


def model(samples):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16,))
    outputs = keras.layers.Dense(3, activation="softmax")(DropoutSamples(0.5, samples)(inputs))
    return keras.Model(inputs, outputs)


def test_training_has_several_masks_of_each_row_and_prediction_none():
    four = model(4)
    predictions = np.asarray(four(FEATURES))
    assert predictions.shape == (6, 3)
    samples = np.asarray(four(FEATURES, training=True)).reshape(4, 6, 3)
    assert len(np.unique(samples[:, 0], axis=0)) == 4
    assert np.abs(samples - predictions).max() > 0.05


def test_loss_is_the_mean_of_the_samples_losses_and_not_the_loss_of_their_mean():
    crossentropy = keras.losses.CategoricalCrossentropy()
    outputs = np.asarray(model(4)(FEATURES, training=True))
    losses = [float(crossentropy(TRUTH, sample)) for sample in outputs.reshape(4, 6, 3)]
    loss = MeanOverSamples(of_rows(crossentropy))
    assert float(loss(TRUTH, outputs)) == pytest.approx(np.mean(losses), rel=1e-6)
    assert float(crossentropy(TRUTH, outputs.reshape(4, 6, 3).mean(axis=0))) < np.mean(losses) - 1e-3
    assert of_rows(loss)(TRUTH, outputs).shape == (6,)  # several GPUs weight rows
    assert float(loss(TRUTH, outputs[:6])) == pytest.approx(losses[0], rel=1e-6)


def test_accuracy_is_that_of_the_samples():
    right, wrong = TRUTH, np.roll(TRUTH, 1, axis=1)
    assert np.asarray(accuracy(TRUTH, np.concatenate([right, right, right, wrong]))).tolist() == [0.75] * 6
    yes = np.array([[1.0], [0.0]], np.float32)
    assert np.asarray(accuracy(yes, np.array([[0.9], [0.2], [0.4], [0.3]], np.float32))).tolist() == [0.5, 1.0]


def test_gradients_vary_less_with_more_samples():
    def deviation(samples):
        built = model(samples)
        built.compile(keras.optimizers.SGD(1.0), MeanOverSamples(of_rows(keras.losses.CategoricalCrossentropy())))
        start, moves = built.get_weights(), []
        for _ in range(30):
            built.set_weights(start)
            built.train_on_batch(FEATURES, TRUTH)
            moves.append(built.get_weights()[0])
        return np.std(moves, axis=0).mean()

    assert deviation(8) == pytest.approx(deviation(1) / np.sqrt(8), rel=0.3)
