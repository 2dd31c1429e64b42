"""The files of a folder as they are uploaded to a dataset: top-level files as they are, top-level folders as zips.

Kaggle keeps only the names of uploaded files and unpacks archives, so a zip of a folder becomes that folder again. A
list of checksums is added, also because the content of a lone archive may be unpacked without its folder.
"""

import hashlib
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from podium.credentials import local_secrets
from podium.errors import DataError
from podium.files import atomic_write, report_full_disk, write_text
from podium.kernel.secrets import check_file, check_name
from podium.progress import format_size, show_progress

LARGEST_DATASET = 200 * 10**9
"""Bytes of a dataset, and of all private datasets of a user."""
MOST_ENTRIES = 49
"""Top-level files and folders of a dataset, without the list of checksums."""
CHECKSUMS = "podium-checksums.sha256"
_METADATA = "dataset-metadata.json"
"""The official client's, which describes the dataset and is not part of it."""
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".7z")


@dataclass(frozen=True)
class LocalFile:
    path: Path
    name: str
    """Relative to the folder."""
    size: int
    modified: int
    digest: str = ""

    def is_unchanged(self) -> bool:
        status = self.path.stat()
        return (status.st_size, status.st_mtime_ns) == (self.size, self.modified)


@dataclass(frozen=True)
class Entry:
    """What is uploaded as one file."""

    name: str
    files: tuple[LocalFile, ...]
    is_folder: bool

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        return digest_of_files(self.files)


def read_entries(folder: Path, console: Console) -> list[Entry]:
    """The folder's files with their checksums; hidden files and folders are left out."""
    files = _list_files(folder)
    _check_sizes(folder, files)
    _check_names(folder, files)
    for file in files:
        check_name(file.name)
    files = _with_digests(folder, files, console)
    tops = dict.fromkeys(file.name.partition("/")[0] for file in files)
    entries = []
    for top in tops:
        inside = tuple(file for file in files if file.name.partition("/")[0] == top)
        entries.append(Entry(top, inside, is_folder=inside[0].name != top))
    return entries


def checksums_of(files: Iterable[LocalFile]) -> str:
    """A line for each file, in the format of sha256sum."""
    return "".join(sorted(f"{file.digest}  {file.name}\n" for file in files))


def digest_of_files(files: Iterable[LocalFile]) -> str:
    """32 hexadecimal digits of the SHA-256 of the files' names and checksums."""
    return hashlib.sha256(checksums_of(files).encode()).hexdigest()[:32]


def checksums_entry(entries: Sequence[Entry], folder: Path) -> Entry:
    """The list of checksums as a file in `folder`."""
    text = checksums_of(file for entry in entries for file in entry.files)
    path = folder / CHECKSUMS
    write_text(path, text, fsync=False)
    status, digest = path.stat(), hashlib.sha256(text.encode()).hexdigest()
    return Entry(CHECKSUMS, (LocalFile(path, CHECKSUMS, status.st_size, status.st_mtime_ns, digest),), is_folder=False)


def pack(entry: Entry, folder: Path) -> Path:
    """The file to upload. A folder's zip is uncompressed, so it is the same for the same files."""
    if not entry.is_folder:
        return entry.files[0].path
    path = folder / entry.digest / f"{entry.name}.zip"
    if path.is_file():
        return path
    what = f"the zip of {entry.name}"
    with (
        report_full_disk(folder, entry.size, what),
        atomic_write(path, fsync=False) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
    ):
        for file in entry.files:
            member = zipfile.ZipInfo(file.name.partition("/")[2])
            member.file_size = file.size
            with file.path.open("rb") as source, archive.open(member, "w") as target:
                shutil.copyfileobj(source, target)
    return path


def _list_files(folder: Path) -> list[LocalFile]:
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if (
            path.is_file()
            and not any(part.startswith(".") for part in name.parts)
            and str(name) not in (_METADATA, CHECKSUMS)
        ):
            status = path.stat()
            found.append(LocalFile(path, name.as_posix(), status.st_size, status.st_mtime_ns))
    return found


def _check_sizes(folder: Path, files: Sequence[LocalFile]) -> None:
    if not files:
        raise DataError(f"{folder} has no files to upload; hidden files are left out")
    size = sum(file.size for file in files)
    if size > LARGEST_DATASET:
        largest = max(files, key=lambda file: file.size)
        raise DataError(
            f"{folder} has {format_size(size)}, and a dataset may have {format_size(LARGEST_DATASET)}; its largest"
            f" file is {largest.name} with {format_size(largest.size)}: move some files to another folder"
        )


def _check_names(folder: Path, files: Sequence[LocalFile]) -> None:
    tops = sorted({file.name.partition("/")[0] for file in files})
    if len(tops) > MOST_ENTRIES:
        raise DataError(
            f"{folder} has {len(tops):,} files and folders at its top level, and a dataset may have {MOST_ENTRIES}:"
            " move them into a folder in it, which is uploaded as one zip"
        )
    for name in tops:
        stem = name.partition(".")[0]
        if name.lower().endswith(_ARCHIVES) and stem in tops:
            raise DataError(
                f"{folder} has {name} and {stem}, and Kaggle would unpack the first over the second: remove one"
            )


def _with_digests(folder: Path, files: Sequence[LocalFile], console: Console) -> list[LocalFile]:
    """The files with their checksums. None of them may have a key in it."""
    found, done, secrets = [], 0, local_secrets()
    with show_progress(console, f"{folder}: checksums of {len(files):,} files", sum(f.size for f in files)) as progress:
        for file in files:
            check_file(file.path, file.name, secrets)
            with file.path.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            found.append(LocalFile(file.path, file.name, file.size, file.modified, digest))
            done += file.size
            progress(done)
    return found
