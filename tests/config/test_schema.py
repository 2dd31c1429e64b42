"""`podium schema`: the shipped schemas are up to date, and accept what podium accepts."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml

from podium.cli.schema import Kind, schema_text
from podium.config.yaml_file import read_yaml

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 8, "image_size": 64, "learning_rate": 1e-3}
MEMBER = {"competition": "cars.yaml", "backbone": {"name": "ResNet50"}, "stages": [STAGE]}
DETECTOR = {"slug": "boats", "source": "openimages", "classes": ["Boat"]}
COMPETITION = {
    "slug": "cars",
    "train": {"table": "train.csv", "images": "train/{id}"},
    "test": {"images": "test/{id}"},
    "classes": ["van", 7],
    "metric": "accuracy",
}


@cache
def validator(kind):
    schema = json.loads((CONFIGS / "schemas" / f"{kind}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def problems(kind, content):
    """The problems that the shipped schema finds. As in JSON, all keys are text."""
    as_json = json.loads(json.dumps(content))
    return [error.message for error in validator(kind).iter_errors(as_json)]


@pytest.mark.parametrize("kind", Kind)
def test_the_shipped_schema_is_up_to_date(kind):
    path = CONFIGS / "schemas" / f"{kind}.json"
    command = f"podium schema {kind} > configs/schemas/{kind}.json"
    assert path.read_text(encoding="utf-8") == schema_text(kind), f"outdated: run {command}"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_config_is_valid_by_the_schema_that_its_first_line_names(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    schema = (path.parent / first.removeprefix("# yaml-language-server: $schema=")).resolve()
    kind = "member" if path.parent.name == "recipes" else path.parent.name.removesuffix("s")
    assert schema == CONFIGS / "schemas" / f"{kind}.json"
    assert problems(schema.stem, read_yaml(path).content) == []


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("member", {**MEMBER, "tta": "auto"}),
        ("member", {**MEMBER, "tta": ["identity", {"scale": 1.1}, ["horizontal_flip", {"rotate": 5}]]}),
        ("member", {**MEMBER, "augmentation": ["HorizontalFlip", {"Rotate": {"limit": 5}}]}),
        ("member", {**MEMBER, "stages": [{**STAGE, "schedule": "cosine", "optimizer": "SGD"}]}),
        ("member", {**MEMBER, "stages": [{**STAGE, "unfreeze": {"from": "block5a"}}]}),
        ("member", {**MEMBER, "stages": [{**STAGE, "optimizer": {"name": "SGD", "momentum": 0.9}}]}),
        ("member", {**MEMBER, "backbone": {"preset": "dinov3_vit_small_lvd1689m"}, "head": {"pooling": "token"}}),
        ("member", {**MEMBER, "metadata": "all"}),
        ("member", {**MEMBER, "metadata": ["age"]}),
        ("competition", {**COMPETITION, "metadata": {"age": "number", "sex": "category", "site": [1, "x"]}}),
        ("competition", {**COMPETITION, "folds": "holdout"}),
        ("competition", {**COMPETITION, "classes": {"0": "Sedan", "1": "Van"}}),
        ("ensemble", {"members": ["a.yaml"], "blend": {"method": "stacking", "C": 0.1}, "tta": "none"}),
        ("detector", {**DETECTOR, "split": {"train": 0.8}, "classes": {"Boat": ["Boat", "Canoe"], "Barge": "Barge"}}),
        ("detector", {**DETECTOR, "backbone": {"preset": "resnet_50_imagenet"}, "empty_images": 0.1}),
        ("detector", {**DETECTOR, "source": {"kind": "openimages", "fetch": {"addresses": "original"}}}),
    ],
    ids=lambda value: yaml.safe_dump(value, default_flow_style=True).strip()[-40:],
)
def test_short_forms_are_valid(kind, content):
    assert problems(kind, content) == []


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("member", {**MEMBER, "sed": 1}),
        ("member", {**MEMBER, "backbone": {"name": "Xceptoin"}}),
        ("member", {**MEMBER, "tta": "always"}),
        ("member", {**MEMBER, "stages": [{**STAGE, "schedule": "step"}]}),  # `every` has no default
        ("member", {**MEMBER, "augmentation": ["horizontalflip"]}),
        ("competition", {**COMPETITION, "metric": "acuracy"}),
        ("competition", {**COMPETITION, "metadata": {"age": "numeric"}}),
        ("ensemble", {"members": []}),
        ("detector", {**DETECTOR, "split": {"tran": 0.8}}),
    ],
)
def test_mistakes_are_invalid(kind, content):
    assert problems(kind, content)


def test_keys_have_the_text_below_their_fields():
    keys = json.loads(schema_text(Kind.MEMBER))["properties"]
    assert keys["save_every"]["description"].startswith("Minutes between checkpoints")
    assert keys["competition"]["description"] == "The competition file, relative to this file."
