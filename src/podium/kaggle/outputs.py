"""Fetching what a kernel left: by exact version, name by name, checked, and gone on with after a break.

Beside the files lie `.podium-pull.json`, which says of which version they are and which are whole, and the log.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from rich.console import Console

from podium.config.kaggle_names import KernelRef
from podium.errors import KaggleError, NotFoundError, RunError, UnreachableError
from podium.files import digest_of_file, read_json, write_json, write_text
from podium.kaggle.answers import KernelStatus, OutputFile
from podium.kaggle.transfers import PARTIAL
from podium.locks import locked

if TYPE_CHECKING:
    from podium.kaggle.client import Kaggle

NOTE = ".podium-pull.json"
A_WAIT = 0.2
"""Seconds."""
AT_ONCE = 2
_LAST_LINES = 15
_WORTH_A_LINE = 100_000
"""Bytes. Of a run's dozen small files a log need not tell each."""


def pull(kaggle: "Kaggle", ref: KernelRef, folder: Path, console: Console, *, even_failed: bool = False) -> list[Path]:
    """Every file of a version that is over, whole, in `folder`; what is there whole already is not fetched again."""
    ref = with_version(kaggle, ref)
    _check_status(kaggle, ref, kaggle.kernel_status(ref), even_failed)
    files = kaggle.output_files(ref)
    log = folder / f"{ref.slug}.log"
    check_names([file.name for file in files], folder, own=(NOTE, log.name))
    with locked(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _telling(console, ref, files) as tell:
            _Pull(kaggle, ref, folder, files, tell).fetch_all()
        write_text(log, "".join(f"{line}\n" for line in kaggle.log(ref)), fsync=False)
    total = sum((folder / file.name).stat().st_size for file in files)
    console.print(f"{ref}: {len(files)} files, {total:,} bytes, in {folder}", highlight=False, markup=False)
    return [*(folder / file.name for file in files), log]


def with_version(kaggle: "Kaggle", ref: KernelRef) -> KernelRef:
    """The newest, where none is said: so that all that is asked next is asked of the same one."""
    if ref.version is not None:
        return ref
    source = kaggle.kernel_source(ref)
    if source is None:
        raise KaggleError(f"Kaggle knows no kernel {ref}, or it is not yours; look at the name on its page")
    return ref.at(source.version)


def _check_status(kaggle: "Kaggle", ref: KernelRef, status: KernelStatus, even_failed: bool) -> None:
    if not status.is_over:
        raise KaggleError(f"{ref} is {status.state}, not yet over; podium kernel logs -f {ref} follows it")
    if status.state != "complete" and not even_failed:
        last = [line for line in kaggle.log(ref) if line.strip()][-_LAST_LINES:]
        told = "".join(f"\n  {line}" for line in last)
        why = f" ({status.failure})" if status.failure else ""
        raise KaggleError(
            f"{ref} ended as {status.state}{why}; --even-failed fetches what it left; the last it said:{told}"
        )


class _Pull:
    """The files of one version, a few at a time. The first that fails ends it; the others go on next time."""

    def __init__(
        self,
        kaggle: "Kaggle",
        ref: KernelRef,
        folder: Path,
        files: Sequence[OutputFile],
        tell: Callable[[str, int, bool], None],
    ) -> None:
        self.kaggle, self.ref, self.folder, self.tell = kaggle, ref, folder, tell
        self.files = {file.name: file for file in files}
        self.known = _known(folder, ref)
        self.stopping, self.lock, self.asking = threading.Event(), threading.Lock(), threading.Lock()

    def fetch_all(self) -> None:
        waiting, failures = deque(self.files), list[Exception]()

        def work() -> None:
            while not self.stopping.is_set():
                with self.lock:
                    if not waiting:
                        return
                    name = waiting.popleft()
                try:
                    self.fetch(name)
                except _StopError:
                    return
                except Exception as failure:
                    failures.append(failure)
                    self.stopping.set()

        # As daemons: a signal ends the process at once, and what came so far is gone on with.
        workers = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(waiting)))]
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                while worker.is_alive():  # a signal just before a wait without an end would be acted on after it
                    worker.join(A_WAIT)
        finally:
            self.stopping.set()
        if failures:
            raise failures[0]

    def fetch(self, name: str) -> None:
        path, file = self.folder / name, self.files[name]
        if _is_whole(path, file, self.known):
            self.tell(name, path.stat().st_size, False)
            return
        try:
            self.kaggle.fetch(file, path, lambda done: self.on_the_way(name, done))
        except UnreachableError:
            raise
        except KaggleError:  # an address holds for a while only
            self.kaggle.fetch(self.listed_anew(file), path, lambda done: self.on_the_way(name, done))
        size = path.stat().st_size
        with self.lock:
            self.known[name] = {"size": size, "digest": digest_of_file(path)}
            write_json(self.folder / NOTE, {"kernel": str(self.ref), "files": self.known}, fsync=False)
        self.tell(name, size, True)

    def on_the_way(self, name: str, done: int) -> None:
        if self.stopping.is_set():
            raise _StopError
        self.tell(name, done, False)

    def listed_anew(self, file: OutputFile) -> OutputFile:
        """With an address that holds now. One listing serves all whose addresses ran out together."""
        with self.asking:
            if self.files[file.name].url == file.url:
                self.files |= {one.name: one for one in self.kaggle.output_files(self.ref) if one.name in self.files}
        found = self.files[file.name]
        if found.url == file.url:
            raise NotFoundError(f"{self.ref}: Kaggle lists {_shown(file.name)} and does not give it; pull again later")
        return found


class _StopError(Exception):
    """Another file failed, or a signal came."""


def check_names(names: Sequence[str], folder: Path, own: Sequence[str] = ()) -> None:
    """All, before anything is written: each stays inside the folder, and none is another's or podium's `own`."""
    inside = folder.resolve()
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        if not _stays_inside(name):
            raise KaggleError(f"the kernel's output names a file outside of its folder: {name!a}; nothing was fetched")
        if name.casefold() in own or PurePosixPath(name).name.startswith(PARTIAL):
            raise KaggleError(f"the kernel's output names {name!a}, which podium keeps for itself; nothing was fetched")
        above = [str(parent).casefold() for parent in PurePosixPath(name).parents][:-1]
        other = files.get(name.casefold()) or folders.get(name.casefold()) or _first(files.get(one) for one in above)
        if other is not None:
            raise KaggleError(
                f"the kernel's output names {name!a} and {other!a}, which cannot both be here; nothing was fetched"
            )
        files[name.casefold()] = name
        folders |= dict.fromkeys(above, name)
        place = folder / name
        if place.is_symlink() or not place.parent.resolve().is_relative_to(inside):
            raise KaggleError(f"{place} leads out of {folder} by a link; remove that link and pull again")
        if place.is_dir():
            raise KaggleError(f"{place} is a folder, and the kernel's output a file; move it away and pull again")


def _first(found: Iterable[str | None]) -> str | None:
    return next((one for one in found if one is not None), None)


def _stays_inside(name: str) -> bool:
    """Also where another system reads it: it knows drives and both slashes. And it can be written at all."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    parts = name.split("/")
    return not ({"", ".", ".."} & set(parts) or PureWindowsPath(name).anchor or "\\" in name or "\0" in name)


def _known(folder: Path, ref: KernelRef) -> dict[str, dict[str, object]]:
    try:
        note = read_json(folder / NOTE)
    except RunError:
        return {}
    files = note.get("files")
    if note.get("kernel") != str(ref) or not isinstance(files, dict):
        return {}
    return {name: noted for name, noted in files.items() if isinstance(noted, dict)}


def _is_whole(path: Path, file: OutputFile, known: dict[str, dict[str, object]]) -> bool:
    noted = known.get(file.name)
    if not noted or not path.is_file() or path.stat().st_size != noted.get("size"):
        return False
    return file.size in (None, noted["size"]) and digest_of_file(path) == noted.get("digest")


@contextmanager
def _telling(
    console: Console, ref: KernelRef, files: Sequence[OutputFile]
) -> Iterator[Callable[[str, int, bool], None]]:
    """Told of a file's name, its bytes so far, and whether it has just come whole: a bar on a terminal, else a line."""
    if not console.is_terminal:

        def tell(name: str, done: int, is_new: bool) -> None:
            if is_new and done >= _WORTH_A_LINE:
                console.print(f"  {_shown(name)}: {done:,} bytes", highlight=False, markup=False)

        yield tell
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    sizes = dict.fromkeys((file.name for file in files), 0)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{ref}: {len(files)} files", total=sum(file.size or 0 for file in files) or None)

        def show(name: str, done: int, is_new: bool) -> None:
            sizes[name] = done
            progress.update(task, completed=sum(list(sizes.values())))

        yield show


def _shown(name: str) -> str:
    """What a terminal would obey is spelled out."""
    return name if name.isprintable() else ascii(name)
