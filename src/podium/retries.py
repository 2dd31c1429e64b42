"""Asking again: which failures are worth it, how long to wait, and when repeating is not harmless."""

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

from podium.errors import CredentialsError, ForbiddenError, KaggleError, NotFoundError, PodiumError, UnreachableError

Answer = TypeVar("Answer")
TRIES = 6
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
LONGEST_ASKED = 15 * 60.0
"""Seconds. A Retry-After beyond that is told rather than waited for."""
SEAM = "PODIUM_KAGGLE_ENDPOINT"
_TOLD_FROM = 5.0
_SENSELESS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What reading an answer raises that has not the form it should have."""


def pause(seconds: float) -> None:
    """Between two questions whether something is done. Against a stand-in on this machine a hundredth is enough."""
    time.sleep(_scaled(seconds))


def sleep(seconds: float) -> None:
    """Before a call is made again."""
    time.sleep(seconds)


def _scaled(seconds: float) -> float:
    return seconds / 100 if os.environ.get(SEAM) else seconds


def patiently(what: str, call: Callable[[], Answer], *, once: bool = False) -> Answer:
    """The answer of a call; asked again after what may pass.

    `once` is for a call that must not have its effect twice: only a 429, which says that nothing was done, is repeated.
    """
    for tried in range(1, TRIES + 1):
        try:
            return call()
        except PodiumError:
            raise
        except Exception as error:
            failure = translated(what, error)
            if not isinstance(failure, UnreachableError) or tried == TRIES or (once and status_of(error) != 429):
                raise failure from error
            asked = retry_after(error)
            if asked is not None and asked > LONGEST_ASKED:
                raise KaggleError(
                    f"{what}: Kaggle asks to wait {asked / 60:.0f} minutes; run the same again then"
                ) from error
            _wait(what, asked if asked is not None else backoff(tried))
    raise AssertionError("unreachable")


def backoff(tried: int) -> float:
    """Anything up to a bound that doubles, so that not all who were turned away come back at once."""
    return _scaled(random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tried - 1))))


def _wait(what: str, seconds: float) -> None:
    if seconds >= _TOLD_FROM:
        with suppress(OSError):
            print(f"podium: {what}: Kaggle asks for patience, or does not answer well; asked again in {seconds:.0f} s",
                  file=sys.stderr, flush=True)  # fmt: skip
    sleep(seconds)


def translated(what: str, error: Exception) -> PodiumError:
    """What a library raised, as one line. UnreachableError is what asking again may mend.

    What is this machine's own, such as a full disk, is raised as it is.
    """
    import requests
    import urllib3

    status = status_of(error)
    if status is not None and status >= 400:
        return _refused(what, status, _first_line(error))
    if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError | ConnectionError | TimeoutError):
        return UnreachableError(f"{what}: no whole answer from Kaggle ({type(error).__name__}); try again later")
    if isinstance(error, _SENSELESS):
        return UnreachableError(f"{what}: Kaggle's answer makes no sense ({type(error).__name__}); try again later")
    raise error


def _refused(what: str, status: int, said: str) -> PodiumError:
    if status == 401:
        return CredentialsError(f"{what}: Kaggle does not take the key ({said}); make a new one on its settings page")
    if status == 403:
        return ForbiddenError(
            f"{what}: Kaggle refuses it ({said}); is it yours, and are the competition's rules accepted?"
        )
    if status == 404:
        return NotFoundError(f"{what}: Kaggle knows no such thing ({said}); look at the name and the version")
    if status == 429:
        return UnreachableError(f"{what}: too many requests, also after {TRIES} tries; wait a while")
    if status < 500:
        return KaggleError(f"{what}: Kaggle answers {status} ({said})")
    return UnreachableError(f"{what}: Kaggle has an error of its own ({status}); try again later")


def status_of(error: Exception) -> int | None:
    """Of the answer, or what Kaggle says in an answer of status 200."""
    import requests

    if not isinstance(error, requests.HTTPError) or error.response is None:
        return None
    status = int(error.response.status_code)
    if status < 400:
        with suppress(ValueError, TypeError, KeyError):
            status = int(error.response.json()["code"])
    return status


def retry_after(error: Any) -> float | None:
    """Seconds that a 429 asks for, said as a number or as a date."""
    if status_of(error) != 429:
        return None
    said = error.response.headers.get("Retry-After")
    if said is None:
        return None
    with suppress(ValueError):
        seconds = float(said)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    return None


def _first_line(error: Any) -> str:
    """Without the address, whose signature opens what it names to everybody."""
    lines = str(error).partition(" for url: ")[0].strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
