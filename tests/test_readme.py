"""The README is held to what the commands are: each one it shows is parsed as the command line would."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from podium.cli.main import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
COMMANDS = typer.main.get_command(app).commands


def parsed(command, words):
    """The command that these words reach, with its own words read and checked, but not run."""
    context = command.make_context(command.name, list(words))
    if hasattr(command, "commands"):
        name, inner, rest = command.resolve_command(context, list(words))
        assert inner is not None, f"no command {name}"
        return parsed(inner, rest)
    return command, context.params


@pytest.mark.parametrize("shown", [line for line in SHOWN if line.startswith("podium ")])
def test_a_shown_command_parses_and_its_configs_exist(shown):
    words = shlex.split(shown)[1:]
    command, rest = COMMANDS[words[0]], words[1:]
    _, values = parsed(command, rest)
    for value in values.values():
        if isinstance(value, Path) and value.suffix == ".yaml":
            assert (ROOT / value).is_file()


@pytest.mark.parametrize("shown", [line for line in SHOWN if line.startswith("make ")])
def test_a_shown_make_target_exists(shown):
    done = subprocess.run(
        ["make", "-n", *shlex.split(shown)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_shown_command_is_parsed_by_a_test():
    others = [line for line in SHOWN if not line.startswith(("podium ", "make "))]
    assert others == ["source .venv/bin/activate"]


def test_every_command_and_set_key_in_the_readme_exists():
    argument = r"(?: \[?[A-Z][A-Za-z./…]*\]?| [a-z_]+=[A-Z]+| -m [A-Z]+)"
    table = set(re.findall(rf"^\| `podium ([a-z -]+?){argument}*` \|", README, flags=re.MULTILINE))
    assert table == set(verbs_of(COMMANDS))


def verbs_of(commands):
    for name, command in commands.items():
        inner = getattr(command, "commands", None)
        yield from (f"{name} {command}" for command in verbs_of(inner)) if inner else [name]


@pytest.mark.parametrize("shown", [line for line in SHOWN if " --set " in line])
def test_set_values_in_the_readme_are_valid(shown):
    from podium.config.loading import load_ensemble, load_member

    words = shlex.split(shown)
    overrides = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    load = load_ensemble if "/ensembles/" in words[2] else load_member
    load(ROOT / words[2], overrides)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_a_link_to_a_file_leads_to_one(link):
    assert link.startswith("https://") or (ROOT / link).is_file()
