"""Download the output of one version of a kernel, verified, and resumed after interruptions.

Next to the files are `.podium-pull.json`, with the version and the digests of the complete files, and the log.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rich.console import Console

from podium.config.kaggle_names import KernelRef
from podium.console import printable
from podium.errors import IncompleteOutputError, KaggleError, NotFoundError, RunError, UnreachableError
from podium.files import digest_of_file, read_json, write_json, write_text
from podium.kaggle.responses import KernelStatus, OutputFile
from podium.kaggle.transfers import PARTIAL
from podium.kernel.report import REPORT, Report, cause_of_failure, read_report
from podium.kernel.script import ENTRY
from podium.locks import locked
from podium.paths import stays_inside
from podium.retries import pause
from podium.signals import raise_if_interrupted

if TYPE_CHECKING:
    from podium.kaggle.client import Kaggle

NOTE = ".podium-pull.json"
LOOKS = 6
"""How often the output of a finished kernel is listed until it is complete: Kaggle may list it late, or in part."""
SECONDS_BETWEEN_LOOKS = 20.0
AT_ONCE = 2
LONGEST_NAME = 500
"""Characters of a file's name in an output, with its folders."""
_SECONDS_BETWEEN_NOTES = 1.0
_POLL_SECONDS = 0.2
_LAST_LINES = 15
_REPORTED_SIZE = 100_000
"""Bytes. Smaller files are not listed in a log."""
ReportProgress = Callable[[str, int, bool], None]
"""Called with a file's name, its bytes so far, and whether it has just been completed."""


def pull(
    kaggle: "Kaggle", ref: KernelRef, folder: Path, console: Console, *, even_failed: bool = False, looks: int = LOOKS
) -> list[Path]:
    """Download every file of a finished version to `folder`; complete files are not downloaded again.

    If Kaggle does not list all of the output yet, it is asked `looks` times before that is an IncompleteOutputError.
    """
    ref = with_version(kaggle, ref)
    _check_status(kaggle, ref, kaggle.kernel_status(ref), even_failed)
    if even_failed:
        files = [file for file in kaggle.output_files(ref) if file.url]
    else:
        files = _wait_for_output(kaggle, ref, folder.parent, console, looks)
    log = folder / f"{ref.slug}.log"
    check_names([file.name for file in files], folder, reserved=(NOTE, log.name))
    with locked(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _progress(console, ref, files) as report:
            _Pull(kaggle, ref, folder, files, report).fetch_all()
        write_text(log, "".join(f"{line}\n" for line in kaggle.log(ref)), fsync=False)
    total = sum((folder / file.name).stat().st_size for file in files)
    console.print(f"{ref}: {len(files)} files, {total:,} bytes, in {folder}", highlight=False)
    return [*(folder / file.name for file in files), log]


def with_version(kaggle: "Kaggle", ref: KernelRef) -> KernelRef:
    """The newest version if none is given, so that all following requests are about the same one."""
    if ref.version is not None:
        return ref
    source = kaggle.kernel_source(ref)
    if source is None:
        raise kaggle.missing_kernel(ref)
    return ref.at(source.version)


def _fetch_report(kaggle: "Kaggle", ref: KernelRef, files: Sequence[OutputFile], folder: Path) -> Report:
    """Download the report, which knows whether the list of the output is complete."""
    listed = {file.name: file for file in files}
    if REPORT not in listed:
        raise IncompleteOutputError(f"{ref}: Kaggle lists {len(listed)} files of its output, and no {REPORT}")
    kaggle.fetch(listed[REPORT], folder / REPORT)
    report = read_report(folder)
    missing = sorted(report.files.keys() - listed.keys())
    if missing:
        raise IncompleteOutputError(
            f"{ref}: Kaggle does not list {len(missing)} of the {len(report.files)} files of its results (first:"
            f" {printable(missing[0])})"
        )
    return report


def _list_output(kaggle: "Kaggle", ref: KernelRef) -> list[OutputFile]:
    files = kaggle.output_files(ref)
    unavailable = [file.name for file in files if not file.url]
    if unavailable:
        raise IncompleteOutputError(
            f"{ref}: Kaggle lists {len(files)} files of its output, but provides no URL of {len(unavailable)} (first:"
            f" {printable(unavailable[0])})"
        )
    return files


def _wait_for_output(kaggle: "Kaggle", ref: KernelRef, folder: Path, console: Console, looks: int) -> list[OutputFile]:
    """The complete output. That of a podium kernel has a report; nothing is known of others."""
    for look in range(1, looks + 1):
        try:
            files = _list_output(kaggle, ref)
            if REPORT in [file.name for file in files] or _is_from_podium(kaggle, ref):
                sizes = _fetch_report(kaggle, ref, files, folder).files
                files = [file if file.size else replace(file, size=sizes.get(file.name)) for file in files]
            return files
        except IncompleteOutputError as error:
            if looks == 1:  # of a fleet, which looks again in its next round
                raise
            if look == looks:
                raise IncompleteOutputError(
                    f"{error}; pull it again later, or add --even-failed to download what is there"
                ) from None
            console.print(f"{error}; looking again in {SECONDS_BETWEEN_LOOKS:.0f} s", highlight=False)
            pause(SECONDS_BETWEEN_LOOKS)
    raise AssertionError("unreachable")


def _is_from_podium(kaggle: "Kaggle", ref: KernelRef) -> bool:
    source = None
    with suppress(KaggleError):  # the output of another user may be readable, and the source not
        source = kaggle.kernel_source(ref)
    return source is not None and ENTRY in source.text


def _check_status(kaggle: "Kaggle", ref: KernelRef, status: KernelStatus, even_failed: bool) -> None:
    if not status.is_over:
        raise KaggleError(f"{ref} is {status.state}, not finished; podium kernel logs -f {ref} follows it")
    if status.state != "complete" and not even_failed:
        lines = "".join(f"\n  {line}" for line in last_lines(kaggle, ref, _LAST_LINES))
        raise KaggleError(
            f"{ref} ended with status {status.state} ({failure_of(kaggle, ref, status)}); --even-failed downloads its"
            f" output; end of its log:{lines}"
        )


def last_lines(kaggle: "Kaggle", ref: KernelRef, count: int) -> list[str]:
    return [line for line in kaggle.log(ref) if line.strip()][-count:]


def failure_of(kaggle: "Kaggle", ref: KernelRef, status: KernelStatus) -> str:
    """Why a version failed: its last error, with Kaggle's own message unless that is only the exit code."""
    lines: list[str] = []
    with suppress(KaggleError):
        lines = kaggle.log(ref)
    return describe_failure(status, lines)


def describe_failure(status: KernelStatus, lines: Sequence[str]) -> str:
    cause = cause_of_failure(lines)
    reason = "" if cause and status.failure.startswith("Exit code") else status.failure
    last = [line.strip() for line in lines if line.strip()][-1:]
    return ": ".join(filter(None, [reason, cause])) or "".join(last) or status.state


class _Pull:
    """The files of one version, a few at a time. The first failure ends it; the next pull resumes the others."""

    def __init__(
        self, kaggle: "Kaggle", ref: KernelRef, folder: Path, files: Sequence[OutputFile], report: ReportProgress
    ) -> None:
        self.kaggle, self.ref, self.folder, self.report = kaggle, ref, folder, report
        self.files = {file.name: file for file in files}
        self.complete = _read_note(folder, ref)
        self.noted, self.stopping = 0.0, threading.Event()
        self.note_lock, self.listing_lock = threading.Lock(), threading.Lock()

    def fetch_all(self) -> None:
        waiting, failures = deque(self.files), list[Exception]()

        def work() -> None:
            while not self.stopping.is_set():
                try:
                    self.fetch(waiting.popleft())
                except (IndexError, _StopError):  # no files are left, or another file failed
                    return
                except Exception as failure:
                    failures.append(failure)
                    self.stopping.set()

        # Daemons: after a signal, the process does not wait for a read that hangs.
        workers = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(waiting)))]
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                while worker.is_alive():
                    worker.join(_POLL_SECONDS)
                    raise_if_interrupted()
        finally:
            self.stopping.set()
            self.write_note()
        if failures:
            raise failures[0]

    def fetch(self, name: str) -> None:
        path, file = self.folder / name, self.files[name]
        if _is_complete(path, file, self.complete):
            self.report(name, path.stat().st_size, False)
            return
        try:
            self.kaggle.fetch(file, path, lambda done: self.on_progress(name, done))
        except UnreachableError:
            raise
        except KaggleError:  # signed URLs expire
            self.kaggle.fetch(self.listed_again(file), path, lambda done: self.on_progress(name, done))
        size = path.stat().st_size
        with self.note_lock:
            self.complete[name] = {"size": size, "digest": digest_of_file(path)}
        if time.monotonic() - self.noted > _SECONDS_BETWEEN_NOTES:  # not for each of thousands of small files
            self.write_note()
        self.report(name, size, True)

    def write_note(self) -> None:
        with self.note_lock:
            write_json(self.folder / NOTE, {"kernel": str(self.ref), "files": self.complete}, fsync=False)
            self.noted = time.monotonic()

    def on_progress(self, name: str, done: int) -> None:
        if self.stopping.is_set():
            raise _StopError
        self.report(name, done, False)

    def listed_again(self, file: OutputFile) -> OutputFile:
        """The file with a new URL. One listing serves all files whose URLs expired together."""
        with self.listing_lock:
            if self.files[file.name].url == file.url:
                listed = self.kaggle.output_files(self.ref)
                self.files |= {other.name: other for other in listed if other.name in self.files}
        found = self.files[file.name]
        if found.url == file.url:
            raise NotFoundError(
                f"{self.ref}: Kaggle lists {printable(file.name)} but does not provide it; try again later"
            )
        return found


class _StopError(Exception):
    """Another file failed, or a signal arrived."""


def check_names(names: Sequence[str], folder: Path, reserved: Sequence[str] = ()) -> None:
    """Check all names before anything is written: each stays inside the folder, and no two collide."""
    root = folder.resolve()
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        if not _stays_inside(name):
            raise KaggleError(
                "the kernel's output has a file outside of its folder, or with a name of more than"
                f" {LONGEST_NAME} characters: {name[:LONGEST_NAME]!a}; nothing was downloaded"
            )
        if name.casefold() in reserved or PurePosixPath(name).name.startswith(PARTIAL):
            raise KaggleError(
                f"the kernel's output has a file {name!a}, a name that podium reserves; nothing was downloaded"
            )
        parents = [str(parent).casefold() for parent in PurePosixPath(name).parents][:-1]
        others = [files.get(name.casefold()), folders.get(name.casefold()), *map(files.get, parents)]
        other = next((other for other in others if other is not None), None)
        if other is not None:
            raise KaggleError(
                f"the kernel's output has the files {name!a} and {other!a}, which cannot both exist on this system;"
                " nothing was downloaded"
            )
        files[name.casefold()] = name
        folders |= dict.fromkeys(parents, name)
        path = folder / name
        if path.is_symlink() or not path.parent.resolve().is_relative_to(root):
            raise KaggleError(f"{path} is reached through a link that leaves {folder}; remove the link and pull again")
        if path.is_dir():
            raise KaggleError(f"{path} is a folder, but a file in the kernel's output; move it away and pull again")


def _stays_inside(name: str) -> bool:
    """Whether the name is a plain relative path, also on Windows with its drives and both slashes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    if len(name) > LONGEST_NAME:
        return False
    return stays_inside(name)


def _read_note(folder: Path, ref: KernelRef) -> dict[str, dict[str, object]]:
    """Sizes and digests of the complete files of this version."""
    try:
        note = read_json(folder / NOTE)
    except RunError:
        return {}
    files = note.get("files")
    if note.get("kernel") != str(ref) or not isinstance(files, dict):
        return {}
    return {name: entry for name, entry in files.items() if isinstance(entry, dict)}


def _is_complete(path: Path, file: OutputFile, complete: dict[str, dict[str, object]]) -> bool:
    entry = complete.get(file.name)
    if not entry or not path.is_file() or path.stat().st_size != entry.get("size"):
        return False
    return file.size in (None, entry["size"]) and digest_of_file(path) == entry.get("digest")


@contextmanager
def _progress(console: Console, ref: KernelRef, files: Sequence[OutputFile]) -> Iterator[ReportProgress]:
    """A progress bar over all files on a terminal, else a line for each large file."""
    if not console.is_terminal:

        def print_line(name: str, done: int, is_new: bool) -> None:
            if is_new and done >= _REPORTED_SIZE:
                shown = name if name.isprintable() else ascii(name)
                console.print(f"  {shown}: {done:,} bytes", highlight=False, markup=False)

        yield print_line
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    sizes = dict.fromkeys((file.name for file in files), 0)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{ref}: {len(files)} files", total=sum(file.size or 0 for file in files) or None)

        def update(name: str, done: int, is_new: bool) -> None:
            sizes[name] = done
            progress.update(task, completed=sum(list(sizes.values())))

        yield update
