"""A blend that takes metadata, from prediction files; nothing is trained."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from target_kinds import write_competition

from podium.config.ensemble import EnsembleSettings
from podium.config.folds import GroupedFolds, StratifiedFolds, TableFolds
from podium.config.loading import load_competition
from podium.ensemble.blend import apply_blend
from podium.ensemble.pseudo import blend_by_fold
from podium.errors import ConfigError, RunError
from podium.files import read_json, write_json
from podium.predictions import Predictions, average, concatenate, read_predictions, write_predictions
from podium.workflows.blend import blend
from podium.workflows.predict import FoldPredictions

NAMES = ["red", "green", "blue"]
STACKING = {"method": "stacking", "metadata": "all", "C": 1.0}


@pytest.fixture
def predicted(tmp_path, monkeypatch):
    """Predictions of two members on two folds, which see nothing: the site is the class, and so is the age."""
    monkeypatch.chdir(tmp_path)
    columns = {"age": "number", "site": ["a", "b", "c"]}
    competition = load_competition(write_competition(tmp_path, "single_label", train=1, test=1, metadata=columns))
    random, made = np.random.default_rng(0), []
    for member in ("wide", "narrow"):
        for fold in (0, 1):
            folder = tmp_path / "runs" / f"{member}-1a" / f"fold{fold}" / "predictions-2b"
            number = np.arange(60) % 3
            ids, labels = [f"{fold}-{row}" for row in range(60)], pd.DataFrame({"label": np.array(NAMES)[number]})
            metadata = pd.DataFrame(
                {"m_age": np.where(number, number * 7.3, np.nan), "m_site": np.array([*"abc"])[number]}
            )
            values = random.dirichlet(np.ones(3), 60)
            oof = Predictions(ids, NAMES, values, labels, np.full(60, fold), metadata)
            write_predictions(folder / "oof.csv", oof)
            test = Predictions(["x", "y", "z"], NAMES, values[:3], metadata=metadata[:3])
            write_predictions(folder / "test.csv", test)
            write_json(folder / "predictions.json", {"metric": "accuracy", "score": 0.0})
            sample = tmp_path / "data" / "sample_submission.csv"
            made.append(FoldPredictions(member, fold, folder, {"digest": "c"}, competition, sample, tmp_path / "runs"))
    return made


@pytest.mark.parametrize("model", [{"C": 1.0}, pytest.param({"model": "boosting"}, marks=pytest.mark.slow)])
def test_metadata_decides_and_other_images_are_predicted_as_the_test_images_were(model, predicted):
    one_member = predicted[:2]
    made = blend(one_member, {"method": "stacking", "metadata": "all", **model})
    assert made.score > 0.95
    assert made.test.to_numpy().argmax(axis=1).tolist() == [0, 1, 2]
    oof = concatenate([read_predictions(fold.path / "oof.csv") for fold in one_member])
    test = average([read_predictions(fold.path / "test.csv") for fold in one_member])
    facts = read_json(made.path / "blend.json")["blend"]
    again = apply_blend(facts, made.competition, {"wide": oof}, {"wide": test})
    np.testing.assert_allclose(again.values, made.test, atol=1e-8)
    moved = replace(test, metadata=test.metadata.assign(m_site="c", m_age="14.6"))
    again = apply_blend(facts, made.competition, {"wide": oof}, {"wide": moved})
    assert again.values.argmax(axis=1).tolist() == [2, 2, 2]


def test_pseudo_labels_by_a_blend_with_metadata(predicted):
    folders = {name: {fold.fold: fold.path for fold in predicted if fold.member == name} for name in ("wide", "narrow")}
    settings = EnsembleSettings(members=["wide", "narrow"], blend=STACKING)
    blends = blend_by_fold(folders, settings, predicted[0].competition)
    for of_fold in blends.values():
        assert of_fold.test.values.argmax(axis=1).tolist() == [0, 1, 2]


def test_blends_of_other_categories_are_other_blends(predicted):
    columns = {"age": "number", "site": ["a", "b", "c", "d"]}
    competition = predicted[0].competition.model_copy(update={"metadata": columns})
    others = [replace(fold, competition=competition) for fold in predicted]
    assert blend(predicted, STACKING).path != blend(others, STACKING).path


def test_metadata_that_is_not_declared_or_not_predicted_is_one_line(predicted):
    with pytest.raises(ConfigError, match="'sight' is not in the competition's metadata; did you mean 'site'"):
        blend(predicted, {**STACKING, "metadata": ["sight"]})
    declared = predicted[0].competition.model_copy(update={"metadata": {"sex": ["f", "m"]}})
    with pytest.raises(RunError, match="the predictions have no metadata sex, which the blend takes: predict again"):
        blend([replace(fold, competition=declared) for fold in predicted], STACKING)


@pytest.mark.parametrize(
    ("folds", "is_split"),
    [
        (StratifiedFolds(kind="stratified"), True),
        (GroupedFolds(kind="grouped"), False),
        (TableFolds(kind="table", path="folds.csv"), False),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_the_estimate_keeps_the_rows_of_a_fold_together_where_folds_hold_groups(folds, is_split, predicted):
    """Sites say the class within each fold, and another one in the other fold."""
    competition = predicted[0].competition.model_copy(update={"folds": folds})
    made = [replace(fold, competition=competition) for fold in predicted]
    for fold in made:
        if fold.fold == 1:
            oof = read_predictions(fold.path / "oof.csv")
            others = oof.metadata["m_site"].map(dict(zip("abc", "bca", strict=True)))
            write_predictions(fold.path / "oof.csv", replace(oof, metadata=oof.metadata.assign(m_site=others)))
    score = blend(made, STACKING | {"metadata": ["site"]}).score
    assert score > 0.3 if is_split else score < 0.1
