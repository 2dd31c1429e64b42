"""The files that predicting with a trained run writes."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from podium.config import member as member_config
from podium.config.loading import load_member
from podium.errors import ConfigError, RunError
from podium.evaluation.metrics import METRICS
from podium.inference import predict as prediction
from podium.inference.trained import TrainedFold
from podium.options import RunOptions
from podium.predictions import read_predictions
from podium.training.run_training import train_run
from podium.workflows.fold_runs import fold_runs
from podium.workflows.predict import predict_fold
from podium.workflows.predict_images import TrainedModel, predict_to_file
from podium.workflows.prepare import prepare

QUIET = Console(quiet=True)
STAGES = [
    {"name": "small", "unfreeze": "all", "epochs": 2, "batch_size": 8, "image_size": 32, "learning_rate": 0.001},
    # Too slow to be better, so that the best weights are those of the smaller images.
    {"name": "larger", "unfreeze": "none", "epochs": 1, "batch_size": 8, "image_size": 40, "learning_rate": 1e-12},
]


@pytest.fixture(scope="module")
def trained(make_tiny_competition, tmp_path_factory):
    """Fold 0 of a narrow MobileNet, and the competition it is for."""
    root = tmp_path_factory.mktemp("predict")
    competition = make_tiny_competition(root / "tiny").change(on_bad_image="skip")
    options = RunOptions(data=competition.folder, runs=root / "runs", folds=(0,))
    path = competition.member(stages=STAGES, monitor="loss", tta=["identity", "horizontal_flip", {"scale": 1.1}])
    prepared = prepare(competition.competition, options, QUIET)
    one = fold_runs(load_member(path), prepared, options)[0]
    train_run(one, QUIET)
    return one, competition


@pytest.fixture(scope="module")
def predicted(trained):
    one, competition = trained
    predict_fold(one, QUIET)
    return one, competition


def with_views(one, *written, **settings):
    """The same run, looked at through other views."""
    tta = one.member.settings.tta.model_validate({"views": list(written)} | settings)
    member = replace(one.member, settings=one.member.settings.model_copy(update={"tta": tta}))
    return replace(one, member=member)


def facts_of(one):
    return json.loads((one.predictions / "predictions.json").read_text())


def test_predictions_are_four_files_in_the_run_folder(predicted):
    one, _ = predicted
    assert one.is_predicted
    names = sorted(path.name for path in one.predictions.iterdir())
    assert names == ["oof.csv", "predictions.json", "test.csv", "views.csv"]
    assert one.predictions.parent == one.run.path
    assert not list(one.run.path.glob(".writing*"))


def test_out_of_fold_rows_are_those_of_the_fold(predicted):
    one, competition = predicted
    oof = read_predictions(one.predictions / "oof.csv")
    table = pd.read_csv(competition.folder / "train.csv", dtype=str).set_index("Id")
    folds = pd.read_csv(one.run.folds, dtype=str).set_index("id")["fold"]
    assert oof.ids == [name for name in table.index if folds[name] == "0"]
    assert oof.truth["label"].tolist() == list(table.loc[oof.ids, "Category"])
    assert set(oof.folds) == {0}
    assert oof.outputs == ["0", "1", "2", "3"]


def test_test_rows_have_the_order_of_the_sample_submission(predicted):
    one, competition = predicted
    test = read_predictions(one.predictions / "test.csv")
    assert test.ids == list(pd.read_csv(competition.folder / "sample-submission.csv")["Id"])
    assert test.truth is None
    assert test.values.sum(axis=1) == pytest.approx(np.ones(8), abs=1e-6)


def test_facts_have_the_score_the_views_and_the_image_size(predicted):
    one, _ = predicted
    facts, oof = facts_of(one), read_predictions(one.predictions / "oof.csv")
    numbers = np.array([oof.outputs.index(label) for label in oof.truth["label"]])
    assert facts["score"] == pytest.approx(METRICS["accuracy"](numbers, oof.values))
    assert facts == {
        "score": facts["score"],
        "score_of_first_view": pytest.approx(pd.read_csv(one.predictions / "views.csv")["score"][0]),
        "metric": "accuracy",
        "settings": {"tta": one.settings.tta.model_dump(mode="json"), "neighbours": None},
        "views": ["identity", "horizontal_flip", "scale 1.1"],
        "mean": "arithmetic",
        "select": "all",
        "image_size": 32,
        "weights": hashlib.sha256(one.run.best_weights.read_bytes()).hexdigest()[:16],
        "test_rows": 8,
        "unreadable_test_images": 0,
    }


def test_image_size_is_that_of_the_best_weights(predicted):
    one, _ = predicted
    assert one.run.state["stage"] == "larger"
    assert one.run.state["best"]["image_size"] == facts_of(one)["image_size"] == 32


def test_plain_view_has_the_score_of_the_best_epoch(trained):
    one = with_views(trained[0], "identity")
    predict_fold(one, QUIET)
    oof = read_predictions(one.predictions / "oof.csv")
    numbers = np.array([oof.outputs.index(label) for label in oof.truth["label"]])
    assert METRICS["log_loss"](numbers, oof.values) == pytest.approx(one.run.state["best"]["score"], rel=1e-5)


def test_views_file_has_the_gain_of_each_view(predicted):
    one, _ = predicted
    views = pd.read_csv(one.predictions / "views.csv")
    assert list(views.columns) == ["view", "score", "gain", "standard_error", "kept"]
    assert list(views["view"]) == ["identity", "horizontal_flip", "scale 1.1", "all views"]
    assert list(views["kept"]) == [True, True, True, False]
    assert views["gain"][0] == views["standard_error"][0] == 0
    assert views["gain"].iloc[-1] == pytest.approx(views["score"].iloc[-1] - views["score"][0])


def test_views_are_averaged(trained):
    one = trained[0]
    runs = [with_views(one, *views) for views in (["identity"], ["horizontal_flip"], ["identity", "horizontal_flip"])]
    for run in runs:
        predict_fold(run, QUIET)
    first, second, both = (read_predictions(run.predictions / "test.csv").values for run in runs)
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-6)


def test_every_choice_of_views_has_its_own_folder(trained):
    one = trained[0]
    folders = {
        with_views(one, "identity").predictions,
        with_views(one, "identity", "horizontal_flip").predictions,
        with_views(one, "identity", "horizontal_flip", mean="geometric").predictions,
        replace(one, options=replace(one.options, limit_test=3)).predictions,
    }
    assert len(folders) == 4


def test_limit_predicts_the_first_test_rows(trained):
    one = with_views(trained[0], "identity")
    one = replace(one, options=replace(one.options, limit_test=3))
    predict_fold(one, QUIET)
    assert read_predictions(one.predictions / "test.csv").ids == ["0024.jpg", "0025.jpg", "0026.jpg"]
    assert facts_of(one)["test_rows"] == 3


def test_unreadable_test_image_gets_the_shares_of_the_classes(trained):
    one, competition = with_views(trained[0], "identity"), trained[1]
    bad = competition.folder / "test_upload" / "0025.jpg"
    content = bad.read_bytes()
    bad.write_bytes(b"no image")
    try:
        prepared = prepare(competition.competition, one.options, QUIET)
        one = replace(one, prepared=prepared, options=replace(one.options, limit_test=2))
        predict_fold(one, QUIET)
    finally:
        bad.write_bytes(content)
    probs = read_predictions(one.predictions / "test.csv").values
    assert probs[1] == pytest.approx([0.25] * 4)  # 24 images, 6 of each class
    assert probs[0] != pytest.approx([0.25] * 4, abs=1e-4)
    assert facts_of(one)["unreadable_test_images"] == 1


@pytest.mark.parametrize("broken", ["sized_predictor._predict_images", "predict.write_json"])
def test_interrupted_prediction_leaves_no_files(broken, trained, monkeypatch):
    one = with_views(trained[0], "identity", "horizontal_flip", mean="geometric")

    def kill(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"podium.inference.{broken}", kill)
    with pytest.raises(KeyboardInterrupt):
        predict_fold(one, QUIET)
    assert not one.predictions.exists()
    assert not one.is_predicted
    assert not list(one.run.path.glob(".writing*"))


def test_earlier_predictions_are_kept_until_new_ones_are_complete(trained, monkeypatch):
    one = with_views(trained[0], "identity")
    predict_fold(one, QUIET)
    before = (one.predictions / "test.csv").read_bytes()
    monkeypatch.setattr(prediction, "write_json", lambda *_: pytest.fail("the disk is full"))
    with pytest.raises(pytest.fail.Exception, match="disk is full"):
        predict_fold(one, QUIET)
    assert (one.predictions / "test.csv").read_bytes() == before
    assert one.is_predicted


def test_chosen_views_are_in_the_facts(trained):
    one = with_views(trained[0], "identity", "horizontal_flip", select="auto")
    predict_fold(one, QUIET)
    facts, views = facts_of(one), pd.read_csv(one.predictions / "views.csv")
    assert facts["select"] == "auto"
    assert facts["views"] == list(views["view"][views["kept"]])
    assert "identity" in facts["views"]


def test_untrained_run(trained, tmp_path):
    one = trained[0]
    untrained = replace(one, run=replace(one.run, path=Path(tmp_path) / "fold0"))
    with pytest.raises(RunError, match=r"tiny fold 0 is not trained .*run podium train with the same config"):
        predict_fold(untrained, QUIET)


def test_the_mean_of_several_image_sizes_is_that_of_all_their_views(trained):
    one, competition = trained
    views = ["identity", "horizontal_flip"]
    sizes = [with_views(one, *views, image_sizes=[size]) for size in (32, 48)]
    both = with_views(one, *views, image_sizes=[32, 48], average_sizes=True)
    for run in (*sizes, both):
        predict_fold(run, QUIET)
    for name in ("oof.csv", "test.csv"):
        *of_sizes, mean = (read_predictions(run.predictions / name).values for run in (*sizes, both))
        np.testing.assert_allclose(mean, np.mean(of_sizes, axis=0), atol=1e-6)
    facts = facts_of(both)
    assert facts["views"] == [f"{view}, {size} px" for size in (32, 48) for view in views]
    assert facts["image_size"] is None
    model = TrainedModel([TrainedFold.read(both.run, both.settings, both.predictions)])
    new = predict_to_file(model, competition.folder / "test_upload", None, competition.folder, QUIET)
    test = read_predictions(both.predictions / "test.csv")
    np.testing.assert_allclose(new.values[[new.ids.index(name) for name in test.ids]], test.values, atol=1e-6)


def test_averaging_one_size_is_a_mistake():
    with pytest.raises(ConfigError, match=r"average_sizes: expected two or more image_sizes, got 1"):
        member_config.TestTimeViews(image_sizes=[32], average_sizes=True)
