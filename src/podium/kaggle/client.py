"""Every request that podium sends to Kaggle, through the official client's typed services."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from podium.config.kaggle_names import KernelRef
from podium.errors import (
    CredentialsError,
    ForbiddenError,
    KaggleError,
    NotFoundError,
    RateLimitedError,
    UnreachableError,
)
from podium.files import parse_json
from podium.kaggle import responses
from podium.kaggle.connection import Connection, check_address, plain_session
from podium.kaggle.datasets import Datasets
from podium.kaggle.responses import Allowance, DataFile, KernelSource, KernelStatus, OutputFile, Place, Pushed, Quota
from podium.kaggle.service import Service, call
from podium.kaggle.transfers import Progress, download
from podium.kaggle.uploads import check_uploaded
from podium.retries import CALL_SECONDS, Deadline, notice, pause, with_retries
from podium.signals import run_interruptibly
from podium.submission.ledger import Submission

LARGEST_PAGE = 200
"""Of the files of a competition; where Kaggle allows less, it sends less."""
SLOWEST_UPLOAD = 10_000
"""Bytes per second."""
LOG_SECONDS = 15.0
"""Between two requests for a log that cannot be streamed."""
_END_OF_LOG = "END_OF_LOG"
_PUSHED_FIELDS = {
    "slug": "id",
    "new_title": "title",
    "category_ids": "keywords",
    "dataset_data_sources": "dataset_sources",
    "competition_data_sources": "competition_sources",
    "kernel_data_sources": "kernel_sources",
    "model_data_sources": "model_sources",
} | {
    name: name
    for name in (
        "language", "kernel_type", "is_private", "enable_gpu", "enable_tpu", "enable_internet", "machine_shape",
        "docker_image", "docker_image_pinning_type",
    )
}  # fmt: skip
"""Fields of the push request, and the keys of kernel-metadata.json that they come from."""


def sign_in() -> "Kaggle":
    return Kaggle(Connection())


class Kaggle:
    """A signed-in connection to Kaggle. A request that fails raises a KaggleError of one line."""

    def __init__(self, connection: Connection) -> None:
        self.user = connection.user
        self._kernels = Service(connection, "kernels.kernels_api_client", "kernels.types.kernels_api_service")
        self._competitions = Service(
            connection, "competitions.competition_api_client", "competitions.types.competition_api_service"
        )
        self._files = plain_session()
        self.datasets = Datasets(
            Service(connection, "datasets.dataset_api_client", "datasets.types.dataset_api_service").request,
            Service(connection, "blobs.blob_api_client", "blobs.types.blob_api_service").request,
            self._files,
        )
        self._printed: set[str] = set()

    # Kernels

    def gpu_quota(self) -> Quota | None:
        """None if Kaggle does not provide it: the quota is optional."""
        send = self._kernels.request("get_accelerator_quota_statistics")

        def parse(response: Any) -> Quota | None:
            return None if response.gpu_quota is None else Quota.model_validate(response)

        with self._optional("GPU hours are not checked"):
            return call("the GPU quota", send, parse)
        return None

    def push(self, metadata: Mapping[str, Any], source: str, timeout_seconds: int | None = None) -> Pushed:
        """Create a new version of a kernel; not retried if the response is lost."""
        fields = {field: metadata.get(key) for field, key in _PUSHED_FIELDS.items()}
        fields |= {"text": source, "session_timeout_seconds": timeout_seconds}
        what, ref = f"pushing {metadata['id']}", KernelRef.parse(metadata["id"])
        send = self._kernels.request("save_kernel", **fields)
        return call(what, send, lambda response: responses.parse_push(response, ref, what), once=True)

    def kernel_status(self, ref: KernelRef) -> KernelStatus:
        send = self._kernels.request("get_kernel_session_status", **_named(ref))
        with self._explain_kernel(ref):
            return call(f"the status of {ref}", send, KernelStatus.model_validate)

    def kernel_source(self, ref: KernelRef) -> KernelSource | None:
        """The newest version; None if there is no such kernel."""
        send = self._kernels.request("get_kernel", **_named(ref))
        try:
            return call(f"looking for {ref}", send, KernelSource.model_validate)
        except NotFoundError:
            return None
        except ForbiddenError:  # Kaggle's response if the user has no kernel with this name
            if self._is_own(ref):
                return None
            with self._explain_kernel(ref):
                raise

    def missing_kernel(self, ref: KernelRef, names: Sequence[str] | None = None) -> NotFoundError:
        """The error for a kernel that does not exist, with the most similar one of `names`, the user's kernels."""
        hint = _did_you_mean(ref.name, self._own_kernels() if names is None else names)
        if self._is_own(ref):
            return NotFoundError(f"there is no kernel {ref} on Kaggle: it was deleted, or never pushed{hint}")
        return NotFoundError(f"there is no kernel {ref} on Kaggle, or it is not yours{hint}")

    def _is_own(self, ref: KernelRef) -> bool:
        return ref.owner.lower() == self.user.lower()

    def _own_kernels(self) -> list[str]:
        from kagglesdk.kernels.types.kernels_enums import KernelsListViewType

        with suppress(KaggleError):  # only for messages
            group = KernelsListViewType.PROFILE
            return self._kernels.pages("your kernels", "list_kernels", responses.parse_kernel_names, group=group)
        return []

    @contextmanager
    def _explain_kernel(self, ref: KernelRef) -> Iterator[None]:
        """Kaggle responds with 403 if a kernel was deleted, or never existed: tell that from a missing permission."""
        try:
            yield
        except (ForbiddenError, NotFoundError) as error:
            names = self._own_kernels()
            if ref.name.lower() in map(str.lower, names) or (isinstance(error, NotFoundError) and not names):
                raise
            if self._is_own(ref):
                raise self.missing_kernel(ref, names) from error
            raise type(error)(f"{error}{_did_you_mean(ref.name, names)}") from error

    def output_files(self, ref: KernelRef) -> list[OutputFile]:
        """What Kaggle lists in either of its two lists: one has the URLs, the other the sizes."""
        what = f"the outputs of {ref}"
        with self._explain_kernel(ref):
            urls = dict(self._kernels.pages(what, "list_kernel_session_output", responses.parse_urls, **_named(ref)))
        sizes: dict[str, int | None] = {}
        with self._optional("downloads are shown without a total"):
            sizes |= self._kernels.pages(what, "list_kernel_files", responses.parse_sizes, **_named(ref))
            if urls and not sizes:
                raise KaggleError(f"{what}: Kaggle lists no sizes")
        # Kaggle's own files, such as __results__.html, are not part of the output.
        names = [*urls, *(name for name in sizes if name not in urls and not name.startswith("__"))]
        return [OutputFile(name, urls.get(name, ""), sizes.get(name)) for name in names]

    def log(self, ref: KernelRef) -> list[str]:
        """The stored log; Kaggle stores it when the session ends."""
        send = self._kernels.request("list_kernel_session_output", **_named(ref))
        with self._explain_kernel(ref):
            return call(f"the log of {ref}", send, responses.parse_log)

    def follow_log(self, ref: KernelRef) -> Iterator[str]:
        """Line by line until the session ends. After a broken connection the stream starts over; lines that were
        yielded already are skipped."""
        yielded = 0
        while self.kernel_status(ref).state == "queued":
            pause(15)
        while True:
            is_complete, seconds = False, 5.0
            try:
                for number, line in enumerate(self._stream(ref)):
                    if line is None:
                        is_complete = True
                    elif number >= yielded:
                        yielded += 1
                        yield line
            except (NotFoundError, UnreachableError) as error:
                self._print_once(error, "reading the stored log instead")
                lines = self.log(ref)[yielded:]
                yielded, seconds = yielded + len(lines), LOG_SECONDS
                yield from lines
            if is_complete or self.kernel_status(ref).is_over:
                break
            pause(seconds)
        yield from self.log(ref)[yielded:]

    def _stream(self, ref: KernelRef) -> Iterator[str | None]:
        """The lines so far, and None at the end of the log."""
        import requests

        send = self._kernels.request("get_kernel_session_logs_stream", **_named(ref))
        try:
            with with_retries(f"the log of {ref}", send) as stream:
                if "text/event-stream" not in stream.headers.get("Content-Type", ""):
                    yield from responses.log_lines(stream.text)
                    yield None
                    return
                for raw in stream.iter_lines():
                    line = raw.decode("utf-8", "replace")
                    if not line.startswith("data:"):
                        continue
                    event = line.removeprefix("data:").strip()
                    if event == _END_OF_LOG:
                        yield None
                        return
                    # An event that starts like JSON but cannot be parsed was truncated.
                    yield from responses.event_lines(parse_json(event) if event.startswith("{") else event)
        except (requests.RequestException, ValueError):  # the connection broke: follow_log connects again
            return

    def fetch(self, file: OutputFile, path: Path, progress: Progress = lambda done: None) -> None:
        url = check_address(file.url)
        download(lambda headers: self._files.get(url, headers=headers, stream=True), path, file.size, progress)

    # Competitions

    def has_joined(self, slug: str) -> bool:
        """Whether the user joined the competition and accepted its rules."""
        with self._explain_competition(slug):
            return self._has_joined(slug)

    def check_joined(self, slug: str) -> None:
        if not self.has_joined(slug):
            raise _not_joined(slug)

    def _has_joined(self, slug: str) -> bool:
        send = self._competitions.request("get_competition", competition_name=slug)
        return call(f"the competition {slug}", send, responses.parse_has_joined)

    def metric_name(self, slug: str) -> str:
        """The metric as the competition's page names it; empty if it names none."""
        send = self._competitions.request("get_competition", competition_name=slug)
        with self._explain_competition(slug):
            return call(f"the competition {slug}", send, lambda found: responses.text(found.evaluation_metric))

    @contextmanager
    def _explain_competition(self, slug: str) -> Iterator[None]:
        """Kaggle responds with 403 if the user has not joined a competition, and also if there is none."""
        try:
            yield
        except (ForbiddenError, NotFoundError) as error:
            has_joined = True
            try:
                with suppress(UnreachableError):
                    has_joined = self._has_joined(slug)
            except (ForbiddenError, NotFoundError):
                hint = _did_you_mean(slug, self._entered_competitions())
                hint = hint or "; the slug is the last part of the competition's URL"
                raise NotFoundError(f"there is no competition {slug!r} on Kaggle that you can see{hint}") from error
            if has_joined:
                raise
            raise _not_joined(slug) from error

    def _entered_competitions(self) -> list[str]:
        from kagglesdk.competitions.types.competition_enums import CompetitionListTab

        with suppress(KaggleError):  # only for messages
            group = CompetitionListTab.COMPETITION_LIST_TAB_ENTERED
            return self._competitions.pages(
                "your competitions", "list_competitions", responses.parse_slugs, group=group
            )
        return []

    def submissions(self, slug: str) -> list[Submission]:
        """Newest first."""

        def parse(page: Any) -> list[Submission]:
            return [responses.parse_submission(submission) for submission in page.submissions or []]

        with self._explain_competition(slug):
            return self._competitions.pages(
                f"the submissions to {slug}", "list_submissions", parse, competition_name=slug
            )

    def submission(self, number: int) -> Submission:
        send = self._competitions.request("get_submission", ref=number)
        return call(f"submission {number}", send, responses.parse_submission)

    def allowance(self, slug: str) -> Allowance:
        send = self._competitions.request("get_submission_limits", competition_name=slug)
        with self._explain_competition(slug):
            return call(f"today's allowance at {slug}", send, Allowance.model_validate)

    def submit(self, slug: str, file: Path, description: str) -> int:
        """Upload a file and submit it; the submission is not retried if the response is lost."""
        token = with_retries(f"uploading {file.name}", lambda: self._upload(slug, file))
        send = self._competitions.request(
            "create_submission", competition_name=slug, blob_file_tokens=token, submission_description=description
        )
        return call(f"submitting {file.name}", send, responses.parse_submitted, once=True)

    def _upload(self, slug: str, file: Path) -> str:
        """The token of the uploaded file."""
        status = file.stat()
        start = self._competitions.request(
            "start_submission_upload", competition_name=slug, file_name=file.name, content_length=status.st_size,
            last_modified_epoch_seconds=int(status.st_mtime),
        )()  # fmt: skip
        token, url = responses.text(start.token), responses.text(start.create_url)
        if not token or not url:
            raise ValueError("no URL to upload to")
        deadline = Deadline(CALL_SECONDS + status.st_size / SLOWEST_UPLOAD)
        with file.open("rb") as content:
            response = run_interruptibly(lambda: self._files.put(check_address(url), data=content), deadline.is_over)
        check_uploaded(response)
        return token

    def submit_code(self, slug: str, kernel: KernelRef, file_name: str, description: str) -> int:
        """Submit a kernel's output file; not retried if the response is lost."""
        send = self._competitions.request(
            "create_code_submission", competition_name=slug, kernel_owner=kernel.owner, kernel_slug=kernel.slug,
            kernel_version=kernel.version, file_name=file_name, submission_description=description,
        )  # fmt: skip
        return call(f"submitting {file_name} of {kernel}", send, responses.parse_submitted, once=True)

    def leaderboard(self, slug: str) -> list[Place]:
        def parse(page: Any) -> list[Place]:
            return [Place.model_validate(row) for row in page.submissions or []]

        with self._explain_competition(slug):
            return self._competitions.pages(
                f"the leaderboard of {slug}", "get_leaderboard", parse, competition_name=slug
            )

    def data_files(self, slug: str) -> list[DataFile]:
        def parse(page: Any) -> list[DataFile]:
            return [DataFile.model_validate(file) for file in page.files or []]

        with self._explain_competition(slug):
            return self._competitions.pages(
                f"the files of {slug}", "list_data_files", parse, LARGEST_PAGE, competition_name=slug
            )

    def download_data(self, slug: str, path: Path, progress: Progress = lambda done: None) -> None:
        """All files of a competition, as one zip."""
        send = self._competitions.request("download_data_files", competition_name=slug)

        url = ""

        def open_(headers: dict[str, str]) -> Any:
            # The first response redirects to a signed URL; only that one supports ranges. It is used until it expires:
            # Kaggle limits how often it may be asked for.
            nonlocal url
            if url:
                response = self._files.get(url, headers=headers, stream=True)
                if response.status_code not in (400, 401, 403, 404):
                    return response
                response.close()
            with send() as redirected:
                url = check_address(redirected.url)
            return self._files.get(url, headers=headers, stream=True)

        with self._explain_competition(slug):
            download(open_, path, None, progress)

    # Messages

    @contextmanager
    def _optional(self, consequence: str) -> Iterator[None]:
        """If Kaggle refuses optional information, print that once and continue."""
        try:
            yield
        except (CredentialsError, RateLimitedError):
            raise
        except KaggleError as error:
            self._print_once(error, consequence)

    def _print_once(self, error: KaggleError, consequence: str) -> None:
        if consequence not in self._printed:
            self._printed.add(consequence)
            notice(f"{str(error).partition(';')[0]}; {consequence}")


def _not_joined(slug: str) -> ForbiddenError:
    return ForbiddenError(
        f"you have not joined {slug}: accept its rules at https://www.kaggle.com/competitions/{slug}/rules, and run the"
        " same command again"
    )


def _did_you_mean(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _named(ref: KernelRef) -> dict[str, Any]:
    """The fields that name a version of a kernel. Kaggle expects the prefix "v" of a version."""
    version = None if ref.version is None else f"v{ref.version}"
    return {"user_name": ref.owner, "kernel_slug": ref.slug, "version_label": version}
