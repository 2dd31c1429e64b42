"""A new account's first hour: the commands of docs/kaggle.md, from token to score, run in order against the stand-in.

A line that the page shows must be printed, with any numbers, dates and digests; "…" on the page stands for anything.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from command_line import run_podium
from standin import serve
from standin.sessions import run_pushed

from podium.demo.competition import draw_competition
from podium.kernel.report import REPORT

ROOT = Path(__file__).parents[2]
CSV = re.compile(r"podium-demo-cars_demo__\d{8}-\d{6}\.csv")
FLEET = "podium fleet up configs/ensembles/demo.yaml"
TIMEOUT = 900
"""Seconds, for the slowest of machines."""
OF_THIS_MACHINE = ("rehearsal: ",)
"""Lines that depend on what the operating system allows."""


@dataclass(frozen=True)
class Step:
    """Commands of the page, and the lines that it shows for them; without commands, the last one again."""

    commands: tuple[str, ...]
    shown: tuple[str, ...]


def steps_until_the_score():
    """The blocks of the page in order, without those that start the stand-in."""
    page = (ROOT / "docs" / "kaggle.md").read_text(encoding="utf-8")
    page = page[: page.index("After two other blends")]
    steps = []
    for kind, block in re.findall(r"```(console|text)\n(.*?)```", page, flags=re.DOTALL):
        lines = tuple(line.removeprefix("$ ") for line in block.splitlines())
        if kind == "console" and "serve.py" not in block:
            steps.append(Step(lines, ()))
        elif kind == "text" and steps[-1].shown:
            steps.append(Step((), lines))
        elif kind == "text":
            steps[-1] = Step(steps[-1].commands, lines)
    return steps


def pattern_of(shown):
    """Matches the shown line with other numbers."""
    return ".*".join(re.escape(plain(part)) for part in shown.split("…"))


def plain(line):
    line = re.sub(r"\d{8}-\d{6}|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,}\b", "#", line)
    line = re.sub(r"\d[\d.,:]*(?:e-\d+)?", "#", line)
    return " ".join(re.sub(r"# [kMG]B\b", "# MB", line).split())


class User:
    """Types commands in a clone of the project. `run` returns the exit code and the output of a command."""

    def __init__(self, folder, run):
        self.folder, self._run = folder, run
        self.csv = ""
        """The submission written last, which the page shows with the time of its own."""

    def types(self, command, code=0):
        """The lines that a command prints, which must end with this exit code."""
        program, *words = shlex.split(CSV.sub(self.csv, command) if self.csv else command)
        assert program == "podium"
        ended, out = self._run(words)
        assert ended == code, out
        written = [name for name in CSV.findall(out) if (self.folder / "submissions" / name).is_file()]
        self.csv = written[-1] if written else self.csv
        return out.splitlines()


def not_printed(shown, printed):
    """The shown lines that were not printed."""
    lines = [plain(line) for line in printed]
    return [
        line
        for line in shown
        if line != "…" and not line.startswith(OF_THIS_MACHINE)
        if not any(re.fullmatch(pattern_of(line), other) for other in lines)
    ]


@pytest.fixture
def clone(standin, tmp_path, monkeypatch, request):
    """The user's folder, with a token in ~/.kaggle/access_token; the stand-in has a small drawing of its data."""
    train, test = (160, 40) if request.node.get_closest_marker("slow") else (40, 20)
    serve.fill(standin, draw_competition(tmp_path / "drawn", train=train, test=test).folder)
    key = tmp_path / "home" / ".kaggle" / "access_token"
    key.parent.mkdir(parents=True)
    key.write_text(standin.token)
    key.chmod(0o600)
    for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(ROOT / "configs", tmp_path / "clone" / "configs")
    return tmp_path / "clone"


def in_a_process(folder, words):
    ended = subprocess.run(
        [sys.executable, "-m", "podium", *words], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout


def in_this_process(folder, words):
    ended = run_podium(folder, *words)
    return ended.code, ended.out + ended.err


def test_the_page_leads_from_a_token_to_a_score():
    typed = [command for step in steps_until_the_score() for command in step.commands]
    words = [" ".join(command.split()[1:3]) for command in typed]
    assert words == [
        "data download", "kernel build", "kernel run", "kernel push", "fleet up",
        "submit submissions/podium-demo-cars_demo__20261126-073333.csv",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_first_hour_of_the_page_ends_with_a_score(clone, standin):
    standin.runner = run_pushed
    user = User(clone, partial(in_a_process, clone))
    assert user.types("podium doctor")[-1].split(maxsplit=2)[2].startswith("access token, from")
    missing = []
    for step in steps_until_the_score():
        printed = []
        for command in step.commands:
            printed += user.types(command)
            last = command
        if not step.commands:
            printed = user.types(last, code=1)
        missing += [(line, printed) for line in not_printed(step.shown, printed)]
    assert missing == []
    (submission,) = standin.submissions[serve.SLUG]
    assert submission.public is not None


def canned(version, inputs, working):
    """A kernel that ends at once, with the report of a run."""
    state = {"status": "trained", "best": {"stage": "all", "epoch": 1, "monitor": "val_accuracy", "score": 0.75}}
    run = "runs/demo_wide-6e43410b/fold0"
    entry = {"member": "demo_wide", "fold": 0, "run": run, "predictions": None, "state": state}
    (working / run).mkdir(parents=True)
    (working / run / "state.json").write_text(json.dumps(state))
    (working / REPORT).write_text(json.dumps({"status": "done", "runs": [entry]}))
    return 0, ["epoch 1\n"]


def test_the_first_hour_of_the_page_without_training(clone, standin):
    """As above, with a kernel that does nothing, and the answers in place of the fleet's submission."""
    standin.runner = canned
    user = User(clone, partial(in_this_process, clone))
    download, build, push, submit = (
        step for step in steps_until_the_score() if step.commands and step.commands[0] != FLEET
    )
    assert not_printed(download.shown, user.types(download.commands[0])) == []
    assert not_printed(build.shown[:1], user.types(build.commands[0])) == []
    assert not_printed(push.shown[:3], user.types(push.commands[0])) == []
    user.csv = CSV.search(submit.commands[0])[0]
    (clone / "submissions").mkdir()
    shutil.copy(clone.parent / "drawn" / "hidden-answers.csv", clone / "submissions" / user.csv)
    assert not_printed(submit.shown[:2], user.types(submit.commands[0])) == []
    (submission,) = standin.submissions[serve.SLUG]
    assert submission.public is not None
