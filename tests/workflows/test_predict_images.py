"""Predicting any images with finished runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

import podium
from podium.config.loading import load_ensemble, load_member
from podium.config.resolved import resolved_competition, resolved_member
from podium.errors import RunError
from podium.options import RunOptions
from podium.runs import Run
from podium.workflows.finished import find_blend, find_member

QUIET = Console(quiet=True)


@pytest.fixture
def finished(finished_ensemble, tmp_path, monkeypatch):
    """The finished ensemble in the current folder, whose training data is not there."""
    finished_ensemble.copy_to(tmp_path)
    shutil.copytree(finished_ensemble.competition.folder / "test_upload", tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    return finished_ensemble


@pytest.fixture
def podium_here(podium_in, tmp_path):
    return lambda *arguments: podium_in(tmp_path, *arguments)


def read(path):
    return pd.read_csv(path, dtype={"id": str}, index_col="id")


def mean_of_folds(member):
    """The mean of the test predictions of a member's folds."""
    return sum(read(path) for path in Path("runs").glob(f"{member}-*/fold*/predictions-*/test.csv")) / 2


@pytest.mark.slow
def test_images_of_a_folder_are_predicted_by_the_mean_of_the_folds(finished, podium_here):
    ended = podium_here("predict", finished.members[0], "--images", "new", "--out", "new.csv")
    assert (ended.code, ended.err) == (0, "")
    assert "new.csv: predictions of 8 images" in ended.out
    table, expected = read("new.csv"), mean_of_folds("first")
    assert list(table.index) == sorted(finished.competition.answers)
    assert list(table.columns) == ["p_0", "p_1", "p_2", "p_3"]
    np.testing.assert_allclose(table, expected.loc[table.index], atol=1e-6)


def test_one_fold_and_the_default_name_of_the_file(finished, podium_here):
    assert podium_here("predict", finished.members[0], "--images", "new", "--fold", 1).code == 0
    (expected,) = Path("runs").glob("first-*/fold1/predictions-*/test.csv")
    np.testing.assert_allclose(read("first_new.csv"), read(expected).loc[read("first_new.csv").index], atol=1e-6)


def test_classes_that_were_read_from_the_data_need_no_data_again(finished, podium_here):
    shutil.copytree(finished.ensemble.parent, "configs")
    content = yaml.safe_load(Path("configs/competition.yaml").read_text())
    del content["classes"]
    Path("configs/competition.yaml").write_text(yaml.safe_dump(content))
    ended = podium_here("predict", "configs/first.yaml", "--images", "new", "--fold", 0)
    assert (ended.code, ended.err) == (0, "")
    ensemble = load_ensemble(Path("configs/ensemble.yaml"))
    assert find_blend(ensemble, Path("runs")).path.name.startswith("ensemble-")


@pytest.mark.parametrize("change", [{"intensity": "full"}, {"target": "ordinal"}, {"metric": "balanced_accuracy"}])
def test_runs_of_a_competition_that_decides_other_weights_are_not_used(change, finished):
    shutil.copytree(finished.ensemble.parent, "configs")
    content = yaml.safe_load(Path("configs/competition.yaml").read_text())
    Path("configs/competition.yaml").write_text(yaml.safe_dump(content | change))
    with pytest.raises(RunError, match="first is not trained with this config"):
        find_member(load_member(Path("configs/first.yaml")), RunOptions())
    with pytest.raises(RunError, match=r"no finished blend with this config in runs; .* has another config"):
        find_blend(load_ensemble(Path("configs/ensemble.yaml")), Path("runs"))


@pytest.mark.parametrize("method", ["weights", pytest.param("stacking", marks=pytest.mark.slow)])
def test_a_blend_predicts_the_test_images_as_it_did_before(method, finished, podium_here):
    shutil.rmtree("submissions")  # equal ones would be refused
    data = finished.competition.folder
    assert podium_here("blend", finished.ensemble, "--data", data, "--set", f"blend={method}").code == 0
    blends = [path.parent for path in Path("runs").glob("*/blend.json")]
    (blend,) = (path for path in blends if json.loads((path / "blend.json").read_text())["blend"]["method"] == method)
    ended = podium_here("predict", finished.ensemble, "--images", "new", "--out", "new.csv", "--set", f"blend={method}")
    assert ended.code == 0, ended.err
    before = read(blend / "test.csv")
    np.testing.assert_allclose(read("new.csv"), before.loc[sorted(before.index)], atol=1e-6)


@pytest.mark.slow
def test_a_table_has_paths_or_ids(finished, podium_here):
    Path("paths.csv").write_text("name,path,id\nx,new/0025.jpg,second\ny,new/0024.jpg,first\n")
    folder = next(Path("runs").glob("first-*"))
    assert podium_here("predict", folder, "--images", "paths.csv", "--out", "paths_out.csv").code == 0
    expected = mean_of_folds("first").loc[["0025.jpg", "0024.jpg"]]
    assert list(read("paths_out.csv").index) == ["second", "first"]
    np.testing.assert_allclose(read("paths_out.csv"), expected, atol=1e-6)
    Path("ids.csv").write_text("Id\n0025.jpg\n0024.jpg\n")
    ids = ["predict", folder, "--images", "ids.csv", "--out", "ids_out.csv"]
    assert podium_here(*ids, "--data", finished.competition.folder).code == 0
    np.testing.assert_allclose(read("ids_out.csv"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("nowhere", "nowhere does not exist; expected a folder of images, or a CSV file with their ids or paths"),
        ("empty", "empty has no image; expected files such as .jpg or .png"),
        ("other.csv", "other.csv has no column Id: it has name"),
        ("twice.csv", "twice.csv has duplicate ids: 0024.jpg"),
        ("missing.csv", "1 images listed in missing.csv do not exist"),
    ],
)
def test_images_that_cannot_be_found_are_a_one_line_error(images, message, finished, podium_here):
    Path("empty").mkdir()
    Path("other.csv").write_text("name\nx\n")
    Path("twice.csv").write_text("Id\n0024.jpg\n0024.jpg\n")
    Path("missing.csv").write_text("path\nnew/1.jpg\n")
    ended = podium_here("predict", finished.members[0], "--images", images)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert message in ended.err


def test_files_that_are_no_images_are_named_and_unreadable_images_are_an_error(finished, podium_here):
    Path("new/notes.txt").write_text("no image")
    Path("new/0024.jpg").write_bytes(b"no image")
    ended = podium_here("predict", finished.members[0], "--images", "new")
    assert "new: ignored 1 files that are no images: notes.txt" in ended.out
    assert "1 images cannot be read: new/0024.jpg" in ended.err
    (config,) = Path("runs").glob("first-*/fold0/config.yaml")
    config.write_text(config.read_text().replace("on_bad_image: error", "on_bad_image: skip"))
    table = podium.predict_images(config.parent, "new", console=QUIET)
    assert table.loc["0024.jpg"].tolist() == [0.25] * 4
    assert table.loc["0025.jpg"].tolist() != [0.25] * 4


def test_another_config_is_not_trained_and_has_no_blend(finished, podium_here):
    changed = ["--images", "new", "--set"]
    ended = podium_here("predict", finished.members[0], *changed, "head.dropout=0.3")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "first is not trained with this config in runs; run podium train" in ended.err
    for change in ("first.head.dropout=0.3", "blend=weights", "second.tta=[identity, horizontal_flip]"):
        ended = podium_here("predict", finished.ensemble, *changed, change)
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert "ensemble: no finished blend with this config in runs; runs/ensemble-" in ended.err


def test_a_blend_of_other_weights_is_an_error(finished, podium_here):
    (state,) = Path("runs").glob("second-*/fold1/state.json")
    state.write_text(state.read_text().replace(json.loads(state.read_text())["best"]["digest"], "0" * 16))
    ended = podium_here("predict", finished.ensemble, "--images", "new")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "which is missing or by other weights than then: predict and blend again" in ended.err


@pytest.mark.slow
def test_chosen_views_are_used_again(finished, podium_here):
    views = ["--set", "tta={views: [identity, horizontal_flip, {rotate: 40}], select: auto}"]
    ended = podium_here("predict", finished.members[0], "--images", "new", *views)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "is not predicted yet, and its tta chooses views or an image size" in ended.err
    data = ["--data", finished.competition.folder]
    assert podium_here("predict", finished.members[0], *data, *views).code == 0
    ended = podium_here("predict", finished.members[0], "--images", "new", *views)
    assert ended.code == 0, ended.err
    facts = [json.loads(path.read_text()) for path in Path("runs").glob("first-*/fold*/predictions-*/predictions.json")]
    for count in {len(content["views"]) for content in facts if content["select"] == "auto"}:
        assert f"8 new images, {count} view" in ended.out


@pytest.mark.slow
def test_runs_and_blends_are_predicted_in_python(finished):
    member = podium.load_member(finished.members[0])
    runs = [podium.train(member, fold=fold, data=finished.competition.folder, console=QUIET) for fold in (0, 1)]
    table = podium.predict_images(runs, "new", out="new.csv", console=QUIET)
    np.testing.assert_allclose(table, mean_of_folds("first").loc[table.index], atol=1e-6)
    np.testing.assert_allclose(table, read("new.csv"), atol=1e-9)
    (blend,) = (path.parent for path in Path("runs").glob("*/blend.json"))
    before = read(blend / "test.csv")
    np.testing.assert_allclose(podium.predict_images(blend, "new", console=QUIET), before.loc[table.index], atol=1e-6)


def test_resolved_config_is_the_loaded_one(finished):
    for path in finished.members:
        member = load_member(path)
        for run in find_member(member, RunOptions()):
            assert resolved_member(run).settings.backbone == member.settings.backbone
            assert resolved_member(run).competition == resolved_competition(run) == member.competition
    assert find_blend(load_ensemble(finished.ensemble), Path("runs")).path.name.startswith("ensemble-")


def test_a_damaged_config_is_a_one_line_error(finished, podium_here):
    (config,) = Path("runs").glob("first-*/fold0/config.yaml")
    content = yaml.safe_load(config.read_text())
    content["member"]["resize"] = "stretch"
    config.write_text(yaml.safe_dump(content))
    ended = podium_here("predict", Run(config.parent).path, "--images", "new")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "config.yaml cannot be used by this version of podium: resize: " in ended.err
