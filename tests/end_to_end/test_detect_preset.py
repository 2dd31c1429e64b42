"""Detectors on KerasHub presets, on the command line."""

import shutil
from pathlib import Path

import pytest
import yaml
from boxed_images import draw_set
from tiny_presets import save_resnet, save_text_model

from podium.detection.dataset import write_dataset
from podium.runs import Run

STAGE = {
    "name": "end", "unfreeze": {"from": "stack3"}, "epochs": 1, "batch_size": 4, "image_size": 64, "learning_rate": 1e-3
}  # fmt: skip
LARGER = STAGE | {"name": "larger", "unfreeze": "all", "image_size": 96}
DETECTOR = {
    "slug": "squares",
    "source": "yolo",
    "backbone": {"preset": "./preset"},
    "levels": 5,
    "head": {"layers": 1},
    "stages": [STAGE],
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Images, their set, a preset and a detector file."""
    folder = tmp_path_factory.mktemp("presets")
    write_dataset(draw_set(folder / "data"), folder / "runs" / "boxes" / "squares")
    (folder / "squares.yaml").write_text(yaml.safe_dump(DETECTOR))
    save_resnet(folder / "preset")
    return folder


@pytest.fixture
def alone(prepared, tmp_path):
    return Path(shutil.copytree(prepared, tmp_path / "alone"))


@pytest.mark.slow
def test_trained_resumed_with_another_stage_and_used_without_the_preset(alone, podium_in):
    train = ("detect", "train", "squares.yaml", "--data", "data")
    first = podium_in(alone, *train)
    assert first.code == 0, first.err
    (alone / "squares.yaml").write_text(yaml.safe_dump(DETECTOR | {"stages": [STAGE, LARGER]}))
    further = podium_in(alone, *train, "--resume")
    assert further.code == 0, further.err
    assert "which is not modified" in further.out
    recipes = [Run(path).recipe.read_bytes() for path in alone.glob("runs/squares-*/fold0")]
    assert len(recipes) == 2
    assert recipes[0] == recipes[1]
    evaluated = podium_in(alone, "detect", "evaluate", "squares.yaml", "--data", "data", "--part", "validation")
    assert (evaluated.code, "AP@0.5" in evaluated.out) == (0, True), evaluated.err
    shutil.rmtree(alone / "preset")
    found = podium_in(alone, "detect", "predict", "squares.yaml", "data", "--threshold", 0.0)
    assert (found.code, (alone / "detections" / "boxes.csv").is_file()) == (0, True), found.err
    gone = podium_in(alone, *train)
    assert (gone.code, gone.err.count("\n")) == (1, 1)
    assert "no KerasHub preset in preset; expected a folder written by save_to_preset" in gone.err


def test_changed_preset_is_another_run(alone):
    from podium.config.backbone_settings import PresetSettings
    from podium.models.weights import weights_digest

    settings = PresetSettings(preset=str(alone / "preset"))
    before = weights_digest("squares", settings)
    (alone / "preset" / "README.md").write_text("Said of it.")
    assert weights_digest("squares", settings) == before
    save_resnet(alone / "preset", scale=0.5)
    assert weights_digest("squares", settings) != before


@pytest.mark.slow
def test_dry_run_replaces_a_preset_that_has_to_be_downloaded(alone, podium_in):
    ended = podium_in(
        alone,
        "detect",
        "train",
        "squares.yaml",
        "--data",
        "data",
        "--dry-run",
        "--set",
        "backbone.preset=resnet_50_imagenet",
    )
    assert ended.code == 0, ended.err
    assert "SmallResNet instead of the preset resnet_50_imagenet" in ended.out
    (run,) = alone.glob("runs/squares-*/fold0")
    assert Run(run).is_trained
    assert not Run(run).recipe.exists()


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("./data", "squares: no KerasHub preset in data"),
        ("./nowhere", "squares: no KerasHub preset in nowhere"),
        ("./text", "preset ./text is not supported; expected a preset of"),
        ("resnet_50_imagnet", "did you mean 'resnet_50_imagenet'?"),
        ("kaggle-dataset:ada/nets/tiny", "is not mounted: looked in"),
        ("kaggle-dataset:ada", "backbone.preset: expected kaggle-dataset:<owner>/<slug>/<folder>"),
    ],
)
def test_unsupported_preset_is_one_line(preset, message, alone, podium_in):
    save_text_model(alone / "text")
    ended = podium_in(alone, "detect", "train", "squares.yaml", "--data", "data", "--set", f"backbone.preset={preset}")
    assert ended.code == 1
    assert message in ended.err
    assert ended.err.count("\n") == 1
