"""Members on KerasHub presets, on the command line."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from tiny_presets import VIT_BLOCK, save_text_model, save_tiny

from podium.config.dry_run import as_dry_run
from podium.config.loading import load_member
from podium.data.targets import target_of
from podium.models.preset_places import is_at_hand
from podium.runs import Run
from podium.training.step_timing import StepTimer

STAGE = {"batch_size": 8, "epochs": 1, "image_size": 32, "learning_rate": 1e-3}
STAGES = [
    {"name": "head", "unfreeze": "none", **STAGE, "epochs": 2},
    {"name": "end", "unfreeze": {"from": f"{VIT_BLOCK}_3"}, **STAGE},
]
CACHED = "keras/vit/keras/vit_base_patch16_224_imagenet"


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_tiny("ViT", tmp_path_factory.mktemp("vit") / "preset")


@pytest.fixture
def alone(tiny_competition, tmp_path, vit):
    """A folder with a preset and a member."""
    shutil.copytree(vit, tmp_path / "preset")
    tiny_competition.member(backbone={"preset": "./preset"}, stages=STAGES)
    return tmp_path


CONFIG = ("tiny/configs/tiny.yaml", "--data", "tiny/data", "--fold", "0")


@pytest.mark.slow
def test_dry_run_of_a_preset_in_a_folder_saves_its_recipe(alone, podium_in):
    ended = podium_in(alone, "train", *CONFIG, "--dry-run")
    assert ended.code == 0, ended.err
    assert "instead of" not in ended.out
    (path,) = alone.glob("runs/tiny-*/fold0")
    assert json.loads(Run(path).recipe.read_text())["backbone"]["class_name"] == "ViTBackbone"


@pytest.mark.slow
def test_changed_stages_continue_with_larger_images(alone, podium_in):
    first = podium_in(alone, "train", *CONFIG)
    assert first.code == 0, first.err
    assert "features of view 1" in first.out
    member = alone / "tiny" / "configs" / "tiny.yaml"
    content = yaml.safe_load(member.read_text())
    content["stages"].append({"name": "large", "unfreeze": "all", **STAGE, "image_size": 48})
    member.write_text(yaml.safe_dump(content))
    further = podium_in(alone, "train", *CONFIG, "--resume")
    assert further.code == 0, further.err
    assert "stage large: 1 epoch at 48 px" in further.out
    recipes = [Run(path).recipe.read_bytes() for path in alone.glob("runs/tiny-*/fold0")]
    assert len(recipes) == 2
    assert recipes[0] == recipes[1]
    predicted = podium_in(alone, "predict", *CONFIG)
    assert predicted.code == 0, predicted.err


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        pytest.param("./tiny", "tiny: no KerasHub preset in tiny", marks=pytest.mark.slow),
        ("./nowhere", "tiny: no KerasHub preset in nowhere"),
        pytest.param("./text", "preset ./text is not supported; expected a preset of CLIP", marks=pytest.mark.slow),
        ("vit_base_patch16_225_imagenet", "did you mean 'vit_base_patch16_224_imagenet'?"),
        pytest.param("kaggle-dataset:ada/nets/tiny", "is not mounted: looked in", marks=pytest.mark.slow),
        ("kaggle-dataset:ada", "backbone.preset: expected kaggle-dataset:<owner>/<slug>/<folder>"),
    ],
)
def test_unsupported_preset_is_one_line(preset, message, alone, podium_in):
    save_text_model(alone / "text")
    ended = podium_in(alone, "train", *CONFIG, "--set", f"backbone.preset={preset}")
    assert ended.code == 1
    assert message in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("preset", "reason"),
    [
        ("dinov3_vit_small_lvd1689m", "which is not cached, and a dry run downloads nothing"),
        pytest.param("kaggle-dataset:ada/nets/vit", "which is on Kaggle", marks=pytest.mark.slow),
    ],
)
def test_dry_run_downloads_nothing(preset, reason, alone, podium_in, monkeypatch):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(alone / "cache"))
    ended = podium_in(alone, "train", *CONFIG, "--dry-run", "--set", f"backbone.preset={preset}")
    assert ended.code == 0, ended.err
    assert f"SmallResNet instead of the preset {preset}, {reason}" in " ".join(ended.out.split())
    (run,) = alone.glob("runs/tiny-*/fold0")
    assert Run(run).is_trained
    assert not Run(run).recipe.exists()


def cache(vit, folder):
    """The description of a named preset in KerasHub's cache, without its weights."""
    import keras_hub

    handle = keras_hub.models.Backbone.presets["vit_base_patch16_224_imagenet"]["kaggle_handle"]
    cached = folder / "cache" / "models" / handle.removeprefix("kaggle://")
    cached.mkdir(parents=True)
    for name in ("config.json", "image_converter.json"):
        shutil.copyfile(vit / name, cached / name)


@pytest.mark.slow
def test_dry_run_has_the_architecture_of_a_cached_preset(alone, vit, podium_in, monkeypatch):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(alone / "cache"))
    cache(vit, alone)
    name = "vit_base_patch16_224_imagenet"
    ended = podium_in(alone, "train", *CONFIG, "--dry-run", "--set", f"backbone.preset={name}")
    assert ended.code == 0, ended.err
    assert f"preset {name} with random weights in a dry run" in ended.out
    (run,) = alone.glob("runs/tiny-*/fold0")
    assert Run(run).recipe.exists()


def test_stages_of_a_dry_run_fit_patches_of_any_size(tiny_competition):
    stages = [{"name": str(size), "unfreeze": "none", **STAGE, "image_size": size} for size in (518, 384)]
    member = load_member(tiny_competition.member(backbone={"preset": "./vit"}, stages=stages))
    small = as_dry_run(member, is_at_hand).settings
    assert [stage.image_size for stage in small.stages] == [448, 224]
    assert small.backbone == member.settings.backbone


@pytest.mark.slow
def test_steps_of_a_preset_are_timed_with_random_weights(alone, monkeypatch):
    monkeypatch.chdir(alone)
    Path("preset/model.weights.h5").unlink()
    member = load_member(Path("tiny/configs/tiny.yaml"))
    with StepTimer(member.settings, target_of(member.competition), member.settings.stages[1]) as timer:
        assert timer.time(4, "float32").seconds > 0


def test_kernel_cannot_read_a_local_preset(alone, podium_in):
    ended = podium_in(alone, "kernel", "build", "tiny/configs/tiny.yaml")
    assert ended.code == 1
    assert "the preset ./preset is a folder on this machine, which a kernel cannot read" in ended.err
