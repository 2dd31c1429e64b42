"""`podium doctor`: check the environment of this machine."""

import importlib.util
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

from rich.table import Table

from podium.cli.options import Debug, make_console
from podium.credentials import describe_credentials
from podium.errors import MachineError

REQUIRED = (
    "tensorflow", "keras", "efficientnet", "keras-applications", "albumentations", "opencv-python-headless", "numpy",
    "pandas", "scikit-learn", "scipy", "matplotlib", "kaggle", "pydantic", "PyYAML", "typer", "rich",
)  # fmt: skip
NO_KEY = "none; run kaggle auth login, or save an API token from Kaggle's settings page as described there"


def doctor(debug: Debug = False) -> None:
    """Show the environment of this machine: Python, libraries, CPU, memory, disk, GPUs and the Kaggle key.

    podium doctor
    """
    table = Table(box=None, show_header=False, pad_edge=False)
    missing = []
    table.add_row("python", sys.version.split()[0])
    for name in ("podium-kit", *REQUIRED):
        found = _version(name)
        missing += [] if found else [name]
        table.add_row(name, found or "missing")
    for name, fact in {**_machine(), "GPUs": _gpus(), "kaggle key": describe_credentials() or NO_KEY}.items():
        table.add_row(name, fact)
    make_console().print(table)
    if missing:
        raise MachineError(f"missing: {', '.join(missing)}; run make install, or pip install podium-kit")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _machine() -> dict[str, str]:
    facts = {"CPU cores": str(os.cpu_count()), "free disk space": f"{shutil.disk_usage('.').free / 1e9:.1f} GB"}
    memory = Path("/proc/meminfo")
    if memory.is_file():
        for line in memory.read_text().splitlines():
            if line.startswith("MemAvailable"):
                facts["free memory"] = f"{int(line.split()[1]) / 1e6:.1f} GB"
    return facts


def _gpus() -> str:
    """The GPUs that TensorFlow can use; a driver alone is not enough."""
    if importlib.util.find_spec("tensorflow") is None:
        return "unknown without tensorflow"
    from podium.models.devices import gpu_names

    return ", ".join(gpu_names()) or "none; training runs on the CPU"
