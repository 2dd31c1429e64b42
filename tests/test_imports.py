"""Light commands work without the heavy libraries. The import contracts are in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import pytest
from standin.competitions import accuracy_against

from podium.cli.main import app

HEAVY_LIBRARIES = ("tensorflow", "keras", "efficientnet", "albumentations", "cv2")
TABLE_LIBRARIES = ("numpy", "pandas", "sklearn", "scipy")
BLOCKER = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(name + " is imported where it must not be")

sys.meta_path.insert(0, Blocker())
"""
EVERY_HELP = """
from podium.cli.main import main

for command in {commands}:
    sys.argv = ["podium", *command, "--help"]
    try:
        main()
    except SystemExit as done:
        assert done.code == 0, (command, done.code)
    print("help of", *command)
"""


def run_without(libraries, script, *arguments):
    """Run a script in a Python that cannot import these libraries."""
    command = [sys.executable, "-W", "error", "-c", BLOCKER.format(blocked=libraries) + script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_blocked_imports_fail():
    done = run_without(HEAVY_LIBRARIES, "import keras")
    assert done.returncode == 1
    assert "keras is imported where it must not be" in done.stderr


def test_every_help_works_without_heavy_libraries():
    groups = {group.name: group.typer_instance.registered_commands for group in app.registered_groups}
    commands = [(), *((command.name,) for command in app.registered_commands), *((group,) for group in groups)]
    commands += [(group, command.name) for group in groups for command in groups[group]]
    done = run_without((*HEAVY_LIBRARIES, *TABLE_LIBRARIES), EVERY_HELP.format(commands=commands))
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.count("help of") == len(commands)
    assert done.stdout.count("Usage: ") == len(commands)


@pytest.mark.parametrize(
    ("keys", "columns", "rows"),
    [
        ("classes: [0, 1]\nmetric: accuracy\n", "Category", ["0", "1"]),
        ("classes: [x, y]\ntarget: multi_label\nmetric: mine.py:score\n", "x,y", ["0,1", "1,1"]),
        ("target: {kind: regression, range: [0, 9]}\nmetric: quadratic_kappa\n", "Category", ["3", "9"]),
    ],
)
def test_a_submission_is_checked_without_heavy_libraries(keys, columns, rows, tmp_path):
    empty = ",0" * len(columns.split(","))
    (tmp_path / "sample.csv").write_text(f"Id,{columns}\na{empty}\nb{empty}\n")
    (tmp_path / "answer.csv").write_text(f"Id,{columns}\na,{rows[0]}\nb,{rows[1]}\n")
    (tmp_path / "mine.py").write_text(
        "import numpy\n\nHIGHER_IS_BETTER = TAKES_ANSWERS = True\n\n\ndef score(truth, predictions):\n    return 1.0\n"
    )
    (tmp_path / "tiny.yaml").write_text(
        f"slug: tiny\ntrain: {{table: train.csv, images: 'train/{{id}}'}}\ntest: {{images: 'test/{{id}}'}}\n{keys}"
    )
    done = run_without(
        (*HEAVY_LIBRARIES, *TABLE_LIBRARIES),
        "from podium.cli.main import main; main()",
        *("check", str(tmp_path / "answer.csv")),
        *("--competition", str(tmp_path / "tiny.yaml"), "--sample", str(tmp_path / "sample.csv")),
    )
    assert done.stderr == ""
    assert done.stdout == f"{tmp_path / 'answer.csv'}: valid, ready to submit\n"
    assert done.returncode == 0


def test_kaggle_commands_need_no_heavy_libraries(standin, tiny_competition, tmp_path, monkeypatch):
    """Told by the stand-in on this machine, through the real client."""
    monkeypatch.chdir(tmp_path)
    answers = accuracy_against(tiny_competition.answers)
    standin.add_competition("tiny-squares", tiny_competition.folder, answers)
    standin.add_kernel("ada/some-kernel", {"a.txt": b"a"})
    Path("submissions").mkdir()
    sample = Path(tiny_competition.folder / "sample-submission.csv").read_text()
    Path("submissions/tiny-squares_a.csv").write_text(sample.replace(",0", ",1", 1))
    asked = ["--competition", str(tiny_competition.config)]
    commands = [
        ["kernel", "build", str(tiny_competition.member()), "--fold", "0"],
        ["kernel", "push", str(tiny_competition.member()), "--fold", "0", "--dry-run"],
        ["kernel", "status", "ada/some-kernel"],
        ["kernel", "logs", "ada/some-kernel"],
        ["fleet", "status"],
        ["submit", "submissions/tiny-squares_a.csv", "-m", "first", "--data", str(tiny_competition.folder), *asked],
        ["board", *asked],
    ]
    for command in commands:
        done = run_without(HEAVY_LIBRARIES, "from podium.cli.main import main; main()", *command)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert standin.count("SaveKernel") == 0
    assert len(standin.submissions["tiny-squares"]) == 1


def test_blending_and_reading_configs_need_no_heavy_libraries():
    script = "import podium.ensemble.blend, podium.data.table, podium.data.folds, podium.workflows.run"
    done = run_without(HEAVY_LIBRARIES, script)
    assert (done.returncode, done.stderr) == (0, "")
