"""Stopping early: by a signal, or because a time limit is reached.

While a model trains, the first SIGINT or SIGTERM is only recorded, and the training stops after its current step; the
second ends the process at once. Elsewhere a signal raises Interrupted. If that exception is lost, in a destructor or in
a library that catches everything, it still prevents the next stage or the next predictions.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

EXIT_STOPPED = 75
"""The exit code EX_TEMPFAIL of sysexits.h: not finished, but nothing failed; the same command resumes."""
SAME_SIGNAL_SECONDS = 0.2
"""A repeated signal within this time is the same one: `timeout` sends it to the process and to its group."""


def print_error(text: str) -> None:
    """Print to stderr from a signal handler. It may be closed: Ctrl-C also ends the `tee` of a pipe."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))


class Interrupted(BaseException):
    """Raised by a signal. Not a KeyboardInterrupt: if it passes through an import, Python exits by the signal."""


_interrupted_by: str | None = None


@contextmanager
def interruptible() -> Iterator[None]:
    """Within this block SIGINT and SIGTERM raise Interrupted, unless they are deferred."""
    global _interrupted_by

    def interrupt(number: int, frame: Any) -> None:
        global _interrupted_by
        _interrupted_by = signal.Signals(number).name
        raise Interrupted(_interrupted_by)

    _interrupted_by = None
    try:
        with _handling(interrupt):
            yield
    finally:
        _interrupted_by = None


Result = TypeVar("Result")
_POLL_SECONDS = 0.2


def run_interruptibly(work: Callable[[], Result], is_over: Callable[[], bool] | None = None) -> Result:
    """Run `work` in a daemon thread and wait for it, so that a signal ends the wait at once.

    In the main thread a handler would run only once a name lookup or a blocking read is over. An interrupt that was
    lost is raised again. Other threads receive no signals and run `work` themselves, unless the wait may be over
    before: then TimeoutError is raised, and the thread is left behind.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main and is_over is None:
        return work()
    if is_main:
        raise_if_interrupted()
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    while not outcome.done():
        wait([outcome], timeout=_POLL_SECONDS)
        if is_main:
            raise_if_interrupted()
        if is_over is not None and is_over() and not outcome.done():
            raise TimeoutError
    return outcome.result()


def raise_if_interrupted() -> None:
    """Raise Interrupted for a signal whose exception was lost, in a destructor or a library that catches everything."""
    if _interrupted_by:
        raise Interrupted(_interrupted_by)


@contextmanager
def _handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handler) for number in signals]
    try:
        yield
    finally:
        for number, earlier in zip(signals, before, strict=True):
            signal.signal(number, earlier)


class StopCondition:
    """Whether to stop: because it was requested, or because of a time limit."""

    def __init__(self, time_limit: float | None = None) -> None:
        """The time limit is in seconds from now."""
        self._limit = time_limit
        self._start = time.monotonic()
        self._requested: str | None = None
        self._requested_at = 0.0
        self._sigint_handler: Any = None
        """Before signals were deferred."""

    def request(self, reason: str) -> None:
        self._requested, self._requested_at = reason, time.monotonic()

    def reason(self, needed: float) -> str | None:
        """The reason to stop now, or None. The next part takes `needed` seconds and cannot be interrupted."""
        if self._requested or _interrupted_by:
            return self._requested or _interrupted_by
        if self._limit is not None and time.monotonic() - self._start + needed > self._limit:
            return f"--time-limit {format_duration(self._limit)}"
        return None

    @contextmanager
    def defer_signals(self) -> Iterator[None]:
        """Within this block the first SIGINT or SIGTERM requests a stop, and the second ends the process."""
        self._sigint_handler = signal.getsignal(signal.SIGINT)
        with _handling(self._receive):
            yield

    def _receive(self, number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if self._requested is None:
            self.request(name)
            print_error(f"\npodium: {name}: stopping after this step; send it again to stop at once")
        elif time.monotonic() - self._requested_at > SAME_SIGNAL_SECONDS:
            if self._sigint_handler is signal.default_int_handler:  # in a notebook or a script, which should not end
                raise KeyboardInterrupt
            print_error(f"\npodium: {name} again: stopped; saved checkpoints are intact")
            os._exit(128 + number)


@contextmanager
def delay_keyboard_interrupt() -> Iterator[None]:
    """Raise a KeyboardInterrupt at the end of the block: a notebook cannot repeat an import that was interrupted.

    It has no effect on the command line, where a signal ends the process.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if received:
        raise KeyboardInterrupt


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def parse_duration(text: str) -> float:
    """Parse a duration such as `8h30m`, `90m` or `45s` to seconds."""
    match = _DURATION.fullmatch(text.strip().lower().replace(" ", ""))
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        raise ValueError(f"expected a time such as 8h30m, 90m or 45s: got {text!r}")
    return float(total)


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` parses to this duration."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
