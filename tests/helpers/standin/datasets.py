"""Datasets: resumable uploads, their versions, and the part of the service that speaks of them."""

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from kagglesdk.blobs.types.blob_api_service import ApiStartBlobUploadRequest, ApiStartBlobUploadResponse
from kagglesdk.datasets.types.dataset_api_service import (
    ApiCreateDatasetRequest,
    ApiCreateDatasetResponse,
    ApiCreateDatasetVersionRequest,
    ApiDataset,
    ApiDatasetNewFile,
    ApiDatasetVersion,
    ApiGetDatasetRequest,
    ApiGetDatasetStatusRequest,
    ApiGetDatasetStatusResponse,
)
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus
from standin.replies import Refusal, Reply, bytes_reply

if TYPE_CHECKING:
    from standin.service import StandIn


@dataclass(eq=False)
class Blob:
    """A file that is uploaded in parts. `piece` is how many bytes of each request arrive, if not all."""

    name: str
    size: int
    piece: int | None = None
    content: bytearray = field(default_factory=bytearray, repr=False)
    is_complete: bool = False

    def put(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        named = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", headers.get("Content-Range", f"bytes 0-0/{self.size}"))
        if named is None or int(named[2]) != self.size or (named[1] and int(named[1]) != len(self.content)):
            return bytes_reply(b"Wrong range", "text/plain", 400)
        if named[1] is not None:
            self.content += body[: self.piece]
        self.is_complete = self.is_complete or (named[1] is not None and len(self.content) == self.size)
        if self.is_complete:
            return bytes_reply(b"{}", status=201)
        headers = {"Range": f"bytes=0-{len(self.content) - 1}"} if self.content else {}
        return bytes_reply(b"", status=308, **headers)


@dataclass(eq=False)
class DatasetVersion:
    """Shown after `hidden` requests, and ready after `pending` more."""

    number: int
    notes: str
    files: dict[str, bytes] = field(repr=False)
    hidden: int = 0
    pending: int = 0
    fails: bool = False


@dataclass(eq=False)
class Dataset:
    name: str
    title: str
    id: int
    is_private: bool = True
    description: str = ""
    versions: list[DatasetVersion] = field(default_factory=list)


class Datasets:
    """The methods of datasets.DatasetApiService and blobs.BlobApiService. The caller holds the stand-in's lock.

    What is ready is in the stand-in's `datasets`, for kernels to attach.
    """

    def __init__(self, service: "StandIn") -> None:
        self._service = service
        self.pushed: dict[str, Dataset] = {}
        self.blobs: dict[str, Blob] = {}
        self.pending = 1
        """How many requests for its status see a new version in process."""
        self.quota: int | None = None
        """Bytes of all private datasets; what exceeds them is accepted and never shown."""
        self.piece: int | None = None
        """How many bytes of each request of an upload arrive, if not all."""
        self.fails = False
        """Whether new versions cannot be processed."""

    def start_blob_upload(self, request: ApiStartBlobUploadRequest) -> ApiStartBlobUploadResponse:
        token = f"blob-{len(self.blobs) + 1}"
        self.blobs[token] = self._service.uploads[token] = Blob(request.name, request.content_length, self.piece)
        answer = ApiStartBlobUploadResponse()
        answer.token, answer.create_url = token, self._service.sign(f"/upload/{token}")
        return answer

    def create_dataset(self, request: ApiCreateDatasetRequest) -> ApiCreateDatasetResponse:
        name = f"{request.owner_slug}/{request.slug}"
        if request.owner_slug != self._service.user:
            raise Refusal(403, "Permission 'datasets.create' was denied")
        if tuple(name.split("/")) in self._service.kernels:
            raise Refusal(400, "Bad Request")
        if request.title in [dataset.title for dataset in self.pushed.values()]:
            problem = (
                f'The requested title "{request.title}" is already in use by a dataset. Please choose another title.'
            )
            return self._answer(name, problem)
        files, problem = self._files(request.files)
        if problem:
            return self._answer(name, problem)
        dataset = Dataset(name, request.title, self._service.new_id(), request.is_private, request.description or "")
        self.pushed[name] = dataset
        self._add(dataset, "Initial release", files)
        return self._answer(name)

    def create_dataset_version(self, request: ApiCreateDatasetVersionRequest) -> ApiCreateDatasetResponse:
        dataset = self._dataset(request.owner_slug, request.dataset_slug)
        if dataset.versions[-1].pending > 0:
            raise Refusal(403, "Permission 'datasets.update' was denied")
        files, problem = self._files(request.body.files)
        if not problem:
            self._add(dataset, request.body.version_notes, files)
        return self._answer(dataset.name, problem)

    def _answer(self, name: str, problem: str = "") -> ApiCreateDatasetResponse:
        answer = ApiCreateDatasetResponse()
        answer.ref, answer.url = f"/{name}", f"https://www.kaggle.com/datasets/{name}"
        answer.status, answer.error = ("error", problem) if problem else ("ok", "")
        return answer

    def _files(self, given: Sequence[ApiDatasetNewFile]) -> tuple[dict[str, bytes], str]:
        """The content of uploaded files by their names, with archives unpacked; or the problem."""
        found: dict[str, bytes] = {}
        for file in given:
            blob = self.blobs.get(file.token)
            if blob is None or not blob.is_complete:
                return {}, "Failed to resolve the necessary information from the request."
            if not blob.name.endswith(".zip"):
                found[blob.name] = bytes(blob.content)
                continue
            with zipfile.ZipFile(io.BytesIO(blob.content)) as archive:
                folder = PurePosixPath(blob.name).stem
                found |= {f"{folder}/{name}": archive.read(name) for name in archive.namelist()}
        return found, ""

    def _add(self, dataset: Dataset, notes: str, files: dict[str, bytes]) -> None:
        number = len(dataset.versions) + 1
        late = self._service.reported.late_datasets
        version = DatasetVersion(number, notes, files, late, self.pending, self.fails)
        dataset.versions.append(version)
        private = [one for every in self.pushed.values() if every.is_private for one in every.versions]
        if (
            self.quota is not None
            and sum(len(content) for one in private for content in one.files.values()) > self.quota
        ):
            version.hidden = 1_000_000
        self._settle(dataset)

    def _settle(self, dataset: Dataset) -> None:
        newest = dataset.versions[-1]
        if newest.hidden <= 0 and newest.pending <= 0 and not newest.fails:
            self._service.datasets[dataset.name] = newest.files

    def _dataset(self, owner: str, slug: str) -> Dataset:
        dataset = self.pushed.get(f"{owner}/{slug}")
        if dataset is None:
            raise Refusal(403 if owner == self._service.user else 404, "Permission 'datasets.get' was denied")
        return dataset

    def _shown(self, owner: str, slug: str) -> tuple[Dataset, list[DatasetVersion]]:
        """The dataset and the versions that this request sees."""
        dataset = self._dataset(owner, slug)
        newest = dataset.versions[-1]
        newest.hidden -= 1
        versions = dataset.versions if newest.hidden < 0 else dataset.versions[:-1]
        if not versions:
            raise Refusal(404, "Not found")
        return dataset, versions

    def get_dataset(self, request: ApiGetDatasetRequest) -> ApiDataset:
        dataset, versions = self._shown(request.owner_slug, request.dataset_slug)
        versions = [version for version in versions if version.pending <= 0] or versions
        answer = ApiDataset()
        answer.id, answer.ref, answer.title = dataset.id, dataset.name, dataset.title
        answer.url = f"https://www.kaggle.com/datasets/{dataset.name}"
        answer.is_private, answer.description = dataset.is_private, dataset.description
        answer.owner_ref = dataset.name.partition("/")[0]
        answer.current_version_number, answer.versions = versions[-1].number, []
        for version in versions:
            shown = ApiDatasetVersion()
            shown.version_number, shown.version_notes, shown.status = version.number, version.notes, "Ready"
            answer.versions.append(shown)
        return answer

    def get_dataset_status(self, request: ApiGetDatasetStatusRequest) -> ApiGetDatasetStatusResponse:
        dataset, versions = self._shown(request.owner_slug, request.dataset_slug)
        answer, newest = ApiGetDatasetStatusResponse(), versions[-1]
        if newest.pending > 0:
            newest.pending -= 1
            answer.status = DatabundleVersionStatus.BLOBS_RECEIVED
        else:
            answer.status = DatabundleVersionStatus.FAILED if newest.fails else DatabundleVersionStatus.READY
        self._settle(dataset)
        return answer
