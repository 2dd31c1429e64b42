"""Predictions from the nearest training images, and image sizes of test-time augmentation."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from podium.config.loading import load_member
from podium.config.member import Neighbours
from podium.data.folds import stratified_halves
from podium.data.targets import SingleLabelTarget
from podium.errors import RunError
from podium.evaluation.metrics import METRICS
from podium.inference import neighbours
from podium.inference.neighbours import LabelledFeatures, NeighbourPredictor, normalized
from podium.inference.sized_predictor import load_trained_model
from podium.inference.tta import ViewSelection
from podium.options import RunOptions
from podium.predictions import read_predictions
from podium.runs import Run
from podium.workflows.fold_runs import fold_runs
from podium.workflows.predict import predict_fold
from podium.workflows.predict_images import model_of, predict_to_file
from podium.workflows.prepare import prepare
from podium.workflows.train import train_if_needed, trained_twin

QUIET = Console(quiet=True)
STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 8, "image_size": 32, "learning_rate": 0.003}


@pytest.fixture(scope="module")
def trained(make_tiny_competition, tmp_path_factory):
    """A function that gives fold 0 of a member with these keys; only the first one is trained."""
    root = tmp_path_factory.mktemp("neighbours")
    competition = make_tiny_competition(root / "tiny")
    options = RunOptions(data=competition.folder, runs=root / "runs", folds=(0,))
    prepared = prepare(competition.competition, options, QUIET)

    def run_of(name, **keys):
        one = fold_runs(
            load_member(competition.member(name, stages=[STAGE], precision="float32", **keys)), prepared, options
        )[0]
        train_if_needed(one, QUIET)
        return one

    run_of("first")
    return run_of


class Features:
    def predict(self, features):
        return features


def votes(count, temperature=0.1, each=(1.0, 1.0, 1.0)):
    features = normalized(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]))
    known = LabelledFeatures(features, np.eye(3, dtype=np.float32), np.array(each, np.float32))
    settings = Neighbours(count=count, temperature=temperature)
    return NeighbourPredictor(Features(), known, settings).predict(np.array([[3.0, 0.0], [0.0, 0.5], [1.0, 1.0]]))


def test_one_neighbour_decides_alone_and_all_by_their_similarity():
    assert votes(1)[:2].tolist() == [[1, 0, 0], [0, 0, 1]]
    every = votes(50)
    cosine = 0.9 / np.hypot(0.9, 0.1)
    weights = np.exp(np.array([1.0, cosine, 0.0]) / 0.1)
    np.testing.assert_allclose(every[0], weights / weights.sum(), rtol=1e-4)
    np.testing.assert_allclose(votes(3, temperature=1e6), np.full((3, 3), 1 / 3), rtol=1e-4)
    np.testing.assert_allclose(votes(3, temperature=1e6, each=(2, 1, 1)), [[0.5, 0.25, 0.25]] * 3, rtol=1e-4)


def test_images_are_compared_in_parts(monkeypatch):
    whole = votes(2)
    monkeypatch.setattr(neighbours, "MOST_SIMILARITIES", 3)
    np.testing.assert_array_equal(votes(2), whole)


FEATURES = LabelledFeatures(np.ones((3, 2), np.float32), np.eye(3, dtype=np.float32), np.ones(3, np.float32))


def test_features_are_read_as_they_were_saved_for_the_same_weights(tmp_path):
    FEATURES.save(tmp_path / "a.npz", "one")
    known = LabelledFeatures.load(tmp_path / "a.npz", "one", 2, 3)
    np.testing.assert_array_equal(known.features, FEATURES.features)
    assert LabelledFeatures.load(tmp_path / "a.npz", "another", 2, 3) is None


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def compress(path):
    np.savez_compressed(path, **np.load(path))


def drop_votes(path):
    np.savez(path, **{name: array for name, array in np.load(path).items() if name != "votes"})


def add_texts(path):
    np.savez(path, **{**np.load(path), "votes": np.array(["a", "b", "c"])})


@pytest.mark.parametrize(
    ("damage", "features", "message"),
    [
        (cut, 2, "not a complete zip of arrays"),
        (lambda path: path.write_bytes(b"garbage"), 2, "not a complete zip of arrays"),
        (compress, 2, "it is compressed"),
        (drop_votes, 2, "it has no votes"),
        (add_texts, 2, "expected numbers"),
        (lambda path: None, 5, "expected 5 features"),
    ],
)
def test_damaged_features_are_an_error(damage, features, message, tmp_path):
    FEATURES.save(tmp_path / "a.npz", "one")
    damage(tmp_path / "a.npz")
    with pytest.raises(RunError, match=rf"a\.npz cannot be read \(.*{message}.*delete it"):
        LabelledFeatures.load(tmp_path / "a.npz", "one", features, 3)


@pytest.mark.slow
def test_a_member_with_neighbours_takes_the_weights_of_its_twin_and_predicts_its_labels(trained):
    first, near = trained("first"), trained("near", neighbours={"count": 3})
    assert near.path != first.path
    assert near.run.best_weights.read_bytes() == first.run.best_weights.read_bytes()
    assert near.run.history.read_bytes() == first.run.history.read_bytes()
    predict_fold(near, QUIET)
    oof = read_predictions(near.predictions / "oof.csv")
    model, size = load_trained_model(near.run, near.member)
    assert size == 32
    known = LabelledFeatures.load(
        near.run.neighbours(32), near.run.state["best"]["digest"], model.get_layer("probabilities").input.shape[1], 4
    )
    assert known.labels.sum(axis=0).tolist() == [3.0] * 4  # 12 training rows of 4 classes
    np.testing.assert_allclose(np.linalg.norm(known.features, axis=1), 1, atol=1e-3)
    assert known.features.shape[1] == model.get_layer("probabilities").input.shape[1]
    np.testing.assert_allclose(oof.values.sum(axis=1), 1, atol=1e-6)
    assert (np.count_nonzero(oof.values, axis=1) <= 3).all()


@pytest.mark.slow
def test_new_images_are_predicted_by_the_features_in_the_run_folder(trained, monkeypatch):
    near = trained("near2", neighbours={"count": 5})
    folder = near.prepared.rows.folder / "test_upload"
    with pytest.raises(RunError, match=r"has no neighbours-32.npz yet: run podium predict without --images first"):
        predict_to_file(model_of([near]), folder, None, near.options.data, QUIET)
    predict_fold(near, QUIET)
    again = predict_to_file(model_of([near]), folder, None, near.options.data, QUIET)
    test = read_predictions(near.predictions / "test.csv")
    order = [again.ids.index(name) for name in test.ids]
    np.testing.assert_allclose(again.values[order], test.values, atol=1e-6)


@pytest.mark.slow
def test_the_best_image_size_is_chosen_and_used_for_the_test_images(trained):
    sized = trained("sized", tta={"views": ["identity"], "image_sizes": [32, 48]})
    predict_fold(sized, QUIET)
    facts = json.loads((sized.predictions / "predictions.json").read_text())
    scores = {int(size): score for size, score in facts["scores_of_sizes"].items()}
    assert facts["image_size"] == max(scores, key=scores.get)
    used = trained("used", tta={"views": ["identity"], "image_sizes": [facts["image_size"]]})
    predict_fold(used, QUIET)
    test, expected = (read_predictions(one.predictions / "test.csv").values for one in (sized, used))
    np.testing.assert_allclose(test, expected, atol=1e-6)
    folder = sized.prepared.rows.folder / "test_upload"
    again = predict_to_file(model_of([sized]), folder, None, sized.options.data, QUIET)
    np.testing.assert_allclose(np.sort(again.values, axis=0), np.sort(test, axis=0), atol=1e-6)


def test_a_size_is_scored_on_the_rows_that_it_was_not_chosen_on():
    """Of two sizes, each right on half of the rows: chosen on the wrong half, both score 0."""
    metric = METRICS["accuracy"]
    selection = ViewSelection(SingleLabelTarget(["a", "b"]), metric, "arithmetic")
    truth = np.array([0, 1] * 20)
    halves = stratified_halves(selection.target.strata(truth), 5)
    right, wrong = np.eye(2)[truth], np.eye(2)[1 - truth]
    sizes = [np.where(halves[:, None] == half, right, wrong)[None] for half in (0, 1)]
    assert metric(truth, selection.average_chosen(sizes, truth, 5)) == 0.0
    assert selection.choose_size([sizes[0], right[None]], truth, choose_views=False) == (1, [0])


def test_a_run_whose_rate_was_changed_is_no_twin(trained):
    near = trained("first2")
    elsewhere = replace(near, run=Run(near.path.parents[1] / "elsewhere" / "fold0"))
    assert trained_twin(elsewhere) is not None
    for path in near.options.runs.glob(f"*-{near.resolved['digest']}/fold0"):
        Run(path).update_state(changes=1)
    assert trained_twin(elsewhere) is None
