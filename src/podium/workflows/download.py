"""A competition's data from Kaggle into data/<slug>: downloaded, unpacked, listed with checksums, and only then there.

data/
  <slug>/                     whole, with checksums.sha256; `sha256sum -c checksums.sha256` reads it too
  .<slug>.coming/             while it comes: the zip, and what is unpacked of it; the same command goes on from there
"""

import difflib
import hashlib
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from podium.config.competition import Competition
from podium.config.loading import load_competition
from podium.errors import ConfigError, DataError, DiskFullError, ForbiddenError, MachineError, NotFoundError
from podium.files import write_text
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
    """By slug. A competition file that is broken is none, and no failure of whoever asks here."""
    known = {}
    with suppress(MachineError):
        for path in sorted((configs_folder() / "competitions").glob("*.yaml")):
            with suppress(ConfigError):
                found = load_competition(path)
                known[found.slug] = KnownCompetition(path, found)
    return known


@dataclass(frozen=True)
class Downloaded:
    folder: Path
    files: int
    size: int
    is_new: bool


def download(slug: str, folder: Path, console: Console, *, verify: bool = False) -> Downloaded:
    """The data in `folder`, downloaded unless it is there. `verify` reads again every file that was there."""
    from podium.kaggle.client import sign_in

    kaggle = sign_in()
    with _explained(slug, folder.parent):
        listed = kaggle.data_files(slug)
    if not listed:
        raise DataError(f"Kaggle lists no data for {slug}; is it the right competition?")
    with locked(folder):
        is_new = not folder.is_dir() or not any(folder.iterdir())
        if is_new:
            with _explained(slug, folder.parent):
                _bring(kaggle, slug, folder, listed, console)
        else:
            _check_what_is_there(folder, listed, verify, console)
        shutil.rmtree(_coming(folder), ignore_errors=True)
    return Downloaded(folder, len(listed), sum(file.size for file in listed), is_new)


def _coming(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.coming"


def _bring(kaggle: "Kaggle", slug: str, folder: Path, listed: "Sequence[DataFile]", console: Console) -> None:
    """Each step leaves something whole, so that a kill costs no more than the step it was in."""
    archive, unpacked = _coming(folder) / "data.zip", _coming(folder) / "unpacked"
    size = sum(file.size for file in listed)
    if not unpacked.is_dir():
        if not archive.is_file():
            _make_sure_of_room(folder, size)
            with show_progress(console, f"{slug}: downloading {len(listed):,} files", size) as tell:
                kaggle.download_data(slug, archive, tell)
        _unpack(archive, unpacked, slug, console)
    missing, different = _compared(unpacked, listed)
    if missing:
        shutil.rmtree(_coming(folder))
        raise DataError(
            f"the zip of {slug} lacks {len(missing)} of the {len(listed)} files that Kaggle lists (first:"
            f" {missing[0]}); it was removed: run the same command to get it anew"
        )
    if different:
        console.print(f"note: {len(different)} files differ in size from Kaggle's list (first: {different[0]})")
    write_checksums(unpacked, slug, console)
    if folder.is_dir():
        folder.rmdir()  # it is empty
    unpacked.rename(folder)


def _unpack(archive: Path, folder: Path, slug: str, console: Console) -> None:
    from podium.data.archives import unpack

    for left in folder.parent.glob(".unpacking-*"):  # by a process that was killed
        shutil.rmtree(left)
    console.print(f"{slug}: unpacking {format_size(archive.stat().st_size)}")
    try:
        unpack(archive, folder)
    except DataError:
        if not _is_whole(archive):
            archive.unlink()  # the same command downloads it anew
        raise


def _is_whole(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return False
    except RuntimeError:  # a password: whole, but not for podium
        return True


def _make_sure_of_room(folder: Path, size: int) -> None:
    """For the zip, which is hardly smaller than the images in it, and for what is unpacked of it."""
    coming = _coming(folder)
    there = sum(path.stat().st_size for path in coming.rglob("*") if path.is_file())
    place = next(one for one in folder.absolute().parents if one.exists())
    missing = 2 * size - there - shutil.disk_usage(place).free
    if missing > 0:
        raise DiskFullError(
            f"{folder} needs {format_size(2 * size - there)} for the zip and what is in it, {format_size(missing)} more"
            f" than {place} has free; make room, or name another disk with --data"
        )


# What is there.


def _check_what_is_there(folder: Path, listed: "Sequence[DataFile]", verify: bool, console: Console) -> None:
    """By name and size; with `verify` by content too, as far as it was noted."""
    missing, different = _compared(folder, listed)
    if missing or different:
        told = [f"lacks {len(missing)} of Kaggle's {len(listed)} files (first: {missing[0]})"] if missing else []
        told += [f"has {len(different)} files of another size (first: {different[0]})"] if different else []
        raise DataError(
            f"{folder} {' and '.join(told)}; nothing was changed: move it away and run the same command to download it"
            " anew, or name another folder with --data"
        )
    if not (folder / CHECKSUMS).is_file():
        write_checksums(folder, folder.name, console)
    elif verify:
        _check_contents(folder, console)


def _compared(folder: Path, listed: "Iterable[DataFile]") -> tuple[list[str], list[str]]:
    """Names of files that are not there, and of files that have another size than Kaggle says."""
    missing, different = [], []
    for file in listed:
        path = folder / file.name
        if not path.is_file():
            missing.append(file.name)
        elif path.stat().st_size != file.size:
            different.append(file.name)
    return missing, different


def _check_contents(folder: Path, console: Console) -> None:
    noted = read_checksums(folder / CHECKSUMS)
    gone = [name for name in noted if not (folder / name).is_file()]
    found = _digests(folder, [folder / name for name in noted if name not in gone], folder.name, console)
    changed = [name for name, digest in found.items() if digest != noted[name]]
    if gone or changed:
        first = (gone + changed)[0]
        raise DataError(
            f"{folder}: {len(gone) + len(changed)} of {len(noted)} files are not what was downloaded (first: {first},"
            f" {'gone' if gone else 'changed'}); move the folder away and run the same command to download it anew"
        )


# Checksums.


def write_checksums(folder: Path, called: str, console: Console) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / CHECKSUMS)
    lines = [_checksum_line(name, digest) for name, digest in _digests(folder, paths, called, console).items()]
    write_text(folder / CHECKSUMS, "".join(lines))


def read_checksums(path: Path) -> dict[str, str]:
    """Name to digest."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        matched = _LINE.fullmatch(line)
        if matched is None:
            raise DataError(f"{path} line {number} is no checksum and name; remove the file to have it written anew")
        escaped, digest, name = matched.groups()
        found[_ESCAPE.sub(lambda one: _ESCAPES[one[0]], name) if escaped else name] = digest
    return found


_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
_ESCAPE = re.compile(r"\\[\\nr]")


def _checksum_line(name: str, digest: str) -> str:
    """As sha256sum writes it, which marks a line whose name holds what would break it."""
    written = name
    for escape, letter in _ESCAPES.items():
        written = written.replace(letter, escape)
    return f"{'' if written == name else chr(92)}{digest}  {written}\n"


def _digests(folder: Path, paths: Sequence[Path], called: str, console: Console) -> dict[str, str]:
    """By name as seen from the folder."""
    found, done = {}, 0
    size = sum(path.stat().st_size for path in paths)
    with show_progress(console, f"{called}: checksums of {len(paths):,} files", size) as tell:
        for path in paths:
            with path.open("rb") as opened:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(opened, "sha256").hexdigest()
            done += path.stat().st_size
            tell(done)
    return found


# Telling.


@contextmanager
def _explained(slug: str, beside: Path) -> Iterator[None]:
    """What Kaggle's refusals mean here."""
    try:
        yield
    except ForbiddenError as error:
        raise ForbiddenError(
            f"Kaggle gives the data of {slug} only to who joined it and accepted its rules: open"
            f" https://www.kaggle.com/competitions/{slug}/rules, accept them, and run the same command again"
        ) from error
    except NotFoundError as error:
        names = {*known_competitions(), *(path.name for path in beside.glob("[!.]*") if path.is_dir())} - {slug}
        near = difflib.get_close_matches(slug, sorted(names), n=1)
        meant = f"did you mean {near[0]!r}?" if near else "the slug is the last part of the competition's address"
        raise NotFoundError(f"Kaggle knows no competition {slug!r}; {meant}") from error
