"""`podium data errors`, and `ignore` of a competition file."""

import cv2
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from podium.config.loading import files_of, load_competition, load_member
from podium.data.targets import BinaryTarget, MultiLabelTarget
from podium.errors import ConfigError, DataError
from podium.kernel.bundle import make_bundle
from podium.kernel.job import Job
from podium.options import RunOptions
from podium.predictions import Predictions, read_predictions, write_predictions
from podium.workflows.fold_runs import fold_images, fold_runs
from podium.workflows.label_errors import suspicious_labels
from podium.workflows.prepare import prepare


def test_command_lists_and_draws_planted_errors(finished_ensemble, podium_in, tmp_path):
    finished_ensemble.copy_to(tmp_path)
    data, wrong = ("--data", finished_ensemble.competition.folder), {"0002.jpg", "0011.jpg", "0016.jpg"}
    for path in tmp_path.glob("runs/*/fold*/predictions-*/oof.csv"):
        oof = read_predictions(path)
        labels = oof.truth["label"].astype(int).to_numpy()
        seen = (labels + np.array([name in wrong for name in oof.ids])) % 4
        write_predictions(path, Predictions(oof.ids, oof.outputs, 0.6 * np.eye(4)[seen] + 0.1, oof.truth, oof.folds))
    ended = podium_in(tmp_path, "data", "errors", finished_ensemble.ensemble, *data)
    assert ended.code == 0, ended.err
    assert "ensemble: 3 of 24 labels are suspicious" in ended.out
    found = pd.read_csv(tmp_path / "runs" / "errors" / "ensemble" / "errors.csv", dtype=str)
    assert list(found) == ["id", "label", "suggested", "margin", "image"]
    assert set(found["id"]) == wrong
    assert (found["suggested"].astype(int) == (found["label"].astype(int) + 1) % 4).all()
    assert all(path.endswith(name) for path, name in zip(found["image"], found["id"], strict=True))
    sheet = cv2.imread(str(tmp_path / "runs" / "errors" / "ensemble" / "errors.png"))
    assert sheet.std() > 10


def oof(target, values, truth):
    ids = [f"row{number}" for number in range(len(values))]
    return Predictions(ids, target.outputs, np.array(values), target.table(np.array(truth)), np.zeros(len(ids), int))


def test_one_label_of_several_may_be_suspicious():
    values = [[0.9, 0.1], [0.1, 0.9], [0.9, 0.9], [0.1, 0.1], [0.95, 0.9]]
    truth = [[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]]
    found = suspicious_labels(oof(MultiLabelTarget(["sea", "sun"]), values, truth), MultiLabelTarget(["sea", "sun"]))
    assert found[["id", "label", "suggested"]].to_numpy().tolist() == [["row4", "not sun", "sun"]]
    target = BinaryTarget(["dog", "cat"])
    found = suspicious_labels(oof(target, [[0.9], [0.1], [0.8], [0.05], [0.9]], [1, 0, 1, 0, 0]), target)
    assert found[["id", "label", "suggested"]].to_numpy().tolist() == [["row4", "dog", "cat"]]


@pytest.fixture
def runs_of(tiny_competition, tmp_path):
    def make(**changes):
        tiny = tiny_competition.change(**changes)
        member = load_member(tiny.member())
        options = RunOptions(data=tiny.folder, runs=tmp_path / "runs")
        prepared = prepare(member.competition, options, Console(quiet=True), [member])
        return fold_runs(member, prepared, options)

    return make


def test_ignored_rows_are_validated_but_not_trained_on(runs_of, tiny_competition):
    before = runs_of()
    (tiny_competition.config.parent / "ignore.csv").write_text("id,reason\n0003.jpg,a tree\n0008.jpg,two cars\n")
    after = runs_of(ignore="ignore.csv")
    for old, new in zip(before, after, strict=True):
        assert new.path.parent != old.path.parent
        assert new.folds_file == old.folds_file
        (training, validation), (all_rows, same) = fold_images(new), fold_images(old)
        kept = [path for path in all_rows.paths if path.name not in ("0003.jpg", "0008.jpg")]
        assert list(training.paths) == kept
        assert list(validation.paths) == list(same.paths)
    assert len(fold_images(before[0])[0].paths) + len(fold_images(before[1])[0].paths) == 24
    again = runs_of(ignore=["0008.jpg", "0003.jpg"])  # the ids decide, not where they are written
    assert again[0].path == after[0].path


def test_file_of_ignored_rows_goes_with_the_competition(tiny_competition, tmp_path, monkeypatch):
    path = tiny_competition.config.parent / "ignore.csv"
    path.write_text("id,reason\n0003.jpg,a tree\n")
    tiny = tiny_competition.change(ignore="ignore.csv")
    assert tiny.competition.ignore == ["0003.jpg"]
    member = tiny.member()
    assert path in files_of(member)
    assert "configs/ignore.csv" in make_bundle([member], Job(kind="member")).sizes
    monkeypatch.chdir(tiny.config.parent)
    named = Job(kind="member", overrides=(f"competition={tiny.config.name}",))
    assert "configs/set/ignore.csv" in make_bundle([member], named).sizes


def test_ignored_rows_have_to_exist(runs_of, tiny_competition):
    with pytest.raises(DataError, match=r"ignore has ids that are not those of training rows: 0099\.jpg"):
        runs_of(ignore=["0099.jpg", "0001.jpg"])
    with pytest.raises(ConfigError, match=r"ignore: there is no file absent\.csv next to the competition file"):
        tiny_competition.change(ignore="absent.csv")
    (tiny_competition.config.parent / "list.csv").write_text("name\n0003.jpg\n")
    with pytest.raises(ConfigError, match="ignore: expected a CSV file with the column id"):
        tiny_competition.change(ignore="list.csv")
    tiny_competition.config.write_text(tiny_competition.config.read_text().replace("ignore: list.csv", "ignore: [3]"))
    assert load_competition(tiny_competition.config).ignore == ["3"]
