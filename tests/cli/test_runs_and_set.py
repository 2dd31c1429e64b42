"""`podium runs` and `podium set`, on run folders made by hand: neither needs anything that trains."""

import json

import pytest

from podium.changes import pending_requests
from podium.cli.main import main
from podium.locks import lock_file, locked
from podium.runs import Run

BEST = {"stage": "all", "epoch": 4, "monitor": "val_accuracy", "score": 0.94321, "image_size": 299, "digest": "aa"}
STANDING = {"stage": "all", "epoch": 5, "epochs": 12, "step": 0, "steps": 47, "seconds": 3723.4, "best": BEST}


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
    """`make_run(name="wide", fold=0, saved=True, **state)`: a run folder that says so of itself."""

    def made(name="wide", fold=0, saved=True, **state):
        run = Run(tmp_path / "runs" / f"{name}-1a2b3c4d" / f"fold{fold}")
        (run.path / "checkpoints").mkdir(parents=True)
        run.config.write_text("name: wide\n")
        if saved:
            (run.path / "checkpoints" / "checkpoint-000001-0123456789abcdef.npz").touch()
        run.update_state(**{"status": "training", "command": "podium train wide.yaml --resume"} | state)
        return Run(run.path.relative_to(tmp_path))

    return made


def row_of(out, run):
    (row,) = [line for line in out.splitlines() if line.startswith(f"{run.path} ") and "goes on with" not in line]
    return row.removeprefix(str(run.path)).strip()


def test_without_runs_it_says_what_makes_them(podium):
    assert podium("runs") == (0, "no runs in runs; podium train and podium run make them\n", "")


def test_folders_that_are_no_runs_are_passed_over(podium, tmp_path):
    (tmp_path / "runs" / "folds").mkdir(parents=True)
    (tmp_path / "runs" / "blend-12345678").mkdir()
    (tmp_path / "runs" / "blend-12345678" / "blend.json").write_text("{}")
    assert podium("runs")[1].startswith("no runs in runs")


def test_a_stopped_run_tells_where_it_stands_and_what_goes_on_with_it(podium, make_run):
    run = make_run(**STANDING)
    code, out, _ = podium("runs")
    assert code == 0
    assert row_of(out, run).split("  ") == ["all 5/12 done", "accuracy 0.9432 (all 5)", "1h2m3s"]
    assert f"{run.path} goes on with: podium train wide.yaml --resume\n" in out


def test_within_an_epoch_the_step_is_told(podium, make_run):
    run = make_run(**STANDING | {"step": 20})
    assert row_of(podium("runs")[1], run).startswith("all 6/12, step 20 of 47 ")


def test_a_run_that_saved_nothing_has_nothing_to_go_on_from(podium, make_run):
    run = make_run(saved=False)
    out = podium("runs")[1]
    assert row_of(out, run) == "nothing saved yet"
    assert "goes on with" not in out


@pytest.mark.parametrize(("predicted", "told"), [(False, "trained "), (True, "trained and predicted ")])
def test_a_trained_run_is_done(podium, make_run, predicted, told):
    run = make_run(**STANDING | {"status": "trained"})
    run.best_weights.touch()
    if predicted:
        (run.path / "predictions-1").mkdir()
        (run.path / "predictions-1" / "predictions.json").touch()
    out = podium("runs")[1]
    assert row_of(out, run).startswith(told)
    assert "goes on with" not in out


def test_small_and_changed_runs_are_told_apart(podium, make_run):
    run = make_run(**STANDING, dry_run=True, limit=1500, changes=2)
    assert row_of(podium("runs")[1], run).startswith("all 5/12 done, dry run, of 1,500 rows, changed on the way ")


def test_a_run_that_is_going_on_names_its_process(podium, make_run):
    run = make_run(**STANDING)
    with locked(run.path):
        out = podium("runs")[1]
    assert "all 5/12 done; process " in row_of(out, run)
    assert "goes on with" not in out


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"status": "training", "stage": "all"})])
def test_a_damaged_state_json_is_no_obstacle(podium, make_run, content):
    run = make_run()
    (run.path / "state.json").write_text(content)
    code, out, err = podium("runs")
    assert (code, err) == (0, "")
    assert row_of(out, run) == "saved"


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_a_flipped_byte_of_state_json_is_no_obstacle(podium, make_run, bit):
    run = make_run(**STANDING | {"step": 20}, dry_run=True, limit=1500, changes=2)
    path = run.path / "state.json"
    whole, failed = path.read_bytes(), []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            assert podium("runs")[0] == 0
        except Exception as error:
            failed.append((path.read_bytes()[place - 3 : place + 9], error))
    assert failed == []


def test_a_damaged_lock_is_no_obstacle(podium, make_run):
    run = make_run(**STANDING)
    with locked(run.path):
        lock_file(run.path).write_bytes(b"process 12 \xff on")
        code, out, _ = podium("runs")
    assert code == 0
    assert "; process 12 " in row_of(out, run)


def test_every_run_has_a_row(podium, make_run):
    for fold in range(3):
        make_run(fold=fold, **STANDING)
    make_run("narrow", **STANDING)
    rows = [line.split()[0] for line in podium("runs")[1].splitlines()[1:5]]
    assert rows == ["runs/narrow-1a2b3c4d/fold0", *(f"runs/wide-1a2b3c4d/fold{fold}" for fold in range(3))]


# podium set


@pytest.mark.parametrize("going_on", [True, False])
def test_set_leaves_a_request_for_the_next_step(podium, make_run, going_on):
    run = make_run(**STANDING)
    if going_on:
        with locked(run.path):
            code, out, _ = podium("set", run.path, "learning_rate=1e-5")
    else:
        code, out, _ = podium("set", run.path, "learning_rate=1e-5")
    assert code == 0
    when = "from its next step on" + ("" if going_on else ", when it goes on")
    assert out == f"{run.path}: learning_rate 1e-05 {when}; {run.path}/changes.csv will note it\n"
    assert [one.learning_rate for one in pending_requests(run.path)] == [1e-5]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["learning_rate=0"], "learning_rate: expected a number above 0, such as 1e-5: got '0'"),
        (["epochs=3"], "'epochs=3' cannot be set in a run that is under way, only learning_rate=NUMBER can"),
    ],
)
def test_set_refuses_anything_else(podium, make_run, words, told):
    run = make_run(**STANDING)
    code, _, err = podium("set", run.path, *words)
    assert code == 1
    assert err.startswith(f"podium: {told}")
    assert not pending_requests(run.path)


def test_set_in_a_folder_that_cannot_be_written_to_is_one_line(podium, make_run, monkeypatch):
    def refused(*_, **__):
        raise OSError(30, "Read-only file system", str(run.path / "requests"))

    run = make_run(**STANDING)
    monkeypatch.setattr("podium.files.tempfile.mkstemp", refused)
    assert podium("set", run.path, "learning_rate=1e-5") == (
        1,
        "",
        f"podium: the system refused {run.path}/requests: Read-only file system; fix that and run the same command"
        " again\n",
    )


@pytest.mark.parametrize("value", ["", "-1e-5", "nan", "inf", "fast"])
def test_set_refuses_what_is_no_number_above_0(podium, make_run, value):
    run = make_run(**STANDING)
    code, out, err = podium("set", run.path, f"learning_rate={value}")
    assert (code, out) == (1, "")
    assert err == f"podium: learning_rate: expected a number above 0, such as 1e-5: got {value!r}\n"
    assert not (run.path / "requests").exists()


def test_set_twice_leaves_both_in_their_order(podium, make_run):
    run = make_run(**STANDING)
    for rate in ("1e-5", "3e-5"):
        assert podium("set", run.path, f"learning_rate={rate}")[0] == 0
    assert [one.learning_rate for one in pending_requests(run.path)] == [1e-5, 3e-5]


def test_set_names_the_folds_of_a_folder_that_holds_them(podium, make_run):
    run = make_run()
    code, _, err = podium("set", run.path.parent, "learning_rate=1e-5")
    assert (code, err) == (1, f"podium: {run.path.parent} is no run folder; name one of {run.path}\n")


def test_set_on_no_run_tells_what_lists_them(podium):
    code, _, err = podium("set", "runs/none/fold0", "learning_rate=1e-5")
    assert (code, err) == (1, "podium: runs/none/fold0 is no run folder; podium runs lists them\n")


def test_set_on_a_trained_run_changes_nothing(podium, make_run):
    run = make_run(**STANDING | {"status": "trained"})
    run.best_weights.touch()
    code, _, err = podium("set", run.path, "learning_rate=1e-5")
    assert code == 1
    assert "is trained already; its learning rate changes nothing any more" in err
    assert not pending_requests(run.path)
