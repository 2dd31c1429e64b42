"""`podium fleet` against the stand-in, whose kernels return the runs of an ensemble that was trained before."""

import json
import re

import pytest
from standin.faults import Fault
from standin.reported import as_reported

from podium.kernel.report import REPORT


@pytest.fixture
def kernels(standin, finished_ensemble):
    """The stand-in; each pushed kernel completes at once with the run of its member and fold."""

    def run(version, inputs, working):
        member, fold = re.search(r"ensemble-(\w+)-fold(\d)/", f"{version.ref}/").groups()
        (source,) = (finished_ensemble.folder / "runs").glob(f"{member}-*/fold{fold}")
        path = source.relative_to(finished_ensemble.folder)
        files = {path / file.relative_to(source): file.read_bytes() for file in source.rglob("*") if file.is_file()}
        (predictions,) = (path / folder.name for folder in source.glob("predictions-*"))
        entry = {"member": member, "fold": int(fold), "run": path.as_posix(), "predictions": predictions.as_posix()}
        entry["state"] = json.loads(files[path / "state.json"])
        sizes = {name.as_posix(): len(content) for name, content in files.items()}
        files[REPORT] = json.dumps({"status": "done", "runs": [entry], "files": sizes}).encode()
        for name, content in files.items():
            (working / name).parent.mkdir(parents=True, exist_ok=True)
            (working / name).write_bytes(content)
        return 0, []

    standin.runner = run
    standin.add_competition("tiny-squares", finished_ensemble.competition.folder, lambda rows: 0.5)
    return standin


def blend_line(out):
    return next(line for line in out.splitlines() if line.startswith("blend ("))


def test_fleet_up_downloads_every_run_and_blends_them_as_on_one_machine(
    kernels, finished_ensemble, podium_in, tmp_path
):
    command = ("fleet", "up", finished_ensemble.ensemble, "--data", finished_ensemble.competition.folder)
    result = podium_in(tmp_path, *command)
    assert (result.code, result.err) == (0, "")
    assert blend_line(result.out) == blend_line(finished_ensemble.out)
    assert {path.name for path in tmp_path.glob("submissions/*.csv")} != set()
    pushed = len(kernels.versions())
    assert pushed == len(list(tmp_path.glob("runs/*-*/fold*/kernel.json"))) > 2

    again = podium_in(tmp_path, *command)
    assert (again.code, blend_line(again.out)) == (0, blend_line(result.out))
    assert len(kernels.versions()) == pushed

    (fleet,) = json.loads(podium_in(tmp_path, "fleet", "status", "--json").out)
    assert fleet["stopped"] is False
    assert [job["state"] for job in fleet["jobs"]] == ["done"] * pushed
    assert all(job["version"].endswith("/1") for job in fleet["jobs"])
    assert "done" in podium_in(tmp_path, "fleet", "status").out

    for path in tmp_path.glob("runs/**/fold*/state.json"):
        path.unlink()
    incomplete = podium_in(tmp_path, *command)
    assert incomplete.code == 1
    assert "/output is incomplete; download it again with podium kernel pull ada/" in incomplete.err


@pytest.mark.slow
def test_a_fleet_ends_with_the_same_csv_if_kaggle_behaves_as_reported(
    kernels, finished_ensemble, podium_in, tmp_path, monkeypatch
):
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    kernels.log_in()
    kernels.reported = as_reported()
    command = ("fleet", "up", finished_ensemble.ensemble, "--data", finished_ensemble.competition.folder)
    result = podium_in(tmp_path, *command)
    assert result.code == 0, result.err
    assert "GPU hours are not checked" in result.err
    (submission,) = tmp_path.glob("submissions/*.csv")
    assert submission.read_bytes() in [path.read_bytes() for path in finished_ensemble.folder.glob("submissions/*.csv")]
    assert all(version.number == 1 for version in kernels.versions())
    assert kernels.count("GenerateAccessToken") > 0


def test_fleet_down_stops_a_fleet_and_names_what_still_runs(kernels, finished_ensemble, podium_in, tmp_path):
    ensemble = finished_ensemble.ensemble
    assert "no unfinished fleet of ensemble" in podium_in(tmp_path, "fleet", "down", ensemble).err
    assert podium_in(tmp_path, "fleet", "status").out.startswith("no fleet in runs")
    assert json.loads(podium_in(tmp_path, "fleet", "status", "--json").out) == []
    kernels.runner = None
    kernels.fail("GetKernelSessionStatus", Fault.status(401), times=None)
    assert "Kaggle rejected the API key" in podium_in(tmp_path, "fleet", "up", ensemble).err
    result = podium_in(tmp_path, "fleet", "down", ensemble)
    assert "no more kernels are pushed; still running: 2" in result.out
    assert "cancel it at https://www.kaggle.com/code/ada/podium-ensemble-first-fold0, or let it finish" in result.out
    assert "stopped" in podium_in(tmp_path, "fleet", "status").out


@pytest.mark.slow
def test_a_fleet_waits_as_long_as_a_rate_limit_lasts(kernels, finished_ensemble, podium_in, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr("podium.workflows.fleet.pause", waited.append)
    monkeypatch.setattr("podium.jobs.queue.pause", waited.append)
    for call in ("GetCompetition", "SaveKernel", "GetKernelSessionStatus", "ListKernelSessionOutput"):
        kernels.fail(call, Fault.status(429, retry_after=3600), times=2)
    command = ("fleet", "up", finished_ensemble.ensemble, "--data", finished_ensemble.competition.folder)
    result = podium_in(tmp_path, *command)
    assert (result.code, result.err) == (0, "")
    assert waited.count(3600.0) == 8
    assert blend_line(result.out) == blend_line(finished_ensemble.out)
    assert all(version.number == 1 for version in kernels.versions())


@pytest.mark.slow
def test_jobs_that_fail_twice_end_a_fleet_with_an_error(kernels, finished_ensemble, podium_in, tmp_path):
    kernels.runner = lambda version, inputs, working: (1, ["ValueError: no\n"])
    result = podium_in(tmp_path, "fleet", "up", finished_ensemble.ensemble, "--fold", "0")
    assert result.code == 1
    assert "2 of 2 jobs failed: first fold 0 (ValueError: no)" in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.slow
def test_a_fleet_packs_its_kernels_as_asked(kernels, finished_ensemble, podium_in, tmp_path):
    kernels.runner = lambda version, inputs, working: (1, ["ValueError: no\n"])
    podium_in(tmp_path, "fleet", "up", finished_ensemble.ensemble, "--fold", "0", "--notebook", "--compress")
    requests = [version.request for version in kernels.versions()]
    assert {(request.kernel_type, "PACKED = " in request.text) for request in requests} == {("notebook", True)}


def test_a_damaged_queue_is_an_error_of_fleet_status(podium_in, tmp_path):
    (tmp_path / "runs" / "fleets" / "old-12345678").mkdir(parents=True)
    (tmp_path / "runs" / "fleets" / "old-12345678" / "queue.json").write_text("{")
    result = podium_in(tmp_path, "fleet", "status")
    assert result.code == 1
    assert "restore a copy of it" in result.err
