"""The mean of the weights of several epochs: which epochs, its arithmetic, whether it is kept, and resuming."""

from io import StringIO

import keras
import numpy as np
import pytest
from line_task import LineTask, assert_same_weights, fit, stage, started, stopped, trained, watch, weights_in
from rich.console import Console

from podium.config.stage import Average
from podium.training.averaging import EpochWeights

STEPS = 4


def model_with_statistics():
    return keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])


@pytest.mark.parametrize(
    ("average", "mode", "epochs"),
    [({"last": 2}, "min", [3, 4]), ({"best": 2}, "min", [0, 2]), ({"best": 2}, "max", [1, 3])],
)
def test_mean_of_the_last_or_best_epochs_includes_statistics(average, mode, epochs):
    kept, model = EpochWeights(Average(**average), mode), model_with_statistics()
    for epoch, score in enumerate([1.0, 4.0, 2.0, 4.0, 3.0]):
        model.set_weights([np.full(1, 10 * epoch + number) for number in range(4)])
        kept.add(epoch, score, model)
    assert sorted(kept.weights) == epochs
    np.testing.assert_allclose(np.ravel(kept.mean()), 10 * np.mean(epochs) + np.arange(4))


def flat(weights):
    return np.concatenate([np.ravel(weight) for weight in weights])


class Weights(keras.callbacks.Callback):
    """The weights after each epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(flat(self.model.get_weights()))


@pytest.mark.parametrize("keys", [{"epochs": 4}, {"epochs": 9, "early_stopping": 3}], ids=["all", "early"])
def test_better_mean_is_saved_at_the_end_of_the_stage(keys, tmp_path, monkeypatch):
    weights, log = Weights(), StringIO()
    watch(monkeypatch, weights)
    task = LineTask(errors=[3.0, 4.0, 5.0, 6.0, 2.5])
    run = trained(tmp_path, [stage(average={"last": 2}, **keys)], task, console=Console(file=log, width=200))
    assert "  one: the mean of epochs 3, 4 has val_error 2.5000, better than 3.0000\n" in log.getvalue()
    assert (run.state["best"]["averaged"], run.state["best"]["score"]) == ([2, 3], 2.5)
    saved = flat(array for name, array in weights_in(run.best_weights).items() if "vars" in name)
    np.testing.assert_allclose(saved, np.mean(weights.seen[2:], axis=0), rtol=1e-6)


def test_mean_that_is_no_better_is_not_saved(tmp_path):
    log = StringIO()
    task = LineTask(errors=[3.0, 2.0, 2.0])
    run = trained(tmp_path, [stage(average={"best": 2})], task, console=Console(file=log, width=200))
    assert "the mean of epochs 1, 2 has val_error 2.0000, not better than 2.0000\n" in log.getvalue()
    assert (run.state["best"]["epoch"], "averaged" in run.state["best"]) == (1, False)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2 * STEPS + 1, 3 * STEPS])
def test_weights_of_earlier_epochs_are_restored(steps, tmp_path):
    """Of moving averages, and with a stage after it."""
    stages = [stage(epochs=4, learning_rate=0.4, ema=0.5, average={"last": 3}), stage("two", epochs=1)]
    whole, run = trained(tmp_path / "whole", stages), started(tmp_path / "stopped")
    stopped(run, stages, steps)
    fit(run, stages)
    assert run.state["best"]["score"] == whole.state["best"]["score"]
    assert run.history.read_bytes() == whole.history.read_bytes()
    assert_same_weights(run.best_weights, whole.best_weights)
