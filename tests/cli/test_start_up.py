"""What the list of commands costs: neither the commands nor the libraries that they need."""

import json
import subprocess
import sys

import pytest
import typer

from podium.cli.commands import COMMANDS, GROUPS
from podium.cli.main import app, command_line

IMPORTED = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
sys.argv = ["podium", "--help"]
from podium.cli.main import main
main()
"""


def test_the_list_of_verbs_imports_no_verb_and_no_library_but_typer():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert all(name in done.stdout for name in [*COMMANDS, *GROUPS])
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert not imported & {"pydantic", "yaml", "rich", "numpy", "pandas", "kaggle"}
    assert not [
        name for name in imported if name.startswith(("podium.cli.members", "podium.config", "podium.workflows"))
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_tells_what_a_verbs_own_help_begins_with(command):
    help_of_command = typer.main.get_command(app).commands[command].help
    assert " ".join(help_of_command.split("\n\n")[0].split()) == COMMANDS[command].does


@pytest.mark.parametrize("group", GROUPS)
def test_a_groups_own_help_begins_as_the_list_tells(group):
    assert typer.main.get_command(app).commands[group].help == GROUPS[group]
    assert typer.main.get_command(command_line([])).commands[group].help == GROUPS[group]


def test_a_verb_after_two_hyphens_is_the_command(podium, tmp_path):
    code, out, _ = podium("--", "runs", "--runs", tmp_path)
    assert (code, out) == (0, f"no runs in {tmp_path}; podium train and podium run make them\n")
