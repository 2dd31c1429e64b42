"""Rounds of jobs on a cluster, without one."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from podium.cluster.ray_cluster import Coordinator, JobState, Resources, resources_per_task
from podium.cluster.storage import Storage
from podium.errors import MachineError, RunError
from podium.locks import locked
from podium.workflows.cluster import (
    ClusterJob,
    ClusterQueue,
    Rounds,
    fetch,
    refresh,
)
from podium.workflows.cluster_task import Work, compared_versions, run_work, store


class Tasks:
    """Knows the states of some jobs."""

    def __init__(self, **states):
        self.known, self.submitted = states, []

    def states(self):
        return self.known

    def submit(self, name, *_):
        self.submitted.append(name)


def queue_of(folder, *names):
    return ClusterQueue(folder, folder / "a.yaml", [ClusterJob(run=name, label=name) for name in names], "ray", "")


def test_a_run_that_another_command_has_fetched_is_not_trained_again(tmp_path):
    queue, tasks, done = queue_of(tmp_path, "fetched", "new", "finished"), Tasks(finished=JobState("done")), []
    jobs, works = queue.jobs, {job.run: None for job in queue.jobs}
    Rounds(queue, tasks, None, works, Resources(), done.append, lambda name: name == "fetched")()
    assert [job.state for job in jobs] == ["done", "queued", "done"]
    assert (tasks.submitted, done) == (["new"], ["finished"])


def test_a_run_that_another_command_has_stopped_is_submitted_again(tmp_path):
    stopped = JobState("failed", "stopped by its command", error="StoppedError")
    queue, tasks = queue_of(tmp_path, "stopped", "failed"), Tasks(stopped=stopped, failed=JobState("failed", "no data"))
    rounds = Rounds(queue, tasks, None, {"stopped": None, "failed": None}, Resources())
    for job in queue.jobs:
        job.set("running", "all 1")
    rounds()
    assert tasks.submitted == ["stopped"]
    assert [job.state for job in queue.jobs] == ["queued", "failed"]
    queue.jobs[0].set("running", "all 2")
    queue.stop()
    rounds()
    assert tasks.submitted == ["stopped"]
    assert queue.jobs[0].state == "failed"


def test_the_states_of_a_queue_that_a_command_follows_are_left_to_it(tmp_path):
    queue = queue_of(tmp_path / "queue", "one")
    queue.address = "ray://127.0.0.1:1"
    queue.start()
    with locked(queue.folder):
        refresh(queue)
    assert queue.jobs[0].state == "queued"


def test_a_machine_that_does_not_reach_the_storage_trains_nothing(tmp_path, monkeypatch):
    work = Work(None, "one/fold0", ("folds",), {"data": tmp_path}, str(tmp_path / "other"), compared_versions())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MachineError, match=r"finds no folds in .*other: --storage has to be a folder or an address"):
        run_work(work, None)
    assert Path.cwd() == work.folder  # where weights and presets are found


def test_a_checkpoint_that_cannot_be_stored_does_not_end_the_training(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "state.json").write_text("{}")
    (tmp_path / "storage").write_text("a file")
    console = Console(file=StringIO(), width=200)
    store(Storage(str(tmp_path / "storage")), run, "one/fold0", console)
    assert console.file.getvalue().startswith("  --storage ")


@pytest.mark.parametrize(
    ("wanted", "variables"),
    [
        (Resources(), {"PODIUM_WORKERS": "8"}),
        (Resources(gpus=0), {"PODIUM_WORKERS": "8", "CUDA_VISIBLE_DEVICES": "-1"}),
        (Resources(gpus=0.5), {"PODIUM_WORKERS": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}),
        (
            Resources(3, 1),
            {"PODIUM_WORKERS": "3", "TF_NUM_INTRAOP_THREADS": "3", "OMP_NUM_THREADS": "3"},
        ),
    ],
    ids=["default", "no GPU", "half a GPU", "three CPUs"],
)
def test_a_task_uses_no_more_than_its_share_of_a_machine(wanted, variables, monkeypatch):
    machines = [{"Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}} for cpus, gpus in ((8.0, 1.0), (16.0, 4.0))]
    if wanted.gpus is None:
        machines = machines[:1]
    elif wanted.gpus == 0.5:
        machines = machines[1:]
    monkeypatch.setattr("ray.nodes", lambda: machines)
    assert resources_per_task(wanted).variables == variables


def test_a_task_is_interrupted_once(monkeypatch):
    """A second interrupt would end it before its checkpoint is saved."""
    interrupted = []
    monkeypatch.setattr("ray.cancel", lambda reference, force: interrupted.append(reference))
    coordinator = Coordinator()
    coordinator._references["one"] = "reference"
    for _ in range(2):
        coordinator.cancel(["one"])
    assert interrupted == ["reference"]


def test_a_stored_run_with_a_damaged_state_is_not_fetched(tmp_path):
    made, target, storage = tmp_path / "made", tmp_path / "runs" / "one-1" / "fold0", Storage(str(tmp_path / "storage"))
    made.mkdir()
    (made / "state.json").write_text('{"status": "trained"}')
    (made / "best.weights.h5").write_bytes(b"weights")
    storage.push(made, "one-1/fold0")
    with pytest.raises(RunError, match=r"storage has no complete one-1/fold0: delete it there"):
        fetch(storage, "one-1/fold0", target)
    assert not target.exists()
    assert storage.pull("one-1/fold0", tmp_path / "again")
