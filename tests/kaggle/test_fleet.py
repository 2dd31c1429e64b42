"""The fleet's rounds against the stand-in: what is pushed when, and never twice."""

import json

import pytest
from standin.faults import Fault

from podium.config.kaggle_names import KernelRef
from podium.errors import KaggleError, RunError
from podium.kaggle.client import sign_in
from podium.kaggle.fleet import SESSIONS, advance, fleet_of, fleets, look_after, read_fleet, take_over
from podium.kernel.building import assemble, make_job
from podium.kernel.metadata import Machine
from podium.kernel.report import REPORT
from podium.locks import locked

BEST = {"stage": "all", "epoch": 1, "monitor": "val_accuracy", "score": 0.75, "image_size": 32, "digest": "d"}


@pytest.fixture
def drive(standin, tiny_competition, tmp_path, monkeypatch):
    """`drive()` takes a round; `drive.fleet()` is the queue as it lies on the disk."""
    monkeypatch.chdir(tmp_path)
    standin.add_competition("tiny-squares", tiny_competition.folder, lambda rows: 0.5)
    members = [tiny_competition.member("one"), tiny_competition.member("two")]
    ensemble, runs = tiny_competition.ensemble(members), tmp_path / "runs"
    kaggle = sign_in()

    def open_fleet(**wishes):
        return fleet_of(ensemble, make_job(ensemble, **wishes), Machine(), runs)

    fleet = open_fleet()
    take_over(fleet, runs)
    fleet.send_out()

    def advance_once():
        fleet = read_fleet(drive.folder)
        advance(fleet, kaggle, runs)
        return [(kernel.state, kernel.told) for kernel in read_fleet(drive.folder).kernels]

    drive = advance_once
    drive.open, drive.folder, drive.runs = open_fleet, fleet.folder, runs
    drive.fleet = lambda: read_fleet(fleet.folder)
    return drive


def assemble_metadata(drive):
    fleet = drive.fleet()
    return assemble([fleet.config], fleet.kernels[0].job, fleet.machine, drive.runs, "ada").metadata


def states(drive):
    return [kernel.state for kernel in drive.fleet().kernels]


def versions(standin):
    return sorted(version.ref + f"/{version.number}" for version in standin.versions())


def finish(standin, kernel, status="done", epoch=1, **more):
    """The version that is going comes to its end, with a run folder as its output."""
    member, fold = kernel.job.members[0], kernel.job.folds[0]
    run = f"runs/{member}-12345678/fold{fold}"
    trained = status == "done"
    state = {"status": "trained" if trained else "training", "stage": "all", "epoch": epoch, "step": 0, "best": BEST}
    entry = {"member": member, "fold": fold, "run": run, "predictions": None, "state": state}
    report = {"status": status, "why": "--time-limit", "runs": [entry]}
    files = {REPORT: report, f"{run}/state.json": state}
    content = {name: json.dumps(text).encode() for name, text in files.items()} | {f"{run}/best.weights.h5": b"weights"}
    standin.finish(KernelRef.parse(kernel.ref).name, files=content, **more)


def test_two_sessions_at_most_and_the_next_as_one_ends(drive, standin):
    drive()
    assert states(drive) == ["going", "going", "waiting", "waiting"]
    assert SESSIONS == 2
    drive()
    assert len(versions(standin)) == 2
    finish(standin, drive.fleet().kernels[0])
    assert drive()[0] == ("home", "val_accuracy 0.7500")
    assert states(drive) == ["home", "going", "going", "waiting"]
    assert (drive.runs / "one-12345678" / "fold0" / "kernel.json").is_file()


def test_all_come_home(drive, standin):
    while not drive.fleet().is_over:
        drive()
        for kernel in drive.fleet().kernels:
            if kernel.state == "going":
                finish(standin, kernel)
    assert drive.fleet().is_home
    assert len(versions(standin)) == 4


def test_failed_kernel_is_tried_once_more_and_another_up_tries_again(drive, standin):
    for again in ("waiting", "failed"):
        drive()
        standin.finish(KernelRef.parse(drive.fleet().kernels[0].ref).name, state="error", log="Traceback\nOops\n")
        fleet = read_fleet(drive.folder)
        look_after(fleet.kernels[0], sign_in(), drive.runs)
        fleet.save()
        assert fleet.kernels[0].state == again
        assert fleet.kernels[0].told.startswith("failed: Oops")
    fleet.send_out()
    assert states(drive)[0] == "waiting"


def test_kernel_out_of_time_goes_on_with_its_own_output_attached(drive, standin):
    drive()
    finish(standin, drive.fleet().kernels[0], status="stopped", epoch=3)
    drive()
    kernel = drive.fleet().kernels[0]
    assert (kernel.state, kernel.job.attempt) == ("going", 2)
    request = standin.versions()[-1].request
    assert request.kernel_data_sources == [KernelRef.parse(kernel.ref).name]
    assert '"goes_on_from": "ada/' in request.text


def test_kernel_that_gets_no_further_counts_as_failed(drive, standin):
    for _ in range(3):
        drive()
        if drive.fleet().kernels[0].state == "going":
            finish(standin, drive.fleet().kernels[0], status="stopped", epoch=3)
    drive()
    assert drive.fleet().kernels[0].failures >= 1


@pytest.mark.parametrize(
    "fault",
    [Fault.reset_before, Fault.reset_midway, Fault.truncated, Fault.malformed],
    ids=lambda f: f.__name__,
)
def test_push_whose_answer_was_lost_is_found_and_not_made_again(fault, drive, standin):
    standin.fail("SaveKernel", fault(after_effect=True), times=1)
    drive()
    assert states(drive)[0] == "pushing"
    for _ in range(3):
        drive()
    assert states(drive)[:2] == ["going", "going"]
    assert len(versions(standin)) == 2


def test_push_that_never_came_through_is_made_after_two_looks(drive, standin):
    standin.fail("SaveKernel", Fault.reset_before(), times=1)
    drive()
    seen = [states(drive)[0]]
    for _ in range(3):
        drive()
        seen.append(states(drive)[0])
    assert seen == ["pushing", "pushing", "going", "going"]
    assert len([one for one in versions(standin) if "one-fold0" in one]) == 1


def test_kill_between_the_push_and_its_note_pushes_nothing_twice(drive, standin, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("podium.kaggle.fleet.note_going", killed)
        with pytest.raises(Killed):
            drive()
    assert states(drive)[0] == "pushing"
    drive()
    assert states(drive)[0] == "going"
    assert len([one for one in versions(standin) if "one-fold0" in one]) == 1


def test_quota_that_is_used_up_is_waited_for(drive, standin):
    standin.gpu_hours(used=29.8, allowed=30)
    assert drive()[0] == ("waiting", "waits for GPU hours: 0.2 are left this week")
    standin.gpu_hours(used=28, allowed=30)
    drive()
    assert states(drive)[0] == "going"
    (text,) = {
        version.request.text for version in standin.versions() if "one" in version.ref and "fold0" in version.ref
    }
    assert '"time_limit": 5700.0' in text  # two hours, less what storing takes


def test_session_that_someone_else_takes_is_waited_for(drive, standin):
    kaggle = sign_in()
    metadata = dict(assemble_metadata(drive), id="ada/other-work", title="other-work")
    kaggle.push(metadata, "print()")
    drive()
    assert states(drive) == ["going", "waiting", "waiting", "waiting"]
    assert drive.fleet().kernels[1].told == "waits for a free GPU session"


def test_kaggle_that_does_not_answer_is_asked_again(drive, standin):
    drive()
    standin.fail("GetKernelSessionStatus", Fault.status(503), times=100)
    assert "Kaggle does not answer" in drive()[0][1]
    standin.heal()
    assert drive()[0] == ("going", "queued")


def test_kernel_that_was_taken_away_at_kaggle_fails_alone(drive, standin):
    drive()
    kept, gone = drive.fleet().kernels[1], KernelRef.parse(drive.fleet().kernels[0].ref)
    del standin.kernels[gone.owner, gone.slug]
    finish(standin, kept)
    told = drive()
    assert told[1][0] == "home"
    assert told[0][1].startswith("failed: the status of ada/")
    assert (drive.fleet().kernels[0].state, drive.fleet().kernels[0].failures) == ("going", 1)  # pushed once more


def test_push_that_kaggle_refuses_ends_the_round_with_nothing_lost(drive, standin):
    standin.fail("SaveKernel", Fault.status(400, message="Something is wrong"), times=1)
    with pytest.raises(KaggleError, match="Something is wrong"):
        drive()
    assert states(drive)[0] == "waiting"


def test_fleet_called_back_pushes_no_more(drive, standin):
    drive.fleet().call_back()
    drive()
    assert versions(standin) == []
    fleet = drive.open()
    fleet.send_out()
    drive()
    assert len(versions(standin)) == 2


def test_another_time_limit_is_the_same_fleet(drive):
    assert drive.open(time_limit=3600.0).folder == drive.folder
    assert drive.open(time_limit=3600.0).kernels[0].job.time_limit == 3600
    assert drive.open(overrides=("one.label_smoothing=0.1",)).folder != drive.folder
    assert [fleet.folder for fleet in fleets(drive.runs)[0]] == [drive.folder]


def test_kernels_of_members_that_did_not_change_change_over_to_the_next_fleet(drive, standin, tiny_competition):
    drive()
    finish(standin, drive.fleet().kernels[0])
    drive()
    assert states(drive) == ["home", "going", "going", "waiting"]
    tiny_competition.member("two", label_smoothing=0.1)
    changed = drive.open()
    assert changed.folder != drive.folder
    assert [kernel.state for kernel in changed.kernels] == ["home", "going", "waiting", "waiting"]
    take_over(changed, drive.runs)
    assert [kernel.job.members for kernel in drive.fleet().kernels] == [("two",), ("two",)]
    assert len(versions(standin)) == 3


def test_fleet_under_way_is_not_taken_over(drive, tiny_competition):
    tiny_competition.member("two", label_smoothing=0.1)
    changed = drive.open()
    with locked(drive.folder), pytest.raises(RunError, match="is another fleet with the same kernels, and under way"):
        take_over(changed, drive.runs)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kernels": [{}]}', "\x00"])
def test_damaged_queue_is_told_and_hides_no_other_fleet(text, drive, tmp_path):
    damaged = drive.runs / "fleets" / "other-12345678"
    damaged.mkdir()
    (damaged / "queue.json").write_text(text)
    known, (fault,) = fleets(drive.runs)
    assert [fleet.folder for fleet in known] == [drive.folder]
    assert "put back a copy of it" in fault
    assert (damaged / "queue.json").read_text() == text
