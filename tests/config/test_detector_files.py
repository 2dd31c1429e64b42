"""Detector files: their short forms, and every problem of one message at once."""

from functools import partial
from pathlib import Path

import pytest
import yaml

from podium.data.augmentation import transform_problems
from podium.detection.loading import load_detector
from podium.errors import ConfigError

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs" / "detectors").glob("*.yaml"))
SMALLEST = {"slug": "boats", "source": "openimages", "classes": ["Boat"]}


@pytest.fixture
def load(tmp_path):
    """`load(overrides, **keys)`: the settings of a detector file with these keys; None leaves a key out."""

    def loaded(*overrides, **changes):
        path = tmp_path / "boats.yaml"
        content = {key: value for key, value in (SMALLEST | changes).items() if value is not None}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return load_detector(path, overrides).settings

    return loaded


def refused(load, *overrides, **changes):
    with pytest.raises(ConfigError) as caught:
        load(*overrides, **changes)
    return str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_detector_file_of_the_project_is_valid_and_documented(path):
    detector = load_detector(path, check=partial(transform_problems, takes_boxes=True))
    assert detector.name == path.stem
    assert detector.settings.stages
    comment = path.read_text().partition("slug:")[0]
    assert "# Needs" in comment
    for command in ("build", "train"):
        assert f"#   podium detect {command} configs/detectors/{path.name}" in comment


def test_classes_are_a_list_or_combine_several_names(load):
    assert load(classes=["Boat", "Canoe"]).classes == {"Boat": ["Boat"], "Canoe": ["Canoe"]}
    taken = load(classes={"boat": ["Boat", "Canoe"], "barge": "Barge"}).classes
    assert taken == {"boat": ["Boat", "Canoe"], "barge": ["Barge"]}


def test_defaults(load):
    settings = load()
    assert settings.source.boxes == "oidv6-train-annotations-bbox.csv"
    assert settings.source.images == ["images/{id}.jpg"]
    assert settings.source.fetch is None
    assert settings.keep.model_dump() == {
        "group": False, "depiction": False, "inside": False, "occluded": True, "truncated": True,
    }  # fmt: skip
    assert (settings.split.train, settings.split.validation, settings.split.test) == (0.8, 0.1, 0.1)
    assert settings.empty_images is None


def test_folder_source_may_keep_its_split_and_classes(load):
    settings = load(source={"kind": "yolo", "folder": "boats"}, classes=None, split="source")
    assert (settings.classes, settings.split.kind, settings.source.folder) == ({}, "source", "boats")


def test_values_can_be_overridden(load):
    overrides = ("keep.group=true", "source.fetch={addresses: original}", "empty_images=0.1", "split.seed=7")
    settings = load(*overrides, source={"kind": "openimages"})
    assert settings.keep.group
    assert settings.source.fetch.addresses == ["original"]
    assert settings.empty_images == 0.1
    assert settings.split.seed == 7


def test_all_problems_are_reported_with_their_lines(load):
    message = refused(load, classes=["Boat", "Boat"], keep={"grup": True}, split="sorce", title=5)
    assert (
        message.splitlines()[0] == "5 problems in the configuration"
        or message.splitlines()[0] == "4 problems in the configuration"
    )
    assert "boats.yaml:3  classes: duplicate class: Boat" in message
    assert "keep.grup: unknown key; did you mean 'group'?" in message
    assert "split: expected one of shares, source; got 'sorce'; did you mean 'source'?" in message
    assert "title: expected text, got 5" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": None}, "classes: required for Open Images, such as [Boat, Canoe]"),
        ({"classes": [7]}, "classes: expected class names as text"),
        ({"data_at_kaggle": "ada/boats"}, "data_at_kaggle: expected kaggle-dataset:<owner>/<slug>, kaggle-kernel:"),
        ({"data_at_kaggle": "kaggle-dataset:ada/boats/images"}, "data_at_kaggle: expected kaggle-dataset:"),
        ({"data_at_kaggle": "kaggle-competition:ada/boats/x"}, "data_at_kaggle: expected kaggle-dataset:"),
        ({"classes": {"a": ["Boat"], "b": ["Boat"]}}, "classes.b: 'Boat' is already part of 'a'"),
        ({"classes": {"a": []}}, "classes.a: expected 1 or more items"),
        ({"source": "openimage"}, "source: expected one of openimages, yolo, voc, coco; got 'openimage'; did you mean"),
        ({"source": {"kind": "openimages", "images": "images/a.jpg"}}, "source.images: expected a pattern with {id}"),
        ({"source": {"kind": "openimages", "images": "../{id}.jpg"}}, "source.images: expected a pattern inside"),
        ({"source": {"kind": "openimages", "images": "{id}/a.jpg"}}, "source.images: expected {id} in the file name"),
        ({"source": {"kind": "openimages", "urls": ["a.tsv"]}}, "source.urls: URLs are only used for downloads"),
        ({"source": {"kind": "openimages", "fetch": {"addresses": ["orignal"]}}}, "source.fetch.addresses: expected"),
        ({"source": {"kind": "openimages", "fetch": {"addresses": ["https://a.b/c.jpg"]}}}, "expected a pattern with"),
        ({"source": {"kind": "openimages", "fetch": {"at_once": 0}}}, "fetch.at_once: expected 1 or more, got 0"),
        ({"source": {"kind": "openimages", "fetch": {}, "images": "a/*/{id}.jpg"}}, "images are downloaded"),
        ({"source": {"kind": "openimages", "fetch": {}, "image_table": None}}, "source.fetch: original, thumbnail"),
        ({"split": "source"}, "split: Open Images tables have no split"),
        ({"split": {"kind": "shares", "train": 0.9}}, "split: train, validation and test must sum to 1"),
        ({"empty_images": -1}, "empty_images: expected a count such as 200 or a share"),
        ({"empty_images": 9, "source": {"kind": "openimages", "image_table": None}}, "needs the list of images"),
        ({"slug": "My Boats"}, "slug: expected text of the form"),
    ],
)  # fmt: skip
def test_invalid_value_is_reported(load, changes, message):
    assert message in refused(load, **changes)


def test_problem_of_an_override_names_the_option(load):
    assert "--set (" in refused(load, "keep.grup=true")


STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 4, "image_size": 416, "learning_rate": 1e-3}


def test_stages_are_optional(load):
    assert load().stages == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": [{**STAGE, "image_size": 400}]}, "stages.0.image_size: expected a multiple of 32"),
        (
            {"stages": [{**STAGE, "image_size": 64}], "backbone": {"name": "Xception"}},
            "a multiple of 32, at least 71, got 64",
        ),
        ({"stages": [STAGE, STAGE]}, "stages.1.name: duplicate stage name 'all'"),
        ({"stages": [{**STAGE, "unfreeze": "none", "views": 1}]}, "stages.0.views: not supported for detectors"),
        ({"levels": 8}, "levels: expected 7 or less, got 8"),
        ({"anchors": {"ratios": []}}, "anchors.ratios: expected 1 or more items"),
        ({"head": {"layer": 2}}, "head.layer: unknown key; did you mean 'layers'?"),
        ({"resize": "crop"}, "resize: expected one of squash, pad"),
        ({"monitor": "map"}, "monitor: expected one of ap50, ap, iou"),
        ({"box_weight": 0}, "box_weight: expected a number above 0"),
    ],
)
def test_invalid_training_key_is_reported(load, changes, message):
    assert message in refused(load, **changes)


@pytest.mark.parametrize(
    ("preset", "is_a_folder", "source"),
    [
        ("resnet_50_imagenet", False, None),
        ("kaggle://keras/resnet/keras/resnet_50_imagenet/2", False, None),
        ("hf://timm/resnet18.a1_in1k", False, None),
        ("./mine", True, None),
        ("presets/mine", True, None),
        ("/presets/mine", True, None),
        ("kaggle-dataset:ada/nets/mine", False, ("dataset", "ada/nets")),
        ("kaggle-kernel:ada/nets", False, ("kernel", "ada/nets")),
    ],
)
def test_backbone_may_be_a_preset(load, preset, is_a_folder, source):
    settings = load(backbone={"preset": preset, "freeze_batchnorm": False}).backbone
    keys = {"preset": preset, "weights": "pretrained", "freeze_batchnorm": False, "channels": "mean"}
    assert settings.model_dump(exclude_none=True) == keys
    assert (settings.is_a_folder, settings.kaggle_source) == (is_a_folder, source)
    assert settings.is_fetched == (not is_a_folder and source is None)
    assert load(f"backbone={{preset: {preset}}}", backbone={"name": "ResNet50"}).backbone.preset == preset


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (
            {"name": "ResNet50", "weights": "imagenet", "preset": "resnet_50_imagenet"},
            "backbone.preset: cannot be combined with name, weights: use one of them"
            " (--set 'backbone={preset: resnet_50_imagenet}')",
        ),
        (
            {"preset": "resnet_50_imagenet", "freeze_batchnrm": True},
            "backbone.freeze_batchnrm: unknown key; did you mean 'freeze_batchnorm'?",
        ),
        ({"preset": "s3://bucket/mine"}, "backbone.preset: expected a KerasHub preset such as resnet_50_imagenet"),
        ({"preset": ""}, "backbone.preset: expected a KerasHub preset"),
        ({"preset": None}, "backbone.preset: expected text, got None"),
        ({"preset": "kaggle-competition:boats"}, "backbone.preset: expected kaggle-dataset:<owner>/<slug>/<folder>"),
        ({"wieghts": "none", "name": "ResNet50"}, "backbone.wieghts: unknown key; did you mean 'weights'?"),
        ("ResNet50", "backbone: expected keys with values, got 'ResNet50'"),
    ],
)
def test_invalid_backbone_is_one_line(load, backbone, message):
    message = refused(load, backbone=backbone)
    assert message in message
    assert "\n" not in message
