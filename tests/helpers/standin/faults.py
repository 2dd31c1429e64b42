"""Failures of requests, which a test queues for the calls to come."""

import threading
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Literal, Self

Kind = Literal["status", "reset_before", "reset_midway", "stall", "stall_midway", "truncated", "malformed", "drip"]
CUTS = ("reset_midway", "stall_midway", "truncated")
"""Of these only half of the answer arrives."""


@dataclass(frozen=True)
class Fault:
    """A failure. With `after_effect` the request has its effect, and only the response is lost.

    Without it, a call that changes something changes nothing; of one that only reads, half the response may be sent.
    """

    kind: Kind
    code: int = 0
    message: str = ""
    retry_after: str | None = None
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    after_effect: bool = False

    @classmethod
    def status(
        cls, code: int, *, message: str = "", retry_after: int | str | None = None, after_effect: bool = False
    ) -> Self:
        """An HTTP error with Kaggle's JSON in it. `retry_after` is seconds, or an HTTP date as text."""
        text = message or f"{HTTPStatus(code).phrase} (a fault of the stand-in)"
        return cls("status", code, text, None if retry_after is None else str(retry_after), after_effect=after_effect)

    @classmethod
    def reset_before(cls, *, after_effect: bool = False) -> Self:
        """The connection is reset: before the request is read, or with `after_effect` before anything is answered."""
        return cls("reset_before", after_effect=after_effect)

    @classmethod
    def reset_midway(cls, *, after_effect: bool = False) -> Self:
        """The connection is reset after half of the response."""
        return cls("reset_midway", after_effect=after_effect)

    @classmethod
    def stall(cls, *, after_effect: bool = False) -> Self:
        """No answer until the caller gives up or the stand-in stops."""
        return cls("stall", after_effect=after_effect)

    @classmethod
    def stall_midway(cls, *, after_effect: bool = False) -> Self:
        """Half of the answer, then nothing more."""
        return cls("stall_midway", after_effect=after_effect)

    @classmethod
    def drip(cls, *, after_effect: bool = False) -> Self:
        """The answer a byte at a time, for minutes, with pauses shorter than a client's time-out for a read."""
        return cls("drip", after_effect=after_effect)

    @classmethod
    def truncated(cls, *, after_effect: bool = False) -> Self:
        """The connection is closed in good order, but after half of what Content-Length promised."""
        return cls("truncated", after_effect=after_effect)

    @classmethod
    def malformed(
        cls,
        body: bytes = b'{"ref": "/code/half an ans',
        *,
        content_type: str = "application/json; charset=utf-8",
        after_effect: bool = False,
    ) -> Self:
        """A complete response with status 200 and an unexpected body."""
        return cls("malformed", body=body, content_type=content_type, after_effect=after_effect)


@dataclass(frozen=True)
class _Queued:
    fault: Fault
    after: int
    times: int | None


class Faults:
    """A queue for every kind of call."""

    def __init__(self) -> None:
        self._queues: dict[str, list[_Queued]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, fault: Fault, times: int | None, after: int) -> None:
        if times == 0:
            return
        with self._lock:
            self._queues.setdefault(name, []).append(_Queued(fault, after, times))

    def clear(self) -> None:
        with self._lock:
            self._queues.clear()

    def take(self, *names: str) -> Fault | None:
        """What this call meets: the first of its names that has a fault queued decides."""
        with self._lock:
            for name in names:
                queue = self._queues.get(name)
                if queue:
                    return self._step(queue)
        return None

    def _step(self, queue: list[_Queued]) -> Fault | None:
        first = queue[0]
        if first.after:
            queue[0] = replace(first, after=first.after - 1)
            return None
        if first.times is not None:
            queue[0] = replace(first, times=first.times - 1)
            if first.times <= 1:
                queue.pop(0)
        return first.fault
