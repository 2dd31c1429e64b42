"""The local rehearsal: what a script can see and do in it, and how its end is reported."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from namespaces import has_namespaces

from podium.errors import DataError, KaggleError, RunError
from podium.kernel.rehearsal import rehearse, sources_of
from podium.locks import locked

COMPETITION, DATASET, KERNEL = ("competition", "cars"), ("dataset", "ada/weights"), ("kernel", "ada/before")
MODEL = ("model", "ada/net/pyTorch/small/1")


@pytest.fixture
def run(tmp_path):
    """`run(text, …)` rehearses a script with this text; returns the outcome and what it printed."""
    inputs = {}
    for source in (COMPETITION, DATASET, KERNEL, MODEL):
        inputs[source] = tmp_path / "sources" / source[0]
        inputs[source].mkdir(parents=True)
        (inputs[source] / "file.txt").write_text(source[0])

    def start(text, **options):
        script = tmp_path / "script.py"
        script.write_text(text)
        outcome = rehearse(script, inputs, tmp_path / "root", **options)
        return outcome, "".join(line.data for line in outcome.lines if line.stream_name == "stdout")

    start.root = tmp_path / "root"
    start.inputs = inputs
    return start


PRINT_INPUTS = """
import os
from pathlib import Path
root = Path(os.environ["PODIUM_KAGGLE_INPUT"])
for place in PLACES:
    print((root / place / "file.txt").read_text())
print(Path.cwd())
"""


@pytest.mark.parametrize(
    ("layout", "places"),
    [
        (
            "new",
            ["competitions/cars", "datasets/ada/weights", "notebooks/ada/before", "models/ada/net/pytorch/small/1"],
        ),
        ("old", ["cars", "weights", "before", "net/pytorch/small/1"]),
    ],
)
def test_inputs_are_mounted_as_on_kaggle(layout, places, run):
    outcome, out = run(PRINT_INPUTS.replace("PLACES", repr(places)), layout=layout)
    assert outcome.is_complete
    assert out.splitlines()[-5:] == ["competition", "dataset", "kernel", "model", str(run.root / "kaggle" / "working")]


def test_sources_with_the_same_name_are_refused_in_the_old_layout(run, tmp_path):
    run.inputs[("dataset", "grace/cars")] = tmp_path
    with pytest.raises(KaggleError, match="two sources are called cars"):
        run("", layout="old")


def test_dataset_with_the_name_of_a_model_is_refused_and_not_written_to(run, tmp_path):
    run.inputs.clear()
    run.inputs.update(
        {("dataset", "grace/net"): tmp_path / "sources" / "dataset", MODEL: tmp_path / "sources" / "model"}
    )
    with pytest.raises(KaggleError, match="two sources are called net"):
        run("", layout="old")
    assert [path.name for path in (tmp_path / "sources" / "dataset").iterdir()] == ["file.txt"]


def test_cells_of_a_notebook_run_in_order(run, tmp_path):
    cells = [{"cell_type": "code", "source": "word = 'a'"}, {"cell_type": "markdown", "source": "text"}]
    cells += [{"cell_type": "code", "source": ["word += 'b'\n", "print(word, __name__)"]}]
    notebook = tmp_path / "kernel.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    outcome = rehearse(notebook, run.inputs, run.root)
    assert outcome.is_complete
    assert outcome.lines[-1].data == "ab __main__\n"


@pytest.mark.skipif(not has_namespaces(), reason="this system has no namespaces")
def test_kernel_with_internet_has_the_network_of_this_machine(run):
    count = "print(len(open('/proc/net/dev').readlines()))"
    outcome, out = run(count, internet=True)
    assert outcome.is_complete
    assert out.splitlines()[-1] == str(len(Path("/proc/net/dev").read_text().splitlines()))


PACKAGES = """
import sys
from pathlib import Path
for name in ("podium", "efficientnet", "keras_applications"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error)
Path("podium.py").write_text("here = True")
sys.path.insert(0, "")
import podium, numpy
print(podium.here, numpy.__name__)
print(sys.executable, sys.flags.isolated, "site" in sys.modules)
"""


def test_interpreter_is_fresh_and_has_kaggles_packages_and_the_unpacked_ones(run):
    assert run(PACKAGES)[1].splitlines()[1:] == [
        "No module named 'podium' (Kaggle's image does not have it)",
        "No module named 'efficientnet' (Kaggle's image does not have it)",
        "No module named 'keras_applications' (Kaggle's image does not have it)",
        "True numpy",
        f"{sys.executable} 1 False",
    ]


@pytest.mark.skipif(not has_namespaces(), reason="this system has no namespaces")
def test_script_has_no_network_and_can_write_only_to_the_working_folder(run):
    text = """
import os, socket, tempfile
from pathlib import Path
Path("output.txt").write_text("kept")
for place in (os.environ["PODIUM_KAGGLE_INPUT"] + "/competitions/cars", "/tmp", Path(__file__).parent):
    try:
        (Path(place) / "new").write_text("x")
        print("wrote in", place)
    except OSError as error:
        print("refused")
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError as error:
    print("no network")
print(tempfile.gettempdir() == os.getcwd())
"""
    outcome, out = run(text)
    assert out.splitlines() == [
        f"rehearsal: no network; writable: {run.root / 'kaggle' / 'working'}",
        *["refused"] * 3,
        "no network",
        "True",
    ]
    assert (outcome.working / "output.txt").read_text() == "kept"
    assert sorted(path.name for path in run.inputs[COMPETITION].iterdir()) == ["file.txt"]


def test_log_lists_missing_isolation(run, monkeypatch):
    monkeypatch.setattr("podium.kernel.rehearsal._find_namespaces", lambda: (False, []))
    outcome, out = run("print('ran')")
    assert outcome.is_complete
    assert f"; writable: {outcome.working}, {run.root}" in out


def test_environment_variables_are_not_inherited(run, monkeypatch):
    for name in ("KAGGLE_KEY", "KAGGLE_API_TOKEN", "PODIUM_DATA"):
        monkeypatch.setenv(name, "of this machine")
    assert "of this machine" not in run("import os; print(dict(os.environ))")[1]


def test_time_limit_kills_the_script_as_kaggle_does(run):
    outcome, out = run("import time\nprint('started', flush=True)\nwhile True: time.sleep(1)", time_limit=1.0)
    assert outcome.timed_out
    assert not outcome.is_complete
    assert out.endswith("started\n")


@pytest.mark.parametrize(("text", "code"), [("", 0), ("raise ValueError('x')", 1), ("raise SystemExit(3)", 3)])
def test_exit_code_decides_whether_the_kernel_is_complete(text, code, run):
    outcome, _ = run(text)
    assert (outcome.code, outcome.is_complete) == (code, code == 0)


def test_log_keeps_streams_and_order(run):
    outcome, _ = run("import sys\nfor word in ('one', 'two'):\n    print(word)\n    print(word, file=sys.stderr)")
    for stream in ("stdout", "stderr"):
        lines = [line for line in outcome.lines if line.stream_name == stream][-2:]
        assert [line.data for line in lines] == ["one\n", "two\n"]
        assert lines[0].time <= lines[1].time
    assert {"one\n", "two\n"} <= set((run.root / "kaggle" / "kernel.log").read_text().splitlines(keepends=True))


def test_previous_output_is_deleted_but_other_folders_are_not(run):
    run("from pathlib import Path; Path('old.txt').touch()")
    outcome, _ = run("")
    assert list(outcome.working.iterdir()) == []
    (run.root / "kaggle" / "made-by-podium-kernel-run").unlink()
    (run.root / "kaggle" / "working" / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match="was not created by a rehearsal; name another folder with --root"):
        run("")
    assert (run.root / "kaggle" / "working" / "precious.txt").read_text() == "mine"


def test_dry_run_mounts_only_data():
    metadata = {"competition_sources": ["cars"], "dataset_sources": ["ada/weights"], "kernel_sources": ["ada/before"]}
    metadata["model_sources"] = [MODEL[1]]
    assert sources_of(metadata) == [COMPETITION, DATASET, KERNEL, MODEL]
    assert sources_of(metadata, dry_run=True) == [COMPETITION]
    assert sources_of(metadata, dry_run=True, data=DATASET) == [COMPETITION, DATASET]


def test_two_rehearsals_in_one_folder_are_refused(run):
    with locked(run.root / "kaggle"), pytest.raises(RunError, match="is in use by process"):
        run("")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_script_ends_with_the_rehearsal(number, run, tmp_path):
    """The script holds a FIFO open, whose other end is closed when the script is gone."""
    os.mkfifo(tmp_path / "alive")
    (tmp_path / "script.py").write_text(
        f"""
        import time
        alive = open({str(tmp_path / "alive")!r}, "w")
        alive.write("began"), alive.flush()
        while True: time.sleep(1)
    """.replace("        ", "")
    )
    start = f"""
        from pathlib import Path
        from podium.kernel.rehearsal import rehearse
        rehearse(Path({str(tmp_path / "script.py")!r}), {{}}, Path({str(run.root)!r}))
    """.replace("        ", "")
    driver = subprocess.Popen([sys.executable, "-c", start], stderr=subprocess.DEVNULL)
    with driver, (tmp_path / "alive").open() as alive:
        assert alive.read(5) == "began"
        driver.send_signal(number)
        assert alive.read() == ""
