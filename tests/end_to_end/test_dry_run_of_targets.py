"""`podium train` and `podium predict` for every kind of target, from images and a table to prediction files."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import run_podium
from rich.console import Console
from target_kinds import KINDS, NAMES, write_competition

from podium.config.loading import load_competition, load_member
from podium.data.targets import target_of
from podium.options import RunOptions
from podium.predictions import read_predictions
from podium.workflows.fold_runs import fold_runs
from podium.workflows.prepare import prepare

STAGE = {"epochs": 1, "batch_size": 8, "image_size": 32, "learning_rate": 0.01}
MEMBER = {
    "competition": "competition.yaml",
    "backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25},
    "stages": [{**STAGE, "name": "head", "unfreeze": "none"}, {**STAGE, "name": "all", "unfreeze": "all"}],
    "tta": ["identity", "horizontal_flip"],
}


def write_member(folder, **changes):
    path = folder / "member.yaml"
    path.write_text(yaml.safe_dump(MEMBER | changes))
    return path


def run(folder, *arguments):
    ended = run_podium(folder, *arguments)
    assert ended.code == 0, ended.err
    return ended.out


def predictions_in(folder, name):
    (path,) = folder.glob(f"runs/member-*/fold0/predictions-*/{name}")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_dry_run_of_every_kind_writes_predictions(name, tmp_path):
    competition = write_competition(tmp_path, name, on_bad_image="skip")
    (tmp_path / "data" / "test" / "2-000.png").write_bytes(b"no image")
    means = {"words": "geometric", "binary": "geometric"}
    views = {"views": MEMBER["tta"], "select": "auto", "mean": means.get(name, "arithmetic")}
    member = write_member(tmp_path, tta=views)
    options = ("--data", tmp_path / "data", "--fold", 0, "--dry-run")
    printed = run(tmp_path, "train", member, *options)
    target = target_of(load_competition(competition))
    assert f"to predict, {target.description}; folds in" in printed
    printed = run(tmp_path, "predict", member, *options)
    assert f"out-of-fold {KINDS[name].metric} " in printed

    oof, test = (read_predictions(predictions_in(tmp_path, file)) for file in ("oof.csv", "test.csv"))
    assert oof.outputs == test.outputs == target.outputs
    assert test.ids[0] == "2-000.png"
    for predictions in (oof, test):
        np.testing.assert_allclose(target.normalize(predictions.values), predictions.values, atol=1e-6)
    table = pd.read_csv(tmp_path / "data" / "train.csv", dtype=str, keep_default_na=False).set_index("id")
    source = load_competition(competition).train
    truth = target.truth(target.parse(table.loc[oof.ids], source, tmp_path))
    np.testing.assert_allclose(target.truth(oof.truth), truth, atol=1e-6)
    everything = target.truth(target.parse(table, source, tmp_path))
    assert test.values[0] == pytest.approx(target.prior(everything), rel=1e-6)
    facts = json.loads(predictions_in(tmp_path, "predictions.json").read_text())
    assert np.isfinite(facts["score"])


def test_changed_truth_or_loss_is_another_run(tmp_path):
    write_competition(tmp_path, "number")
    member, options = write_member(tmp_path), RunOptions(data=tmp_path / "data", runs=tmp_path / "runs")

    def folder(*overrides):
        loaded = load_member(member, overrides)
        return fold_runs(loaded, prepare(loaded.competition, options, Console(quiet=True)), options)[0].path

    first = folder()
    table = tmp_path / "data" / "train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[1].split(",")[0] + ",1900.5", *lines[2:]]))
    assert (
        len({first, folder(), folder("loss=mae"), folder("competition.target={kind: regression, range: [0, 3000]}")})
        == 4
    )


def test_invalid_truth_is_one_line(tmp_path):
    write_competition(tmp_path, "one_hot")
    table = tmp_path / "data" / "train.csv"
    table.write_text(table.read_text().replace(",1", ",yes", 2))
    ended = run_podium(tmp_path, "train", write_member(tmp_path), "--data", tmp_path / "data", "--dry-run")
    assert ended.code == 1
    assert ended.err.startswith(f"podium: {table} has invalid values in column ")
    assert "'yes' in line 2" in ended.err
    assert ended.err.count("\n") == 1


def test_missing_columns_are_named(tmp_path):
    write_competition(tmp_path, "soft_label", classes=[*NAMES, "grey"])
    ended = run_podium(tmp_path, "train", write_member(tmp_path), "--data", tmp_path / "data", "--dry-run")
    assert ended.code == 1
    assert "train.csv has no column grey: it has id, red, green, blue" in ended.err
