"""Competitions: their data, submissions and leaderboard, and the part of the service that speaks of them."""

import csv
import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kagglesdk.competitions.types.competition_api_service import (
    ApiCompetition,
    ApiCreateCodeSubmissionRequest,
    ApiCreateCodeSubmissionResponse,
    ApiCreateSubmissionRequest,
    ApiCreateSubmissionResponse,
    ApiDataFile,
    ApiDownloadDataFilesRequest,
    ApiGetCompetitionRequest,
    ApiGetLeaderboardRequest,
    ApiGetLeaderboardResponse,
    ApiGetSubmissionLimitsRequest,
    ApiGetSubmissionRequest,
    ApiLeaderboardSubmission,
    ApiListCompetitionsRequest,
    ApiListCompetitionsResponse,
    ApiListDataFilesRequest,
    ApiListDataFilesResponse,
    ApiListSubmissionsRequest,
    ApiListSubmissionsResponse,
    ApiStartSubmissionUploadRequest,
    ApiStartSubmissionUploadResponse,
    ApiSubmission,
    ApiSubmissionLimits,
)
from kagglesdk.competitions.types.submission_status import SubmissionStatus
from standin.replies import Refusal, Reply, bytes_reply, redirect_reply

if TYPE_CHECKING:
    from standin.service import StandIn

_RULES = "You must accept this competition's rules before you'll be able to download files or to submit."
_STATUS = {
    "pending": SubmissionStatus.PENDING,
    "complete": SubmissionStatus.COMPLETE,
    "error": SubmissionStatus.ERROR,
}


Score = float | tuple[float, float]
Scorer = Callable[[bytes], Score]
"""Gives the public score, or the public and the private one."""


@dataclass(eq=False)
class Submission:
    """Scored at once; the score is shown after `pending_requests` more requests."""

    ref: int
    competition: str
    user: str
    file_name: str
    content: bytes = field(repr=False)
    date: datetime
    description: str
    public: float | None = None
    private: float | None = None
    error: str = ""
    pending_requests: int = 0
    kernel: str = ""
    """Of a code submission: the version that made the file."""

    @property
    def outcome(self) -> Literal["complete", "error"]:
        return "error" if self.error else "complete"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(eq=False)
class Upload:
    """A file for a submission. `is_used` once it was submitted: its token is good for one submission."""

    token: str
    slug: str
    file_name: str
    size: int
    content: bytes | None = field(default=None, repr=False)
    is_used: bool = False

    def put(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        if len(body) != self.size:
            return bytes_reply(f"Expected {self.size} bytes, got {len(body)}".encode(), "text/plain", 400)
        self.content = body
        return bytes_reply(b"{}", status=201)


@dataclass(eq=False)
class Competition:
    """`data` is a folder, or the content of every file. `others` are the other teams' scores."""

    slug: str
    title: str
    id: int
    data: Path | Mapping[str, bytes] = field(repr=False)
    score: Scorer = field(repr=False)
    daily: int = 5
    code_only: bool = False
    rules_accepted: bool = True
    pending: int = 0
    metric: str = "Categorization Accuracy"
    higher_is_better: bool = True
    shows_private: bool = False
    others: dict[str, float] = field(default_factory=dict)
    deadline: datetime | None = None
    submissions: list[Submission] = field(default_factory=list)

    def files(self) -> dict[str, bytes | Path]:
        if not isinstance(self.data, Path):
            return dict(sorted(self.data.items()))
        paths = {path.relative_to(self.data).as_posix(): path for path in self.data.rglob("*") if path.is_file()}
        return dict(sorted(paths.items()))

    def zipped(self, path: Path) -> Path:
        """All files as one zip, always the same bytes."""
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in self.files().items():
                entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
                archive.writestr(entry, content if isinstance(content, bytes) else content.read_bytes())
        return path

    def best_of(self, user: str) -> float | None:
        own = [made for made in self.submissions if made.user == user and made.pending_requests <= 0]
        scores = [made.public for made in own if made.public is not None]
        return (max if self.higher_is_better else min)(scores, default=None)

    def board(self, user: str) -> list[tuple[str, float]]:
        """Teams and their scores, the best one first."""
        mine = self.best_of(user)
        teams = dict(self.others) | ({} if mine is None else {user: mine})
        return sorted(teams.items(), key=lambda row: row[1], reverse=self.higher_is_better)


class Competitions:
    """The methods of competitions.CompetitionApiService. The caller holds the stand-in's lock."""

    def __init__(self, service: "StandIn") -> None:
        self._service = service

    def _open(self, slug: str) -> Competition:
        """The competition, where its rules are accepted."""
        competition = self._any(slug)
        if not competition.rules_accepted:
            raise Refusal(403, _RULES)
        return competition

    def _visible(self, slug: str) -> Competition:
        """The competition, also if the user has not joined it where the service is so lenient."""
        return self._any(slug) if self._service.reported.zero_limits else self._open(slug)

    def _any(self, slug: str) -> Competition:
        competition = self._service.competitions.get(slug)
        if competition is None:
            raise self._service.unknown("competitions.get", f"Competition {slug!r} was not found")
        return competition

    def get_competition(self, request: ApiGetCompetitionRequest) -> ApiCompetition:
        competition = self._any(request.competition_name)
        teams = [team for team, _ in competition.board(self._service.user)]
        answer = ApiCompetition()
        answer.id, answer.title = competition.id, competition.title
        answer.ref = answer.url = f"https://www.kaggle.com/competitions/{competition.slug}"
        answer.user_has_entered, answer.is_kernels_submissions_only = competition.rules_accepted, competition.code_only
        answer.max_daily_submissions, answer.evaluation_metric = competition.daily, competition.metric
        answer.team_count, answer.deadline = len(teams), competition.deadline
        if self._service.user in teams:
            answer.user_rank = teams.index(self._service.user) + 1
        return answer

    def list_competitions(self, request: ApiListCompetitionsRequest) -> ApiListCompetitionsResponse:
        """Those that the user has entered."""
        entered = [competition for competition in self._service.competitions.values() if competition.rules_accepted]
        answer, answer.competitions = ApiListCompetitionsResponse(), []
        shown, token = self._service.page(entered, request, "competitions")
        answer.next_page_token = token or ""
        for competition in shown:
            item = ApiCompetition()
            item.id, item.title = competition.id, competition.title
            item.ref = item.url = f"https://www.kaggle.com/competitions/{competition.slug}"
            answer.competitions.append(item)
        return answer

    def list_data_files(self, request: ApiListDataFilesRequest) -> ApiListDataFilesResponse:
        competition = self._open(request.competition_name)
        answer = ApiListDataFilesResponse()
        files = list(competition.files().items())[: self._service.reported.listed_files]
        shown, answer.next_page_token = self._service.page(files, request, f"data {competition.slug}")
        answer.files = []
        for name, content in shown:
            file = ApiDataFile()
            file.ref = file.name = name
            file.total_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
            file.creation_date = datetime(2026, 1, 1)
            answer.files.append(file)
        return answer

    def download_data_files(self, request: ApiDownloadDataFilesRequest) -> Reply:
        competition = self._open(request.competition_name)
        return redirect_reply(self._service.sign(f"/data/{competition.slug}/archive.zip"))

    def start_submission_upload(self, request: ApiStartSubmissionUploadRequest) -> ApiStartSubmissionUploadResponse:
        competition = self._open(request.competition_name or "")
        answer = ApiStartSubmissionUploadResponse()
        token = f"upload-{len(self._service.uploads) + 1}"
        upload = Upload(token, competition.slug, request.file_name, request.content_length)
        self._service.uploads[token] = upload
        answer.token, answer.create_url = upload.token, self._service.sign(f"/upload/{upload.token}")
        return answer

    def create_submission(self, request: ApiCreateSubmissionRequest) -> ApiCreateSubmissionResponse:
        competition = self._open(request.competition_name)
        upload = self._service.uploads.get(request.blob_file_tokens)
        if upload is None or upload.slug != competition.slug:
            raise Refusal(404, "The uploaded file was not found")
        if upload.is_used:
            raise Refusal(400, "The uploaded file was submitted already")
        if upload.content is None:
            raise Refusal(400, "The upload of the file was not finished")
        if competition.code_only:
            raise Refusal(400, "Submission not allowed: This competition only accepts Submissions from Notebooks.")
        self._check_allowance(competition)
        upload.is_used = True
        made = self.add(competition, upload.file_name, upload.content, request.submission_description or "")
        answer = ApiCreateSubmissionResponse()
        answer.ref, answer.message = made.ref, f"Successfully submitted to {competition.title}"
        return answer

    def create_code_submission(self, request: ApiCreateCodeSubmissionRequest) -> ApiCreateCodeSubmissionResponse:
        competition = self._open(request.competition_name)
        kernel = self._service.kernels.get((request.kernel_owner, request.kernel_slug))
        number = request.kernel_version or (kernel.newest.number if kernel else 0)
        version = next((version for version in kernel.versions if version.number == number), None) if kernel else None
        if version is None:
            raise Refusal(404, "The notebook version was not found")
        if version.state != "complete":
            raise Refusal(400, "Submission not allowed: The notebook version has not completed successfully.")
        if request.file_name not in version.files:
            raise Refusal(400, f"Submission not allowed: The notebook has no output file {request.file_name!r}.")
        self._check_allowance(competition)
        content, described = version.files[request.file_name], request.submission_description or ""
        made = self.add(competition, request.file_name, content, described)
        made.kernel = version.ref
        answer = ApiCreateCodeSubmissionResponse()
        answer.ref, answer.message = made.ref, f"Successfully submitted to {competition.title}"
        return answer

    def _check_allowance(self, competition: Competition) -> None:
        if self._today(competition) < competition.daily:
            return
        now = self._service.now()
        hours = 24 - (now - datetime.combine(now.date(), datetime.min.time())) // timedelta(hours=1)
        raise Refusal(
            400,
            f"Submission not allowed:  Your team has used its daily Submission allowance ({competition.daily}) today, "
            f"please try again tomorrow UTC ({hours} hours from now)",
        )

    def _today(self, competition: Competition) -> int:
        """Since midnight in UTC; submissions that could not be scored do not count."""
        user, today = self._service.user, self._service.now().date()
        return sum(
            made.user == user and made.date.date() == today and not made.error for made in competition.submissions
        )

    def add(self, competition: Competition, name: str, content: bytes, description: str) -> Submission:
        service = self._service
        made = Submission(service.new_id(), competition.slug, service.user, name, content, service.now(), description)
        made.pending_requests = competition.pending
        try:
            score = competition.score(content)
            made.public, made.private = score if isinstance(score, tuple) else (score, score)
        except ValueError as error:
            made.error = str(error)
        competition.submissions.append(made)
        return made

    def list_submissions(self, request: ApiListSubmissionsRequest) -> ApiListSubmissionsResponse:
        """Newest first."""
        competition = self._visible(request.competition_name)
        found = [made for made in reversed(competition.submissions) if made.user == self._service.user]
        answer = ApiListSubmissionsResponse()
        shown, token = self._service.page(found, request, f"submissions {competition.slug}")
        answer.submissions = [self._shown(submission) for submission in shown]
        answer.next_page_token = token or ""
        return answer

    def get_submission(self, request: ApiGetSubmissionRequest) -> ApiSubmission:
        every = [made for competition in self._service.competitions.values() for made in competition.submissions]
        found = next((made for made in every if made.ref == request.ref), None)
        if found is None:
            raise Refusal(404, "Not found")
        if found.user != self._service.user:
            raise Refusal(403, "Permission 'submissions.get' was denied")
        return self._shown(found)

    def _shown(self, submission: Submission) -> ApiSubmission:
        """The submission as this request sees it."""
        is_pending, submission.pending_requests = submission.pending_requests > 0, submission.pending_requests - 1
        answer = ApiSubmission()
        answer.ref, answer.file_name, answer.total_bytes = submission.ref, submission.file_name, len(submission.content)
        answer.date, answer.description = submission.date, submission.description
        answer.submitted_by = answer.team_name = answer.submitted_by_ref = submission.user
        answer.url = f"https://www.kaggle.com/submissions/{submission.ref}/{submission.ref}.raw"
        answer.status = _STATUS["pending" if is_pending else submission.outcome]
        if is_pending:
            return answer
        if submission.error:
            answer.error_description = submission.error
        elif submission.public is not None:
            answer.public_score = f"{submission.public:.5f}"
            shows = self._service.competitions[submission.competition].shows_private
            answer.private_score = f"{submission.private:.5f}" if shows and submission.private is not None else ""
        return answer

    def get_submission_limits(self, request: ApiGetSubmissionLimitsRequest) -> ApiSubmissionLimits:
        competition = self._visible(request.competition_name)
        answer = ApiSubmissionLimits()
        if not competition.rules_accepted:
            return answer
        answer.num_today = self._today(competition)
        answer.num_total = sum(made.user == self._service.user and not made.error for made in competition.submissions)
        answer.num_allowed_now = max(0, competition.daily - answer.num_today)
        return answer

    def get_leaderboard(self, request: ApiGetLeaderboardRequest) -> ApiGetLeaderboardResponse:
        competition = self._any(request.competition_name)
        board = competition.board(self._service.user)
        answer = ApiGetLeaderboardResponse()
        shown, token = self._service.page(board, request, f"board {competition.slug}")
        answer.submissions, answer.next_page_token = [], token or ""
        for team, score in shown:
            row = ApiLeaderboardSubmission()
            row.team_id, row.team_name, row.score = sum(team.encode()), team, f"{score:.5f}"
            row.submission_date = datetime(2026, 1, 1)
            answer.submissions.append(row)
        return answer


def accuracy_against(answers: Mapping[str, str], id_column: str = "Id", label_column: str = "Category") -> Scorer:
    """The share of right answers: three rows of ten, picked by their ids, are the public ones."""
    public = {name for name in answers if zlib.crc32(name.encode()) % 10 < 3} or set(answers)
    private = set(answers) - public or set(answers)

    def score(content: bytes) -> Score:
        given = _read(content, id_column, label_column)
        missing = sorted(set(answers) - set(given))
        if missing:
            raise ValueError(f"Submission must have {len(answers)} rows; the id {missing[0]} has none")
        unknown = sorted(set(given) - set(answers))
        if unknown:
            raise ValueError(f"The id {unknown[0]} is not one of the test's")
        right = {name for name, answer in answers.items() if given[name] == str(answer)}
        return len(right & public) / len(public), len(right & private) / len(private)

    return score


def _read(content: bytes, id_column: str, label_column: str) -> dict[str, str]:
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"The submission cannot be read as CSV: {error}") from None
    for column in (id_column, label_column):
        if not rows or column not in rows[0]:
            raise ValueError(f"The submission has no column {column}")
    given = {row[id_column]: row[label_column] for row in rows}
    if len(given) != len(rows):
        raise ValueError(f"The submission has {len(rows) - len(given)} ids twice")
    return given
