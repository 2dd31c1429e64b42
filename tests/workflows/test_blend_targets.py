"""Blends of every kind of target, from prediction files to a checked submission; nothing is trained."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from target_kinds import KINDS, write_competition

from podium.config.ensemble import EnsembleSettings
from podium.config.loading import load_competition
from podium.data.targets import target_of
from podium.ensemble.blend import apply_blend, blend_members, read_member
from podium.errors import RunError
from podium.evaluation.decisions import needs_decision
from podium.evaluation.metrics import metric_of
from podium.files import read_json, write_json
from podium.predictions import Predictions, read_predictions, write_predictions
from podium.runs import Run
from podium.workflows.blend import blend, describe_members, print_blend
from podium.workflows.check import check_submission
from podium.workflows.compare import compare
from podium.workflows.predict import FoldPredictions

METRICS = {"binary": "f1", "words": "samples_f1", "one_hot": "macro_f1", "ordinal": "quadratic_kappa"}
OWN = """
HIGHER_IS_BETTER = False

def score(truth, predictions):
    return abs(truth - predictions[:, 0]).mean()
"""


def noisy(target, truth, noise):
    """Predictions around the truth, too close to the middle."""
    width = len(target.outputs)
    if target.kind == "regression":
        return truth + noise * 20
    if truth.ndim == 1 and width > 1:
        truth = np.eye(width)[truth]
    return target.normalize(0.3 * truth.reshape(len(truth), width) + 0.2 + noise)


@pytest.fixture
def predicted(tmp_path, monkeypatch):
    """`predicted(kind, **changes)`: predictions of two members on two folds, as files."""
    monkeypatch.chdir(tmp_path)

    def made(name, **changes):
        keys = {"metric": METRICS[name]} if name in METRICS else {}
        path = write_competition(tmp_path, name, train=60, test=12, **keys | changes)
        competition = load_competition(path)
        target, data = target_of(competition), tmp_path / "data"
        table = pd.read_csv(data / "train.csv", dtype=str, keep_default_na=False)
        answers = target.parse(table, competition.train, data / "train.csv")
        truth, folds = target.truth(answers), np.arange(len(table)) % 2
        test_ids = pd.read_csv(data / "sample_submission.csv", dtype=str)["id"].tolist()
        random, found = np.random.default_rng(0), []
        for member in ("wide", "narrow"):
            values = noisy(target, truth, random.normal(0, 0.05, (len(table), len(target.outputs))))
            for fold in (0, 1):
                rows = np.flatnonzero(folds == fold)
                folder = tmp_path / "runs" / f"{member}-1a" / f"fold{fold}" / "predictions-2b"
                ids = table["id"].iloc[rows].tolist()
                own = answers.iloc[rows].reset_index(drop=True)
                write_predictions(folder / "oof.csv", Predictions(ids, target.outputs, values[rows], own, folds[rows]))
                test = values[random.permutation(len(values))[: len(test_ids)]]
                write_predictions(folder / "test.csv", Predictions(test_ids, target.outputs, test))
                write_json(folder / "predictions.json", {"metric": competition.metric, "score": 0.0})
                sample = data / competition.submission.sample
                found.append(
                    FoldPredictions(member, fold, folder, {"digest": "c3"}, competition, sample, tmp_path / "runs")
                )
        return found

    return made


@pytest.mark.parametrize("name", KINDS)
def test_blend_of_every_kind_is_scored_compared_written_and_valid(name, predicted, tmp_path, capsys):
    predictions = predicted(name)
    competition = predictions[0].competition
    made = blend(predictions, "weights")
    metric = metric_of(competition)
    assert made.scores.loc["blend", "all rows"] == made.score
    best = max if metric.higher_is_better else min
    assert metric.better(made.score, best(made.scores.loc[["wide", "narrow"], "all rows"])) or made.score > 0.9
    path = made.write_submission()
    assert check_submission(path, competition, sample=predictions[0].sample) == []
    print_blend(made, Console(width=200))
    out = capsys.readouterr().out
    decision = made.decision
    assert (decision is not None) == metric.takes_answers
    assert ("thresholds: " in out) == bool(decision and decision.thresholds)
    fits = needs_decision(metric, target_of(competition).kind)
    assert ("decision: " in out) == (fits and not (decision.thresholds or decision.cut_points))
    assert ("cut points: " in out) == bool(decision and decision.cut_points)
    again = blend(predictions, "mean", name="other")
    found = compare([made.path, again.path], folder=tmp_path / "runs")
    assert found.metric == competition.metric
    assert (found.differences[0].mcnemar is None) == (target_of(competition).truth_is_class is False)


def test_thresholds_decide_what_is_written(predicted, monkeypatch, capsys):
    predictions = predicted("one_hot")
    made = blend(predictions, "mean")
    assert made.decision.thresholds
    assert max(made.decision.thresholds) < 0.5  # all probabilities are below
    written = pd.read_csv(made.write_submission(), index_col="id")
    assert set(written.to_numpy().ravel()) == {0, 1}
    test = made.test.to_numpy() >= made.decision.thresholds
    assert (written.to_numpy() == test).all()
    monkeypatch.setattr("podium.workflows.blend.MOST_SHOWN", 2)
    print_blend(made, Console(width=200))
    assert "thresholds: 3 from 0." in capsys.readouterr().out
    facts = read_json(made.path / "blend.json")
    assert facts["decision"]["thresholds"] == list(made.decision.thresholds)


def read(predictions, name, folds=(0, 1)):
    """A member, as the blend reads it."""
    chosen = [fold for fold in predictions if fold.member == name and fold.fold in folds]
    return read_member(name, [(fold.fold, fold.path) for fold in chosen], chosen[0].competition, seed=0)


def test_a_member_has_the_scores_of_its_folds_and_their_spread(predicted):
    predictions = predicted("single_label", metric="log_loss")
    competition, member = predictions[0].competition, read(predictions, "wide")
    metric, target = metric_of(competition), target_of(competition)
    of_fold = [read_predictions(fold.path / "oof.csv") for fold in predictions[:2]]
    expected = [metric(target.truth(oof.known_truth), oof.values) for oof in of_fold]
    assert member.fold_scores == pytest.approx(expected)
    assert member.spread == pytest.approx(abs(expected[0] - expected[1]) / np.sqrt(2))
    assert np.isnan(read(predictions, "wide", folds=[0]).spread)


def test_members_of_other_rows_cannot_be_blended(predicted):
    predictions = predicted("single_label")
    members = [read(predictions, "wide"), read(predictions, "narrow", folds=[0])]
    settings = EnsembleSettings(members=["wide", "narrow"])
    message = r"narrow and wide were validated on different rows \(30 and 60\); expected the same folds"
    with pytest.raises(RunError, match=message):
        blend_members(members, settings, predictions[0].competition)


@pytest.mark.parametrize(
    ("select", "adds_nothing", "left_out"), [("all", ["wide", "again"], None), ("auto", [], ["wide"])]
)
def test_members_that_add_nothing_are_named_unless_they_are_left_out(predicted, select, adds_nothing, left_out):
    predictions = predicted("single_label", metric="log_loss")
    wide = read(predictions, "wide")
    settings = EnsembleSettings(members=["wide", "again"], select=select)
    made = blend_members([wide, replace(wide, name="again")], settings, predictions[0].competition)
    assert made.blend["adds_nothing"] == adds_nothing
    assert made.blend.get("left_out") == left_out
    line = (
        "the blend scores as well without any one of wide, again; select: auto leaves out such members, one at a time"
    )
    assert (line in describe_members(made.blend)) == (select == "all")


@pytest.mark.parametrize("select", ["all", "auto"])
@pytest.mark.parametrize("method", ["mean", "geometric", "rank_mean", "weights"])
def test_other_rows_are_blended_as_the_test_rows_were(predicted, method, select):
    predictions = predicted("single_label", metric="log_loss")
    competition, members = predictions[0].competition, [read(predictions, name) for name in ("wide", "narrow")]
    settings = EnsembleSettings(members=["wide", "narrow"], blend=method, select=select, calibrate=True)
    made = blend_members(members, settings, competition)
    used = [member for member in members if member.name not in made.blend.get("left_out", [])]
    parts = ({member.name: getattr(member, part) for member in used} for part in ("oof", "test"))
    again = apply_blend({**made.blend, **settings.blending}, competition, *parts)
    np.testing.assert_allclose(again.values, made.test.values, atol=1e-12)
    assert (again.ids, again.outputs) == (made.test.ids, made.test.outputs)


@pytest.mark.parametrize(("method", "key"), [("mean", "weights"), ("mean", "calibrate"), ("stacking", "C")])
def test_a_description_of_a_blend_that_lacks_a_key_is_named(predicted, method, key):
    predictions = predicted("one_hot")
    competition, member = predictions[0].competition, read(predictions, "wide")
    settings = EnsembleSettings(members=["wide"], blend=method)
    described = {**blend_members([member], settings, competition).blend, **settings.blending}
    del described[key]
    with pytest.raises(RunError, match=f"has no '{key}', which podium blend writes"):
        apply_blend(described, competition, {"wide": member.oof}, {"wide": member.test})


def test_a_csv_of_models_that_were_trained_on_some_rows_says_so(predicted):
    predictions = predicted("one_hot")
    Run(predictions[0].path.parent).update_state(limit=60)
    assert "_limit-60__" in blend(predictions, "mean").write_submission().name


def test_one_member_alone_scores_the_same_as_its_blend(predicted):
    predictions = predicted("one_hot")
    alone = blend([fold for fold in predictions if fold.member == "wide"], "mean")
    assert alone.scores.loc["wide", "all rows"] == alone.score


def test_whole_numbers_are_written_where_the_metric_wants_them(predicted, tmp_path):
    predictions = predicted("number", metric="quadratic_kappa", target={"kind": "regression", "range": [1900, 1990]})
    written = pd.read_csv(blend(predictions, "mean").write_submission(), dtype=str)
    assert all(cell.isdecimal() for cell in written["answer"])


def test_own_metric_selects_and_scores_a_blend(predicted, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    predictions = predicted("binary", metric="mine.py:score", submission={"label": "answer", "id": "id"} | {
        "sample": "sample_submission.csv"
    })  # fmt: skip
    made = blend(predictions, {"method": "hill_climb", "rounds": 3})
    assert 0 < made.score < 0.5
    assert made.decision is None
    (tmp_path / "mine.py").unlink()  # its code is in blend.json
    other = blend(predictions, "mean", name="other")
    found = compare([made.path, other.path], folder=tmp_path / "runs")
    assert found.metric == "mine.py:score"
    assert not found.higher_is_better
    assert json.loads((made.path / "blend.json").read_text())["config"]["metric_code"] == OWN


def test_a_method_that_does_not_fit_is_one_line(predicted):
    from podium.errors import ConfigError

    with pytest.raises(
        ConfigError, match="geometric does not fit the target regression; expected one of mean, weights"
    ):
        blend(predicted("number"), "geometric")
