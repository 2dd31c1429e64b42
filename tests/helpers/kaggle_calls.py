"""Every request of podium's client to Kaggle, for tests that make each of them fail."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from podium.config.kaggle_names import KernelRef

REF = KernelRef("ada", "some-kernel", 1)
DATASET = "ada/some-dataset"
_NUMBERS = count()
METADATA = {
    "id": "ada/new-kernel", "title": "new-kernel", "language": "python", "kernel_type": "script", "is_private": True,
    "enable_gpu": False, "enable_tpu": False, "enable_internet": False, "machine_shape": "", "keywords": [],
    "dataset_sources": [], "competition_sources": [], "kernel_sources": [], "model_sources": [],
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A method of podium's client, the request of it that a fault meets, and how its effects are counted."""

    request: str
    send: Callable[[Any], Any]
    effects: Callable[[Any], int] | None = None
    is_optional: bool = False
    """Whether podium continues if it is refused."""

    @property
    def is_transfer(self) -> bool:
        """Of bytes, which cannot be malformed."""
        return self.request in ("output-file", "data-zip", "upload", "DownloadDataFiles", "GetKernelSessionLogsStream")


def fetch_output(kaggle: Any) -> bytes:
    kaggle.fetch(kaggle.output_files(REF)[-1], Path("output.bin"))
    return Path("output.bin").read_bytes()


def download_data(kaggle: Any) -> bytes:
    kaggle.download_data("cars", Path("cars.zip"))
    return Path("cars.zip").read_bytes()


def submit(kaggle: Any) -> int:
    return kaggle.submit("cars", Path("answer.csv"), "a message")


def upload_to_dataset(kaggle: Any) -> str:
    started = kaggle.datasets.start_upload(Path("answer.csv"))
    kaggle.datasets.upload(started.url, Path("answer.csv"), lambda done: None)
    return str(started.token)


def create_dataset(kaggle: Any) -> None:
    title = f"dataset-{next(_NUMBERS)}"
    kaggle.datasets.create(f"ada/{title}", title, "0" * 32, [upload_to_dataset(kaggle)])


def submissions(standin: Any) -> int:
    return len(standin.submissions["cars"])


PUSH = Call(
    "SaveKernel",
    lambda kaggle: str(kaggle.push(METADATA, "print()").ref),
    lambda standin: sum(version.ref.startswith("ada/new-kernel") for version in standin.versions()),
)
SUBMIT = Call("CreateSubmission", submit, submissions)
SUBMIT_CODE = Call(
    "CreateCodeSubmission",
    lambda kaggle: kaggle.submit_code("code", REF, "a.txt", "a message"),
    lambda standin: len(standin.submissions["code"]),
)
CREATE_DATASET = Call("CreateDataset", create_dataset, lambda standin: len(standin.dataset_methods.pushed) - 1)
CREATE_VERSION = Call(
    "CreateDatasetVersion",
    lambda kaggle: kaggle.datasets.create_version(DATASET, "0" * 32, [upload_to_dataset(kaggle)]),
    lambda standin: len(standin.dataset_methods.pushed[DATASET].versions) - 1,
)
ONCE = {
    "push": PUSH, "submit": SUBMIT, "submit_code": SUBMIT_CODE, "create_dataset": CREATE_DATASET,
    "create_version": CREATE_VERSION,
}  # fmt: skip
"""Calls whose effect must not happen twice."""
REPEATABLE = {
    "gpu_quota": Call("GetAcceleratorQuotaStatistics", lambda kaggle: kaggle.gpu_quota(), is_optional=True),
    "kernel_status": Call("GetKernelSessionStatus", lambda kaggle: kaggle.kernel_status(REF)),
    "kernel_source": Call("GetKernel", lambda kaggle: kaggle.kernel_source(REF)),
    "output_files-urls": Call(
        "ListKernelSessionOutput", lambda kaggle: [file.name for file in kaggle.output_files(REF)]
    ),
    "output_files-sizes": Call(
        "ListKernelFiles", lambda kaggle: [file.size for file in kaggle.output_files(REF)], is_optional=True
    ),
    "fetch": Call("output-file", fetch_output),
    "log": Call("ListKernelSessionOutput", lambda kaggle: kaggle.log(REF)),
    "follow_log": Call("GetKernelSessionLogsStream", lambda kaggle: list(kaggle.follow_log(REF))),
    "has_joined": Call("GetCompetition", lambda kaggle: kaggle.has_joined("cars")),
    "submissions": Call("ListSubmissions", lambda kaggle: kaggle.submissions("boats")),
    "submission": Call("GetSubmission", lambda kaggle: kaggle.submission(kaggle.submissions("boats")[0].ref)),
    "allowance": Call("GetSubmissionLimits", lambda kaggle: kaggle.allowance("cars")),
    "leaderboard": Call("GetLeaderboard", lambda kaggle: kaggle.leaderboard("cars")),
    "data_files": Call("ListDataFiles", lambda kaggle: kaggle.data_files("cars")),
    "download_data-redirect": Call("DownloadDataFiles", download_data),
    "download_data": Call("data-zip", download_data),
    "submit-start": Call("StartSubmissionUpload", submit, submissions),
    "submit-upload": Call("upload", submit, submissions),
    "dataset-find": Call("GetDataset", lambda kaggle: kaggle.datasets.find(DATASET).version),
    "dataset-state": Call("GetDatasetStatus", lambda kaggle: kaggle.datasets.state(DATASET)),
    "dataset-start": Call("StartBlobUpload", lambda kaggle: bool(upload_to_dataset(kaggle))),
    "dataset-upload": Call("upload", lambda kaggle: bool(upload_to_dataset(kaggle))),
}
CALLS = REPEATABLE | ONCE
