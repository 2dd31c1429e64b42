"""The local Kaggle: what a script sees there, what it cannot, and how its end is told."""

import os
import signal
import subprocess
import sys

import pytest

from podium.errors import DataError, KaggleError, RunError
from podium.kernel.rehearsal import rehearse, sources_of
from podium.locks import locked

COMPETITION, DATASET, KERNEL = ("competition", "cars"), ("dataset", "ada/weights"), ("kernel", "ada/before")


def has_namespaces():
    return (
        subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "--net", "true"], check=False).returncode
        == 0
    )


@pytest.fixture
def run(tmp_path):
    """`run(text, …)` rehearses a script of this text; gives the outcome, and what it printed."""
    places = {}
    for source in (COMPETITION, DATASET, KERNEL):
        places[source] = tmp_path / "sources" / source[0]
        places[source].mkdir(parents=True)
        (places[source] / "file.txt").write_text(source[0])

    def start(text, **options):
        script = tmp_path / "script.py"
        script.write_text(text)
        outcome = rehearse(script, places, tmp_path / "root", **options)
        return outcome, "".join(line.data for line in outcome.lines if line.stream_name == "stdout")

    start.root = tmp_path / "root"
    start.places = places
    return start


SEEN = """
import os
from pathlib import Path
root = Path(os.environ["PODIUM_KAGGLE_INPUT"])
print(sorted(str(path.relative_to(root)) for path in root.glob("**/file.txt") ))
for place in PLACES:
    print((root / place / "file.txt").read_text())
print(Path.cwd())
"""


@pytest.mark.parametrize(
    ("layout", "places"),
    [
        ("new", ["competitions/cars", "datasets/ada/weights", "notebooks/ada/before"]),
        ("old", ["cars", "weights", "before"]),
    ],
)
def test_inputs_lie_as_kaggle_mounts_them(layout, places, run):
    outcome, out = run(SEEN.replace("PLACES", repr(places)), layout=layout)
    assert outcome.is_complete
    assert out.splitlines()[-4:] == ["competition", "dataset", "kernel", str(run.root / "kaggle" / "working")]


def test_two_sources_of_one_name_cannot_lie_flat(run, tmp_path):
    run.places[("dataset", "grace/cars")] = tmp_path
    with pytest.raises(KaggleError, match="two sources are called cars"):
        run("", layout="old")


@pytest.mark.parametrize("module", ["podium", "efficientnet", "keras_applications"])
def test_neither_this_checkout_nor_what_the_image_lacks_can_be_imported(module, run):
    outcome, _ = run(f"import {module}")
    assert outcome.code == 1
    assert any("Kaggle's image has none" in line.data for line in outcome.lines)


def test_what_the_script_unpacks_is_found_and_the_image_has_the_rest(run):
    text = """
import sys
from pathlib import Path
Path("podium.py").write_text("here = True")
sys.path.insert(0, "")
import podium, numpy
print(podium.here, numpy.__name__)
"""
    assert run(text)[1].endswith("True numpy\n")


@pytest.mark.skipif(not has_namespaces(), reason="this system gives no namespaces")
def test_network_is_cut_and_only_the_working_folder_is_writable(run):
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
    print("no way out")
print(tempfile.gettempdir() == os.getcwd())
"""
    outcome, out = run(text)
    assert out.splitlines() == [
        f"rehearsal: the network is cut; only {run.root / 'kaggle' / 'working'} is writable",
        *["refused"] * 3,
        "no way out",
        "True",
    ]
    assert (outcome.working / "output.txt").read_text() == "kept"
    assert sorted(path.name for path in run.places[COMPETITION].iterdir()) == ["file.txt"]


def test_where_nothing_can_be_cut_off_the_log_says_so(run, monkeypatch):
    monkeypatch.setattr("podium.kernel.rehearsal._namespaces", lambda: (False, []))
    outcome, out = run("print('ran')")
    assert outcome.is_complete
    assert f"beside {outcome.working} these can be written to: {run.root}" in out
    assert "the network " in out


def test_nothing_of_this_machine_reaches_the_script(run, monkeypatch):
    for name in ("KAGGLE_KEY", "KAGGLE_API_TOKEN", "PODIUM_DATA", "PYTHONPATH"):
        monkeypatch.setenv(name, "of this machine")
    assert "of this machine" not in run("import os; print(dict(os.environ))")[1]


def test_time_limit_kills_as_kaggle_does(run):
    outcome, out = run("import time\nprint('began', flush=True)\nwhile True: time.sleep(1)", time_limit=1.5)
    assert outcome.ran_out_of_time
    assert not outcome.is_complete
    assert out.endswith("began\n")


@pytest.mark.parametrize(("text", "code"), [("", 0), ("raise ValueError('x')", 1), ("raise SystemExit(3)", 3)])
def test_how_it_ended(text, code, run):
    outcome, _ = run(text)
    assert (outcome.code, outcome.is_complete) == (code, code == 0)


def test_log_keeps_streams_and_order(run):
    outcome, _ = run("import sys\nfor word in ('one', 'two'):\n    print(word)\n    print(word, file=sys.stderr)")
    for stream in ("stdout", "stderr"):
        lines = [line for line in outcome.lines if line.stream_name == stream][-2:]
        assert [line.data for line in lines] == ["one\n", "two\n"]
        assert lines[0].time <= lines[1].time
    assert {"one\n", "two\n"} <= set((run.root / "kaggle" / "kernel.log").read_text().splitlines(keepends=True))


def test_what_an_earlier_rehearsal_left_is_gone_and_a_strangers_folder_stays(run, tmp_path):
    run("from pathlib import Path; Path('old.txt').touch()")
    outcome, _ = run("")
    assert list(outcome.working.iterdir()) == []
    own = run.root / "kaggle" / "made-by-podium-kernel-run"
    own.unlink()
    (run.root / "kaggle" / "working" / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match="is there and is no rehearsal's; give another folder with --root"):
        run("")
    assert (run.root / "kaggle" / "working" / "precious.txt").read_text() == "mine"


def test_interpreter_is_fresh(run):
    _, out = run("import sys; print(sys.executable, sys.flags.isolated, 'site' in sys.modules)")
    assert out.splitlines()[-1] == f"{sys.executable} 1 False"


def test_sources_of_metadata():
    metadata = {"competition_sources": ["cars"], "dataset_sources": ["ada/weights"], "kernel_sources": ["ada/before"]}
    assert sources_of(metadata) == [COMPETITION, DATASET, KERNEL]
    assert sources_of(metadata, dry_run=True) == [COMPETITION]
    assert sources_of(metadata, dry_run=True, data=DATASET) == [COMPETITION, DATASET]


def test_two_rehearsals_in_one_place_are_refused(run):
    with locked(run.root / "kaggle"), pytest.raises(RunError, match="is in use by process"):
        run("")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_script_ends_with_whoever_rehearses_it(number, run, tmp_path):
    """What it writes to is a fifo: the other end is closed when the last process that has it open is gone."""
    os.mkfifo(tmp_path / "alive")
    (tmp_path / "script.py").write_text(
        f"""
        import time
        from pathlib import Path
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
