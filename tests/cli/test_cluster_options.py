"""`--on`, and `podium jobs`, without a cluster."""

import io
import json

import pytest
from rich.console import Console

from podium.cli.options import resume_command
from podium.cli.queues import show_queue
from podium.cluster import ray_cluster
from podium.progress import progress_bar
from podium.workflows.cluster import ClusterJob, ClusterQueue


@pytest.fixture
def ensemble(tiny_competition):
    return tiny_competition.ensemble([tiny_competition.member("one")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--on", "spark"), "--on spark: expected ray, or ray://HOST:PORT"),
        (("--storage", "s3://x"), "--storage is for runs on a cluster: add --on ray, or remove it"),
        (("--detach",), "--detach is for runs on a cluster"),
        (("--on", "ray://127.0.0.1:1"), "--on ray://127.0.0.1:1 needs --storage, which all its machines reach"),
        (("--on", "ray", "--time-limit", "1h"), "--time-limit is for runs in this process: remove it, or --on"),
        (("--on", "ray", "--storage", "nothing://x"), "--storage nothing://x: ValueError: Protocol not known: nothing"),
    ],
)
def test_wrong_options_are_one_line(options, message, ensemble, tiny_competition, tmp_path, podium_in):
    result = podium_in(tmp_path, "run", ensemble, "--data", tiny_competition.folder, *options)
    assert result.code == 1
    assert message in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize("module", ["ray", "fsspec"])
def test_what_is_not_installed_is_named(module, ensemble, tiny_competition, tmp_path, podium_in, monkeypatch):
    for place in ("podium.cluster.ray_cluster", "podium.cluster.storage"):
        monkeypatch.setattr(f"{place}.find_spec", lambda name: None if name == module else True)
    result = podium_in(tmp_path, "run", ensemble, "--data", tiny_competition.folder, "--on", "ray")
    assert result.code == 1
    assert "pip install 'podium-kit[ray]'" in result.err


def test_extra_rows_outside_the_data_are_refused(tiny_competition, tmp_path, podium_in):
    outside = {"extra": [{"images": f"{tmp_path}/more/*.jpg", "label": "0"}]}
    ensemble = tiny_competition.ensemble([tiny_competition.member("one", **outside)])
    result = podium_in(tmp_path, "run", ensemble, "--data", tiny_competition.folder, "--on", "ray")
    assert result.code == 1
    assert "of its extra rows is outside the data folder: move it there" in result.err


@pytest.fixture
def queue(tmp_path):
    done = ClusterJob(run="one-12345678/fold0", label="one fold 0", state="done", message="0.9", machine="10.0.0.1")
    queued = ClusterJob(run="one-12345678/fold1", label="one fold 1")
    folder = tmp_path / "runs" / "clusters" / "demo-1"
    return ClusterQueue(folder, tmp_path / "demo.yaml", [done, queued], "ray", "s3://bucket")


def test_the_table_leaves_the_terminal_to_progress_bars_before_and_after(queue):
    console = Console(force_terminal=True, file=io.StringIO(), width=100)
    with show_queue(console) as show:
        for state in ("queued", "running", "done"):
            if state == "queued":
                with progress_bar(console, "reading", 2) as advance:
                    advance(1, None)
            queue.jobs[1].set(state)
            show(queue)
        with progress_bar(console, "predicting", 2) as advance:
            advance(1, None)
    assert "one fold 1" in console.file.getvalue()


def test_jobs_lists_what_ran(queue, tmp_path, podium_in):
    assert podium_in(tmp_path, "jobs").out.startswith("no jobs in runs")
    queue.jobs[1].set("failed", "it is broken")
    queue.save()
    out = podium_in(tmp_path, "jobs").out
    assert "one fold 0" in out
    assert "10.0.0.1" in out
    assert "it is broken" in out
    (listed,) = json.loads(podium_in(tmp_path, "jobs", "--json").out)
    assert [job["state"] for job in listed["jobs"]] == ["done", "failed"]


def test_jobs_of_a_cluster_that_is_gone_are_listed_with_an_error(queue, tmp_path, podium_in, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    queue.save()
    result = podium_in(tmp_path, "jobs")
    assert result.code == 1
    assert "one fold 1" in result.out
    assert result.err.startswith("podium: demo-1: ")
    assert "no jobs on a cluster are named x" in podium_in(tmp_path, "jobs", "--stop", "x").err


def test_a_damaged_queue_is_one_line(queue, tmp_path, podium_in):
    queue.save()
    (queue.folder / "queue.json").write_text("{")
    result = podium_in(tmp_path, "jobs")
    assert result.code == 1
    assert "queue.json cannot be read" in result.err


@pytest.mark.parametrize(
    ("machines", "wanted", "expected"),
    [
        ([{"CPU": 4}, {"CPU": 2}], (None, None), (2, 0)),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 2}], (None, None), (4, 1)),
        ([{"CPU": 16, "GPU": 4}], (None, 2), (8, 2)),
        ([{"CPU": 4}], (1, None), (1, 0)),
        ([{"CPU": 2, "GPU": 4}], (None, None), (1, 1)),
    ],
)
def test_a_run_gets_a_machine_or_a_gpu_and_its_share_of_the_cpus(machines, wanted, expected, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": machine} for machine in machines])
    found = ray_cluster.resources_per_task(ray_cluster.Resources(*wanted))
    assert (found.cpus, found.gpus) == expected


@pytest.mark.parametrize(
    ("typed", "resumes"),
    [
        (["detect", "train", "boats.yaml"], "detect train boats.yaml --resume"),
        (["detect", "train", "boats.yaml", "--on", "ray"], "detect train boats.yaml --on ray"),
        (["detect", "train", "boats.yaml", "--on=ray"], "detect train boats.yaml --on=ray"),
    ],
)
def test_a_command_on_a_cluster_resumes_as_it_was_typed(typed, resumes, monkeypatch):
    monkeypatch.setattr("sys.argv", ["podium", *typed])
    assert resume_command() == f"podium {resumes}"
