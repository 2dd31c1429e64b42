"""Retries of requests to Kaggle: which failures are retried, how long to wait, and requests that are sent once."""

import math
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from podium.console import message_text
from podium.errors import (
    CredentialsError,
    ForbiddenError,
    KaggleError,
    NotFoundError,
    PodiumError,
    RateLimitedError,
    UnreachableError,
)
from podium.signals import run_interruptibly

Response = TypeVar("Response")
ATTEMPTS = 6
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
LONGEST_RATE_LIMIT = 15 * 60.0
"""Seconds that a request waits while it is rate-limited, all attempts together; after that it is an error."""
SHORTEST_RATE_LIMIT = 60.0
"""Seconds to wait before a command is repeated, whatever Kaggle's Retry-After says."""
CALL_SECONDS = 180.0
"""For the complete response of a call, however steadily it arrives."""
ENDPOINT_VARIABLE = "PODIUM_KAGGLE_ENDPOINT"
"""The environment variable that sends every request to a test server on this machine."""
_REPORTED_WAIT = 5.0
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What parsing raises when a response does not have the expected form."""


class Deadline:
    """A time limit of an attempt. What makes progress restarts it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        self._end = time.monotonic() + self._seconds

    def is_over(self) -> bool:
        return time.monotonic() > self._end


def with_retries(what: str, request: Callable[[], Response], *, once: bool = False) -> Response:
    """Return the response, retrying temporary failures. SIGINT and SIGTERM end it at once, also while it hangs.

    With `once`, for requests whose effect must not happen twice, only a 429 is retried: it means nothing was done.
    """
    limits: list[float] = []
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return run_interruptibly(request)
        except PodiumError:
            raise
        except Exception as error:
            failure = translate(what, error)
            is_limited = isinstance(failure, RateLimitedError)
            if not isinstance(failure, UnreachableError) or attempt == ATTEMPTS or (once and not is_limited):
                raise failure from error
            seconds = retry_after(error)
            if seconds is None or limits:  # Kaggle's Retry-After was not true
                seconds = max(seconds or 0.0, backoff(attempt))
            limits += [seconds] if is_limited else []
            if sum(limits) > LONGEST_RATE_LIMIT:
                wait = f"{sum(limits) / 60:.0f} minutes; run the same command then"
                raise RateLimitedError(f"{what}: Kaggle rate-limited the request for {wait}", seconds) from error
            _wait(what, error, seconds)
    raise AssertionError("unreachable")


def backoff(attempt: int) -> float:
    """Exponential backoff with jitter: seconds before the next attempt."""
    return _scaled(random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1))))


def pause(seconds: float) -> None:
    """Wait between two polls; a hundredth of the time with a test server."""
    sleep(_scaled(seconds))


def sleep(seconds: float) -> None:
    """Wait, unless a signal arrives."""
    run_interruptibly(lambda: time.sleep(seconds))


def _scaled(seconds: float) -> float:
    return seconds / 100 if os.environ.get(ENDPOINT_VARIABLE) else seconds


def _wait(what: str, error: Exception, seconds: float) -> None:
    if seconds >= _REPORTED_WAIT:
        problem = "Kaggle rate-limited the request" if status_of(error) == 429 else "no usable response from Kaggle"
        wait = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
        notice(f"{what}: {problem}; retrying in {wait}")
    sleep(seconds)


def notice(text: str) -> None:
    """Print to stderr, apart from a command's results."""
    with suppress(OSError):
        print(f"podium: {message_text(text)}", file=sys.stderr, flush=True)


def translate(what: str, error: Exception) -> PodiumError:
    """Convert a library's exception to a one-line error; temporary failures become UnreachableError.

    A failure of this machine, such as a full disk, is raised unchanged.
    """
    import requests
    import urllib3

    status = status_of(error)
    if status == 429:
        return RateLimitedError(
            f"{what}: Kaggle rate-limited all attempts; it may last over half an hour: run the same command later",
            max(SHORTEST_RATE_LIMIT, retry_after(error) or 0.0),
        )
    if status is not None and status >= 400:
        return _status_error(what, status, _first_line(error))
    if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError | ConnectionError | TimeoutError):
        return UnreachableError(
            f"{what}: no complete response from Kaggle ({type(error).__name__}); check the connection, or try again"
            " later"
        )
    if isinstance(error, _MALFORMED):
        return UnreachableError(f"{what}: unexpected response from Kaggle ({type(error).__name__}); try again later")
    raise error


def _status_error(what: str, status: int, detail: str) -> PodiumError:
    if status == 401:
        return CredentialsError(f"{what}: Kaggle rejected the API key ({detail}); create a new one in its settings")
    if status == 403:
        return ForbiddenError(
            f"{what}: Kaggle denied access ({detail}); check that it is yours and that you accepted the competition's"
            " rules"
        )
    if status == 404:
        return NotFoundError(f"{what}: not found on Kaggle ({detail}); check the name and the version")
    if status < 500:
        return KaggleError(f"{what}: Kaggle returned status {status} ({detail})")
    return UnreachableError(f"{what}: Kaggle server error ({status}); try again later")


def status_of(error: Exception) -> int | None:
    """The HTTP status, or the code in the body of a response with status 200."""
    import requests

    if not isinstance(error, requests.HTTPError) or error.response is None:
        return None
    status = int(error.response.status_code)
    if status < 400:
        with suppress(ValueError, TypeError, KeyError):
            status = int(error.response.json()["code"])
    return status


def retry_after(error: Any) -> float | None:
    """The Retry-After of a 429 in seconds, given as a number or as a date."""
    if status_of(error) != 429:
        return None
    header = error.response.headers.get("Retry-After")
    if header is None:
        return None
    with suppress(ValueError):
        seconds = float(header)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    return None


def _first_line(error: Any) -> str:
    """The message without the URL, whose signature grants access to the file."""
    lines = str(error).partition(" for url: ")[0].strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
