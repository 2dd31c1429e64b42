"""What a stage adds to an optimizer of Keras: rates by layer, averages, accumulated and clipped gradients."""

import gc
from io import StringIO

import keras
import numpy as np
import pandas as pd
import pytest
from line_task import assert_same_weights, fit, stage, started, stopped, trained
from rich.console import Console
from tensorflow.python.framework.func_graph import FuncGraph

from podium.config.stage import OPTIMIZERS, Stage
from podium.errors import ConfigError
from podium.training.optimizers import make_optimizer

ALL = {"layer_decay": 0.5, "ema": 0.9, "accumulate": 3, "clip_norm": 0.5}


def model_of(*blocks):
    """A backbone of a layer per block, and a head, all with weights of one."""
    inputs = keras.Input((2,))
    outputs = inputs
    for block in blocks:
        outputs = keras.layers.Dense(2, use_bias=False, kernel_initializer="ones", name=block)(outputs)
    backbone = keras.Model(inputs, outputs, name="backbone")
    head = keras.layers.Dense(2, use_bias=False, kernel_initializer="ones", name="head")
    return backbone, keras.Model(inputs, head(backbone(inputs)))


def applied(gradients, rate=0.1, blocks=("block1", "block2"), **keys):
    """The weights of a model after each of these gradients, which are the same for all weights."""
    backbone, model = model_of(*blocks)
    optimizer = make_optimizer(stage(learning_rate=rate, **keys), backbone)
    seen = []
    for gradient in gradients:
        optimizer.apply([np.full((2, 2), gradient, "float32")] * len(model.weights), model.trainable_weights)
        seen.append([float(weight[0, 0]) for weight in model.get_weights()])
    optimizer.finalize_variable_values(model.trainable_weights)
    return np.array(seen), np.array([weight[0, 0] for weight in model.get_weights()])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_layer_decay_trains_each_group_of_layers_at_its_own_rate(name):
    decays = name not in ("Ftrl", "Adadelta", "Adafactor")
    optimizer = {"name": name, "weight_decay": 0.1} if decays else name
    decayed, _ = applied([0.5, -0.2], layer_decay=0.5, optimizer=optimizer)
    for column, rate in enumerate((0.025, 0.05, 0.1)):
        plain, _ = applied([0.5, -0.2], rate, optimizer=optimizer)
        np.testing.assert_allclose(decayed[:, column], plain[:, column], rtol=1e-6)


def test_layer_decay_lowers_the_weight_decay_that_muon_has_for_other_weights():
    backbone, model = model_of("block1", "block2")
    muon = {"name": "Muon", "weight_decay": 0.5, "adam_weight_decay": 0.2, "exclude_layers": ["kernel"]}
    optimizer = make_optimizer(stage(learning_rate=0.1, layer_decay=0.5, optimizer=muon), backbone)
    optimizer.apply([np.zeros((2, 2), "float32")] * 3, model.trainable_weights)
    weights = [weight[0, 0] for weight in model.get_weights()]
    np.testing.assert_allclose(weights, [1 - 0.1 * 0.2 * factor for factor in (0.25, 0.5, 1)], rtol=1e-6)


def test_first_gradients_are_scaled_by_the_decay():
    weights, _ = applied([1.0], layer_decay=0.5)
    np.testing.assert_allclose(weights[0], [1 - 0.1 / 4, 1 - 0.1 / 2, 1 - 0.1], rtol=1e-6)


def test_averages_forget_the_initial_weights_of_a_short_stage():
    weights, average = applied([1.0, 0.5, -1.0, 2.0], ema=0.2)
    expected = weights[0]
    for update, (after, momentum) in enumerate(zip(weights[1:], (2 / 11, 0.2, 0.2), strict=True), 1):
        assert momentum == min(0.2, (1 + update) / (10 + update))
        expected = momentum * expected + (1 - momentum) * after
    np.testing.assert_allclose(average, expected, rtol=1e-6)


def test_accumulated_gradients_update_the_weights_with_their_mean():
    weights, _ = applied([1.0, 3.0, 5.0, 1.0, 1.0, 1.0, 9.0], accumulate=3)
    np.testing.assert_allclose(weights[:, 0], [1, 1, 0.7, 0.7, 0.7, 0.6, 0.6], rtol=1e-6)


def test_averages_ignore_batches_without_an_update():
    each, average = applied([1.0, 0.5, -1.0], ema=0.9)
    twice, same_average = applied([1.0, 1.0, 0.5, 0.5, -1.0, -1.0], ema=0.9, accumulate=2)
    np.testing.assert_allclose(twice[1::2], each, rtol=1e-6)
    np.testing.assert_allclose(same_average, average, rtol=1e-6)


def test_norm_of_the_mean_gradient_of_all_weights_is_clipped():
    plain, _ = applied([0.1], clip_norm=1.0)
    np.testing.assert_allclose(plain, 0.99, rtol=1e-6)  # 12 weights: the norm is 0.35
    weights, _ = applied([2.0, -1.0], clip_norm=1.0, accumulate=2)
    np.testing.assert_allclose(weights[1], 1 - 0.1 / np.sqrt(12), rtol=1e-6)  # of 0.5; clipping each would cancel them


def test_accumulated_batches_train_as_one_large_batch(tmp_path):
    parts = trained(tmp_path / "parts", [stage(batch_size=2, accumulate=2, epochs=3)])
    whole = trained(tmp_path / "whole", [stage(batch_size=4, epochs=3)])
    scores = [pd.read_csv(run.history)["val_error"] for run in (parts, whole)]
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_all_keys_together_resume_in_the_middle_of_an_accumulation(tmp_path):
    stages, log = [stage(epochs=3, optimizer="Adam", schedule="cosine", **ALL)], StringIO()
    whole = trained(tmp_path / "whole", stages, console=Console(file=log, width=200), tensorboard=True)
    assert "weights trainable, learning rates 5.0e-02 to 1.0e-01, an update every 3 batches\n" in log.getvalue()
    run = started(tmp_path / "stopped")
    stopped(run, stages, 5)
    fit(run, stages)
    assert_same_weights(run.best_weights, whole.best_weights)
    assert run.history.read_bytes() == whole.history.read_bytes()


def test_keys_that_contradict_each_other_are_problems():
    with pytest.raises(ConfigError) as caught:
        Stage(
            name="head", unfreeze="none", epochs=1, batch_size=4, image_size=16, learning_rate=0.1,
            layer_decay=0.8, clip_norm=1.0, optimizer={"name": "SGD", "clipvalue": 0.5},
        )  # fmt: skip
    assert str(caught.value).splitlines() == [
        "2 problems in the configuration",
        "  Stage  layer_decay: the backbone is frozen (unfreeze: none): remove it",
        "  Stage  clip_norm: the optimizer clips by clipvalue already: remove one of the two",
    ]


def test_no_graph_of_a_finished_training_stays_in_memory(tmp_path):
    def graphs():
        gc.collect()
        return [part for part in gc.get_objects() if isinstance(part, FuncGraph)]

    before = set(map(id, graphs()))
    trained(tmp_path, [stage(epochs=1)])
    assert [graph.name for graph in graphs() if id(graph) not in before] == []
