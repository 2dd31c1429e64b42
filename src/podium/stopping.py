"""Stopping a training before its end: by a signal, or because the time it was given is over.

A first SIGINT or SIGTERM is only noted, and the training stops at its next step. A second one ends the process at once.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SAME_PRESS = 0.2
"""Seconds within which a repeated signal is no second one: `timeout` sends each to the process and to its group."""


class Stopping:
    """`reason` says why to stop, if there is a reason."""

    def __init__(self, time_limit: float | None = None) -> None:
        """The time, in seconds, counts from here."""
        self._limit = time_limit
        self._began = time.monotonic()
        self._asked: str | None = None
        self._asked_at = 0.0

    def ask(self, why: str) -> None:
        self._asked, self._asked_at = why, time.monotonic()

    def reason(self, needed: float) -> str | None:
        """Why to stop now, where what comes next takes `needed` seconds and cannot be broken off."""
        if self._asked:
            return self._asked
        if self._limit is not None and time.monotonic() - self._began + needed > self._limit:
            return f"--time-limit {spell_duration(self._limit)}"
        return None

    @contextmanager
    def at_the_next_step(self) -> Iterator[None]:
        """Within this block SIGINT and SIGTERM ask, and only a second one ends the process."""
        if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._heard) for number in signals]
        try:
            yield
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)

    def _heard(self, number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if self._asked is None:
            self.ask(name)
            # Not `print`: the signal may have come in the middle of one.
            os.write(2, f"\npodium: {name}: stopping after this step; once more stops at once\n".encode())
        elif time.monotonic() - self._asked_at > SAME_PRESS:
            os.write(2, f"\npodium: {name} again: stopped; the last saved state holds\n".encode())
            os._exit(128 + number)


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def parse_duration(text: str) -> float:
    """Seconds of `8h30m`, `90m`, `45s`."""
    found = _DURATION.fullmatch(text.strip().lower().replace(" ", ""))
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        raise ValueError(f"expected a time such as 8h30m, 90m or 45s: got {text!r}")
    return float(total)


def spell_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads so."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
