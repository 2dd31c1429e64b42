"""A queue of jobs: what it saves and describes, and how long it is followed."""

from pathlib import Path

import pytest

from podium.files import read_json
from podium.jobs import queue as queue_module
from podium.jobs.queue import Queue, QueuedJob, follow


class Letter(QueuedJob):
    letter: str

    @property
    def name(self):
        return self.letter

    @property
    def place(self):
        return "there" if self.state == "running" else ""


@pytest.fixture
def queue(tmp_path):
    """One job of each kind, by their first letters."""
    states = ("queued", "running", "done", "failed")
    jobs = [Letter(letter=state[0], state=state, message=f"it is {state}") for state in states]
    return Queue(tmp_path / "queues" / "one", Path("letters.yaml"), jobs)


def test_a_queue_starts_again_with_its_failed_jobs(queue):
    queue.start()
    queue.stop()
    assert queue.is_stopped
    assert (queue.folder / "down").is_file()
    queue.start()
    assert not queue.is_stopped
    assert [job.state for job in queue.jobs] == ["queued", "running", "done", "queued"]
    saved = read_json(queue.folder / "queue.json")
    assert saved["config"] == "letters.yaml"
    assert [Letter.model_validate(job) for job in saved["jobs"]] == queue.jobs


def test_a_queue_is_described_for_other_programs(queue):
    queue.start()
    assert queue.describe() == {
        "config": "letters.yaml",
        "folder": str(queue.folder),
        "stopped": False,
        "jobs": [
            {"name": "q", "state": "queued", "version": None, "message": "it is queued"},
            {"name": "r", "state": "running", "version": "there", "message": "it is running"},
            {"name": "d", "state": "done", "version": None, "message": "it is done"},
            {"name": "f", "state": "queued", "version": None, "message": ""},
        ],
    }


def test_failures_are_named_with_their_reasons(queue):
    assert queue.failures == "1 of 4 jobs failed: f (it is failed)"
    queue.jobs[0].set("failed", "no data")
    assert queue.failures == "2 of 4 jobs failed: q (no data); f (it is failed)"
    queue.jobs = queue.jobs[1:3]
    assert queue.failures == ""


@pytest.mark.parametrize(("ends", "is_done"), [("done", True), ("failed", False), (None, False)])
def test_a_queue_is_followed_until_its_jobs_have_ended_or_it_is_stopped(ends, is_done, queue, monkeypatch):
    queue.jobs = queue.jobs[:1]
    queue.start()
    rounds, shown, waited = [], [], []

    def advance():
        rounds.append(len(rounds))
        if len(rounds) == 3:
            queue.jobs[0].set(ends) if ends else queue.stop()
        return 7.0

    monkeypatch.setattr(queue_module, "pause", waited.append)
    follow(queue, advance, lambda queue: shown.append(queue.jobs[0].state))
    assert (len(rounds), waited) == (3, [7.0, 7.0])
    assert shown == ["queued", "queued", ends or "queued"]
    assert (queue.is_finished, queue.is_done) == (ends is not None, is_done)
