"""The command line for the tests of its commands."""

from pathlib import Path

import pytest
from command_line import run_podium


@pytest.fixture
def podium():
    """`podium("runs", "--json")`: a command in the current folder; returns its exit code, stdout and stderr."""
    return lambda *arguments: run_podium(Path.cwd(), *arguments)
