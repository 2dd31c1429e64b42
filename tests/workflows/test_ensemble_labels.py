"""Members that are trained on labels by an ensemble: pseudo-labels, a teacher, hard examples."""

import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from podium.config.loading import load_member
from podium.errors import BundleError, ConfigError, RunError, TrainingDivergedError
from podium.kernel import building
from podium.kernel.building import KernelBuilder, make_job
from podium.kernel.metadata import Machine
from podium.options import RunOptions
from podium.predictions import Predictions, read_predictions, write_predictions
from podium.workflows import search
from podium.workflows.fold_runs import fold_images, fold_runs, rows_to_predict
from podium.workflows.prepare import prepare

CLASSES = ["0", "1", "2", "3"]
WRONG = ["0004.jpg", "0009.jpg", "0017.jpg"]
"""The ensemble takes them for the next class."""


@pytest.fixture
def labelled(tiny_competition, tmp_path):
    """`labelled(**keys of a member)`: its two folds; runs/pseudo/cars has labels as by `podium pseudo`."""

    def make(**changes):
        member = load_member(tiny_competition.member(**changes))
        options = RunOptions(data=tiny_competition.folder, runs=tmp_path / "runs")
        prepared = prepare(member.competition, options, Console(quiet=True), [member])
        return fold_runs(member, prepared, options)

    plain = make()
    rows, folder = plain[0].prepared.rows.train, tmp_path / "runs" / "pseudo" / "cars"
    answers = rows["label"].astype(int).to_numpy() + rows["id"].isin(WRONG).to_numpy()
    oof = 0.6 * np.eye(4)[answers % 4] + 0.1
    folds = plain[0].prepared.folds.of_row.astype(int)
    write_predictions(folder / "oof.csv", Predictions(rows["id"].tolist(), CLASSES, oof, rows[["label"]], folds))
    make.ids, make.shares = list(tiny_competition.answers), {}
    for fold in (0, 1):
        make.shares[fold] = np.random.default_rng(fold).dirichlet(np.ones(4), len(make.ids))
        write_predictions(folder / f"fold-{fold}.csv", Predictions(make.ids, CLASSES, make.shares[fold]))
    make.folder, make.plain = folder, plain
    return make


def own_rows(labelled, fold):
    return fold_images(labelled.plain[fold])[0]


def test_each_fold_is_trained_on_the_labels_of_its_own_models(labelled):
    for fold, run in enumerate(labelled(extra=[{"pseudo": "cars", "weight": 0.5}])):
        (training, validation), own = fold_images(run), own_rows(labelled, fold)
        count = len(own.paths)
        assert list(training.paths)[:count] == list(own.paths)
        assert [path.name for path in list(training.paths)[count:]] == labelled.ids
        np.testing.assert_allclose(training.labels[count:], labelled.shares[fold], rtol=1e-6)
        np.testing.assert_array_equal(training.labels[:count], np.eye(4)[own.truth])
        assert training.weights.tolist() == [1] * count + [0.5] * len(labelled.ids)
        assert list(validation.paths) == list(fold_images(labelled.plain[fold])[1].paths)


def test_hard_labels_need_no_shares(labelled):
    write_predictions(labelled.folder / "fold-0.csv", Predictions(labelled.ids[2:4], CLASSES, np.eye(4)[[3, 1]]))
    training, _ = fold_images(labelled(extra=[{"pseudo": "cars"}])[0])
    assert (training.labels, training.weights) == (None, None)
    assert training.truth[-2:].tolist() == [3, 1]
    assert [path.name for path in list(training.paths)[-2:]] == labelled.ids[2:4]


def test_teacher_mixes_the_truth_with_its_out_of_fold_predictions(labelled):
    training, _ = fold_images(labelled(teacher={"ensemble": "cars", "weight": 0.75})[0])
    own = own_rows(labelled, 0)
    oof = read_predictions(labelled.folder / "oof.csv")
    of_row = dict(zip(oof.ids, oof.values, strict=True))
    for path, truth, label in zip(training.paths, training.truth, training.labels, strict=True):
        np.testing.assert_allclose(label, 0.25 * np.eye(4)[truth] + 0.75 * of_row[path.name], rtol=1e-6)
    assert training.truth.tolist() == own.truth.tolist()
    flat, _ = fold_images(labelled(teacher={"ensemble": "cars", "weight": 1.0, "temperature": 2})[0])
    expected = np.sqrt([0.7, 0.1, 0.1, 0.1]) / np.sqrt([0.7, 0.1, 0.1, 0.1]).sum()
    np.testing.assert_allclose(np.sort(flat.labels[0])[::-1], expected, rtol=1e-6)


def test_rows_that_the_teacher_has_not_predicted_keep_the_truth(labelled):
    path = labelled.folder / "oof.csv"
    pd.read_csv(path, dtype=str).iloc[:6].to_csv(path, index=False)
    training, _ = fold_images(labelled(teacher={"ensemble": "cars", "weight": 1.0})[0])
    is_sure = (training.labels == 1).any(axis=1)
    names = [path.name for path in training.paths]
    assert is_sure.tolist() == [name >= "0006.jpg" for name in names]


def test_labels_of_rows_need_their_folds(labelled):
    path = labelled.folder / "oof.csv"
    pd.read_csv(path, dtype=str).drop(columns=["label", "fold"]).to_csv(path, index=False)
    with pytest.raises(RunError, match=r"oof\.csv has no columns of the truth and fold; run podium pseudo again"):
        labelled(teacher={"ensemble": "cars"})


def test_labels_of_other_classes_are_an_error(labelled):
    path = labelled.folder / "oof.csv"
    pd.read_csv(path, dtype=str).drop(columns=["p_3"]).to_csv(path, index=False)
    with pytest.raises(RunError, match="predictions of 0, 1, 2 instead of 0, 1, 2, 3"):
        labelled(teacher={"ensemble": "cars"})


def test_rows_that_the_ensemble_gets_wrong_occur_several_times(labelled):
    for fold, run in enumerate(labelled(hard={"ensemble": "cars", "times": 3}, extra=[{"pseudo": "cars"}])):
        names = [path.name for path in fold_images(run)[0].paths]
        own = [path.name for path in own_rows(labelled, fold).paths]
        assert names[: len(own)] == own
        wrong = [name for name in own if name in WRONG]
        assert names[len(own) + len(labelled.ids) :] == [name for name in wrong for _ in range(2)]


def test_hard_examples_have_one_vote_as_neighbours(labelled):
    near, _ = labelled(hard={"ensemble": "cars", "times": 3}, neighbours={})
    assert list(rows_to_predict(near).training.paths) == list(own_rows(labelled, 0).paths)


def test_name_of_a_run_depends_on_the_labels(labelled):
    def names():
        keys = ({"extra": [{"pseudo": "cars"}]}, {"teacher": {"ensemble": "cars"}}, {"hard": {"ensemble": "cars"}})
        return [labelled(**changes)[0].path.parent.name for changes in keys]

    before = names()
    assert before == names()
    assert len({*before, labelled.plain[0].path.parent.name}) == 4
    write_predictions(labelled.folder / "fold-1.csv", Predictions(labelled.ids, CLASSES, labelled.shares[0]))
    pseudo, *others = names()
    assert pseudo != before[0]
    assert others == before[1:]


def test_labels_that_were_made_with_other_folds_are_refused(labelled):
    table = pd.read_csv(labelled.folder / "oof.csv", dtype=str)
    table.loc[3, "fold"] = str(1 - int(table.loc[3, "fold"]))
    table.to_csv(labelled.folder / "oof.csv", index=False)
    for keys in ({"extra": [{"pseudo": "cars"}]}, {"teacher": {"ensemble": "cars"}}):
        with pytest.raises(RunError, match=r"made with other folds than .*\(0003\.jpg\): its models have seen rows"):
            labelled(**keys)


def test_missing_labels_are_one_line(labelled):
    with pytest.raises(RunError, match=r"no labels of the ensemble trains: looked for .*; make them with"):
        labelled(extra=[{"pseudo": "trains"}])
    (labelled.folder / "fold-1.csv").unlink()
    first, second = labelled(extra=[{"pseudo": "cars"}])
    fold_images(first)
    with pytest.raises(RunError, match="has no labels for fold 1"):
        fold_images(second)


def test_keys_that_do_not_fit_are_problems_of_the_config(tiny_competition):
    with pytest.raises(ConfigError, match="write cars, and run podium pseudo first"):
        load_member(tiny_competition.member(teacher={"ensemble": "../ensembles/cars.yaml"}))
    train = {"table": "train.csv", "images": "train/{id}"}
    tiny_competition.change(target="regression", metric="rmse", classes={}, train=train)
    teacher, hard = {"ensemble": "cars", "temperature": 2.0}, {"ensemble": "cars"}
    with pytest.raises(ConfigError, match=r"(?s)teacher.temperature: numbers have no.*hard: predictions of regression"):
        load_member(tiny_competition.member(teacher=teacher, hard=hard))


def test_labels_are_packed_unless_they_are_too_large_or_in_a_dataset(labelled, tiny_competition, tmp_path, monkeypatch):
    def build(**changes):
        config = tiny_competition.member(**changes)
        return KernelBuilder([config], Machine("none"), tmp_path / "runs").assemble(make_job(config))

    packed = build(extra=[{"pseudo": "cars"}])
    names = ["pseudo/cars/fold-0.csv", "pseudo/cars/fold-1.csv", "pseudo/cars/oof.csv"]
    assert [name for name in sorted(packed.bundle.sizes) if name.startswith("pseudo/")] == names
    attached = build(extra=[{"pseudo": "kaggle-dataset:ada/cars-labels"}])
    assert attached.metadata["dataset_sources"] == ["ada/cars-labels"]
    assert not any(name.startswith("pseudo/") for name in attached.bundle.sizes)
    with pytest.raises(BundleError, match="the labels of the ensemble trains are not in"):
        build(hard={"ensemble": "trains"})
    monkeypatch.setattr(building, "MOST_LABELS", 100)
    with pytest.raises(BundleError, match="too many for a script: upload their folder with podium data push"):
        build(teacher={"ensemble": "cars"})


def test_command_labels_the_test_images_of_every_fold(finished_ensemble, podium_in, tmp_path):
    finished_ensemble.copy_to(tmp_path)
    data = ("--data", finished_ensemble.competition.folder)
    ended = podium_in(tmp_path, "pseudo", finished_ensemble.ensemble, *data)
    assert ended.code == 0, ended.err
    folder = tmp_path / "runs" / "pseudo" / "ensemble"
    facts = json.loads((folder / "pseudo.json").read_text())
    assert facts["labels"] == "soft"
    assert set(facts["folds"]) == {"0", "1"}
    for fold, of_fold in facts["folds"].items():
        assert read_predictions(folder / f"fold-{fold}.csv").ids == list(finished_ensemble.competition.answers)
        assert f"fold {fold}: soft labels of 8 of 8 images, temperature {of_fold['temperature']:.3f}" in ended.out
    assert len(read_predictions(folder / "oof.csv").ids) == 24
    ended = podium_in(
        tmp_path, "pseudo", finished_ensemble.ensemble, "--hard", "--threshold", 0.26, "--name", "sure", *data
    )
    assert ended.code == 0, ended.err
    assert set(np.unique(read_predictions(folder.with_name("sure") / "fold-0.csv").values)) <= {0, 1}
    ended = podium_in(tmp_path, "pseudo", finished_ensemble.ensemble, "--threshold", 0.9)
    assert ended.code == 2


def test_trials_of_a_search_find_the_labels(labelled, tiny_competition, tmp_path, monkeypatch):
    """Their own runs are in a folder of the search."""
    file = tiny_competition.member(
        extra=[{"pseudo": "cars"}],
        hard={"ensemble": "cars", "times": 2},
        search={"stages.0.learning_rate": [0.01, 0.001]},
    )
    own, found = own_rows(labelled, 0).paths, []
    wrong = [path for path in own if path.name in WRONG]

    def diverge(run, console, resume):
        found.append(len(fold_images(run)[0].paths))
        raise TrainingDivergedError("the loss is nan")

    monkeypatch.setattr(search, "train_if_needed", diverge)
    options = RunOptions(data=tiny_competition.folder, runs=tmp_path / "runs")
    search.search_member(search.Search(file, trials=2), options, Console(quiet=True))
    assert found == 2 * [len(own) + len(labelled.ids) + len(wrong)]
