"""submissions/ledger.csv: what was sent to Kaggle, a row a submission.

A row is written before its upload begins, so that a process that dies on the way leaves a trace to mend:

    uploading -> pending -> complete | error        failed: Kaggle never had it, the file may be sent

The description at Kaggle carries a marker, `[podium 1a2b3c4d5e6f]`: the beginning of the digest of what was sent. By
it a submission is found again whose answer was lost, and one that another machine sent. A second sending of the same,
forced, is `[podium 1a2b3c4d5e6f 2]`, so that the two are never taken for each other.
"""

import csv
import hashlib
import io
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.config.kaggle_names import KernelRef
from podium.errors import RunError, SubmissionError
from podium.files import write_table
from podium.locks import locked
from podium.paths import submissions_folder

if TYPE_CHECKING:
    from podium.submission.submission import Submission

COLUMNS = (
    "time", "competition", "file", "sha256", "message", "commit", "config_hash", "metric", "cross_validation",
    "standard_error", "public_score", "private_score", "place", "teams", "status", "ref", "kernel", "kernel_version",
    "marker", "error",
)  # fmt: skip
_NEEDED = ("time", "competition", "file", "status", "ref")
"""Without these it is no ledger; another column that is missing is empty."""
STATUSES = ("uploading", "pending", "complete", "error", "failed")
_MARKER = re.compile(r"\s*\[podium ([0-9a-f]{12}(?: [1-9]\d*)?)\]")
LONGEST_MESSAGE = 300
PATIENCE, A_PAUSE = 25, 0.1
"""How often, and how many seconds apart, the ledger is asked for while another process writes in it."""


@dataclass(frozen=True)
class Row:
    """One submission. The cells are text as the file has it, so that writing it again changes nothing else."""

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
        """Of the file, or of the kernel's output."""
        return f"{self['kernel']}/{self['kernel_version']} {self['file']}" if self["kernel"] else self["file"]

    @property
    def status(self) -> str:
        return self["status"]

    @property
    def ref(self) -> int | None:
        return int(self["ref"]) if self["ref"] else None

    @property
    def digest(self) -> str:
        """The first twelve letters of the content's, as in the marker; empty where podium did not send it."""
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
        """Whether both tell of one submission, however far each is: a marker is given once, a ref too."""
        column = "marker" if self["marker"] else "ref"
        return bool(self[column]) and all(self[one] == other[one] for one in ("competition", column))

    def _number(self, column: str) -> float | None:
        return _finite(self[column]) if self[column] else None


class Ledger:
    """The file. It is read whole and written whole, and a reader never sees it half-written."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or submissions_folder() / "ledger.csv"

    def rows(self, competition: str | None = None) -> list[Row]:
        rows = self._read()[1]
        return [row for row in rows if competition is None or row["competition"] == competition]

    @contextmanager
    def editing(self) -> Iterator[list[Row]]:
        """The rows, to be changed within the block. No other process changes them meanwhile."""
        with _waited_for(self.path):
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
        """Other values for a row, which others may have changed meanwhile; one that is gone comes back."""
        with self.editing() as rows:
            places = [place for place, one in enumerate(rows) if one.is_same_as(row)]
            if not places:
                rows.append(row)
                places = [len(rows) - 1]
            rows[places[-1]] = rows[places[-1]].changed(**values)
            return rows[places[-1]]

    def _read(self) -> tuple[list[str], list[Row]]:
        """The heading, with columns that are podium's and not there at its end, and the rows."""
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
        missing = [column for column in _NEEDED if column not in heading]
        if missing or len(set(heading)) < len(heading):
            raise self._damaged(
                f"line 1 {'lacks the columns ' + ', '.join(missing) if missing else 'names a column twice'}"
            )
        rows = [self._row(line, heading, cells) for line, cells in lines[1:]]
        return [*heading, *(column for column in COLUMNS if column not in heading)], rows

    def _row(self, line: int, heading: Sequence[str], cells: Sequence[str]) -> Row:
        if len(cells) != len(heading):
            raise self._damaged(f"line {line} has {len(cells)} values; expected {len(heading)}, one a column")
        row = Row(dict(zip(heading, cells, strict=True)))
        for column, (expected, is_right) in _EXPECTED.items():
            if not is_right(row[column]):
                raise self._damaged(f"line {line}: {column} is {row[column]!r}; expected {expected}")
        return row

    def _damaged(self, what: str) -> SubmissionError:
        return SubmissionError(
            f"{self.path} {what}; nothing was changed: mend it by hand, or move it away, and podium board --sync"
            " brings in what Kaggle knows"
        )


def digest_of_content(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digest_of_output(kernel: KernelRef, file_name: str) -> str:
    """Stands for the content of a kernel's output, which is never here."""
    return hashlib.sha256(f"kernel {kernel} {file_name}".encode()).hexdigest()


def marker_for(digest: str, earlier: Iterable[str]) -> str:
    """One that no earlier sending of the same content has, given the markers there are."""
    numbers = [int(marker.partition(" ")[2] or 1) for marker in earlier if marker.partition(" ")[0] == digest[:12]]
    return f"{digest[:12]} {max(numbers) + 1}" if numbers else digest[:12]


def described(message: str, marker: str) -> str:
    """What Kaggle is given as the description. A long message is cut, lest Kaggle cut off the marker."""
    return f"{_text(message)[:LONGEST_MESSAGE]} [podium {marker}]".strip()


def marker_in(description: str) -> str:
    found = _MARKER.findall(description)
    return found[-1] if found else ""


def merged(rows: Sequence[Row], submissions: Iterable["Submission"], competition: str) -> list[Row]:
    """The rows with all that Kaggle tells of a competition's submissions; those made elsewhere come last, by time."""
    rows, elsewhere = list(rows), []
    for submission in submissions:
        place = _place_of(submission, rows, competition)
        if place is None:
            elsewhere.append(row_from(submission, competition))
        else:
            rows[place] = rows[place].changed(**news_of(submission))
    return rows + sorted(elsewhere, key=lambda row: (row.time, row.ref))


def _place_of(submission: "Submission", rows: Sequence[Row], competition: str) -> int | None:
    marker = marker_in(submission.description)
    own = [(place, row) for place, row in enumerate(rows) if row["competition"] == competition]
    by_ref = [place for place, row in own if row.ref == submission.ref]
    by_marker = [place for place, row in own if row.ref is None and marker and row["marker"] == marker]
    # Of rows with one marker only the last can be at Kaggle: the others were found not to be there.
    return next(iter([*by_ref, *by_marker[::-1]]), None)


def news_of(submission: "Submission") -> dict[str, Any]:
    """The cells that Kaggle decides. A score once known stays, should Kaggle no longer tell it."""
    scores = {"public_score": submission.public_score, "private_score": submission.private_score}
    known = {column: score for column, score in scores.items() if score is not None}
    return {"ref": submission.ref, "status": submission.status, "error": submission.error, **known}


def row_from(submission: "Submission", competition: str) -> Row:
    """A submission that this ledger does not know."""
    return Row.of(
        time=submission.date or datetime.fromtimestamp(0, UTC),
        competition=competition,
        file=submission.file_name,
        message=_MARKER.sub("", submission.description),
        marker=marker_in(submission.description),
        **news_of(submission),
    )


@contextmanager
def _waited_for(path: Path) -> Iterator[None]:
    """The lock on the file, which others hold for a moment only."""
    with ExitStack() as stack:
        for left in reversed(range(PATIENCE)):
            try:
                stack.enter_context(locked(path))
                break
            except RunError:
                if not left:
                    raise
                time.sleep(A_PAUSE)
        yield


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, datetime):
        return f"{_utc(value):%Y-%m-%dT%H:%M:%SZ}"
    return " ".join(str(value).split())


def _time(text: str) -> datetime:
    return _utc(datetime.fromisoformat(text))


def _utc(time: datetime) -> datetime:
    """Without a zone it is UTC already, as Kaggle's times are."""
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _reads(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def is_right(text: str) -> bool:
        try:
            return not text or bool([parse(text)])
        except ValueError:
            return False

    return is_right


_NUMBER = ("a number or nothing", _reads(_finite))
_COUNT = ("a whole number or nothing", _reads(int))
_EXPECTED: dict[str, tuple[str, Callable[[str], bool]]] = {
    "time": ("a time such as 2026-01-31T12:00:00Z", lambda text: bool(text) and _reads(_time)(text)),
    "competition": ("the competition's slug", bool),
    "status": (f"one of {', '.join(STATUSES)}", lambda text: text in STATUSES),
    "marker": ("what the description holds after 'podium', or nothing", lambda text: _is_marker(text)),
    **dict.fromkeys(("cross_validation", "standard_error", "public_score", "private_score"), _NUMBER),
    **dict.fromkeys(("ref", "place", "teams"), _COUNT),
}


def _is_marker(text: str) -> bool:
    return not text or marker_in(f"[podium {text}]") == text
