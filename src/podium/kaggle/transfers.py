"""Files from Kaggle, streamed to the disk: whole under their name, or to be gone on with."""

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from podium.errors import KaggleError, UnreachableError
from podium.files import SMALL_FILES, fsync_folder, report_full_disk, write_text
from podium.kaggle.connection import check_address
from podium.retries import patiently

PARTIAL = ".partial-"
"""Before the name of a file that is not yet whole."""
CHUNK = 1 << 16
"""Bytes. What came of a chunk that was broken off is lost."""
Opened = Callable[[dict[str, str]], Any]
"""Asks for the file, with these headers."""
Progress = Callable[[int], None]
"""Told of the bytes that are there, and before each try; what it raises ends the transfer."""


def fetch(opened: Opened, path: Path, size: int | None, progress: Progress) -> None:
    """Write what `opened(headers)` answers to `path`. What was fetched before a break stays, and is gone on with.

    A line that breaks again and again is no failure while something comes between the breaks.
    """
    partial = path.with_name(f"{PARTIAL}{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        before = _size_of(partial)
        try:
            patiently(f"fetching {path.name}", lambda: _go_on(opened, partial, size, progress))
            break
        except UnreachableError:
            if _size_of(partial) <= before:
                raise
    with report_full_disk(path.parent, SMALL_FILES, f"{path.name} from Kaggle"), partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(path)
    fsync_folder(path.parent)
    _note_of(partial).unlink(missing_ok=True)


def _go_on(opened: Opened, partial: Path, size: int | None, progress: Progress) -> None:
    import requests

    have, validator = _so_far(partial)
    progress(have)
    headers = {"Range": f"bytes={have}-", "If-Range": validator} if have and validator else {}
    with opened({"Accept-Encoding": "identity", **headers}) as response:
        if response.status_code == 416 and _is_whole(response, have, size):
            return
        if response.status_code in (206, 416) and not _fits(response, have, validator):
            _forget(partial)
            raise requests.ConnectionError("the file has changed")
        response.raise_for_status()
        if response.status_code not in (200, 206):
            raise requests.ConnectionError(f"status {response.status_code} brings no file")
        start = have if response.status_code == 206 else 0
        total = _total(response, start)
        if size is not None and total is not None and total != size:
            raise KaggleError(
                f"{partial.name.removeprefix(PARTIAL)}: Kaggle lists {size:,} bytes and sends {total:,}; pull again"
            )
        done = _write(response, partial, start, total if total is not None else size, progress)
    expected = total if total is not None else size
    if expected is not None and done != expected:
        raise requests.ConnectionError(f"{done:,} of {expected:,} bytes came")


def _write(response: Any, partial: Path, start: int, total: int | None, progress: Progress) -> int:
    """How many bytes are there then."""
    done = start
    missing = max(SMALL_FILES, (total or 0) - start)
    with (
        report_full_disk(partial.parent, missing, f"{partial.name.removeprefix(PARTIAL)} from Kaggle"),
        partial.open("ab" if start else "wb") as written,
    ):
        if not start:  # only now are the bytes gone that an older note spoke of
            _note(partial, response)
        for chunk in response.iter_content(CHUNK):
            written.write(chunk)
            done += len(chunk)
            progress(done)
    return done


def _total(response: Any, before: int) -> int | None:
    length = response.headers.get("Content-Length")
    return None if length is None else before + int(length)


def _fits(response: Any, have: int, validator: str | None) -> bool:
    """Whether the part that is sent is the one that was asked for, of the same file."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    sent = response.headers.get("ETag") if (validator or "").startswith('"') else None
    return found is not None and int(found[1]) == have and sent in (None, validator)


def _is_whole(response: Any, have: int, size: int | None) -> bool:
    """All had come before the break; of another file there would have been bytes to send."""
    return response.headers.get("Content-Range") == f"bytes */{have}" and size in (None, have)


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _note(partial: Path, response: Any) -> None:
    """What tells this file from another of the same name; a weak ETag does not, byte for byte."""
    tag = response.headers.get("ETag", "")
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    write_text(_note_of(partial), json.dumps({"validator": validator}), fsync=False)


def _so_far(partial: Path) -> tuple[int, str | None]:
    with suppress(OSError, ValueError, TypeError, LookupError):
        validator = json.loads(_note_of(partial).read_text())["validator"]
        return partial.stat().st_size, validator if isinstance(validator, str) else None
    return 0, None


def _size_of(partial: Path) -> int:
    return partial.stat().st_size if partial.is_file() else 0


def _forget(partial: Path) -> None:
    for path in (_note_of(partial), partial):
        path.unlink(missing_ok=True)


def from_address(session: Any, url: str) -> Opened:
    checked = check_address(url)
    return lambda headers: session.get(checked, headers=headers, stream=True)
