import numpy as np
import pytest

from podium.ensemble.blend import nested_score
from podium.ensemble.methods import METHODS, BlendMethod, Stacking, make_method
from podium.errors import DataError
from podium.evaluation.metrics import METRICS

ACCURACY = METRICS["accuracy"]


def noise(rows=400, classes=4, members=3, seed=0):
    """Probabilities and labels that are independent."""
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(classes), (members, rows)), random.integers(0, classes, rows)


def test_nested_score_of_noise_is_chance_and_the_optimistic_score_is_not():
    oof, labels = noise()
    found = nested_score(Stacking("abc", ACCURACY, C=1.0), oof, labels, ACCURACY, seed=1)
    assert found.score == pytest.approx(1 / 4, abs=3 * found.standard_error)
    assert found.optimistic > 1 / 4 + 3 * found.standard_error
    assert found.standard_error == pytest.approx(np.sqrt(0.25 * 0.75 / 400), rel=0.25)


@pytest.mark.parametrize("name", ["weights", "hill_climb", "stacking"])
def test_fitted_methods_are_optimistic_on_noise(name):
    differences = []
    for seed in range(5):
        oof, labels = noise(rows=200, members=6, seed=seed)
        found = nested_score(make_method(name, list("abcdef"), METRICS["log_loss"]), oof, labels, ACCURACY, seed=seed)
        differences.append(found.optimistic - found.score)
    assert np.mean(differences) > 0


@pytest.mark.parametrize("name", ["mean", "geometric"])
def test_methods_without_fit_are_not_optimistic(name):
    oof, labels = noise()
    found = nested_score(make_method(name, list("abc"), ACCURACY), oof, labels, ACCURACY, seed=1)
    assert found.score == found.optimistic


def test_nested_score_is_that_of_its_probabilities_and_deterministic():
    oof, labels = noise()
    method = make_method("hill_climb", list("abc"), ACCURACY)
    first, again = (nested_score(method, oof, labels, ACCURACY, seed=5) for _ in range(2))
    assert first.score == ACCURACY(labels, first.probs)
    assert (first.probs == again.probs).all()
    assert first.standard_error == again.standard_error
    assert (nested_score(method, oof, labels, ACCURACY, seed=6).probs != first.probs).any()


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
    probs = nested_score(ClassShares("abc", ACCURACY), oof, labels, ACCURACY, folds=5, seed=0).probs
    # Each fold holds 2 of the 10 rows of class 1 and 8 of the 40 others: 8 of the 40 remaining rows are of class 1.
    assert probs == pytest.approx(np.tile([0.8, 0.2], (50, 1)))


def test_class_of_one_row_is_not_in_the_rows_fitted_on():
    oof, labels = noise(rows=50, classes=3)
    labels[:] = np.arange(50) % 2
    labels[17] = 2
    probs = nested_score(ClassShares("abc", ACCURACY), oof, labels, ACCURACY, folds=5, seed=0).probs
    assert probs[17, 2] == 0
    assert (probs[:, 2] > 0).sum() == 40


@pytest.mark.parametrize(
    ("name", "metric"),
    [*((name, "accuracy") for name in METHODS), *(("mean", metric) for metric in METRICS if metric != "accuracy")],
)
def test_classes_may_have_fewer_rows_than_folds(name, metric):
    oof, labels = noise(rows=12, classes=5)
    labels[:], metric = [0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 0, 1], METRICS[metric]
    found = nested_score(make_method(name, list("abc"), metric), oof, labels, metric, seed=0)
    assert np.isfinite([found.score, found.standard_error, found.optimistic]).all()
    assert found.probs.shape == (12, 5)


@pytest.mark.parametrize("folds", [1, 13])
def test_invalid_number_of_folds(folds):
    oof, labels = noise(rows=12)
    with pytest.raises(DataError, match=f"12 rows with {folds} folds"):
        nested_score(make_method("mean", list("abc"), ACCURACY), oof, labels, ACCURACY, folds=folds, seed=0)
