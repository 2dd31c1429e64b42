"""A queue of jobs on other machines: kernels on Kaggle, or tasks of a Ray cluster.

<folder>/
  queue.json    what the jobs share, and each job with its state
  down          exists after the queue was stopped: no more jobs are started
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from podium.files import write_json
from podium.retries import pause

State = Literal["queued", "pushing", "running", "done", "failed"]


class QueuedJob(BaseModel):
    model_config = ConfigDict(extra="forbid")

    state: State = "queued"
    message: str = ""

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def place(self) -> str:
        """Where it runs."""
        raise NotImplementedError

    def set(self, state: State, message: str = "") -> None:
        self.state, self.message = state, message


AnyJob = TypeVar("AnyJob", bound=QueuedJob)


@dataclass
class Queue(Generic[AnyJob]):
    folder: Path
    config: Path
    """The config file of the jobs."""
    jobs: list[AnyJob]
    place_heading: ClassVar[str] = "version"

    @property
    def is_finished(self) -> bool:
        return all(job.state in ("done", "failed") for job in self.jobs)

    @property
    def is_done(self) -> bool:
        return all(job.state == "done" for job in self.jobs)

    @property
    def is_stopped(self) -> bool:
        return self._stop_mark.exists()

    @property
    def _stop_mark(self) -> Path:
        return self.folder / "down"

    @property
    def failures(self) -> str:
        """The failed jobs with their messages; empty if there are none."""
        failed = [f"{job.name} ({job.message})" for job in self.jobs if job.state == "failed"]
        return f"{len(failed)} of {len(self.jobs)} jobs failed: {'; '.join(failed)}" if failed else ""

    def shared(self) -> dict[str, Any]:
        """What the jobs share, for queue.json."""
        return {}

    def stop(self) -> None:
        """Start no more jobs; a process that follows the queue notices it in the next round."""
        self._stop_mark.touch()

    def start(self) -> None:
        """Continue, including jobs that failed before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stop_mark.unlink(missing_ok=True)
        for job in self.jobs:
            if job.state == "failed":
                job.set("queued")
        self.save()

    def save(self) -> None:
        jobs = [job.model_dump(mode="json") for job in self.jobs]
        write_json(self.folder / "queue.json", {"config": str(self.config), **self.shared(), "jobs": jobs})

    def describe(self) -> dict[str, Any]:
        """The state of the queue and its jobs, for JSON output."""
        return {
            "config": str(self.config),
            "folder": str(self.folder),
            "stopped": self.is_stopped,
            "jobs": [
                {"name": job.name, "state": job.state, self.place_heading: job.place or None, "message": job.message}
                for job in self.jobs
            ],
        }


AnyQueue = Queue[Any]
OnRound = Callable[[AnyQueue], None]


def follow(queue: AnyQueue, advance: Callable[[], float], on_round: OnRound) -> None:
    """Call `advance`, which returns the seconds until its next call, until all jobs have ended or it is stopped."""
    while True:
        seconds = advance()
        on_round(queue)
        if queue.is_finished or queue.is_stopped:
            return
        pause(seconds)
