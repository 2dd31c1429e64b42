from functools import partial

import numpy as np
import pytest

from podium.data.targets import BinaryTarget, MultiLabelTarget, OrdinalTarget, SingleLabelTarget
from podium.ensemble.blend import members_that_add_nothing, nested_score, weight_errors
from podium.ensemble.methods import METHODS, BlendMethod, Stacking, make_method
from podium.errors import DataError
from podium.evaluation.metrics import METRICS

ACCURACY = METRICS["accuracy"]
CLASSES = SingleLabelTarget(list("abcd"))
OF_CLASSES = [name for name, metric in METRICS.items() if "single_label" in metric.targets]


def noise(rows=400, classes=4, members=3, seed=0):
    """Probabilities and labels that are independent."""
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(classes), (members, rows)), random.integers(0, classes, rows)


def test_nested_score_of_noise_is_chance_and_the_optimistic_score_is_not():
    oof, labels = noise()
    found = nested_score(Stacking("abc", ACCURACY, CLASSES, C=1.0), oof, labels, ACCURACY, seed=1)
    assert found.score == pytest.approx(1 / 4, abs=3 * found.standard_error)
    assert found.optimistic > 1 / 4 + 3 * found.standard_error
    assert found.standard_error == pytest.approx(np.sqrt(0.25 * 0.75 / 400), rel=0.25)


@pytest.mark.parametrize("name", ["weights", "hill_climb", "stacking"])
def test_fitted_methods_are_optimistic_on_noise(name):
    differences = []
    for seed in range(5):
        oof, labels = noise(rows=200, members=6, seed=seed)
        found = nested_score(
            make_method(name, list("abcdef"), METRICS["log_loss"], CLASSES), oof, labels, ACCURACY, seed=seed
        )
        differences.append(found.optimistic - found.score)
    assert np.mean(differences) > 0


@pytest.mark.parametrize("name", ["mean", "geometric"])
def test_methods_without_fit_are_not_optimistic(name):
    oof, labels = noise()
    found = nested_score(make_method(name, list("abc"), ACCURACY, CLASSES), oof, labels, ACCURACY, seed=1)
    assert found.score == found.optimistic


def test_nested_score_is_that_of_its_probabilities_and_deterministic():
    oof, labels = noise()
    method = make_method("hill_climb", list("abc"), ACCURACY, CLASSES)
    first, again = (nested_score(method, oof, labels, ACCURACY, seed=5) for _ in range(2))
    assert first.score == ACCURACY(labels, first.predictions)
    assert (first.predictions == again.predictions).all()
    assert first.standard_error == again.standard_error
    assert (nested_score(method, oof, labels, ACCURACY, seed=6).predictions != first.predictions).any()


class ClassShares(BlendMethod):
    """Predicts the shares of the classes among the rows it was fitted on."""

    name = "class_shares"

    def _fit(self, oof, labels):
        self.shares = np.bincount(labels, minlength=oof.shape[2]) / len(labels)

    def _predict(self, probs):
        return np.tile(self.shares, (probs.shape[1], 1))


def test_rows_are_predicted_by_a_blend_fitted_on_the_other_folds():
    oof, labels = noise(rows=50, classes=2)
    labels[:] = np.arange(50) < 10
    probs = nested_score(ClassShares("abc", ACCURACY, CLASSES), oof, labels, ACCURACY, folds=5, seed=0).predictions
    # Each fold holds 2 of the 10 rows of class 1 and 8 of the 40 others: 8 of the 40 remaining rows are of class 1.
    assert probs == pytest.approx(np.tile([0.8, 0.2], (50, 1)))


def test_class_of_one_row_is_not_in_the_rows_fitted_on():
    oof, labels = noise(rows=50, classes=3)
    labels[:] = np.arange(50) % 2
    labels[17] = 2
    probs = nested_score(ClassShares("abc", ACCURACY, CLASSES), oof, labels, ACCURACY, folds=5, seed=0).predictions
    assert probs[17, 2] == 0
    assert (probs[:, 2] > 0).sum() == 40


@pytest.mark.parametrize(
    ("name", "metric"),
    [*((name, "accuracy") for name in METHODS), *(("mean", metric) for metric in OF_CLASSES if metric != "accuracy")],
)
def test_classes_may_have_fewer_rows_than_folds(name, metric):
    oof, labels = noise(rows=12, classes=5)
    labels[:], metric = [0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 0, 1], METRICS[metric]
    found = nested_score(make_method(name, list("abc"), metric, CLASSES), oof, labels, metric, seed=0)
    assert np.isfinite([found.score, found.standard_error, found.optimistic]).all()
    assert found.predictions.shape == (12, 5)


@pytest.mark.parametrize("folds", [1, 13])
def test_invalid_number_of_folds(folds):
    oof, labels = noise(rows=12)
    with pytest.raises(DataError, match=f"12 rows with {folds} folds"):
        nested_score(make_method("mean", list("abc"), ACCURACY, CLASSES), oof, labels, ACCURACY, folds=folds, seed=0)


@pytest.mark.parametrize("folds", [2, 12])
def test_fewest_and_most_folds(folds):
    oof, labels = noise(rows=12)
    method = make_method("mean", list("abc"), ACCURACY, CLASSES)
    found = nested_score(method, oof, labels, ACCURACY, folds=folds, seed=0)
    assert found.score == ACCURACY(labels, oof.mean(axis=0))


def labelled(rows=300, seed=0):
    """Labels, and probabilities of two members that are all too small."""
    random = np.random.default_rng(seed)
    truth = (random.random((rows, 3)) < [0.1, 0.3, 0.5]).astype(float)
    return 0.5 * np.clip(0.3 + 0.4 * truth + random.normal(0, 0.15, (2, rows, 3)), 0, 1), truth


@pytest.mark.parametrize("name", ["macro_f1", "samples_f1"])
def test_thresholds_are_fitted_together_with_the_blend(name):
    metric, target = METRICS[name], MultiLabelTarget(list("abc"))
    oof, truth = labelled()
    method = make_method("weights", ["a", "b"], metric, target)
    found = nested_score(method, oof, truth, metric, seed=0)
    assert found.score > metric(truth, found.predictions) + 0.2  # the score with thresholds of 0.5
    assert found.optimistic >= found.score - 0.02


def test_the_default_decision_is_used_where_fitted_ones_are_no_better():
    """On calibrated probabilities the best threshold is 0.5; those fitted on a few rows are off."""
    target, random = BinaryTarget(["no", "yes"]), np.random.default_rng(1)
    probs = random.random((1, 80, 1))
    truth = (random.random(80) < probs[0, :, 0]).astype(int)
    found = nested_score(make_method("mean", ["a"], ACCURACY, target), probs, truth, ACCURACY, seed=0)
    assert not found.has_fitted_decision
    assert found.score == found.optimistic == ACCURACY(truth, probs[0])


@pytest.mark.parametrize(
    ("target", "metric", "truth"),
    [
        (BinaryTarget(["no", "yes"]), "f1", np.random.default_rng(0).integers(0, 2, 60)),
        (OrdinalTarget(list("abcde")), "quadratic_kappa", np.random.default_rng(0).integers(0, 5, 60)),
    ],
)
def test_nested_score_of_decisions_on_noise_is_not_optimistic(target, metric, truth):
    gaps = []
    for seed in range(4):
        probs = np.random.default_rng(seed).dirichlet(np.ones(5), (2, 60))
        method = make_method("mean", ["a", "b"], METRICS[metric], target)
        oof = probs[:, :, : 1 if target.kind == "binary" else 5]
        found = nested_score(method, oof, truth, METRICS[metric], seed=seed)
        gaps.append(found.optimistic - found.score)
    assert min(gaps) >= 0  # 0 where the default decision is used


def members_of_quality(*signals, rows=400, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, rows)
    odds = np.exp(random.normal(size=(len(signals), rows, 4)) + np.array(signals)[:, None, None] * np.eye(4)[labels])
    return odds / odds.sum(axis=2, keepdims=True), labels


def test_a_member_that_adds_nothing_is_named():
    oof, labels = members_of_quality(2.0, 2.0, 0.0)
    make = partial(make_method, "weights", metric=METRICS["log_loss"], target=CLASSES)
    assert members_that_add_nothing(make, list("abc"), oof, labels) == ["c"]
    assert members_that_add_nothing(make, ["a"], oof[:1], labels) == []


def test_standard_errors_of_weights_are_those_of_other_rows():
    drawn = []
    for seed in range(30):
        oof, labels = members_of_quality(2.0, 2.0, 2.0, seed=seed)
        method = make_method("weights", list("abc"), ACCURACY, CLASSES)
        drawn.append(list(method.fit(oof, labels).describe()["weights"].values()))
    errors = weight_errors(method, oof, labels, seed=1)
    assert np.array(list(errors.values())) == pytest.approx(np.std(drawn, axis=0), rel=0.6)
    assert weight_errors(make_method("mean", list("abc"), ACCURACY, CLASSES), oof, labels, seed=1) == {}


def test_a_score_that_is_undefined_on_some_rows_is_the_worst():
    """With a single positive row, the parts without it have no ROC AUC."""
    target, metric = BinaryTarget(["no", "yes"]), METRICS["roc_auc"]
    oof, labels = np.random.default_rng(0).random((3, 40, 1)), (np.arange(40) == 7).astype(int)
    for name, options in (("hill_climb", {}), ("mean", {"select": "auto"})):
        method = make_method(name, list("abc"), metric, target, **options)
        assert 0 <= nested_score(method, oof, labels, metric, seed=0).score <= 1
        weight_errors(method, oof, labels, seed=0)
