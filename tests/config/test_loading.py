from pathlib import Path

import pytest
import yaml

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.config.loading import (
    fold_count,
    load_competition,
    load_ensemble,
    load_member,
    make_ensemble,
    make_member,
)
from podium.config.member import MemberSettings
from podium.data.augmentation import transform_problems
from podium.errors import ConfigError
from podium.yaml_text import parse_yaml

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
COMPETITIONS = sorted((CONFIGS / "competitions").glob("*.yaml"))
MEMBERS = sorted((CONFIGS / "members").glob("*.yaml"))
ENSEMBLES = sorted((CONFIGS / "ensembles").glob("*.yaml"))
STAGE = {"unfreeze": "all", "epochs": 2, "batch_size": 8, "image_size": 64, "learning_rate": 1e-3}


def stem(path):
    return path.stem


@pytest.fixture
def write(tmp_path):
    """Write a file with this content and return its path."""

    def written(name, content):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    written(
        "cars",
        {
            "slug": "cars",
            "train": {"table": "train.csv", "images": "train/{id}"},
            "test": {"images": "test/{id}"},
            "classes": {0: "Sedan", 1: "Van"},
            "metric": "accuracy",
        },
    )
    return written


@pytest.fixture
def member(write):
    """`member(name, **keys)` writes a member file with two stages and returns its path."""

    def written(name="one", **changes):
        stages = [{"name": "head", **STAGE}, {"name": "all", **STAGE}]
        content = {"competition": "cars.yaml", "backbone": {"name": "MobileNetV2", "weights": "none"}, "stages": stages}
        return write(name, content | changes)

    return written


@pytest.fixture
def ensemble(write, member):
    """The path of an ensemble file with the members one and two."""
    return write("both", {"members": [member("one").name, member("two", folds=[1], tta="auto").name], "blend": "mean"})


def error_of(load, *arguments):
    with pytest.raises(ConfigError) as caught:
        load(*arguments)
    return str(caught.value)


# Reading values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E5", 1e5), ("1.", 1.0), (".5", 0.5), ("3", 3), ("-3", -3), ("0", 0), ("true", True),
        ("False", False), ("", None), ("~", None), ("[a, 1]", ["a", 1]), ("{from: block5a}", {"from": "block5a"}),
    ],
)  # fmt: skip
def test_values_have_the_types_of_yaml_1_2(text, value):
    assert parse_yaml(text) == value
    assert type(parse_yaml(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["off", "no", "yes", "y", "007", "+1", "1_000", "12:30", "0x1F", "2024-02-30", "1.2.3"]
)
def test_other_unquoted_values_are_text(text):
    assert parse_yaml(text) == text


def test_labels_are_read_as_text(write):
    path = write("cars", yaml.safe_load((CONFIGS / "competitions" / "podium-demo-cars.yaml").read_text()))
    path.write_text(path.read_text().partition("classes:")[0] + "classes: {007: a, no: b, 3: c}\nmetric: accuracy\n")
    assert load_competition(path).labels == ["007", "no", "3"]


# Short forms


def test_short_forms_expand(member, write):
    stages = [{"name": "head", **STAGE, "unfreeze": "none", "optimizer": "SGD", "schedule": "cosine"}]
    settings = load_member(member(stages=stages, tta=["identity", {"scale": 1.1}])).settings
    assert settings.stages[0].unfreeze.layers == 0.0
    assert (settings.stages[0].optimizer.name, settings.stages[0].optimizer.arguments) == ("SGD", {})
    assert settings.stages[0].schedule.kind == "cosine"
    assert settings.tta.views == ["identity", {"scale": 1.1}]
    assert settings.tta.select == "all"


def test_optimizer_arguments_are_next_to_its_name_or_in_arguments(member):
    flat = {**STAGE, "name": "a", "optimizer": {"name": "SGD", "momentum": 0.9}}
    under = {**STAGE, "name": "b", "optimizer": {"name": "SGD", "arguments": {"momentum": 0.9}}}
    first, second = load_member(member(stages=[flat, under])).settings.stages
    assert first.optimizer == second.optimizer
    assert first.optimizer.arguments == {"momentum": 0.9}


@pytest.mark.parametrize(
    ("unfreeze", "epochs", "views", "shared"),
    [
        ("none", 1, None, None),  # nothing to share: each epoch has its own
        ("none", 2, None, 1),
        ("none", 5, None, 1),
        ("none", 6, None, 2),
        ({"parameters": 0.0}, 6, None, 2),
        ("none", 6, 5, 5),
        ("none", 6, 6, None),
        ("none", 6, 9, None),
        ("all", 6, None, None),
        ({"layers": 0.1}, 6, None, None),
    ],
)
def test_epochs_of_a_frozen_backbone_share_views(member, unfreeze, epochs, views, shared):
    stage = {**STAGE, "name": "head", "unfreeze": unfreeze, "epochs": epochs}
    settings = load_member(member(stages=[stage if views is None else {**stage, "views": views}])).settings
    assert settings.stages[0].shared_views == shared


def test_tta_may_be_none_or_auto(member):
    assert load_member(member(tta="none")).settings.tta.views == ["identity"]
    auto = load_member(member(tta="auto")).settings.tta
    assert auto.select == "auto"
    assert len(auto.views) == 7


def test_classes_may_be_a_list(write):
    content = yaml.safe_load((CONFIGS / "competitions" / "podium-demo-cars.yaml").read_text())
    competition = load_competition(write("listed", {**content, "classes": ["van", 7], "folds": "holdout"}))
    assert competition.classes == {"van": "van", "7": "7"}
    assert fold_count(competition) == 1


def test_any_fold_is_accepted_with_a_folds_table(write, member):
    content = yaml.safe_load((CONFIGS / "competitions" / "podium-demo-cars.yaml").read_text())
    write("cars", {**content, "folds": {"kind": "table", "path": "folds.csv"}})
    assert load_member(member(folds=[11])).settings.folds == [11]


# In Python, without files

IN_PYTHON = {"backbone": {"name": "ResNet50"}, "stages": [{"name": "all", **STAGE}]}


def test_a_member_is_made_of_keys_and_a_competition(member):
    competition = load_member(member()).competition
    made = make_member("mine", {**IN_PYTHON, "folds": [0, 4]}, competition)
    assert (made.name, made.settings.competition, made.competition) == ("mine", "cars", competition)
    assert made.settings.folds == [0, 4]


def test_all_problems_of_a_member_made_in_python_are_in_one_message(member):
    competition = load_member(member()).competition
    wrong = {**IN_PYTHON, "head": {"poling": "max"}, "augmentation": ["Rotat"], "folds": [9], "sed": 1}
    with pytest.raises(ConfigError) as caught:
        make_member("mine", wrong, competition, transform_problems)
    assert str(caught.value).splitlines() == [
        "3 problems in the configuration",
        "  mine  head.poling: unknown key; did you mean 'pooling'?",
        "  mine  sed: unknown key; did you mean 'seed'?",
        "  mine  augmentation.0: 'Rotat' is not a transform of Albumentations; did you mean 'Rotate'?",
    ]
    with pytest.raises(ConfigError, match="mine  folds: there is no fold 9; the competition has folds 0 to 4"):
        make_member("mine", {**IN_PYTHON, "folds": [9]}, competition)


def test_an_ensemble_is_made_of_members(member):
    one, two = load_member(member("one")), load_member(member("two"))
    made = make_ensemble("both", {"blend": "weights", "folds": [1]}, [one, two])
    assert made.settings.members == ["one", "two"]
    assert [each.settings.folds for each in made.members] == [[1], [1]]
    with pytest.raises(ConfigError, match="both  members: two members are called one"):
        make_ensemble("both", {}, [one, two, one])
    with pytest.raises(ConfigError, match="both of them  cannot name an ensemble; expected letters"):
        make_ensemble("both of them", {}, [one, two])


def test_overrides_may_be_a_dict(member, ensemble):
    settings = load_member(member(), {"head.dropout": 0.4, "tta": ["identity"], "stages.0.epochs": 7}).settings
    assert (settings.head.dropout, settings.tta.views, settings.stages[0].epochs) == (0.4, ["identity"], 7)
    loaded = load_ensemble(ensemble, {"*.head": {"dropout": 0.1}, "two.head.dropout": 0.2})
    assert [one.settings.head.dropout for one in loaded.members] == [0.1, 0.2]


# --set and --seed


def test_overrides_set_nested_keys(member):
    settings = load_member(
        member(),
        [
            "stages.1.learning_rate=1e-4",
            "stages.0.unfreeze={from: block_14}",
            "stages.0.optimizer={name: SGD, momentum: 0.9}",
            "head.dropout=0.25",
            "backbone.weights=none",
            "tta=[identity, horizontal_flip]",
            "folds=[0, 2]",
        ],
    ).settings
    assert [stage.learning_rate for stage in settings.stages] == [1e-3, 1e-4]
    assert settings.stages[0].unfreeze.from_ == "block_14"
    assert settings.stages[0].optimizer.arguments == {"momentum": 0.9}
    assert settings.head.dropout == 0.25
    assert settings.tta.views == ["identity", "horizontal_flip"]
    assert settings.folds == [0, 2]


def test_the_last_override_wins(member):
    assert load_member(member(), ["seed=1", "seed=2"]).settings.seed == 2


def test_an_override_sets_a_key_of_the_competition(member, ensemble):
    competition = load_member(member(), ["competition.metric=log_loss", "competition.classes.0=Saloon"]).competition
    assert competition.metric == "log_loss"
    assert competition.classes == {"0": "Saloon", "1": "Van"}
    loaded = load_ensemble(ensemble, ["competition.folds={kind: stratified, count: 3}"])
    assert [fold_count(one.competition) for one in loaded.members] == [3, 3]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head.dropout", "--set  head.dropout: expected KEY=VALUE, such as stages.0.learning_rate=1e-4"),
        ("=1", "--set  =1: expected KEY=VALUE, such as stages.0.learning_rate=1e-4"),
        ("head..dropout=1", "--set  head..dropout=1: expected KEY=VALUE, such as stages.0.learning_rate=1e-4"),
        ("folds=[1", "--set  folds: '[1' is not a YAML value"),
        ("name=a\0", r"--set  name: 'a\x00' is not a YAML value"),
    ],
)
def test_a_malformed_override_is_reported(member, override, message):
    assert error_of(load_member, member(), [override]) == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head.dropout=2", "head.dropout: expected a number below 1, got 2"),
        ("seed=many", "seed: expected a whole number, got 'many'"),
        ("seed=", "seed: expected a whole number, got None"),
        ("hed.dropout=0.2", "hed: unknown key; did you mean 'head'?"),
        ("stages.0.epoch=1", "stages.0.epoch: unknown key; did you mean 'epochs'?"),
        ("stages.2.epochs=1", "stages.2.epochs: stages has 2 items, numbered from 0, got '2'"),
        ("stages.-1.epochs=1", "stages.-1.epochs: stages has 2 items, numbered from 0, got '-1'"),
        ("stages.².epochs=1", "stages.².epochs: stages has 2 items, numbered from 0, got '²'"),
        ("seed.x=1", "seed: expected a whole number, got {'x': 1}"),
        (
            "stages.0.name.x=1",
            "stages.0.name.x: stages.0.name is 'head' and has no keys; set stages.0.name={…} as a whole",
        ),
        (
            "augmentation=[Rotat]",
            "augmentation.0: 'Rotat' is not a transform of Albumentations; did you mean 'Rotate'?",
        ),
    ],
)
def test_an_invalid_override_is_reported_with_its_option(member, monkeypatch, override, message):
    path = member()
    monkeypatch.chdir(path.parent)
    assert (
        error_of(load_member, Path(path.name), [override], None, transform_problems) == f"--set (one.yaml)  {message}"
    )


def test_an_invalid_override_of_the_competition_is_reported(member, monkeypatch):
    monkeypatch.chdir(member().parent)
    assert error_of(load_member, Path("one.yaml"), ["competition.metric=acuracy"]) == (
        "--set (cars.yaml)  metric: 'acuracy' is not a metric; did you mean 'accuracy'?"
    )
    assert error_of(load_member, Path("one.yaml"), ["competition=card.yaml"]) == (
        "card.yaml  no such file; did you mean 'cars.yaml'?"
    )


def test_an_override_fixes_a_problem_of_the_file(member):
    assert load_member(member(seed="many"), ["seed=3"]).settings.seed == 3


def test_problems_of_overrides_and_the_file_are_in_one_message(member):
    reply = error_of(load_member, member(resize="squish"), ["seed=x", "nonsense"]).splitlines()
    assert reply[0] == "3 problems in the configuration"
    assert ["nonsense" in reply[1], "seed" in reply[2], "squish" in reply[3]] == [True, True, True]


def test_overrides_of_an_ensemble_and_its_members(ensemble):
    loaded = load_ensemble(
        ensemble, ["blend=geometric", "*.head.dropout=0.1", "two.head.dropout=0.2", "one.stages.0.epochs=5"]
    )
    assert loaded.settings.blend.method == "geometric"
    assert [one.settings.head.dropout for one in loaded.members] == [0.1, 0.2]
    assert [one.settings.stages[0].epochs for one in loaded.members] == [5, 2]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("on.seed=1", "--set (both.yaml)  on.seed: expected KEY, MEMBER.KEY or *.KEY; did you mean 'one'?"),
        ("one=1", "--set (both.yaml)  one: expected KEY, MEMBER.KEY or *.KEY; did you mean 'one'?"),
        ("blned=mean", "--set (both.yaml)  blned: expected KEY, MEMBER.KEY or *.KEY; did you mean 'blend'?"),
        ("two.seed=x", "--set (two.yaml)  seed: expected a whole number, got 'x'"),
        ("members=3", "--set (both.yaml)  members: expected a list, got 3"),
        ("folds=[5]", "--set (both.yaml)  folds: there is no fold 5; the competition has folds 0 to 4"),
    ],
)
def test_an_invalid_override_of_an_ensemble_is_reported(ensemble, monkeypatch, override, message):
    monkeypatch.chdir(ensemble.parent)
    assert error_of(load_ensemble, Path(ensemble.name), [override]) == message


def test_a_member_whose_name_has_a_dot_takes_overrides(write, member):
    path = write("dotted", {"members": [member("effnet.b3").name]})
    assert load_ensemble(path, ["effnet.b3.seed=7"]).members[0].settings.seed == 7


def test_the_seed_applies_to_the_ensemble_and_its_members(ensemble):
    loaded = load_ensemble(ensemble, seed=7)
    assert [loaded.settings.seed, *(one.settings.seed for one in loaded.members)] == [7, 7, 7]
    assert load_ensemble(ensemble).settings.seed == 42


def test_folds_and_tta_of_an_ensemble_replace_those_of_its_members(write, member):
    members = [member("one").name, member("two", folds=[1], tta="auto").name]
    silent = load_ensemble(write("silent", {"members": members}))
    assert [one.settings.folds for one in silent.members] == [None, [1]]
    assert [len(one.settings.tta.views) for one in silent.members] == [1, 7]
    says = load_ensemble(write("says", {"members": members, "folds": [0, 2], "tta": ["identity", "horizontal_flip"]}))
    assert [one.settings.folds for one in says.members] == [[0, 2], [0, 2]]
    assert [one.settings.tta.views for one in says.members] == [["identity", "horizontal_flip"]] * 2


def test_an_ensemble_has_the_competition_of_its_members(ensemble):
    loaded = load_ensemble(ensemble)
    assert loaded.name == "both"
    assert [one.name for one in loaded.members] == ["one", "two"]
    assert loaded.competition.slug == "cars"


# Shipped configs


def dumped(settings):
    return settings.model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize("path", COMPETITIONS, ids=stem)
def test_a_shipped_competition_survives_writing_and_reading(path):
    competition = load_competition(path)
    written = yaml.safe_load(yaml.safe_dump(dumped(competition), sort_keys=False))
    assert Competition.model_validate(written) == competition
    assert list(written["classes"]) == competition.labels


@pytest.mark.parametrize("path", MEMBERS, ids=stem)
def test_a_shipped_member_survives_writing_and_reading(path):
    settings = load_member(path, check=transform_problems).settings
    written = yaml.safe_load(yaml.safe_dump(dumped(settings), sort_keys=False))
    assert MemberSettings.model_validate(written) == settings


@pytest.mark.parametrize("path", ENSEMBLES, ids=stem)
def test_a_shipped_ensemble_survives_writing_and_reading(path):
    settings = load_ensemble(path, check=transform_problems).settings
    written = yaml.safe_load(yaml.safe_dump(dumped(settings), sort_keys=False))
    assert EnsembleSettings.model_validate(written) == settings


def test_every_short_form_survives_writing_and_reading(member):
    unfreezes = ["none", "all", {"layers": 0.5}, {"parameters": 0.3}, {"from": "block5a"}]
    schedules = ["constant", {"kind": "step", "every": 2}, "one_cycle", "plateau", {"kind": "cosine", "final": 0.1}]
    stages = [
        {**STAGE, "name": f"stage{number}", "unfreeze": unfreeze, "schedule": schedule, "augmentation": ["Blur"]}
        for number, (unfreeze, schedule) in enumerate(zip(unfreezes, schedules, strict=True))
    ]
    settings = load_member(member(stages=stages, tta=[["horizontal_flip", {"scale": 1.1}], "Blur"])).settings
    assert MemberSettings.model_validate(dumped(settings)) == settings
    assert [stage["unfreeze"] for stage in dumped(settings)["stages"]] == unfreezes


@pytest.mark.parametrize("path", COMPETITIONS + MEMBERS + ENSEMBLES, ids=stem)
def test_the_header_of_a_shipped_config_has_its_schema_what_it_needs_and_its_command(path):
    schema, *header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    folder = path.parent.name
    assert schema == f"# yaml-language-server: $schema=../schemas/{folder.removesuffix('s')}.json"
    assert any(line.startswith("# Needs: ") for line in header)
    (command,) = [line.partition("Run:")[2].split() for line in header if line.startswith("# Run:")]
    assert command[0] == "podium"
    if folder != "competitions" and command[1] != "demo":
        assert command[2] == path.relative_to(CONFIGS.parent).as_posix()


@pytest.mark.parametrize("path", COMPETITIONS, ids=stem)
def test_a_competition_file_is_named_by_its_slug(path):
    assert load_competition(path).slug == path.stem


def test_the_shipped_competition_has_ten_classes_and_five_folds():
    competition = load_competition(CONFIGS / "competitions" / "sf-dl-car-classification.yaml")
    assert competition.labels == [str(number) for number in range(10)]
    assert competition.classes["9"] == "VAZ-21099"
    assert competition.train.images.format(label="3", id="1.jpg") == "train/3/1.jpg"
    assert fold_count(competition) == 5
