"""`podium doctor`: check the environment of this machine."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from rich.table import Table

from podium.cli.options import Debug, make_console
from podium.credentials import describe_credentials
from podium.errors import MachineError
from podium.hardware import free_memory
from podium.paths import cache_folder

PYTHON = ">=3.11,<3.14"
REQUIRED = (
    "tensorflow>=2.18", "tensorboard>=2.18", "keras>=3.13", "keras-hub>=0.26", "pycocotools>=2.0.8",
    "efficientnet>=1.1.1", "keras-applications>=1.0.8", "albumentations>=2.0.8,<2.1",
    "opencv-python-headless>=4.9,<5", "pillow>=11", "numpy>=2.0", "pandas>=2.2", "scikit-learn>=1.6",
    "scipy>=1.13", "threadpoolctl>=3.1", "kaggle>=2.2.3", "requests>=2.32", "pydantic>=2.10", "PyYAML>=6.0",
    "typer>=0.15", "rich>=13.9", "matplotlib>=3.9", "jinja2>=3.1",
)  # fmt: skip
"""As in pyproject.toml, which is not there once podium is installed."""
_MODULES = {
    "cv2": "opencv-python-headless", "kagglesdk": "kaggle", "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "PyYAML"
}  # fmt: skip
"""The distributions whose modules have other names."""
EXTRAS = {
    "dicom": (("pydicom",), "DICOM images"),
    "hf": (("huggingface_hub",), "presets such as hf://timm/resnet50.a1_in1k"),
    "search": (("optuna",), "podium search"),
    "ray": (("ray", "fsspec"), "podium run --on ray"),
    "mlflow": (("mlflow-skinny", "sqlalchemy", "alembic"), "podium export"),
}
"""The distributions of each extra, and what it is for."""
LEAST_DISK, LEAST_MEMORY = 2_000_000_000, 2_000_000_000
"""Bytes. Checkpoints and a cache of images fit into the one, TensorFlow and a small training into the other."""
NO_KEY = (
    "none; run kaggle auth login, or create a token on kaggle.com (Settings, API) and save it as ~/.kaggle/access_token"
)


def doctor(debug: Debug = False) -> None:
    """Show the environment of this machine, and name what is missing and how to get it.

    podium doctor
    """
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("python", sys.version.split()[0])
    table.add_row("podium-kit", _version("podium-kit") or "not installed, run from its source")
    for requirement in REQUIRED:
        name, _ = _parts(requirement)
        table.add_row(name, _version(name) or "missing")
    for extra, (names, purpose) in EXTRAS.items():
        absent = [name for name in names if not _version(name)]
        advice = f"not installed, only for {purpose}: pip install 'podium-kit[{extra}]'"
        table.add_row(names[0], advice if absent else _version(names[0]))
    needing_libraries = {"GPUs": _unless_missing(_gpus), "kaggle key": _unless_missing(describe_credentials) or NO_KEY}
    for name, fact in {**_machine(), **needing_libraries}.items():
        table.add_row(name, fact)
    make_console().print(table)
    problems = [*_wrong_versions(), *_lacking_room(), *_closed_folders()]
    if len(problems) > 1:
        raise MachineError("\n  ".join([f"{len(problems)} problems on this machine", *problems]))
    if problems:
        raise MachineError(problems[0])


def _wrong_versions() -> Iterator[str]:
    if not _fits(sys.version.split()[0], PYTHON):
        yield f"Python {sys.version.split()[0]}: expected 3.11, 3.12 or 3.13; make install PYTHON=/path/to/python"
    advice = "run make install, or pip install podium-kit"
    requirements = dict(map(_parts, REQUIRED))
    if missing := [name for name in requirements if not _version(name)]:
        yield f"missing: {', '.join(missing)}; {advice}"
    for name, bounds in requirements.items():
        if (found := _version(name)) and not _fits(found, bounds):
            yield f"{name} {found}: expected {bounds}; {advice}"


def distribution_of(module: str) -> str | None:
    """The required distribution that a module belongs to; None if podium does not require it."""
    package = module.partition(".")[0]
    name = _MODULES.get(package, package.replace("_", "-"))
    return name if name in dict(map(_parts, REQUIRED)) else None


def _parts(requirement: str) -> tuple[str, str]:
    """The name and the bounds of the version."""
    start = requirement.index(">=")
    return requirement[:start], requirement[start:]


def _fits(version: str, bounds: str) -> bool:
    def release(text: str) -> tuple[int, ...]:
        numbers = re.match(r"\d+(\.\d+)*", text)
        return tuple(map(int, numbers[0].split("."))) if numbers else ()

    def fits(bound: str) -> bool:
        number = release(bound.lstrip("<>="))
        return release(version) < number if bound.startswith("<") else release(version) >= number

    return all(map(fits, bounds.split(",")))


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _machine() -> dict[str, str]:
    facts = {"CPU cores": str(os.cpu_count()), "free disk space": _gigabytes(shutil.disk_usage(".").free)}
    memory = free_memory()
    return facts if memory is None else {**facts, "free memory": _gigabytes(memory)}


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _lacking_room() -> Iterator[str]:
    for folder, advice in _folders().items():
        if (free := shutil.disk_usage(folder).free) < LEAST_DISK:
            found, least = _gigabytes(free), _gigabytes(LEAST_DISK)
            yield f"{folder}: {found} of free disk space, expected {least}; delete something, or {advice}"
    memory = free_memory()
    if memory is not None and memory < LEAST_MEMORY:
        yield (
            f"{_gigabytes(memory)} of free memory, expected {_gigabytes(LEAST_MEMORY)}; close other programs, or train"
            " on Kaggle with podium kernel push"
        )


def _closed_folders() -> Iterator[str]:
    for folder, advice in _folders().items():
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            yield f"{folder}: no file can be written there ({error.strerror}); change its permissions, or {advice}"


def _folders() -> dict[Path, str]:
    """Where podium writes, or will create a folder, and how to choose another place."""
    cache = cache_folder().absolute()
    existing = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    return {existing: "set PODIUM_CACHE to another folder", Path.cwd(): "work in another folder"}


def _unless_missing(fact: Callable[[], str | None]) -> str | None:
    try:
        return fact()
    except ModuleNotFoundError as error:
        module = error.name or ""
        return f"unknown without {distribution_of(module) or module}"


def _gpus() -> str:
    """The GPUs that TensorFlow can use; a driver alone is not enough."""
    from podium.models.devices import gpu_models

    return ", ".join(gpu_models()) or "none; training runs on the CPU"
