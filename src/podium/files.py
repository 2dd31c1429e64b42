"""Atomic writes, JSON and CSV files, full disks, and digests."""

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from podium.errors import MOST_LISTED, DataError, DiskFullError, RunError, listed

SMALL_FILES = 100_000
"""More bytes than all files of a run need together, except checkpoints and weights, whose sizes are known."""


@contextmanager
def atomic_write(path: Path, *, fsync: bool = True) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to `path` if the block succeeds and removed otherwise.

    Without `fsync` a power failure may lose the file: for files that can be recreated.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keras chooses the format by the suffix.
    handle, name = tempfile.mkstemp(prefix=".writing-", suffix="".join(path.suffixes[-2:]), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with named_in_errors(path):
            yield temporary
            if fsync:
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
            if fsync:
                fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named_in_errors(path: Path) -> Iterator[None]:
    """Within this block an OSError without a path has this one: writing to an open file does not say which."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def fsync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power failure."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def report_full_disk(folder: Path, size: int, what: str) -> Iterator[None]:
    """Raise a DiskFullError with the folder and the missing bytes if the disk is full within the block."""
    try:
        yield
    except OSError as error:
        # HDF5 has the number only in its message.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and "No space left" not in str(error):
            raise
        free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
        missing = size - free if size > free else size
        raise DiskFullError(
            f"the disk is full: {what} in {folder} needs {size:,} bytes, {missing:,} more than are free; saved"
            " checkpoints are intact: free some space, and run the same command again (podium train with --resume)"
        ) from error


def check_free_space(folder: Path, size: int) -> None:
    """Fail if the disk has no room for a weights file: HDF5 does not report a full disk well."""
    with report_full_disk(folder, size, "a weights file"), tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        elif shutil.disk_usage(folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_text(path: Path, text: str, *, fsync: bool = True) -> None:
    with atomic_write(path, fsync=fsync) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, fsync: bool = True) -> None:
    """Write a CSV file; columns that a row lacks are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue(), fsync=fsync)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """A hard link if possible: podium replaces files and never rewrites them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


MAX_COLUMNS = 100_000
_ORDINARY = re.compile(r'[^,"\r\n]+')
"""Text without what separates fields."""
_BLOCK = 1 << 23
_LONGEST_NUMBER = 300
"""Digits of a whole number in JSON; one that is longer is no float."""


def check_table(table: Path) -> None:
    """A ValueError for a file that pandas would take minutes for, or read as other text than it has."""
    if (columns := _columns_at_start(table)) > MAX_COLUMNS:
        raise ValueError(f"it has {columns:,} columns; expected {MAX_COLUMNS:,} at most")
    with table.open("rb") as file:
        while block := file.read(_BLOCK):
            if b"\0" in block:  # pandas drops the rest of the field
                raise ValueError("it has bytes that are zero; save it as text in UTF-8")


def _columns_at_start(table: Path) -> int:
    """Of the header or the first row, whichever has more, as pandas counts them: later rows may not have more."""
    with table.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        lines = (_ORDINARY.sub("-", line) for line in file if line.strip())  # so that no field is too long for csv
        try:
            return max((len(row) for row in islice(csv.reader(lines), 2)), default=0)
        except csv.Error as error:
            raise ValueError(f"it is not a CSV file ({error})") from None


def read_records(table: Path) -> list[dict[str, str]]:
    """The rows of a small CSV file. A ValueError says what is wrong with it."""
    check_table(table)
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except csv.Error as error:
        raise ValueError(f"{table.name} is not a CSV file ({error})") from None


def columns_of(table: Path) -> list[str]:
    """The header of a CSV file."""
    with table.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        return next(csv.reader(file), [])


def check_separator(table: Path, columns: Sequence[str]) -> None:
    """Fail if a header has semicolons or tabs for commas."""
    if len(columns) == 1 and (found := re.search("[;\t]", columns[0])):
        raise DataError(
            f"the columns of {table} seem to be separated by {found[0]!r}; expected commas: save it with them"
        )


def with_lines(table: Path, texts: Mapping[int, str]) -> str:
    """For a message: texts about rows of a CSV file, each with the line on which the row starts in an editor."""
    rows = sorted(texts)
    lines = dict(zip(rows, _lines_of(table, rows[:MOST_LISTED]), strict=False))
    return listed([f"{texts[row]} (line {lines[row]})" if row in lines else texts[row] for row in rows])


def _lines_of(table: Path, rows: Sequence[int]) -> list[int]:
    """The lines of these rows, which are in ascending order. A row may take several lines, and empty ones are none."""
    wanted, lines, start = iter(rows), [], 1
    next_row, row = next(wanted, None), -2  # the header is row -1
    with table.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        reader = csv.reader(file)
        with suppress(csv.Error):  # the rows after a field that is too long have no lines
            for fields in reader:
                row += bool(fields)
                if fields and row == next_row:
                    lines.append(start)
                    next_row = next(wanted, None)
                    if next_row is None:
                        break
                start = reader.line_num + 1
    return lines


def write_json(path: Path, content: Mapping[str, Any], *, fsync: bool = True) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n", fsync=fsync)


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON text from outside. A ValueError says what is wrong with it, whatever it is."""
    try:
        content = json.loads(text, parse_int=_parse_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it contains halves of characters (surrogates)") from None
    return content


def _parse_integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"it has a number of {len(digits):,} digits")
    return int(digits)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if it does not exist."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); move that run folder away and run again") from None
    if not isinstance(content, dict):
        raise RunError(
            f"{path}: expected a JSON object, got {type(content).__name__}; move that run folder away and run again"
        )
    return content


def digest_of(content: Any) -> str:
    """Eight hexadecimal digits of the SHA-256 of the content as JSON."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digest_of_file(path: Path) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a file."""
    return sha256_of(path)[:16]
