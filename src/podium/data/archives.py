"""Unpacking zip archives: no path leaves the target folder, and an interrupted run leaves no incomplete folder."""

import errno
import lzma
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from podium.errors import DamagedArchiveError, DataError, UnsafeArchiveError

PREFIX, SECONDS_UNTIL_LEFT = ".unpacking-", 86_400
"""Of a folder while it is filled; an older one was left by a process that was killed."""
MOST_UNPACKED, MAX_RATIO = 10**9, 100
"""Bytes that a zip may always unpack to, and how many times its own size beyond them."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OverflowError)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack into `folder`. An existing folder is complete, and is not modified."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with zip_errors(archive), zipfile.ZipFile(archive) as opened:
        entries = [_check_path(archive, entry) for entry in opened.infolist()]
        _check_size(archive, sum(entry.file_size for entry in entries))
        _check_free_space(archive, sum(entry.file_size for entry in entries), folder.parent)
        for left in folder.parent.glob(f"{PREFIX}*"):
            if time.time() - left.stat().st_mtime > SECONDS_UNTIL_LEFT:
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder.parent) as temporary:
            content = Path(temporary) / "content"
            content.mkdir()
            opened.extractall(content, members=entries)
            try:
                content.rename(folder)
            except OSError:
                if not folder.is_dir():  # if it is, another process was faster with the same archive
                    raise
    return folder


@contextmanager
def zip_errors(archive: Path) -> Iterator[None]:
    """Raise a DataError for whatever zipfile raises for the content of a zip."""
    try:
        yield
    except (*_DAMAGED, OSError, RuntimeError, ValueError) as error:
        code = error.errno if isinstance(error, OSError) else 0
        if isinstance(error, _DAMAGED) or code is None:  # bz2 raises an OSError without a number
            raise DamagedArchiveError(f"{archive} is not a complete zip ({error}); download it again") from None
        if code not in (0, errno.EINVAL, errno.ENAMETOOLONG):
            raise
        # such as a password, or a name that no file can have
        raise DataError(f"{archive} cannot be unpacked ({error}); unpack it by hand into the data folder") from None


def _check_path(archive: Path, entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    path = PureWindowsPath(entry.filename)  # recognises drives and both kinds of slashes
    is_link = stat.S_ISLNK(entry.external_attr >> 16)
    if not entry.filename or path.anchor or ".." in path.parts or is_link:
        what = "a link" if is_link else "a path outside the folder"
        raise UnsafeArchiveError(
            f"{archive} contains {what}: {entry.filename}; nothing was unpacked: download it again from its source"
        )
    return entry


def _check_size(archive: Path, unpacked: int) -> None:
    packed = archive.stat().st_size
    if unpacked > MOST_UNPACKED and unpacked > MAX_RATIO * packed:
        raise UnsafeArchiveError(
            f"{archive} has {packed / 1e6:.1f} MB, and would unpack to {unpacked / 1e6:,.0f} MB, which no competition's"
            " data do; nothing was unpacked: download it again from its source, or unpack it by hand into the data"
            " folder"
        )


def _check_free_space(archive: Path, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        megabytes = (needed - free) / 1e6
        raise DataError(f"unpacking {archive} needs {megabytes:.0f} MB more than is free in {folder}; free some space")
