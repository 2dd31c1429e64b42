"""Labels by an ensemble tell a fold nothing about the rows that it validates on."""

import numpy as np
import pandas as pd
import pytest
from target_kinds import KINDS, write_competition

from podium.config.ensemble import EnsembleSettings
from podium.config.loading import load_competition
from podium.data.answers import are_right, confidence
from podium.data.targets import BinaryTarget, MultiLabelTarget, SingleLabelTarget, target_of
from podium.ensemble.pseudo import blend_by_fold, choose_threshold, label_test_images
from podium.errors import DataError, RunError
from podium.predictions import Predictions, read_predictions, write_predictions

FOLDS, ROWS, TEST = 3, 40, 12


@pytest.fixture
def ensemble(tmp_path):
    """`ensemble(kind)`: a competition, and the folders of predictions of two members and three folds."""

    def make(kind="single_label"):
        competition = load_competition(write_competition(tmp_path, kind, train=1, test=1))
        target, random = target_of(competition), np.random.default_rng(0)
        folders = {"sure": {}, "unsure": {}}
        colours = random.random((FOLDS * ROWS, 3))
        table = pd.DataFrame(KINDS[kind].columns(colours)).astype(str)
        truth = target.truth(target.parse(table, competition.train, tmp_path))
        encoded = target.encode(truth)[np.arange(len(truth))]
        for name, noise in (("sure", 1.1), ("unsure", 1.4)):
            for fold in range(FOLDS):
                rows, folder = slice(fold * ROWS, (fold + 1) * ROWS), tmp_path / name / f"fold{fold}"
                width = len(target.outputs)
                oof = target.normalize(encoded[rows] + noise * random.random((ROWS, width)))
                test = target.normalize(random.random((TEST, width)))
                ids, known = [f"{row}" for row in range(rows.start, rows.stop)], target.table(truth[rows])
                folds = np.full(ROWS, fold)
                write_predictions(folder / "oof.csv", Predictions(ids, target.outputs, oof, known, folds))
                write_predictions(
                    folder / "test.csv", Predictions([f"t{row}" for row in range(TEST)], target.outputs, test)
                )
                folders[name][fold] = folder
        return competition, folders

    return make


def labels_of(competition, folders, hard=False, **keys):
    settings = EnsembleSettings(members=list(folders), **keys)
    blends = blend_by_fold(folders, settings, competition)
    return {fold: part.labels for fold, part in label_test_images(blends, competition, hard=hard).items()}


def rewrite(path, change):
    table = pd.read_csv(path, dtype={"id": str, "label": str})
    change(table)
    table.to_csv(path, index=False)


def turn_labels(table):
    turned = {"red": "green", "green": "blue", "blue": "red"}
    table.loc[:3, "label"] = table.loc[:3, "label"].map(turned)


def shuffle_predictions(table):
    columns = [name for name in table if name.startswith("p_")]
    table[columns] = table[columns].to_numpy()[::-1]


@pytest.mark.parametrize("hard", [False, True])
def test_labels_of_a_fold_do_not_depend_on_its_validation_rows_or_on_models_of_other_folds(hard, ensemble):
    """The models of other folds were trained on the fold's validation rows."""
    competition, folders = ensemble()
    keys = {"blend": "weights", "calibrate": True, "hard": hard}
    before = labels_of(competition, folders, **keys)
    for folder in (folders["sure"][0], folders["unsure"][0]):
        rewrite(folder / "oof.csv", turn_labels)  # what the validation rows of fold 0 are
    for fold in (1, 2):
        rewrite(folders["sure"][fold] / "test.csv", shuffle_predictions)
    after = labels_of(competition, folders, **keys)
    assert after[0].ids == before[0].ids
    np.testing.assert_array_equal(after[0].values, before[0].values)
    for fold in (1, 2):
        assert not np.array_equal(after[fold].values, before[fold].values)


@pytest.mark.parametrize("kind", KINDS)
def test_soft_labels_of_every_kind_have_the_form_of_its_predictions(kind, ensemble):
    competition, folders = ensemble(kind)
    target = target_of(competition)
    for fold, labels in labels_of(competition, folders).items():
        assert labels.ids == [f"t{row}" for row in range(TEST)]
        np.testing.assert_allclose(labels.values, target.normalize(labels.values))
        if target.kind == "regression":  # no temperature: the mean of the members
            parts = [read_predictions(of_member[fold] / "test.csv").values for of_member in folders.values()]
            np.testing.assert_allclose(labels.values, np.mean(parts, axis=0))


@pytest.mark.parametrize("kind", ["single_label", "binary", "one_hot", "ordinal"])
def test_hard_labels_are_the_answers_from_the_threshold_on(kind, ensemble):
    competition, folders = ensemble(kind)
    target, settings = target_of(competition), EnsembleSettings(members=list(folders))
    blends = blend_by_fold(folders, settings, competition)
    for fold, part in label_test_images(blends, competition, hard=True, chosen=0.55).items():
        test = blends[fold].test
        sure = confidence(test.values, target) >= 0.55
        assert part.labels.ids == [name for name, is_sure in zip(test.ids, sure, strict=True) if is_sure]
        assert set(np.unique(part.labels.values)) <= {0.0, 1.0}
        assert np.abs(part.labels.values - test.values[sure]).max() < 0.5 + (target.head != "sigmoid") * 0.5
        assert part.facts["rows"] == (confidence(blends[fold].oof.values, target) >= 0.55).sum()


def test_numbers_have_no_hard_labels(ensemble):
    competition, folders = ensemble("number")
    with pytest.raises(DataError, match="predictions of regression are not right or wrong"):
        labels_of(competition, folders, hard=True)


def test_the_threshold_is_the_lowest_confidence_from_which_on_19_of_20_answers_are_right():
    confidence = np.linspace(1, 0.5, 101)
    right = np.ones(101, bool)
    right[[30, 50, 51, 60, 70, 71, 72]] = False
    threshold = choose_threshold(confidence, right)
    kept = confidence >= threshold
    assert right[kept].mean() >= 0.95
    lower = [right[confidence >= other].mean() for other in confidence[confidence < threshold]]
    assert not lower or max(lower) < 0.95
    assert choose_threshold(np.array([0.9, 0.9, 0.8]), np.array([True, True, False])) == 0.9
    with pytest.raises(DataError, match="not even the surest out-of-fold answers are right in 95%"):
        choose_threshold(np.array([0.9, 0.9, 0.8]), np.array([True, False, True]))  # equal ones go together


def test_right_and_sure_of_several_labels_is_the_least_sure_one():
    target, values = MultiLabelTarget(["a", "b"]), np.array([[0.9, 0.4], [0.2, 0.5]])
    assert confidence(values, target).tolist() == [0.6, 0.5]
    assert are_right(values, np.array([[1, 0], [0, 0]]), target).tolist() == [True, False]
    assert confidence(np.array([[0.2], [0.7]]), BinaryTarget(["no", "yes"])).tolist() == [0.8, 0.7]
    assert are_right(np.array([[0.2, 0.8]]), np.array([1]), SingleLabelTarget(["a", "b"])).tolist() == [True]


def test_members_need_predictions_of_the_same_folds(ensemble):
    competition, folders = ensemble()
    del folders["unsure"][2]
    with pytest.raises(RunError, match="predictions of different folds"):
        labels_of(competition, folders)


def test_ranks_are_no_probabilities(ensemble):
    competition, folders = ensemble("binary")
    ranks, mean = (labels_of(competition, folders, blend=method) for method in ("rank_mean", "mean"))
    for fold, labels in mean.items():
        np.testing.assert_array_equal(ranks[fold].values, labels.values)
