"""Listing, completing and starting commands imports only what is needed."""

import json
import subprocess
import sys

import pytest
import typer

from podium import __version__
from podium.cli.commands import COMMANDS, GROUPS
from podium.cli.main import app, command_line

HELP = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
sys.argv = ["podium", "--help"]
from podium.cli.main import main
main()
"""


def test_help_imports_no_command_and_no_library_but_typer():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert all(name in done.stdout for name in [*COMMANDS, *GROUPS])
    assert "--version" in done.stdout
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert not imported & {"pydantic", "yaml", "rich", "numpy", "pandas", "kaggle"}
    assert not [
        name for name in imported if name.startswith(("podium.cli.members", "podium.config", "podium.workflows"))
    ]


def test_version(podium):
    assert podium("--version") == (0, f"podium {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_shows_the_first_paragraph_of_a_commands_help(command):
    help_ = typer.main.get_command(app).commands[command].help
    assert " ".join(help_.split("\n\n")[0].split()) == COMMANDS[command].help


@pytest.mark.parametrize("group", GROUPS)
def test_the_list_shows_the_help_of_a_group(group):
    assert typer.main.get_command(app).commands[group].help == GROUPS[group]
    assert typer.main.get_command(command_line([])).commands[group].help == GROUPS[group]


def test_a_command_may_follow_two_hyphens(podium, tmp_path):
    code, out, _ = podium("--", "runs", "--runs", tmp_path)
    assert (code, out) == (0, f"no runs in {tmp_path}; start one with podium train or podium run\n")


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("podium pre", ["predict"]),
        ("podium train --dr", ["--dry-run"]),
        ("podium kernel pu", ["push", "pull"]),
        ("podium kernel push --fo", ["--fold", "--follow", "--force"]),
    ],
)
def test_the_shell_completes_commands_and_options(podium, monkeypatch, typed, completions):
    monkeypatch.setenv("_PODIUM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    assert podium().out.split() == completions


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_shown_for_each_shell(podium, monkeypatch, shell):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    code, out, _ = podium("--show-completion", shell)
    assert code == 0
    assert "_PODIUM_COMPLETE" in out
