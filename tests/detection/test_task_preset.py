"""A detector on a preset is resumed and used without the preset."""

import shutil

import pytest
from boxed_images import detector, draw_set, stage, task_of
from line_task import assert_same_weights, fit, started, stopped
from tiny_presets import save_resnet, save_retinanet

from podium.errors import RunError

STAGES = [stage(name="small", epochs=1), stage(name="large", epochs=1, image_size=96)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("squares")


@pytest.fixture(scope="module")
def dataset(folder):
    return draw_set(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("save", "steps"),
    [(save_resnet, 2), (save_retinanet, 4)],
    ids=["in the first stage", "in the second, of a RetinaNet"],
)
def test_training_resumed_without_the_preset_equals_an_uninterrupted_one(save, steps, folder, dataset, tmp_path):
    def task(run):
        settings = detector(backbone={"preset": str(tmp_path / "preset")}, levels=6)
        return task_of(folder, dataset, settings, recipe=run.recipe)

    save(tmp_path / "preset")
    whole, run = started(tmp_path / "whole"), started(tmp_path / "stopped")
    fit(whole, STAGES, task(whole))
    stopped(run, STAGES, steps, task(run))
    assert run.recipe.read_bytes() == whole.recipe.read_bytes()
    shutil.rmtree(tmp_path / "preset")
    fit(run, STAGES, task(run))
    assert_same_weights(run.best_weights, whole.best_weights)
    assert run.history.read_bytes() == whole.history.read_bytes()


@pytest.mark.slow
def test_training_does_not_resume_without_its_recipe(folder, dataset, tmp_path):
    settings = detector(backbone={"preset": str(save_resnet(tmp_path / "preset"))})
    run = started(tmp_path)
    stopped(run, [stage()], 1, task_of(folder, dataset, settings, recipe=run.recipe))
    run.recipe.unlink()
    with pytest.raises(RunError, match=r"backbone\.json, the description of the preset's backbone, is missing"):
        fit(run, [stage()], task_of(folder, dataset, settings, recipe=run.recipe))


def test_training_starts_with_the_weights_of_the_preset(folder, dataset, tmp_path):
    """Statistics of BatchNormalization too: only random weights take those of the first images."""
    from keras_hub.models import ResNetBackbone

    settings = detector(backbone={"preset": str(save_resnet(tmp_path / "preset"))})
    model = task_of(folder, dataset, settings, recipe=tmp_path / "backbone.json").build(64, pretrained=True)
    own = ResNetBackbone.from_preset(str(tmp_path / "preset"))
    assert len(model.features.weights) == len(own.weights)
    for mine, theirs in zip(model.features.weights, own.weights, strict=True):
        assert (mine.numpy() == theirs.numpy()).all()
