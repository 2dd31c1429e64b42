"""Kernels: their versions, and the part of the service that speaks of them."""

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from kagglesdk.kernels.types.kernels_api_service import (
    ApiAcceleratorQuota,
    ApiGetAcceleratorQuotaStatisticsRequest,
    ApiGetAcceleratorQuotaStatisticsResponse,
    ApiGetKernelRequest,
    ApiGetKernelResponse,
    ApiGetKernelSessionLogsStreamRequest,
    ApiGetKernelSessionStatusRequest,
    ApiGetKernelSessionStatusResponse,
    ApiKernelBlob,
    ApiKernelMetadata,
    ApiKernelSessionOutputFile,
    ApiListKernelFilesItem,
    ApiListKernelFilesRequest,
    ApiListKernelFilesResponse,
    ApiListKernelSessionOutputRequest,
    ApiListKernelSessionOutputResponse,
    ApiListKernelsRequest,
    ApiListKernelsResponse,
    ApiSaveKernelRequest,
    ApiSaveKernelResponse,
)
from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus
from standin.replies import JSON, Refusal, Reply, bytes_reply

if TYPE_CHECKING:
    from standin.service import StandIn

State = Literal["queued", "running", "complete", "error", "cancel_requested", "cancelled"]
_STATUS = {
    "queued": KernelWorkerStatus.QUEUED,
    "running": KernelWorkerStatus.RUNNING,
    "complete": KernelWorkerStatus.COMPLETE,
    "error": KernelWorkerStatus.ERROR,
    "cancel_requested": KernelWorkerStatus.CANCEL_REQUESTED,
    "cancelled": KernelWorkerStatus.CANCEL_ACKNOWLEDGED,
}
GPU_SESSIONS = 2
CPU_SESSIONS = 5
LONGEST_SESSION = 12 * 3600
_LARGEST_SOURCE = 1 << 20
_TAGS = ("gpu", "tensorflow", "image-classification", "computer-vision")


@dataclass(frozen=True)
class LogLine:
    """As Kaggle keeps it."""

    stream_name: str
    time: float
    data: str


@dataclass(eq=False)
class Version:
    """One version of a kernel, and its session. `stopped` is set when it is to end before it is done."""

    ref: str
    number: int
    session_id: int
    request: ApiSaveKernelRequest = field(repr=False)
    changed: threading.Condition = field(repr=False)
    sources: list[tuple[str, str]] = field(default_factory=list)
    state: State = "queued"
    failure: str = ""
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    lines: list[LogLine] = field(default_factory=list, repr=False)
    started: float | None = None
    seconds: float = 0.0
    listings: int = 0
    """Of its output, once it is over."""
    stopped: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def is_over(self) -> bool:
        return self.state in ("complete", "error", "cancelled")

    @property
    def is_gpu(self) -> bool:
        return is_gpu(self.request)

    @property
    def log(self) -> str:
        return "".join(line.data for line in self.lines)

    @property
    def stored_log(self) -> str:
        """The array that Kaggle stores."""
        return json.dumps([vars(line) for line in self.lines])

    @property
    def time_limit(self) -> int:
        return self.request.session_timeout_seconds or LONGEST_SESSION

    def tell(self, data: str, stream_name: str = "stdout", at: float | None = None) -> None:
        """One more line of the log, while it runs."""
        with self.changed:
            since = time.monotonic() - self.started if self.started is not None else 0.0
            self.lines.append(LogLine(stream_name, round(since, 3) if at is None else at, data))
            self.changed.notify_all()


@dataclass(eq=False)
class Kernel:
    owner: str
    slug: str
    title: str
    id: int
    is_private: bool = True
    versions: list[Version] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.owner}/{self.slug}"

    @property
    def newest(self) -> Version:
        return self.versions[-1]

    @property
    def newest_complete(self) -> Version | None:
        """What others get who attach this kernel as a source."""
        return next((version for version in reversed(self.versions) if version.state == "complete"), None)


def slug_of(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def is_gpu(request: ApiSaveKernelRequest) -> bool:
    shape = request.machine_shape
    return shape.startswith("Nvidia") if shape else bool(request.enable_gpu)


class Kernels:
    """The methods of kernels.KernelsApiService. The caller holds the stand-in's lock."""

    def __init__(self, service: "StandIn") -> None:
        self._service = service

    def save_kernel(self, request: ApiSaveKernelRequest) -> ApiSaveKernelResponse:
        answer = ApiSaveKernelResponse()
        owner, slug, title = self._named(request)
        answer.ref, answer.url = f"/code/{owner}/{slug}", f"https://www.kaggle.com/code/{owner}/{slug}"
        answer.error = self._problem_of(request, title) or None
        if answer.error:
            return answer
        sources = self._sources(request, answer)
        kernel = self._service.kernels.get((owner, slug)) or self._service.new_kernel(owner, slug)
        kernel.title, kernel.is_private = title, request.is_private is not False
        version = self._service.new_version(kernel, request, sources)
        answer.version_number, answer.kernel_id = version.number, kernel.id
        self._service.sessions.submit(version)
        return answer

    def _named(self, request: ApiSaveKernelRequest) -> tuple[str, str, str]:
        """Owner, slug and title; the slug follows from the title."""
        owner, _, slug = (request.slug or "").partition("/")
        title = request.new_title or slug
        slug = slug_of(title)
        if owner != self._service.user:
            raise Refusal(403, "Permission 'kernels.update' was denied")
        return owner, slug, title

    def _problem_of(self, request: ApiSaveKernelRequest, title: str) -> str:
        """The error of a response with status 200, when nothing is saved."""
        if not request.text:
            return "Kernel source is empty."
        if len(request.text.encode()) > _LARGEST_SOURCE:
            return "Kernel source exceeds the maximum size of 1 MB."
        if not 5 <= len(title) <= 50:
            return "Kernel title must be between 5 and 50 characters."
        if (request.session_timeout_seconds or 0) > LONGEST_SESSION:
            return f"Session timeout must be at most {LONGEST_SESSION} seconds."
        live = [version for version in self._service.versions() if not version.is_over]
        gpu, most = is_gpu(request), GPU_SESSIONS if is_gpu(request) else CPU_SESSIONS
        mine = [
            version for version in live if version.is_gpu == gpu and version.ref.startswith(f"{self._service.user}/")
        ]
        if len(mine) >= most:
            return f"Maximum batch {'GPU' if gpu else 'CPU'} session count of {most} reached."
        if gpu and self._service.gpu_used >= self._service.gpu_allowed:
            hours = self._service.gpu_allowed.total_seconds() / 3600
            return f"Your weekly GPU quota of {hours:g} hours has been used up."
        return ""

    def _sources(self, request: ApiSaveKernelRequest, answer: ApiSaveKernelResponse) -> list[tuple[str, str]]:
        """Those that are known; the others are reported and left out, and the version is made all the same."""
        service = self._service
        checks = (
            ("dataset", request.dataset_data_sources, lambda name: name in service.datasets),
            ("competition", request.competition_data_sources, self._is_open),
            ("kernel", request.kernel_data_sources, self._is_source),
            ("model", request.model_data_sources, lambda name: name in service.models),
        )
        known = []
        for kind, names, is_known in checks:
            invalid = [name for name in names or [] if not is_known(name)]
            setattr(answer, f"invalid_{kind}_sources", invalid)
            known += [(kind, name) for name in names or [] if name not in invalid]
        answer.invalid_tags = [tag for tag in request.category_ids or [] if tag not in _TAGS]
        return known

    def _is_open(self, slug: str) -> bool:
        competition = self._service.competitions.get(slug)
        return competition is not None and competition.rules_accepted

    def _is_source(self, name: str) -> bool:
        kernel = self._service.kernels.get(tuple(name.split("/")[:2]))  # type: ignore[arg-type]
        return kernel is not None and self._may_see(kernel) and kernel.newest_complete is not None

    def _may_see(self, kernel: Kernel) -> bool:
        return kernel.owner == self._service.user or not kernel.is_private

    def _kernel(self, owner: str, slug: str) -> Kernel:
        kernel = self._service.kernels.get((owner, slug))
        if kernel is None:
            raise self._service.unknown("kernels.get")
        if not self._may_see(kernel):
            raise Refusal(403, "Permission 'kernels.get' was denied")
        return kernel

    def _version(self, owner: str, slug: str, label: str | None) -> Version:
        """A version is named `v<N>`; its bare number names nothing, and no label the newest."""
        kernel = self._kernel(owner, slug)
        if not label:
            return kernel.newest
        found = next((version for version in kernel.versions if f"v{version.number}" == label), None)
        if found is None:
            raise Refusal(404, "Not found")
        return found

    def get_kernel_session_status(self, request: ApiGetKernelSessionStatusRequest) -> ApiGetKernelSessionStatusResponse:
        version = self._version(request.user_name, request.kernel_slug, request.version_label)
        answer = ApiGetKernelSessionStatusResponse()
        answer.status = _STATUS[version.state]
        answer.failure_message = version.failure or None
        return answer

    def list_kernel_session_output(
        self, request: ApiListKernelSessionOutputRequest
    ) -> ApiListKernelSessionOutputResponse:
        """Nothing is stored before the session is over; until then only the stream has the log."""
        version = self._version(request.user_name, request.kernel_slug, request.version_label)
        version.listings += version.is_over and not request.page_token
        names, is_late = self._listed(version), version.listings <= self._service.reported.late_listings
        if version.listings <= self._service.reported.late_listings + self._service.reported.partial_listings:
            names = names[: (len(names) + 1) // 2]
        answer = ApiListKernelSessionOutputResponse()
        shown, answer.next_page_token = self._service.page(names, request, f"output {version.ref}")
        answer.files = []
        for name in shown:
            file = ApiKernelSessionOutputFile()
            file.file_name, file.url = name, self.output_url(version, name)
            answer.files.append(file)
        if version.is_over and not request.page_token and not is_late:
            answer.log = version.stored_log
        return answer

    def _listed(self, version: Version) -> list[str]:
        is_late = version.listings <= self._service.reported.late_listings
        return sorted(version.files) if version.is_over and not is_late else []

    def output_url(self, version: Version, name: str) -> str:
        return self._service.sign(f"/kf/{version.session_id}/{quote(name)}")

    def list_kernel_files(self, request: ApiListKernelFilesRequest) -> ApiListKernelFilesResponse:
        version = self._version(request.user_name, request.kernel_slug, request.version_label)
        names = [] if self._service.reported.no_sizes else self._listed(version)
        answer = ApiListKernelFilesResponse()
        shown, answer.next_page_token = self._service.page(names, request, f"files {version.ref}")
        answer.files = []
        for name in shown:
            item = ApiListKernelFilesItem()
            item.name, item.size = name, len(version.files[name])
            item.creation_date = self._service.now().isoformat()
            answer.files.append(item)
        return answer

    def list_kernels(self, request: ApiListKernelsRequest) -> ApiListKernelsResponse:
        """The user's own."""
        own = [kernel for kernel in self._service.kernels.values() if kernel.owner == self._service.user]
        answer = ApiListKernelsResponse()
        shown, token = self._service.page(own, request, "kernels")
        answer.kernels, answer.next_page_token = (
            [self._metadata(kernel, kernel.newest) for kernel in shown],
            token or "",
        )
        return answer

    def get_kernel(self, request: ApiGetKernelRequest) -> ApiGetKernelResponse:
        version = self._version(request.user_name, request.kernel_slug, request.version_label)
        kernel = self._kernel(request.user_name, request.kernel_slug)
        answer, blob = ApiGetKernelResponse(), ApiKernelBlob()
        blob.source, blob.language = version.request.text, version.request.language
        blob.kernel_type, blob.slug = version.request.kernel_type, kernel.slug
        answer.blob, answer.metadata = blob, self._metadata(kernel, version)
        return answer

    def _metadata(self, kernel: Kernel, version: Version) -> ApiKernelMetadata:
        pushed, content = version.request, ApiKernelMetadata()
        content.id, content.ref, content.title = kernel.id, kernel.name, kernel.title
        content.author, content.slug = kernel.owner, kernel.slug
        content.language, content.kernel_type = pushed.language, pushed.kernel_type
        content.is_private, content.enable_gpu = kernel.is_private, version.is_gpu
        content.enable_internet, content.machine_shape = pushed.enable_internet, pushed.machine_shape
        content.dataset_data_sources = [name for kind, name in version.sources if kind == "dataset"]
        content.kernel_data_sources = [name for kind, name in version.sources if kind == "kernel"]
        content.competition_data_sources = [name for kind, name in version.sources if kind == "competition"]
        content.model_data_sources = [name for kind, name in version.sources if kind == "model"]
        content.current_version_number = kernel.newest.number
        content.last_run_time = self._service.now()
        return content

    def get_accelerator_quota_statistics(
        self, request: ApiGetAcceleratorQuotaStatisticsRequest
    ) -> ApiGetAcceleratorQuotaStatisticsResponse:
        if self._service.reported.no_quota:
            raise Refusal(404, "Not found")
        answer, gpu = ApiGetAcceleratorQuotaStatisticsResponse(), ApiAcceleratorQuota()
        gpu.time_used, gpu.time_reserved = self._service.gpu_used, self._service.gpu_reserved
        gpu.total_time_allowed = self._service.gpu_allowed
        gpu.has_ever_run = bool(self._service.gpu_used)
        answer.gpu_quota, answer.quota_refresh_time = gpu, _next_saturday(self._service.now())
        return answer

    def get_kernel_session_logs_stream(self, request: ApiGetKernelSessionLogsStreamRequest) -> Reply:
        """Events while it runs, from the first line on; the stored array once it is over."""
        version = self._version(request.user_name or "", request.kernel_slug or "", request.version_label)
        if self._service.reported.no_stream:
            raise Refusal(404, "Not found")
        wait = 60 if request.wait_for_logs_url_seconds is None else min(request.wait_for_logs_url_seconds, 300)
        self._service.wait_until(lambda: version.state != "queued" or self._service.stopping, wait)
        if version.is_over:
            return bytes_reply(version.stored_log.encode(), JSON)
        if version.state == "queued":
            raise Refusal(404, "The log stream of this session is not available yet")
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        return Reply(200, headers, stream=self._events(version), ready=len(version.lines))

    def _events(self, version: Version) -> Iterator[bytes]:
        sent = 0
        while not self._service.stopping:
            with self._service.changed:
                lines, is_over = version.lines[sent:], version.is_over
                if not lines and not is_over:
                    self._service.changed.wait()
                    continue
            for line in lines:
                yield event(line)
            sent += len(lines)
            if is_over:
                yield b"data: END_OF_LOG\n\n"
                return


def event(line: LogLine) -> bytes:
    return f"data: {json.dumps(vars(line))}\n\n".encode()


def _next_saturday(now: datetime) -> datetime:
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=(5 - now.weekday() - 1) % 7 + 1)
