"""Metadata in competition and member files."""

import pytest

from podium.config.competition import Competition
from podium.config.loading import make_ensemble, make_member
from podium.errors import ConfigError

STAGE = {"name": "all", "unfreeze": "all", "epochs": 1, "batch_size": 8, "image_size": 32, "learning_rate": 1e-3}
SETTINGS = {"backbone": {"name": "SmallResNet", "weights": "none"}, "stages": [STAGE]}
COLUMNS = {"age": "number", "sex": "category", "site": [1, "x"]}


def competition(**changes):
    content = {
        "slug": "leaves",
        "train": {"table": "train.csv", "images": "train/{id}"},
        "test": {"images": "test/{id}"},
        "metric": "accuracy",
        "classes": ["a", "b"],
    }
    return Competition(**content | changes)


def problem_of(function, *arguments, **options):
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_short_forms_of_a_member():
    described = competition(metadata=COLUMNS)
    assert described.metadata == {"age": "number", "sex": "category", "site": ["1", "x"]}
    for given, chosen, units in (
        ("all", ["age", "sex", "site"], [32]),
        (["sex"], ["sex"], [32]),
        ({"units": []}, ["age", "sex", "site"], []),
        ({"columns": ["site", "age"], "units": [8, 4]}, ["site", "age"], [8, 4]),
    ):
        settings = make_member("m", {**SETTINGS, "metadata": given}, described).settings.metadata
        assert (settings.chosen(described.metadata), settings.units) == (chosen, units)
    assert make_member("m", SETTINGS, described).settings.metadata is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["agee", "sex"], "m  metadata.columns: 'agee' is not in the competition's metadata; did you mean 'age'?"),
        ([], "metadata.columns: expected 1 or more items"),
        (["age", "age"], "metadata.columns: duplicate column: age"),
        ("age", "metadata: expected all or a list of columns, got 'age'"),
        ({"unit": [3]}, "metadata.unit: unknown key; did you mean 'units'?"),
    ],
)
def test_problems_of_a_member(given, message):
    described = competition(metadata=COLUMNS)
    assert message in problem_of(make_member, "m", {**SETTINGS, "metadata": given}, described)


def test_a_competition_without_metadata_has_none_to_take():
    message = problem_of(make_member, "m", {**SETTINGS, "metadata": "all"}, competition())
    assert message == "m  metadata: the competition file declares none: add its columns there, such as {age: number}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"metadata": {"age": "numeric"}},
            "metadata.age: expected number, category or a list of categories, got 'numeric'",
        ),
        ({"metadata": {"age": ["a", "a"]}}, "metadata.age: duplicate category: a"),
        ({"metadata": {"Category": "category"}}, "metadata.Category: this is what is predicted: remove it"),
        (
            {"metadata": COLUMNS, "train": {"images": "train/{label}/{id}"}},
            "metadata: these are columns of a table: add train.table, or remove it",
        ),
    ],
)
def test_problems_of_a_competition(changes, message):
    assert message in problem_of(competition, **changes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metadata": ["agee"]}, "both  blend.metadata.columns: 'agee' is not in the competition's metadata; did you"),
        ({"metadata": "age"}, "blend.metadata: expected all or a list of columns, got 'age'"),
        ({"model": "boosting", "C": 1.0}, "blend.C: boosting has none: remove it, or use model: regression"),
    ],
)
def test_problems_of_stacking(given, message):
    member = make_member("m", SETTINGS, competition(metadata=COLUMNS))
    assert message in problem_of(make_ensemble, "both", {"blend": {"method": "stacking", **given}}, [member])


def test_stacking_without_metadata_in_the_competition():
    member = make_member("m", SETTINGS, competition())
    blend = {"method": "stacking", "metadata": "all"}
    expected = "both  blend.metadata: the competition file declares none: add its columns there"
    assert expected in problem_of(make_ensemble, "both", {"blend": blend}, [member])
