"""A local Kaggle to rehearse on: the built script in a fresh interpreter, with Kaggle's folders and limits.

Below a root of one's choice: `kaggle/input` in the new layout or the old one, and `kaggle/working`, where the script
starts and which alone it may write to. Where the system gives no namespaces, the log says what could not be cut off.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from podium.errors import DataError, KaggleError, MachineError
from podium.files import write_json, write_text
from podium.kernel.bundle import PURE_PACKAGES
from podium.kernel.job import HOURS_OF_A_SESSION
from podium.locks import locked

Layout = Literal["new", "old"]
Kind = Literal["competition", "dataset", "kernel"]
Source = tuple[Kind, str]
"""What a kernel's metadata attaches: its kind, and its slug, or owner/slug."""
FOLDERS = {"competition": "competitions", "dataset": "datasets", "kernel": "notebooks"}
_KEYS: dict[str, Kind] = {
    "competition_sources": "competition",
    "dataset_sources": "dataset",
    "kernel_sources": "kernel",
}
_MARK = "made-by-podium-kernel-run"


@dataclass(frozen=True)
class Line:
    """Of a log, as Kaggle keeps it."""

    stream_name: str
    time: float
    data: str


@dataclass
class Outcome:
    """How the script ended. Kaggle calls a kernel complete where the code is 0, and failed otherwise."""

    working: Path
    code: int = 0
    seconds: float = 0.0
    ran_out_of_time: bool = False
    lines: list[Line] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return self.code == 0 and not self.ran_out_of_time


def sources_of(metadata: Mapping[str, Any], *, dry_run: bool = False, data: Source | None = None) -> list[Source]:
    """What is attached; a dry run takes no weights, so it needs only the data: the competition's, or a detector's."""
    attached: list[Source] = [(kind, name) for key, kind in _KEYS.items() for name in metadata.get(key) or []]
    return [one for one in attached if not dry_run or one[0] == "competition" or one == data]


def mount_point(source: Source, layout: Layout) -> Path:
    """Below kaggle/input."""
    kind, name = source
    return Path(FOLDERS[kind]) / name if layout == "new" else Path(name.rpartition("/")[2])


def rehearse(
    script: Path,
    inputs: Mapping[Source, Path],
    root: Path,
    *,
    layout: Layout = "new",
    time_limit: float = HOURS_OF_A_SESSION * 3600,
    smaller: Mapping[str, Any] | None = None,
    tell: Callable[[Line], None] = lambda line: None,
) -> Outcome:
    """Run the script as Kaggle does, to its end or the time limit's. `smaller` holds fields of the job to change."""
    root = root.resolve()
    with locked(root / "kaggle"):
        outcome = Outcome(lay_out(root, inputs, layout))
        began = time.monotonic()
        process = subprocess.Popen(
            _command(script, outcome.working, root),
            cwd=outcome.working,
            env=_environment(root, smaller or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        )
        with process, _read_to_the_end(process, began, outcome.lines, tell), _ended_with(process):
            try:
                outcome.code = process.wait(time_limit)
            except subprocess.TimeoutExpired:
                outcome.ran_out_of_time = True
                os.killpg(process.pid, signal.SIGKILL)
                outcome.code = process.wait()
        outcome.seconds = time.monotonic() - began
        outcome.lines.sort(key=lambda line: line.time)
        write_text(root / "kaggle" / "kernel.log", "".join(line.data for line in outcome.lines), fsync=False)
    return outcome


def _command(script: Path, working: Path, root: Path) -> list[str]:
    own_mounts, namespaces = _namespaces()
    spec = root / "kaggle" / "rehearsal.json"
    content = {
        "script": str(script.resolve()),
        "working": str(working),
        "own_mounts": own_mounts,
        "others": [str(place) for place in (root, Path.home(), Path("/tmp"), Path("/var/tmp")) if place.is_dir()],
        "installed": list(dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))),
        "hidden": ["podium", *PURE_PACKAGES],
    }
    write_json(spec, content, fsync=False)
    return [*namespaces, sys.executable, "-I", "-S", "-u", str(Path(__file__).with_name("sandbox.py")), str(spec)]


def lay_out(root: Path, inputs: Mapping[Source, Path], layout: Layout) -> Path:
    """Kaggle's folders, made anew; gives the working folder. Nothing is removed that a rehearsal has not made."""
    kaggle = root / "kaggle"
    if kaggle.exists() and not (kaggle / _MARK).is_file() and any(kaggle.iterdir()):
        raise DataError(f"{kaggle} is there and is no rehearsal's; give another folder with --root")
    kaggle.mkdir(parents=True, exist_ok=True)
    (kaggle / _MARK).touch()
    for folder in (kaggle / "input", kaggle / "working"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    for source, place in inputs.items():
        if not place.is_dir():
            raise DataError(f"{place}, to be mounted for {source[1]}, is no folder")
        target = kaggle / "input" / mount_point(source, layout)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise KaggleError(f"two sources are called {target.name} in the old layout; rehearse with --layout new")
        target.symlink_to(place.resolve(), target_is_directory=True)
    return kaggle / "working"


def _environment(root: Path, smaller: Mapping[str, Any]) -> dict[str, str]:
    """Nothing of this machine's own, keys least of all."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    return {
        **kept,
        "HOME": str(root / "home"),
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "PODIUM_KAGGLE_INPUT": str(root / "kaggle" / "input"),
        "PODIUM_REHEARSAL": json.dumps(dict(smaller)),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _namespaces() -> tuple[bool, list[str]]:
    """The most that this system allows: own mounts and no network, no network alone, or nothing."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False, []
    for own_mounts, options in (
        (True, ["--user", "--map-root-user", "--mount", "--net"]),
        (False, ["--user", "--map-root-user", "--net"]),
    ):
        tried = subprocess.run([unshare, *options, "true"], capture_output=True, check=False)
        if tried.returncode == 0:
            return own_mounts and shutil.which("mount") is not None, [unshare, *options, "--"]
    return False, []


@contextmanager
def _ended_with(process: "subprocess.Popen[str]") -> Iterator[None]:
    """The script gets what ends the rehearsal, and a minute to save: Ctrl-C reaches this process alone."""
    try:
        yield
    except BaseException:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        raise


@contextmanager
def _read_to_the_end(
    process: "subprocess.Popen[str]", began: float, lines: list[Line], tell: Callable[[Line], None]
) -> Iterator[None]:
    """What the script says, as it says it; leaves when it has said all."""

    def read(stream: IO[str], name: str) -> None:
        for data in stream:
            line = Line(name, round(time.monotonic() - began, 3), data)
            lines.append(line)
            tell(line)

    streams = [(process.stdout, "stdout"), (process.stderr, "stderr")]
    readers = [threading.Thread(target=read, args=named, daemon=True) for named in streams]
    for reader in readers:
        reader.start()
    try:
        yield
    finally:
        for reader in readers:
            reader.join()


def check_system() -> None:
    if os.name != "posix":
        raise MachineError("a rehearsal needs Linux or macOS; push with --dry-run, or rehearse in a container")
