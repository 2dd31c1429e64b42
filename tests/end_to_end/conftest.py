"""The command line for the tests that train."""

import pytest
from command_line import run_podium


@pytest.fixture
def podium(tmp_path, monkeypatch):
    """`podium("run", file, "--dry-run")`: a command in an empty folder, the test's current one."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_podium(tmp_path, *arguments)
