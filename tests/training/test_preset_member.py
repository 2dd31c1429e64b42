"""Members on KerasHub presets: trained in stages, resumed without the preset, with cached features."""

import shutil

import keras
import numpy as np
import pytest
from frozen_runs import Frozen, entries, frozen, member
from line_task import assert_same_weights, stage, started, stopped, weights_in
from rich.console import Console
from tiny_presets import VIT_BLOCK, save_tiny

from podium.data.targets import SingleLabelTarget
from podium.errors import ConfigError, RunError
from podium.models.backbone import layer_groups
from podium.models.classifier import build_classifier
from podium.training.task import StageContext

SMALL = {"batch_size": 4, "epochs": 1, "image_size": 32, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return Frozen(tmp_path_factory.mktemp("preset member"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_tiny("ViT", tmp_path_factory.mktemp("vit") / "preset")


def on_preset(folder, *stages, **changes):
    return member(stages, backbone={"preset": str(folder)}, **changes)


def two_sizes(folder):
    """The second stage has larger images; a third one, of the first size, starts from the best of both."""
    part = {"unfreeze": {"from": f"{VIT_BLOCK}_2"}}
    return on_preset(
        folder,
        stage("small", **SMALL, **part),
        stage("large", **SMALL | {"image_size": 48}, **part),
        stage("again", **SMALL, unfreeze="all"),
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["DINOV2", "ViT"])
def test_training_resumed_without_the_preset_equals_an_uninterrupted_one(kind, images, tmp_path):
    settings = two_sizes(save_tiny(kind, tmp_path / "preset"))
    if kind == "DINOV2":
        settings = member(
            [one.model_copy(update={"unfreeze": settings.stages[2].unfreeze}) for one in settings.stages],
            backbone={"preset": str(tmp_path / "preset")},
        )
    whole, run = started(tmp_path / "whole"), started(tmp_path / "stopped")
    images.fit(whole, settings)
    stopped(run, settings.stages, 6, images.task(settings, recipe=run.recipe))  # in the second stage
    assert run.recipe.read_bytes() == whole.recipe.read_bytes()
    shutil.rmtree(tmp_path / "preset")
    images.fit(run, settings)
    assert_same_weights(run.best_weights, whole.best_weights)
    assert run.history.read_bytes() == whole.history.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(32, 48), (48, 32)])
def test_stage_with_other_images_starts_from_the_best_weights(sizes, images, vit, tmp_path):
    first, second = sizes
    settings = on_preset(
        vit, stage("one", **SMALL | {"image_size": first}), stage("two", **SMALL | {"image_size": second})
    )
    run = started(tmp_path)
    images.fit(run, on_preset(vit, settings.stages[0]))
    task = images.task(settings, recipe=run.recipe)
    model, best = (task.build(size, pretrained=False) for size in (second, first))
    best.load_weights(run.best_weights)
    task.load_weights(model, run.best_weights, first)
    different = [
        weight.name
        for weight, other in zip(model.weights, best.weights, strict=True)
        if weight.shape != other.shape or not np.array_equal(weight, other)
    ]
    assert different == ["embeddings"]
    mean = [next(w for w in one.weights if w.name == "embeddings").numpy()[1:].mean() for one in (model, best)]
    assert mean[0] == pytest.approx(mean[1], abs=1e-3)


@pytest.mark.slow
def test_training_does_not_resume_without_its_recipe(images, vit, tmp_path):
    settings, run = on_preset(vit, stage("one", **SMALL)), started(tmp_path)
    stopped(run, settings.stages, 1, images.task(settings, recipe=run.recipe))
    run.recipe.unlink()
    with pytest.raises(RunError, match=r"backbone\.json, the description of the preset's backbone, is missing"):
        images.fit(run, settings)


@pytest.mark.slow
def test_only_blocks_of_the_stage_are_trained(images, vit, tmp_path):
    settings = on_preset(vit, stage("end", **SMALL, unfreeze={"from": f"{VIT_BLOCK}_3"}))
    run = images.fit(started(tmp_path), settings)
    task = images.task(settings, recipe=tmp_path / "backbone.json")
    before, after = task.build(32, pretrained=True), task.build(32, pretrained=False)
    after.load_weights(run.best_weights)
    old, new = (
        {name: [weight for layer in layers for weight in layer.get_weights()] for name, layers in groups.items()}
        for groups in (layer_groups(model.get_layer("backbone")) for model in (before, after))
    )
    changed = [name for name in old if not all(map(np.array_equal, old[name], new[name]))]
    assert changed == [f"{VIT_BLOCK}_3", "ln"]


@pytest.mark.slow
def test_features_of_a_frozen_preset_are_cached_until_it_changes(images, vit, tmp_path):
    settings = on_preset(vit, frozen())
    first = images.fit(started(tmp_path / "first"), settings)
    assert "features of view 1" in images.said
    (entry,) = entries()
    assert np.load(entry / "view-0.npy").shape == (14, 8)
    again = images.fit(started(tmp_path / "again"), settings)
    assert "to the validation rows: cached" in images.said
    assert_same_weights(first.best_weights, again.best_weights)
    other = save_tiny("ViT", tmp_path / "other")
    (other / "image_converter.json").write_text((other / "image_converter.json").read_text().replace("0.01", "0.03"))
    images.fit(started(tmp_path / "scaled"), on_preset(other, frozen()))
    assert len(entries()) == 2


def test_random_weights_have_statistics_of_the_images(images, tmp_path):
    folder = save_tiny("EfficientNet", tmp_path / "preset")
    settings = on_preset(folder, stage("one", **SMALL))
    settings = settings.model_copy(update={"backbone": settings.backbone.model_copy(update={"weights": "none"})})
    model = images.task(settings, recipe=tmp_path / "backbone.json").build(32, pretrained=True)
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) > 5
    assert all(np.abs(norm.moving_mean.numpy()).max() > 0 for norm in norms)


def test_pretrained_weights_keep_their_statistics(images, tmp_path):
    settings = on_preset(save_tiny("EfficientNet", tmp_path / "preset"), stage("one", **SMALL))
    model = images.task(settings, recipe=tmp_path / "backbone.json").build(32, pretrained=True)
    kept = weights_in(tmp_path / "preset" / "model.weights.h5")
    assert len(model.get_layer("backbone").weights) == len([name for name in kept if "/vars/" in name])
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert all(np.array_equal(norm.moving_mean, np.zeros_like(norm.moving_mean)) for norm in norms)


@pytest.mark.slow
def test_frozen_stage_prepares_a_head_on_tokens(images, vit, tmp_path):
    settings = on_preset(vit, frozen(), head={"pooling": "token"})
    task = images.task(settings, recipe=tmp_path / "backbone.json")
    model = task.build(32, pretrained=True)
    task.unfreeze(model, frozen())
    setup = task.prepare_stage(model, 0, frozen(), StageContext(Console(quiet=True), lambda seconds: None))
    assert setup.model.input_shape == (None, 8)


def test_sizes_of_predictions_are_checked_before_the_training(tmp_path):
    folder = save_tiny("DINOV2", tmp_path / "preset")
    settings = on_preset(folder, stage("all", **SMALL), tta={"image_sizes": [32, 33]})
    with pytest.raises(ConfigError, match="33"):
        build_classifier(settings, SingleLabelTarget(list("ab")), 32)
