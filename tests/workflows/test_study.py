"""Studies over a function of two numbers, which stands in for a training."""

import math
import os
import select
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from optuna import TrialPruned
from optuna.trial import TrialState

from podium.errors import RunError, StoppedError
from podium.signals import Interrupted, StopCondition
from podium.workflows import study as studies
from podium.workflows.study import best_first, draw_study, importances, open_study, run_trials

PROCESS = """
import os, sys, time
from pathlib import Path
from podium.signals import StopCondition
from podium.workflows.study import open_study, run_trials

study = open_study(Path(sys.argv[1]), "minimize", 5, 0)

def objective(trial):
    trial.set_user_attr("process", os.getpid())
    value = trial.suggest_float("x", 0.0, 1.0)
    print(value, flush=True)
    {wait}
    return value

run_trials(study, Path(sys.argv[1]), objective, {total}, 1, StopCondition(), "")
"""
UNTIL_BOTH_RUN = 'while len({t.user_attrs.get("process") for t in study.trials}) < 2: time.sleep(0.01)'


def peak(trial):
    """Highest, with 1, at x = 0.3; y hardly matters."""
    x, y = trial.suggest_float("x", 0.0, 1.0), trial.suggest_int("y", 1, 3)
    return 1 - (x - 0.3) ** 2 + y / 1000


def search(folder, objective=peak, total=8, seed=1, startup=5, warmup=0):
    study = open_study(folder, "maximize", startup, warmup)
    run_trials(study, folder, objective, total, seed, StopCondition(), "podium search a.yaml")
    return study


def started(folder, total, wait):
    script = PROCESS.format(total=total, wait=wait)
    command = [sys.executable, "-W", "error", "-c", script, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_later_trials_are_near_the_best(tmp_path):
    study = search(tmp_path / "study", total=30)
    late = [abs(trial.params["x"] - 0.3) for trial in study.trials[20:]]
    assert sum(late) / len(late) < 0.15  # a random one is 0.29 away on average
    assert best_first(study)[0].number == study.best_trial.number
    assert list(importances(study)) == ["x", "y"]
    assert importances(study)["x"] > 0.9
    draw_study(study, "a member", "accuracy", tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_resumed_study_tries_the_same_values_as_an_uninterrupted_one(tmp_path):
    search(tmp_path / "resumed", total=5)
    resumed = search(tmp_path / "resumed", total=13)
    whole = search(tmp_path / "whole", total=13)
    assert [trial.params for trial in resumed.trials] == [trial.params for trial in whole.trials]
    other = search(tmp_path / "other", total=1, seed=2)
    assert other.trials[0].params != whole.trials[0].params


def test_a_trial_below_the_median_is_pruned(tmp_path):
    levels = iter([0.5, 0.6, 0.7, 0.55, 0.65])
    epochs = {}

    def objective(trial):
        level = next(levels)
        for epoch in range(4):
            trial.report(level + epoch / 100, epoch)
            epochs[trial.number] = epoch + 1
            if trial.should_prune():
                raise TrialPruned
        return level

    study = search(tmp_path / "study", objective, total=5, startup=3, warmup=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3 + ["PRUNED", "COMPLETE"]
    assert epochs == {0: 4, 1: 4, 2: 4, 3: 3, 4: 4}
    assert [trial.number for trial in best_first(study)] == [2, 4, 1, 0, 3]
    draw_study(study, "a member", "accuracy", tmp_path / "search.png")


@pytest.mark.parametrize("reason", [StoppedError("SIGINT: stopped"), Interrupted("SIGINT")])
def test_a_stopped_trial_is_the_next_one_with_the_same_values(reason, tmp_path):
    seen = []

    def objective(trial):
        seen.append(trial.suggest_float("x", 0.0, 1.0))
        if len(seen) == 2:
            raise reason
        return seen[-1]

    with pytest.raises(StoppedError, match=r"^SIGINT: stopped"):
        search(tmp_path / "study", objective, total=3)
    study = search(tmp_path / "study", objective, total=3)
    assert seen[1] == seen[2]
    assert len(set(seen)) == 3
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_no_trial_starts_after_a_request_to_stop(tmp_path):
    stop, study = StopCondition(), open_study(tmp_path / "study", "maximize", 5, 0)
    stop.request("SIGTERM")
    with pytest.raises(StoppedError, match="SIGTERM: stopped between two trials; resume with: podium search"):
        run_trials(study, tmp_path / "study", peak, 3, 1, stop, "podium search a.yaml")
    assert study.trials == []


def test_a_trial_of_a_killed_process_is_requeued_with_its_values(tmp_path):
    folder = tmp_path / "study"
    with started(folder, 1, "time.sleep(60)") as process:
        assert select.select([process.stdout], [], [], 60)[0], process.stderr.read()
        value = float(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    with closing(sqlite3.connect(folder / "study.db")) as database:  # as if a minute had passed
        database.execute("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-62 seconds')")
        database.commit()
    study = search(folder, lambda trial: trial.suggest_float("x", 0.0, 1.0), total=1)
    assert [(trial.state, trial.params["x"]) for trial in study.trials] == [
        (TrialState.FAIL, value),
        (TrialState.COMPLETE, value),
    ]


@pytest.mark.slow
def test_processes_share_the_trials_of_a_study(tmp_path):
    processes = [started(tmp_path / "study", 6, UNTIL_BOTH_RUN) for _ in range(2)]
    printed = [process.communicate(timeout=100) for process in processes]
    assert [error for _, error in printed] == ["", ""]
    values = [float(line) for out, _ in printed for line in out.split()]
    study = open_study(tmp_path / "study", "minimize", 5, 0)
    assert sorted(values) == sorted(trial.value for trial in study.trials)
    assert len(set(values)) == 6
    assert {trial.user_attrs["process"] for trial in study.trials} == {process.pid for process in processes}


def test_importance_needs_trials_that_differ(tmp_path):
    assert importances(search(tmp_path / "few", total=3)) == {}
    assert importances(search(tmp_path / "equal", lambda trial: math.floor(trial.suggest_float("x", 0, 1)))) == {}


def test_a_study_that_another_process_writes_to_is_not_to_be_moved_away(tmp_path, monkeypatch):
    open_study(tmp_path, "minimize", 5, 0)
    monkeypatch.setattr(studies, "DATABASE_SECONDS", 0)
    with closing(sqlite3.connect(tmp_path / "study.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RunError, match=r"database is locked.*; another process has written to it") as error:
            open_study(tmp_path, "minimize", 5, 0)
    assert "move it away" not in str(error.value)
