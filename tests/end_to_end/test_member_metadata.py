"""A member that takes metadata, from its tables to the predictions of other tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from podium.config.loading import load_member
from podium.options import RunOptions
from podium.workflows.fold_runs import fold_runs
from podium.workflows.prepare import prepare


@pytest.fixture
def patients(tiny_competition):
    """The tiny competition with the age and the sex of every row; some ages are missing."""
    folder = tiny_competition.folder
    train = pd.read_csv(folder / "train.csv", dtype=str)
    train["age"], train["sex"] = ["", *range(21, 44)], ["f", "m"] * 12
    train.to_csv(folder / "train.csv", index=False)
    test = pd.DataFrame({"Id": list(tiny_competition.answers), "age": range(40, 48), "sex": ["f", "m"] * 4})
    test.to_csv(folder / "test.csv", index=False)
    source = {"images": "test_upload/{id}", "table": "test.csv"}
    return tiny_competition.change(metadata={"age": "number", "sex": "category"}, test=source)


def read(path):
    return pd.read_csv(path, dtype={"id": str}, index_col="id")


@pytest.mark.slow
def test_other_tables_are_predicted_with_the_scaling_of_the_training(patients, podium):
    member = patients.member(metadata="all")
    data = ["--data", patients.folder]
    ended = podium("run", patients.ensemble([member]), *data, "--dry-run")
    assert ended.code == 0, ended.err
    (before,) = Path("runs").glob("tiny-*/fold0/predictions-*/test.csv")
    config = yaml.safe_load((before.parents[1] / "config.yaml").read_text())
    assert config["competition"]["metadata"] == {"age": "number", "sex": ["f", "m"]}
    last = pd.read_csv(patients.folder / "test.csv", dtype=str).tail(1)
    last.to_csv("one.csv", index=False)  # alone, its own mean would be its age
    predict = ["predict", before.parents[1], *data, "--out", "out.csv", "--images"]
    assert podium(*predict, "one.csv").code == 0
    np.testing.assert_allclose(read("out.csv"), read(before).filter(like="p_").tail(1), atol=1e-6)
    last.assign(age="", sex="unknown").to_csv("one.csv", index=False)
    assert podium(*predict, "one.csv").code == 0
    assert np.isfinite(read("out.csv")).all(axis=None)
    ended = podium(*predict, patients.folder / "test_upload")
    assert (ended.code, "is a folder, and the model takes metadata (age, sex)" in ended.err) == (1, True)


@pytest.mark.slow
def test_runs_depend_on_the_metadata_that_they_take(patients, podium):
    """Another value of it means training again; a member without it does not notice."""
    files = [
        patients.member("plain"),
        patients.member("sexes", metadata=["sex"]),
        patients.member("both", metadata="all"),
    ]

    def trained():
        for file in files:
            assert podium("train", file, "--data", patients.folder, "--fold", 0, "--dry-run").code == 0
        return {path.parent.name for path in Path("runs").glob("*/fold0")}

    before = trained()
    table = patients.folder / "train.csv"
    table.write_text(table.read_text().replace(",43,", ",44,"))
    assert [name.partition("-")[0] for name in trained() - before] == ["both"]


@pytest.mark.slow
def test_a_blend_with_metadata_predicts_other_tables_and_the_hidden_test_set_of_a_kernel(patients, podium):
    """The member takes the age and the blend the sex."""
    ensemble = patients.ensemble([patients.member(metadata=["age"])])
    data, fold = ["--data", patients.folder], ["--set", "folds=[0]"]
    stacking = [*fold, "--set", "blend={method: stacking, metadata: [sex], C: 1}"]
    ended = podium("run", ensemble, *data, "--fold", 0, *stacking)
    assert ended.code == 0, ended.err
    (before,) = Path("runs").glob("*/blend.json")
    table = patients.folder / "test.csv"
    predict = ["predict", ensemble, *data, *stacking, "--out", "out.csv", "--images"]
    assert podium(*predict, table).code == 0
    same = read("out.csv")
    np.testing.assert_allclose(same, read(before.parent / "test.csv").loc[same.index], atol=1e-6)
    pd.read_csv(table, dtype=str).assign(sex="f").to_csv("women.csv", index=False)
    assert podium(*predict, "women.csv").code == 0
    is_changed = (abs(read("out.csv") - same).max(axis=1) > 1e-4).tolist()
    assert is_changed == [False, True] * 4
    ended = podium(*predict, patients.folder / "test_upload")
    assert (ended.code, "is a folder, and the model takes metadata (age, sex)" in ended.err) == (1, True)
    ended = podium("kernel", "build", "--inference", ensemble, *stacking, "--attach", "kaggle-dataset:ada/trained")
    assert ended.code == 0, ended.err
    ended = podium("kernel", "run", *data)
    assert (ended.code, ended.err) == (0, ""), ended.out
    assert "submission.csv has exactly the 12 ids of another test set" in ended.out


def test_images_are_predicted_again_if_the_metadata_of_labelled_ones_changes(patients, tmp_path):
    """It is written beside the predictions, for blends that take it."""
    member, options = load_member(patients.member()), RunOptions(data=patients.folder, runs=tmp_path / "runs")

    def run():
        (first, *_) = fold_runs(member, prepare(member.competition, options, Console(quiet=True)), options)
        return first

    before, table = run(), patients.folder / "train.csv"
    table.write_text(table.read_text().replace(",43,", ",44,"))
    assert run().path == before.path
    assert run().predictions != before.predictions
