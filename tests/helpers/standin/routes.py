"""Which request is which: the calls of kagglesdk, uploads, and files at signed addresses."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, unquote

from kagglesdk.competitions.types import competition_api_service as competitions
from kagglesdk.kaggle_object import KaggleObject
from kagglesdk.kernels.types import kernels_api_service as kernels
from kagglesdk.security.types.oauth_service import IntrospectTokenRequest
from standin.replies import Refusal, Reply, bytes_reply, file_reply, object_reply, parsed

if TYPE_CHECKING:
    from standin.service import StandIn

_CHANGING = ("SaveKernel", "CreateSubmission", "CreateCodeSubmission", "CancelKernelSession")
_MODIFIED = formatdate(1767225600, usegmt=True)


@dataclass(frozen=True)
class Transfer:
    """What was asked of an upload's or a file's address."""

    method: str
    path: str
    headers: Mapping[str, str]
    size: int
    """Of the body."""


Methods = dict[tuple[str, str], tuple[type[KaggleObject], Callable[[Any], KaggleObject | Reply]]]


def methods_of(service: "StandIn") -> Methods:
    """Every call that the stand-in knows: service and method, the request's type, and what answers it."""
    kernel, competition = service.kernel_methods, service.competition_methods
    return {
        ("kernels.KernelsApiService", "SaveKernel"): (kernels.ApiSaveKernelRequest, kernel.save),
        ("kernels.KernelsApiService", "GetKernel"): (kernels.ApiGetKernelRequest, kernel.get),
        ("kernels.KernelsApiService", "ListKernels"): (kernels.ApiListKernelsRequest, kernel.list),
        ("kernels.KernelsApiService", "ListKernelFiles"): (kernels.ApiListKernelFilesRequest, kernel.files),
        ("kernels.KernelsApiService", "GetKernelSessionStatus"): (
            kernels.ApiGetKernelSessionStatusRequest,
            kernel.status,
        ),
        ("kernels.KernelsApiService", "ListKernelSessionOutput"): (
            kernels.ApiListKernelSessionOutputRequest,
            kernel.output,
        ),
        ("kernels.KernelsApiService", "DownloadKernelOutput"): (
            kernels.ApiDownloadKernelOutputRequest,
            kernel.download_output,
        ),
        ("kernels.KernelsApiService", "GetKernelSessionLogsStream"): (
            kernels.ApiGetKernelSessionLogsStreamRequest,
            kernel.logs_stream,
        ),
        ("kernels.KernelsApiService", "CancelKernelSession"): (kernels.ApiCancelKernelSessionRequest, kernel.cancel),
        ("kernels.KernelsApiService", "GetAcceleratorQuotaStatistics"): (
            kernels.ApiGetAcceleratorQuotaStatisticsRequest,
            kernel.quota,
        ),
        ("competitions.CompetitionApiService", "GetCompetition"): (
            competitions.ApiGetCompetitionRequest,
            competition.get,
        ),
        ("competitions.CompetitionApiService", "ListDataFiles"): (
            competitions.ApiListDataFilesRequest,
            competition.data_files,
        ),
        ("competitions.CompetitionApiService", "DownloadDataFiles"): (
            competitions.ApiDownloadDataFilesRequest,
            competition.download_all,
        ),
        ("competitions.CompetitionApiService", "DownloadDataFile"): (
            competitions.ApiDownloadDataFileRequest,
            competition.download_one,
        ),
        ("competitions.CompetitionApiService", "StartSubmissionUpload"): (
            competitions.ApiStartSubmissionUploadRequest,
            competition.start_upload,
        ),
        ("competitions.CompetitionApiService", "CreateSubmission"): (
            competitions.ApiCreateSubmissionRequest,
            competition.submit,
        ),
        ("competitions.CompetitionApiService", "CreateCodeSubmission"): (
            competitions.ApiCreateCodeSubmissionRequest,
            competition.submit_code,
        ),
        ("competitions.CompetitionApiService", "ListSubmissions"): (
            competitions.ApiListSubmissionsRequest,
            competition.submissions,
        ),
        ("competitions.CompetitionApiService", "GetSubmission"): (
            competitions.ApiGetSubmissionRequest,
            competition.submission,
        ),
        ("competitions.CompetitionApiService", "GetSubmissionLimits"): (
            competitions.ApiGetSubmissionLimitsRequest,
            competition.limits,
        ),
        ("competitions.CompetitionApiService", "GetLeaderboard"): (
            competitions.ApiGetLeaderboardRequest,
            competition.leaderboard,
        ),
        ("security.OAuthService", "IntrospectToken"): (IntrospectTokenRequest, service.introspect),
    }


@dataclass
class Rpc:
    """A call of kagglesdk."""

    service: "StandIn"
    service_name: str
    name: str
    headers: Mapping[str, str]
    request: Any = None

    @property
    def also(self) -> tuple[str, ...]:
        return ("log-stream",) if self.name == "GetKernelSessionLogsStream" else ()

    @property
    def is_safe(self) -> bool:
        return self.name not in _CHANGING

    def read(self, body: bytes) -> None:
        known = self.service.methods.get((self.service_name, self.name))
        if known is None:
            self.service.crashes.append(f"the stand-in has no method {self.service_name}/{self.name}")
            raise Refusal(404, f"the stand-in has no method {self.service_name}/{self.name}")
        self.request = parsed(known[0], body)

    def respond(self) -> Reply:
        if self.name != "IntrospectToken":
            self.service.check_key(self.headers)
        with self.service.changed:
            answer = self.service.methods[self.service_name, self.name][1](self.request)
        return answer if isinstance(answer, Reply) else object_reply(answer)

    def keep_half(self, body: bytes) -> None:
        """Half of a call is none."""


@dataclass
class LogAddress(Rpc):
    """The address that the client's own kernels_logs_stream asks with GET."""

    owner: str = ""
    slug: str = ""

    def read(self, body: bytes) -> None:
        self.request = kernels.ApiGetKernelSessionLogsStreamRequest()
        self.request.user_name, self.request.kernel_slug = self.owner, self.slug


@dataclass
class FileAddress:
    """A file at a signed address, or one to be put there."""

    service: "StandIn"
    name: str
    method: str
    address: SplitResult
    headers: Mapping[str, str]
    also: tuple[str, ...] = ()
    is_safe: bool = True
    body: bytes = b""
    request: Any = field(default=None)

    def read(self, body: bytes) -> None:
        self.body = body
        self.request = Transfer(self.method, self.address.path, dict(self.headers), len(body))

    def respond(self) -> Reply:
        """Who asks is told by the signature alone; a store of files takes no second proof beside it."""
        if "Authorization" in self.headers:
            return bytes_reply(_fault("InvalidArgument", "Only one authentication is allowed"), "text/xml", 400)
        if parse_qs(self.address.query).get("signature") != [self.service.signature(self.address.path)]:
            return bytes_reply(_fault("ExpiredToken", "The signature is wrong or out of date"), "text/xml", 403)
        with self.service.changed:
            return self._found()

    def _found(self) -> Reply:
        parts = unquote(self.address.path).split("/")[1:]
        if parts[0] == "upload" and self.method == "PUT":
            upload = self.service.uploads.get(parts[1])
            if upload is not None:
                return self.service.uploads.put(upload, self.body, self.headers)
        content = self.service.stored(parts) if self.method in ("GET", "HEAD") else None
        if content is None:
            return bytes_reply(_fault("NoSuchKey", "There is no such file"), "text/xml", 404)
        return file_reply(content, etag_of(content), _MODIFIED, self.headers)

    def keep_half(self, body: bytes) -> None:
        upload = self.service.uploads.get(unquote(self.address.path).split("/")[2])
        if upload is not None:
            self.service.uploads.keep(upload, body, self.service.uploads.start_of(upload, self.headers))


def etag_of(content: bytes | Path) -> str:
    """It changes with the content."""
    if isinstance(content, bytes):
        return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    status = content.stat()
    return f'"{status.st_size:x}-{status.st_mtime_ns:x}"'


def _fault(code: str, message: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def route(service: "StandIn", method: str, address: SplitResult, headers: Mapping[str, str]) -> Rpc | FileAddress:
    parts = address.path.split("/")[1:]
    if method == "POST" and parts[0] == "v1" and len(parts) == 3:
        return Rpc(service, parts[1], parts[2], headers)
    if method == "GET" and parts[:4] == ["v1", "kernels", "logs", "stream"] and len(parts) == 6:
        name = "GetKernelSessionLogsStream"
        return LogAddress(service, "kernels.KernelsApiService", name, headers, None, parts[4], parts[5])
    if parts[0] == "upload":
        return FileAddress(service, "upload", method, address, headers, is_safe=False)
    names = {"kf": "output-file", "data": "data-zip" if parts[-1] == "archive.zip" else "data-file"}
    return FileAddress(service, names.get(parts[0], "unknown"), method, address, headers)
