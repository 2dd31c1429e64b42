from pathlib import Path

import pytest

from podium.config.dry_run import as_dry_run, dry_run_rows
from podium.config.loading import load_member
from podium.config.member import MemberSettings

MEMBERS = sorted((Path(__file__).resolve().parents[2] / "configs" / "members").glob("*.yaml"))
XCEPTION = next(path for path in MEMBERS if path.stem == "xception")


def dry(path, *overrides):
    return as_dry_run(load_member(path, overrides)).settings


def test_each_stage_has_one_epoch_of_small_batches():
    stages = dry(XCEPTION, "stages.2.batch_size=4").stages
    assert [stage.name for stage in stages] == ["head", "half", "all"]
    assert [stage.epochs for stage in stages] == [1, 1, 1]
    assert [stage.batch_size for stage in stages] == [16, 16, 16]


def test_larger_images_remain_larger():
    sizes = [stage.image_size for stage in dry(MEMBERS[0].with_name("effnet_b3.yaml")).stages]
    assert sizes == [64, 64, 64, 96]


def test_image_sizes_are_between_the_backbones_minimum_and_the_stages_size():
    assert {stage.image_size for stage in dry(XCEPTION).stages} == {71}
    small = [f"stages.{number}.image_size=40" for number in range(3)]
    assert {stage.image_size for stage in dry(XCEPTION, "backbone.name=ResNet50", *small).stages} == {40}


def test_weights_are_random_unless_they_are_a_file():
    assert dry(XCEPTION).backbone.weights == "none"
    assert dry(XCEPTION, "backbone.weights=weights/mine.h5").backbone.weights == "weights/mine.h5"


def test_at_most_two_views_are_kept():
    assert dry(XCEPTION).tta.views == ["identity", "horizontal_flip"]
    assert dry(XCEPTION, "tta=none").tta.views == ["identity"]


def test_other_keys_are_unchanged():
    full, small = load_member(XCEPTION).settings, dry(XCEPTION)
    assert small.augmentation == full.augmentation
    assert small.head == full.head
    assert [stage.schedule for stage in small.stages] == [stage.schedule for stage in full.stages]
    assert full.stages[0].epochs == 5


@pytest.mark.parametrize("path", MEMBERS, ids=lambda path: path.stem)
def test_the_dry_run_of_a_shipped_member_is_valid(path):
    settings = dry(path)
    assert MemberSettings.model_validate(settings.model_dump(mode="json", by_alias=True)) == settings
    assert all(stage.image_size >= settings.backbone.minimum_size for stage in settings.stages)


def test_a_dry_run_has_three_rows_per_class():
    assert dry_run_rows(load_member(XCEPTION)) == 30
