"""Zips unpacked so that no path leaves the folder and a kill leaves nothing half unpacked."""

import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath

from podium.errors import DataError, UnsafeArchiveError


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack into `folder`, made anew; a folder that is there already was made whole and is kept."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [_safe(archive, entry) for entry in opened.infolist()]
            _check_room(archive, sum(entry.file_size for entry in entries), folder.parent)
            with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.parent) as temporary:
                content = Path(temporary) / "content"
                content.mkdir()
                opened.extractall(content, members=entries)
                try:
                    content.rename(folder)
                except OSError:
                    if not folder.is_dir():  # otherwise another process was faster with the same archive
                        raise
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive} is not a whole zip ({error}); download it again") from None
    except RuntimeError as error:  # a password, or a compression that Python lacks
        raise DataError(f"{archive} cannot be unpacked ({error}); unpack it by hand into the data folder") from None
    return folder


def _safe(archive: Path, entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    path = PureWindowsPath(entry.filename)  # knows drives and both slashes
    is_link = stat.S_ISLNK(entry.external_attr >> 16)
    if not entry.filename or path.anchor or ".." in path.parts or is_link:
        what = "a link" if is_link else "a path that leaves the folder"
        raise UnsafeArchiveError(
            f"{archive} holds {what}: {entry.filename}; nothing was unpacked, get it from its source"
        )
    return entry


def _check_room(archive: Path, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        megabytes = (needed - free) / 1e6
        raise DataError(f"unpacking {archive} needs {megabytes:.0f} MB more than {folder} has free; make room there")
