import json

import numpy as np
import pytest
from scipy.stats import rankdata

from podium.ensemble.methods import METHODS, HillClimb, Stacking, make_method
from podium.errors import ConfigError, DataError
from podium.evaluation.metrics import METRICS

ACCURACY, LOG_LOSS = METRICS["accuracy"], METRICS["log_loss"]


def noisy_members(rows=300, classes=4, signals=(1.0, 2.0, 1.5), seed=0):
    """Softmax of noise, plus a signal at the right class: the larger, the better the member."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    logits = random.normal(size=(len(signals), rows, classes))
    logits += np.array(signals)[:, None, None] * np.eye(classes)[labels]
    odds = np.exp(logits)
    return odds / odds.sum(axis=2, keepdims=True), labels


def fitted(name, oof, labels, metric=ACCURACY, **options):
    members = [f"member{number}" for number in range(len(oof))]
    return make_method(name, members, metric, **options).fit(oof, labels)


def weights_of(blender):
    return list(blender.describe()["weights"].values())


@pytest.mark.parametrize("name", METHODS)
def test_rows_sum_to_one_and_description_is_json(name):
    oof, labels = noisy_members()
    blender = fitted(name, oof, labels)
    test = noisy_members(rows=7, seed=1)[0]
    blended = blender.predict(test)
    assert blended.shape == (7, 4)
    assert (blended >= 0).all()
    assert blended.sum(axis=1) == pytest.approx(np.ones(7))
    assert json.loads(json.dumps(blender.describe()))["method"] == name


@pytest.mark.parametrize("name", METHODS)
def test_prediction_of_a_row_does_not_depend_on_other_rows(name):
    oof, labels = noisy_members()
    blender = fitted(name, oof, labels)
    test = noisy_members(rows=9, seed=1)[0]
    assert blender.predict(test[:, 4:5]) == pytest.approx(blender.predict(test)[4:5])


@pytest.mark.parametrize("name", METHODS)
def test_fitting_is_deterministic(name):
    oof, labels = noisy_members()
    assert (fitted(name, oof, labels).predict(oof) == fitted(name, oof, labels).predict(oof)).all()


@pytest.mark.parametrize("name", METHODS)
def test_blend_beats_the_worst_member_and_accepts_zeros(name):
    oof, labels = noisy_members()
    oof = np.where(oof < 0.05, 0, oof)
    blended = fitted(name, oof, labels).predict(oof)
    assert ACCURACY(labels, blended) > ACCURACY(labels, oof[0])
    assert np.isfinite(LOG_LOSS(labels, blended))


def test_mean_and_geometric_mean_equal_hand_computed_values():
    probs = np.array([[[0.9, 0.1]], [[0.5, 0.5]]])
    labels = np.array([0])
    assert fitted("mean", probs, labels).predict(probs) == pytest.approx(np.array([[0.7, 0.3]]))
    # The roots of 0.45 and 0.05 are 3 to 1.
    assert fitted("geometric", probs, labels).predict(probs) == pytest.approx(np.array([[0.75, 0.25]]))


def test_rank_mean_of_one_member_is_its_ranks():
    oof, labels = noisy_members(signals=(1.0,))
    ranks = rankdata(oof[0], axis=0) / len(labels)
    assert fitted("rank_mean", oof, labels).predict(oof) == pytest.approx(ranks / ranks.sum(axis=1, keepdims=True))


def test_rank_mean_ranks_new_rows_among_the_fitted_rows():
    oof = np.array([[[0.1, 0.9], [0.2, 0.8], [0.2, 0.8], [0.4, 0.6]]])
    blender = fitted("rank_mean", oof, np.array([0, 1, 0, 1]))
    # Below all of a column: rank 0.5. Between 0.2 and 0.4: 3.5. Above all: 4, the most there is. Equal to two: 2.5.
    unseen = np.array([[[0.0, 1.0], [0.3, 0.8]]])
    assert blender.predict(unseen) == pytest.approx(np.array([[0.5 / 4.5, 4 / 4.5], [3.5 / 6, 2.5 / 6]]))


def test_weights_go_to_a_perfect_member():
    oof, labels = noisy_members()
    perfect = np.eye(4)[labels]
    assert weights_of(fitted("weights", np.stack([oof[0], perfect, oof[1]]), labels)) == pytest.approx([0, 1, 0])


def test_weights_of_two_members_right_on_two_thirds_and_one_third():
    # Member 0 is sure and right on rows 0 and 1, member 1 on row 2: the best weights are the shares of rows.
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    oof = np.array([[right, right, wrong], [wrong, wrong, right]])
    assert weights_of(fitted("weights", oof, np.array([0, 0, 0]))) == pytest.approx([2 / 3, 1 / 3], abs=1e-4)


def test_weights_have_no_worse_log_loss_than_members_and_mean():
    oof, labels = noisy_members(signals=(0.5, 3.0, 2.5, 0.0))
    blended = LOG_LOSS(labels, fitted("weights", oof, labels).predict(oof))
    assert blended <= min(LOG_LOSS(labels, member) for member in [*oof, oof.mean(axis=0)])


def test_weights_are_positive_and_sum_to_one():
    oof, labels = noisy_members()
    weights = weights_of(fitted("weights", oof, labels))
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_hill_climb_is_never_worse_than_the_best_member_on_fitted_rows(metric):
    oof, labels = noisy_members()
    best = max if metric.higher_is_better else min
    blended = metric(labels, fitted("hill_climb", oof, labels, metric).predict(oof))
    alone = best(metric(labels, member) for member in oof)
    assert blended == pytest.approx(alone) or metric.better(blended, alone)


def test_hill_climb_starts_with_the_best_member():
    oof, labels = noisy_members()
    perfect = np.eye(4)[labels]
    assert weights_of(fitted("hill_climb", np.stack([*oof, perfect]), labels)) == [0, 0, 0, 1]
    assert weights_of(HillClimb("abc", ACCURACY, rounds=1).fit(oof, labels)) == [0, 1, 0]


def test_hill_climb_breaks_ties_by_log_loss():
    labels = np.array([0, 1])
    unsure, sure = np.full((2, 2), 0.4), np.full((2, 2), 0.1)
    unsure[[0, 1], labels], sure[[0, 1], labels] = 0.6, 0.9
    assert weights_of(fitted("hill_climb", np.stack([unsure, sure]), labels)) == [0, 1]


def test_hill_climb_combines_complementary_members():
    # Each is right on two rows of three; only together are they right on all.
    one = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    two = np.array([[0.9, 0.1], [0.4, 0.6], [0.9, 0.1]])
    labels = np.array([0, 0, 0])
    blender = fitted("hill_climb", np.stack([one, two]), labels)
    assert weights_of(blender) == [0.5, 0.5]
    assert ACCURACY(labels, blender.predict(np.stack([one, two]))) == 1


def test_stacking_learns_that_a_member_swaps_two_classes():
    labels = np.arange(300) % 3
    swapped = np.eye(3)[np.array([1, 0, 2])[labels]] * 0.7 + 0.1
    oof = swapped[None]
    assert ACCURACY(labels, oof[0]) == pytest.approx(1 / 3)
    assert ACCURACY(labels, fitted("stacking", oof, labels).predict(oof)) == 1


def test_stacking_uses_the_mean_for_classes_without_rows():
    oof, labels = noisy_members()
    known = labels != 2
    blended = fitted("stacking", oof[:, known], labels[known]).predict(oof)
    assert blended[:, 2] == pytest.approx(oof.mean(axis=0)[:, 2])


def test_stacking_of_rows_of_one_class_is_the_mean():
    oof, labels = noisy_members()
    same = labels == 1
    assert fitted("stacking", oof[:, same], labels[same]).predict(oof) == pytest.approx(oof.mean(axis=0))


def test_stacking_with_two_classes():
    oof, labels = noisy_members(classes=2)
    assert ACCURACY(labels, fitted("stacking", oof, labels).predict(oof)) > 0.8


def test_stacking_fits_closer_with_a_larger_c():
    oof, labels = noisy_members(rows=60)
    loose, tight = (Stacking("abc", ACCURACY, C=c).fit(oof, labels) for c in (10.0, 0.001))
    assert LOG_LOSS(labels, loose.predict(oof)) < LOG_LOSS(labels, tight.predict(oof))
    assert tight.describe() == {"method": "stacking", "C": 0.001, "converged": True}


def test_options_are_passed_to_the_method():
    oof, labels = noisy_members()
    assert fitted("stacking", oof, labels, C=0.5).describe()["C"] == 0.5
    assert weights_of(fitted("hill_climb", oof, labels, rounds=1)) == [0, 1, 0]


def test_unknown_method():
    with pytest.raises(ConfigError, match="no blend method 'median'; expected one of mean, geometric,"):
        make_method("median", ["a"], ACCURACY)


@pytest.mark.parametrize("name", METHODS)
def test_invalid_input_is_an_error(name):
    oof, labels = noisy_members()
    method = make_method(name, ["a", "b"], ACCURACY)
    with pytest.raises(DataError, match="the 2 members a, b"):
        method.fit(oof, labels)
    with pytest.raises(DataError, match=r"300 rows to labels of shape \(299,\)"):
        method.fit(oof[:2], labels[1:])
    with pytest.raises(DataError, match="Probabilities of b contain NaN"):
        method.fit(np.stack([oof[0], np.full_like(oof[0], np.nan)]), labels)
    with pytest.raises(DataError, match="the 2 members a, b"):
        method.fit(oof[:2], labels).predict(oof)
