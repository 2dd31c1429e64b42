"""The first thing in a rehearsal's own interpreter; of podium it knows nothing, and needs only the standard library.

Started as `python -I -S sandbox.py SPEC.json`, within namespaces of its own where the system allows them. It makes all
but the working folder read-only, hides what Kaggle's image lacks, says what it could do, and runs the script.
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


class NotInTheImage(importlib.abc.MetaPathFinder):
    """Packages that this machine has and Kaggle's image has not are found only where the script has put them."""

    def __init__(self, hidden: list[str], installed: list[str]) -> None:
        self._hidden, self._installed = set(hidden), set(installed)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in self._hidden:
            return None
        elsewhere = [place for place in sys.path if place not in self._installed]
        spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r} (Kaggle's image has none)", name=name)
        return spec


def make_read_only(working: str) -> None:
    """Every mount but the working folder, as far as the namespace's rights go."""
    subprocess.run(["mount", "--bind", working, working], check=True, capture_output=True)
    listed = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in listed]
    for point in points:
        if point != working and not point.startswith(("/proc", "/sys", "/dev")):
            subprocess.run(["mount", "-o", "remount,bind,ro", point], check=False, capture_output=True)


def is_writable(folder: str) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def network_is_cut() -> bool:
    """Whether there is no way to anywhere. Nothing is sent: connecting UDP only asks for a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
        except OSError as error:
            return error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    return False


def end_with_the_parent() -> None:
    """A rehearsal that is killed leaves no script behind that runs on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main() -> None:
    end_with_the_parent()
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    working = spec["working"]
    if spec["own_mounts"]:
        make_read_only(working)
    os.chdir(working)
    others = [place for place in spec["others"] if is_writable(place)]
    cut = "the network is cut" if network_is_cut() else "the network could not be cut"
    only = f"beside {working} these can be written to: {', '.join(others)}" if others else f"only {working} is writable"
    print(f"rehearsal: {cut}; {only}", flush=True)
    sys.path += spec["installed"]
    sys.meta_path.insert(0, NotInTheImage(spec["hidden"], spec["installed"]))
    sys.argv = [spec["script"]]
    runpy.run_path(spec["script"], run_name="__main__")


main()
