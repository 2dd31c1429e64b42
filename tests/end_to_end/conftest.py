"""The command line, run in this process: what it printed, what it told on stderr, how it ended."""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from podium.cli import options
from podium.cli.main import main


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def run_podium(folder, *arguments):
    """`podium …` as if typed in this folder."""
    out, err, here, before = io.StringIO(), io.StringIO(), Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["podium", *map(str, arguments)]
    options.debug_is_on = False
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        os.chdir(here)
        sys.argv = before
    return Ended(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def podium_in():
    """`podium_in(folder, "run", file, "--dry-run")`."""
    return run_podium


@pytest.fixture
def podium(tmp_path, monkeypatch):
    """`podium("run", file, "--dry-run")`, in an empty folder of its own, which is also the test's."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_podium(tmp_path, *arguments)
