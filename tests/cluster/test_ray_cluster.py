"""Tasks on a Ray cluster of this machine."""

import time
import warnings

import pytest

from podium.cluster.ray_cluster import Jobs, Resources, connected


@pytest.mark.slow
def test_tasks_that_report_keep_their_cpus(tmp_path, monkeypatch):
    """A machine of one CPU runs one task at a time."""
    from ray.cluster_utils import Cluster

    def work(file, report):
        """Write a line at the start and at the end, and report in between."""
        with file.open("a") as stream:
            print("start", file=stream, flush=True)
            for number in range(50):
                report(f"step {number}", ())
                time.sleep(0.01)
            print("end", file=stream)
        return "written"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        with connected("ray"):
            jobs = Jobs.start("podium-test")
            for number in range(3):
                jobs.submit(str(number), work, tmp_path / "lines", Resources(1, 0))
            while {state.state for state in jobs.states().values()} != {"done"}:
                assert "failed" not in {state.state for state in jobs.states().values()}
                time.sleep(0.1)
    finally:
        cluster.shutdown()
    assert (tmp_path / "lines").read_text().split() == ["start", "end"] * 3
