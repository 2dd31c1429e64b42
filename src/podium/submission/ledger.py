"""submissions/ledger.csv: a row for each submission.

A row is written before its upload starts, so that an interrupted submission can be found and its row completed:

    uploading -> pending -> complete | error        failed: it never reached Kaggle and may be sent again

The description at Kaggle ends with a marker, `[podium 1a2b3c4d5e6f]`: the start of the digest of what was sent. It
identifies a submission whose response was lost, or that another machine sent. Sending the same file again with --force
gives the marker `[podium 1a2b3c4d5e6f 2]`.
"""

import csv
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from podium.config.kaggle_names import KernelRef
from podium.errors import RunError, SubmissionError
from podium.files import write_table
from podium.locks import lock_holder, locked, wait_for_lock
from podium.paths import submissions_folder

COLUMNS = (
    "time", "competition", "file", "sha256", "message", "commit", "config_hash", "metric", "cross_validation",
    "standard_error", "public_score", "private_score", "place", "teams", "status", "ref", "kernel", "kernel_version",
    "marker", "error",
)  # fmt: skip
_REQUIRED = ("time", "competition", "file", "status", "ref")
"""Other columns may be missing; their cells are then empty."""
STATUSES = ("uploading", "pending", "complete", "error", "failed")
_MARKER = re.compile(r"\s*\[podium ([0-9a-f]{12}(?: [1-9]\d*)?)\]")
MAX_MESSAGE = 300
NEVER_SENT = "interrupted before it reached Kaggle"

SubmissionState = Literal["pending", "complete", "error"]


@dataclass(frozen=True)
class Submission:
    """A submission as Kaggle reports it."""

    ref: int
    file_name: str
    date: datetime | None
    description: str
    status: SubmissionState
    public_score: float | None
    private_score: float | None
    error: str = ""


@dataclass(frozen=True)
class Row:
    """A submission. Cells are the text of the file, so that writing a row again does not change its other cells."""

    cells: Mapping[str, str]

    @classmethod
    def of(cls, **values: Any) -> "Row":
        return cls({}).changed(**values)

    def changed(self, **values: Any) -> "Row":
        return replace(self, cells={**self.cells, **{column: _text(value) for column, value in values.items()}})

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    @property
    def time(self) -> datetime:
        return _time(self["time"])

    @property
    def name(self) -> str:
        return f"{self['kernel']}/{self['kernel_version']} {self['file']}" if self["kernel"] else self["file"]

    @property
    def status(self) -> str:
        return self["status"]

    @property
    def ref(self) -> int | None:
        return int(self["ref"]) if self["ref"] else None

    @property
    def digest(self) -> str:
        """The first twelve characters of the content's digest, as in the marker; empty if podium did not send it."""
        return self["sha256"][:12] or self["marker"].partition(" ")[0]

    @property
    def cross_validation(self) -> float | None:
        return self._number("cross_validation")

    @property
    def standard_error(self) -> float | None:
        return self._number("standard_error")

    @property
    def public_score(self) -> float | None:
        return self._number("public_score")

    @property
    def private_score(self) -> float | None:
        return self._number("private_score")

    def is_same_as(self, other: "Row") -> bool:
        """Whether both rows are of one submission, in any state."""
        column = "marker" if self["marker"] else "ref"
        return bool(self[column]) and all(self[name] == other[name] for name in ("competition", column))

    def _number(self, column: str) -> float | None:
        return _finite(self[column]) if self[column] else None


class Ledger:
    """The file. It is read and written completely, and written atomically."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or submissions_folder() / "ledger.csv"

    def rows(self, competition: str | None = None) -> list[Row]:
        rows = self._read()[1]
        return [row for row in rows if competition is None or row["competition"] == competition]

    @contextmanager
    def editing(self) -> Iterator[list[Row]]:
        """The rows, to change in the block while other processes wait."""
        with wait_for_lock(self.path):
            heading, before = self._read()
            rows = list(before)
            yield rows
            if rows != before:
                write_table(self.path, heading, [row.cells for row in rows])

    def add(self, row: Row) -> Row:
        with self.editing() as rows:
            rows.append(row)
        return row

    def change(self, row: Row, **values: Any) -> Row:
        """Set values of a row in the file; a row that was deleted meanwhile is added again."""
        with self.editing() as rows:
            position = max((at for at, other in enumerate(rows) if other.is_same_as(row)), default=len(rows))
            changed = (rows[position] if position < len(rows) else row).changed(**values)
            rows[position : position + 1] = [changed]
            return changed

    @contextmanager
    def sending(self) -> Iterator[bool]:
        """Whether this process holds the lock for uploads: then a process that died left the row `uploading`."""
        with ExitStack() as stack:
            has_lock = True
            try:
                stack.enter_context(locked(self._upload_lock))
            except RunError:
                has_lock = False
            yield has_lock

    def sending_process(self) -> str | None:
        """The process that holds the lock for uploads."""
        return lock_holder(self._upload_lock)

    @property
    def _upload_lock(self) -> Path:
        return self.path.parent / "sending"

    def update(
        self,
        competition: str,
        submissions: Iterable[Submission],
        is_included: Callable[[Row], bool] = lambda row: True,
        *,
        has_lock: bool = True,
    ) -> list[Row]:
        """Update the rows from Kaggle's submissions to a competition, and return the competition's rows.

        Unknown submissions are added if `is_included` accepts them. If this process holds the lock for uploads, a row
        in state `uploading` that is unknown to Kaggle has failed.
        """
        with self.editing() as rows:
            known = len(rows)
            merged = merge(rows, submissions, competition)
            rows[:] = merged[:known] + [row for row in merged[known:] if is_included(row)]
            for position, row in enumerate(rows):
                if has_lock and row["competition"] == competition and row.status == "uploading":
                    rows[position] = row.changed(status="failed", error=NEVER_SENT)
            return [row for row in rows if row["competition"] == competition]

    def _read(self) -> tuple[list[str], list[Row]]:
        """The heading, with missing columns added, and the rows."""
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            return [*COLUMNS], []
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged(f"cannot be read ({error})") from None
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            lines = [(reader.line_num, cells) for cells in reader if cells]
        except csv.Error as error:
            raise self._damaged(f"line {reader.line_num} is not CSV ({error})") from None
        if not lines:
            raise self._damaged("is empty")
        heading = lines[0][1]
        missing = [column for column in _REQUIRED if column not in heading]
        if missing or len(set(heading)) < len(heading):
            raise self._damaged(
                f"line 1 {'has no column ' + ', '.join(missing) if missing else 'has a duplicate column'}"
            )
        rows = [self._row(line, heading, cells) for line, cells in lines[1:]]
        return [*heading, *(column for column in COLUMNS if column not in heading)], rows

    def _row(self, line: int, heading: Sequence[str], cells: Sequence[str]) -> Row:
        if len(cells) != len(heading):
            raise self._damaged(f"line {line} has {len(cells)} values; expected {len(heading)}, one for each column")
        row = Row(dict(zip(heading, cells, strict=True)))
        for column, (expected, is_valid) in _EXPECTED.items():
            if not is_valid(row[column]):
                raise self._damaged(f"line {line}: {column} is {row[column]!r}; expected {expected}")
        return row

    def _damaged(self, what: str) -> SubmissionError:
        return SubmissionError(
            f"{self.path} {what}; nothing was changed: fix it, or move it away and create it"
            " again from Kaggle with podium board --sync"
        )


def digest_of_output(kernel: KernelRef, file_name: str) -> str:
    """The digest of a kernel's output, from its name: the content is not downloaded."""
    return hashlib.sha256(f"kernel {kernel} {file_name}".encode()).hexdigest()


def marker_for(digest: str, earlier: Iterable[str]) -> str:
    """A marker that none of the earlier markers equals."""
    numbers = [int(marker.partition(" ")[2] or 1) for marker in earlier if marker.partition(" ")[0] == digest[:12]]
    return f"{digest[:12]} {max(numbers) + 1}" if numbers else digest[:12]


def description_with(message: str, marker: str) -> str:
    """The description for Kaggle. The message is shortened, so that Kaggle does not cut off the marker."""
    return f"{_text(message)[:MAX_MESSAGE]} [podium {marker}]".strip()


def marker_in(description: str) -> str:
    found = _MARKER.findall(description)
    return found[-1] if found else ""


def merge(rows: Sequence[Row], submissions: Iterable[Submission], competition: str) -> list[Row]:
    """The rows, updated from a competition's submissions; unknown submissions are appended, ordered by time."""
    rows, unknown = list(rows), []
    for submission in submissions:
        position = _position_of(submission, rows, competition)
        if position is None:
            unknown.append(row_from(submission, competition))
        else:
            rows[position] = rows[position].changed(**updates_from(submission))
    return rows + sorted(unknown, key=lambda row: (row.time, row.ref))


def _position_of(submission: Submission, rows: Sequence[Row], competition: str) -> int | None:
    marker = marker_in(submission.description)
    own = [(at, row) for at, row in enumerate(rows) if row["competition"] == competition]
    by_ref = [at for at, row in own if row.ref == submission.ref]
    by_marker = [at for at, row in own if row.ref is None and marker and row["marker"] == marker]
    # Of several rows with one marker only the last can be at Kaggle: the others have failed.
    return next(iter([*by_ref, *by_marker[::-1]]), None)


def updates_from(submission: Submission) -> dict[str, Any]:
    """The cells that come from Kaggle. A known score is kept if Kaggle no longer shows it."""
    scores = {"public_score": submission.public_score, "private_score": submission.private_score}
    known = {column: score for column, score in scores.items() if score is not None}
    return {"ref": submission.ref, "status": submission.status, "error": submission.error, **known}


def row_from(submission: Submission, competition: str) -> Row:
    return Row.of(
        time=submission.date or datetime.fromtimestamp(0, UTC),
        competition=competition,
        file=submission.file_name,
        message=_MARKER.sub("", submission.description),
        marker=marker_in(submission.description),
        **updates_from(submission),
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, datetime):
        return _utc(value).replace(microsecond=0, tzinfo=None).isoformat() + "Z"  # strftime writes year 1 as 1
    return " ".join(str(value).split())


def _time(text: str) -> datetime:
    return _utc(datetime.fromisoformat(text))


def _utc(time: datetime) -> datetime:
    """Times without a zone are in UTC, as Kaggle's are."""
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _accepts(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def is_valid(text: str) -> bool:
        try:
            return not text or bool([parse(text)])
        except (ValueError, OverflowError):  # a time at the end of the calendar
            return False

    return is_valid


_NUMBER = ("a number or an empty cell", _accepts(_finite))
_COUNT = ("an integer or an empty cell", _accepts(int))
_EXPECTED: dict[str, tuple[str, Callable[[str], bool]]] = {
    "time": ("a time such as 2026-01-31T12:00:00Z", lambda text: bool(text) and _accepts(_time)(text)),
    "competition": ("the competition's slug", bool),
    "status": (f"one of {', '.join(STATUSES)}", lambda text: text in STATUSES),
    "marker": (
        "the description's text after 'podium', or an empty cell",
        lambda text: text == marker_in(f"[podium {text}]"),
    ),
    **dict.fromkeys(("cross_validation", "standard_error", "public_score", "private_score"), _NUMBER),
    **dict.fromkeys(("ref", "place", "teams"), _COUNT),
}
