"""Send a checked submission to Kaggle once, and wait for its score.

The ledger's row is written before the upload. If the process is interrupted, the next one looks for the submission at
Kaggle by the marker in its description, so that no submission is sent twice.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.competition import Competition
from podium.config.kaggle_names import KernelRef
from podium.errors import KaggleError, PodiumError, RunError, SubmissionError, UnreachableError
from podium.files import read_json, sha256_of
from podium.kernel.secrets import check_for_secrets
from podium.progress import SECONDS_BETWEEN_LINES
from podium.retries import pause
from podium.signals import format_duration
from podium.submission.board import format_score
from podium.submission.check import DRY_RUN, report_problems
from podium.submission.ledger import (
    NEVER_SENT,
    Ledger,
    Row,
    Submission,
    description_with,
    digest_of_output,
    marker_for,
    marker_in,
    updates_from,
)
from podium.workflows.check import blend_that_wrote, check_submission, competition_of, find_competition

if TYPE_CHECKING:
    from podium.kaggle.client import Kaggle
    from podium.kaggle.responses import Allowance

SEARCH_DELAYS = (0.0, 5.0, 15.0)
"""Seconds before each search for a submission whose response was lost: Kaggle may still be processing it."""
POLL_DELAYS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 15.0)
"""Seconds between two requests for the score; the last one is repeated."""


# Uploads


@dataclass(frozen=True)
class CsvFile:
    slug: str
    path: Path
    digest: str
    facts: dict[str, Any] = field(default_factory=dict)
    """Cells of the ledger's row: scores, commit."""

    @property
    def name(self) -> str:
        return str(self.path)

    def cells(self) -> dict[str, Any]:
        return {"file": self.path.name, "sha256": self.digest, **self.facts}

    def check_at_kaggle(self, kaggle: "Kaggle", force: bool) -> None:
        """A file is checked before."""

    def send(self, kaggle: "Kaggle", description: str) -> int:
        return kaggle.submit(self.slug, self.path, description)


@dataclass(frozen=True)
class KernelOutput:
    """A file in the output of a kernel's version; Kaggle scores it by running that version."""

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

    def check_at_kaggle(self, kaggle: "Kaggle", force: bool) -> None:
        """Check that the version is complete and has the file."""
        status = kaggle.kernel_status(self.kernel)
        if status.state != "complete" and not force:
            reason = f" ({status.failure})" if status.failure else ""
            raise SubmissionError(
                f"{self.kernel} is {status.state}{reason}; only a complete version can be submitted: see podium kernel"
                " logs"
            )
        names = [file.name for file in kaggle.output_files(self.kernel)]
        if self.file_name not in names:
            available = ", ".join(sorted(names)[:5]) or "nothing"
            raise SubmissionError(
                f"{self.kernel} has no output {self.file_name}; it has {available}: name one with --file"
            )

    def send(self, kaggle: "Kaggle", description: str) -> int:
        return kaggle.submit_code(self.slug, self.kernel, self.file_name, description)


Upload = CsvFile | KernelOutput


def blend_facts(file_name: str, slug: str, runs: Path) -> dict[str, Any]:
    """Scores and commit of the blend that wrote this file; empty if no blend in `runs` did."""
    found = blend_that_wrote(file_name, [runs])
    if found is None or found[1].get("competition") != slug:
        return {}
    return _facts_for_ledger(*found)


def _facts_for_ledger(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    scores = {"cross_validation": facts.get("score"), "standard_error": facts.get("standard_error")}
    return {
        "commit": facts.get("commit"),
        "config_hash": folder.name.rpartition("-")[2],
        "metric": facts.get("metric"),
        # NaN is not a score
        **{name: score for name, score in scores.items() if isinstance(score, float) and score == score},
    }


# Submitting


def submit(
    path: str | Path,
    message: str,
    competition: Competition | str | Path | None = None,
    *,
    sample: str | Path | None = None,
    data: str | Path | None = None,
    runs: str | Path = "runs",
    force: bool = False,
    wait: bool = True,
    console: Console | None = None,
) -> Row:
    """Check a submission, send it to Kaggle once, and wait for its score.

    Args:
        path: The CSV.
        message: A description, for Kaggle and the ledger.
        competition, sample, data: As in `check_submission`.
        runs: The folder of runs, with the blend that wrote the CSV.
        force: Submit despite problems, or again.
        wait: Wait for the score.
        console: Prints the progress.

    Returns:
        The row of submissions/ledger.csv, with `status`, `public_score`, `cross_validation` and more.
    """
    path, runs = Path(path), Path(runs)
    console = console or Console(quiet=True)
    competition = competition_of(path, competition, runs)
    problems = ["the file name marks a dry run; submit a full run"] if DRY_RUN in path.name else []
    try:
        problems += check_submission(path, competition, sample=sample, data=data, runs=runs)
    except PodiumError as error:
        if not force:
            raise
        problems.append(f"not checked: {error}")
    if force:
        for problem in problems:
            console.print(f"{path}: {problem} (sent because of --force)")
    else:
        report_problems(path, problems, console)
    facts = blend_facts(path.name, competition.slug, runs)
    upload = CsvFile(competition.slug, path, sha256_of(path), facts)
    return _send_once(upload, message, console, force, wait)


def submit_kernel(
    kernel: KernelRef,
    file_name: str,
    message: str,
    competition: Competition | str | Path | None = None,
    *,
    runs: Path = Path("runs"),
    force: bool = False,
    wait: bool = True,
    console: Console | None = None,
) -> Row:
    """Submit a file in the output of a kernel's version, as `submit` does. It needs no upload."""
    from podium.kaggle.records import read_record

    if kernel.version is None:
        raise SubmissionError(f"{kernel}: a version must be named, such as {kernel}/1")
    if not force and (".partial." in file_name or DRY_RUN in file_name):
        raise SubmissionError(f"{file_name} is named as partial or as a dry run; submit a full run")
    pushed: dict[str, Any] = {}
    with suppress(RunError):  # the record of the push only adds details
        pushed = read_record(runs, kernel).facts
    if competition is None:
        attached = pushed.get("metadata", {}).get("competition_sources", [])
        if len(attached) != 1:
            raise SubmissionError(
                f"{kernel} was not pushed from this machine for a single competition: add --competition"
            )
        slug = str(attached[0])
    else:
        slug = (competition if isinstance(competition, Competition) else find_competition(competition, runs=runs)).slug
    facts = blend_facts(file_name, slug, runs)
    if applied := pushed.get("job", {}).get("blend"):  # of an inference kernel
        with suppress(RunError):
            facts = _facts_for_ledger(runs / applied, read_json(runs / applied / "blend.json"))
    if pushed:
        facts |= {"commit": pushed.get("commit"), "config_hash": pushed.get("config_digest")}
    upload = KernelOutput(slug, kernel, file_name, digest_of_output(kernel, file_name), facts)
    return _send_once(upload, message, console or Console(quiet=True), force, wait)


def _send_once(upload: Upload, message: str, console: Console, force: bool, wait: bool) -> Row:
    from podium.kaggle.client import sign_in

    check_for_secrets({"the message": message}, ())
    ledger = Ledger()
    if not force:
        for row in ledger.rows(upload.slug):
            if row.digest == upload.digest[:12] and row.status in ("complete", "error"):
                raise _already_submitted(row, upload.name)
    kaggle = sign_in()
    with ledger.sending() as has_lock:
        if not has_lock:
            holder = ledger.sending_process() or "another process"
            raise SubmissionError(f"{holder} is sending a submission; wait for it, then run the same command again")
        sender = _Sender(kaggle, ledger, upload, console, force)
        row = sender.find_sent() or sender.send(message)
    return _wait_for_score(kaggle, ledger, row, console) if wait else row


@dataclass(frozen=True)
class _Sender:
    kaggle: "Kaggle"
    ledger: Ledger
    upload: Upload
    console: Console
    force: bool

    def find_sent(self) -> Row | None:
        """An earlier submission of this upload that was interrupted, or has no score yet."""
        digest = self.upload.digest[:12]
        before = {row["marker"]: row.status for row in self.ledger.rows(self.upload.slug) if row.digest == digest}
        submissions = self.kaggle.submissions(self.upload.slug)
        interrupted = {marker for marker, status in before.items() if status == "uploading"}
        for seconds in SEARCH_DELAYS[1:]:  # Kaggle may list a submission that was being sent somewhat later
            if interrupted <= {marker_in(found.description) for found in submissions}:
                break
            pause(seconds)
            submissions = self.kaggle.submissions(self.upload.slug)
        rows = self.ledger.update(self.upload.slug, submissions, lambda row: row.digest == digest)
        sent = [row for row in rows if row.digest == digest and row.status != "failed"]
        for row in reversed(sent):
            if row.status == "pending" or before.get(row["marker"]) in ("uploading", "pending", "failed"):
                date = f"{row.time:%Y-%m-%d %H:%M} UTC"
                self.console.print(f"{self.upload.name}: already sent on {date} as {row['ref']}; not sent again")
                return row
        if sent and not self.force:
            raise _already_submitted(sent[-1], self.upload.name)
        return None

    def send(self, message: str) -> Row:
        upload, ledger = self.upload, self.ledger
        upload.check_at_kaggle(self.kaggle, self.force)
        allowance = self.kaggle.allowance(upload.slug)
        if not self.force:
            self._check_allowance(allowance)
        marker = marker_for(upload.digest, [row["marker"] for row in ledger.rows(upload.slug)])
        row = Row.of(
            time=datetime.now(UTC),
            competition=upload.slug,
            message=message,
            marker=marker,
            status="uploading",
            **upload.cells(),
        )
        ledger.add(row)
        try:
            with _spinner(self.console, f"sending {upload.name}"):
                ref = upload.send(self.kaggle, description_with(message, marker))
        except UnreachableError as error:
            row = self._find_lost(row, error)
        except KaggleError as error:
            found = None
            with suppress(KaggleError):  # an unexpected response is not always a refusal
                found = self._find(row)
            if found is None:
                ledger.change(row, status="failed", error=str(error))
                raise
            row = ledger.change(row, **updates_from(found))
        else:
            row = ledger.change(row, ref=ref, status="pending")
        today, limit = allowance.used_today + 1, allowance.used_today + allowance.left_today
        count = "" if allowance.is_unknown else f", {today} of {limit} today"
        self.console.print(f"{upload.name}: sent to {upload.slug} as {row['ref']}{count}")
        return row

    def _check_allowance(self, allowance: "Allowance") -> None:
        if allowance.is_unknown:
            self.kaggle.check_joined(self.upload.slug)
        elif allowance.left_today <= 0:
            raise _daily_limit_reached(allowance.used_today)

    def _find_lost(self, row: Row, error: UnreachableError) -> Row:
        """Look for a submission whose response was lost."""
        for seconds in SEARCH_DELAYS:
            pause(seconds)
            try:
                found = self._find(row)
            except KaggleError as second:
                raise UnreachableError(
                    f"{self.upload.name}: Kaggle's response was lost, and it is unknown whether it has the submission"
                    f" ({second}); run the same command again: it checks this first and does not submit twice"
                ) from error
            if found is not None:
                return self.ledger.change(row, **updates_from(found))
        self.ledger.change(row, status="failed", error=NEVER_SENT)
        raise UnreachableError(
            f"{self.upload.name} was not submitted: the connection failed before it reached Kaggle; run the same"
            f" command again ({error})"
        ) from error

    def _find(self, row: Row) -> Submission | None:
        submissions = self.kaggle.submissions(row["competition"])
        return next((found for found in submissions if marker_in(found.description) == row["marker"]), None)


def _already_submitted(row: Row, name: str) -> SubmissionError:
    result = f"public score {row.public_score:.5f}" if row.public_score is not None else "no score"
    if row.status == "error":
        result = f"Kaggle could not score it ({row['error'] or 'without a reason'})"
    elsewhere = "" if row["sha256"] or row["kernel"] else ", from elsewhere,"
    return SubmissionError(
        f"{name} was already submitted on {row.time:%Y-%m-%d %H:%M} UTC{elsewhere} as {row['ref']}: {result}; --force"
        " sends it again and uses one of the day's submissions"
    )


def _daily_limit_reached(used: int) -> SubmissionError:
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    left = format_duration(max(60, (midnight - now).total_seconds() // 60 * 60))
    return SubmissionError(
        f"the daily limit of submissions is reached ({used} sent); run the same command after midnight UTC, in {left}"
    )


# Waiting for the score


def _wait_for_score(kaggle: "Kaggle", ledger: Ledger, row: Row, console: Console) -> Row:
    assert row.ref is not None
    if row.status == "pending":
        try:
            submission = _poll(kaggle, row.ref, console, f"waiting for the score of {row['file']}")
        except KaggleError as error:
            raise type(error)(
                f"{row['file']} was submitted as {row['ref']}, but its score is not known yet ({error}); run the same"
                " command again, or podium board --sync; it is not sent again"
            ) from error
        row = ledger.change(row, **updates_from(submission))
    if row.status == "error":
        raise SubmissionError(
            f"Kaggle could not score {row['file']} ({row['error'] or 'without a reason'}); compare it with the"
            " competition's requirements, and submit another file"
        )
    return row


def _poll(kaggle: "Kaggle", ref: int, console: Console, what: str) -> Submission:
    waited = printed_at = 0.0
    if not console.is_terminal:
        console.print(what)
    with _spinner(console, what):
        for seconds in chain(POLL_DELAYS, repeat(POLL_DELAYS[-1])):
            submission = kaggle.submission(ref)
            if submission.status != "pending":
                return submission
            pause(seconds)
            waited += seconds
            if not console.is_terminal and waited - printed_at >= SECONDS_BETWEEN_LINES:
                printed_at = waited
                console.print(f"{what}: {format_duration(waited)} so far")
    raise AssertionError("the loop has no end")


@contextmanager
def _spinner(console: Console, what: str) -> Iterator[None]:
    with console.status(what) if console.is_terminal else nullcontext():
        yield


def score_line(row: Row) -> str:
    """The scores of a submission, with the cross-validation score."""
    public = "no public score" if row.public_score is None else f"public score {row.public_score:.5f}"
    private = "" if row.private_score is None else f", private score {row.private_score:.5f}"
    own = f"; cross-validation {format_score(row)}" if row.cross_validation is not None else ""
    return f"{row['file']}: {public}{private}{own}"
