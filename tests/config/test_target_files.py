"""The target of a competition, and the losses of members that fit it."""

import pytest

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.config.loading import make_ensemble, make_member
from podium.config.loss import LOSSES
from podium.errors import ConfigError

STAGE = {"name": "all", "unfreeze": "all", "epochs": 1, "batch_size": 8, "image_size": 32, "learning_rate": 1e-3}
SETTINGS = {"backbone": {"name": "SmallResNet", "weights": "none"}, "stages": [STAGE]}
ABC = ["a", "b", "c"]


def competition(target, train=None, **changes):
    kind = target.get("kind") if isinstance(target, dict) else target
    content = {
        "slug": "leaves",
        "train": {"table": "train.csv", "images": "train/{id}", **(train or {})},
        "test": {"images": "test/{id}"},
        "metric": "rmse" if kind in ("regression", "soft_label") else "accuracy",
        "target": target,
        "classes": ABC,
        **changes,
    }
    return Competition(**{key: value for key, value in content.items() if value is not None})


def problem_of(function, *arguments, **options):
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_single_label_is_the_default():
    assert competition(None).target.kind == "single_label"


def test_short_forms():
    assert competition("soft_label").target.kind == "soft_label"
    assert competition({"kind": "multi_label", "separator": " "}).target.separator == "space"
    assert competition({"kind": "multi_label", "separator": "|"}).target.separator == "pipe"
    with pytest.raises(ConfigError, match=r"separator: expected one of space, comma, pipe; got \[1\]"):
        competition({"kind": "multi_label", "separator": [1]})
    assert competition("regression", classes=None).target.columns is None


def test_which_targets_are_in_the_label_column():
    in_label_column = {
        "single_label": "single_label",
        "words": {"kind": "multi_label", "separator": "space"},
        "number": "regression",
    }
    of_their_own = {"one-hot": "multi_label", "votes": "soft_label", "numbers": {"kind": "regression", "columns": ABC}}
    for target in in_label_column.values():
        assert competition(target, classes=None if target == "regression" else ABC).has_label_column
    for target in of_their_own.values():
        assert not competition(target, classes=None if "columns" in target else ABC).has_label_column


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ("singel_label", {}, "target: expected one of .*; got 'singel_label'; did you mean 'single_label'?"),
        ("regression", {}, "classes: regression predicts numbers and has no classes: remove it"),
        ("binary", {}, "classes: expected two classes, of which the second is the positive one, such as .0, 1., got"),
        ("ordinal", {"classes": ["a", "b"]}, "classes: expected 3 or more items"),
        (
            {"kind": "multi_label", "separator": ";"},
            {},
            "target.separator: expected one of space, comma, pipe; got ';'",
        ),
        (
            {"kind": "multi_label", "separator": "comma"},
            {"classes": ["a", "b, c"]},
            "classes: 'b, c' contains the separator",
        ),
        (
            "multi_label",
            {"train": {"label": "Names"}},
            "train.label: the columns are named like the classes: remove it",
        ),
        (
            {"kind": "regression", "columns": ["x"]},
            {"train": {"label": "x"}, "classes": None},
            "train.label: the columns are those of target.columns: remove it",
        ),
        ("soft_label", {"train": {"images": "{label}/{id}"}}, "train.images: soft_label has no single .label."),
        (
            "multi_label",
            {"train": {"table": None, "images": "{label}/{id}"}},
            "train.table: missing required key: multi_label needs a table",
        ),
        (
            {"kind": "regression", "range": [1]},
            {"classes": None},
            "target.range: expected the smallest and the largest",
        ),
        ({"kind": "regression", "range": [5, 5]}, {"classes": None}, "target.range: expected the smallest"),
        ({"kind": "regression", "columns": ["x", "x"]}, {"classes": None}, "target.columns: duplicate column: x"),
    ],
)
def test_what_does_not_fit_the_target_is_a_problem(target, changes, message):
    with pytest.raises(ConfigError, match=message):
        competition(target, **changes)


def test_problems_of_the_target_are_reported_with_all_others():
    message = problem_of(competition, "binary", metric="acuracy", test={"imges": "{id}"})
    assert message.splitlines()[0] == "4 problems in the configuration"
    assert "classes: expected two classes" in message


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_that_fits_is_accepted_and_no_other(kind):
    classes = {"binary": ["0", "1"], "regression": None}.get(kind, ABC)
    made = competition({"kind": "regression", "range": [0, 1]} if kind == "regression" else kind, classes=classes)
    for loss in {loss for fitting in LOSSES.values() for loss in fitting}:
        if loss in LOSSES[kind]:
            assert make_member("one", {**SETTINGS, "loss": loss}, made).settings.loss.kind == loss
        else:
            message = problem_of(make_member, "one", {**SETTINGS, "loss": loss}, made)
            assert message.startswith(f"one  loss: {loss} does not fit the target {kind}; expected ")


def test_losses_have_keys_of_their_own():
    ages = competition("regression", classes=None)
    assert make_member("one", {**SETTINGS, "loss": {"kind": "huber", "delta": 0.5}}, ages).settings.loss.delta == 0.5
    message = problem_of(make_member, "one", {**SETTINGS, "loss": {"kind": "huber", "delta": 0}}, ages)
    assert message == "one  loss.delta: expected a number above 0, got 0"
    assert make_member("one", {**SETTINGS, "class_weights": {1: 2}}, competition("binary", classes=[0, 1]))


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ("regression", {"loss": "binary_crossentropy"}, "loss: binary_crossentropy of numbers needs their range"),
        ("regression", {"label_smoothing": 0.1}, "label_smoothing: mse of regression has no label smoothing"),
        (
            "ordinal",
            {"label_smoothing": 0.1},
            "label_smoothing: ordinal_crossentropy of ordinal has no label smoothing",
        ),
        ("regression", {"tta": {"mean": "geometric"}}, "tta.mean: numbers have no geometric mean"),
        ("regression", {"class_weights": "balanced"}, "class_weights: regression has no classes: remove it"),
        ("regression", {"sampling": "sqrt"}, "sampling: regression has no classes: remove it"),
        ("single_label", {"class_weights": {"d": 2.0}}, "class_weights.d: 'd' is not a class; expected one of a, b, c"),
        ("single_label", {"class_weights": {"a": -1, 2: 1}}, "class_weights.a: expected a number above 0, got -1"),
        ("single_label", {"class_weights": "balance"}, "class_weights: expected balanced, sqrt, or weights of classes"),
        ("single_label", {"sampling": "root"}, "sampling: expected one of balanced, sqrt; got 'root'"),
        (
            "ordinal",
            {"loss": {"kind": "focal", "alpha": 0.5}},
            "loss.alpha: ordinal has no positives: use class_weights",
        ),
        ("single_label", {"head": {"dropout_samples": 3}}, "head.dropout_samples: without dropout all samples are the"),
    ],
)
def test_settings_that_do_not_fit_the_target_are_problems(target, changes, message):
    made = competition(target, classes=None if target == "regression" else ABC)
    assert message in problem_of(make_member, "one", {**SETTINGS, **changes}, made)


def test_tta_of_an_ensemble_fits_the_target_too():
    member = make_member("one", SETTINGS, competition("regression", classes=None))
    keys = {"tta": {"mean": "geometric"}}
    EnsembleSettings(members=["one"], blend="mean", **keys)
    assert "tta.mean: numbers have no geometric mean" in problem_of(make_ensemble, "both", keys, [member])


def test_tta_of_an_ensemble_fits_the_backbones_of_its_members():
    large = {"stages": [{**STAGE, "image_size": 96}]}
    members = [
        make_member(name, {**large, "backbone": {"name": name, "weights": "none"}}, competition("single_label"))
        for name in ("SmallResNet", "Xception")
    ]
    problem = problem_of(make_ensemble, "both", {"tta": {"image_sizes": [48, 96]}}, members)
    assert "tta.image_sizes: Xception takes images of 71 pixels or more, got 48" in problem
