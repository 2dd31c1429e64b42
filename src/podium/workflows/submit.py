"""Sending to the leaderboard: what speaks against it, sending once and never twice, waiting for the score.

Whatever happens on the way, the ledger tells how far it was: its row is written before the upload, and a row that was
left without an answer is mended by asking Kaggle for the marker in its description.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.kaggle_names import KernelRef
from podium.errors import KaggleError, RunError, SubmissionError, UnreachableError
from podium.files import read_json
from podium.locks import lock_holder, locked
from podium.progress import A_LINE_EVERY
from podium.retries import pause
from podium.signals import format_duration
from podium.submission.board import place_among, spell_score
from podium.submission.ledger import (
    Ledger,
    Row,
    described,
    digest_of_content,
    digest_of_output,
    marker_for,
    marker_in,
    merged,
    news_of,
)

if TYPE_CHECKING:
    from podium.kaggle.client import Kaggle
    from podium.submission.submission import Submission

LOOKS = (0.0, 5.0, 15.0)
"""Seconds before each look whether a submission arrived whose answer did not: Kaggle may still be at it."""
PAUSES = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 15.0)
"""Seconds between two questions for the score; the last one from then on."""


@dataclass(frozen=True)
class CsvFile:
    """What is sent: a file from here."""

    slug: str
    path: Path
    digest: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.path)

    def cells(self) -> dict[str, Any]:
        return {"file": self.path.name, "sha256": self.digest, **self.facts}

    def check_there(self, kaggle: "Kaggle", force: bool) -> None:
        """A file was checked here."""

    def send(self, kaggle: "Kaggle", description: str) -> int:
        return kaggle.submit(self.slug, self.path, description)


@dataclass(frozen=True)
class KernelOutput:
    """What is sent: a file that a version of a kernel left at Kaggle, which scores it by running that version."""

    slug: str
    kernel: KernelRef
    file_name: str
    digest: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.file_name} of {self.kernel}"

    def cells(self) -> dict[str, Any]:
        names = {"kernel": self.kernel.name, "kernel_version": self.kernel.version, "file": self.file_name}
        return {**names, **self.facts}

    def check_there(self, kaggle: "Kaggle", force: bool) -> None:
        """Whether that version ran to its end, and left the file."""
        status = kaggle.kernel_status(self.kernel)
        if status.state != "complete" and not force:
            why = f" ({status.failure})" if status.failure else ""
            raise SubmissionError(
                f"{self.kernel} is {status.state}{why}; only a version that is complete can be submitted: podium kernel"
                " logs shows what it does"
            )
        names = [one.name for one in kaggle.output_files(self.kernel)]
        if self.file_name not in names:
            told = ", ".join(sorted(names)[:5]) or "nothing"
            raise SubmissionError(f"{self.kernel} left no {self.file_name}; it left {told}: name that with --file")

    def send(self, kaggle: "Kaggle", description: str) -> int:
        return kaggle.submit_code(self.slug, self.kernel, self.file_name, description)


def csv_file(slug: str, path: Path, runs: Path) -> CsvFile:
    return CsvFile(slug, path, digest_of_content(path), blend_facts(path.name, slug, runs))


def kernel_output(slug: str, kernel: KernelRef, file_name: str, runs: Path) -> KernelOutput:
    from podium.kaggle.records import read_record

    facts = blend_facts(file_name, slug, runs)
    with suppress(RunError):  # the record of a push only adds to what is known
        pushed = read_record(runs, kernel).facts
        facts |= {"commit": pushed.get("commit"), "config_hash": pushed.get("config_digest")}
    return KernelOutput(slug, kernel, file_name, digest_of_output(kernel, file_name), facts)


def blend_facts(file_name: str, slug: str, runs: Path) -> dict[str, Any]:
    """What the blend that wrote this file says of it; nothing for a file that podium did not blend here."""
    for path in sorted(runs.glob("*/blend.json")):
        facts: dict[str, Any] = {}
        with suppress(RunError):
            facts = read_json(path)
        if facts.get("submission") == file_name and facts.get("competition") == slug:
            numbers = {"cross_validation": facts.get("score"), "standard_error": facts.get("standard_error")}
            return {
                "commit": facts.get("commit"),
                "config_hash": path.parent.name.rpartition("-")[2],
                "metric": facts.get("metric"),
                # NaN is no score
                **{name: number for name, number in numbers.items() if isinstance(number, float) and number == number},
            }
    return {}


# What speaks against it.


def name_problems(file_name: str) -> list[str]:
    """`podium check` looks at what a file holds, and sees by itself that one is partial."""
    if "_dry-run__" in file_name:
        return ["the name says it is of a dry run, whose images and trainings are too few; run the whole chain"]
    return []


def _refuse_sent(row: Row, name: str) -> None:
    what = {"error": f"Kaggle could not score it ({row['error'] or 'it does not say why'})"}
    score = f"public score {row.public_score:.5f}" if row.public_score is not None else "no score"
    where = "" if row["sha256"] or row["kernel"] else ", from elsewhere"
    raise SubmissionError(
        f"{name} was submitted already, on {row.time:%Y-%m-%d %H:%M} UTC{where} as {row['ref']}:"
        f" {what.get(row.status, score)}; --force sends it again, and costs one of the day's submissions"
    )


def _refuse_used_up(used: int) -> None:
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    left = format_duration(max(60, (midnight - now).total_seconds() // 60 * 60))
    raise SubmissionError(
        f"today's submissions are used up ({used} sent); Kaggle takes more from UTC midnight on, in {left}: run the"
        " same command then"
    )


# Sending.


def submit(
    parcel: CsvFile | KernelOutput,
    message: str,
    console: Console,
    *,
    force: bool = False,
    wait: bool = True,
    ledger: Ledger | None = None,
) -> Row:
    """Send it once, wait for its score, and give its row of the ledger.

    Where an earlier call sent it and was broken off before the score came, this one goes on waiting.
    """
    from podium.kaggle.client import sign_in

    ledger = ledger or Ledger()
    if not force:
        for row in ledger.rows(parcel.slug):
            if row.digest == parcel.digest[:12] and row.status in ("complete", "error"):
                _refuse_sent(row, parcel.name)
    kaggle = sign_in()
    with _alone(ledger) as alone:
        if not alone:
            holder = lock_holder(_sending_lock(ledger)) or "another process"
            raise SubmissionError(f"{holder} is sending another one; wait for it, then run the same command again")
        row = _sent_before(kaggle, ledger, parcel, console, force) or _send(
            kaggle, ledger, parcel, message, console, force
        )
    return wait_for_score(kaggle, ledger, row, console) if wait else row


@contextmanager
def _alone(ledger: Ledger) -> Iterator[bool]:
    """Whether nobody else is sending. Alone, a row without an answer is known to be left by a process that died."""
    with ExitStack() as stack:
        alone = True
        try:
            stack.enter_context(locked(_sending_lock(ledger)))
        except RunError:
            alone = False
        yield alone


def _sending_lock(ledger: Ledger) -> Path:
    return ledger.path.parent / "sending"


def _sent_before(
    kaggle: "Kaggle", ledger: Ledger, parcel: CsvFile | KernelOutput, console: Console, force: bool
) -> Row | None:
    """Ask Kaggle what it has of this. A sending that was broken off, or has no score yet, is gone on with."""
    before = {row["marker"]: row.status for row in ledger.rows(parcel.slug) if row.digest == parcel.digest[:12]}
    told = kaggle.submissions(parcel.slug)
    rows = _mend(ledger, parcel.slug, told, adding=lambda row: row.digest == parcel.digest[:12])
    sent = [row for row in rows if row.digest == parcel.digest[:12] and row.status != "failed"]
    for row in reversed(sent):
        if row.status == "pending" or before.get(row["marker"]) in ("uploading", "pending", "failed"):
            console.print(f"{parcel.name}: sent already, on {row.time:%Y-%m-%d %H:%M} UTC as {row['ref']}; not again")
            return row
    if sent and not force:
        _refuse_sent(sent[-1], parcel.name)
    return None


def _mend(
    ledger: Ledger, slug: str, told: Iterable["Submission"], adding: Callable[[Row], bool], alone: bool = True
) -> list[Row]:
    """The ledger with what Kaggle says. `alone` on the lock, a row without an answer that Kaggle lacks was never sent.

    Gives the competition's rows.
    """
    with ledger.editing() as rows:
        known = len(rows)
        after = merged(rows, told, slug)
        rows[:] = after[:known] + [row for row in after[known:] if adding(row)]
        for place, row in enumerate(rows):
            if alone and row["competition"] == slug and row.status == "uploading":
                rows[place] = row.changed(status="failed", error="broken off before Kaggle had it")
        return [row for row in rows if row["competition"] == slug]


def _send(
    kaggle: "Kaggle", ledger: Ledger, parcel: CsvFile | KernelOutput, message: str, console: Console, force: bool
) -> Row:
    parcel.check_there(kaggle, force)
    allowance = kaggle.allowance(parcel.slug)
    if allowance.left_today <= 0 and not force:
        _refuse_used_up(allowance.used_today)
    marker = marker_for(parcel.digest, [row["marker"] for row in ledger.rows(parcel.slug)])
    row = ledger.add(
        Row.of(
            time=datetime.now(UTC),
            competition=parcel.slug,
            message=message,
            marker=marker,
            status="uploading",
            **parcel.cells(),
        )
    )
    try:
        with _spinning(console, f"sending {parcel.name}"):
            ref = parcel.send(kaggle, described(message, marker))
    except UnreachableError as error:
        row = _look_for(kaggle, ledger, row, parcel.name, error)
    except KaggleError as error:
        found = None
        with suppress(KaggleError):  # an answer that makes no sense is not always a refusal
            found = _at_kaggle(kaggle, row)
        if found is None:
            ledger.change(row, status="failed", error=str(error))
            raise
        row = ledger.change(row, **news_of(found))
    else:
        row = ledger.change(row, ref=ref, status="pending")
    today, a_day = allowance.used_today + 1, allowance.used_today + allowance.left_today
    console.print(f"{parcel.name}: sent to {parcel.slug} as {row['ref']}, {today} of {a_day} today")
    return row


def _look_for(kaggle: "Kaggle", ledger: Ledger, row: Row, name: str, error: UnreachableError) -> Row:
    """Whether a submission arrived whose answer did not."""
    for seconds in LOOKS:
        pause(seconds)
        try:
            found = _at_kaggle(kaggle, row)
        except KaggleError as second:
            raise UnreachableError(
                f"{name}: Kaggle's answer was lost, and whether it has the submission cannot be asked now ({second});"
                " run the same command again: it asks first, and sends nothing twice"
            ) from error
        if found is not None:
            return ledger.change(row, **news_of(found))
    ledger.change(row, status="failed", error="broken off before Kaggle had it")
    raise UnreachableError(
        f"{name} was not submitted: the sending was broken off, and Kaggle has nothing of it; run the same command"
        f" again ({error})"
    ) from error


def _at_kaggle(kaggle: "Kaggle", row: Row) -> "Submission | None":
    told = kaggle.submissions(row["competition"])
    return next((one for one in told if marker_in(one.description) == row["marker"]), None)


# Waiting.


def wait_for_score(kaggle: "Kaggle", ledger: Ledger, row: Row, console: Console) -> Row:
    """Until Kaggle has scored it. Broken off, the same command goes on waiting."""
    assert row.ref is not None
    if row.status == "pending":
        try:
            told = _scored(kaggle, row.ref, console, f"waiting for the score of {row['file']}")
        except KaggleError as error:
            raise type(error)(
                f"{row['file']} is submitted, as {row['ref']}, but its score cannot be asked for ({error}); run the"
                " same command again, or podium board --sync: nothing is sent twice"
            ) from error
        row = ledger.change(row, **news_of(told))
    if row.status == "error":
        raise SubmissionError(
            f"Kaggle could not score {row['file']} ({row['error'] or 'it does not say why'}); compare it with what"
            " the competition asks for, and send another file"
        )
    return row


def _scored(kaggle: "Kaggle", ref: int, console: Console, what: str) -> "Submission":
    waited = told_at = 0.0
    if not console.is_terminal:
        console.print(what)
    with _spinning(console, what):
        for seconds in chain(PAUSES, repeat(PAUSES[-1])):
            submission = kaggle.submission(ref)
            if submission.status != "pending":
                return submission
            pause(seconds)
            waited += seconds
            if not console.is_terminal and waited - told_at >= A_LINE_EVERY:
                told_at = waited
                console.print(f"{what}, for {format_duration(waited)} now")
    raise AssertionError("it waits for ever")


@contextmanager
def _spinning(console: Console, what: str) -> Iterator[None]:
    """Where one can be seen."""
    with console.status(what) if console.is_terminal else nullcontext():
        yield


def score_line(row: Row) -> str:
    """What came of it, beside what was expected."""
    public = "no public score" if row.public_score is None else f"public score {row.public_score:.5f}"
    private = "" if row.private_score is None else f", private score {row.private_score:.5f}"
    own = f"; cross-validation {spell_score(row)}" if row.cross_validation is not None else ""
    return f"{row['file']}: {public}{private}{own}"


# What Kaggle knows.


@dataclass(frozen=True)
class Synced:
    added: int
    changed: int
    teams: int


def sync(slug: str, higher_is_better: bool | None, runs: Path, ledger: Ledger | None = None) -> Synced:
    """Bring in submissions made elsewhere, the news of those known, and the places on the leaderboard."""
    from podium.kaggle.client import sign_in

    ledger, kaggle = ledger or Ledger(), sign_in()
    before = ledger.rows(slug)
    with _alone(ledger) as alone:
        rows = _mend(ledger, slug, kaggle.submissions(slug), adding=lambda row: True, alone=alone)
    changed = sum(new != old for new, old in zip(rows, before, strict=False))
    scores = [place.score for place in kaggle.leaderboard(slug)]
    with ledger.editing() as every:
        every[:] = [
            _placed(_from_here(row, runs), scores, higher_is_better) if row["competition"] == slug else row
            for row in every
        ]
    return Synced(len(rows) - len(before), changed, len(scores))


def _from_here(row: Row, runs: Path) -> Row:
    """What a blend of this machine says of a file that another one sent."""
    if row.cross_validation is not None or row["sha256"]:
        return row
    return row.changed(**blend_facts(row["file"], row["competition"], runs))


def _placed(row: Row, scores: Sequence[float | None], higher_is_better: bool | None) -> Row:
    if row.public_score is None or not scores:
        return row
    return row.changed(place=place_among(row.public_score, scores, higher_is_better), teams=len(scores))
