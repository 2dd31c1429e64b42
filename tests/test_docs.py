"""Commands, configs and links in docs/ exist, and the notebook runs."""

import re
import shlex

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from podium.config.competition import Competition
from podium.kernel.building import make_job
from podium.kernel.bundle import make_bundle
from test_readme import COMMANDS, ROOT, parsed

PAGES = [
    f"docs/{name}.md"
    for name in (
        "api",
        "backbones",
        "configuration",
        "data",
        "detection",
        "kaggle",
        "metrics",
        "recipes",
        "stopping",
        "targets",
    )
]
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
"""Commands in sentences may be shortened (…) or have placeholders (PID, OWNER/SLUG), but must exist."""
CONFIGS = {name for text in TEXTS.values() for name in re.findall(r"configs/[\w/.-]+\.yaml", text)}


@pytest.mark.parametrize(("page", "shown"), [one for one in SHOWN if one[1].startswith("podium ")])
def test_a_shown_command_parses(page, shown):
    words = shlex.split(shown)[1:]
    parsed(COMMANDS[words[0]], words[1:])


@pytest.mark.parametrize("page", PAGES)
def test_every_shown_command_is_podium_or_known(page):
    shown = [line for other, line in SHOWN if other == page and not line.startswith("podium ")]
    assert all(line.startswith((".venv/bin/python tests/helpers/standin/serve.py ", "export ")) for line in shown)


@pytest.mark.parametrize(("page", "span"), INLINE)
def test_a_command_in_a_sentence_exists(page, span):
    command, words = COMMANDS, shlex.split(span)[1:]
    while words and isinstance(command, dict):
        assert words[0] in command, f"no command {words[0]}"
        found = command[words.pop(0)]
        command = getattr(found, "commands", found)
    options = {name for parameter in getattr(command, "params", ()) for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_named_config_exists(name):
    assert (ROOT / name).is_file()


@pytest.mark.parametrize(
    ("pattern", "config", "options"),
    [
        (r"build/kernel.py: ([\d,]+) bytes, (\d+) files", "ensembles/demo.yaml", {}),
        (r"ada/podium-demo-wide-fold0: ([\d,]+) bytes()", "members/demo_wide.yaml", {"folds": (0,)}),
        (r"ada/podium-weights-sf-dl-cars: ([\d,]+) bytes()", "ensembles/sf_dl_cars.yaml", {"kind": "weights"}),
    ],
)
def test_sizes_on_the_kaggle_page_are_those_of_the_present_build(pattern, config, options):
    config = ROOT / "configs" / config
    bundle = make_bundle([config], make_job(config).model_copy(update=options))
    shown, files = re.search(pattern, TEXTS["docs/kaggle.md"]).groups()
    assert int(shown.replace(",", "")) == pytest.approx(len(bundle.text), rel=0.03)
    assert not files or int(files) == pytest.approx(len(bundle.sizes), rel=0.05)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#]+)\)", TEXTS[page]):
        assert link.startswith("https://") or ((ROOT / page).parent / link).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_placeholders_and_no_paths_of_one_machine(page):
    text = TEXTS[page]
    assert not re.findall(r"@[A-Z]+@", text)
    assert not re.findall(r"(?<![\w/…])/(?:tmp|home|root|work|Users)/", text)


SMALLER = {"train=320, test=80": "train=96, test=24", '"epochs": 8': '"epochs": 2'}


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)


@pytest.mark.slow
def test_code_of_the_notebook_runs_to_a_valid_submission(notebook, tmp_path, monkeypatch):
    """Without Jupyter, with fewer images and epochs."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for text, small in SMALLER.items():
        assert text in code
        code = code.replace(text, small)
    exec(code, {})
    assert list(tmp_path.glob("submissions/tour-cars_tour__*.csv"))


@pytest.mark.slow
def test_the_notebook_runs_to_a_valid_submission(notebook, tmp_path):
    assert not any(cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    results = [
        output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "execute_result"
    ]
    assert results[-2] == "[]"  # no problems
    assert list(tmp_path.glob("submissions/tour-cars_tour__*.csv"))


EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXTS["docs/targets.md"], flags=re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_targets_are_valid_competitions(example):
    content = {"slug": "example", "test": {"images": "test/{id}"}, **yaml.safe_load(example)}
    content["classes"] = [str(label) for label in content.get("classes", [])]
    assert Competition.model_validate(content).target.kind in example
