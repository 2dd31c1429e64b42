"""Download images: several at once, retried, checked, and only then written under their names.

Existing files are not downloaded again, so an interrupted download resumes.
"""

import base64
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.data.catalogue import is_complete_image
from podium.errors import MachineError
from podium.files import atomic_write, report_full_disk, write_table
from podium.retries import LONGEST_RATE_LIMIT, backoff, retry_after

if TYPE_CHECKING:
    from podium.detection.openimages import Address

ATTEMPTS = 4
CONNECT_SECONDS, READ_SECONDS, TOTAL_SECONDS = 10.0, 20.0, 300.0
MAX_BYTES = 200_000_000
UNREACHABLE_IN_A_ROW = 40
"""After this many images in a row without a response, this machine is assumed to be offline."""
FAILED_DOWNLOADS = "failed_downloads.csv"
_CHUNK = 1 << 13
_RETRIED_STATUS = {408, 425, 429, *range(500, 600)}
_PLACEHOLDER = re.compile(r"unavailable[^/]*$")
"""For a removed image Flickr returns a placeholder with status 200."""
Sleep = Callable[[float], object]


@dataclass(frozen=True)
class Download:
    id: str
    path: Path
    addresses: "tuple[Address, ...]"


@dataclass(frozen=True)
class FailedImage:
    id: str
    url: str
    reason: str


class _FailedError(Exception):
    """A request failed."""

    def __init__(
        self, reason: str, *, retry: bool = False, wait: float | None = None, was_reached: bool = True
    ) -> None:
        super().__init__(reason)
        self.retry, self.wait, self.was_reached = retry, wait, was_reached


class _StoppedError(Exception):
    """The download was stopped."""


def download_images(
    downloads: Iterable[Download], at_once: int, progress: Callable[[int], None], sleep: Sleep | None = None
) -> Iterator[FailedImage]:
    """Download all images and yield those that failed. `progress` is called with the number done; it may raise to stop.

    When it ends, even by an exception, no thread and no incomplete file remains.
    """
    remaining, stopped = iter(downloads), threading.Event()
    worker = _Worker(stopped, sleep or stopped.wait)
    done = unreachable = 0
    with ThreadPoolExecutor(at_once) as pool:
        running: set[Future[tuple[FailedImage | None, bool]]] = set()
        try:
            while True:
                running |= {
                    pool.submit(worker.download, image) for image in islice(remaining, 2 * at_once - len(running))
                }
                if not running:
                    return
                finished, running = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                for failed, was_reached in (future.result() for future in finished):
                    done += 1
                    unreachable = 0 if was_reached else unreachable + 1
                    if failed and unreachable >= UNREACHABLE_IN_A_ROW:
                        raise MachineError(
                            f"no server was reached for {unreachable} images in a row (last: {failed.url}:"
                            f" {failed.reason}); check the internet connection and run the same command again"
                        )
                    if failed:
                        yield failed
                progress(done)
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            worker.close()


class _Worker:
    """Downloads images in the threads; each thread has its own session."""

    def __init__(self, stopped: threading.Event, sleep: Sleep) -> None:
        self._stopped, self._sleep = stopped, sleep
        self._local = threading.local()
        self._sessions: list[Any] = []

    def close(self) -> None:
        for session in self._sessions:
            session.close()

    def download(self, image: Download) -> tuple[FailedImage | None, bool]:
        """The failure, if any, and whether a server was reached."""
        reasons, was_reached = [], not image.addresses
        for address in image.addresses:
            try:
                content = self._get_with_retries(address)
            except _StoppedError:
                return None, True
            except _FailedError as error:
                reasons.append(f"{error}, after {ATTEMPTS} attempts" if error.retry else str(error))
                was_reached |= error.was_reached
            else:
                with (
                    report_full_disk(image.path.parent, len(content), image.path.name),
                    atomic_write(image.path, fsync=False) as temporary,
                ):
                    temporary.write_bytes(content)
                return None, True
        url = image.addresses[0].url if image.addresses else ""
        return FailedImage(image.id, url, "; ".join(reasons) or "no URL is known"), was_reached

    def _get_with_retries(self, address: "Address") -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            if self._stopped.is_set():
                raise _StoppedError
            try:
                content = self._get(address.url)
                _check(content, address)
                return content
            except _FailedError as error:
                if not error.retry or attempt == ATTEMPTS or (error.wait or 0.0) > LONGEST_RATE_LIMIT:
                    raise
                self._sleep(backoff(attempt) if error.wait is None else error.wait)
        raise AssertionError("unreachable")

    def _get(self, url: str) -> bytes:
        import requests

        if not url.startswith(("https://", "http://")):
            raise _FailedError("not an http URL")
        try:
            with self._session().get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
                self._check_response(response)
                try:
                    return self._content(response)
                except requests.RequestException:
                    raise _FailedError("incomplete response", retry=True) from None
        except (ValueError, requests.TooManyRedirects) as error:
            raise _FailedError(f"invalid URL ({type(error).__name__})") from None
        except requests.RequestException as error:
            reason = "timeout" if isinstance(error, requests.Timeout) else "no connection"
            raise _FailedError(reason, retry=True, was_reached=False) from None

    def _check_response(self, response: Any) -> None:
        import requests

        status = response.status_code
        if status in _RETRIED_STATUS:
            wait = retry_after(requests.HTTPError(response=response))
            raise _FailedError(f"status {status}", retry=True, wait=wait)
        if status != 200:
            raise _FailedError(f"status {status}")
        if _PLACEHOLDER.search(response.url.partition("?")[0]):
            raise _FailedError("the image was removed")

    def _content(self, response: Any) -> bytes:
        content, start = bytearray(), time.monotonic()
        for chunk in response.iter_content(_CHUNK):
            content += chunk
            if self._stopped.is_set():
                raise _StoppedError
            if time.monotonic() - start > TOTAL_SECONDS:
                raise _FailedError("the response took too long", retry=True)
            if len(content) > MAX_BYTES:
                raise _FailedError(f"more than {MAX_BYTES:,} bytes")
        return bytes(content)

    def _session(self) -> Any:
        if not hasattr(self._local, "session"):
            import requests

            session = requests.Session()
            session.auth = lambda request: request  # so that no key of a .netrc file is sent
            session.headers["User-Agent"] = "podium (images of Open Images)"
            self._local.session = session
            self._sessions.append(session)
        return self._local.session


def _check(content: bytes, address: "Address") -> None:
    if address.size is not None and len(content) != address.size:
        raise _FailedError(f"expected {address.size:,} bytes, got {len(content):,}")
    if address.md5 and base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode() != address.md5:
        raise _FailedError("wrong checksum")
    if not is_complete_image(content):
        raise _FailedError("not a complete image")


def write_failed_downloads(failed: Iterable[FailedImage], folder: Path) -> Path:
    path = folder / FAILED_DOWNLOADS
    rows = [vars(image) for image in sorted(failed, key=lambda image: image.id)]
    write_table(path, ["id", "url", "reason"], rows, fsync=False)
    return path
