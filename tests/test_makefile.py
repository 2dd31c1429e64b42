"""What make says before it installs anything."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
MAKEFILE = Path(__file__).parents[1] / "Makefile"


@pytest.mark.parametrize("target", ["install", "test-latest"])
def test_another_python_is_refused_before_anything_is_written(target, tmp_path):
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")  # as Python does if its version is not supported
    old.chmod(0o755)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "pyproject.toml").touch()
    before = sorted(tmp_path.iterdir())
    command = ["make", "--file", str(MAKEFILE), target, f"PYTHON={old}"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        f"podium needs Python 3.11, 3.12 or 3.13; {old} is not one of them: install one, or call make"
        " PYTHON=/path/to/python"
    )
    assert sorted(tmp_path.iterdir()) == before


def test_the_log_level_of_tensorflow_is_that_of_the_command_line(tmp_path):
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "TF_"))}
    print_it = "--eval=shown: ; @echo $$TF_CPP_MIN_LOG_LEVEL"
    command = ["make", "--file", str(MAKEFILE), print_it, "shown"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"
