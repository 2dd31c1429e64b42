"""Settings constructed in Python, and the fields that affect the weights."""

import pytest

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.config.member import Head, MemberSettings
from podium.config.settings import decisive, decisive_keys
from podium.config.stage import Stage
from podium.detection.config import DetectorSettings
from podium.errors import ConfigError

STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 8, "image_size": 64, "learning_rate": 1e-3}
MEMBER = {"competition": "cars.yaml", "backbone": {"name": "ResNet50"}, "stages": [STAGE]}


def test_settings_take_keyword_arguments_with_other_settings_or_plain_values():
    plain = MemberSettings(**MEMBER, head={"pooling": "max"})
    assert MemberSettings(**{**MEMBER, "stages": [Stage(**STAGE)]}, head=Head(pooling="max")) == plain


def test_wrong_arguments_have_the_messages_of_a_file():
    with pytest.raises(ConfigError) as caught:
        Competition(
            slug="cars",
            train={"table": "train.csv", "images": "train/{id}"},
            test={"imges": "test/{id}"},
            classes={"0": "Sedan"},
            metric="acuracy",
        )
    assert str(caught.value).splitlines() == [
        "4 problems in the configuration",
        "  Competition  test.images: missing required key",
        "  Competition  test.imges: unknown key; did you mean 'images'?",
        "  Competition  classes: expected 2 or more items, got {'0': 'Sedan'}",
        "  Competition  metric: 'acuracy' is not a metric; did you mean 'accuracy'?",
    ]


@pytest.mark.parametrize(
    ("model", "decide", "do_not_decide"),
    [
        (
            MemberSettings,
            "seed augmentation stages precision backbone head metadata loss label_smoothing class_weights sampling"
            " augmentation_scale resize monitor soup extra teacher hard",
            "cache_gb save_every tensorboard competition folds tta neighbours search",
        ),
        (
            DetectorSettings,
            "seed augmentation stages precision backbone levels anchors head box_weight resize monitor",
            "cache_gb save_every tensorboard slug title data_at_kaggle source classes keep split empty_images",
        ),
    ],
)
def test_every_field_of_a_trained_config_decides_the_weights_or_is_marked(model, decide, do_not_decide):
    """A new field affects the weights unless it is marked `NotInDigest`; list it here accordingly."""
    assert decisive_keys(model) == set(decide.split())
    assert model.model_fields.keys() - decisive_keys(model) == set(do_not_decide.split())


def test_fields_of_a_competition_and_an_ensemble_are_known():
    """Of a competition, the digest has the metric, the target, the labels, and the content of the rows, images and
    folds; an ensemble's is in the digest of its blend."""
    assert set(Competition.model_fields) == {
        "slug", "title", "data_at_kaggle", "train", "extra", "test", "zips", "target", "classes", "metric",
        "metric_code", "metadata", "submission", "folds", "intensity", "pages", "channels", "ignore",
        "on_bad_image", "on_ignored",
    }  # fmt: skip
    assert set(EnsembleSettings.model_fields) == {"members", "folds", "tta", "blend", "calibrate", "select", "seed"}


def test_nested_settings_decide_with_the_field_that_has_them():
    found = decisive(MemberSettings(**MEMBER, head={"dropout": 0.1}, cache_gb=3.0))
    assert found["head"]["dropout"] == 0.1
    assert found["stages"][0]["unfreeze"] == "all"
    assert "cache_gb" not in found
