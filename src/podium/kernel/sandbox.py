"""The first program in a rehearsal's interpreter. It uses only the standard library and does not import podium.

Started as `python -I -S sandbox.py SPEC.json`, in separate namespaces if the system has them. It makes everything but
the working folder read-only, hides packages that Kaggle's image does not have, and runs the script.
"""

import ctypes
import errno
import importlib.abc
import importlib.machinery
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


class HidingFinder(importlib.abc.MetaPathFinder):
    """Find hidden packages only where the script unpacks them, not among the installed ones."""

    def __init__(self, hidden: list[str], installed: list[str]) -> None:
        self._hidden, self._installed = set(hidden), set(installed)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in self._hidden:
            return None
        folders = [folder for folder in sys.path if folder not in self._installed]
        spec = importlib.machinery.PathFinder.find_spec(name, folders)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r} (Kaggle's image does not have it)", name=name)
        return spec


def make_read_only(working: str) -> None:
    """Remount everything but the working folder read-only, as far as permissions allow."""
    subprocess.run(["mount", "--bind", working, working], check=True, capture_output=True)
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    for point in [line.split()[4].encode().decode("unicode_escape") for line in mounts]:
        if point != working and not point.startswith(("/proc", "/sys", "/dev")):
            subprocess.run(["mount", "-o", "remount,bind,ro", point], check=False, capture_output=True)


def is_writable(folder: str) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def has_no_network() -> bool:
    """Whether there is no route to the internet. Connecting a UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            return error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    return False


def end_with_the_parent() -> None:
    """Do not outlive a rehearsal that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main() -> None:
    end_with_the_parent()
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    working = spec["working"]
    if spec["own_mounts"]:
        make_read_only(working)
    os.chdir(working)
    network = "no network" if has_no_network() else "the network is reachable"
    writable = [folder for folder in spec["other_folders"] if is_writable(folder)]
    print(f"rehearsal: {network}; writable: {', '.join([working, *writable])}", flush=True)
    sys.path += spec["installed"]
    sys.meta_path.insert(0, HidingFinder(spec["hidden"], spec["installed"]))
    sys.argv = [spec["script"]]
    runpy.run_path(spec["script"], run_name="__main__")


main()
