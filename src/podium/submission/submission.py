"""A submission as Kaggle reports it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

SubmissionState = Literal["pending", "complete", "error"]


@dataclass(frozen=True)
class Submission:
    ref: int
    file_name: str
    date: datetime | None
    description: str
    status: SubmissionState
    public_score: float | None
    private_score: float | None
    error: str = ""
