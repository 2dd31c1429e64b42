"""Rounds of a fleet against the stand-in: what is pushed when, and nothing twice."""

import json

import pytest
from standin.faults import Fault

from podium.config.kaggle_names import KernelRef
from podium.errors import KaggleError, RunError
from podium.kaggle.client import sign_in
from podium.kaggle.fleet import SESSIONS, advance, check_running, claim_jobs, open_fleet, read_fleet, read_fleets
from podium.kernel.building import assemble, make_job
from podium.kernel.metadata import Machine
from podium.kernel.report import REPORT
from podium.locks import locked

BEST = {"stage": "all", "epoch": 1, "monitor": "val_accuracy", "score": 0.75, "image_size": 32, "digest": "d"}


@pytest.fixture
def drive(standin, tiny_competition, tmp_path, monkeypatch):
    """`drive()` runs one round; `drive.fleet()` reads the queue from the disk."""
    monkeypatch.chdir(tmp_path)
    standin.add_competition("tiny-squares", tiny_competition.folder, lambda rows: 0.5)
    members = [tiny_competition.member("one"), tiny_competition.member("two")]
    ensemble, runs = tiny_competition.ensemble(members), tmp_path / "runs"
    kaggle = sign_in()

    def open_again(**options):
        return open_fleet(ensemble, make_job(ensemble, **options), Machine(), runs)

    fleet = open_again()
    claim_jobs(fleet, runs)
    fleet.start()

    def advance_once():
        fleet = read_fleet(drive.folder)
        advance(fleet, kaggle, runs)
        return [(job.state, job.message) for job in read_fleet(drive.folder).jobs]

    drive = advance_once
    drive.open, drive.folder, drive.runs = open_again, fleet.folder, runs
    drive.fleet = lambda: read_fleet(fleet.folder)
    return drive


def assemble_metadata(drive):
    fleet = drive.fleet()
    return assemble([fleet.config], fleet.jobs[0].spec, fleet.machine, drive.runs, "ada").metadata


def states(drive):
    return [job.state for job in drive.fleet().jobs]


def versions(standin):
    return sorted(version.ref + f"/{version.number}" for version in standin.versions())


def finish(standin, job, status="done", epoch=1, **more):
    """The running version ends, with a run folder as its output."""
    member, fold = job.spec.members[0], job.spec.folds[0]
    run = f"runs/{member}-12345678/fold{fold}"
    trained = status == "done"
    state = {"status": "trained" if trained else "training", "stage": "all", "epoch": epoch, "step": 0, "best": BEST}
    entry = {"member": member, "fold": fold, "run": run, "predictions": None, "state": state}
    report = {"status": status, "why": "--time-limit", "runs": [entry]}
    files = {REPORT: report, f"{run}/state.json": state}
    content = {name: json.dumps(text).encode() for name, text in files.items()} | {f"{run}/best.weights.h5": b"weights"}
    standin.finish(KernelRef.parse(job.ref).name, files=content, **more)


def test_at_most_two_kernels_run_and_the_next_is_pushed_when_one_ends(drive, standin):
    drive()
    assert states(drive) == ["running", "running", "queued", "queued"]
    assert SESSIONS == 2
    drive()
    assert len(versions(standin)) == 2
    finish(standin, drive.fleet().jobs[0])
    assert drive()[0] == ("done", "val_accuracy 0.7500")
    assert states(drive) == ["done", "running", "running", "queued"]
    assert (drive.runs / "one-12345678" / "fold0" / "kernel.json").is_file()


def test_all_jobs_finish(drive, standin):
    while not drive.fleet().is_finished:
        drive()
        for job in drive.fleet().jobs:
            if job.state == "running":
                finish(standin, job)
    assert drive.fleet().is_done
    assert len(versions(standin)) == 4


def test_a_failed_job_is_retried_once_and_again_after_a_restart(drive, standin):
    for again in ("queued", "failed"):
        drive()
        standin.finish(KernelRef.parse(drive.fleet().jobs[0].ref).name, state="error", log="Traceback\nOops\n")
        fleet = read_fleet(drive.folder)
        check_running(fleet.jobs[0], sign_in(), drive.runs)
        fleet.save()
        assert fleet.jobs[0].state == again
        assert "Oops" in fleet.jobs[0].message
    fleet.start()
    assert states(drive)[0] == "queued"


def test_a_kernel_out_of_time_continues_from_its_attached_output(drive, standin):
    drive()
    finish(standin, drive.fleet().jobs[0], status="stopped", epoch=3)
    drive()
    job = drive.fleet().jobs[0]
    assert (job.state, job.spec.attempt) == ("running", 2)
    request = standin.versions()[-1].request
    assert request.kernel_data_sources == [KernelRef.parse(job.ref).name]
    assert '"resume_from": "ada/' in request.text


def test_a_version_without_progress_counts_as_failed(drive, standin):
    for _ in range(3):
        drive()
        if drive.fleet().jobs[0].state == "running":
            finish(standin, drive.fleet().jobs[0], status="stopped", epoch=3)
    drive()
    assert drive.fleet().jobs[0].failures >= 1


@pytest.mark.parametrize(
    "fault",
    [Fault.reset_before, Fault.reset_midway, Fault.truncated, Fault.malformed],
    ids=lambda f: f.__name__,
)
def test_a_push_without_a_response_is_found_and_not_repeated(fault, drive, standin):
    standin.fail("SaveKernel", fault(after_effect=True), times=1)
    drive()
    assert states(drive)[0] == "pushing"
    for _ in range(3):
        drive()
    assert states(drive)[:2] == ["running", "running"]
    assert len(versions(standin)) == 2


def test_a_push_that_never_arrived_is_repeated_after_two_checks(drive, standin):
    standin.fail("SaveKernel", Fault.reset_before(), times=1)
    drive()
    seen = [states(drive)[0]]
    for _ in range(3):
        drive()
        seen.append(states(drive)[0])
    assert seen == ["pushing", "pushing", "running", "running"]
    assert len([one for one in versions(standin) if "one-fold0" in one]) == 1


def test_a_kill_right_after_a_push_pushes_nothing_twice(drive, standin, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("podium.kaggle.fleet._set_running", killed)
        with pytest.raises(Killed):
            drive()
    assert states(drive)[0] == "pushing"
    drive()
    assert states(drive)[0] == "running"
    assert len([one for one in versions(standin) if "one-fold0" in one]) == 1


def test_a_fleet_waits_for_gpu_hours_and_limits_the_time(drive, standin):
    standin.gpu_hours(used=29.8, allowed=30)
    assert drive()[0] == ("queued", "waiting for GPU hours: 0.2 left this week")
    standin.gpu_hours(used=28, allowed=30)
    drive()
    assert states(drive)[0] == "running"
    (text,) = {
        version.request.text for version in standin.versions() if "one" in version.ref and "fold0" in version.ref
    }
    assert '"time_limit": 5700.0' in text  # two hours, less the time to store the output


def test_a_fleet_waits_for_a_session_that_another_kernel_uses(drive, standin):
    kaggle = sign_in()
    metadata = dict(assemble_metadata(drive), id="ada/other-work", title="other-work")
    kaggle.push(metadata, "print()")
    drive()
    assert states(drive) == ["running", "queued", "queued", "queued"]
    assert drive.fleet().jobs[1].message == "waiting for a free GPU session"


def test_an_unreachable_kaggle_is_retried_in_the_next_round(drive, standin):
    drive()
    standin.fail("GetKernelSessionStatus", Fault.status(503), times=100)
    assert "Kaggle is unreachable" in drive()[0][1]
    standin.heal()
    assert drive()[0] == ("running", "queued")


def test_a_kernel_deleted_on_kaggle_fails_only_its_own_job(drive, standin):
    drive()
    kept, gone = drive.fleet().jobs[1], KernelRef.parse(drive.fleet().jobs[0].ref)
    del standin.kernels[gone.owner, gone.slug]
    finish(standin, kept)
    jobs = drive()
    assert jobs[1][0] == "done"
    assert jobs[0][1].startswith("failed: there is no kernel ada/")
    assert (drive.fleet().jobs[0].state, drive.fleet().jobs[0].failures) == ("running", 1)  # pushed once more


def test_a_refused_push_stays_queued(drive, standin):
    standin.fail("SaveKernel", Fault.status(400, message="Something is wrong"), times=1)
    with pytest.raises(KaggleError, match="Something is wrong"):
        drive()
    assert states(drive)[0] == "queued"


def test_a_stopped_fleet_pushes_nothing_until_it_is_started(drive, standin):
    drive.fleet().stop()
    drive()
    assert versions(standin) == []
    fleet = drive.open()
    fleet.start()
    drive()
    assert len(versions(standin)) == 2


def test_another_time_limit_is_the_same_fleet(drive):
    assert drive.open(time_limit=3600.0).folder == drive.folder
    assert drive.open(time_limit=3600.0).jobs[0].spec.time_limit == 3600
    assert drive.open(overrides=("one.label_smoothing=0.1",)).folder != drive.folder
    assert [fleet.folder for fleet in read_fleets(drive.runs)[0]] == [drive.folder]


def test_jobs_of_unchanged_members_move_to_the_next_fleet(drive, standin, tiny_competition):
    drive()
    finish(standin, drive.fleet().jobs[0])
    drive()
    assert states(drive) == ["done", "running", "running", "queued"]
    tiny_competition.member("two", label_smoothing=0.1)
    changed = drive.open()
    assert changed.folder != drive.folder
    assert [job.state for job in changed.jobs] == ["done", "running", "queued", "queued"]
    claim_jobs(changed, drive.runs)
    assert [job.spec.members for job in drive.fleet().jobs] == [("two",), ("two",)]
    assert len(versions(standin)) == 3


def test_jobs_of_a_fleet_in_use_cannot_be_claimed(drive, tiny_competition):
    tiny_competition.member("two", label_smoothing=0.1)
    changed = drive.open()
    with locked(drive.folder), pytest.raises(RunError, match="is another fleet with the same jobs, and in use"):
        claim_jobs(changed, drive.runs)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"jobs": [{}]}', "\x00"])
def test_a_damaged_queue_is_reported_and_hides_no_other_fleet(text, drive, tmp_path):
    damaged = drive.runs / "fleets" / "other-12345678"
    damaged.mkdir()
    (damaged / "queue.json").write_text(text)
    known, (fault,) = read_fleets(drive.runs)
    assert [fleet.folder for fleet in known] == [drive.folder]
    assert "restore a copy of it" in fault
    assert (damaged / "queue.json").read_text() == text
