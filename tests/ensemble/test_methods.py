import json

import numpy as np
import pytest
from scipy.stats import rankdata

from podium.config.ensemble import problem_of_method
from podium.data.targets import (
    TARGETS,
    BinaryTarget,
    MultiLabelTarget,
    OrdinalTarget,
    RegressionTarget,
    SingleLabelTarget,
    SoftLabelTarget,
)
from podium.ensemble.methods import METHODS, HillClimb, Stacking, best_temperature, make_method
from podium.ensemble.rows import BlendRows
from podium.errors import ConfigError, DataError
from podium.evaluation.metrics import METRICS

ACCURACY, LOG_LOSS = METRICS["accuracy"], METRICS["log_loss"]
ABCD = list("abcd")
CLASSES = SingleLabelTarget(ABCD)
OF_CLASSES = {name: metric for name, metric in METRICS.items() if "single_label" in metric.targets}


def noisy_members(rows=300, classes=4, signals=(1.0, 2.0, 1.5), seed=0):
    """Softmax of noise, plus a signal at the right class: the larger, the better the member."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    logits = random.normal(size=(len(signals), rows, classes))
    logits += np.array(signals)[:, None, None] * np.eye(classes)[labels]
    odds = np.exp(logits)
    return odds / odds.sum(axis=2, keepdims=True), labels


def fitted(name, oof, truth, metric=ACCURACY, target=CLASSES, **options):
    members = [f"member{number}" for number in range(oof.shape[0])]
    return make_method(name, members, metric, target, **options).fit(oof, truth)


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
def test_a_described_method_is_restored(name):
    oof, labels = noisy_members()
    blender = fitted(name, oof, labels)
    described = json.loads(json.dumps(blender.describe()))
    restored = make_method(name, blender.members, ACCURACY, CLASSES).restore(described, oof, labels)
    test = noisy_members(rows=7, seed=1)[0]
    assert restored.predict(test) == pytest.approx(blender.predict(test))


def test_restored_weights_are_those_of_the_description():
    oof, labels = noisy_members()
    described = {"weights": {"b": 0.75, "a": 0.25}}
    restored = make_method("weights", ["a", "b"], ACCURACY, CLASSES).restore(described, oof[:2], labels)
    assert restored.predict(oof[:2]) == pytest.approx(0.25 * oof[0] + 0.75 * oof[1])


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


@pytest.mark.parametrize("metric", OF_CLASSES.values(), ids=OF_CLASSES)
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
    assert weights_of(HillClimb("abc", ACCURACY, CLASSES, rounds=1).fit(oof, labels)) == [0, 1, 0]


def test_hill_climb_of_numbers_averages_opposite_errors():
    truth = np.random.default_rng(0).normal(50, 20, (30, 1))
    oof = np.stack([truth + 9, truth + 1, truth - 1])
    found = fitted("hill_climb", oof, truth, METRICS["mae"], RegressionTarget([], ["y"]), rounds=4)
    assert weights_of(found) == [0, 0.5, 0.5]


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
    loose, tight = (Stacking("abc", ACCURACY, CLASSES, C=c).fit(oof, labels) for c in (10.0, 0.001))
    assert LOG_LOSS(labels, loose.predict(oof)) < LOG_LOSS(labels, tight.predict(oof))
    assert tight.describe() == {"method": "stacking", "C": 0.001, "model": "regression", "converged": True}


def test_options_are_passed_to_the_method():
    oof, labels = noisy_members()
    assert fitted("stacking", oof, labels, C=0.5).describe()["C"] == 0.5
    assert weights_of(fitted("hill_climb", oof, labels, rounds=1)) == [0, 1, 0]

    make_method("mean", ["a"], ACCURACY, CLASSES, metadata=["age"])  # it comes with the rows


def test_unknown_method():
    with pytest.raises(ConfigError, match="no blend method 'median'; expected one of mean, geometric,"):
        make_method("median", ["a"], ACCURACY, CLASSES)


@pytest.mark.parametrize("name", METHODS)
def test_invalid_input_is_an_error(name):
    oof, labels = noisy_members()
    method = make_method(name, ["a", "b"], ACCURACY, CLASSES)
    with pytest.raises(DataError, match="the 2 members a, b"):
        method.fit(oof, labels)
    with pytest.raises(DataError, match=r"300 rows to truth of shape \(299,\)"):
        method.fit(oof[:2], labels[1:])
    with pytest.raises(DataError, match="Predictions of b contain NaN"):
        method.fit(np.stack([oof[0], np.full_like(oof[0], np.nan)]), labels)
    with pytest.raises(DataError, match="the 2 members a, b"):
        method.fit(oof[:2], labels).predict(oof)


# Other targets


def cases(rows=300, signals=(1.0, 2.0, 1.5), seed=0):
    """For each kind of target: the target, a metric, predictions of members of different quality, and the truth."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(len(signals), rows, 4))
    strength = np.array(signals)[:, None, None]
    classes = random.integers(0, 4, rows)
    labels = (random.random((rows, 4)) < [0.2, 0.4, 0.5, 0.7]).astype(float)
    shares = random.dirichlet(np.ones(4), rows)
    numbers = random.normal(50, 10, (rows, 4))
    sigmoid = 1 / (1 + np.exp(-(noise + strength * (2 * labels - 1))))
    softmax = np.exp(noise + strength * np.eye(4)[classes])
    shared = np.exp(noise / 2 + strength * np.log(shares + 0.01) / 2)
    return {
        "single_label": (CLASSES, ACCURACY, softmax / softmax.sum(axis=2, keepdims=True), classes),
        "ordinal": (
            OrdinalTarget(ABCD), METRICS["quadratic_kappa"], softmax / softmax.sum(axis=2, keepdims=True), classes
        ),
        "binary": (BinaryTarget(["no", "yes"]), METRICS["roc_auc"], sigmoid[:, :, :1], labels[:, 0].astype(int)),
        "multi_label": (MultiLabelTarget(ABCD), METRICS["macro_f1"], sigmoid, labels),
        "soft_label": (
            SoftLabelTarget(ABCD), METRICS["kl_divergence"], shared / shared.sum(axis=2, keepdims=True), shares
        ),
        "regression": (
            RegressionTarget([], ABCD, [0, 100]),
            METRICS["rmse"],
            (numbers + 20 * noise / strength).clip(0, 100),
            numbers,
        ),
    }  # fmt: skip


FITTING = [(kind, name) for kind in TARGETS for name in METHODS if not problem_of_method(name, kind)]


@pytest.mark.parametrize(("kind", "name"), FITTING)
def test_every_method_that_fits_a_target_beats_its_worst_member(kind, name):
    target, metric, oof, truth = cases()[kind]
    blender = fitted(name, oof, truth, metric, target)
    _, _, new, new_truth = cases(seed=1)[kind]
    blended = blender.predict(new)
    assert blended.shape == new.shape[1:]
    assert blended == pytest.approx(target.normalize(blended))
    assert metric.better(metric(new_truth, blended), metric(new_truth, new[0]))
    assert blender.predict(new[:, 4:5]) == pytest.approx(blended[4:5])
    assert (fitted(name, oof, truth, metric, target).predict(new) == blended).all()
    assert json.loads(json.dumps(blender.describe()))["method"] == name


@pytest.mark.parametrize("kind", TARGETS)
def test_weights_and_stacking_have_a_lower_loss_than_the_mean(kind):
    target, metric, oof, truth = cases(signals=(0.3, 3.0, 0.3))[kind]
    mean = target.loss(truth, fitted("mean", oof, truth, metric, target).predict(oof))
    for name in ("weights", "stacking"):
        if not problem_of_method(name, kind):
            blender = fitted(name, oof, truth, metric, target, **({"C": 1.0} if name == "stacking" else {}))
            assert target.loss(truth, blender.predict(oof)) < mean
    weights = weights_of(fitted("weights", oof, truth, metric, target))
    assert max(weights) == weights[1]
    assert sum(weights) == pytest.approx(1)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in TARGETS for name in METHODS if (kind, name) not in FITTING]
)
def test_a_method_that_does_not_fit_is_an_error(kind, name):
    target, metric, _, _ = cases(rows=4)[kind]
    with pytest.raises(ConfigError, match=f"{name} does not fit the target {kind}; expected one of mean, "):
        make_method(name, ["a"], metric, target)


def test_geometric_mean_of_one_probability_is_that_of_yes_and_no():
    oof = np.array([[[0.9]], [[0.5]]])
    blended = fitted("geometric", oof, np.array([1]), METRICS["f1"], BinaryTarget(["no", "yes"])).predict(oof)
    assert blended == pytest.approx(np.array([[0.75]]))  # as for two columns: the roots of 0.45 and 0.05 are 3 to 1


def test_stacking_of_numbers_with_a_small_c_is_the_mean():
    target, metric, oof, truth = cases()["regression"]
    blender = fitted("stacking", oof, truth, metric, target, C=1e-9)
    assert blender.predict(oof).mean() == pytest.approx(truth.mean(), abs=0.5)
    assert np.corrcoef(blender.predict(oof).ravel(), oof.mean(axis=0).ravel())[0, 1] > 0.999


def test_stacking_of_a_label_that_all_rows_have_is_the_mean():
    target, metric, oof, truth = cases()["multi_label"]
    truth[:, 2] = 1
    blended = fitted("stacking", oof, truth, metric, target).predict(oof)
    assert blended[:, 2] == pytest.approx(oof.mean(axis=0)[:, 2])
    assert (blended[:, 1] != oof.mean(axis=0)[:, 1]).all()


# Calibration and selection


@pytest.mark.parametrize("kind", [kind for kind in TARGETS if kind != "regression"])
def test_temperatures_undo_a_change_of_the_logits(kind):
    """Members whose logits are the same but for a factor are the same again."""
    target, metric, oof, truth = cases()[kind]
    calibrated = target.with_temperature(
        oof[1], fitted("mean", oof[1:2], truth, metric, target, calibrate=True).temperatures[0]
    )
    sure = np.stack([target.with_temperature(calibrated, 1 / factor) for factor in (1, 4, 0.25)])
    blender = fitted("mean", sure, truth, metric, target, calibrate=True)
    assert blender.temperatures == pytest.approx([1, 4, 0.25], rel=0.03)
    assert blender.predict(sure) == pytest.approx(calibrated, abs=0.01)
    assert target.loss(truth, blender.predict(sure)) < target.loss(
        truth, fitted("mean", sure, truth, metric, target).predict(sure)
    )


@pytest.mark.parametrize("name", ["mean", "weights", "stacking"])
def test_a_member_of_noise_is_left_out_and_never_asked_again(name):
    oof, labels = noisy_members(signals=(2.0, 2.0, 0.0))
    oof[1] = oof[0]
    blender = fitted(name, oof, labels, LOG_LOSS, select="auto", calibrate=True)
    left_out = blender.describe()["left_out"]
    assert "member2" in left_out
    described = json.loads(json.dumps(blender.describe()))
    used = [member for member in blender.members if member not in left_out]
    restored = make_method(name, used, LOG_LOSS, CLASSES, select="auto", calibrate=True)
    kept = oof[[blender.members.index(member) for member in used]]
    assert restored.restore(described, kept, labels).predict(kept) == pytest.approx(blender.predict(oof))


@pytest.mark.parametrize("name", ["mean", "weights"])
def test_of_two_equal_members_one_is_left_out(name):
    oof, labels = noisy_members(signals=(2.0,))
    oof = np.concatenate([oof, oof]).astype(np.float32)
    blender = fitted(name, oof, labels, LOG_LOSS, select="auto")
    assert blender.describe()["left_out"] == ["member0"]
    assert blender.predict(oof).dtype == np.float64
    restored = make_method(name, blender.members, LOG_LOSS, CLASSES, select="auto")
    assert restored.restore(blender.describe(), oof, labels).predict(oof) == pytest.approx(blender.predict(oof))
    for changes in ({"select": "auto"}, {"calibrate": True}, {}):
        assert make_method(name, ["a", "b"], LOG_LOSS, CLASSES, **changes).learns == (name == "weights")


@pytest.mark.parametrize(("signal", "temperature"), [(1, 1 / 20), (-1, 20)])
def test_temperatures_are_limited(signal, temperature):
    """Members that are always right, or always wrong, could be more certain, or less, without end."""
    labels = np.arange(20) % 4
    right = np.exp(signal * np.eye(4)[labels])
    assert best_temperature(right / right.sum(axis=1, keepdims=True), labels, CLASSES) == pytest.approx(
        temperature, rel=0.02
    )


def test_selection_keeps_members_that_help():
    oof, labels = noisy_members(signals=(2.0, 2.0, 2.0))
    assert fitted("geometric", oof, labels, LOG_LOSS, select="auto").describe()["left_out"] == []


@pytest.mark.parametrize("model", ["regression", "boosting"])
@pytest.mark.parametrize("kind", [kind for kind in TARGETS if (kind, "stacking") in FITTING])
def test_every_target_is_stacked_with_missing_and_unknown_metadata(kind, model):
    target, metric, oof, truth = cases(rows=60)[kind]
    random, count = np.random.default_rng(2), len(truth)
    metadata = np.column_stack([random.normal(size=count), np.full(count, np.nan), random.integers(3, size=count)])
    metadata[::5] = np.nan
    rows = BlendRows(oof, metadata.astype(np.float32), [0, 0, 400])  # a tree splits up to 255 categories
    blender = fitted("stacking", rows, truth, metric, target, model=model)
    blended = blender.predict(rows)
    assert blended == pytest.approx(target.normalize(blended))
    assert blender.predict(rows[:, 4:5]) == pytest.approx(blended[4:5])
    unknown = blender.predict(BlendRows(oof, np.full_like(rows.metadata, np.nan), rows.sizes))
    assert unknown == pytest.approx(target.normalize(unknown))
    described = json.loads(json.dumps(blender.describe()))
    again = make_method("stacking", blender.members, metric, target).restore(described, rows, truth)
    assert (again.predict(rows) == blended).all()
