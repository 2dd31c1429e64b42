"""Which request is which: calls of kagglesdk, uploads, and files at signed URLs."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, unquote

from kagglesdk.blobs.types import blob_api_service as blobs
from kagglesdk.competitions.types import competition_api_service as competitions
from kagglesdk.datasets.types import dataset_api_service as datasets
from kagglesdk.kernels.types import kernels_api_service as kernels
from kagglesdk.security.types.oauth_service import IntrospectTokenRequest
from kagglesdk.users.types.account_service import GenerateAccessTokenRequest
from standin.replies import Refusal, Reply, bytes_reply, file_reply, object_reply, parsed

if TYPE_CHECKING:
    from standin.service import StandIn

_CHANGING = ("SaveKernel", "CreateSubmission", "CreateCodeSubmission", "CreateDataset", "CreateDatasetVersion")
_TOKENS = {"IntrospectToken": IntrospectTokenRequest, "GenerateAccessToken": GenerateAccessTokenRequest}
_MODIFIED = formatdate(1767225600, usegmt=True)


@dataclass
class Rpc:
    """A call of kagglesdk. The stand-in's method for `SaveKernel` is `save_kernel`, its type `ApiSaveKernelRequest`."""

    service: "StandIn"
    service_name: str
    name: str
    headers: Mapping[str, str]
    request: Any = None

    @property
    def is_safe(self) -> bool:
        return self.name not in _CHANGING

    def read(self, body: bytes) -> None:
        if self.name in _TOKENS:
            self.request = parsed(_TOKENS[self.name], body)
            return
        known = {
            "kernels.KernelsApiService": (self.service.kernel_methods, kernels),
            "competitions.CompetitionApiService": (self.service.competition_methods, competitions),
            "datasets.DatasetApiService": (self.service.dataset_methods, datasets),
            "blobs.BlobApiService": (self.service.dataset_methods, blobs),
        }
        methods, types = known.get(self.service_name, (None, None))
        self.method = getattr(methods, re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower(), None)
        if self.method is None:
            problem = f"the stand-in has no method {self.service_name}/{self.name}"
            self.service.crashes.append(problem)
            raise Refusal(404, problem)
        self.request = parsed(getattr(types, f"Api{self.name}Request"), body)

    def respond(self) -> Reply:
        if self.name == "IntrospectToken":
            return object_reply(self.service.introspect(self.request))
        if self.name == "GenerateAccessToken":
            return object_reply(self.service.generate_token(self.request))
        self.service.check_key(self.headers)
        with self.service.changed:
            answer = self.method(self.request)
        return answer if isinstance(answer, Reply) else object_reply(answer)


@dataclass(frozen=True)
class Transfer:
    """A request for the URL of an upload or a file."""

    method: str
    path: str
    headers: Mapping[str, str]
    size: int
    """Of the body."""


@dataclass
class FileAddress:
    """A file at a signed URL, or one to be uploaded there."""

    service: "StandIn"
    name: str
    method: str
    address: SplitResult
    headers: Mapping[str, str]
    body: bytes = b""
    request: Any = field(default=None)

    @property
    def is_safe(self) -> bool:
        return self.name != "upload"

    def read(self, body: bytes) -> None:
        self.body = body
        self.request = Transfer(self.method, self.address.path, dict(self.headers), len(body))

    def respond(self) -> Reply:
        """The signature is the only authentication; like a real file store, it refuses a second one."""
        if "Authorization" in self.headers:
            return _error("InvalidArgument", "Only one authentication is allowed", 400)
        if parse_qs(self.address.query).get("signature") != [self.service.signature(self.address.path)]:
            return _error("ExpiredToken", "The signature is wrong or has expired", 403)
        parts = unquote(self.address.path).split("/")[1:]
        with self.service.changed:
            if self.name == "upload" and parts[1] in self.service.uploads:
                return self.service.uploads[parts[1]].put(self.body, self.headers)
            content = self.service.stored(parts)
        if content is None:
            return _error("NoSuchKey", "There is no such file", 404)
        return file_reply(content, etag_of(content), _MODIFIED, self.headers)


def etag_of(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    status = content.stat()
    return f'"{status.st_size:x}-{status.st_mtime_ns:x}"'


def _error(code: str, message: str, status: int) -> Reply:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return bytes_reply(text.encode(), "text/xml", status)


def route(service: "StandIn", method: str, address: SplitResult, headers: Mapping[str, str]) -> Rpc | FileAddress:
    parts = address.path.split("/")[1:]
    if method == "POST" and parts[0] == "v1" and len(parts) == 3:
        return Rpc(service, parts[1], parts[2], headers)
    names = {"upload": "upload", "kf": "output-file", "data": "data-zip"}
    return FileAddress(service, names.get(parts[0], "unknown"), method, address, headers)
