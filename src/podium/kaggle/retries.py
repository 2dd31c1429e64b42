"""Asking again: which failures are worth it, how long to wait, and when repeating is not harmless."""

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


def pause(seconds: float) -> None:
    """Between two questions whether something is done. Against a stand-in on this machine a hundredth is enough."""
    time.sleep(_scaled(seconds))


def sleep(seconds: float) -> None:
    """Before a call is made again."""
    if seconds >= _TOLD_FROM:
        with suppress(OSError):
            print(f"podium: Kaggle does not answer well: asking again in {seconds:.0f} s", file=sys.stderr, flush=True)
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
            asked = retry_after(error)
            if not isinstance(failure, UnreachableError):
                raise failure from error
            if tried == TRIES or (once and asked is None and status_of(error) != 429):
                raise failure from error
            if asked is not None and asked > LONGEST_ASKED:
                raise KaggleError(
                    f"{what}: Kaggle asks to wait {asked / 60:.0f} minutes; run the same again then"
                ) from error
            if asked is not None:
                sleep(asked)
            else:
                sleep(_scaled(random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**tried))))
    raise AssertionError("unreachable")


def translated(what: str, error: Exception) -> PodiumError:
    """What a library raised, as one line. UnreachableError is what asking again may mend."""
    import requests

    status = status_of(error)
    said = _first_line(error)
    if status == 401:
        return CredentialsError(f"{what}: Kaggle does not take the key ({said}); make a new one on its settings page")
    if status == 403:
        return ForbiddenError(
            f"{what}: Kaggle refuses it ({said}); is it yours, and are the competition's rules accepted?"
        )
    if status == 404:
        return NotFoundError(f"{what}: Kaggle knows no such thing ({said}); look at the name and the version")
    if status is not None and status < 500 and status != 429 and status >= 400:
        return KaggleError(f"{what}: Kaggle answers {status} ({said})")
    if status == 429:
        return UnreachableError(f"{what}: too many requests, also after {TRIES} tries; wait a while")
    if status is not None and status >= 500:
        return UnreachableError(f"{what}: Kaggle has an error of its own ({status}); try again later")
    if isinstance(error, requests.RequestException | OSError):
        return UnreachableError(f"{what}: no whole answer from Kaggle ({type(error).__name__}); try again later")
    if isinstance(error, ValueError | TypeError | KeyError | AttributeError):
        return UnreachableError(f"{what}: Kaggle's answer makes no sense ({type(error).__name__}); try again later")
    raise error


def status_of(error: Exception) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    import requests

    return int(status) if isinstance(error, requests.HTTPError) and status is not None else None


def retry_after(error: Exception) -> float | None:
    """Seconds that a 429 asks for, said as a number or as a date."""
    if status_of(error) != 429:
        return None
    said = error.response.headers.get("Retry-After")  # type: ignore[attr-defined]
    if said is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(said))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    return None


def _first_line(error: Any) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
