"""Rounds of a fleet against the stand-in: what is pushed when, and nothing twice."""

import hashlib
import json
import shutil

import pytest
from standin.faults import Fault

from podium.config.kaggle_names import KernelRef
from podium.errors import (
    CredentialsError,
    ForbiddenError,
    KaggleError,
    NotFoundError,
    RateLimitedError,
    RunError,
)
from podium.files import digest_of_file, read_json, write_json
from podium.kaggle.client import sign_in
from podium.kaggle.fleet import (
    ConfigChangedError,
    advance,
    check_members,
    check_running,
    claim_jobs,
    open_fleet,
    read_fleet,
    read_fleets,
)
from podium.kaggle.pushing import CHECKS, SESSIONS
from podium.kernel.building import make_job
from podium.kernel.metadata import Machine
from podium.kernel.report import REPORT
from podium.kernel.script import READABLE, Packing
from podium.locks import locked

BEST = {"stage": "all", "epoch": 1, "monitor": "val_accuracy", "score": 0.75, "image_size": 32, "digest": "d"}
LOOKS = 3
"""Rounds in which a job's answers from Kaggle may make no sense."""


@pytest.fixture
def drive(standin, tiny_competition, tmp_path, monkeypatch):
    """`drive()` runs one round; `drive.fleet()` reads the queue from the disk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("podium.kaggle.fleet.LOOKS", LOOKS)
    standin.add_competition("tiny-squares", tiny_competition.folder, lambda rows: 0.5)
    members = [tiny_competition.member("one"), tiny_competition.member("two")]
    ensemble, runs = tiny_competition.ensemble(members), tmp_path / "runs"
    kaggle = sign_in()

    def open_again(packing=READABLE, **options):
        return open_fleet(ensemble, make_job(ensemble, **options), Machine(), runs, packing)

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
    return fleet.builder("ada", drive.runs).assemble(fleet.jobs[0].spec).metadata


def states(drive):
    return [job.state for job in drive.fleet().jobs]


def versions(standin):
    return sorted(version.ref + f"/{version.number}" for version in standin.versions())


def finish(standin, job, status="done", epoch=1, without=(), **more):
    """The running version ends, with a run folder as its output, `without` some of its files."""
    member, fold = job.spec.members[0], job.spec.folds[0]
    run = f"runs/{member}-12345678/fold{fold}"
    trained = status == "done"
    state = {"status": "trained" if trained else "training", "stage": "all", "epoch": epoch, "step": 0, "best": BEST}
    arrays = f"epoch {epoch}".encode()
    checkpoint = f"checkpoint-{epoch:06d}-{hashlib.sha256(arrays).hexdigest()[:16]}.npz"
    entry = {"member": member, "fold": fold, "run": run, "predictions": None, "state": state, "checkpoint": checkpoint}
    results = {
        "state.json": json.dumps(state).encode(),
        "best.weights.h5": b"weights",
        f"checkpoints/{checkpoint}": arrays,
    }
    content = {f"{run}/{name}": text for name, text in results.items()}
    sizes = {name: len(text) for name, text in content.items()}
    report = {"status": status, "reason": "--time-limit", "runs": [entry], "attempt": job.spec.attempt, "files": sizes}
    content |= {REPORT: json.dumps(report).encode()} | more.pop("files", {})
    content = {name: text for name, text in content.items() if not name.endswith(tuple(without))}
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


def test_jobs_are_named_by_member_and_fold(drive):
    assert [job.name for job in drive.fleet().jobs] == ["one fold 0", "one fold 1", "two fold 0", "two fold 1"]


def test_all_jobs_finish(drive, standin):
    while not drive.fleet().is_finished:
        drive()
        for job in drive.fleet().jobs:
            if job.state == "running":
                finish(standin, job)
    assert drive.fleet().is_done
    assert len(versions(standin)) == 4


def test_a_failed_job_is_retried_once_and_again_after_a_restart(drive, standin):
    for attempt, again in ((1, "queued"), (2, "failed")):
        drive()
        assert drive.fleet().jobs[0].spec.attempt == attempt
        standin.finish(KernelRef.parse(drive.fleet().jobs[0].ref).name, state="error", log="Traceback\nOops\n")
        fleet = read_fleet(drive.folder)
        check_running(fleet.jobs[0], sign_in(), drive.runs)
        fleet.save()
        assert fleet.jobs[0].state == again
        assert "Oops" in fleet.jobs[0].message
    assert fleet.jobs[0].spec.attempt == 3
    fleet.jobs[1].failures = 1
    fleet.start()
    assert states(drive)[0] == "queued"
    assert [job.failures for job in drive.fleet().jobs[:2]] == [0, 1]


PART_1 = "ada/podium-tiny-ensemble-one-fold0"


def test_the_log_of_a_failed_kernel_is_waited_for(drive, standin):
    standin.reported.late_listings = 2
    drive()
    log = "podium.errors.DataError: no data\nModuleNotFoundError: No module named 'podium'\n"
    standin.finish(PART_1, state="error", failure="Exit code 1.", log=log)
    assert drive()[0] == ("running", "Exit code 1.; waiting for its log")
    drive()
    fleet = drive.fleet()
    check_running(fleet.jobs[0], sign_in(), drive.runs)
    assert fleet.jobs[0].message == "failed: no data; retrying once"


def test_a_kernel_out_of_time_continues_in_a_kernel_of_its_own(drive, standin):
    drive()
    finish(standin, drive.fleet().jobs[0], status="stopped", epoch=3)
    drive()
    job = drive.fleet().jobs[0]
    assert (job.state, job.ref, job.place) == ("running", f"{PART_1}-part2/1", f"{PART_1}-part2/1")
    assert (job.source, job.progress, job.failures) == (f"{PART_1}/1", [0, 0, 3], 0)
    assert job.spec.attempt == 2
    assert job.message == "out of time at stage all, epoch 4, step 0; continues in part 2; pushed"
    assert job.page.endswith(f"/code/{PART_1}-part2")
    assert job.output(drive.runs) == drive.runs / "kernels" / f"{PART_1}-part2" / "v1" / "output"
    request = standin.versions()[-1].request
    assert request.kernel_data_sources == [PART_1]
    digest = digest_of_file(drive.runs / "kernels" / PART_1 / "v1" / "output" / REPORT)
    assert f'"resume_from": "{PART_1}"' in request.text
    assert f'"resume_digest": "{digest}"' in request.text


@pytest.mark.slow
def test_a_part_that_fails_is_pushed_again_with_the_same_state(drive, standin):
    drive()
    finish(standin, drive.fleet().jobs[0], status="stopped", epoch=3)
    drive()
    standin.finish(f"{PART_1}-part2", state="error", log="podium.errors.DataError: the output is not mounted\n")
    drive()
    job = drive.fleet().jobs[0]
    assert (job.ref, job.failures) == (f"{PART_1}-part2/2", 1)
    assert standin.version(job.ref).request.kernel_data_sources == [PART_1]
    assert len(standin.kernels[tuple(PART_1.split("/"))].versions) == 1  # its output stays the newest
    finish(standin, job, status="stopped", epoch=5)
    drive()
    job = drive.fleet().jobs[0]
    assert (job.ref, job.failures) == (f"{PART_1}-part3/1", 0)
    assert standin.version(job.ref).request.kernel_data_sources == [f"{PART_1}-part2"]


@pytest.mark.slow
def test_later_parts_and_retries_are_packed_in_the_same_way(drive, standin):
    drive.open(packing=Packing(notebook=True, compress=True)).start()
    drive()
    finish(standin, drive.fleet().jobs[0], status="stopped", epoch=3)
    drive()
    standin.finish(f"{PART_1}-part2", state="error", log="podium.errors.DataError: the output is not mounted\n")
    drive()
    assert drive.fleet().jobs[0].ref == f"{PART_1}-part2/2"
    requests = [version.request for version in standin.versions()]
    assert {(request.kernel_type, "PACKED = " in request.text) for request in requests} == {("notebook", True)}


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "without"), [(3, []), (2, []), (5, ["npz", "h5"])])
def test_a_part_without_progress_counts_as_failed(epoch, without, drive, standin):
    drive()
    finish(standin, drive.fleet().jobs[0], status="stopped", epoch=3)
    drive()
    for failures in (1, 2):
        finish(standin, drive.fleet().jobs[0], status="stopped", epoch=epoch, without=without)
        for _ in range(LOOKS if without else 1):
            drive()
        assert drive.fleet().jobs[0].failures == failures
    assert states(drive)[0] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(("change", "found"), [("push", "has version 2 now"), ("delete", "is gone")])
def test_a_checkpoint_that_kaggle_cannot_attach_any_more_is_an_error(change, found, drive, standin):
    drive()
    finish(standin, drive.fleet().jobs[0], status="stopped", epoch=3)
    version = standin.version(PART_1)

    def change_kernel():
        with standin.changed:
            if change == "push":
                standin.new_version(standin.kernels[tuple(PART_1.split("/"))], version.request, [])
            else:
                del standin.kernels[tuple(PART_1.split("/"))]

    standin.when("GetAcceleratorQuotaStatistics", change_kernel)
    drive()
    finish(standin, drive.fleet().jobs[1])
    drive()
    job = drive.fleet().jobs[0]
    assert (job.state, job.spec.part, job.spec.resume_from) == ("failed", 1, None)
    assert f"{PART_1} {found}, so Kaggle cannot attach the checkpoint of version 1" in job.message
    assert "v1/output, or run podium fleet up again to start this job from scratch" in job.message


def test_a_damaged_checkpoint_is_not_resumed_from(drive, standin):
    drive()
    job = drive.fleet().jobs[0]
    finish(standin, job, status="stopped", epoch=3)
    version = standin.version(job.ref)
    (name,) = (name for name in version.files if name.endswith(".npz"))
    version.files[name] = b"epoch 4"
    for checks in range(1, LOOKS):
        assert drive()[0][1].endswith("; looking again")
        assert drive.fleet().jobs[0].checks == checks
    drive()
    job = drive.fleet().jobs[0]
    assert (job.ref, job.spec.resume_from, job.failures, job.checks) == (f"{PART_1}/2", None, 1, 0)


def test_a_kernel_cancelled_on_kaggle_is_pushed_again_only_on_request(drive, standin):
    drive()
    standin.finish(PART_1, state="cancelled")
    for _ in range(3):
        drive()
    job = drive.fleet().jobs[0]
    assert (job.state, job.message) == ("failed", "cancelled on Kaggle; podium fleet up pushes it again")
    fleet = drive.fleet()
    fleet.start()
    finish(standin, fleet.jobs[1])
    drive()
    assert drive.fleet().jobs[0].ref == f"{PART_1}/2"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({REPORT: b"{"}, "is not a valid report"),
        ({"runs/../../x": b"outside"}, "a file outside of its folder"),
        ({REPORT: b'{"status": "done", "runs": []}'}, None),
    ],
    ids=["no JSON", "path outside", "no runs"],
)
def test_an_output_that_makes_no_sense_fails_only_its_own_job(files, reason, drive, standin):
    drive()
    first, second = drive.fleet().jobs[:2]
    finish(standin, first, files=files)
    finish(standin, second)
    messages = [drive()[0][1] for _ in range(LOOKS)]
    assert states(drive)[1] == "done"
    if reason:
        assert all(reason in message for message in messages)
        assert drive.fleet().jobs[0].failures == 1


def test_a_report_that_is_listed_late_is_waited_for(drive, standin):
    drive()
    job = drive.fleet().jobs[0]
    finish(standin, job, without=[REPORT])
    assert drive()[0][0] == "running"
    finish(standin, job)
    drive()
    assert (states(drive)[0], drive.fleet().jobs[0].failures) == ("done", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [Fault.reset_before, Fault.reset_midway, Fault.truncated, Fault.malformed],
    ids=lambda f: f.__name__,
)
def test_a_push_without_a_response_is_found_and_not_repeated(fault, drive, standin):
    standin.fail("SaveKernel", fault(after_effect=True), times=1)
    for _ in range(2):
        drive()
    assert states(drive)[:2] == ["running", "running"]
    assert len(versions(standin)) == 2


@pytest.mark.parametrize(
    ("state", "error", "ends"),
    [
        ("pushing", RunError("no record"), "failed"),
        ("running", NotFoundError("there is no kernel"), "failed"),
        ("running", ForbiddenError("not yours"), "failed"),
        ("running", RunError("no report"), "queued"),
    ],
    ids=["a push", "not found", "forbidden", "no output"],
)
def test_answers_that_never_make_sense_fail_a_job_or_push_it_again(state, error, ends, drive):
    drive()
    job = drive.fleet().jobs[0]
    job.state = state
    for _ in range(LOOKS):
        assert job.state == state
        job.look_again(error)
    assert job.state == ends


def test_a_rate_limit_ends_a_round_and_fails_no_job(drive, standin):
    drive()
    standin.fail("GetKernelSessionStatus", Fault.status(429), times=None)
    with pytest.raises(RateLimitedError):
        drive()
    (job, *_) = drive.fleet().jobs
    assert (job.state, job.failures, job.checks) == ("running", 0, 0)
    assert "rate" in job.message


def test_a_part_that_never_began_is_a_failure(drive, standin):
    drive()
    finish(standin, drive.fleet().jobs[0], status="stopped", epoch=0)
    drive()
    job = drive.fleet().jobs[0]
    assert (job.ref, job.spec.part, job.failures) == (f"{PART_1}/2", 1, 1)


def test_a_push_that_never_arrived_is_repeated_after_some_checks(drive, standin):
    standin.fail("SaveKernel", Fault.reset_before(), times=1)
    drive()
    for _ in range(CHECKS - 1):
        drive()
        assert states(drive)[0] == "pushing"
    drive()
    assert drive.fleet().jobs[0].message == "the interrupted push never reached Kaggle; pushed"
    assert states(drive)[0] == "running"
    assert len([one for one in versions(standin) if "one-fold0" in one]) == 1


@pytest.mark.parametrize("killed_in", ["podium.kaggle.pushing.record_push", "podium.kaggle.fleet._set_running"])
def test_a_kill_right_after_a_push_pushes_nothing_twice(killed_in, drive, standin, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(killed_in, killed)
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
    job, other = drive.fleet().jobs[:2]
    assert job.message == "limited to 1h35m by this week's GPU hours; pushed"
    assert (other.state, other.message) == (
        "queued", "waiting for GPU hours: 0.0 left this week besides those of running kernels",
    )  # fmt: skip


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


@pytest.mark.slow
@pytest.mark.parametrize("forbidden", [False, True], ids=["404", "403"])
def test_a_kernel_deleted_on_kaggle_fails_only_its_own_job(forbidden, drive, standin):
    standin.reported.unknown_is_forbidden = forbidden
    drive()
    del standin.kernels[tuple(PART_1.split("/"))]
    finish(standin, drive.fleet().jobs[1])
    jobs = drive()
    assert jobs[1][0] == "done"
    assert jobs[0][1].startswith("there is no kernel ada/")
    for _ in range(LOOKS - 1):
        jobs = drive()
    assert jobs[0][0] == "failed"
    assert jobs[0][1].endswith("; podium fleet up pushes it again")
    fleet = drive.fleet()
    fleet.start()
    finish(standin, fleet.jobs[2])
    drive()
    assert drive.fleet().jobs[0].ref == f"{PART_1}/1"


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.status(400, message="Something is wrong"), Fault.status(403)], ids=str)
def test_a_refused_push_fails_only_its_own_job(fault, drive, standin):
    standin.fail("SaveKernel", fault, times=1)
    assert drive()[0][1].startswith("failed: pushing ada/")
    assert states(drive) == ["queued", "running", "running", "queued"]
    standin.fail("SaveKernel", fault, times=1)
    finish(standin, drive.fleet().jobs[1])
    drive()
    assert states(drive) == ["failed", "done", "running", "running"]


def test_rejected_credentials_end_a_fleet(drive, standin):
    drive()
    standin.fail("GetKernelSessionStatus", Fault.status(401), times=None)
    with pytest.raises(CredentialsError):
        drive()
    assert states(drive)[:2] == ["running", "running"]


def test_a_competition_that_was_not_joined_is_an_error_before_the_first_push(drive, standin):
    standin.competitions["tiny-squares"].rules_accepted = False
    with pytest.raises(KaggleError, match="you have not joined tiny-squares"):
        check_members(drive.fleet(), sign_in(), drive.runs)
    assert standin.count("GetCompetition") == 1


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
    assert read_fleet(changed.folder).jobs == changed.jobs
    assert [job.spec.members for job in drive.fleet().jobs] == [("two",), ("two",)]
    assert len(versions(standin)) == 3


def test_a_fleet_keeps_its_own_jobs_where_another_one_has_them_too(drive, tiny_competition):
    """As after a kill between saving the new fleet and the old one."""
    drive()
    copy = drive.runs / "fleets" / "zzz-12345678"
    shutil.copytree(drive.folder, copy)
    fleet = read_fleet(copy)
    fleet.jobs[0].message = "of the other one"
    fleet.save()
    assert drive.open().jobs[0].message == "pushed"


def test_a_fleet_in_use_with_other_jobs_is_left_alone(drive, tiny_competition):
    tiny_competition.member("one", label_smoothing=0.1)
    tiny_competition.member("two", label_smoothing=0.1)
    changed, before = drive.open(), (drive.folder / "queue.json").stat().st_mtime_ns
    with locked(drive.folder):
        claim_jobs(changed, drive.runs)
    assert (drive.folder / "queue.json").stat().st_mtime_ns == before


def test_a_fleet_ends_when_its_configs_change(drive, standin, tiny_competition):
    drive()
    finish(standin, drive.fleet().jobs[0])
    tiny_competition.member("two", label_smoothing=0.1)
    with pytest.raises(ConfigChangedError, match="has changed since the fleet began: its kernels keep running"):
        drive()
    assert states(drive) == ["done", "running", "queued", "queued"]
    assert len(versions(standin)) == 2
    tiny_competition.member("two")
    drive()
    assert states(drive) == ["done", "running", "running", "queued"]


def test_more_folds_and_a_search_keep_the_kernels_of_others(drive, tiny_competition):
    drive()
    tiny_competition.member("one", folds=[0], search={"label_smoothing": {"low": 0.0, "high": 0.2}}, cache_gb=1)
    changed = drive.open()
    assert [(job.name, job.state) for job in changed.jobs] == [
        ("one fold 0", "running"),
        ("two fold 0", "queued"),
        ("two fold 1", "queued"),
    ]


def test_an_edited_table_of_folds_needs_other_kernels(drive):
    drive()
    table = drive.runs / "folds" / "tiny-squares-stratified-12345678.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text("id,label,fold\n")
    assert {job.state for job in drive.open().jobs} == {"queued"}


def test_a_run_in_use_here_waits_and_is_not_pushed_again(drive, standin):
    drive()
    finish(standin, drive.fleet().jobs[0])
    with locked(drive.runs / "one-12345678" / "fold0"):
        for _ in range(LOOKS + 1):
            drive()
        job = drive.fleet().jobs[0]
        assert (job.state, job.failures) == ("running", 0)
        assert job.message.startswith("complete; waiting, as ")
    drive()
    assert states(drive)[0] == "done"
    assert "ada/podium-tiny-ensemble-one-fold0/2" not in versions(standin)


def test_a_damaged_queue_of_the_same_fleet_is_not_replaced(drive):
    drive()
    (drive.folder / "queue.json").write_text("{")
    with pytest.raises(RunError, match="restore a copy of it"):
        drive.open()


def test_jobs_of_a_fleet_in_use_cannot_be_claimed(drive, tiny_competition):
    tiny_competition.member("two", label_smoothing=0.1)
    changed = drive.open()
    with locked(drive.folder), pytest.raises(RunError, match="is another fleet with the same jobs, and in use"):
        claim_jobs(changed, drive.runs)


@pytest.mark.parametrize("state", ["pushing", "running", "done"])
def test_a_job_whose_kernel_is_not_named_is_a_damaged_queue(state, drive):
    drive()
    queue = read_json(drive.folder / "queue.json")
    queue["jobs"][0] |= {"state": state, "kernel": None, "ref": None}
    write_json(drive.folder / "queue.json", queue)
    with pytest.raises(RunError, match="restore a copy of it"):
        drive.fleet()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"jobs": [{}]}', "\x00"])
def test_a_damaged_queue_is_reported_and_hides_no_other_fleet(text, drive, tmp_path):
    damaged = drive.runs / "fleets" / "other-12345678"
    damaged.mkdir()
    (damaged / "queue.json").write_text(text)
    known, (fault,) = read_fleets(drive.runs)
    assert [fleet.folder for fleet in known] == [drive.folder]
    assert "restore a copy of it" in fault
    assert (damaged / "queue.json").read_text() == text
