"""`podium doctor`: is this machine ready, and what is missing if not?"""

import importlib.util
import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

from rich.table import Table

from podium.cli.options import Debug, make_console
from podium.errors import MachineError

REQUIRED = (
    "tensorflow", "keras", "efficientnet", "keras-applications", "albumentations", "opencv-python-headless", "numpy",
    "pandas", "scikit-learn", "scipy", "matplotlib", "kaggle", "pydantic", "PyYAML", "typer", "rich",
)  # fmt: skip


def doctor(debug: Debug = False) -> None:
    """Tell what podium finds here: Python, libraries, processors, memory, disk, GPUs, Kaggle's client and its key.

    podium doctor
    """
    table = Table(box=None, show_header=False, pad_edge=False)
    missing = []
    table.add_row("python", sys.version.split()[0])
    for name in ("podium-kit", *REQUIRED):
        found = _version(name)
        missing += [] if found else [name]
        table.add_row(name, found or "missing")
    for name, fact in {**_machine(), "GPUs": _gpus(), "kaggle key": _kaggle_key()}.items():
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
    facts = {"processors": str(os.cpu_count()), "disk free here": f"{shutil.disk_usage('.').free / 1e9:.1f} GB"}
    memory = Path("/proc/meminfo")
    if memory.is_file():
        for line in memory.read_text().splitlines():
            if line.startswith("MemAvailable"):
                facts["memory free"] = f"{int(line.split()[1]) / 1e6:.1f} GB"
    return facts


def _gpus() -> str:
    """Asked of TensorFlow itself, since a driver alone does not mean that it can be used."""
    if importlib.util.find_spec("tensorflow") is None:
        return "unknown without tensorflow"
    import tensorflow

    found = tensorflow.config.list_physical_devices("GPU")
    return ", ".join(device.name for device in found) or "none: training runs on the processors"


def _kaggle_key() -> str:
    """Where the official client would find its key. `import kaggle` itself signs in, so it is not imported here."""
    if importlib.util.find_spec("kagglesdk") is None:
        return "unknown without kaggle"
    from kagglesdk.kaggle_env import get_access_token_from_env

    token, source = get_access_token_from_env()
    if token:
        return f"access token, from {source}"
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        return "KAGGLE_USERNAME and KAGGLE_KEY"
    folders = [os.environ.get("KAGGLE_CONFIG_DIR"), "~/.kaggle", "~/.config/kaggle"]
    files = [Path(folder).expanduser() / "kaggle.json" for folder in folders if folder]
    for file in files:
        if file.is_file():
            return _key_file(file)
    return "none yet: make one on Kaggle's settings page and put it where it says, for podium to send anything"


def _key_file(file: Path) -> str:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"{file} cannot be read: {error}"
    if not isinstance(content, dict) or not content.get("username") or not content.get("key"):
        return f"{file} lacks username or key; make a new one on Kaggle's settings page"
    others = file.stat().st_mode & 0o077
    return f"{file}" + (", which others can read: chmod 600 it" if others and os.name == "posix" else "")
