"""Images from their addresses into a folder: several at once, asked for again after what may pass, checked, and only
then there under their name.

What is there is not asked for again, so a fetch that was stopped goes on where it was.
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
from typing import Any

from podium.data.catalogue import is_complete_image
from podium.detection.openimages_images import Address
from podium.errors import MachineError
from podium.files import atomic_write, report_full_disk, write_table
from podium.retries import LONGEST_RETRY_AFTER, backoff, retry_after

TRIES = 4
"""How often an address is asked that may serve later."""
CONNECT_SECONDS, READ_SECONDS, LONGEST_SECONDS = 10.0, 20.0, 300.0
"""To an answer, between two parts of it, and for the whole of it."""
LARGEST = 200_000_000
"""Bytes. No image is larger, and what never ends is none."""
NO_LINE = 40
"""Images in a row of which no server was reached at all: then it is this machine that has no line."""
DEAD = "dead.csv"
_CHUNK = 1 << 13
_MAY_PASS = {408, 425, 429, *range(500, 600)}
_PLACEHOLDER = re.compile(r"unavailable[^/]*$")
"""Flickr answers for an image that was removed with one that says so, and status 200."""
Wait = Callable[[float], None]


@dataclass(frozen=True)
class Wanted:
    id: str
    path: Path
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class Dead:
    """An image that cannot be had."""

    id: str
    url: str
    reason: str


class _RefusedError(Exception):
    """An address that will not serve the image, now or later."""


class _PassingError(Exception):
    """An address that may serve it when it is asked again."""

    def __init__(self, reason: str, asked: float | None = None, *, was_reached: bool = True) -> None:
        super().__init__(reason)
        self.asked, self.was_reached = asked, was_reached


class _StoppedError(Exception):
    """Nobody waits for this image any more."""


@dataclass(frozen=True)
class _Outcome:
    dead: Dead | None
    was_reached: bool


def fetch_images(
    wanted: Iterable[Wanted], at_once: int, tell: Callable[[int], None], pause: Wait | None = None
) -> Iterator[Dead]:
    """Fetch them all; gives those that cannot be had. `tell` is told how many are done, and what it raises stops it.

    However it ends, no thread is left, and no file that is not whole.
    """
    fetching, stopped = iter(wanted), threading.Event()
    worker = _Worker(stopped, pause or (lambda seconds: _pause(seconds, stopped)))
    done = unreached = 0
    with ThreadPoolExecutor(at_once) as pool:
        under_way: set[Future[_Outcome]] = set()
        try:
            while True:
                more = islice(fetching, 2 * at_once - len(under_way))
                under_way |= {pool.submit(worker.fetch, one) for one in more}
                if not under_way:
                    return
                finished, under_way = wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)
                for outcome in (future.result() for future in finished):
                    done += 1
                    unreached = 0 if outcome.was_reached else unreached + 1
                    if unreached >= NO_LINE:
                        raise MachineError(_no_line(outcome.dead))
                    if outcome.dead:
                        yield outcome.dead
                tell(done)
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            worker.close()


def _pause(seconds: float, stopped: threading.Event) -> None:
    stopped.wait(seconds)


def _no_line(last: Dead | None) -> str:
    where = f" (last: {last.url}: {last.reason})" if last else ""
    return f"{NO_LINE} images in a row could not be asked for{where}; is there a line? The same command goes on"


class _Worker:
    """What the threads do. Each has a session of its own, which keeps its connections open."""

    def __init__(self, stopped: threading.Event, pause: Wait) -> None:
        self._stopped, self._wait = stopped, pause
        self._own = threading.local()
        self._sessions: list[Any] = []

    def close(self) -> None:
        for session in self._sessions:
            session.close()

    def fetch(self, wanted: Wanted) -> _Outcome:
        reasons, was_reached = [], not wanted.addresses
        for address in wanted.addresses:
            try:
                content = self._patiently(address)
            except _StoppedError:
                return _Outcome(None, was_reached=True)
            except _PassingError as error:
                reasons.append(f"{error}, also when asked {TRIES} times")
                was_reached |= error.was_reached
            except _RefusedError as error:
                reasons.append(str(error))
                was_reached = True
            else:
                with (
                    report_full_disk(wanted.path.parent, len(content), wanted.path.name),
                    atomic_write(wanted.path, fsync=False) as temporary,
                ):
                    temporary.write_bytes(content)
                return _Outcome(None, was_reached=True)
        url = wanted.addresses[0].url if wanted.addresses else ""
        return _Outcome(Dead(wanted.id, url, "; ".join(reasons) or "no address is known"), was_reached)

    def _patiently(self, address: Address) -> bytes:
        for tried in range(1, TRIES + 1):
            if self._stopped.is_set():
                raise _StoppedError
            try:
                return checked(self._ask(address.url), address)
            except _PassingError as error:
                if tried == TRIES or (error.asked or 0.0) > LONGEST_RETRY_AFTER:
                    raise
                self._wait(backoff(tried) if error.asked is None else error.asked)
        raise AssertionError("unreachable")

    def _ask(self, url: str) -> bytes:
        import requests

        if not url.startswith(("https://", "http://")):
            raise _RefusedError("no address of the web")
        try:
            response = self._session().get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
        except (ValueError, requests.TooManyRedirects) as error:
            raise _RefusedError(f"no address that can be asked ({type(error).__name__})") from None
        except requests.RequestException as error:
            is_late = isinstance(error, requests.Timeout)
            raise _PassingError("no answer in time" if is_late else "no connection", was_reached=False) from None
        with response:
            self._check_status(response)
            try:
                return self._body(response)
            except requests.RequestException:
                raise _PassingError("the answer broke off") from None

    def _check_status(self, response: Any) -> None:
        import requests

        status = response.status_code
        if status in _MAY_PASS:
            raise _PassingError(f"status {status}", retry_after(requests.HTTPError(response=response)))
        if status != 200:
            raise _RefusedError(f"status {status}")
        if _PLACEHOLDER.search(response.url.partition("?")[0]):
            raise _RefusedError("the image was removed there")

    def _body(self, response: Any) -> bytes:
        content, began = bytearray(), time.monotonic()
        for chunk in response.iter_content(_CHUNK):
            content += chunk
            if self._stopped.is_set():
                raise _StoppedError
            if time.monotonic() - began > LONGEST_SECONDS:
                raise _PassingError("the answer took too long")
            if len(content) > LARGEST:
                raise _RefusedError(f"more than {LARGEST:,} bytes")
        return bytes(content)

    def _session(self) -> Any:
        if not hasattr(self._own, "session"):
            import requests

            session = requests.Session()
            session.auth = lambda request: request  # else a .netrc would add a key
            session.headers["User-Agent"] = "podium (images of Open Images)"
            self._own.session = session
            self._sessions.append(session)
        return self._own.session


def checked(content: bytes, address: Address) -> bytes:
    """The content, if it is what the address is said to serve, and an image."""
    if address.size is not None and len(content) != address.size:
        raise _RefusedError(f"{len(content):,} bytes, not {address.size:,}: another image")
    if address.md5 and base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode() != address.md5:
        raise _RefusedError("another checksum: another image")
    if not is_complete_image(content):
        raise _RefusedError("no whole image")
    return content


def write_dead(dead: Iterable[Dead], folder: Path) -> Path:
    """The list of the images that cannot be had, by their ids."""
    path = folder / DEAD
    rows = sorted(dead, key=lambda one: one.id)
    write_table(path, ["id", "url", "reason"], [vars(one) for one in rows], fsync=False)
    return path
