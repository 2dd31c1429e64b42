"""Who may import whom. Read from the source, so that nothing heavy is imported here: `make check` runs this too."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from standin.scoring import accuracy_against

SOURCE = Path(__file__).resolve().parents[1] / "src"


@dataclass(frozen=True)
class Layer:
    """Packages and modules of podium, and the libraries that they may import at top level."""

    parts: str
    libraries: str


LIGHT = Layer(
    parts="__init__ __main__ errors config paths files locks machine stopping changes runs metrics telling steps cli"
    " submission kaggle data.__init__ data.template ensemble.__init__",
    libraries="pydantic yaml typer rich",
)
TABLE = Layer(
    parts="ensemble detection data.rows data.folds data.archives data.jpeg data.picture_paths",
    libraries=f"{LIGHT.libraries} numpy pandas sklearn scipy threadpoolctl",
)
DRAWING = Layer(
    parts="data.sample",
    libraries=f"{TABLE.libraries} cv2",
)
PICTURES = Layer(
    parts="data.cache data.pictures data.catalogue data.store data.supply data.boxes data.augmentation data.preparing"
    " data.worker data.workers data.batches detection.building detection.cropping detection.drawing"
    " detection.fetching detection.openimages_set detection.turning",
    libraries=f"{DRAWING.libraries} albumentations",
)
HEAVY = Layer(
    parts="data.feed models training inference",
    libraries=f"{PICTURES.libraries} tensorflow keras keras_hub efficientnet",
)
LAYERS = [LIGHT, TABLE, DRAWING, PICTURES, HEAVY]
"""A module imports from its own layer and from those before it."""

STRANGERS = [("training", "inference")]
"""Parts that never import each other, not even inside a function."""


def all_modules():
    names = (path.relative_to(SOURCE / "podium").with_suffix("") for path in (SOURCE / "podium").rglob("*.py"))
    return sorted(".".join(name.parts) for name in names)


MODULES = all_modules()


def layer_of(module):
    """The layer whose parts hold the module, or the longest beginning of its name."""
    names = module.split(".")
    for length in range(len(names), 0, -1):
        for layer in LAYERS:
            if ".".join(names[:length]) in layer.parts.split():
                return layer
    return None


def imports(module, only_at_top):
    """What a module imports, by full name; podium's own modules as `podium.data.rows`."""
    path = SOURCE / "podium" / f"{module.replace('.', '/')}.py"
    found = set()
    waiting = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively in line {node.lineno}; write the full name"
            found |= {_module_named(node.module, alias.name) for alias in node.names}
        elif not (only_at_top and (isinstance(node, ast.FunctionDef | ast.Lambda) or _is_for_types_only(node))):
            waiting += ast.iter_child_nodes(node)
    return found


def _module_named(package, name):
    own = f"{package}.{name}".removeprefix("podium.")
    return f"podium.{own}" if package.startswith("podium") and own in MODULES else package


def _is_for_types_only(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_layer_and_lower_ones(module):
    layer = layer_of(module)
    assert layer is not None, f"{module} has no layer: give it one in the table of this file and in docs/design.md"
    lower = LAYERS[: LAYERS.index(layer) + 1]
    allowed = {*layer.libraries.split(), *sys.stdlib_module_names}
    for name in imports(module, only_at_top=True):
        if name.startswith("podium"):
            own = name.removeprefix("podium").removeprefix(".") or "__init__"
            assert layer_of(own) in lower, f"{module} imports {name}, which is of a higher layer"
        else:
            assert name.partition(".")[0] in allowed, f"{module} imports {name} at top level"


@pytest.mark.parametrize(("one", "other"), STRANGERS)
def test_strangers_never_import_each_other(one, other):
    for here, there in ((one, other), (other, one)):
        for module in MODULES:
            if module.startswith(f"{here}."):
                met = {name for name in imports(module, only_at_top=False) if name.startswith(f"podium.{there}")}
                assert not met, f"{module} imports {met}"


def test_the_table_names_only_what_there_is():
    packages = {module.rpartition(".")[0] for module in MODULES}
    for layer in LAYERS:
        assert set(layer.parts.split()) <= {*MODULES, *packages}


def test_no_module_is_called_utils():
    assert not [module for module in MODULES if {"util", "utils", "helpers", "misc"} & set(module.split("."))]


def test_the_rules_see_what_they_forbid():
    assert "albumentations" in imports("data.augmentation", only_at_top=True)
    assert "podium.data.sample.competition" in imports("cli.demo", only_at_top=False)
    assert "podium.data.sample.competition" not in imports("cli.demo", only_at_top=True)
    assert "podium.ensemble.result" not in imports("steps.ensemble", only_at_top=True)


# The same, seen from outside: what must run where the heavy libraries cannot be imported.

HEAVY_LIBRARIES = ("tensorflow", "keras", "efficientnet", "albumentations", "cv2")
TABLE_LIBRARIES = ("numpy", "pandas", "sklearn", "scipy")
BLOCKER = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(name + " is imported where it must not be")

sys.meta_path.insert(0, Blocker())
"""
EVERY_HELP = """
from podium.cli.main import main

for verb in {verbs}:
    sys.argv = ["podium", *verb, "--help"]
    try:
        main()
    except SystemExit as done:
        assert done.code == 0, (verb, done.code)
    print("told:", *verb)
"""


def run_without(libraries, script, *arguments):
    """Run a script in a Python that cannot import these libraries."""
    command = [sys.executable, "-W", "error", "-c", BLOCKER.format(blocked=libraries) + script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_blocker_blocks():
    done = run_without(HEAVY_LIBRARIES, "import keras")
    assert done.returncode == 1
    assert "keras is imported where it must not be" in done.stderr


def test_every_help_is_told_without_heavy_libraries():
    verbs = [(), ("demo",), ("data",), ("data", "sample"), ("train",), ("predict",), ("blend",), ("run",), ("check",)]
    verbs += [("runs",), ("compare",), ("set",), ("doctor",), ("submit",), ("board",), ("kernel",), ("fleet",)]
    verbs += [("data", "download")]
    verbs += [("find-batch",)]
    verbs += [("kernel", verb) for verb in ("build", "run", "push", "status", "logs", "pull")]
    verbs += [("fleet", verb) for verb in ("up", "status", "down")]
    verbs += [("detect",)]
    verbs += [("detect", verb) for verb in ("build", "export", "train", "evaluate", "predict", "crop", "import-log")]
    done = run_without((*HEAVY_LIBRARIES, *TABLE_LIBRARIES), EVERY_HELP.format(verbs=verbs))
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.count("told:") == len(verbs)
    assert done.stdout.count("Usage: ") == len(verbs)


def test_a_submission_is_checked_without_heavy_libraries(tmp_path):
    (tmp_path / "sample.csv").write_text("Id,Category\na,0\nb,0\n")
    (tmp_path / "answer.csv").write_text("Id,Category\na,0\nb,1\n")
    (tmp_path / "tiny.yaml").write_text(
        "slug: tiny\ntrain: {table: train.csv, images: 'train/{id}'}\ntest: {images: 'test/{id}'}\n"
        "classes: [0, 1]\nmetric: accuracy\n"
    )
    done = run_without(
        (*HEAVY_LIBRARIES, *TABLE_LIBRARIES),
        "from podium.cli.main import main; main()",
        *("check", str(tmp_path / "answer.csv")),
        *("--competition", str(tmp_path / "tiny.yaml"), "--sample", str(tmp_path / "sample.csv")),
    )
    assert done.stderr == ""
    assert done.stdout == f"{tmp_path / 'answer.csv'}: valid, ready to be sent\n"
    assert done.returncode == 0


def test_kaggles_verbs_need_no_heavy_libraries(standin, tiny_competition, tmp_path, monkeypatch):
    """Told by the stand-in on this machine, through the real client."""
    monkeypatch.chdir(tmp_path)
    answers = accuracy_against(tiny_competition.answers)
    standin.add_competition("tiny-squares", tiny_competition.folder, answers)
    standin.add_kernel("ada/some-kernel", {"a.txt": b"a"})
    Path("submissions").mkdir()
    sample = Path(tiny_competition.folder / "sample-submission.csv").read_text()
    Path("submissions/tiny-squares_a.csv").write_text(sample.replace(",0", ",1", 1))
    asked = ["--competition", str(tiny_competition.config)]
    verbs = [
        ["kernel", "build", str(tiny_competition.member()), "--fold", "0"],
        ["kernel", "push", str(tiny_competition.member()), "--fold", "0", "--dry-run"],
        ["kernel", "status", "ada/some-kernel"],
        ["kernel", "logs", "ada/some-kernel"],
        ["fleet", "status"],
        ["submit", "submissions/tiny-squares_a.csv", "-m", "first", "--data", str(tiny_competition.folder), *asked],
        ["board", *asked],
    ]
    for verb in verbs:
        done = run_without(HEAVY_LIBRARIES, "from podium.cli.main import main; main()", *verb)
        assert (done.returncode, done.stderr) == (0, ""), verb
    assert standin.count("SaveKernel") == 0
    assert len(standin.submissions["tiny-squares"]) == 1


def test_blending_and_reading_configs_need_no_heavy_libraries():
    script = "import podium.ensemble.result, podium.data.rows, podium.data.folds, podium.steps.ensemble"
    done = run_without(HEAVY_LIBRARIES, script)
    assert (done.returncode, done.stderr) == (0, "")
