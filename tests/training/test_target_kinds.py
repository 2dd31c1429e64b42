"""Training every kind of target: it learns, and resumes bit for bit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from line_task import assert_same_weights, fit, stage, started, stopped, trained
from target_kinds import labelled_images, task_of

from podium.config.backbone_settings import BackboneSettings
from podium.config.member import Head, MemberSettings
from podium.data.image_cache import Cache

FAST = {"batch_size": 8, "image_size": 32, "optimizer": "Adam", "learning_rate": 0.01}


def member(stages, **changes):
    return MemberSettings(
        competition="-",
        backbone=BackboneSettings(name="SmallResNet", weights="none", alpha=0.25, freeze_batchnorm=False),
        augmentation=["HorizontalFlip"],
        stages=stages,
        seed=1,
        **{"head": Head(dropout=0.1), **changes},
    )


def assert_same_files(whole, run, target, training, validation):
    """Weights, history and reports of the kind; the history has the kind's metrics."""
    assert_same_weights(whole.best_weights, run.best_weights)
    assert whole.history.read_bytes() == run.history.read_bytes()
    losses = pd.read_csv(run.history)
    assert np.isfinite(losses[["loss", "val_loss", "val_error"]]).all(axis=None)
    assert ("val_accuracy" in losses) == target.truth_is_class
    for report in target.reports(validation.truth, np.tile(target.prior(training.truth), (len(validation.truth), 1))):
        assert (run.path / report).read_bytes() == (whole.path / report).read_bytes()


def two_stages():
    """The head on cached features, two epochs of the same view; then all layers."""
    head = stage("head", unfreeze="none", epochs=2, views=1, **FAST)
    return [head, stage("all", epochs=1, **FAST)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["number", "numbers"])
def test_training_of_numbers_resumes_bit_for_bit(name, tmp_path):
    """Their head has weights of its own that are not trained. The other kinds are in the test with regularization."""
    target, training, validation = labelled_images(tmp_path, name, train=18)
    training = replace(training, weights=np.linspace(0.5, 2, len(training.truth), dtype=np.float32))
    settings = member(two_stages())

    def task():
        return task_of(settings, target, training, validation, cache=Cache("colours", 1.0))

    whole = trained(tmp_path / "whole", settings.stages, task(), seed=1)
    run = started(tmp_path / "broken")
    stopped(run, settings.stages, 5, task(), seed=1)  # within the epoch of the second stage
    fit(run, settings.stages, task(), seed=1)
    assert_same_files(whole, run, target, training, validation)


def test_soft_labels_and_weights_of_rows_count_in_the_loss(tmp_path):
    target, training, validation = labelled_images(tmp_path, "single_label", train=18)
    rows, settings = len(training.truth), member([stage("all", epochs=1, **FAST)])
    task = task_of(settings, target, training, validation)
    model = task.build(32, pretrained=False)
    task.compile(model, "SGD")

    def loss(**changes):
        task = task_of(settings, target, replace(training, **changes), validation)
        images, targets, *weights = task.prepare_stage(model, 0, settings.stages[0], None).batches[0]
        return float(model.compute_loss(images, targets, model(images, training=False), *weights))

    def all_labelled(*shares):
        return np.tile(np.array(shares, np.float32), (rows, 1))

    assert loss(weights=np.full(rows, 3, np.float32)) == pytest.approx(3 * loss(), rel=1e-5)
    red, green, mixed = (loss(labels=all_labelled(*shares)) for shares in ((1, 0, 0), (0, 1, 0), (0.7, 0.3, 0)))
    assert mixed == pytest.approx(0.7 * red + 0.3 * green, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["single_label", "binary", "words", "ordinal", "soft_label", "number"])
def test_regularized_training_of_every_kind_resumes_bit_for_bit(name, tmp_path):
    """Mixed images, drawn rows, class weights and several dropout masks, within an epoch and in a frozen stage."""
    target, training, validation = labelled_images(tmp_path, name, train=18)
    balance = {} if name == "number" else {"class_weights": "balanced", "sampling": "sqrt", "loss": "focal"}
    mixed = {**FAST, "batch_size": 4, "mixup": 0.4, "cutmix": 1.0}
    head = stage("head", unfreeze="none", epochs=3, views=1, **FAST)
    stages = [head, stage("all", epochs=2, plain_epochs=1, **mixed)]
    settings = member(stages, head={"dropout": 0.3, "dropout_samples": 3}, **balance)

    def task():
        return task_of(settings, target, training, validation, cache=Cache("colours", 1.0))

    whole = trained(tmp_path / "whole", settings.stages, task(), seed=1)
    run = started(tmp_path / "broken")
    # The first stage has three epochs of two steps, the second two of three; the last one is plain.
    for steps in (2 + 1, 1 + 2 + 1, 2 + 1):
        stopped(run, settings.stages, steps, task(), seed=1)
    fit(run, settings.stages, task(), seed=1)
    assert_same_files(whole, run, target, training, validation)


def test_restored_model_predicts_numbers_in_the_units_of_the_table(tmp_path):
    target, training, validation = labelled_images(tmp_path, "number", train=18)
    settings = member([stage("all", epochs=1, **FAST)])
    task = task_of(settings, target, training, validation)
    run = trained(tmp_path / "run", settings.stages, task, seed=1)
    model = task.build(32, pretrained=False)
    model.load_weights(run.best_weights)
    offset, scale = target.offset_and_scale(training.truth)
    restored = [np.asarray(weight) for weight in model.layers[-1].weights]
    np.testing.assert_allclose(restored, [offset, scale], rtol=1e-6)
    assert 1800 < np.asarray(model(np.zeros((1, 32, 32, 3), np.uint8)))[0, 0] < 2100


def gain_over_prior(target, training, validation, loss):
    """The share of the loss of predicting the mean of the training rows that the training removed."""
    prior = np.tile(target.prior(training.truth), (len(validation.truth), 1))
    return 1 - loss / target.loss(validation.truth, prior)


def learned(folder, name, **changes):
    target, training, validation = labelled_images(folder, name, train=96)
    settings = member([stage("all", epochs=10, **FAST)], **changes)
    task = task_of(settings, target, training, validation, eager=False)
    run = trained(folder / "run", settings.stages, task, seed=1)
    return gain_over_prior(target, training, validation, pd.read_csv(run.history)["val_loss"].min())


@pytest.mark.slow
def test_numbers_are_learned_with_a_usual_learning_rate(tmp_path):
    assert learned(tmp_path, "number") > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("single_label", None),
        ("binary", None),
        ("binary", "asymmetric"),
        ("words", None),
        ("one_hot", "asymmetric"),
        ("ordinal", None),
        ("ordinal", "categorical_crossentropy"),
        ("number", "mae"),
        ("number", "huber"),
        ("numbers", None),
        ("numbers", "binary_crossentropy"),
        ("soft_label", None),
        ("soft_label", "categorical_crossentropy"),
    ],
)
def test_every_kind_learns_with_each_of_its_losses(name, loss, tmp_path):
    # The asymmetric loss shifts probabilities on purpose, so its log loss gains less.
    assert learned(tmp_path, name, loss=loss) > (0.1 if loss == "asymmetric" else 0.4)
