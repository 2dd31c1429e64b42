"""The pages in docs/ are held to what the commands are, as the README is."""

import re
import shlex

import pytest

from test_readme import COMMANDS, ROOT, parsed

PAGES = ["docs/detection.md", "docs/kaggle.md", "docs/stopping.md"]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
SHOWN = [
    (page, line.removeprefix("$ "))
    for page, text in TEXTS.items()
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
INLINE = [
    (page, span)
    for page, text in TEXTS.items()
    for span in re.findall(r"`(podium [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
]
"""What a sentence names may be shortened (…) or stand for something (PID, OWNER/SLUG): its command must be there."""
CONFIGS = {name for text in TEXTS.values() for name in re.findall(r"configs/[\w/.-]+\.yaml", text)}


@pytest.mark.parametrize(("page", "shown"), [one for one in SHOWN if one[1].startswith("podium ")])
def test_a_command_that_a_page_shows_parses(page, shown):
    words = shlex.split(shown)[1:]
    parsed(COMMANDS[words[0]], words[1:])


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_nothing_that_no_test_parses(page):
    shown = [line for other, line in SHOWN if other == page and not line.startswith("podium ")]
    assert all(line.startswith((".venv/bin/python tests/helpers/standin/serve.py ", "export ")) for line in shown)


@pytest.mark.parametrize(("page", "span"), INLINE)
def test_a_command_that_a_sentence_names_is_there(page, span):
    command, words = COMMANDS, shlex.split(span)[1:]
    while words and isinstance(command, dict):
        assert words[0] in command, f"no command {words[0]}"
        found = command[words.pop(0)]
        command = getattr(found, "commands", found)
    options = {name for parameter in getattr(command, "params", ()) for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_config_that_a_page_names_is_there(name):
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#]+)\)", TEXTS[page]):
        assert link.startswith("https://") or ((ROOT / page).parent / link).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_and_of_no_one_machine(page):
    text = TEXTS[page]
    assert not re.findall(r"@[A-Z]+@", text)
    assert not re.findall(r"(?<![\w/…])/(?:tmp|home|root|work|Users)/", text)
