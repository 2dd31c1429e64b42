"""Exit codes, help and error messages of the command line, and the commands that need no training."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import typer
import yaml
from rich.text import Text

from podium.cli.main import app, main

COMPETITION = """\
slug: tiny-squares
train: {table: train.csv, images: 'train/{id}'}
test: {images: 'test/{id}'}
classes: [red, blue]
metric: accuracy
"""
COMMANDS = [command.name for command in app.registered_commands]
GROUPS = {
    group.name: [command.name for command in group.typer_instance.registered_commands]
    for group in app.registered_groups
}
EVERY = [
    *([command] for command in COMMANDS),
    *([group, command] for group in GROUPS for command in GROUPS[group]),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with one competition and its data."""
    (tmp_path / "configs" / "competitions").mkdir(parents=True)
    (tmp_path / "configs" / "competitions" / "tiny.yaml").write_text(COMPETITION)
    (tmp_path / "data" / "tiny-squares").mkdir(parents=True)
    (tmp_path / "data" / "tiny-squares" / "sample-submission.csv").write_text("Id,Category\na,red\nb,red\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def submission(here):
    """`submission(text)`: the path of a CSV whose name begins with the competition's slug."""

    def written(text="Id,Category\na,red\nb,blue\n", name="tiny-squares_blend__20260101-120000.csv"):
        path = here / "submissions" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path.relative_to(here)

    return written


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "podium", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Usage: podium" in done.stdout


def test_commands_and_groups(podium):
    assert COMMANDS == [
        "demo", "init", "train", "predict", "blend", "run", "pseudo", "runs", "jobs", "compare", "report", "mistakes",
        "export", "set", "plan", "find-batch", "find-lr", "soup", "search", "check", "submit", "board", "schema",
        "doctor",
    ]  # fmt: skip
    assert GROUPS == {
        "config": ["check"],
        "data": ["sample", "download", "push", "check", "preview", "errors"],
        "kernel": ["build", "run", "push", "status", "logs", "pull"],
        "fleet": ["up", "status", "down"],
        "detect": ["build", "export", "train", "evaluate", "predict", "crop", "import-log"],
    }
    code, out, _ = podium("--help")
    assert code == 0
    assert all(command in out for command in [*COMMANDS, *GROUPS])


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_help_describes_the_command_and_shows_an_example(podium, command):
    code, out, err = podium(*command, "--help")
    assert (code, err) == (0, "")
    assert out.count(f"podium {' '.join(command)}") >= 2 or command == ["demo"]
    assert "--debug" in out
    assert "<bool>" not in out


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_no_part_of_a_help_is_taken_for_markup(command):
    found = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    for text in [found.help, *(parameter.help for parameter in found.params)]:
        assert Text.from_markup(text or "").plain == (text or "").replace("\\[", "[")


@pytest.mark.parametrize("command", ["predict", "blend", "pseudo", "data errors", "detect evaluate"])
def test_limit_chooses_trained_runs_where_nothing_is_trained(podium, command):
    text = " ".join(podium(*command.split(), "--help").out.replace("│", " ").split())
    assert "Use the runs that were trained with this --limit." in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("leap",),
        ("check",),
        ("train",),
        ("train", "member.yaml", "--fold", "first"),
        ("train", "member.yaml", "--fold", "-1"),
        ("train", "member.yaml", "--limit", "0"),
        ("train", "member.yaml", "--seed", "-1"),
        ("train", "member.yaml", "--seed", str(2**31)),
        ("train", "member.yaml", "--sed", "1"),
        ("predict", "member.yaml", "--limit-test", "0"),
        ("report", "runs/a-1a2b3c4d", "--serve"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(podium, here, arguments):
    code, out, err = podium(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: " in err


def test_no_arguments_show_the_help(podium):
    code, out, err = podium()
    assert code == 2
    assert "Usage: " in out + err


@pytest.mark.parametrize("command", ["train", "predict", "blend", "run"])
def test_a_missing_config_is_one_line_on_stderr(podium, here, command):
    assert podium(command, "tiny.yaml") == (1, "", "podium: tiny.yaml  no such file; is . the right folder?\n")


def test_all_problems_of_a_config_are_reported(podium, here):
    (here / "broken.yaml").write_text("members: []\nblend: meen\nsed: 1\n")
    code, out, err = podium("blend", "broken.yaml")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "podium: 3 problems in the configuration",
        "  broken.yaml:1  members: expected 1 or more items, got []",
        "  broken.yaml:2  blend: expected one of mean, geometric, rank_mean, weights, hill_climb, stacking; got 'meen';"
        " did you mean 'mean'?",
        "  broken.yaml:3  sed: unknown key; did you mean 'seed'?",
    ]


def test_missing_data_is_an_error_with_all_searched_folders(podium, here):
    member = "competition: configs/competitions/tiny.yaml\nbackbone: {name: MobileNet, weights: none}\nstages:\n"
    stage = "  - {name: a, unfreeze: all, epochs: 1, batch_size: 8, image_size: 32, learning_rate: 1e-3}\n"
    (here / "tiny.yaml").write_text(member + stage)
    (here / "data" / "tiny-squares").rename(here / "data" / "elsewhere")
    code, _, err = podium("train", "tiny.yaml")
    assert code == 1
    assert err.startswith("podium: no data for tiny-squares in data/tiny-squares, ")
    assert len(err.splitlines()) == 1
    assert podium("train", "tiny.yaml", "--data", "nowhere")[2] == (
        "podium: --data: nowhere is not a folder; expected the folder with the data of tiny-squares\n"
    )


def test_debug_shows_the_traceback(here):
    command = [sys.executable, "-m", "podium", "check", "none.csv", "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].endswith(
        "SubmissionError: there is no file none.csv; podium blend and podium run write one to submissions/"
    )


def test_an_error_of_the_operating_system_is_one_line(podium, monkeypatch, submission):
    def full(*_):
        raise OSError(28, "No space left on device", "answers.csv")

    monkeypatch.setattr("podium.workflows.check.find_problems", full)
    assert podium("check", submission()) == (
        1,
        "",
        "podium: answers.csv: No space left on device; fix that and run the same command again\n",
    )


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("tensorflow.python", "tensorflow"),
        ("keras_hub", "keras-hub"),
        ("kagglesdk", "kaggle"),
        ("cv2", "opencv-python-headless"),
    ],
)
def test_a_required_library_that_is_missing_is_one_line(podium, submission, monkeypatch, module, distribution):
    def import_it(*_):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("podium.workflows.check.find_problems", import_it)
    message = f"podium: {distribution} is not installed; podium doctor names what is missing and how to get it\n"
    assert podium("check", submission()) == (1, "", message)


def test_a_missing_module_of_podium_itself_has_a_traceback(podium, submission, monkeypatch):
    def import_it(*_):
        raise ModuleNotFoundError("No module named 'podium.none'", name="podium.none")

    monkeypatch.setattr("podium.workflows.check.find_problems", import_it)
    with pytest.raises(ModuleNotFoundError):
        podium("check", submission())


def test_a_detector_has_no_list_of_mistakes(podium, here):
    run = here / "runs" / "boats-1a2b3c4d"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("name: boats\ndetector: {classes: [boat]}\n")
    assert podium("mistakes", "runs/boats-1a2b3c4d") == (
        1,
        "",
        "podium: runs/boats-1a2b3c4d is the run of a detector; expected that of a member or a blend: the page of podium"
        " report shows the worst images of a detector\n",
    )
    assert "the file of a member or an ensemble; by" in " ".join(
        podium("mistakes", "--help").out.replace("│", " ").split()
    )


# podium check


def test_valid_submission(podium, submission):
    assert podium("check", submission()) == (
        0,
        "submissions/tiny-squares_blend__20260101-120000.csv: valid, ready to submit\n",
        "",
    )


def test_one_problem_is_one_line(podium, submission):
    code, out, err = podium("check", submission("Id,Category\na,red\nb,bule\n"))
    assert (code, out) == (1, "")
    assert err == (
        "podium: submissions/tiny-squares_blend__20260101-120000.csv must not be submitted: line 3 has an"
        " unknown label, 'bule'; did you mean 'blue'?\n"
    )


def test_many_problems_are_listed(podium, submission):
    code, out, err = podium("check", submission("Id,Category\na,green\nc,red\n"))
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "podium: submissions/tiny-squares_blend__20260101-120000.csv must not be submitted:",
        "  1 ids missing: 'b'; expected all 2 of sample-submission.csv",
        "  1 ids not in the sample (first on line 3): 'c'; expected ids like 'a', …",
        "  line 2 has an unknown label, 'green'; expected one of 'red', 'blue'",
    ]


def test_problems_as_json(podium, submission):
    path = submission("Id,Category\na,red\nb,bule\n")
    code, out, err = podium("check", path, "--json")
    assert (code, err) == (1, "")
    problem = "line 3 has an unknown label, 'bule'; did you mean 'blue'?"
    assert json.loads(out) == {"file": str(path), "valid": False, "problems": [problem]}


def test_missing_file_is_one_line(podium, here):
    code, out, err = podium("check", "none.csv")
    assert (code, out) == (1, "")
    assert err == "podium: there is no file none.csv; podium blend and podium run write one to submissions/\n"


def test_a_folder_is_no_submission(podium, here):
    assert podium("check", "data") == (
        1,
        "",
        "podium: data is a folder; expected a CSV file, such as podium blend writes to submissions/\n",
    )


def test_competition_is_found_by_the_file_name_or_given(podium, submission):
    path = submission(name="blend.csv")
    code, _, err = podium("check", path)
    assert code == 1
    assert err == (
        "podium: no blend in runs wrote blend.csv, and it does not start with the slug of a competition file"
        " (available: tiny-squares); name one with --competition\n"
    )
    for name in ("configs/competitions/tiny.yaml", "tiny-squares"):
        assert podium("check", path, "--competition", name)[0] == 0
    assert (
        "there is no competition file for none (available: tiny-squares)"
        in podium("check", path, "--competition", "none")[2]
    )


def test_competition_is_found_by_the_ledger_and_by_the_name_of_any_run(podium, submission, here):
    (here / "configs" / "competitions" / "tiny.yaml").unlink()
    run = here / "runs" / "wide-1a2b3c4d" / "fold0"
    run.mkdir(parents=True)
    competition = yaml.safe_load(COMPETITION)
    content = {"name": "wide", "fold": 0, "member": {}, "competition": competition}
    (run / "config.yaml").write_text(yaml.safe_dump(content))
    assert podium("check", submission())[0] == 0
    path = submission("Id,Category\na,blue\nb,red\n", name="renamed.csv")
    assert "no blend in runs wrote renamed.csv" in podium("check", path)[2]
    (here / "submissions" / "ledger.csv").write_text(
        "time,competition,file,status,ref\n2026-01-01T12:00:00Z,tiny-squares,renamed.csv,complete,7\n"
    )
    assert podium("check", path)[0] == 0


def test_sample_is_found_in_the_data_or_given(podium, submission, here, monkeypatch):
    (here / "data" / "tiny-squares").rename(here / "elsewhere")
    assert "no data for tiny-squares" in podium("check", submission())[2]
    assert podium("check", submission(), "--data", "elsewhere")[0] == 0
    assert podium("check", submission(), "--sample", "elsewhere/sample-submission.csv")[0] == 0
    monkeypatch.setenv("PODIUM_DATA", "elsewhere")
    assert podium("check", submission())[0] == 0


# podium doctor


def test_doctor_lists_libraries_and_hardware(podium, here, monkeypatch):
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(here / "kaggle"))
    code, out, err = podium("doctor")
    assert (code, err) == (0, "")
    shown = dict(re.split(" {2,}", line.strip(), maxsplit=1) for line in out.splitlines())
    assert shown["python"] == sys.version.split()[0]
    assert "missing" not in shown.values()
    assert {"tensorflow", "keras", "CPU cores", "free disk space", "GPUs", "kaggle key"} <= set(shown)
    assert shown["kaggle key"].startswith("none; run kaggle auth login")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (f"check {__file__}", f"resume with: podium check {__file__}"),
        ("train a.yaml", "saved checkpoints are intact; resume with: podium train a.yaml --resume"),
        ("detect train a.yaml", "saved checkpoints are intact; resume with: podium detect train a.yaml --resume"),
        ("run a.yaml", "saved checkpoints are intact; resume with: podium run a.yaml"),
        ("data sample a", "resume with: podium data sample a"),
    ],
)
def test_an_interrupt_prints_the_command_that_resumes_and_exits_with_75(number, command, advice, monkeypatch, capsys):
    def interrupted(*_, **__):
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    for function in (
        "workflows.check.find_competition", "cli.members.load_member", "cli.detect.load_detector",
        "workflows.configs.load_ensemble", "demo.competition.draw_competition",
    ):  # fmt: skip
        monkeypatch.setattr(f"podium.{function}", interrupted)
    monkeypatch.setattr("sys.argv", ["podium", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 75
    assert capsys.readouterr().err == f"podium: {number.name}: stopped; {advice}\n"
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_served_report_without_an_error(podium, here, number, monkeypatch):
    monkeypatch.setattr("http.server.HTTPServer.serve_forever", lambda _: os.kill(os.getpid(), number))
    code, out, err = podium("report", "--serve", "--port", "0")
    assert (code, err) == (0, "")
    assert out.startswith("http://127.0.0.1:")


EARLY = """
import os, signal, sys
class Import:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Import())
from podium.__main__ import main
main()
"""


def test_a_signal_during_the_imports_leaves_no_traceback():
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        75,
        "podium: SIGTERM: stopped before it started; run the same command again\n",
    )
