"""Kaggle's responses as typed objects.

kagglesdk accepts any value for any field, so every field is validated here. A response without the expected form raises
ValueError, TypeError, ..., which `with_retries` reports as an unexpected response.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

from podium.config.kaggle_names import KernelRef
from podium.errors import ConfigError, KaggleError
from podium.files import parse_json
from podium.submission.ledger import Submission, SubmissionState

KernelState = Literal["queued", "running", "complete", "error", "cancelled"]
_STATES: dict[str, KernelState] = {
    "QUEUED": "queued",
    "NEW_SCRIPT": "queued",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "ERROR": "error",
    "CANCEL_REQUESTED": "running",
    "CANCEL_ACKNOWLEDGED": "cancelled",
}
_SUBMISSION_STATES: dict[str, SubmissionState] = {"PENDING": "pending", "COMPLETE": "complete", "ERROR": "error"}


def text(value: object) -> str:
    """A string; a missing one is empty."""
    if value is None or isinstance(value, str):
        return value or ""
    raise TypeError(f"expected text, got {value!r}")


def score(value: object) -> float | None:
    """The score as a number; None if there is no score yet."""
    with suppress(ValueError):
        number = float(text(value))
        return number if math.isfinite(number) else None
    return None


def _hours(duration: Any) -> float:
    return duration.total_seconds() / 3600 if duration else 0.0


Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
Count = Annotated[int, Field(ge=0), BeforeValidator(lambda value: 0 if value is None else value)]
Score = Annotated[float | None, BeforeValidator(score)]
Hours = Annotated[float, BeforeValidator(_hours)]


class Response(BaseModel):
    """A response, read from the attributes of a kagglesdk object."""

    model_config = ConfigDict(from_attributes=True, strict=True, frozen=True, populate_by_name=True)


# Kernels


class Quota(Response):
    """GPU hours of this week. `hours_left` still includes what running sessions have reserved."""

    hours_used: Hours = Field(validation_alias=AliasPath("gpu_quota", "time_used"))
    hours_reserved: Hours = Field(validation_alias=AliasPath("gpu_quota", "time_reserved"))
    hours_allowed: Hours = Field(validation_alias=AliasPath("gpu_quota", "total_time_allowed"))
    refreshes: datetime | None = Field(validation_alias="quota_refresh_time")

    @property
    def hours_left(self) -> float:
        return max(0.0, self.hours_allowed - self.hours_used)


class KernelStatus(Response):
    state: Annotated[KernelState, BeforeValidator(lambda status: _STATES[status.name])] = Field(
        validation_alias="status"
    )
    failure: Text = Field("", validation_alias="failure_message")

    @property
    def is_over(self) -> bool:
        return self.state in ("complete", "error", "cancelled")


class KernelSource(Response):
    """The number of the newest version, and its script."""

    version: Count = Field(validation_alias=AliasPath("metadata", "current_version_number"))
    text: Text = Field(validation_alias=AliasPath("blob", "source"))


@dataclass(frozen=True)
class OutputFile:
    name: str
    url: str
    """Empty if Kaggle lists the file but does not say where it is."""
    size: int | None = None


@dataclass(frozen=True)
class Pushed:
    ref: KernelRef
    url: str


def parse_push(response: Any, requested: KernelRef, what: str) -> Pushed:
    """The pushed version. Problems that the official client only prints are errors here."""
    problems = [one_line(response.error)] if response.error else []
    for kind in ("dataset", "competition", "kernel", "model"):
        unknown = [text(name) for name in getattr(response, f"invalid_{kind}_sources") or []]
        problems += [f"there is no {kind} {', '.join(unknown)} that you may attach"] if unknown else []
    tags = [text(tag) for tag in response.invalid_tags or []]
    problems += [f"unknown tags {', '.join(tags)}"] if tags else []
    version = _count(response.version_number)
    if not problems:
        if not version:
            raise ValueError("neither a version nor an error")
        name = _name_of(text(response.ref)) or requested.name
        problems += [f"the kernel is named {name} on Kaggle"] if name.lower() != requested.name.lower() else []
    if problems:
        exists = f"; version {version} was created anyway: cancel it" if version else ""
        raise KaggleError(f"{what}: Kaggle reports {'; '.join(problems)}{exists}")
    return Pushed(requested.at(version), text(response.url) or page_of(requested))


def page_of(ref: KernelRef) -> str:
    return f"https://www.kaggle.com/code/{ref.name}"


def _name_of(ref: str) -> str:
    if not ref:
        return ""
    try:
        return KernelRef.parse(ref.removeprefix("/code/").strip("/")).name
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _count(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"expected a count, got {value!r}")
    return value


def parse_urls(page: Any) -> list[tuple[str, str]]:
    """Names of files, and their URLs."""
    return [(text(file.file_name), text(file.url)) for file in page.files or []]


def parse_sizes(page: Any) -> list[tuple[str, int | None]]:
    """Names of files, and their sizes; a response without a size has 0."""
    return [(text(file.name), _count(file.size) or None) for file in page.files or []]


def parse_log(page: Any) -> list[str]:
    """Lines of a stored log, which is a JSON array of events, or plain text."""
    return log_lines(text(page.log))


def log_lines(log: str) -> list[str]:
    try:
        content = parse_json(log)
    except ValueError:
        return log.splitlines()
    events = content if isinstance(content, list) else [content]
    return [line for event in events for line in event_lines(event)]


def event_lines(event: Any) -> Iterator[str]:
    data = event.get("data") if isinstance(event, dict) else event
    if data is not None:
        yield from str(data).removesuffix("\n").split("\n")


# Competitions


class Allowance(Response):
    """Today's submissions."""

    used_today: Count = Field(validation_alias="num_today")
    left_today: Count = Field(validation_alias="num_allowed_now")
    used_in_total: Count = Field(0, validation_alias="num_total")

    @property
    def is_unknown(self) -> bool:
        """Kaggle sends only zeros to a user who has not joined the competition, and so has no team yet."""
        return not (self.used_today or self.left_today or self.used_in_total)


class DataFile(Response):
    name: Text
    size: Count = Field(validation_alias="total_bytes")


class Place(Response):
    """A row of the leaderboard, in its order."""

    team: Text = Field(validation_alias="team_name")
    score: Score


def parse_kernel_names(page: Any) -> list[str]:
    return [text(kernel.ref) for kernel in page.kernels or []]


def parse_slugs(page: Any) -> list[str]:
    """Kaggle sends a competition's URL as its reference."""
    return [text(competition.ref).rstrip("/").rpartition("/")[2] for competition in page.competitions or []]


def parse_has_joined(competition: Any) -> bool:
    if not (competition.id or competition.ref or competition.title):
        raise ValueError("no competition")
    if not isinstance(competition.user_has_entered, bool):
        raise TypeError(f"expected true or false, got {competition.user_has_entered!r}")
    return competition.user_has_entered


def parse_submission(response: Any) -> Submission:
    if response.date is not None and not isinstance(response.date, datetime):
        raise TypeError(f"expected a date, got {response.date!r}")
    return Submission(
        _submission_number(response.ref), text(response.file_name), response.date, text(response.description),
        _SUBMISSION_STATES[response.status.name], score(response.public_score), score(response.private_score),
        text(response.error_description),
    )  # fmt: skip


def parse_submitted(response: Any) -> int:
    """The number of a new submission. A response with a message but without a number is a refusal."""
    message = one_line(response.message)
    if message and not response.ref:
        raise KaggleError(f"Kaggle did not accept the submission: {message}")
    return _submission_number(response.ref)


def _submission_number(value: object) -> int:
    if not _count(value):
        raise ValueError("no number of a submission")
    return _count(value)


def one_line(value: object) -> str:
    return " ".join(text(value).split())
