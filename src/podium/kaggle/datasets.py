"""Requests for Kaggle's datasets: look one up, create it or a version of it, and upload its files."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from podium.errors import ForbiddenError, KaggleError, NotFoundError
from podium.kaggle.connection import check_address
from podium.kaggle.responses import Count, Response, Text, one_line, text
from podium.kaggle.transfers import Progress
from podium.kaggle.uploads import upload
from podium.retries import CALL_SECONDS, Deadline, with_retries
from podium.signals import run_interruptibly

Request = Callable[..., Callable[[], Any]]
"""The name of a method and the fields of its request give a call that is ready to be sent."""
State = Literal["processing", "ready", "failed"]
_OTHER_STATES: dict[str, State] = {"READY": "ready", "FAILED": "failed", "DELETED": "failed"}
_MARK = re.compile(r"podium sha256:([0-9a-f]{32})")


def mark_of(digest: str) -> str:
    """The text by which a version on Kaggle is recognized; it is in the notes, and in the description."""
    return f"podium sha256:{digest}"


class Version(Response):
    number: Count = Field(validation_alias="version_number")
    notes: Text = Field(validation_alias="version_notes")


class Dataset(Response):
    version: Count = Field(validation_alias="current_version_number")
    is_private: bool
    description: Text
    versions: Annotated[list[Version], BeforeValidator(lambda versions: versions or [])]

    @property
    def digest(self) -> str | None:
        """The digest of the newest version's files; None if podium did not upload them.

        The first version has no notes of its own, so its digest is in the description.
        """
        notes = next((version.notes for version in self.versions if version.number == self.version), "")
        found = _MARK.search(notes) or (_MARK.search(self.description) if self.version <= 1 else None)
        return found[1] if found else None

    @property
    def is_from_podium(self) -> bool:
        return bool(_MARK.search(self.description))


class Upload(Response):
    token: str = Field(min_length=1)
    """Names the uploaded file when a version is created."""
    url: str = Field(min_length=1, validation_alias="create_url")


class Datasets:
    """The requests; `name` is owner/slug."""

    def __init__(self, datasets: Request, blobs: Request, files: Any) -> None:
        self._datasets, self._blobs, self._files = datasets, blobs, files

    def find(self, name: str) -> Dataset | None:
        """None if there is no such dataset; Kaggle's response is then status 403 or 404."""
        send = self._datasets("get_dataset", **_named(name))
        try:
            return with_retries(f"looking for the dataset {name}", lambda: Dataset.model_validate(send()))
        except (NotFoundError, ForbiddenError):
            return None

    def state(self, name: str) -> State | None:
        """Whether the newest version can be attached; None if there is no such dataset, or not yet."""
        send = self._datasets("get_dataset_status", **_named(name))
        try:
            status: str = with_retries(f"the status of the dataset {name}", lambda: send().status.name)
        except (NotFoundError, ForbiddenError):
            return None
        return _OTHER_STATES.get(status, "processing")

    def start_upload(self, path: Path) -> Upload:
        from kagglesdk.blobs.types.blob_api_service import ApiBlobType

        status = path.stat()
        send = self._blobs(
            "start_blob_upload", type=ApiBlobType.DATASET, name=path.name, content_length=status.st_size,
            last_modified_epoch_seconds=int(status.st_mtime),
        )  # fmt: skip
        return with_retries(f"starting the upload of {path.name}", lambda: Upload.model_validate(send()))

    def upload(self, url: str, path: Path, progress: Progress) -> None:
        url, deadline = check_address(url), Deadline(CALL_SECONDS)

        def put(body: Any, headers: dict[str, str]) -> Any:
            deadline.restart()
            return run_interruptibly(lambda: self._files.put(url, data=body, headers=headers), deadline.is_over)

        def report(done: int) -> None:
            deadline.restart()
            progress(done)

        upload(put, path, report)

    def create(self, name: str, title: str, digest: str, tokens: Sequence[str]) -> None:
        """Create a private dataset from uploaded files; not retried if the response is lost."""
        owner, slug = name.split("/")
        description = f"Uploaded by `podium data push`.\n\n{mark_of(digest)}"
        send = self._datasets(
            "create_dataset", owner_slug=owner, slug=slug, title=title, is_private=True, description=description,
            files=_new_files(tokens),
        )  # fmt: skip
        what = f"creating the dataset {name}"
        with_retries(what, lambda: _check_created(send(), what), once=True)

    def create_version(self, name: str, digest: str, tokens: Sequence[str]) -> None:
        """Create a version that consists of these files; not retried if the response is lost."""
        from kagglesdk.datasets.types.dataset_api_service import ApiCreateDatasetVersionRequestBody

        body = ApiCreateDatasetVersionRequestBody()
        body.version_notes, body.files = mark_of(digest), _new_files(tokens)
        send = self._datasets("create_dataset_version", **_named(name), body=body)
        what = f"creating a version of the dataset {name}"
        with_retries(what, lambda: _check_created(send(), what), once=True)


def _named(name: str) -> Mapping[str, str]:
    owner, slug = name.split("/")
    return {"owner_slug": owner, "dataset_slug": slug}


def _new_files(tokens: Sequence[str]) -> list[Any]:
    from kagglesdk.datasets.types.dataset_api_service import ApiDatasetNewFile

    files = []
    for token in tokens:
        file = ApiDatasetNewFile()
        file.token = token
        files.append(file)
    return files


def _check_created(response: Any, what: str) -> None:
    """A response with status 200 may have an error, which the official client only prints."""
    problem, status = one_line(response.error), text(response.status).lower()
    if problem:
        raise KaggleError(f"{what}: Kaggle reports {problem}")
    if status != "ok":
        raise ValueError(f"neither an error nor ok, but {status!r}")
