"""How many channels the images of a competition have, and the members that fit."""

import pytest

from podium.config.competition import Competition
from podium.config.loading import make_member
from podium.data.augmentation import transform_problems
from podium.errors import ConfigError

STAGE = {"name": "all", "unfreeze": "all", "epochs": 1, "batch_size": 8, "image_size": 32, "learning_rate": 1e-3}


def competition(channels, images="train/{id}_{channel}", **changes):
    content = {
        "slug": "cells",
        "train": {"table": "train.csv", "images": images},
        "test": {"images": images.replace("train", "test")},
        "classes": ["a", "b"],
        "metric": "accuracy",
        "channels": channels,
    }
    return Competition(**content | changes)


def problem_of(function, *arguments, **options):
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def member_of(made, channels="mean", **changes):
    backbone = {"name": "SmallResNet", "weights": "none", "channels": channels}
    return make_member("one", {"backbone": backbone, "stages": [STAGE], **changes}, made, transform_problems)


def test_channels_are_a_number_or_names_of_files():
    assert competition(6, "train/{id}").reading.channels == 6
    made = competition([1, 2, "w_3"])
    assert (made.reading.channels, made.reading.files) == (3, ("1", "2", "w_3"))
    assert made.reading.files_of("train/11_1.png") == ["train/11_1.png", "train/11_2.png", "train/11_w_3.png"]
    assert list(made.pattern_of(made.train.images).fill([["x"]])) == ["train/x_1"]
    assert str(competition(3, "train/{id}").reading) == ""
    assert len({str(competition(count, "train/{id}").reading) for count in (1, 3, 4)}) == 3


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        ("train/{id}.png", {}, "train.images: expected {channel} once and at the end, as in train/{id}_{channel}.png"),
        ("train/{channel}/{id}", {}, "test.images: expected {channel} once and at the end"),
        ("train/{channel}/{id}_{channel}", {}, "train.images: expected {channel} once and at the end"),
    ],
)
def test_channels_in_files_need_their_names_in_every_pattern(images, changes, message):
    assert message in problem_of(competition, ["red", "green"], images, **changes)


def test_the_first_kernel_of_three_channels_is_as_it_is():
    message = problem_of(member_of, competition(3, "train/{id}"), "repeat")
    assert "backbone.channels: the images have three channels: remove it" in message
    assert member_of(competition(4, "train/{id}"), "repeat").settings.backbone.channels == "repeat"


def test_transforms_have_to_work_on_the_channels():
    message = problem_of(member_of, competition(4, "train/{id}"), augmentation=["HorizontalFlip", "ColorJitter"])
    assert "augmentation.1: the augmentation failed for an image of 32×32×4 pixels" in message
    member_of(competition(3, "train/{id}"), augmentation=["HorizontalFlip", "ColorJitter"])
