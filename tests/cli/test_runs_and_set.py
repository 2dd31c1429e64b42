"""`podium runs` and `podium set`, on run folders without any training."""

import json

import pytest

from podium.changes import pending_requests
from podium.cli.main import main
from podium.locks import lock_file, locked
from podium.runs import Run

BEST = {"stage": "all", "epoch": 4, "monitor": "val_accuracy", "score": 0.94321, "image_size": 299, "digest": "aa"}
STATE = {"stage": "all", "epoch": 5, "epochs": 12, "step": 0, "steps": 47, "seconds": 3723.4, "best": BEST}


@pytest.fixture
def podium(monkeypatch, capsys, tmp_path):
    """Run a command line in an empty folder; returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["podium", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def make_run(tmp_path):
    """`make_run(name="wide", fold=0, checkpoint=True, **state)`: a run folder with this state."""

    def made(name="wide", fold=0, checkpoint=True, **state):
        run = Run(tmp_path / "runs" / f"{name}-1a2b3c4d" / f"fold{fold}")
        (run.path / "checkpoints").mkdir(parents=True)
        run.config.write_text("name: wide\n")
        if checkpoint:
            (run.path / "checkpoints" / "checkpoint-000001-0123456789abcdef.npz").touch()
        run.update_state(**{"status": "training", "command": "podium train wide.yaml --resume"} | state)
        return Run(run.path.relative_to(tmp_path))

    return made


def row_of(out, run):
    (row,) = [line for line in out.splitlines() if line.startswith(f"{run.path} ")]
    return row.removeprefix(str(run.path)).strip()


def test_empty_folder_names_the_commands_that_make_runs(podium):
    assert podium("runs") == (0, "no runs in runs; start one with podium train or podium run\n", "")


def test_other_folders_are_ignored(podium, tmp_path):
    (tmp_path / "runs" / "folds").mkdir(parents=True)
    (tmp_path / "runs" / "blend-12345678").mkdir()
    (tmp_path / "runs" / "blend-12345678" / "blend.json").write_text("{}")
    assert podium("runs")[1].startswith("no runs in runs")


def test_stopped_run_has_its_progress_and_the_command_to_resume(podium, make_run):
    run = make_run(**STATE)
    code, out, _ = podium("runs")
    assert code == 0
    assert row_of(out, run).split("  ") == ["all 5/12 finished", "accuracy 0.9432 (all 5)", "1h2m3s"]
    assert f"resume {run.path} with: podium train wide.yaml --resume\n" in out


def test_progress_within_an_epoch_has_the_step(podium, make_run):
    run = make_run(**STATE | {"step": 20})
    assert row_of(podium("runs")[1], run).startswith("all 6/12, step 20 of 47 ")


def test_run_without_a_checkpoint_cannot_be_resumed(podium, make_run):
    run = make_run(checkpoint=False)
    out = podium("runs")[1]
    assert row_of(out, run) == "no checkpoint yet"
    assert "resume" not in out


@pytest.mark.parametrize(("predicted", "expected"), [(False, "trained "), (True, "trained and predicted ")])
def test_trained_run_is_finished(podium, make_run, predicted, expected):
    run = make_run(**STATE | {"status": "trained"})
    run.best_weights.touch()
    if predicted:
        (run.path / "predictions-1").mkdir()
        (run.path / "predictions-1" / "predictions.json").touch()
    out = podium("runs")[1]
    assert row_of(out, run).startswith(expected)
    assert "resume" not in out


def test_dry_run_limit_and_changes_are_shown(podium, make_run):
    run = make_run(**STATE, dry_run=True, limit=1500, changes=2)
    assert row_of(podium("runs")[1], run).startswith("all 5/12 finished, dry run, 1,500 rows, config changed ")


def test_run_in_use_names_its_process(podium, make_run):
    run = make_run(**STATE)
    with locked(run.path):
        out = podium("runs")[1]
    assert "all 5/12 finished; in use by process " in row_of(out, run)
    assert "resume" not in out


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"status": "training", "stage": "all"})])
def test_damaged_state_json_is_ignored(podium, make_run, content):
    run = make_run()
    (run.path / "state.json").write_text(content)
    code, out, err = podium("runs")
    assert (code, err) == (0, "")
    assert row_of(out, run) == "checkpoint"


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_flipped_byte_in_state_json_is_no_error(podium, make_run, bit):
    run = make_run(**STATE | {"step": 20}, dry_run=True, limit=1500, changes=2)
    path = run.path / "state.json"
    whole, failed = path.read_bytes(), []
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            assert podium("runs")[0] == 0
        except Exception as error:
            failed.append((path.read_bytes()[place - 3 : place + 9], error))
    assert failed == []


def test_damaged_lock_is_no_error(podium, make_run):
    run = make_run(**STATE)
    with locked(run.path):
        lock_file(run.path).write_bytes(b"process 12 \xff on")
        code, out, _ = podium("runs")
    assert code == 0
    assert "; in use by process 12 " in row_of(out, run)


def test_json_has_the_state_of_every_run(podium, make_run):
    stopped, trained = make_run("stopped", **STATE), make_run("trained", **STATE | {"status": "trained"})
    trained.best_weights.touch()
    first, second = json.loads(podium("runs", "--json")[1])
    assert first["path"] == str(stopped.path)
    assert (first["stage"], first["epoch"], first["best"]) == ("all", 5, BEST)
    assert (first["is_trained"], first["command"]) == (False, "podium train wide.yaml --resume")
    assert (second["is_trained"], second["is_predicted"], second["command"]) == (True, False, None)


def test_json_without_runs_is_an_empty_list(podium):
    assert podium("runs", "--json") == (0, "[]\n", "")


def test_each_run_has_a_row(podium, make_run):
    for fold in range(3):
        make_run(fold=fold, **STATE)
    make_run("narrow", **STATE)
    rows = [line.split()[0] for line in podium("runs")[1].splitlines()[1:5]]
    assert rows == ["runs/narrow-1a2b3c4d/fold0", *(f"runs/wide-1a2b3c4d/fold{fold}" for fold in range(3))]


# podium set


@pytest.mark.parametrize("is_training", [True, False])
def test_set_leaves_a_request_for_the_next_step(podium, make_run, is_training):
    run = make_run(**STATE)
    if is_training:
        with locked(run.path):
            code, out, _ = podium("set", run.path, "learning_rate=1e-5")
    else:
        code, out, _ = podium("set", run.path, "learning_rate=1e-5")
    assert code == 0
    when = "from its next step on" + ("" if is_training else ", once it is resumed")
    assert out == f"{run.path}: learning_rate 1e-05 {when}; it will be recorded in {run.path}/changes.csv\n"
    assert [one.learning_rate for one in pending_requests(run.path)] == [1e-5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["learning_rate=0"], "learning_rate: expected a number above 0, such as 1e-5: got '0'"),
        (["epochs=3"], "cannot set 'epochs=3' during training: expected learning_rate=NUMBER"),
    ],
)
def test_set_refuses_anything_else(podium, make_run, words, message):
    run = make_run(**STATE)
    code, _, err = podium("set", run.path, *words)
    assert code == 1
    assert err.startswith(f"podium: {message}")
    assert not pending_requests(run.path)


def test_set_in_a_read_only_folder_is_one_line(podium, make_run, monkeypatch):
    def refused(*_, **__):
        raise OSError(30, "Read-only file system", str(run.path / "requests"))

    run = make_run(**STATE)
    monkeypatch.setattr("podium.files.tempfile.mkstemp", refused)
    assert podium("set", run.path, "learning_rate=1e-5") == (
        1,
        "",
        f"podium: {run.path}/requests: Read-only file system; fix that and run the same command again\n",
    )


@pytest.mark.parametrize("value", ["", "-1e-5", "nan", "inf", "fast"])
def test_set_refuses_an_invalid_learning_rate(podium, make_run, value):
    run = make_run(**STATE)
    code, out, err = podium("set", run.path, f"learning_rate={value}")
    assert (code, out) == (1, "")
    assert err == f"podium: learning_rate: expected a number above 0, such as 1e-5: got {value!r}\n"
    assert not (run.path / "requests").exists()


def test_requests_are_kept_in_order(podium, make_run):
    run = make_run(**STATE)
    for rate in ("1e-5", "3e-5"):
        assert podium("set", run.path, f"learning_rate={rate}")[0] == 0
    assert [one.learning_rate for one in pending_requests(run.path)] == [1e-5, 3e-5]


def test_set_on_a_folder_of_folds_names_them(podium, make_run):
    run = make_run()
    code, _, err = podium("set", run.path.parent, "learning_rate=1e-5")
    assert (code, err) == (1, f"podium: {run.path.parent} is not a run folder; expected one of {run.path}\n")


def test_set_on_a_missing_run_names_the_command_that_lists_them(podium):
    code, _, err = podium("set", "runs/none/fold0", "learning_rate=1e-5")
    assert (code, err) == (1, "podium: runs/none/fold0 is not a run folder; podium runs lists them\n")


def test_set_on_a_trained_run_is_an_error(podium, make_run):
    run = make_run(**STATE | {"status": "trained"})
    run.best_weights.touch()
    code, _, err = podium("set", run.path, "learning_rate=1e-5")
    assert code == 1
    assert "is trained already; a new learning rate would have no effect" in err
    assert not pending_requests(run.path)
