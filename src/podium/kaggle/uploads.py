"""Uploads to Kaggle's file store: after an interruption they continue at the first byte that has not arrived."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from podium.errors import NotFoundError, UnreachableError
from podium.kaggle.transfers import CHUNK, AbandonedError, Progress
from podium.retries import with_retries

Put = Callable[[Any, dict[str, str]], Any]
"""Sends a body with these headers to the URL of the upload and returns the response."""


class UploadExpiredError(NotFoundError):
    """The file store does not know the upload any more; it has to be started again."""


def upload(put: Put, path: Path, progress: Progress) -> None:
    """Send what the file store does not have yet of a file.

    A connection that breaks repeatedly is not an error as long as each attempt transmits some bytes.
    """
    transfer = _Transfer(put, path, progress)
    try:
        while True:
            before = transfer.arrived
            try:
                with_retries(f"uploading {path.name}", transfer.attempt)
                return
            except UnreachableError:
                if transfer.arrived <= before:
                    raise
    finally:
        transfer.abandon()


class _Transfer:
    def __init__(self, put: Put, path: Path, progress: Progress) -> None:
        self._put, self._path, self._progress = put, path, progress
        self._size = path.stat().st_size
        self.arrived = 0
        self._newest = 0

    def abandon(self) -> None:
        """The thread of an attempt that was interrupted, or took too long, may still be sending; it must stop."""
        self._newest += 1

    def attempt(self) -> None:
        """Ask how much has arrived, and send the rest."""
        import requests

        self.abandon()
        report = partial(self._report, self._newest)
        response = self._put(b"", {"Content-Range": f"bytes */{self._size}"} if self._size else {})
        if response.status_code == 308:
            self.arrived = _arrived(response)
            report(self.arrived)
            response = self._send(self.arrived, report)
        if response.status_code == 308:
            self.arrived = _arrived(response)
            raise requests.ConnectionError("the file store has not received everything")
        if response.status_code in (404, 410):
            raise UploadExpiredError(f"the upload of {self._path.name} has expired; run the same command again")
        check_uploaded(response)
        report(self._size)

    def _send(self, start: int, report: Progress) -> Any:
        headers = {"Content-Range": f"bytes {start}-{self._size - 1}/{self._size}"}
        with self._path.open("rb") as file:
            file.seek(start)
            return self._put(_Rest(file, self._size - start, report), headers)

    def _report(self, attempt: int, done: int) -> None:
        if attempt != self._newest:
            raise AbandonedError
        self._progress(done)


def check_uploaded(response: Any) -> None:
    response.raise_for_status()
    if response.status_code not in (200, 201):  # 308: the upload is incomplete
        raise ValueError(f"status {response.status_code} after an upload")


def _arrived(response: Any) -> int:
    """The number of bytes in a Range header such as bytes=0-999; without one, nothing has arrived."""
    found = re.fullmatch(r"bytes=0-(\d+)", response.headers.get("Range", ""))
    return int(found[1]) + 1 if found else 0


class _Rest:
    """The rest of a file as the body of a request."""

    def __init__(self, file: IO[bytes], length: int, report: Progress) -> None:
        self._file, self._length, self._report = file, length, report

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def read(self, size: int = CHUNK) -> bytes:
        self._report(self._file.tell())
        return self._file.read(size)
