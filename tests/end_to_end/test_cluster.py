"""`--on ray` on a cluster of two machines: whatever is lost on the way, the results are those of `podium run`."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

import pytest
import yaml
from boxed_images import DETECTOR, prepare_squares
from command_line import run_podium
from ray.cluster_utils import Cluster

from podium.signals import EXIT_STOPPED

STAGE = {"name": "all", "unfreeze": "all", "batch_size": 8, "image_size": 32, "learning_rate": 0.005, "epochs": 4}
SEED = int(os.environ.get("PODIUM_KILL_SEED", "0"))
"""Of the random moments of ten kills."""
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


@dataclass(frozen=True)
class Case:
    """An ensemble, and what `podium run` makes of it without a cluster."""

    command: list[str]
    results: dict[str, bytes]
    submission: bytes

    def check(self, folder):
        assert results(folder / "runs") == self.results
        (submission,) = folder.glob("submissions/*.csv")
        assert submission.read_bytes() == self.submission
        assert not list((folder / "runs" / "clusters" / "storage").rglob("*.npz"))


@pytest.fixture(scope="module")
def make_case(make_tiny_competition, tmp_path_factory):
    def make(members, folds):
        folder = tmp_path_factory.mktemp("alone")
        competition = make_tiny_competition(folder / "tiny")
        members = [competition.member(f"member{number}", stages=[STAGE], seed=number) for number in range(members)]
        command = ["run", str(competition.ensemble(members)), "--data", str(competition.folder)]
        command += [word for fold in folds for word in ("--fold", str(fold))]
        done = run_podium(folder, *command)
        assert done.code == 0, done.err
        found = results(folder / "runs")
        assert len(found) == 2 + 3 * len(folds) * len(members)
        (submission,) = folder.glob("submissions/*.csv")
        return Case([*command, "--on", "ray"], found, submission.read_bytes())

    return make


@pytest.fixture(scope="module")
def case(make_case):
    """One member on one fold."""
    return make_case(1, [0])


def results(runs):
    return {
        path.relative_to(runs).as_posix(): path.read_bytes()
        for path in runs.rglob("*")
        if path.name in WEIGHTS_AND_PREDICTIONS and "clusters" not in path.parts
    }


def has_checkpoint(runs, run="*/*"):
    return bool(list((runs / "clusters" / "storage").glob(f"{run}/checkpoints/checkpoint-*.npz")))


def lose_a_machine(cluster, machines, runs, lost):
    """Kill all processes of a machine as soon as the run that it trains has a stored checkpoint."""
    while not lost:
        for machine in machines:
            process, run = trained_by(machine)
            if run and has_checkpoint(runs, run):
                os.kill(process, signal.SIGSTOP)  # it could finish before its machine is lost
                cluster.remove_node(machine, allow_graceful=False)
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                lost.append(run)
                return
        time.sleep(0.005)


def trained_by(machine):
    """The process of this machine that has locked a run, and the run."""
    (raylet,) = machine.all_processes["raylet"]
    with suppress(OSError):  # a process has just ended
        children = Path(f"/proc/{raylet.process.pid}/task/{raylet.process.pid}/children").read_text()
        for child in children.split():
            for file in Path(f"/proc/{child}/fd").iterdir():
                path = file.readlink()
                if path.suffix == ".lock" and path.parts[-3].startswith("podium-runs-"):
                    return int(child), Path(path.parent.name, path.stem.removeprefix("."))
    return 0, None


def run_until_a_checkpoint(command, folder, number, run="*/*"):
    """Start the command in a process of its own, and send it this signal when the first checkpoint is stored."""
    with subprocess.Popen(
        [sys.executable, "-m", "podium", *command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        while not has_checkpoint(folder / "runs", run):
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.05)
        process.send_signal(number)
        return process.wait(), process.stderr.read().decode()


def lose_one_and_check(case, tmp_path, two_machines):
    lost = []
    threading.Thread(target=lose_a_machine, args=(*two_machines, tmp_path / "runs", lost), daemon=True).start()
    done = run_podium(tmp_path, *case.command)
    assert done.code == 0, done.err
    case.check(tmp_path)
    assert (tmp_path / "runs" / lost[0] / "resumes.csv").is_file()


def test_a_fold_of_a_lost_machine_is_resumed_on_the_other_one(case, tmp_path, two_machines):
    lose_one_and_check(case, tmp_path, two_machines)


@pytest.mark.slow
def test_two_members_survive_a_lost_machine(make_case, tmp_path, two_machines):
    lose_one_and_check(make_case(2, [0, 1]), tmp_path, two_machines)


@pytest.mark.slow
def test_jobs_go_on_when_their_command_is_killed_and_are_fetched_by_the_next_one(case, tmp_path, two_machines):
    run_until_a_checkpoint(case.command, tmp_path, signal.SIGKILL)
    assert run_podium(tmp_path, "jobs").code == 0
    done = run_podium(tmp_path, *case.command)
    assert done.code == 0, done.err
    case.check(tmp_path)
    assert not list((tmp_path / "runs").glob("*/*/resumes.csv"))  # nothing was trained twice


@pytest.mark.kill
def test_nothing_is_lost_or_trained_twice_by_ten_kills_of_the_command(make_case, tmp_path, two_machines):
    """At random moments, from its start to its end; where it ended before, the next one starts in an empty folder."""
    case, random, kills, seconds = make_case(2, [0]), Random(SEED), [], 60.0
    for number in count():
        folder = tmp_path / str(number)
        folder.mkdir()
        start = time.monotonic()
        while len(kills) < 10:
            with subprocess.Popen(
                [sys.executable, "-m", "podium", *case.command], cwd=folder, stdout=subprocess.DEVNULL
            ) as process:
                try:
                    assert process.wait(random.uniform(0, seconds)) == 0, kills
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    kills.append((number, round(time.monotonic() - start, 1)))
        seconds = min(seconds, time.monotonic() - start)
        done = run_podium(folder, *case.command)
        assert done.code == 0, (kills, done.err)
        case.check(folder)
        assert not list((folder / "runs").glob("*/*/resumes.csv")), kills
        if len(kills) == 10:
            break
    print(f"kills with seed {SEED}, by folder and seconds after its first start: {kills}")


@pytest.mark.slow
def test_ctrl_c_stops_the_jobs_and_the_next_command_resumes_them(case, tmp_path, two_machines):
    code, error = run_until_a_checkpoint(case.command, tmp_path, signal.SIGINT)
    assert code == EXIT_STOPPED
    assert "resume with: podium run" in error
    assert "does not know it" in run_podium(tmp_path, "jobs").out
    done = run_podium(tmp_path, *case.command)
    assert done.code == 0, done.err
    case.check(tmp_path)
    assert list((tmp_path / "runs").glob("*/*/resumes.csv"))


@pytest.mark.slow
def test_detached_jobs_are_listed_stopped_and_fetched(case, tmp_path, two_machines):
    done = run_podium(tmp_path, *case.command, "--detach")
    assert "the jobs are submitted; podium jobs shows them" in done.out
    assert "fold 0" in run_podium(tmp_path, "jobs").out
    (queue,) = (tmp_path / "runs" / "clusters").glob("tiny_ensemble-*")
    assert run_podium(tmp_path, "jobs", "--stop", queue.name).code == 0
    assert "stopped" in run_podium(tmp_path, "jobs").out
    done = run_podium(tmp_path, *case.command)
    assert done.code == 0, done.err
    case.check(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_search_shares_its_trials_between_machines_and_continues_them(
    number, make_tiny_competition, tmp_path, two_machines
):
    competition = make_tiny_competition(tmp_path / "tiny")
    values = {"stages.0.learning_rate": {"low": 0.001, "high": 0.01, "log": True}}
    member = competition.member("member", stages=[STAGE], search=values)
    command = ["search", str(member), "--data", str(competition.folder), "--trials", "3", "--on", "ray"]
    run_until_a_checkpoint(command, tmp_path, number, "*/*/*")
    done = run_podium(tmp_path, *command)
    assert done.code == 0, done.err
    assert "3 trials complete, 0 pruned" in done.out
    (folder,) = (tmp_path / "runs" / "search").glob("member-*")
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["complete"] * 3
    assert {row["run"] for row in rows} == {path.name for path in folder.glob("member-*")}  # no other was trained
    assert not list((tmp_path / "runs" / "clusters" / "storage").rglob("*.npz"))


@pytest.mark.slow
def test_images_are_checked_on_the_cluster_as_here(make_tiny_competition, tmp_path, two_machines, monkeypatch):
    monkeypatch.setattr("podium.workflows.cluster_check.PER_TASK", 20)
    competition = make_tiny_competition(tmp_path / "tiny")
    command = ["data", "check", str(competition.config), "--data", str(competition.folder), "--json"]
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "here"))
    here = run_podium(tmp_path, *command)
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "cluster"))
    there = run_podium(tmp_path, *command, "--on", "ray")
    assert there.code == 0, there.err
    assert there.out == here.out
    assert not list((tmp_path / "runs" / "clusters" / "storage").rglob("*.npy"))


@pytest.mark.slow
def test_a_detector_of_a_lost_machine_is_resumed_on_the_other_one(tmp_path, two_machines):
    weights = []
    for name, more in (("here", ()), ("there", ("--on", "ray"))):
        folder, lost = prepare_squares(tmp_path / name), []
        detector = DETECTOR | {"stages": [{**STAGE, "batch_size": 4, "image_size": 64}]}
        (folder / "squares.yaml").write_text(yaml.safe_dump(detector))
        if more:
            loser = threading.Thread(target=lose_a_machine, args=(*two_machines, folder / "runs", lost), daemon=True)
            loser.start()
        done = run_podium(folder, "detect", "train", "squares.yaml", "--data", "data", *more)
        assert done.code == 0, done.err
        (best,) = folder.glob("runs/squares-*/**/best.weights.h5")
        weights.append(best.read_bytes())
    assert weights[0] == weights[1]
    assert (folder / "runs" / lost[0] / "resumes.csv").is_file()


@pytest.mark.slow
def test_a_run_that_was_trained_here_is_only_predicted_on_the_cluster(case, tmp_path, two_machines):
    (member,) = Path(case.command[1]).parent.glob("member*.yaml")
    trained = run_podium(tmp_path, "train", str(member), *case.command[2:4], "--fold", "0")
    assert trained.code == 0, trained.err
    (run,) = (tmp_path / "runs").glob("member*/fold0")
    (run / "mine.txt").write_text("kept")
    done = run_podium(tmp_path, *case.command)
    assert done.code == 0, done.err
    case.check(tmp_path)
    assert (run / "mine.txt").is_file()
