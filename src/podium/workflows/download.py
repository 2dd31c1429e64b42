"""Downloading a competition's data from Kaggle to data/<slug>, which exists only when it is complete.

data/
  <slug>/                     the data, with checksums.sha256; `sha256sum -c checksums.sha256` reads it too
  .<slug>.downloading/        meanwhile: the zip, and what is unpacked from it; the same command resumes from there
"""

import difflib
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from podium.config.competition import Competition
from podium.config.loading import load_competition
from podium.errors import ConfigError, DamagedArchiveError, DataError, DiskFullError, MachineError, NotFoundError
from podium.files import sha256_of, write_text
from podium.locks import locked
from podium.paths import configs_folder
from podium.progress import format_size, show_progress

if TYPE_CHECKING:
    from podium.kaggle.client import Kaggle
    from podium.kaggle.responses import DataFile

CHECKSUMS = "checksums.sha256"


@dataclass(frozen=True)
class KnownCompetition:
    """A competition file of the configs folder."""

    path: Path
    competition: Competition


def known_competitions() -> dict[str, KnownCompetition]:
    """The competition files of the configs folder by slug; invalid ones are left out."""
    known = {}
    with suppress(MachineError):
        for path in sorted((configs_folder() / "competitions").glob("*.yaml")):
            with suppress(ConfigError):
                competition = load_competition(path)
                known[competition.slug] = KnownCompetition(path, competition)
    return known


@dataclass(frozen=True)
class Downloaded:
    folder: Path
    files: int
    size: int
    is_new: bool


def download(slug: str, folder: Path, console: Console, *, verify: bool = False) -> Downloaded:
    """Download a competition's data to `folder` unless it is there; `verify` compares existing files' checksums."""
    from podium.kaggle.client import sign_in

    kaggle = sign_in()
    with _suggest_known(slug, folder.parent):
        listed = kaggle.data_files(slug)
    with locked(folder):
        is_new = not folder.is_dir() or not any(folder.iterdir())
        if is_new:
            _download_new(kaggle, slug, folder, listed, console)
        else:
            _check_existing(folder, listed, verify, console)
        shutil.rmtree(_work_folder(folder), ignore_errors=True)
    files = [folder / name for name in read_checksums(folder / CHECKSUMS)]
    return Downloaded(folder, len(files), sum(path.stat().st_size for path in files), is_new)


def _work_folder(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.downloading"


def _download_new(kaggle: "Kaggle", slug: str, folder: Path, listed: "Sequence[DataFile]", console: Console) -> None:
    """Each step ends with a rename, so a kill loses at most the current step."""
    archive, unpacked = _work_folder(folder) / "data.zip", _work_folder(folder) / "unpacked"
    size = sum(file.size for file in listed)
    if not unpacked.is_dir():
        if not archive.is_file():
            _check_free_space(folder, size)
            with show_progress(console, f"{slug}: downloading {len(listed):,} files", size) as progress:
                kaggle.download_data(slug, archive, progress)
        _unpack(archive, unpacked, slug, console)
    content = [path for path in unpacked.rglob("*") if path.is_file() and path != unpacked / CHECKSUMS]
    missing, different = _compare(unpacked, listed)
    if not content:
        shutil.rmtree(_work_folder(folder))
        raise DataError(f"Kaggle has no data for {slug}: its zip is empty; check the slug")
    if missing:
        shutil.rmtree(_work_folder(folder))
        raise DataError(
            f"the zip of {slug} lacks {len(missing)} of the {len(listed)} files that Kaggle lists (first:"
            f" {missing[0]}); it was removed: run the same command to download it again"
        )
    if len(content) > len(listed):
        console.print(
            f"note: Kaggle lists only {len(listed):,} of the {len(content):,} files of {slug}; all are in its zip"
        )
    if different:
        console.print(f"note: {len(different)} files differ in size from Kaggle's list (first: {different[0]})")
    write_checksums(unpacked, slug, console)
    if folder.is_dir():
        folder.rmdir()  # it is empty
    unpacked.rename(folder)


def _unpack(archive: Path, folder: Path, slug: str, console: Console) -> None:
    from podium.data.archives import unpack

    for leftover in folder.parent.glob(".unpacking-*"):  # of a process that was killed
        shutil.rmtree(leftover)
    console.print(f"{slug}: unpacking {format_size(archive.stat().st_size)}")
    try:
        unpack(archive, folder)
    except DamagedArchiveError:
        archive.unlink()  # the same command downloads it again
        raise


def _check_free_space(folder: Path, size: int) -> None:
    """For the zip, which is hardly smaller than the images in it, and for the unpacked files."""
    existing = sum(path.stat().st_size for path in _work_folder(folder).rglob("*") if path.is_file())
    disk = next(parent for parent in folder.absolute().parents if parent.exists())
    missing = 2 * size - existing - shutil.disk_usage(disk).free
    if missing > 0:
        raise DiskFullError(
            f"{folder} needs {format_size(2 * size - existing)} for the zip and its content, {format_size(missing)}"
            f" more than {disk} has free; free some space, or use another disk with --data"
        )


# Data that exists already


def _check_existing(folder: Path, listed: "Sequence[DataFile]", verify: bool, console: Console) -> None:
    """Compare names and sizes with Kaggle's list; with `verify` also the checksums."""
    has_checksums = (folder / CHECKSUMS).is_file()
    # Kaggle's list may be partial; the checksums are of everything in its zip.
    names = {file.name for file in listed} | (read_checksums(folder / CHECKSUMS).keys() if has_checksums else set())
    missing = [name for name in sorted(names) if not (folder / name).is_file()]
    _, different = _compare(folder, listed)
    if missing or different:
        problems = [f"lacks {len(missing)} of Kaggle's {len(names)} files (first: {missing[0]})"] if missing else []
        problems += [f"has {len(different)} files of another size (first: {different[0]})"] if different else []
        raise DataError(
            f"{folder} {' and '.join(problems)}; nothing was changed: move it away and run the same command to"
            " download it again, or use another folder with --data"
        )
    if not has_checksums:
        write_checksums(folder, folder.name, console)
    elif verify:
        _verify_checksums(folder, console)


def _compare(folder: Path, listed: "Iterable[DataFile]") -> tuple[list[str], list[str]]:
    """The names of missing files, and of files with another size than listed."""
    missing, different = [], []
    for file in listed:
        path = folder / file.name
        if not path.is_file():
            missing.append(file.name)
        elif path.stat().st_size != file.size:
            different.append(file.name)
    return missing, different


def _verify_checksums(folder: Path, console: Console) -> None:
    expected = read_checksums(folder / CHECKSUMS)
    digests = _digests(folder, [folder / name for name in expected], folder.name, console)
    changed = [name for name, digest in digests.items() if digest != expected[name]]
    if changed:
        raise DataError(
            f"{folder}: {len(changed)} of {len(expected)} files differ from the download (first: {changed[0]}); move"
            " the folder away and run the same command to download it again"
        )


# Checksums


def write_checksums(folder: Path, slug: str, console: Console) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / CHECKSUMS)
    lines = [_checksum_line(name, digest) for name, digest in _digests(folder, paths, slug, console).items()]
    write_text(folder / CHECKSUMS, "".join(lines))


def read_checksums(path: Path) -> dict[str, str]:
    """Digests by name."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        matched = _LINE.fullmatch(line)
        if matched is None:
            raise DataError(
                f"{path} line {number} is not a checksum and a file name; delete the file to create it again"
            )
        escaped, digest, name = matched.groups()
        found[_ESCAPE.sub(lambda match: _ESCAPES[match[0]], name) if escaped else name] = digest
    return found


_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
_ESCAPE = re.compile(r"\\[\\nr]")


def _checksum_line(name: str, digest: str) -> str:
    """A line in the format of sha256sum, which marks names with escaped characters."""
    written = name
    for escape, letter in _ESCAPES.items():
        written = written.replace(letter, escape)
    return f"{'' if written == name else chr(92)}{digest}  {written}\n"


def _digests(folder: Path, paths: Sequence[Path], slug: str, console: Console) -> dict[str, str]:
    """Digests by path relative to the folder."""
    found, done = {}, 0
    size = sum(path.stat().st_size for path in paths)
    with show_progress(console, f"{slug}: checksums of {len(paths):,} files", size) as progress:
        for path in paths:
            found[path.relative_to(folder).as_posix()] = sha256_of(path)
            done += path.stat().st_size
            progress(done)
    return found


@contextmanager
def _suggest_known(slug: str, data: Path) -> Iterator[None]:
    """For a competition that does not exist, suggest one that this machine knows."""
    try:
        yield
    except NotFoundError as error:
        names = {*known_competitions(), *(path.name for path in data.glob("[!.]*") if path.is_dir())} - {slug}
        near = difflib.get_close_matches(slug, sorted(names), n=1)
        if not near:
            raise
        raise NotFoundError(
            f"there is no competition {slug!r} on Kaggle that you can see; did you mean {near[0]}?"
        ) from error
