"""The command line, run in this process, as the tests of its commands share it."""

import sys

import pytest

from podium.cli import options
from podium.cli.main import main


@pytest.fixture
def podium(monkeypatch, capsys):
    """Run a command line; returns its exit code, stdout and stderr."""
    monkeypatch.setattr(options, "debug_is_on", False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["podium", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return exit_.value.code or 0, out, err

    return run
