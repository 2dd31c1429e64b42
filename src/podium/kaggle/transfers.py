"""Downloads from Kaggle: a file appears under its name only when it is complete, and is resumed after an interruption.

Until then its bytes are in `.partial-<name>`; `.partial-<name>.json` holds the ETag or date that a resumed download is
checked against.
"""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from podium.errors import KaggleError, RateLimitedError, UnreachableError
from podium.files import SMALL_FILES, fsync_folder, parse_json, report_full_disk, write_text
from podium.retries import Deadline, with_retries
from podium.signals import run_interruptibly

PARTIAL = ".partial-"
CHUNK = 1 << 16
"""Bytes. An interrupted chunk is lost."""
CHUNK_SECONDS = 120.0
"""For a chunk to arrive, however steadily it does: a download may be slow, but not a byte a minute."""
Open = Callable[[dict[str, str]], Any]
"""Requests the file with these headers and returns the streamed response."""
Writing = Callable[[], AbstractContextManager[None]]
Progress = Callable[[int], None]
"""Called with the number of bytes so far, before each attempt and each write; an exception ends the download."""


def download(open_: Open, path: Path, size: int | None, progress: Progress) -> None:
    """Download to `path`, resuming what an earlier attempt left.

    A connection that breaks repeatedly is not an error as long as each attempt receives some bytes.
    """
    partial = path.with_name(f"{PARTIAL}{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    attempts = _Attempts()

    def attempt() -> None:
        deadline, writing = Deadline(CHUNK_SECONDS), attempts.begin()

        def report(done: int) -> None:
            with writing():
                deadline.restart()
            progress(done)

        run_interruptibly(lambda: _resume(open_, partial, size, report, writing), deadline.is_over)

    try:
        while True:
            before = _size_of(partial)
            try:
                with_retries(f"downloading {path.name}", attempt)
                break
            except RateLimitedError:
                raise
            except UnreachableError:
                if _size_of(partial) <= before:
                    raise
    finally:
        attempts.begin()
    with report_full_disk(path.parent, SMALL_FILES, f"{path.name} from Kaggle"), partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(path)
    fsync_folder(path.parent)
    _note_of(partial).unlink(missing_ok=True)


class _Attempts:
    """Only the newest attempt may write: the thread of an earlier one, interrupted or too slow, may still wait for the
    server."""

    def __init__(self) -> None:
        self._newest, self._lock = 0, threading.Lock()

    def begin(self) -> Writing:
        """Start an attempt; what it writes, it writes within the context that is returned."""
        with self._lock:
            self._newest += 1
            number = self._newest
        return lambda: self._writing(number)

    @contextmanager
    def _writing(self, number: int) -> Iterator[None]:
        with self._lock:
            if number != self._newest:
                raise AbandonedError
            yield


class AbandonedError(Exception):
    """Ends the thread of an attempt that is not the newest."""


def _resume(open_: Open, partial: Path, size: int | None, progress: Progress, writing: Writing) -> None:
    import requests

    existing, validator = _read_partial(partial)
    progress(existing)
    headers = {"Range": f"bytes={existing}-", "If-Range": validator} if existing and validator else {}
    with open_({"Accept-Encoding": "identity", **headers}) as response:
        if response.status_code == 416 and _is_complete(response, existing, size):
            return
        if response.status_code in (206, 416) and not _is_requested_part(response, existing, validator):
            with writing():
                for path in (_note_of(partial), partial):
                    path.unlink(missing_ok=True)
            raise requests.ConnectionError("the file has changed")
        response.raise_for_status()
        if response.status_code not in (200, 206):
            raise requests.ConnectionError(f"unexpected status {response.status_code}")
        start = existing if response.status_code == 206 else 0
        length = response.headers.get("Content-Length")
        total = size if length is None else start + int(length)
        if size is not None and total != size:
            raise KaggleError(
                f"{partial.name.removeprefix(PARTIAL)}: Kaggle lists {size:,} bytes and sends {total:,}; run the same"
                " command again"
            )
        done = _write(response, partial, start, total, progress, writing)
    if total is not None and done != total:
        raise requests.ConnectionError(f"{done:,} of {total:,} bytes arrived")


def _write(response: Any, partial: Path, start: int, total: int | None, progress: Progress, writing: Writing) -> int:
    """Append the response's bytes, and return the new size of the file."""
    done = start
    missing = max(SMALL_FILES, (total or 0) - start)
    progress(done)
    with (
        report_full_disk(partial.parent, missing, f"{partial.name.removeprefix(PARTIAL)} from Kaggle"),
        ExitStack() as stack,
    ):
        with writing():
            written = stack.enter_context(partial.open("ab" if start else "wb"))
            if not start:  # not before the file is truncated: the older note belongs to the older bytes
                _write_note(partial, response)
        for chunk in response.iter_content(CHUNK):
            progress(done)
            with writing():
                written.write(chunk)
                written.flush()  # nothing is left to be written by an attempt that is not the newest any more
            done += len(chunk)
    progress(done)
    return done


def _is_requested_part(response: Any, existing: int, validator: str | None) -> bool:
    """Whether the response is the requested range of the same file."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    etag = response.headers.get("ETag") if (validator or "").startswith('"') else None
    return found is not None and int(found[1]) == existing and etag in (None, validator)


def _is_complete(response: Any, existing: int, size: int | None) -> bool:
    """Whether the file was complete before the interruption: for a changed file there would be bytes to send."""
    return response.headers.get("Content-Range") == f"bytes */{existing}" and size in (None, existing)


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _write_note(partial: Path, response: Any) -> None:
    """What identifies the file's exact bytes; a weak ETag does not."""
    etag = response.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    write_text(_note_of(partial), json.dumps({"validator": validator}), fsync=False)


def _read_partial(partial: Path) -> tuple[int, str | None]:
    """The size of the partial file and its validator; 0 without a readable note."""
    with suppress(OSError, ValueError, TypeError, LookupError):
        validator = parse_json(_note_of(partial).read_text())["validator"]
        return partial.stat().st_size, validator if isinstance(validator, str) else None
    return 0, None


def _size_of(partial: Path) -> int:
    return partial.stat().st_size if partial.is_file() else 0
