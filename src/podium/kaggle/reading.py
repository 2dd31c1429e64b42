"""What Kaggle's answers say, in podium's own words.

kagglesdk takes any value for any field, so each is looked at here. What has not the form it should have raises
ValueError, TypeError, …, which is a broken answer to whoever asked.
"""

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from podium.config.kaggle_names import KernelRef
from podium.errors import ConfigError, KaggleError
from podium.kaggle.answers import (
    Allowance,
    CompetitionFacts,
    DataFile,
    KernelSource,
    KernelState,
    KernelStatus,
    Place,
    Pushed,
    Quota,
)
from podium.submission.submission import Submission, SubmissionState

_STATES: dict[str, KernelState] = {
    "QUEUED": "queued",
    "NEW_SCRIPT": "queued",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "ERROR": "error",
    "CANCEL_REQUESTED": "running",
    "CANCEL_ACKNOWLEDGED": "cancelled",
}
_SUBMITTED: dict[str, SubmissionState] = {"PENDING": "pending", "COMPLETE": "complete", "ERROR": "error"}


def text(value: object) -> str:
    """What is left out is empty."""
    if value is None or isinstance(value, str):
        return value or ""
    raise TypeError(f"{value!r} is no text")


def _one_line(value: object) -> str:
    return " ".join(text(value).split())


def whole(value: object) -> int:
    """What is left out is 0."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"{value!r} is no number of things")
    return value


def flag(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise TypeError(f"{value!r} is neither yes nor no")


def score(value: object) -> float | None:
    """What is no number, such as the empty text of a submission under way, is no score."""
    with suppress(ValueError):
        number = float(text(value))
        return number if math.isfinite(number) else None
    return None


def quota(answer: Any) -> Quota | None:
    said = answer.gpu_quota
    if said is None:
        return None
    return Quota(
        hours_used=_hours(said.time_used),
        hours_reserved=_hours(said.time_reserved),
        hours_allowed=_hours(said.total_time_allowed),
        refreshes=answer.quota_refresh_time,
    )


def _hours(duration: Any) -> float:
    return duration.total_seconds() / 3600 if duration else 0.0


def pushed(answer: Any, asked: KernelRef, what: str) -> Pushed:
    """All that the answer says: what the client prints at most is a failure here."""
    problems = [_one_line(answer.error)] if answer.error else []
    for kind in ("dataset", "competition", "kernel", "model"):
        unknown = [text(name) for name in getattr(answer, f"invalid_{kind}_sources") or []]
        problems += [f"it knows no {kind} {', '.join(unknown)} that you may attach"] if unknown else []
    tags = [text(tag) for tag in answer.invalid_tags or []]
    problems += [f"no tags {', '.join(tags)}"] if tags else []
    version = whole(answer.version_number)
    if not problems:
        if not version:
            raise ValueError("neither a version nor an error")
        called = _called(text(answer.ref)) or asked.name
        problems += [f"it is called {called} there"] if called.lower() != asked.name.lower() else []
    if problems:
        exists = f"; version {version} exists nevertheless, and not as asked for: cancel it" if version else ""
        raise KaggleError(f"{what}: Kaggle says {'; '.join(problems)}{exists}")
    return Pushed(asked.at(version), text(answer.url) or f"https://www.kaggle.com/code/{asked.name}")


def _called(ref: str) -> str:
    if not ref:
        return ""
    try:
        return KernelRef.parse(ref.removeprefix("/code/").strip("/")).name
    except ConfigError as error:
        raise ValueError(str(error)) from None


def status(answer: Any) -> KernelStatus:
    return KernelStatus(_STATES[answer.status.name], text(answer.failure_message))


def source(answer: Any) -> KernelSource:
    return KernelSource(whole(answer.metadata.current_version_number), text(answer.blob.source))


def addresses(page: Any) -> list[tuple[str, str]]:
    """The names of files, and where they are."""
    return [(text(one.file_name), text(one.url)) for one in page.files or []]


def sizes(page: Any) -> list[tuple[str, int | None]]:
    """The names of files, and their sizes; 0 is also what an answer that leaves the size out says."""
    return [(text(one.name), whole(one.size) or None) for one in page.files or []]


def lines(log: str) -> list[str]:
    """Of a log as Kaggle keeps it, a JSON array of events; or of plain text."""
    try:
        events = json.loads(log)
    except ValueError:
        return log.splitlines()
    told = events if isinstance(events, list) else [events]
    return [line for event in told for line in lines_of_event(event)]


def lines_of_event(event: Any) -> Iterator[str]:
    data = event.get("data") if isinstance(event, dict) else event
    if data is not None:
        yield from str(data).removesuffix("\n").split("\n")


def competition(one: Any, slug: str) -> CompetitionFacts:
    if not (one.id or one.ref or one.title):
        raise ValueError("no competition")
    return CompetitionFacts(
        slug, text(one.title), flag(one.is_kernels_submissions_only), flag(one.user_has_entered),
        whole(one.user_rank) or None, whole(one.team_count), whole(one.max_daily_submissions),
        text(one.evaluation_metric), one.deadline,
    )  # fmt: skip


def submission(one: Any) -> Submission:
    return Submission(
        _number(one.ref), text(one.file_name), one.date, text(one.description), _SUBMITTED[one.status.name],
        score(one.public_score), score(one.private_score), text(one.error_description),
    )  # fmt: skip


def submissions(page: Any) -> list[Submission]:
    return [submission(one) for one in page.submissions or []]


def submitted(answer: Any) -> int:
    """The submission's number. What only speaks has not taken it; what says nothing is broken."""
    said = _one_line(answer.message)
    if said and not answer.ref:
        raise KaggleError(f"Kaggle did not take the submission: {said}")
    return _number(answer.ref)


def _number(value: object) -> int:
    if not whole(value):
        raise ValueError("no number of a submission")
    return whole(value)


def allowance(answer: Any) -> Allowance:
    return Allowance(whole(answer.num_today), whole(answer.num_allowed_now))


def places(page: Any) -> list[Place]:
    return [Place(text(one.team_name), score(one.score)) for one in page.submissions or []]


def data_files(page: Any) -> list[DataFile]:
    return [DataFile(text(one.name), whole(one.total_bytes)) for one in page.files or []]
