"""An ensemble on Kaggle from push to score: four kernels that really run, one of them out of time, and three kills.

The stand-in runs what is pushed with the local rehearsal, and behaves as Kaggle is reported to behave. The process that
drives the fleet is killed.
"""

import csv
import os
import signal
import subprocess
import sys

import pytest
from standin.faults import Fault
from standin.reported import as_reported
from standin.sessions import run_pushed

QUICK, LONG = 2, 150
"""Epochs. A long training takes many times as long as everything before its first epoch."""
TIMEOUT = 900
"""Seconds, for the slowest of machines."""


@pytest.fixture
def kaggle(standin, tiny_competition):
    """The stand-in, running what is pushed. The first version of `long` fold 0 gets a time limit that is too short: one
    and a half times what the quick kernels took."""
    seconds = {}

    def run(version, inputs, working):
        is_too_short = version.ref.endswith("long-fold0/1")
        smaller = {"time_limit": 1.5 * max(seconds.values())} if is_too_short else None
        code, lines = run_pushed(version, inputs, working, smaller)
        seconds[version.ref] = max(line.time for line in lines)
        return code, lines

    standin.runner = run
    standin.reported = as_reported()
    standin.log_in()
    standin.fail("GetKernelSessionStatus", Fault.status(429, retry_after=1000), after=10)
    standin.fail("SaveKernel", Fault.reset_before(after_effect=True), after=2)
    standin.add_competition("tiny-squares", tiny_competition.folder, answers=tiny_competition.answers)
    return standin


@pytest.fixture
def command(kaggle, tiny_competition, tmp_path):
    """`command("fleet", "up", …)` starts podium in another process."""
    environment = {**os.environ, **kaggle.environment, "PODIUM_DATA": str(tiny_competition.folder)}
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):  # signed in by `kaggle auth login` only
        del environment[name]

    def start(*words, folder=tmp_path):
        return subprocess.Popen(
            [sys.executable, "-m", "podium", *map(str, words)], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return start


@pytest.mark.kill
def test_a_fleet_survives_what_is_reported_of_kaggle_and_three_kills_and_is_scored(
    kaggle, command, tiny_competition, tmp_path
):
    epochs = {"quick": QUICK, "long": LONG}
    stage = {"name": "all", "unfreeze": "all", "batch_size": 8, "image_size": 32, "learning_rate": 0.005}
    members = [tiny_competition.member(name, stages=[{**stage, "epochs": count}]) for name, count in epochs.items()]
    ensemble = tiny_competition.ensemble(members)
    kills = [("SaveKernel", 2), ("output-file", 3), ("SaveKernel", 1)]
    for call, number in kills:
        driver = command("fleet", "up", ensemble)
        kaggle.when(call, lambda killed=driver: killed.send_signal(signal.SIGKILL), call=number)
        out, _ = driver.communicate(timeout=TIMEOUT)
        assert driver.returncode == -signal.SIGKILL, out
    driver = command("fleet", "up", ensemble)
    out, _ = driver.communicate(timeout=TIMEOUT)
    assert driver.returncode == 0, out

    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    local = command("run", ensemble, folder=undisturbed)
    out, _ = local.communicate(timeout=TIMEOUT)
    assert local.returncode == 0, out

    pushed = [version.ref.removeprefix("ada/podium-tiny-ensemble-") for version in kaggle.versions()]
    parts = ["long-fold0-part2/1", "long-fold0-part2/2", "long-fold0/1"]
    assert sorted(pushed) == [*parts, "long-fold1/1", "quick-fold0/1", "quick-fold1/1"]
    first, second = (kaggle.version(f"ada/podium-tiny-ensemble-{name}") for name in parts[:2])
    assert all(version.state == "complete" for version in kaggle.versions() if version is not first)
    assert "to resume from, is not mounted" in first.log
    assert second.sources[-1] == ("kernel", "ada/podium-tiny-ensemble-long-fold0")
    assert "resuming at stage all, epoch " in second.log

    (submission,) = (tmp_path / "submissions").glob("tiny-squares_tiny_ensemble__*.csv")
    (expected,) = (undisturbed / "submissions").glob("tiny-squares_tiny_ensemble__*.csv")
    assert submission.read_text() == expected.read_text()
    sent = command("submit", submission, "-m", "the fleet's", "--competition", tiny_competition.config)
    out, _ = sent.communicate(timeout=TIMEOUT)
    assert sent.returncode == 0, out
    (row,) = csv.DictReader((tmp_path / "submissions" / "ledger.csv").read_text().splitlines())
    assert (row["file"], row["status"]) == (submission.name, "complete")
    assert float(row["public_score"]) == kaggle.submissions["tiny-squares"][0].public
    assert row["cross_validation"]
