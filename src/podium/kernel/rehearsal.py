"""A local rehearsal: run the built script in a fresh interpreter, with Kaggle's folders and limits.

Inside the root folder: `kaggle/input`, in the new layout or the old one, and `kaggle/working`, where the script starts
and the only folder it may write to. If the system has no namespaces, the log shows what could not be isolated.
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
from typing import IO, Any, Literal, get_args

from podium.config.kaggle_names import KaggleKind
from podium.errors import DataError, KaggleError, MachineError
from podium.files import write_json, write_text
from podium.kernel.job import JOB_CHANGES, SESSION_HOURS
from podium.kernel.script import PURE_PACKAGES, code_of
from podium.locks import locked
from podium.paths import mount_points

Layout = Literal["new", "old"]
Source = tuple[KaggleKind, str]
"""An attached source: its kind and name."""
_MARKER = "made-by-podium-kernel-run"
_SECONDS_TO_SAVE = 60


@dataclass(frozen=True)
class LogLine:
    """A line of the log, in Kaggle's form."""

    stream_name: str
    time: float
    data: str


@dataclass
class Outcome:
    working: Path
    code: int = 0
    """The exit code; Kaggle calls a kernel complete if it is 0, else failed."""
    seconds: float = 0.0
    timed_out: bool = False
    lines: list[LogLine] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return self.code == 0 and not self.timed_out


def sources_of(metadata: Mapping[str, Any], *, dry_run: bool = False, data: Source | None = None) -> list[Source]:
    """The attached sources. A dry run needs no weights, so only competitions and the `data` source are mounted."""
    attached = [(kind, name) for kind in get_args(KaggleKind) for name in metadata.get(f"{kind}_sources") or []]
    return [source for source in attached if not dry_run or source[0] == "competition" or source == data]


def rehearse(
    script: Path,
    inputs: Mapping[Source, Path],
    root: Path,
    *,
    layout: Layout = "new",
    time_limit: float = SESSION_HOURS * 3600,
    internet: bool = False,
    job_changes: Mapping[str, Any] | None = None,
    on_line: Callable[[LogLine], None] = lambda line: None,
) -> Outcome:
    """Run the script, or the code cells of a notebook, as Kaggle does, until it ends or the time limit kills it.

    With `internet` it has the network of this machine.
    """
    if os.name != "posix":
        raise MachineError("a rehearsal needs Linux or macOS; use podium kernel push --dry-run, or a container")
    root = root.resolve()
    with locked(root / "kaggle"):
        outcome = Outcome(make_folders(root, inputs, layout))
        start = time.monotonic()
        process = subprocess.Popen(
            _command(_as_python(script, root), outcome.working, root, internet),
            cwd=outcome.working,
            env=_environment(root, job_changes or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        )
        with process, _reading_output(process, start, outcome.lines, on_line), _stop_on_interrupt(process):
            try:
                outcome.code = process.wait(time_limit)
            except subprocess.TimeoutExpired:
                outcome.timed_out = True
                os.killpg(process.pid, signal.SIGKILL)
                outcome.code = process.wait()
        outcome.seconds = time.monotonic() - start
        outcome.lines.sort(key=lambda line: line.time)
        write_text(root / "kaggle" / "kernel.log", "".join(line.data for line in outcome.lines), fsync=False)
    return outcome


def make_folders(root: Path, inputs: Mapping[Source, Path], layout: Layout) -> Path:
    """Create Kaggle's folders from scratch and return the working folder. A folder with other files is not changed."""
    kaggle = root / "kaggle"
    if kaggle.exists() and not (kaggle / _MARKER).is_file() and any(kaggle.iterdir()):
        raise DataError(f"{kaggle} exists and was not created by a rehearsal; name another folder with --root")
    kaggle.mkdir(parents=True, exist_ok=True)
    (kaggle / _MARKER).touch()
    for folder in (kaggle / "input", kaggle / "working"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    for source, folder in inputs.items():
        if not folder.is_dir():
            raise DataError(f"cannot mount {folder} for {source[1]}: it is not a folder")
        current, old = mount_points(*source)
        target = kaggle / "input" / (current if layout == "new" else old)
        if target.exists() or any(path.is_symlink() for path in target.parents):
            raise KaggleError(f"two sources are called {old.parts[0]} in the old layout; use --layout new")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(folder.resolve(), target_is_directory=True)
    return kaggle / "working"


def _as_python(script: Path, root: Path) -> Path:
    if script.suffix != ".ipynb":
        return script
    path = root / "kaggle" / f"{script.stem}.py"
    write_text(path, code_of(script.read_text(encoding="utf-8")), fsync=False)
    return path


def _command(script: Path, working: Path, root: Path, internet: bool) -> list[str]:
    own_mounts, unshare = _find_namespaces()
    if internet:
        unshare = [word for word in unshare if word != "--net"]
    spec = root / "kaggle" / "rehearsal.json"
    content = {
        "script": str(script.resolve()),
        "working": str(working),
        "own_mounts": own_mounts,
        "other_folders": [str(path) for path in (root, Path.home(), Path("/tmp"), Path("/var/tmp")) if path.is_dir()],
        "installed": list(dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))),
        "hidden": ["podium", *PURE_PACKAGES],
    }
    write_json(spec, content, fsync=False)
    return [*unshare, sys.executable, "-I", "-S", "-u", str(Path(__file__).with_name("sandbox.py")), str(spec)]


def _environment(root: Path, job_changes: Mapping[str, Any]) -> dict[str, str]:
    """The script's environment, without this machine's settings and keys."""
    names = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")
    return {
        **{name: os.environ[name] for name in names if name in os.environ},
        "HOME": str(root / "home"),
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "PODIUM_KAGGLE_INPUT": str(root / "kaggle" / "input"),
        JOB_CHANGES: json.dumps(dict(job_changes)),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _find_namespaces() -> tuple[bool, list[str]]:
    """Whether mounts can be isolated, and the command that isolates as much as this system allows."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False, []
    for own_mounts, options in (
        (True, ["--user", "--map-root-user", "--mount", "--net"]),
        (False, ["--user", "--map-root-user", "--net"]),
    ):
        trial = subprocess.run([unshare, *options, "true"], capture_output=True, check=False)
        if trial.returncode == 0:
            return own_mounts and shutil.which("mount") is not None, [unshare, *options, "--"]
    return False, []


@contextmanager
def _stop_on_interrupt(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Stop the script if the rehearsal is interrupted: it has its own session, so Ctrl-C does not reach it."""
    try:
        yield
    except BaseException:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_SECONDS_TO_SAVE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        raise


@contextmanager
def _reading_output(
    process: "subprocess.Popen[str]", start: float, lines: list[LogLine], on_line: Callable[[LogLine], None]
) -> Iterator[None]:
    """Read both output streams until they are closed."""

    def read(stream: IO[str], name: str) -> None:
        for data in stream:
            line = LogLine(name, round(time.monotonic() - start, 3), data)
            lines.append(line)
            on_line(line)

    streams = [(process.stdout, "stdout"), (process.stderr, "stderr")]
    readers = [threading.Thread(target=read, args=stream, daemon=True) for stream in streams]
    for reader in readers:
        reader.start()
    try:
        yield
    finally:
        for reader in readers:
            reader.join()
