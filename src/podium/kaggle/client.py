"""Every call that podium makes to Kaggle, through the official client's typed requests."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from podium.errors import ForbiddenError, KaggleError, NotFoundError
from podium.kaggle.answers import (
    Allowance,
    CompetitionFacts,
    DataFile,
    KernelSource,
    KernelState,
    KernelStatus,
    OutputFile,
    Place,
    Pushed,
    Quota,
    Submission,
    SubmissionState,
)
from podium.kaggle.connection import check_address, connect, plain_session
from podium.kaggle.names import KernelRef
from podium.kaggle.retries import Answer, patiently, pause
from podium.kaggle.transfers import fetch, from_address

PAGE = 100
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
_END_OF_LOG = "END_OF_LOG"


def sign_in() -> "Kaggle":
    client, user = connect()
    return Kaggle(client, user)


class Kaggle:
    """Kaggle, signed in to. A call that cannot be answered raises a KaggleError of one line."""

    def __init__(self, client: Any, user: str) -> None:
        self._client, self.user = client, user
        self._kernels = client.kernels.kernels_api_client
        self._competitions = client.competitions.competition_api_client
        self._plain = plain_session()

    # Kernels

    def gpu_quota(self) -> Quota | None:
        answer = patiently("the GPU quota", self._kernels.get_accelerator_quota_statistics)
        quota = answer.gpu_quota
        if quota is None:
            return None
        return Quota(
            hours_used=_hours(quota.time_used),
            hours_reserved=_hours(quota.time_reserved),
            hours_allowed=_hours(quota.total_time_allowed),
            refreshes=answer.quota_refresh_time,
        )

    def push(self, metadata: Mapping[str, Any], source: str, timeout_seconds: int | None = None) -> Pushed:
        from kagglesdk.kernels.types.kernels_api_service import ApiSaveKernelRequest

        request = ApiSaveKernelRequest()
        request.slug, request.new_title, request.text = metadata["id"], metadata["title"], source
        request.language, request.kernel_type = metadata["language"], metadata["kernel_type"]
        request.is_private = metadata["is_private"]
        request.enable_gpu, request.enable_tpu = metadata["enable_gpu"], metadata["enable_tpu"]
        request.enable_internet = metadata["enable_internet"]
        request.machine_shape = metadata["machine_shape"]
        request.category_ids = metadata.get("keywords") or []
        request.dataset_data_sources = metadata["dataset_sources"]
        request.competition_data_sources = metadata["competition_sources"]
        request.kernel_data_sources = metadata["kernel_sources"]
        request.model_data_sources = metadata["model_sources"]
        for key in ("docker_image", "docker_image_pinning_type"):
            if metadata.get(key):
                setattr(request, key, metadata[key])
        if timeout_seconds:
            request.session_timeout_seconds = timeout_seconds
        what = f"pushing {metadata['id']}"
        answer = patiently(what, lambda: _pushed(self._kernels.save_kernel(request)), once=True)
        return _checked_push(answer, KernelRef.parse(metadata["id"]), what)

    def kernel_status(self, ref: KernelRef) -> KernelStatus:
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelSessionStatusRequest

        request = _named(ApiGetKernelSessionStatusRequest(), ref)
        answer = patiently(f"the status of {ref}", lambda: self._kernels.get_kernel_session_status(request))
        return KernelStatus(_STATES[answer.status.name], answer.failure_message or "")

    def kernel_source(self, ref: KernelRef) -> KernelSource | None:
        """Of the newest version; None where there is no such kernel."""
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

        request = _named(ApiGetKernelRequest(), ref)

        def ask() -> KernelSource:
            answer = self._kernels.get_kernel(request)
            return KernelSource(answer.metadata.current_version_number or 0, answer.blob.source or "")

        try:
            return patiently(f"looking for {ref}", ask)
        except NotFoundError:
            return None
        except ForbiddenError:  # so Kaggle answers for a name of one's own that no kernel has
            if ref.owner.lower() == self.user.lower():
                return None
            raise

    def output_files(self, ref: KernelRef) -> list[OutputFile]:
        from kagglesdk.kernels.types.kernels_api_service import (
            ApiListKernelFilesRequest,
            ApiListKernelSessionOutputRequest,
        )

        what = f"the outputs of {ref}"
        outputs = self._pages(
            what, _named(ApiListKernelSessionOutputRequest(), ref), self._kernels.list_kernel_session_output
        )
        listed = self._pages(what, _named(ApiListKernelFilesRequest(), ref), self._kernels.list_kernel_files)
        sizes = {item.name: item.size for page in listed for item in page.files or []}
        return [
            OutputFile(one.file_name, one.url, sizes.get(one.file_name)) for page in outputs for one in page.files or []
        ]

    def log(self, ref: KernelRef) -> Iterator[str]:
        from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

        request = _named(ApiListKernelSessionOutputRequest(), ref)
        answer = patiently(f"the log of {ref}", lambda: self._kernels.list_kernel_session_output(request))
        yield from _lines(_events(answer.log or ""))

    def follow_log(self, ref: KernelRef) -> Iterator[str]:
        """Line by line until the session ends. After a broken connection Kaggle begins anew; what was told is not
        told again."""
        told = 0
        while self.kernel_status(ref).state == "queued":
            pause(15)
        while True:
            is_whole = False
            for number, line in enumerate(self._stream(ref)):
                if line is None:
                    is_whole = True
                elif number >= told:
                    told += 1
                    yield line
            if is_whole or self.kernel_status(ref).is_over:
                break
            pause(5)
        yield from list(self.log(ref))[told:]

    def _stream(self, ref: KernelRef) -> Iterator[str | None]:
        """The lines there are, and None at the log's true end."""
        import requests
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelSessionLogsStreamRequest

        request = _named(ApiGetKernelSessionLogsStreamRequest(), ref)
        try:
            with patiently(
                f"the log of {ref}", lambda: self._kernels.get_kernel_session_logs_stream(request)
            ) as answer:
                if "text/event-stream" not in answer.headers.get("Content-Type", ""):
                    yield from _lines(_events(answer.text))
                    yield None
                    return
                for raw in answer.iter_lines():
                    text = raw.decode("utf-8", "replace")
                    if not text.startswith("data:"):
                        continue
                    text = text.removeprefix("data:").strip()
                    if text == _END_OF_LOG:
                        yield None
                        return
                    yield from _lines(_events(f"[{text}]"))
        except requests.RequestException:  # broken off: whoever follows asks again
            return

    def fetch(self, file: OutputFile, path: Path, progress: Callable[[int], None] = lambda done: None) -> None:
        fetch(from_address(self._plain, file.url), path, file.size, progress)

    # Competitions

    def competition(self, slug: str) -> CompetitionFacts:
        from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

        request = ApiGetCompetitionRequest()
        request.competition_name = slug
        one = patiently(f"the competition {slug}", lambda: self._competitions.get_competition(request))
        return CompetitionFacts(
            slug, one.title, bool(one.is_kernels_submissions_only), bool(one.user_has_entered), one.user_rank or None,
            one.team_count or 0, one.max_daily_submissions or 0, one.evaluation_metric or "", one.deadline,
        )  # fmt: skip

    def submissions(self, slug: str) -> list[Submission]:
        from kagglesdk.competitions.types.competition_api_service import ApiListSubmissionsRequest

        request = ApiListSubmissionsRequest()
        request.competition_name = slug
        pages = self._pages(f"the submissions to {slug}", request, self._competitions.list_submissions)
        return [_submission(one) for page in pages for one in page.submissions or []]

    def submission(self, ref: int) -> Submission:
        from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionRequest

        request = ApiGetSubmissionRequest()
        request.ref = ref
        return patiently(f"submission {ref}", lambda: _submission(self._competitions.get_submission(request)))

    def allowance(self, slug: str) -> Allowance:
        from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionLimitsRequest

        request = ApiGetSubmissionLimitsRequest()
        request.competition_name = slug
        answer = patiently(f"today's allowance at {slug}", lambda: self._competitions.get_submission_limits(request))
        return Allowance(answer.num_today or 0, answer.num_allowed_now or 0)

    def submit(self, slug: str, file: Path, description: str) -> int:
        from kagglesdk.competitions.types.competition_api_service import (
            ApiCreateSubmissionRequest,
            ApiStartSubmissionUploadRequest,
        )

        facts = file.stat()
        start = ApiStartSubmissionUploadRequest()
        start.competition_name, start.file_name = slug, file.name
        start.content_length, start.last_modified_epoch_seconds = facts.st_size, int(facts.st_mtime)

        def upload() -> str:
            begun = self._competitions.start_submission_upload(start)
            if not begun.token or not begun.create_url:
                raise ValueError("no place to upload to")
            with file.open("rb") as content:
                self._plain.put(check_address(begun.create_url), data=content).raise_for_status()
            return str(begun.token)

        create = ApiCreateSubmissionRequest()
        create.competition_name, create.submission_description = slug, description
        create.blob_file_tokens = patiently(f"uploading {file.name}", upload)
        return patiently(
            f"submitting {file.name}", lambda: _ref(self._competitions.create_submission(create)), once=True
        )

    def submit_code(self, slug: str, kernel: KernelRef, file_name: str, description: str) -> int:
        from kagglesdk.competitions.types.competition_api_service import ApiCreateCodeSubmissionRequest

        request = ApiCreateCodeSubmissionRequest()
        request.competition_name, request.submission_description = slug, description
        request.kernel_owner, request.kernel_slug = kernel.owner, kernel.slug
        request.file_name = file_name
        if kernel.version:
            request.kernel_version = kernel.version
        what = f"submitting {file_name} of {kernel}"
        return patiently(what, lambda: _ref(self._competitions.create_code_submission(request)), once=True)

    def leaderboard(self, slug: str) -> list[Place]:
        from kagglesdk.competitions.types.competition_api_service import ApiGetLeaderboardRequest

        request = ApiGetLeaderboardRequest()
        request.competition_name = slug
        pages = self._pages(f"the leaderboard of {slug}", request, self._competitions.get_leaderboard)
        return [Place(one.team_name, _score(one.score)) for page in pages for one in page.submissions or []]

    def data_files(self, slug: str) -> list[DataFile]:
        from kagglesdk.competitions.types.competition_api_service import ApiListDataFilesRequest

        request = ApiListDataFilesRequest()
        request.competition_name = slug
        pages = self._pages(f"the files of {slug}", request, self._competitions.list_data_files)
        return [DataFile(one.name, one.total_bytes or 0) for page in pages for one in page.files or []]

    def download_data(self, slug: str, path: Path, progress: Callable[[int], None] = lambda done: None) -> None:
        from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

        request = ApiDownloadDataFilesRequest()
        request.competition_name = slug

        def opened(headers: dict[str, str]) -> Any:
            # The first answer leads to a signed address; only there the file may be asked for in part.
            with self._competitions.download_data_files(request) as answer:
                address = answer.url
            return self._plain.get(check_address(address), headers=headers, stream=True)

        fetch(opened, path, None, progress)

    def _pages(self, what: str, request: Any, ask: Callable[[Any], Answer]) -> list[Answer]:
        request.page_size = PAGE
        pages: list[Answer] = []
        tokens: set[str] = set()
        while True:
            page = patiently(what, lambda: ask(request))
            pages.append(page)
            token = getattr(page, "next_page_token", "") or ""
            if not token:
                return pages
            if token in tokens:
                raise KaggleError(f"{what}: Kaggle's pages go in a circle; try again later")
            tokens.add(token)
            request.page_token = token


def _hours(duration: Any) -> float:
    return duration.total_seconds() / 3600 if duration else 0.0


def _named(request: Any, ref: KernelRef) -> Any:
    request.user_name, request.kernel_slug = ref.owner, ref.slug
    if ref.version is not None:
        request.version_label = f"v{ref.version}"  # the bare number is unknown to Kaggle
    return request


def _pushed(answer: Any) -> Any:
    if not (answer.error or answer.version_number):
        raise ValueError("neither a version nor an error")
    return answer


def _checked_push(answer: Any, asked: KernelRef, what: str) -> Pushed:
    """All that the answer says: what the client prints at most is a failure here."""
    faults = [f"{answer.error}"] if answer.error else []
    for kind in ("dataset", "competition", "kernel", "model"):
        unknown = getattr(answer, f"invalid_{kind}_sources")
        faults += [f"no {kind} {', '.join(unknown)} that you may attach"] if unknown else []
    faults += [f"no tags {', '.join(answer.invalid_tags)}"] if answer.invalid_tags else []
    named = KernelRef.parse(str(answer.ref or asked.name).removeprefix("/code/").strip("/"))
    if not faults and named.name.lower() != asked.name.lower():
        faults.append(f"it is called {named.name} there")
    if faults:
        exists = (
            f"; version {answer.version_number} exists nevertheless, without them: cancel it"
            if answer.version_number
            else ""
        )
        raise KaggleError(f"{what}: Kaggle says {'; '.join(faults)}{exists}")
    return Pushed(asked.at(answer.version_number), answer.url or f"https://www.kaggle.com/code/{asked.name}")


def _ref(answer: Any) -> int:
    if not answer.ref:
        raise KaggleError(f"Kaggle did not take the submission: {answer.message or 'it gives no reason'}")
    return int(answer.ref)


def _submission(one: Any) -> Submission:
    return Submission(
        one.ref, one.file_name or "", one.date, one.description or "", _SUBMITTED[one.status.name],
        _score(one.public_score), _score(one.private_score), one.error_description or "",
    )  # fmt: skip


def _score(text: Any) -> float | None:
    with suppress(TypeError, ValueError):
        return float(text)
    return None


def _events(text: str) -> list[Any]:
    """A log as Kaggle keeps it, or plain text."""
    try:
        events = json.loads(text)
    except ValueError:
        return [{"data": line} for line in text.splitlines()]
    return events if isinstance(events, list) else [events]


def _lines(events: list[Any]) -> Iterator[str]:
    for event in events:
        data = event.get("data", "") if isinstance(event, dict) else str(event)
        yield from str(data).rstrip("\n").split("\n")
