"""Dry runs of the shipped configs, and the demo."""

import gc
from pathlib import Path

import keras
import pytest
import yaml

from podium.config.loading import load_member
from podium.data.targets import target_of
from podium.models.backbone import unfreeze
from podium.models.classifier import build_classifier, split_classifier

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = sorted((CONFIGS / "recipes").glob("*.yaml"))
MEMBERS = [path for path in sorted((CONFIGS / "members").glob("*.yaml")) if path.stem != "dinov2_small"]


@pytest.fixture
def data_of(tmp_path, make_tiny_competition):
    """A few drawn images in the layout and with the class names of a shipped competition."""

    def make(member):
        named = yaml.safe_load(member.read_text())["competition"]
        classes = yaml.safe_load((member.parent / named).read_text())["classes"]
        colours = {str(label): (25 * int(label), 255 - 25 * int(label), 40 * (int(label) % 5)) for label in classes}
        return make_tiny_competition(tmp_path / "drawn", train=6 * len(classes), test=8, colours=colours).folder

    return make


@pytest.mark.slow
@pytest.mark.parametrize("path", MEMBERS, ids=lambda path: path.stem)
def test_stages_of_a_shipped_member_train_ever_more_layers(path):
    """test_kernel_run.py trains some of them, and the one with a preset."""
    member = load_member(path)
    settings, image_size = member.settings, member.settings.stages[0].image_size
    model = build_classifier(settings, target_of(member.competition), image_size=image_size, pretrained=False)
    parts = split_classifier(model)
    counts = []
    for stage in settings.stages:
        unfreeze(parts.backbone, stage.unfreeze, settings.backbone.freeze_batchnorm)
        counts.append(len(model.trainable_weights))
    assert counts == sorted(counts)
    assert (counts[0] < counts[-1]) == (settings.stages[0].unfreeze != settings.stages[-1].unfreeze)
    keras.utils.clear_session()
    gc.collect()  # the largest backbones take gigabytes


@pytest.mark.slow  # the demo's dry run is the fast one
@pytest.mark.parametrize("member", RECIPES, ids=lambda path: path.stem)
def test_a_dry_run_trains_every_recipe(podium, data_of, member):
    ended = podium("train", member, "--dry-run", "--data", data_of(member))
    assert ended.code == 0, ended.err
    stages = yaml.safe_load(member.read_text())["stages"]
    for stage in stages:
        assert f"{stage['name']} 1/1" in ended.out


@pytest.mark.slow
def test_a_dry_run_of_the_demo_prints_a_score_on_the_hidden_answers_for_each_member_and_the_blend(podium, tmp_path):
    ended = podium("demo", "--dry-run")
    assert ended.code == 0 or "must not be submitted" in ended.err  # so little training may answer one class only
    assert "240 cars drawn, 8 body types" in ended.out
    header = next(line for line in ended.out.splitlines() if line.startswith("member"))
    assert header.split()[-2:] == ["hidden", "test"]
    assert {line.split()[0] for line in ended.out.splitlines() if line.startswith(("demo_", "blend  "))} >= {
        "demo_wide",
        "demo_narrow",
        "blend",
    }


@pytest.mark.demo
def test_the_blend_of_the_demo_scores_above_0_9_and_above_the_mean_of_its_members(podium):
    ended = podium("demo")
    assert ended.code == 0, ended.err
    hidden = {
        line.split()[0]: float(line.split()[-1])
        for line in ended.out.splitlines()
        if line.startswith(("demo_wide  ", "demo_narrow  ", "blend  "))
    }
    assert hidden["blend"] > 0.9
    assert hidden["blend"] >= (hidden["demo_wide"] + hidden["demo_narrow"]) / 2
