"""Kernel outputs are imported among the local runs, and nothing local is lost."""

import json

import pytest

from podium.config.kaggle_names import KernelRef
from podium.errors import RunError
from podium.kaggle.records import import_runs, read_record, read_records, record_push
from podium.kernel.report import REPORT
from podium.runs import Run

REF = KernelRef("ada", "podium-tiny-fold0", 2)
BEST = {"stage": "all", "epoch": 1, "monitor": "val_accuracy", "score": 0.75, "image_size": 32, "digest": "d"}
RUN = "runs/tiny-12345678/fold0"


def write_run(folder, status="trained", score=0.75, predictions=("predictions-1",)):
    folder.mkdir(parents=True)
    run = Run(folder)
    run.update_state(status=status, best=BEST | {"score": score})
    if status == "trained":
        run.best_weights.write_text(f"weights of {score}")
    else:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / f"checkpoint-000001-{'0' * 16}.npz").write_text("state")
    for name in predictions:
        (folder / name).mkdir()
        (folder / name / "test.csv").write_text(name)
    return run


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = record_push(tmp_path / "runs", {"commit": "c", "config": "tiny.yaml"}, "print()", REF, "https://…/2")
    record.output.mkdir()
    return record


def report(record, **more):
    content = {"status": "done", "runs": [{"member": "tiny", "fold": 0, "run": RUN, "predictions": None, "state": {}}]}
    (record.output / REPORT).write_text(json.dumps(content | more))


def test_a_push_is_recorded_with_its_script(record, tmp_path):
    (found,) = read_records(tmp_path / "runs")
    assert (found.ref, found.facts["commit"]) == (REF, "c")
    assert (found.folder / "kernel.py").read_text() == "print()"
    assert read_record(tmp_path / "runs", REF.at(7)).facts == {"kernel": "ada/podium-tiny-fold0/7"}


def test_a_run_is_imported_with_its_origin(record, tmp_path):
    write_run(record.output / RUN)
    report(record)
    assert import_runs(record, tmp_path / "runs") == [f"{tmp_path / RUN}: trained"]
    assert Run(tmp_path / RUN).is_trained
    assert json.loads((tmp_path / RUN / "kernel.json").read_text())["kernel"] == str(REF)
    assert import_runs(record, tmp_path / "runs") == []  # importing again changes nothing
    assert (record.output / RUN).is_dir()


def test_a_trained_local_run_is_kept(record, tmp_path):
    write_run(record.output / RUN, score=0.9)
    write_run(tmp_path / RUN, score=0.8)
    report(record)
    (line,) = import_runs(record, tmp_path / "runs")
    assert "already trained here, kept" in line
    assert Run(tmp_path / RUN).best_weights.read_text() == "weights of 0.8"


def test_predictions_of_the_same_weights_are_added(record, tmp_path):
    write_run(record.output / RUN, predictions=("predictions-1", "predictions-2"))
    write_run(tmp_path / RUN)
    report(record)
    assert import_runs(record, tmp_path / "runs") == [f"{tmp_path / RUN / 'predictions-2'}: predictions"]


def test_a_local_run_in_progress_is_moved_aside_for_a_trained_one(record, tmp_path):
    write_run(record.output / RUN)
    write_run(tmp_path / RUN, status="training", predictions=())
    report(record)
    aside, _ = import_runs(record, tmp_path / "runs")
    assert "moved aside" in aside
    (backup,) = (tmp_path / RUN).parent.glob("fold0.before-*")
    assert Run(backup).is_resumable
    assert Run(tmp_path / RUN).is_trained


def test_a_local_run_in_progress_is_kept_if_kaggles_is_not_trained(record, tmp_path):
    write_run(record.output / RUN, status="training", predictions=())
    write_run(tmp_path / RUN, status="training", predictions=())
    report(record)
    (line,) = import_runs(record, tmp_path / "runs")
    assert "in progress here, kept" in line


@pytest.mark.parametrize("place",
    [
        "/etc/x", "runs/../../x", "elsewhere/fold0", "runs", "runs/folds", "runs/clusters/x", "runs/x-12345678",
        "runs/kernels/ada/x-12345678/fold0", "runs/x-12345678/../fold0", "runs/..\\x-12345678/fold0",
    ],
)  # fmt: skip
def test_a_report_with_a_run_that_is_no_run_folder_is_refused(place, record, tmp_path):
    report(record, runs=[{"member": "tiny", "fold": 0, "run": place, "predictions": None, "state": {}}])
    with pytest.raises(RunError, match=r"is not a valid report \(runs\.0\.run: .* is not a run folder, .*\)"):
        import_runs(record, tmp_path / "runs")


@pytest.mark.parametrize(
    "content",
    [
        {"submission": "../../../secret.csv"},
        {"submission": "submissions/../../secret.csv"},
        {"submission": "submissions/ledger.csv"},
        {"blend": "/etc"},
        {"blend": "runs/clusters/x"},
        {"blend": "runs/clusters"},
        {"boxes": "runs/folds"},
        {"boxes": "runs/boxes/../folds"},
        {"weights": ["../x"]},
        {"runs": "abc"},
        {"runs": [{"member": "m"}]},
        {"status": "perhaps"},
    ],
    ids=str,
)
def test_a_malformed_report_is_one_line_and_copies_nothing(content, record, tmp_path):
    (tmp_path / "secret.csv").write_text("secret")
    report(record, **content)
    with pytest.raises(RunError, match="is not a valid report") as error:
        import_runs(record, tmp_path / "runs")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "submissions").exists()


def test_an_output_without_a_report_is_an_error(record, tmp_path):
    with pytest.raises(RunError, match=f"has no {REPORT}"):
        import_runs(record, tmp_path / "runs")


def test_the_submission_of_an_ensemble_is_imported_and_replaces_nothing(record, tmp_path):
    (record.output / "submissions").mkdir()
    (record.output / "submissions" / "tiny_a__1.csv").write_text("Kaggle's")
    report(record, runs=[], submission="submissions/tiny_a__1.csv")
    import_runs(record, tmp_path / "runs")
    assert (tmp_path / "submissions" / "tiny_a__1.csv").read_text() == "Kaggle's"
    (tmp_path / "submissions" / "tiny_a__1.csv").write_text("mine")
    assert import_runs(record, tmp_path / "runs") == []
    assert (tmp_path / "submissions" / "tiny_a__1.csv").read_text() == "mine"
