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
from pathlib import Path

import pytest
from standin import serve
from standin.sessions import run_pushed

from podium.demo.competition import draw_competition
from podium.kernel.report import REPORT

ROOT = Path(__file__).parents[2]
CSV = re.compile(r"podium-demo-cars_demo__\d{8}-\d{6}\.csv")
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
    return " ".join(re.sub(r"\d[\d.,:]*(?:e-\d+)?", "#", line).split())


class User:
    """Someone with a token in ~/.kaggle/access_token, who types commands in a clone of the project."""

    def __init__(self, standin, folder):
        home = folder / "home"
        (home / ".kaggle").mkdir(parents=True)
        (home / ".kaggle" / "access_token").write_text(standin.token)
        (home / ".kaggle" / "access_token").chmod(0o600)
        shutil.copytree(ROOT / "configs", folder / "configs")
        hidden = {name: "" for name in os.environ if name.startswith("KAGGLE_")}
        self.environment = os.environ | {"HOME": str(home), "PODIUM_KAGGLE_ENDPOINT": standin.endpoint}
        for name in hidden:
            del self.environment[name]
        self.folder = folder
        self.csv = ""

    def types(self, command, code=0):
        """The lines that a command prints, which must end with this exit code."""
        words = shlex.split(CSV.sub(self.csv, command) if self.csv else command)
        assert words[0] == "podium"
        ended = subprocess.run(
            [sys.executable, "-m", "podium", *words[1:]], cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False,
        )  # fmt: skip
        assert ended.returncode == code, ended.stdout
        written = [name for name in CSV.findall(ended.stdout) if (self.folder / "submissions" / name).is_file()]
        self.csv = written[-1] if written else self.csv
        return ended.stdout.splitlines()


def check_shown(shown, printed):
    lines = [plain(line) for line in printed]
    for line in shown:
        if line != "…" and not line.startswith(OF_THIS_MACHINE):
            assert any(re.fullmatch(pattern_of(line), other) for other in lines), f"{line!r} not in {printed}"


@pytest.fixture
def account(standin, tmp_path, monkeypatch):
    """The user, and the stand-in with a small drawing of the page's competition."""
    drawn = draw_competition(tmp_path / "drawn", train=160, test=40)
    serve.fill(standin, drawn.folder)
    (tmp_path / "clone").mkdir()
    return User(standin, tmp_path / "clone")


def test_the_page_leads_from_a_token_to_a_score():
    typed = [command for step in steps_until_the_score() for command in step.commands]
    words = [" ".join(command.split()[1:3]) for command in typed]
    assert words == [
        "data download", "kernel build", "kernel run", "kernel push", "fleet up",
        "submit submissions/podium-demo-cars_demo__20261121-102748.csv",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_first_hour_of_the_page_ends_with_a_score(account, standin):
    standin.runner = run_pushed
    assert account.types("podium doctor")[-1].split(maxsplit=2)[2].startswith("access token, from")
    for step in steps_until_the_score():
        printed = []
        for command in step.commands:
            printed += account.types(command)
            last = command
        if not step.commands:
            printed = account.types(last, code=1)
        check_shown(step.shown, printed)
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


def test_the_first_hour_of_the_page_without_training(account, standin):
    """As above, with a kernel that does nothing and a blend that is the sample submission."""
    standin.runner = canned
    wanted = {"data", "kernel build", "kernel push", "submit"}
    for step in steps_until_the_score():
        for command in step.commands:
            words = command.split()
            if words[1] not in wanted and " ".join(words[1:3]) not in wanted:
                continue
            if words[1] == "submit":
                account.csv = Path(words[2]).name
                (account.folder / "submissions").mkdir()
                sample = account.folder / "data" / serve.SLUG / "sample-submission.csv"
                shutil.copy(sample, account.folder / words[2])
            printed = account.types(command)
            if words[1] != "submit":
                trained = "fold" in command
                check_shown(step.shown[: 3 if trained else 1], printed)
    (submission,) = standin.submissions[serve.SLUG]
    assert submission.public is not None
