"""The kinds of target: reading their truth, losses, strata, and the form of their predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from podium.config.competition import Competition
from podium.config.sources import TrainSource
from podium.data.targets import (
    TARGETS,
    BinaryTarget,
    MultiLabelTarget,
    OrdinalTarget,
    RegressionTarget,
    SingleLabelTarget,
    SoftLabelTarget,
    target_fields,
    target_from,
    target_of,
)
from podium.errors import DataError

ABC = ["a", "b", "c"]
SOURCE = TrainSource(table="train.csv", id="id", label="y", images="{id}")


def parsed(target, *rows, columns=("y",)):
    """The columns of the truth, read from a table of text."""
    table = pd.DataFrame([row if isinstance(row, tuple) else (row,) for row in rows], columns=list(columns))
    assert list(columns) == target.source_columns(SOURCE)
    return target.parse(table, SOURCE, Path("train.csv"))


def truth_of(target, *rows, columns=("y",)):
    return target.truth(parsed(target, *rows, columns=columns)).tolist()


def problem_of(target, *rows, columns=("y",)):
    with pytest.raises(DataError) as caught:
        parsed(target, *rows, columns=columns)
    return str(caught.value)


def competition(target, label="y", **changes):
    kind = target["kind"] if isinstance(target, dict) else target
    content = {
        "slug": "leaves",
        "train": {"table": "train.csv", "images": "train/{id}", "label": label},
        "test": {"images": "test/{id}"},
        "metric": "rmse" if kind in ("regression", "soft_label") else "accuracy",
        "target": target,
    }
    return Competition.model_validate(content | changes)


def test_truth_of_several_labels_is_bytes_and_its_batches_are_floats():
    target = MultiLabelTarget(ABC)
    truth = target.truth(parsed(target, ("0", "1", "1"), ("1", "0", "0"), columns=ABC))
    assert truth.dtype == np.uint8
    batch = target.encode(truth)[np.array([1, 0])]
    assert (batch.dtype, batch.tolist()) == (np.float32, [[1, 0, 0], [0, 1, 1]])
    shares = pd.DataFrame({f"t_{name}": [0.25] for name in ABC})
    assert target.truth(shares).tolist() == [[0.25, 0.25, 0.25]]


def test_batches_of_classes_are_one_hot_and_those_of_yes_and_no_a_column():
    classes, yes = SingleLabelTarget(ABC).encode(np.array([0, 2, 1])), BinaryTarget(["0", "1"]).encode(np.array([1, 0]))
    assert (len(classes), len(yes)) == (3, 2)
    batch = classes[np.array([2, 0])]
    assert (batch.dtype, batch.tolist()) == (np.float32, [[0, 1, 0], [1, 0, 0]])
    assert yes[np.array([0, 1])].tolist() == [[1], [0]]


def test_target_of_a_competition():
    words = target_of(competition({"kind": "multi_label", "separator": "space"}, classes=ABC))
    assert (type(words), words.outputs, words.separator) == (MultiLabelTarget, ABC, "space")
    yes = target_of(competition("binary", classes={0: "benign", 1: "malignant"}))
    assert (yes.labels, yes.outputs) == (["0", "1"], ["1"])
    age = target_of(competition({"kind": "regression", "range": [0, 120]}))
    assert (age.outputs, age.range, age.labels, age.head) == (["y"], [0, 120], [], "bounded")
    assert age.description == "1 number each"
    more = TrainSource(table="more.csv", id="id", label="years", images="{id}")
    assert age.source_columns(more) == ["years"]
    two = target_of(competition({"kind": "regression", "columns": ["x", "z"]}, label="Category"))
    assert (two.source_columns(more), two.head, two.description) == (["x", "z"], "linear", "2 numbers each")
    assert (SingleLabelTarget(ABC).columns, SingleLabelTarget(ABC).description) == (["label"], "3 classes")


@pytest.mark.parametrize("kind", TARGETS)
def test_target_can_be_sent_to_another_process(kind):
    classes = {"binary": ["no", "yes"], "regression": []}.get(kind, ABC)
    made = target_of(competition(kind, label="Category", classes=classes))
    assert target_from(target_fields(made)) == made


# Reading


def test_classes_become_numbers():
    for target in (SingleLabelTarget(ABC), OrdinalTarget(ABC), BinaryTarget(ABC)):
        assert truth_of(target, "b", "a", "c") == [1, 0, 2]
        assert truth_of(target, "c") == target.truth(pd.DataFrame({"label": ["c"]})).tolist() == [2]
        assert parsed(target, "c")["label"].cat.categories.tolist() == ABC
        assert target.table(np.array([2, 0]))["label"].tolist() == ["c", "a"]
    message = problem_of(SingleLabelTarget(ABC), "b", "x", "y")
    shown = "'x' in line 3, 'y' in line 4; expected a, b, c"
    assert message == f"train.csv has labels that are not classes of the competition file: {shown}"
    with pytest.raises(DataError, match=r"^labels that are not classes of the competition file: x; expected a, b, c: "):
        SingleLabelTarget(ABC).truth(pd.DataFrame({"label": ["x", "a"]}))


def test_labels_in_one_column_are_separated():
    for separator, rows in (
        ("space", ["a  b", "", "c"]),
        ("comma", ["b, a", " ", "c,"]),
        ("pipe", ["a|b", "", "c|c"]),
    ):
        assert truth_of(MultiLabelTarget(ABC, separator), *rows) == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    message = problem_of(MultiLabelTarget(ABC, "space"), "a x", "b y z", "x")
    shown = "'x' in line 2, 'y' in line 3, 'z' in line 3; expected a, b, c"
    assert message == f"train.csv has labels that are not classes of the competition file: {shown}"


def test_spaces_of_labels_are_visible_in_errors():
    message = problem_of(SingleLabelTarget(["a", "b "]), "a", "b", "", "b ", "a ", "b", " ")
    assert message.endswith(
        ": 'b' in line 3, an empty label in line 4, 'a ' in line 6, an empty label in line 8; expected a, b "
    )


def test_one_hot_columns_have_only_0_and_1():
    rows = ("0", "1", "1.0"), ("1", "0", "0")
    assert truth_of(MultiLabelTarget(ABC), *rows, columns=ABC) == [[0, 1, 1], [1, 0, 0]]
    message = problem_of(MultiLabelTarget(ABC), ("0", "yes", "0"), ("2", "1", ""), columns=ABC)
    assert message == (
        "train.csv has invalid values in column a: '2' in line 3; expected 0 or 1; invalid values in column b: 'yes' in"
        " line 2; expected 0 or 1; invalid values in column c: '' in line 3; expected 0 or 1"
    )


def test_votes_become_shares():
    target = SoftLabelTarget(ABC)
    assert truth_of(target, ("1", "3", "0"), ("0.2", "0.2", "0.4"), columns=ABC) == pytest.approx(
        np.array([[0.25, 0.75, 0], [0.25, 0.25, 0.5]]), abs=1e-6
    )
    message = problem_of(target, ("0", "0", "0"), ("-1", "1", "1"), ("1", "1", "1"), columns=ABC)
    assert message == (
        "train.csv has invalid values in column a: '-1' in line 3; expected a number from 0 up; only zeros in line 2;"
        " expected votes or probabilities with a positive sum"
    )


def test_numbers_are_read_exactly():
    target = RegressionTarget([], ["y"], None, True)
    assert truth_of(target, "1234567.891", "-0.1", "1e3") == [[1234567.891], [-0.1], [1000]]
    message = problem_of(target, "1", "", "nan", "inf", "1,5")
    assert message == (
        "train.csv has invalid values in column y: '' in line 3, 'nan' in line 4, 'inf' in line 5, '1,5' in line 6;"
        " expected a number"
    )
    bounded = RegressionTarget([], ["y"], [0.0, 5.0], True)
    assert truth_of(bounded, "0", "5") == [[0], [5]]
    assert problem_of(bounded, "5", "5.1").endswith("'5.1' in line 3; expected a number from 0 to 5 (target.range)")


def test_every_source_may_call_its_number_differently():
    target = RegressionTarget([], ["y"], None, True)
    more = TrainSource(table="more.csv", id="id", label="age", images="{id}")
    assert target.source_columns(more) == ["age"]
    table = target.parse(pd.DataFrame({"age": ["3"]}), more, Path("more.csv"))
    assert list(table) == target.columns == ["t_y"]


# Losses


def test_losses_equal_hand_computed_values():
    third = np.log(3)
    assert SingleLabelTarget(ABC).loss(np.array([0, 2]), np.full((2, 3), 1 / 3)) == pytest.approx(third)
    yes = BinaryTarget(["0", "1"]).loss(np.array([1, 0]), np.array([[0.8], [0.4]]))
    assert yes == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)
    labels = MultiLabelTarget(["a", "b"]).loss(np.array([[1.0, 0.0]]), np.array([[0.5, 0.1]]))
    assert labels == pytest.approx(-(np.log(0.5) + np.log(0.9)) / 2)
    # Class b of a, b, c: above a with probability 0.8, not above b with 0.7.
    ordinal = OrdinalTarget(ABC).loss(np.array([1]), np.array([[0.2, 0.5, 0.3]]))
    assert ordinal == pytest.approx(-(np.log(0.8) + np.log(0.7)) / 2)
    shares = np.array([[0.5, 0.5, 0.0]])
    soft = SoftLabelTarget(ABC)
    assert soft.loss(shares, shares) == pytest.approx(0, abs=1e-12)
    assert soft.loss(shares, np.array([[0.25, 0.75, 0.0]])) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))


def test_loss_of_numbers_does_not_depend_on_their_unit():
    metres, predicted = np.array([[1.0], [3.0], [2.0]]), np.array([[1.5], [2.5], [2.0]])
    target = RegressionTarget([], ["y"])
    expected = 0.5 / 3 / metres.var()
    assert target.loss(metres, predicted) == pytest.approx(expected)
    assert target.loss(1000 * metres + 7, 1000 * predicted + 7) == pytest.approx(expected)
    assert RegressionTarget([], ["y"], [0.0, 10.0]).loss(metres, predicted) == pytest.approx(0.5 / 3 / 100)
    assert target.loss(np.ones((2, 1)), np.zeros((2, 1))) == 1  # a column without variation


def test_certain_and_wrong_predictions_have_a_finite_loss():
    for target, truth, predictions in (
        (BinaryTarget(["0", "1"]), np.array([0]), np.array([[1.0]])),
        (MultiLabelTarget(ABC), np.array([[1.0, 0, 0]]), np.array([[0.0, 1, 1]])),
        (OrdinalTarget(ABC), np.array([0]), np.array([[0.0, 0, 1]])),
        (SoftLabelTarget(ABC), np.array([[1.0, 0, 0]]), np.array([[0.0, 0, 1]])),
    ):
        assert 10 < target.loss(truth, predictions) < 40


def test_predictions_that_do_not_sum_to_1_have_the_loss_of_those_that_do():
    predictions = np.array([[0.2, 0.5, 0.3], [0.1, 0.6, 0.3]])
    for target in (SingleLabelTarget(ABC), OrdinalTarget(ABC), SoftLabelTarget(ABC)):
        truth = np.eye(3)[[1, 2]] if target.kind == "soft_label" else np.array([1, 2])
        assert target.loss(truth, predictions * [[2], [3]]) == pytest.approx(target.loss(truth, predictions))


def test_numbers_are_scaled_by_their_range_or_by_mean_and_deviation():
    truth = np.array([[1.0, 7.0, 10.0], [3.0, 7.0, 30.0]])
    offset, scale = RegressionTarget([], ABC).offset_and_scale(truth)
    assert (offset.tolist(), scale.tolist()) == ([2, 7, 20], [1, 1, 10])
    half = RegressionTarget([], ["y"]).offset_and_scale(truth[:, :1] / 4)[1]
    assert half.tolist() == [0.25]
    offset, scale = RegressionTarget([], ABC, [1.0, 5.0]).offset_and_scale(truth)
    assert (offset.tolist(), scale.tolist()) == ([1, 1, 1], [4, 4, 4])


# Predictions


def test_averages_get_the_allowed_form():
    raw = np.array([[0.5, 1.5, 0.0], [0.0, 0.0, 0.0]])
    for target in (SingleLabelTarget(ABC), OrdinalTarget(ABC), SoftLabelTarget(ABC)):
        assert target.normalize(raw) == pytest.approx(np.array([[0.25, 0.75, 0], [1 / 3, 1 / 3, 1 / 3]]))
        assert target.normalize(np.stack([raw, raw]))[1] == pytest.approx(target.normalize(raw))
    assert MultiLabelTarget(ABC).normalize(raw).tolist() == [[0.5, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert BinaryTarget(["0", "1"]).normalize(np.array([[-0.1], [0.4], [1.1]])).tolist() == [[0.0], [0.4], [1.0]]
    assert RegressionTarget([], ABC).normalize(raw) is raw
    assert RegressionTarget([], ABC, [0.1, 1.0]).normalize(raw).tolist() == [[0.5, 1.0, 0.1], [0.1, 0.1, 0.1]]


def test_geometric_mean_treats_yes_and_no_alike():
    target = BinaryTarget(["0", "1"])
    views = np.array([[[0.9], [0.2]], [[0.5], [0.2]]])
    mean = target.geometric_mean(views)
    assert mean[1] == pytest.approx(0.2)
    assert mean[0] == pytest.approx(0.75)  # the odds 9 and 1 have the mean 3
    with pytest.raises(DataError, match="numbers have no geometric mean"):
        RegressionTarget([], ["y"]).geometric_mean(views)
    assert target.geometric_mean(1 - views) == pytest.approx(1 - mean)


def test_temperature_divides_the_logits():
    logits = np.array([[2.0, 0.0, -1.0]])
    softmax = np.exp(logits) / np.exp(logits).sum()
    cooler = np.exp(logits / 4) / np.exp(logits / 4).sum()
    assert SingleLabelTarget(ABC).with_temperature(softmax, 4) == pytest.approx(cooler)
    labels = MultiLabelTarget(ABC).with_temperature(1 / (1 + np.exp(-logits)), 0.5)
    assert labels == pytest.approx(1 / (1 + np.exp(-2 * logits)))


def test_prior_is_the_mean_of_the_training_rows():
    assert SingleLabelTarget(ABC).prior(np.array([0, 0, 2, 1])).tolist() == [0.5, 0.25, 0.25]
    assert SingleLabelTarget(ABC).prior(np.array([0, 0])).tolist() == [1, 0, 0]
    assert BinaryTarget(["0", "1"]).prior(np.array([0, 0, 0, 1])).tolist() == [0.25]
    assert RegressionTarget([], ["x", "y"]).prior(np.array([[1.0, 5], [3, 6]])).tolist() == [2, 5.5]
    assert MultiLabelTarget(["a", "b"]).prior(np.array([[1.0, 1], [0, 1]])).tolist() == [0.5, 1]


# Splitting


def test_strata_are_classes_ranges_and_rarest_labels():
    assert SingleLabelTarget(ABC).strata(np.array([2, 0])).tolist() == [2, 0]
    assert SoftLabelTarget(ABC).strata(np.array([[0.2, 0.5, 0.3]])).tolist() == [1]
    numbers = RegressionTarget([], ["y"]).strata(np.arange(200.0)[::-1, None] ** 3)
    assert numbers.tolist() == np.repeat(np.arange(10)[::-1], 20).tolist()
    assert RegressionTarget([], ["y"]).strata(np.arange(45.0)[:, None]).tolist() == [0] * 23 + [1] * 22
    assert RegressionTarget([], ["y"]).strata(np.arange(19.0)[:, None]).tolist() == [0] * 19
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0]])
    # c is the rarest (0), then b (1), then a (2); 3 is no label.
    assert MultiLabelTarget(ABC).strata(labels).tolist() == [1, 2, 1, 0, 3, 2]
    soft = np.array([[0.9, 0.4, 0.1], [0.2, 0.5, 0.0], [0.6, 0.1, 0.1]])
    assert MultiLabelTarget(ABC).strata(soft).tolist() == [2, 1, 2]


def test_features_are_labels_classes_and_ranges():
    assert MultiLabelTarget(ABC).features(np.array([[1, 0, 1]])).tolist() == [[True, False, True]]
    assert SoftLabelTarget(ABC).features(np.array([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]])).tolist() == [
        [False, True],
        [True, False],
    ]
    numbers = np.arange(40.0)
    features = RegressionTarget([], ["x", "y"]).features(np.column_stack([numbers, -numbers]))
    assert features[[0, 19, 20]].tolist() == [[True, False, False, True]] * 2 + [[False, True, True, False]]


def test_figures_and_classes_without_rows():
    target, predictions = SingleLabelTarget(ABC), np.eye(3)[[0, 2, 1, 1]]
    assert target.figures(np.array([0, 1, 1, 1]), predictions) == {"accuracy": 0.75}
    assert BinaryTarget(["0", "1"]).figures(np.array([1, 0]), np.array([[0.5], [0.4]])) == {"accuracy": 1.0}
    assert target.classes_without_rows(np.array([1, 1])) == ["a", "c"]
    labels = MultiLabelTarget(ABC)
    assert (labels.figures(predictions, predictions), labels.classes_without_rows(predictions)) == ({}, [])


def test_reports_name_classes_and_columns():
    report = SingleLabelTarget(ABC).reports(np.array([0, 1, 2]), np.eye(3))
    assert sorted(report) == ["classification_report.csv", "confusion_matrix.csv"]
    yes = BinaryTarget(["0", "1"]).reports(np.array([0, 1, 1]), np.array([[0.2], [0.7], [0.1]]))
    assert yes["confusion_matrix.csv"].to_numpy().tolist() == [["0", 1, 0], ["1", 1, 1]]
    truth, predicted = np.array([[1.0, 0], [0, 0], [1, 0]]), np.array([[0.9, 0.1], [0.2, 0.1], [0.4, 0.7]])
    (table,) = MultiLabelTarget(["a", "b"]).reports(truth, predicted).values()
    assert table["class"].tolist() == ["a", "b"]
    assert table["recall"].tolist() == [0.5, 0]
    assert table["roc_auc"].tolist() == pytest.approx([1.0, np.nan], nan_ok=True)
    assert table["support"].tolist() == [2, 0]
    (alone,) = MultiLabelTarget(["a"]).reports(truth[:, :1], predicted[:, :1]).values()
    assert alone["precision"].tolist() == [1.0]
    (errors,) = RegressionTarget([], ["x", "y"]).reports(truth, predicted).values()
    assert errors["column"].tolist() == ["x", "y"]
    assert errors["mae"].tolist() == pytest.approx([0.3, 0.3])
    assert errors["rmse"][0] == pytest.approx(np.sqrt((0.01 + 0.04 + 0.36) / 3))
    votes = SoftLabelTarget(["a", "b"]).reports(np.array([[0.6, 0.4], [0.3, 0.7]]), np.array([[0.7, 0.3], [0.8, 0.2]]))
    assert votes["confusion_matrix.csv"].to_numpy().tolist() == [["a", 1, 0], ["b", 1, 0]]
    assert len(votes) == 3
