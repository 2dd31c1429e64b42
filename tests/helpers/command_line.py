"""Runs podium's command line in this process."""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from podium.cli import options
from podium.cli.main import main


class Result(NamedTuple):
    """The exit code of a command, and what it printed."""

    code: int
    out: str
    err: str


def run_podium(folder, *arguments):
    """`podium ARGUMENTS…` as typed in this folder."""
    out, err, folder_before, argv_before = io.StringIO(), io.StringIO(), Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["podium", *map(str, arguments)]
    options.debug_is_on = False
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
        code = 0
    except SystemExit as exited:
        code = exited.code or 0
    finally:
        os.chdir(folder_before)
        sys.argv = argv_before
    return Result(code, out.getvalue(), err.getvalue())
