"""The form of the script: a Python file or a notebook, readable or compressed."""

import ast
import json

import nbformat
import pytest

from podium.kernel.building import SCRIPT, KernelBuilder, make_job
from podium.kernel.metadata import METADATA, Machine
from podium.kernel.script import Packing, code_of, literal, read_about


def unpacked(text):
    """The files of a script as Python unpacks them, without running its job."""
    code, found = code_of(text).removesuffix("run()\n"), {}
    exec(compile(code, "kernel.py", "exec"), found)
    return found["FILES"]


@pytest.fixture
def built(tiny_competition, tmp_path, monkeypatch):
    """`built(**packing)` builds a member's kernel in tmp_path."""
    monkeypatch.chdir(tmp_path)
    member = tiny_competition.member()

    def start(**packing):
        builder = KernelBuilder([member], Machine(), tmp_path / "runs", packing=Packing(**packing))
        return builder.build(make_job(member, folds=(0,)))

    return start


@pytest.mark.parametrize(
    "text",
    ["", "plain\n", "'''", '"""', "''' and \"\"\"", "'", '"', "''''", "\\", "é → 😀\n", "\\n \\u0041 \r\n"],
)
def test_packed_text_is_unchanged(text):
    assert ast.literal_eval(literal(text)) == text


@pytest.mark.parametrize("packing", [{"notebook": True}, {"compress": True}, {"notebook": True, "compress": True}])
def test_every_form_contains_the_same_files(packing, built):
    assert unpacked(built(**packing).bundle.text) == unpacked(built().bundle.text)


def test_compressed_script_is_a_third_of_the_size_with_readable_configs(built):
    readable, compressed = built().bundle.text, built(compress=True).bundle.text
    assert len(compressed) < len(readable) / 2.5
    assert compressed.isascii()
    assert max(map(len, compressed.splitlines())) <= 160
    assert "podium on Kaggle: member tiny fold 0." in ast.get_docstring(ast.parse(compressed))
    assert "FILES['configs/tiny.yaml'] = r'''competition:" in compressed
    assert "FILES['podium/kernel_main.py']" not in compressed


def test_notebook_is_valid_and_has_few_cells(built):
    metadata = built(notebook=True).metadata
    path = Packing(notebook=True).path
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code", "code"]
    assert notebook.cells[0].source.startswith("# podium on Kaggle: member tiny fold 0.")
    assert notebook.cells[1].source.startswith("import json")
    assert notebook.cells[-1].source.endswith("run()")
    assert (metadata["kernel_type"], metadata["code_file"]) == ("notebook", path.as_posix())
    assert read_about(path)["title"] == "member tiny fold 0"


def test_official_client_sends_the_notebook_as_podium_does(built):
    """It joins the lines of each cell and writes the JSON again."""
    text = built(notebook=True).bundle.text
    content = json.loads(text)
    assert all(isinstance(cell["source"], str) and not cell.get("outputs") for cell in content["cells"])
    assert json.dumps(content) == text


def test_script_after_a_notebook_is_a_script_again(built):
    built(notebook=True)
    metadata = built().metadata
    assert (metadata["kernel_type"], metadata["code_file"]) == ("script", SCRIPT.as_posix())
    assert json.loads(METADATA.read_text()) == metadata
