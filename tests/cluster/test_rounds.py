"""Rounds of jobs on a cluster, without one."""

from podium.cluster.ray_cluster import JobState, Resources
from podium.workflows.cluster import ClusterJob, ClusterQueue, Rounds


class Tasks:
    """Knows the states of some jobs."""

    def __init__(self, **states):
        self.known, self.submitted = states, []

    def states(self):
        return self.known

    def submit(self, name, *_):
        self.submitted.append(name)


def test_a_run_that_another_command_has_fetched_is_not_trained_again(tmp_path):
    jobs = [ClusterJob(run=name, label=name) for name in ("fetched", "new", "finished")]
    queue, tasks, done = (
        ClusterQueue(tmp_path, tmp_path / "a.yaml", jobs, "ray", ""),
        Tasks(finished=JobState("done")),
        [],
    )
    works = {job.run: None for job in jobs}
    Rounds(queue, tasks, None, works, Resources(), done.append, lambda name: name == "fetched")()
    assert [job.state for job in jobs] == ["done", "queued", "done"]
    assert (tasks.submitted, done) == (["new"], ["finished"])
