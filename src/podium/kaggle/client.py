"""Every call that podium makes to Kaggle, through the official client's typed requests."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from podium.config.kaggle_names import KernelRef
from podium.errors import ForbiddenError, KaggleError, NotFoundError
from podium.kaggle import reading
from podium.kaggle.answers import (
    Allowance,
    CompetitionFacts,
    DataFile,
    KernelSource,
    KernelStatus,
    OutputFile,
    Place,
    Pushed,
    Quota,
)
from podium.kaggle.connection import check_address, connect, plain_session
from podium.kaggle.transfers import fetch, from_address
from podium.retries import patiently, pause
from podium.submission.submission import Submission

PAGE = 100
Item = TypeVar("Item")
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
        return patiently("the GPU quota", lambda: reading.quota(self._kernels.get_accelerator_quota_statistics()))

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
        what, ref = f"pushing {metadata['id']}", KernelRef.parse(metadata["id"])
        return patiently(what, lambda: reading.pushed(self._kernels.save_kernel(request), ref, what), once=True)

    def kernel_status(self, ref: KernelRef) -> KernelStatus:
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelSessionStatusRequest

        request = _named(ApiGetKernelSessionStatusRequest(), ref)
        return patiently(
            f"the status of {ref}", lambda: reading.status(self._kernels.get_kernel_session_status(request))
        )

    def kernel_source(self, ref: KernelRef) -> KernelSource | None:
        """Of the newest version; None where there is no such kernel."""
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

        request = _named(ApiGetKernelRequest(), ref)
        try:
            return patiently(f"looking for {ref}", lambda: reading.source(self._kernels.get_kernel(request)))
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
        named = _named(ApiListKernelSessionOutputRequest(), ref)
        addresses = self._pages(what, named, self._kernels.list_kernel_session_output, reading.addresses)
        named = _named(ApiListKernelFilesRequest(), ref)
        sizes = dict(self._pages(what, named, self._kernels.list_kernel_files, reading.sizes))
        return [OutputFile(name, url, sizes.get(name)) for name, url in addresses]

    def log(self, ref: KernelRef) -> Iterator[str]:
        from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

        request = _named(ApiListKernelSessionOutputRequest(), ref)
        yield from patiently(
            f"the log of {ref}",
            lambda: reading.lines(reading.text(self._kernels.list_kernel_session_output(request).log)),
        )

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
                    yield from reading.lines(answer.text)
                    yield None
                    return
                for raw in answer.iter_lines():
                    told = raw.decode("utf-8", "replace")
                    if not told.startswith("data:"):
                        continue
                    told = told.removeprefix("data:").strip()
                    if told == _END_OF_LOG:
                        yield None
                        return
                    # What begins as an event and is none was cut.
                    yield from reading.lines_of_event(json.loads(told) if told.startswith("{") else told)
        except (requests.RequestException, ValueError):  # broken off: whoever follows asks again
            return

    def fetch(self, file: OutputFile, path: Path, progress: Callable[[int], None] = lambda done: None) -> None:
        fetch(from_address(self._plain, file.url), path, file.size, progress)

    # Competitions

    def competition(self, slug: str) -> CompetitionFacts:
        from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

        request = ApiGetCompetitionRequest()
        request.competition_name = slug
        return patiently(
            f"the competition {slug}", lambda: reading.competition(self._competitions.get_competition(request), slug)
        )

    def submissions(self, slug: str) -> list[Submission]:
        from kagglesdk.competitions.types.competition_api_service import ApiListSubmissionsRequest

        request = ApiListSubmissionsRequest()
        request.competition_name = slug
        return self._pages(
            f"the submissions to {slug}", request, self._competitions.list_submissions, reading.submissions
        )

    def submission(self, ref: int) -> Submission:
        from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionRequest

        request = ApiGetSubmissionRequest()
        request.ref = ref
        return patiently(f"submission {ref}", lambda: reading.submission(self._competitions.get_submission(request)))

    def allowance(self, slug: str) -> Allowance:
        from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionLimitsRequest

        request = ApiGetSubmissionLimitsRequest()
        request.competition_name = slug
        return patiently(
            f"today's allowance at {slug}",
            lambda: reading.allowance(self._competitions.get_submission_limits(request)),
        )

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
            token, address = reading.text(begun.token), reading.text(begun.create_url)
            if not token or not address:
                raise ValueError("no place to upload to")
            with file.open("rb") as content:
                answer = self._plain.put(check_address(address), data=content)
            answer.raise_for_status()
            if answer.status_code not in (200, 201):  # 308 says that not all of it has come
                raise ValueError(f"status {answer.status_code} is not that of a whole upload")
            return token

        create = ApiCreateSubmissionRequest()
        create.competition_name, create.submission_description = slug, description
        create.blob_file_tokens = patiently(f"uploading {file.name}", upload)
        return patiently(
            f"submitting {file.name}",
            lambda: reading.submitted(self._competitions.create_submission(create)),
            once=True,
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
        return patiently(what, lambda: reading.submitted(self._competitions.create_code_submission(request)), once=True)

    def leaderboard(self, slug: str) -> list[Place]:
        from kagglesdk.competitions.types.competition_api_service import ApiGetLeaderboardRequest

        request = ApiGetLeaderboardRequest()
        request.competition_name = slug
        return self._pages(f"the leaderboard of {slug}", request, self._competitions.get_leaderboard, reading.places)

    def data_files(self, slug: str) -> list[DataFile]:
        from kagglesdk.competitions.types.competition_api_service import ApiListDataFilesRequest

        request = ApiListDataFilesRequest()
        request.competition_name = slug
        return self._pages(f"the files of {slug}", request, self._competitions.list_data_files, reading.data_files)

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

    def _pages(
        self, what: str, request: Any, ask: Callable[[Any], Any], read: Callable[[Any], list[Item]]
    ) -> list[Item]:
        request.page_size = PAGE

        def one_page() -> tuple[list[Item], str]:
            page = ask(request)
            return read(page), reading.text(page.next_page_token)

        found: list[Item] = []
        tokens: set[str] = set()
        while True:
            items, token = patiently(what, one_page)
            found += items
            if not token:
                return found
            if token in tokens:
                raise KaggleError(f"{what}: Kaggle's pages go in a circle; try again later")
            tokens.add(token)
            request.page_token = token


def _named(request: Any, ref: KernelRef) -> Any:
    request.user_name, request.kernel_slug = ref.owner, ref.slug
    if ref.version is not None:
        request.version_label = f"v{ref.version}"  # the bare number is unknown to Kaggle
    return request
