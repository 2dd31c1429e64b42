"""The keys of a stage that mix images."""

import pytest

from podium.config.member import MemberSettings
from podium.config.stage import Stage
from podium.detection.config import DetectorSettings
from podium.errors import ConfigError

KEYS = {"name": "all", "unfreeze": "all", "epochs": 4, "batch_size": 8, "image_size": 64, "learning_rate": 1e-3}


def test_mixup_is_its_alpha_or_keys():
    stage = Stage(**KEYS, mixup=0.2, cutmix={"alpha": 1, "probability": 0.5}, plain_epochs=1)
    assert (stage.mixup.alpha, stage.mixup.probability) == (0.2, 1.0)
    assert (stage.cutmix.alpha, stage.cutmix.probability) == (1.0, 0.5)


def test_mixed_images_are_new_in_every_epoch_of_a_frozen_backbone():
    frozen = {**KEYS, "unfreeze": "none"}
    assert Stage(**frozen).shared_views == 1
    assert Stage(**frozen, mixup=0.2).shared_views is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": 0}, "stages.0.mixup.alpha: expected a number above 0, got 0"),
        ({"mixup": {"alpha": 1, "probability": 2}}, "stages.0.mixup.probability: expected 1 or less, got 2"),
        ({"plain_epochs": 1}, "stages.0.plain_epochs: no epoch mixes images: add mixup or cutmix, or remove it"),
        ({"cutmix": 1, "plain_epochs": 4}, "stages.0.plain_epochs: expected fewer than the stage's 4 epochs"),
        ({"cutmix": 1, "views": 2, "unfreeze": "none"}, "stages.0.views: with mixup or cutmix every epoch has its own"),
        ({"mixup": 1, "batch_size": 1}, "stages.0.batch_size: mixup and cutmix need batches of two images or more"),
    ],
)
def test_keys_that_do_not_fit_are_problems(changes, message):
    with pytest.raises(ConfigError, match=message):
        MemberSettings(competition="-", backbone={"name": "ResNet50"}, stages=[{**KEYS, **changes}])


def test_detectors_do_not_mix_images():
    with pytest.raises(ConfigError, match=r"stages\.0\.cutmix: not supported for detectors: remove it"):
        DetectorSettings(slug="cars", source="yolo", stages=[{**KEYS, "cutmix": 1.0}])
