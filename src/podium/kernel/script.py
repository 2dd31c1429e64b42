"""The form of the script: its parts as a Python file or as the cells of a notebook, readable or compressed."""

import ast
import base64
import json
import re
import textwrap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.errors import BundleError
from podium.files import parse_json
from podium.kernel.job import Job
from podium.paths import stays_inside
from podium.python_text import parse_python

ENTRY = "podium.kernel_main"


@dataclass(frozen=True)
class Packing:
    """The form of the packed script."""

    notebook: bool = False
    """A notebook with a few cells instead of a Python file."""
    compress: bool = False
    """Compress all files but the configs: a third of the size, but not readable."""

    @property
    def path(self) -> Path:
        return Path("build/kernel.ipynb") if self.notebook else Path("build/kernel.py")


READABLE = Packing()
PURE_PACKAGES = {"efficientnet": "efficientnet", "keras_applications": "keras-applications"}
"""Pure Python packages missing on Kaggle, by module with their distribution; compressed, if a backbone needs them."""


def make_script(job: Job, files: Mapping[str, str], about: Mapping[str, str], packing: Packing) -> str:
    """The text of the script or the notebook."""
    readable = {name: text for name, text in files.items() if name.startswith("configs/")}
    if not packing.compress:
        readable = {name: text for name, text in files.items() if name.partition("/")[0] not in PURE_PACKAGES}
    others = {name: text for name, text in files.items() if name not in readable}
    description = _DESCRIPTION.format(**about, config=job.config)
    settings = [
        f"ABOUT = {json.dumps(about, indent=4)}",
        f"JOB = json.loads({literal(json.dumps(job.model_dump(mode='json'), indent=4))})",
    ]
    packed = _assignments(readable) + ([_compressed(others)] if others else [])
    parts = [[_IMPORTS, *settings], ["FILES = {}", *packed], [_RUN.format(entry=ENTRY)]]
    if packing.notebook:
        return _notebook(description, ["\n\n".join(part) for part in parts])
    code = "\n\n".join(text for part in parts for text in part)
    return f'"""{description}\n"""\n\n{code}\n'


def literal(text: str) -> str:
    """A Python literal of the text, readable and in ASCII."""
    if text.isascii() and "\r" not in text and not text.endswith(("\\", "'")):
        if "'''" not in text:
            return f"r'''{text}'''"
        if '"""' not in text and not text.endswith('"'):
            return f'r"""{text}"""'
    escaped = text.replace("\\", "\\\\").replace("\r", "\\r")
    if "'''" in text or text.endswith("'"):
        escaped = escaped.replace("'", "\\'")
    return f"'''{escaped.encode('ascii', 'backslashreplace').decode()}'''"


def _assignments(files: Mapping[str, str]) -> list[str]:
    return [f"FILES[{name!a}] = {literal(files[name])}" for name in sorted(files)]


def _compressed(files: Mapping[str, str]) -> str:
    content = json.dumps(dict(sorted(files.items())), ensure_ascii=False).encode()
    text = base64.b85encode(zlib.compress(content, 9)).decode()
    lines = "\n".join(textwrap.wrap(text, 120))
    return f"""import base64
import zlib

PACKED = '''\n{lines}\n'''
FILES.update(json.loads(zlib.decompress(base64.b85decode("".join(PACKED.split())))))"""


def _notebook(description: str, cells: list[str]) -> str:
    content: dict[str, Any] = {
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": f"# {description}"},
            *(
                {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": cell}
                for cell in cells
            ),
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    return json.dumps(content)


def code_of(text: str) -> str:
    """The Python code of a script or of a notebook, whose cells are in order."""
    try:
        cells = parse_json(text)["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        return "\n\n\n".join("".join(source) for source in sources) + "\n"
    except (ValueError, KeyError, TypeError):
        return text


def _code_in(script: Path) -> str:
    try:
        return code_of(script.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise _damaged(script, "it is not UTF-8") from None


def _damaged(script: Path, reason: object) -> BundleError:
    return BundleError(
        f"{script} is not a script that podium built ({reason}): build it again with podium kernel build"
    )


def read_about(script: Path) -> dict[str, str]:
    """The description in a built script; empty if it cannot be read."""
    text = _code_in(script)
    found = re.search(r"^ABOUT = (\{\n.*?^\})$", text, re.MULTILINE | re.DOTALL)
    try:
        about = parse_json(found[1]) if found else {}
    except ValueError:
        about = {}
    return about if isinstance(about, dict) else {}


def read_packed(script: Path) -> tuple[Job, dict[str, str]]:
    """The job and the configs in a built script."""
    job, files = Job(kind="member"), dict[str, str]()
    try:
        for node in parse_python(_code_in(script)):
            match node:
                case ast.Assign([ast.Name("JOB")], ast.Call(args=[ast.Constant(str(text))])):
                    job = Job.read(parse_json(text))
                case ast.Assign([ast.Subscript(slice=ast.Constant(str(name)))], ast.Constant(str(text))):
                    files[name] = text
        "".join([*files, *files.values()]).encode()  # halves of characters
    except (ValueError, TypeError) as error:
        raise _damaged(script, str(error).split("\n")[0]) from None
    names = [*files, *filter(None, (job.config, job.competition, job.blend))]
    if outside := [name for name in names if not stays_inside(name)]:
        raise _damaged(script, f"it has a file outside its folder: {outside[0]!a}")
    return job, {name: text for name, text in files.items() if name.startswith("configs/")}


_DESCRIPTION = """podium on Kaggle: {title}.

podium {podium}, commit {commit}, config {config} ({config_digest}).
Generated by `podium kernel build` with the source of podium, file by file. To change something, change the configs
and build it again."""

_IMPORTS = """import json
import os
import shutil
import sys
import tempfile
from pathlib import Path"""

_RUN = '''
def run():
    """Unpack the files outside the kernel's output and run the job. An exception fails the kernel."""
    scratch = Path(tempfile.mkdtemp(prefix="podium-"))
    try:
        for name, text in FILES.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        os.environ.update(
            PODIUM_COMMIT=ABOUT["commit"],
            XDG_CACHE_HOME=str(scratch / "cache"),
            KERAS_HOME=str(scratch / "keras"),
            MPLCONFIGDIR=str(scratch / "matplotlib"),
        )
        sys.path.insert(0, str(scratch))
        from {entry} import run_job

        run_job(JOB, ABOUT, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


run()'''
