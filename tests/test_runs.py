import re

import pytest

from podium import runs
from podium.errors import RunError
from podium.files import read_json, write_json
from podium.reports.charts import learning_curves
from podium.runs import Run, git_commit, read_predictions_facts, versions

BEST = {"stage": "all", "epoch": 3, "monitor": "val_accuracy", "score": 0.9, "image_size": 32}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "runs" / "one-12345678" / "fold0")


@pytest.fixture
def folds(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text("id,label,fold\na,0,0\n")
    return path


# A run folder


def test_started_run_has_its_config_folds_and_versions(run, folds):
    run.start({"name": "one", "classes": {"0": "früh", "1": "spät"}}, folds)
    assert run.config.read_text(encoding="utf-8") == "name: one\nclasses:\n  '0': früh\n  '1': spät\n"
    assert run.folds.read_text() == folds.read_text()
    assert set(read_json(run.path / "versions.json")) >= {"podium", "commit", "python", "tensorflow", "keras", "numpy"}
    assert run.state == {"status": "training"}
    assert not run.is_trained


def test_run_started_again_is_empty(run, folds):
    run.start({}, folds)
    run.update_state(best={"score": 0.5})
    run.history.write_text("epoch\n0\n")
    run.start({}, folds)
    assert run.state == {"status": "training"}
    assert not run.history.exists()


def test_state_is_updated(run):
    run.update_state(status="training", stage="head")
    run.update_state(stage="all", best=BEST)
    assert run.state == {"status": "training", "stage": "all", "best": BEST}


@pytest.mark.parametrize(
    "changes",
    [{"best": {**BEST, "score": "high"}}, {"best": {}}, {"epoch": "1"}, {"status": "trained", "best": None}],
)
def test_invalid_state_is_empty(run, changes):
    run.update_state(status="training", stage="head", epoch=1, best=BEST)
    run.update_state(**changes)
    assert run.state == {}


def test_run_is_trained_with_its_status_and_its_weights(run):
    assert run.state == {}
    assert not run.is_trained
    run.update_state(status="trained", best=BEST)
    assert not run.is_trained
    run.best_weights.write_bytes(b"weights")
    assert run.is_trained
    run.update_state(status="training")
    assert not run.is_trained


def test_predictions_have_a_folder_for_each_digest(run):
    assert run.predictions("abcd1234") == run.path / "predictions-abcd1234"


def test_seconds_of_each_part_are_recorded(run):
    with run.timed("head"):
        pass
    with run.timed("all"):
        pass
    timings = read_json(run.path / "timings.json")
    assert list(timings) == ["head", "all"]
    assert all(0 <= seconds < 10 for seconds in timings.values())


def test_failed_part_has_no_seconds(run):
    with pytest.raises(RunError), run.timed("head"):
        raise RunError("lost")
    assert not (run.path / "timings.json").exists()


# Versions


def test_versions_include_missing_libraries(monkeypatch):
    monkeypatch.setattr(runs, "_LIBRARIES", ("numpy", "no-such-library"))
    found = versions()
    assert re.fullmatch(r"2\.\d+\.\d+.*", found["numpy"])
    assert found["no-such-library"] == "not installed"
    assert re.fullmatch(r"3\.1[123]\.\d+.*", found["python"])
    assert found["podium"] == "0.1.0"


def test_commit_is_unknown_without_git(monkeypatch):
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", git_commit())
    monkeypatch.setenv("PATH", "")
    assert git_commit() == "unknown"


HISTORY = "epoch,loss,val_loss,stage,changes\n0,2,1.5,1,\n1,1.25,,1,epochs 2 -> 3\n"


def test_history_has_numbers_and_texts(tmp_path):
    run = Run(tmp_path)
    run.history.write_text(HISTORY)
    history = run.read_history()
    assert history["epoch"].tolist() == [0, 1]
    assert history["epoch"].dtype == "int64"
    assert history["val_loss"].isna().tolist() == [False, True]
    assert (history["stage"].tolist(), history["changes"].tolist()) == (["1", "1"], ["", "epochs 2 -> 3"])
    assert run.read_epochs("val_loss")[0] == {"epoch": 0, "loss": 2, "val_loss": 1.5, "stage": "1", "changes": ""}
    with pytest.raises(RunError, match="it has no column val_accuracy"):
        run.read_epochs("val_accuracy")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("history", HISTORY.replace("loss,", "lost,", 1), "it has no column loss"),
        ("history", HISTORY.replace("1.25", "good"), "the column loss has text"),
        ("history", HISTORY + "2,1\n", "its rows differ in length"),
        ("history", HISTORY + "2,1,1,1,,,\n", "its rows differ in length"),
        ("history", HISTORY + "2,1,1,1," + "x" * 150_000, "field larger than field limit"),
        ("resumes", "step,at\n1,2026-01-01\n", "it has no column stage and epoch"),
        ("resumes", "stage,epoch\nall,\0\n", "bytes that are zero"),
    ],
)
def test_a_damaged_table_of_a_run_is_an_error_with_its_name(name, content, message, tmp_path):
    run = Run(tmp_path)
    run.history.write_text(HISTORY)
    getattr(run, name).write_text(content)
    with pytest.raises(RunError, match=rf"{name}\.csv cannot be read \(.*{message}.*restore a copy"):
        run.read_history()


def test_there_are_no_curves_before_the_first_epoch(tmp_path):
    run = Run(tmp_path)
    run.history.write_text("epoch,loss,stage,changes\n")
    assert len(run.read_history()) == 0
    with pytest.raises(RunError, match="before the first epoch"):
        learning_curves(run.read_history(), "accuracy", "curves")


@pytest.mark.parametrize("content", ["", "[]", '{"status": "trained"}', '{"best": {"monitor": "loss"}}'])
def test_the_best_epoch_of_a_damaged_run_is_an_error(content, tmp_path):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(RunError, match=r"state\.json is missing or damaged; restore"):
        Run(tmp_path).check_best_weights()


def test_epochs_in_which_a_training_was_resumed_are_marked(tmp_path):
    run = Run(tmp_path)
    run.history.write_text("epoch,loss,stage,changes\n0,2.0,head,\n0,1.5,all,\n1,1.0,all,learning_rate 0.1 -> 0.01\n")
    assert "resumed" not in run.read_history()
    run.record_resume("all", 0, 3)
    run.record_resume("all", 1, 0)
    history = run.read_history()
    assert history["resumed"].tolist() == [False, True, True]
    axes = learning_curves(history, "accuracy", "curves").figure().axes[0]
    circles = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in circles] == [2, 3]


def test_facts_of_predictions_that_lack_a_key_are_damaged(tmp_path):
    facts = {"settings": {}, "metric": "accuracy", "score": 0.9, "score_of_first_view": 0.9, "views": ["identity"]}
    facts["image_size"] = None
    write_json(tmp_path / "predictions.json", facts)
    assert read_predictions_facts(tmp_path) == facts
    for key in facts:
        write_json(tmp_path / "predictions.json", {name: value for name, value in facts.items() if name != key})
        with pytest.raises(RunError, match=r"predictions\.json is damaged; predict again"):
            read_predictions_facts(tmp_path)
