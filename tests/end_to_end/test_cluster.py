"""`--on ray`: a cluster of two machines, one of which is lost while it trains; the results are those of `podium run`."""

import os
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import run_podium

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

STAGE = {"name": "all", "unfreeze": "all", "batch_size": 8, "image_size": 32, "learning_rate": 0.005}
WEIGHTS_AND_PREDICTIONS = ("best.weights.h5", "oof.csv", "test.csv")


@pytest.fixture
def two_machines(monkeypatch):
    """The cluster, and its two machines with one CPU each beside the head, which has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        machines = [cluster.add_node(num_cpus=1) for _ in range(2)]
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster, machines
    cluster.shutdown()


def results(runs):
    return {
        path.relative_to(runs).as_posix(): path.read_bytes()
        for path in runs.rglob("*")
        if path.name in WEIGHTS_AND_PREDICTIONS and "clusters" not in path.parts
    }


def lose_a_machine(cluster, machines, storage, lost):
    """Kill all processes of a machine as soon as the run that it trains has a stored checkpoint."""
    while not lost:
        for machine in machines:
            run = trained_by(machine)
            if run and list((storage / run / "checkpoints").glob("checkpoint-*.npz")):
                cluster.remove_node(machine, allow_graceful=False)
                lost.append(run)
                return
        time.sleep(0.005)


def trained_by(machine):
    """The run that a process of this machine has locked."""
    (raylet,) = machine.all_processes["raylet"]
    with suppress(OSError):  # a process has just ended
        children = Path(f"/proc/{raylet.process.pid}/task/{raylet.process.pid}/children").read_text()
        for child in children.split():
            for file in Path(f"/proc/{child}/fd").iterdir():
                path = Path(os.readlink(file))
                if path.suffix == ".lock" and path.parts[-3].startswith("podium-runs-"):
                    return Path(path.parent.name, path.stem.removeprefix("."))
    return None


def check(tmp_path, competition, members, two_machines):
    config, alone, runs = competition.ensemble(members), tmp_path / "alone", tmp_path / "runs"
    alone.mkdir()
    done = run_podium(alone, "run", config, "--data", competition.folder)
    assert done.code == 0, done.err
    storage, lost = runs / "clusters" / "storage", []
    threading.Thread(target=lose_a_machine, args=(*two_machines, storage, lost), daemon=True).start()
    done = run_podium(tmp_path, "run", config, "--data", competition.folder, "--on", "ray")
    assert done.code == 0, done.err
    assert results(runs) == results(alone / "runs")
    assert len(results(runs)) == 2 + 3 * 2 * len(members)
    (first,), (second,) = alone.glob("submissions/*.csv"), tmp_path.glob("submissions/*.csv")
    assert first.read_bytes() == second.read_bytes()
    assert (runs / lost[0] / "resumes.csv").is_file()
    assert not list(storage.rglob("*.npz"))


def test_a_fold_of_a_lost_machine_is_resumed_on_the_other_one(tmp_path, tiny_competition, two_machines):
    check(tmp_path, tiny_competition, [tiny_competition.member("one", stages=[{**STAGE, "epochs": 6}])], two_machines)
