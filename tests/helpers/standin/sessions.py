"""Sessions: what runs the pushed versions, at most so many at once, and keeps what they leave."""

import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from standin.kernels import LogLine, Version

if TYPE_CHECKING:
    from standin.service import StandIn

Inputs = Mapping[tuple[str, str], Path]
"""What is mounted: the kind and name of a source, and the folder with its files."""
Ran = tuple[int, Iterable[Any]]
"""The exit code, and the lines of the log: text, or objects with stream_name, time and data."""
Runner = Callable[[Version, Inputs, Path], Ran]
TIMED_OUT = 124
"""The exit code of a version that reached its time limit; Kaggle keeps none of its output."""
_TOO_LONG = "Your notebook was stopped because it exceeded the max allowed execution duration."


class Sessions:
    """A thread for every version that runs."""

    def __init__(self, service: "StandIn") -> None:
        self._service = service
        self._threads: list[threading.Thread] = []

    def submit(self, version: Version) -> None:
        """Without a runner it stays queued until a test moves it on."""
        runner = self._service.runner
        if runner is not None and not self._service.stopping:
            thread = threading.Thread(target=self._run, args=(version, runner), name=f"session {version.ref}")
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stop every session and wait for it."""
        for version in self._service.versions():
            version.stopped.set()
        with self._service.changed:
            self._service.changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, version: Version, runner: Runner) -> None:
        self._service.begin(version)
        folder = self._service.folder / f"session-{version.session_id}"
        try:
            working = folder / "working"
            working.mkdir(parents=True)
            code, lines = runner(version, self._inputs(version, folder), working)
            files = {} if code == TIMED_OUT else read_files(working)
            self._ended(version, code, [_line(line) for line in lines], files)
        except Exception as error:
            self._service.crashes.append(traceback.format_exc())
            self._ended(version, 1, [LogLine("stderr", 0.0, f"the stand-in's runner failed: {error!r}\n")], {})
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _ended(self, version: Version, code: int, lines: list[LogLine], files: dict[str, bytes]) -> None:
        with self._service.changed:
            version.files, version.lines = files, lines or version.lines
            if code == TIMED_OUT:
                self._service.close(version, "error", _TOO_LONG)
            else:
                self._service.close(version, "error" if code else "complete", f"Exit code {code}." if code else "")

    def _inputs(self, version: Version, folder: Path) -> dict[tuple[str, str], Path]:
        inputs = {}
        sources = version.sources
        if self._service.reported.lost_sources and any(kind != "competition" for kind, _ in sources):
            self._service.reported.lost_sources -= 1
            sources = [(kind, name) for kind, name in sources if kind == "competition"]
        for place, (kind, name) in enumerate(sources):
            with self._service.changed:
                content = self._service.content_of(kind, name)
            if isinstance(content, Path):
                inputs[kind, name] = content
            else:
                inputs[kind, name] = write_files(folder / "input" / str(place), content)
        return inputs


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read_files(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _line(line: Any) -> LogLine:
    if isinstance(line, str):
        return LogLine("stdout", 0.0, line)
    return LogLine(line.stream_name, line.time, line.data)


def seconds_since(started: float | None) -> timedelta:
    return timedelta(seconds=time.monotonic() - started) if started is not None else timedelta()


def run_pushed(version: Version, inputs: Inputs, working: Path, smaller: Mapping[str, Any] | None = None) -> Ran:
    """`standin.runner = run_pushed`. What the script leaves is moved to `working`; `smaller` changes its job."""
    from podium.kernel.rehearsal import rehearse

    script = working.parent / ("kernel.ipynb" if version.request.kernel_type == "notebook" else "kernel.py")
    script.write_text(version.request.text or "", encoding="utf-8")
    outcome = rehearse(
        script,
        dict(inputs),  # type: ignore[arg-type]
        working.parent / "rehearsal",
        time_limit=version.time_limit,
        job_changes=smaller,
        on_line=lambda line: version.tell(line.data, line.stream_name, line.time),
    )
    shutil.copytree(outcome.working, working, symlinks=True, dirs_exist_ok=True)
    return TIMED_OUT if outcome.timed_out else outcome.code, outcome.lines
