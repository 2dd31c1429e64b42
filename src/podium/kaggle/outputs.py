"""Fetching what a kernel left: by exact version, name by name, checked, and gone on with after a break."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from rich.console import Console

from podium.errors import KaggleError, RunError
from podium.files import digest_of_file, read_json, write_json, write_text
from podium.kaggle.answers import KernelStatus, OutputFile
from podium.kaggle.names import KernelRef

if TYPE_CHECKING:
    from podium.kaggle.client import Kaggle

NOTE = ".podium-pull.json"
AT_ONCE = 2
_LAST_LINES = 15


def pull(kaggle: "Kaggle", ref: KernelRef, folder: Path, console: Console, *, even_failed: bool = False) -> list[Path]:
    """Every file of a version that is over, whole, in `folder`; what is there whole already is not fetched again."""
    if ref.version is None:
        source = kaggle.kernel_source(ref)
        if source is None:
            raise KaggleError(f"Kaggle knows no kernel {ref}; look at the name on its page")
        ref = ref.at(source.version)
    _check_status(kaggle, ref, kaggle.kernel_status(ref), even_failed)
    files = kaggle.output_files(ref)
    check_names([file.name for file in files], folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = _known(folder, ref)
    lock = threading.Lock()

    def fetch(file: OutputFile) -> Path:
        path = folder / file.name
        if not _is_whole(path, file, known):
            kaggle.fetch(file, path)
            with lock:
                known[file.name] = {"size": path.stat().st_size, "digest": digest_of_file(path)}
                write_json(folder / NOTE, {"kernel": str(ref), "files": known}, synced=False)
                console.print(f"  {file.name}: {path.stat().st_size:,} bytes", highlight=False)
        return path

    with ThreadPoolExecutor(AT_ONCE) as pool:
        paths = list(pool.map(fetch, files))
    log = folder / f"{ref.slug}.log"
    write_text(log, "".join(f"{line}\n" for line in kaggle.log(ref)), synced=False)
    return [*paths, log]


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


def check_names(names: Sequence[str], folder: Path) -> None:
    """All of them, before anything is written: each stays inside the folder, and none is another's."""
    seen: dict[str, str] = {}
    for name in names:
        if not _stays_inside(name):
            raise KaggleError(f"the kernel's output names a file outside of its folder: {name!r}; nothing was fetched")
        other = seen.setdefault(name.casefold(), name)
        if other != name or names.count(name) > 1:
            raise KaggleError(
                f"the kernel's output names {name!r} and {other!r}, which are one file here; nothing was fetched"
            )
        place = folder / name
        inside = folder.resolve()
        if place.is_symlink() or (place.parent.exists() and not place.parent.resolve().is_relative_to(inside)):
            raise KaggleError(f"{place} leads out of {folder} by a link; remove that link and pull again")


def _stays_inside(name: str) -> bool:
    """Also where another system reads it: it knows drives and both slashes."""
    parts = name.split("/")
    return not ({"", ".", ".."} & set(parts) or PureWindowsPath(name).anchor or "\\" in name or "\0" in name)


def _known(folder: Path, ref: KernelRef) -> dict[str, dict[str, object]]:
    try:
        note = read_json(folder / NOTE)
    except RunError:
        return {}
    files = note.get("files")
    return files if note.get("kernel") == str(ref) and isinstance(files, dict) else {}


def _is_whole(path: Path, file: OutputFile, known: dict[str, dict[str, object]]) -> bool:
    noted = known.get(file.name)
    if not noted or not path.is_file() or path.stat().st_size != noted["size"]:
        return False
    return file.size in (None, noted["size"]) and digest_of_file(path) == noted["digest"]
