"""Hostile files that once were tracebacks, took minutes or were read wrongly."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from io import StringIO

import numpy as np
import pytest
import yaml
from mutations import check_read
from rich.console import Console

from podium import yaml_text
from podium.cli.options import print_json
from podium.config.kaggle_names import KernelRef
from podium.config.loading import load_competition
from podium.console import printable
from podium.data.folds import make_folds
from podium.data.inventory import read_inventory
from podium.data.table import read_rows, read_table
from podium.errors import BundleError, ConfigError, DataError, KaggleError, RunError
from podium.files import parse_json
from podium.kaggle import outputs
from podium.kaggle.client import sign_in
from podium.kaggle.outputs import NOTE, check_names, pull
from podium.kernel.script import read_packed
from podium.options import RunOptions
from podium.runs import Run
from podium.submission.ledger import Ledger, Row
from podium.training.checkpoints import CheckpointStore, Progress
from podium.workflows.detector_report import find_detector_run
from podium.workflows.export import export
from podium.workflows.hidden_test import make_hidden_test
from podium.workflows.soup import write_soup_member
from podium.workflows.study import open_study


def test_a_zero_byte_in_a_table_is_an_error_and_not_the_end_of_a_field(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("id,label\na\0b,1\n")
    with pytest.raises(DataError, match="bytes that are zero"):
        read_table(path, ["id", "label"])


@pytest.mark.parametrize(
    "text",
    [
        "id" + ",a" * 10**6 + "\n1" + ",1" * 10**6 + "\n",
        "\n \r\nid" + ",a" * 10**6 + "\n",
        '"i\nd"' + ",a" * 10**6 + "\n",
        "x" * 200_000 + ',"\n"' * 10**6 + "\n",
        "id,label\n1" + ",a" * 10**6 + "\n",
    ],
    ids=["header", "after empty lines", "after a newline in quotes", "newlines in quotes", "first row"],
)
def test_a_table_of_a_million_columns_is_an_error_at_once(tmp_path, text):
    path = tmp_path / "train.csv"
    path.write_text(text, newline="")
    start = time.process_time()
    with pytest.raises(DataError, match=r"1,000,001 columns; expected 100,000 at most"):
        read_table(path, ["id"])
    assert time.process_time() - start < 5


def test_a_long_row_below_the_first_is_an_error_at_once(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("id,label\n1,a\n2" + ",a" * 10**6 + "\n")

    def read():
        with pytest.raises(DataError, match="Expected 2 fields in line 3, saw 1000001"):
            read_table(path, ["id"])

    check_read(read)


@pytest.mark.parametrize(("text", "problem"), [("a\0b,1\n", "bytes that are zero"), ("1" + ",a" * 10**5, "columns")])
def test_tables_of_podium_init_have_the_same_limits(tmp_path, text, problem):
    (tmp_path / "train.csv").write_text("id,label\n" + text)
    with pytest.raises(DataError, match=problem):
        read_inventory(tmp_path)


def test_folds_of_hundreds_of_thousands_of_unknown_rows_are_read_in_seconds(tiny_competition):
    path = tiny_competition.folder / "folds.csv"
    rows = [f"{row:04}.jpg,{row % 2}\n" for row in range(300_000)]
    path.write_text("id,fold\n" + "".join(rows))
    tiny = tiny_competition.change(folds={"kind": "table", "path": "folds.csv"})
    start = time.process_time()
    assert make_folds(tiny.competition, read_rows(tiny.competition, tiny.folder), tiny.folder).numbers == [0, 1]
    assert time.process_time() - start < 10


def test_the_number_of_a_fold_has_few_digits(tiny_competition):
    path = tiny_competition.folder / "folds.csv"
    path.write_text("id,fold\n" + "".join(f"{row:04}.jpg,{'7' * 5_000}\n" for row in range(24)))
    tiny = tiny_competition.change(folds={"kind": "table", "path": "folds.csv"})
    with pytest.raises(DataError, match="expected a number from 0, train or test"):
        make_folds(tiny.competition, read_rows(tiny.competition, tiny.folder), tiny.folder)


def test_a_field_of_any_length_in_ignore_csv_is_a_problem_of_the_config(tiny_competition):
    (tiny_competition.config.parent / "ignore.csv").write_text("id\n" + "x" * 150_000 + "\n")
    with pytest.raises(ConfigError, match=r"ignore.csv is not a CSV file"):
        tiny_competition.change(ignore="ignore.csv")


def test_a_config_with_too_many_values_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(yaml_text, "MAX_VALUES", 1_000)
    with pytest.raises(ValueError, match="it has more than 1,000 values"):
        yaml_text.parse_yaml("[" + "1," * 1_000 + "{")


def test_a_config_of_a_hundred_thousand_values_is_checked_in_seconds(tiny_competition):
    content = yaml.safe_load(tiny_competition.config.read_text()) | {
        "classes": [f"c{number}" for number in range(50_000)],
        "submission": {"format": "probabilities", "columns": {f"d{number}": "a" for number in range(20_000)}},
        "metric": "log_loss",
    }
    tiny_competition.config.write_text(json.dumps(content))

    def read():
        with pytest.raises(ConfigError, match="'d0' is not one of the classes; there are 50000"):
            load_competition(tiny_competition.config)

    check_read(read)


@pytest.mark.parametrize("text", ["[" * 100_000, '"\\ud800"', "1" + "0" * 400, "7" * 5_000, '{"a": [' * 50_000])
def test_json_that_python_cannot_use_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"nested too deeply|halves of characters|digits"):
        parse_json(text)


def test_python_that_is_nested_too_deeply_is_a_problem_of_the_metric(tiny_competition):
    (tiny_competition.config.parent / "mine.py").write_text("-" * 50_000 + "1\n")
    with pytest.raises(ConfigError, match=r"mine\.py, it is nested too deeply for Python"):
        tiny_competition.change(metric="mine.py:score")


@pytest.mark.parametrize("content", [b"garbage" * 1_000, b"", b"SQLite format 3\0" + bytes(84)])
def test_a_study_that_is_no_database_is_an_error(content, tmp_path):
    (tmp_path / "study.db").write_bytes(content)
    if not content:  # SQLite takes it for a new one
        assert open_study(tmp_path, "maximize", 1, 0).trials == []
        return
    with pytest.raises(RunError, match=r"study\.db cannot be read \(.*; restore a copy of it, or move it away"):
        open_study(tmp_path, "maximize", 1, 0)


@pytest.mark.parametrize("content", ["[1]", "5", "competition: x", "member: [1]", "a: ["])
def test_a_damaged_config_is_not_exported(content, tmp_path):
    run = Run(tmp_path / "runs" / "one-12345678" / "fold0")
    run.update_state(status="training")
    run.config.write_text(content)
    with pytest.raises(RunError, match=r"config\.yaml is damaged"):
        export(tmp_path / "runs", f"sqlite:///{tmp_path / 'mlflow.db'}", Console(file=StringIO()))
    assert find_detector_run(run.path) is None


@pytest.mark.parametrize("name", ["fold0x", "best", "fold", "fold²", "fold" + "7" * 50])
def test_a_soup_is_made_of_folders_of_folds(name, tmp_path):
    run = Run(tmp_path / "runs" / "one-12345678" / name)
    best = {"stage": "all", "epoch": 1, "monitor": "val_accuracy", "score": 0.5, "image_size": 32}
    run.update_state(status="trained", best=best)
    run.best_weights.write_bytes(b"weights")
    with pytest.raises(RunError, match="is not the folder of a fold; expected a name such as fold0"):
        write_soup_member([run.path], None, RunOptions(runs=tmp_path / "runs"))


@pytest.mark.parametrize("name", ["a/" * 1_500 + "b", "x" * 501, "../a", "a/../../b", "/a", "a\0b", "\ud800"])
def test_an_output_has_short_names_inside_its_folder(name, tmp_path):
    with pytest.raises(KaggleError, match="nothing was downloaded") as raised:
        check_names(["a.txt", name], tmp_path)
    assert len(str(raised.value)) < 1_000


def test_the_note_of_a_download_is_not_written_for_each_file(standin, tmp_path, monkeypatch):
    ref, written = KernelRef("ada", "some-kernel", 1), []
    standin.add_kernel(ref.name, {f"{number}.txt": b"a" for number in range(40)})
    write = outputs.write_json
    monkeypatch.setattr(outputs, "_SECONDS_BETWEEN_NOTES", 3_600)
    monkeypatch.setattr(
        outputs, "write_json", lambda path, *rest, **more: written.append(path) or write(path, *rest, **more)
    )
    pull(sign_in(), ref, tmp_path / "output", Console(file=StringIO()))
    assert len(json.loads((tmp_path / "output" / NOTE).read_text())["files"]) == 40
    assert len(written) <= 3


@pytest.mark.parametrize("file", ["../best.weights.h5", "/etc/passwd", "a/../../b"])
def test_the_best_weights_of_a_checkpoint_are_inside_the_run(file, tmp_path):
    folder = tmp_path / "runs" / "fold0"
    best = {"file": file, "digest": "0" * 16, "reports": []}
    CheckpointStore(folder).write(Progress(seed=1, best=best), {"model/00000": np.ones(3)})
    with pytest.raises(RunError, match=r"no checkpoint in .* can be used"):
        CheckpointStore(folder).load_newest(Console(file=StringIO()))


def test_the_ledger_keeps_times_at_the_ends_of_the_calendar(tmp_path):
    ledger = Ledger(tmp_path / "ledger.csv")
    for time_ in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)):
        ledger.add(Row.of(time=time_, competition="cars", file="a.csv", status="complete"))
    assert [row["time"] for row in ledger.rows()] == ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
    assert [row.time.year for row in ledger.rows()] == [1, 9999]


def test_json_is_printed_in_any_encoding(tmp_path):
    run = Run(tmp_path / "runs" / "one-12345678" / "fold0")
    run.update_state(status="training", command="podium train früh.yaml")
    (run.path / "config.yaml").write_text("name: one\n")
    done = subprocess.run(
        [sys.executable, "-m", "podium", "runs", "--json"],
        cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True,
    )  # fmt: skip
    assert b"one-12345678" in done.stdout


@pytest.mark.parametrize(
    "name", ["configs/../../b", "/b", "configs//b", "configs/..\\..\\b", "C:/b", "configs/a\0b", "configs/\ud800"]
)
def test_the_files_of_a_built_script_stay_in_its_folder(name, tmp_path):
    script = tmp_path / "kernel.py"
    job = json.dumps({"kind": "inference", "blend": name})
    for line in (f"FILES[{name!a}] = 'text'", f"JOB = json.loads({job!a})"):
        script.write_text(f"{line}\n")
        with pytest.raises(BundleError, match=r"not a script that podium built \((it has a file outside|.*surrogates)"):
            read_packed(script)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("Id,Day\na.jpg,../../../outside\n", "lead outside the data folder: 'test/../../../outside/hidden000.jpg'"),
        ("Id,Day\na.jpg,..\\outside\n", "lead outside the data folder"),
        ("Id,Day\na.jpg,b\0\n", "lead outside the data folder|bytes that are zero|line contains NUL"),
        ("Id,Day\n", "expected a column 'Id', and a first row"),
        ("Id,Day\na.jpg\n", "a first row with as many fields as the header"),
        ("Name,Day\na.jpg,b\n", "expected a column 'Id'"),
        ("Id,Name\na.jpg,b\n", "it has no 'Day'"),
        ("", "expected a column 'Id'"),
        ('"' + "a" * 200_000, "is not a CSV file"),
    ],
)
def test_a_rehearsal_writes_only_in_the_folder_of_its_test_set(rows, message, tiny_competition, tmp_path):
    (tiny_competition.folder / "test.csv").write_text(rows)
    tiny = tiny_competition.change(test={"table": "test.csv", "images": "test/{Day}/{id}"})
    with pytest.raises(DataError, match=message):
        make_hidden_test(tiny.competition, tiny.folder, tmp_path / "build" / "hidden-test")
    assert (tiny.folder / "test.csv").read_text() == rows
    assert {path.name for path in tmp_path.iterdir()} <= {"tiny", "build"}
    assert {path.name for path in tmp_path.glob("build/*")} <= {"hidden-test"}


def test_json_for_a_terminal_has_no_controls_and_is_read_as_the_same(capsys):
    content = {"title": "a\x1b[2J\x7f\x9b31m\u202egnp.\u2066\n\té€"}
    print_json(content)
    printed = capsys.readouterr().out
    assert json.loads(printed) == content
    assert printable(printed) == printed
    assert "é€" in printed
