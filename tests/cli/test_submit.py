"""`podium submit` against the stand-in: what it refuses, that nothing is ever sent twice, and what a kill leaves."""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from standin.faults import Fault

from podium.kaggle import connection

COMPETITION = """\
slug: cars
train: {table: train.csv, images: 'train/{id}'}
test: {images: 'test/{id}'}
classes: [red, blue]
metric: accuracy
"""
ANSWERS = {f"{number}.jpg": "red" if number % 2 else "blue" for number in range(20)}
NAME = "cars_blend__20260101-120000.csv"
FILE = f"submissions/{NAME}"


def csv_of(right=20):
    """A submission with so many right answers."""
    wrong = {"red": "blue", "blue": "red"}
    rows = [(name, label if place < right else wrong[label]) for place, (name, label) in enumerate(ANSWERS.items())]
    return "Id,Category\n" + "".join(f"{name},{label}\n" for name, label in rows)


@pytest.fixture
def here(tmp_path, monkeypatch, standin):
    """The folder podium runs in: a competition with its data, one submission, and the blend that wrote it."""
    (tmp_path / "configs" / "competitions").mkdir(parents=True)
    (tmp_path / "configs" / "competitions" / "cars.yaml").write_text(COMPETITION)
    (tmp_path / "data" / "cars").mkdir(parents=True)
    (tmp_path / "data" / "cars" / "sample-submission.csv").write_text(csv_of(7))
    (tmp_path / "submissions").mkdir()
    (tmp_path / FILE).write_text(csv_of(15))
    (tmp_path / "runs" / "blend-1a2b3c4d").mkdir(parents=True)
    facts = {"competition": "cars", "metric": "accuracy", "score": 0.974, "standard_error": 0.0029, "submission": NAME}
    (tmp_path / "runs" / "blend-1a2b3c4d" / "blend.json").write_text(json.dumps({**facts, "commit": "c0ffee"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connection, "READ_SECONDS", 0.5)
    standin.add_competition("cars", {"sample-submission.csv": csv_of(7).encode()}, answers=ANSWERS)
    return tmp_path


def sent(standin):
    return standin.competitions["cars"].submissions


def rows():
    with Path("submissions/ledger.csv").open(newline="") as opened:
        return list(csv.DictReader(opened))


def left_over(here):
    """Files that should not be there: half-written ones."""
    names = {path.name for path in (here / "submissions").iterdir()}
    return names - {NAME, "ledger.csv", ".ledger.csv.lock", ".sending.lock"}


# What it does


def test_a_file_is_sent_scored_and_noted(podium, here, standin):
    score = standin.competitions["cars"].score(csv_of(15).encode())[0]
    code, out, err = podium("submit", FILE, "-m", "two  members")
    assert (code, err) == (0, "")
    one = sent(standin)[0]
    digest = hashlib.sha256(csv_of(15).encode()).hexdigest()
    assert (one.content, one.file_name) == (csv_of(15).encode(), NAME)
    assert one.description == f"two members [podium {digest[:12]}]"
    assert out.splitlines() == [
        f"{FILE}: valid, ready to submit",
        f"{FILE}: sent to cars as {one.ref}, 1 of 5 today",
        f"waiting for the score of {NAME}",
        f"{NAME}: public score {score:.5f}; cross-validation 0.9740 ± 0.0029; submissions/ledger.csv has its row",
    ]
    row = rows()[0]
    assert abs((datetime.fromisoformat(row["time"]).replace(tzinfo=None) - one.date).total_seconds()) < 60
    assert {key: row[key] for key in row if key != "time"} == {
        "competition": "cars",
        "file": NAME,
        "sha256": digest,
        "message": "two members",
        "commit": "c0ffee",
        "config_hash": "1a2b3c4d",
        "metric": "accuracy",
        "cross_validation": "0.974",
        "standard_error": "0.0029",
        "public_score": f"{round(score, 5):.10g}",
        "private_score": "",
        "place": "",
        "teams": "",
        "status": "complete",
        "ref": str(one.ref),
        "kernel": "",
        "kernel_version": "",
        "marker": digest[:12],
        "error": "",
    }
    assert left_over(here) == set()


def test_a_file_that_podium_did_not_blend_has_no_cross_validation(podium, here, standin):
    (here / "runs" / "blend-1a2b3c4d" / "blend.json").write_text('{"submission": ')
    assert podium("submit", FILE, "-m", "by hand")[0] == 0
    assert (rows()[0]["cross_validation"], rows()[0]["commit"]) == ("", "")


def test_a_score_that_takes_long_is_waited_for(podium, here, standin):
    standin.competitions["cars"].pending = 12
    code, out, _ = podium("submit", FILE, "-m", "slow")
    assert code == 0
    assert f"waiting for the score of {NAME}, for 1m1s now" in out.splitlines()
    assert rows()[0]["status"] == "complete"
    assert standin.count("GetSubmission") == 13


def test_without_waiting_the_row_is_pending_and_the_same_command_waits(podium, here, standin):
    standin.competitions["cars"].pending = 2
    code, out, _ = podium("submit", FILE, "-m", "later", "--no-wait")
    assert (code, out.splitlines()[-1]) == (0, "not waited for: podium board --sync asks for its score")
    assert [row["status"] for row in rows()] == ["pending"]
    code, out, _ = podium("submit", FILE, "-m", "later")
    assert code == 0
    assert re.search(rf"{FILE}: sent already, on .* UTC as {sent(standin)[0].ref}; not again", out)
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["complete"]


def test_what_kaggle_cannot_score_is_told_and_noted(podium, here, standin):
    def broken(content):
        raise ValueError("Evaluation Exception: ids do not match")

    standin.competitions["cars"].score = broken
    code, _, err = podium("submit", FILE, "-m", "broken")
    assert code == 1
    assert err == (
        f"podium: Kaggle could not score {NAME} (Evaluation Exception: ids do not match); compare it with what the"
        " competition asks for, and send another file\n"
    )
    assert (rows()[0]["status"], rows()[0]["error"]) == ("error", "Evaluation Exception: ids do not match")
    assert "Kaggle could not score it (Evaluation Exception" in podium("submit", FILE, "-m", "again")[2]


def test_a_competition_file_and_a_sample_may_be_named(podium, here, standin):
    (here / "data").rename(here / "elsewhere")
    (here / FILE).rename(here / "answers.csv")
    options_ = ["--competition", "configs/competitions/cars.yaml", "--sample", "elsewhere/cars/sample-submission.csv"]
    assert podium("submit", "answers.csv", "-m", "named", *options_)[0] == 0
    assert rows()[0]["file"] == "answers.csv"


# What it refuses


def refused(podium, standin, *arguments):
    """The one line of a refusal, after which nothing was sent."""
    before = [one.ref for one in sent(standin)]
    code, _, err = podium("submit", *arguments)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert [one.ref for one in sent(standin)] == before
    assert standin.count("StartSubmissionUpload") == len(before)
    return err


def test_a_file_that_is_not_there_is_refused_also_with_force(podium, here, standin):
    for more in ([], ["--force"]):
        told = refused(podium, standin, "none.csv", "-m", "x", *more)
        assert told.startswith("podium: no file none.csv to submit; ")
    assert standin.calls == []


def test_a_faulty_file_is_refused_as_podium_check_does(podium, here, standin):
    (here / FILE).write_text(csv_of().replace("0.jpg,blue", "0.jpg,bleu", 1))
    told = refused(podium, standin, FILE, "-m", "x")
    assert told == podium("check", FILE)[2]
    assert "did you mean 'blue'?" in told
    assert standin.calls == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cars_blend_dry-run__20260101-120000.csv", "the name says it is of a dry run"),
        ("cars_blend_dry-run__20260101-120000-2.csv", "the name says it is of a dry run"),
        ("cars_blend__20260101-120000.partial.csv", "the name says it is partial"),
    ],
)
def test_a_partial_one_and_one_of_a_dry_run_are_refused(podium, here, standin, name, told):
    (here / FILE).rename(here / "submissions" / name)
    assert told in refused(podium, standin, f"submissions/{name}", "-m", "x")
    code, out, _ = podium("submit", f"submissions/{name}", "-m", "x", "--force")
    assert code == 0
    assert f"{told}" in out
    assert "sent all the same: --force" in out
    assert len(sent(standin)) == 1


def test_a_file_that_cannot_be_checked_is_sent_with_force_only(podium, here, standin):
    (here / "data").rename(here / "elsewhere")
    assert "no data for cars" in refused(podium, standin, FILE, "-m", "x")
    assert podium("submit", FILE, "-m", "x", "--force")[0] == 0


def test_the_same_content_is_refused_under_any_name_and_sent_again_with_force(podium, here, standin):
    assert podium("submit", FILE, "-m", "first")[0] == 0
    copy = "submissions/cars_other__20260102-120000.csv"
    (here / copy).write_bytes((here / FILE).read_bytes())
    (here / FILE).unlink()
    calls = len(standin.calls)
    told = refused(podium, standin, copy, "-m", "second")
    assert re.fullmatch(
        rf"podium: {copy} was submitted already, on \d{{4}}-\d\d-\d\d \d\d:\d\d UTC as {sent(standin)[0].ref}: public"
        r" score [01]\.\d{5}; --force sends it again, and costs one of the day's submissions\n",
        told,
    )
    assert len(standin.calls) == calls  # the ledger knew
    assert podium("submit", copy, "-m", "second", "--force")[0] == 0
    digest = hashlib.sha256(csv_of(15).encode()).hexdigest()[:12]
    assert [one.description for one in sent(standin)] == [
        f"first [podium {digest}]",
        f"second [podium {digest} 2]",
    ]
    assert [row["marker"] for row in rows()] == [digest, f"{digest} 2"]


def test_what_another_machine_sent_is_found_at_kaggle_and_noted(podium, here, standin):
    assert podium("submit", FILE, "-m", "from there")[0] == 0
    (here / "submissions" / "ledger.csv").unlink()
    told = refused(podium, standin, FILE, "-m", "from here")
    assert f"UTC, from elsewhere as {sent(standin)[0].ref}: public score" in told
    row = rows()[0]
    assert (row["message"], row["status"], row["sha256"]) == ("from there", "complete", "")
    assert podium("submit", FILE, "-m", "from here", "--force")[0] == 0
    assert len(sent(standin)) == 2


def test_the_same_file_may_go_to_another_competition(podium, here, standin):
    assert podium("submit", FILE, "-m", "here")[0] == 0
    standin.add_competition("boats", {}, answers=ANSWERS)
    (here / "boats.yaml").write_text(COMPETITION.replace("cars", "boats"))
    sample = ["--sample", "data/cars/sample-submission.csv"]
    assert podium("submit", FILE, "-m", "there", "--competition", "boats.yaml", *sample)[0] == 0
    assert [row["competition"] for row in rows()] == ["cars", "boats"]


def test_a_days_allowance_that_is_used_up_is_told_with_the_time_left(podium, here, standin):
    standin.competitions["cars"].daily = 1
    assert podium("submit", FILE, "-m", "first")[0] == 0
    (here / FILE).write_text(csv_of(16))
    told = refused(podium, standin, FILE, "-m", "second")
    assert re.fullmatch(
        r"podium: today's submissions are used up \(1 sent\); Kaggle takes more from UTC midnight on, in (\d+h)?(\d+m)?"
        r": run the same command then\n",
        told,
    )
    assert [row["status"] for row in rows()] == ["complete"]
    code, _, err = podium("submit", FILE, "-m", "second", "--force")
    assert code == 1
    assert "has used its daily Submission allowance (1) today" in err
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["complete", "failed"]


def test_rules_that_were_not_accepted_are_told(podium, here, standin):
    standin.competitions["cars"].rules_accepted = False
    assert "accept this competition's rules" in refused(podium, standin, FILE, "-m", "x")
    assert not (here / "submissions" / "ledger.csv").exists()


def test_no_key_is_told_before_anything_is_written(podium, here, standin, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "a-wrong-one")
    refused(podium, standin, FILE, "-m", "x")
    assert not (here / "submissions" / "ledger.csv").exists()


def test_a_damaged_ledger_is_told_and_nothing_is_sent(podium, here, standin):
    (here / "submissions" / "ledger.csv").write_text("time,file\n")
    told = refused(podium, standin, FILE, "-m", "x")
    assert told.startswith("podium: submissions/ledger.csv line 1 lacks the columns competition, status, ref; nothing")
    assert (here / "submissions" / "ledger.csv").read_text() == "time,file\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give a submission CSV, or --kernel"),
        ([FILE, "--kernel", "ada/cars-b3", "--version", "1"], "give FILE or --kernel, not both"),
        (
            ["--kernel", "ada/cars-b3", "--version", "1", "--file", "a.csv"],
            "ada/cars-b3/1 was not pushed from here for one competition: say --competition too",
        ),
        ([FILE, "--version", "1"], "--version and --file go with --kernel"),
        (
            ["--kernel", "ada/cars-b3", "--file", "a.csv", "--competition", "configs/competitions/cars.yaml"],
            "--kernel needs --version too",
        ),
        (
            [
                "--kernel",
                "ada/b/2",
                "--version",
                "3",
                "--file",
                "a.csv",
                "--competition",
                "configs/competitions/cars.yaml",
            ],
            "--kernel names version 2, --version 3",
        ),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(podium, here, standin, arguments, told):
    code, _, err = podium("submit", *arguments, "-m", "x")
    assert code == 2
    assert told in " ".join(re.sub("[│╭╮╰╯─]", " ", err).split())
    assert standin.calls == []


# Two at once, and kills


HOLD = """
import sys
from pathlib import Path
from podium.locks import locked
with locked(Path("submissions/sending")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_while_another_one_is_being_sent_it_is_refused(podium, here, standin):
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert f"process {holder.pid} on " in refused(podium, standin, FILE, "-m", "x")
        holder.communicate("")
    assert podium("submit", FILE, "-m", "x")[0] == 0


DYING = """
import os, sys
from kagglesdk.competitions.services.competition_api_service import CompetitionApiClient

def dying(client, request, make=CompetitionApiClient.create_submission):
    if sys.argv[1] == "after":
        make(client, request)
    os._exit(9)

CompetitionApiClient.create_submission = dying
moment, *sys.argv[1:] = sys.argv[1:]
sys.argv.insert(1, moment)
from podium.cli.main import app
app(sys.argv[2:])
"""


def run_dying(moment, *arguments):
    command = [sys.executable, "-c", DYING, moment, "submit", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 9, done.stderr


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_killed_between_upload_and_submission_the_same_command_sends_it_once(podium, here, standin, force):
    run_dying("before", FILE, "-m", "x", *force)
    assert sent(standin) == []
    assert [row["status"] for row in rows()] == ["uploading"]
    assert podium("submit", FILE, "-m", "x", *force)[0] == 0
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["failed", "complete"]
    assert left_over(here) == set()


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_killed_between_submission_and_ledger_it_is_found_and_not_sent_again(podium, here, standin, force):
    run_dying("after", FILE, "-m", "x", *force)
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["uploading"]
    code, out, err = podium("submit", FILE, "-m", "x", *force)
    assert (code, err) == (0, "")
    assert f"as {sent(standin)[0].ref}; not again" in out
    assert len(sent(standin)) == 1
    row = rows()[0]
    assert (row["status"], row["ref"], row["cross_validation"]) == ("complete", str(sent(standin)[0].ref), "0.974")


def test_killed_in_a_forced_second_sending_the_first_one_is_not_taken_for_it(podium, here, standin):
    assert podium("submit", FILE, "-m", "first")[0] == 0
    run_dying("before", FILE, "-m", "second", "--force")
    assert podium("submit", FILE, "-m", "second", "--force")[0] == 0
    assert [one.description.partition(" [")[0] for one in sent(standin)] == ["first", "second"]
    assert [row["status"] for row in rows()] == ["complete", "failed", "complete"]


def test_another_file_sent_next_mends_what_was_left(podium, here, standin):
    run_dying("after", FILE, "-m", "lost")
    other = "submissions/cars_other__20260102-120000.csv"
    (here / other).write_text(csv_of(16))
    assert podium("submit", other, "-m", "next")[0] == 0
    assert [(row["message"], row["status"]) for row in rows()] == [("lost", "complete"), ("next", "complete")]


def test_an_answer_that_makes_no_sense_is_not_taken_for_a_refusal(podium, here, standin):
    standin.fail("CreateSubmission", Fault.malformed(b'{"message": "", "ref": 0}', after_effect=True))
    code, _, err = podium("submit", FILE, "-m", "x")
    assert (code, err) == (0, "")
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["complete"]


def test_a_signal_while_it_sends_loses_nothing(podium, here, standin):
    command = [sys.executable, "-m", "podium", "submit", FILE, "-m", "x"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    standin.when("CreateSubmission", lambda: os.kill(process.pid, signal.SIGINT))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert len(err.splitlines()) == 1
    assert standin.wait_until(lambda: len(sent(standin)) == 1)
    assert [row["status"] for row in rows()] == ["uploading"]
    settled(podium, here, standin)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_waits_tells_the_command_that_goes_on_waiting(podium, here, standin, number):
    standin.competitions["cars"].pending = 4
    command = [sys.executable, "-m", "podium", "submit", FILE, "-m", "x"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    standin.when("GetSubmission", lambda: os.kill(process.pid, number), call=2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert err == (f"podium: {number.name}: stopped; what was saved holds; go on with: podium submit {FILE} -m x\n")
    assert [row["status"] for row in rows()] == ["pending"]
    assert podium("submit", FILE, "-m", "x")[0] == 0
    assert len(sent(standin)) == 1


BLOCKED = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "efficientnet", "albumentations", "cv2"):
            raise ImportError(name + " is imported where it must not be")

sys.meta_path.insert(0, Blocker())
from podium.cli.main import main
main()
"""


def test_submitting_and_the_board_need_no_heavy_library(here, standin):
    for arguments in (["submit", FILE, "-m", "x"], ["board"], ["board", "--sync"], ["data", "download", "cars"]):
        arguments += ["--data", "elsewhere"] if arguments[0] == "data" else []
        command = [sys.executable, "-c", BLOCKED, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")


# Every call, every fault


CALLS = [
    "ListSubmissions",
    "GetSubmissionLimits",
    "StartSubmissionUpload",
    "upload",
    "CreateSubmission",
    "GetSubmission",
]
PASSING = {
    "429": Fault.status(429, retry_after=0),
    "500": Fault.status(500),
    "503": Fault.status(503),
    "reset": Fault.reset_before(),
    "reset midway": Fault.reset_midway(),
    "truncated": Fault.truncated(),
    "malformed": Fault.malformed(),
    "stall": Fault.stall(),
}
LASTING = {
    "401": Fault.status(401),
    "403": Fault.status(403),
    "404": Fault.status(404),
    "500 for ever": Fault.status(500),
}


def settled(podium, here, standin):
    """Whatever happened: once all is well the same command ends with one submission, and a ledger that says so."""
    standin.heal()
    podium("submit", FILE, "-m", "x")
    assert len(sent(standin)) == 1
    last = rows()[-1]
    assert (last["status"], last["ref"]) == ("complete", str(sent(standin)[0].ref))
    assert {row["status"] for row in rows()[:-1]} <= {"failed"}
    assert left_over(here) == set()


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("call", CALLS)
def test_a_problem_that_passes_ends_in_a_retry_or_in_one_line_and_one_submission(podium, here, standin, call, fault):
    standin.fail(call, PASSING[fault])
    code, _, err = podium("submit", FILE, "-m", "x")
    if call == "CreateSubmission" and fault != "429":
        assert code == 1
        assert len(err.splitlines()) == 1
        assert f"{FILE} was not submitted: the sending was broken off, and Kaggle has nothing of it" in err
        assert [row["status"] for row in rows()] == ["failed"]
        assert sent(standin) == []
    else:
        assert (code, err) == (0, "")
        assert len(sent(standin)) == 1
    settled(podium, here, standin)


@pytest.mark.parametrize("fault", ["500", "reset", "reset midway", "truncated", "malformed", "stall"])
def test_a_submission_whose_answer_is_lost_is_found_and_not_sent_again(podium, here, standin, fault):
    lost = PASSING[fault]
    standin.fail("CreateSubmission", type(lost)(**{**vars(lost), "after_effect": True}))
    code, out, err = podium("submit", FILE, "-m", "x")
    assert (code, err) == (0, "")
    assert f"sent to cars as {sent(standin)[0].ref}, 1 of 5 today" in out
    assert standin.count("CreateSubmission") == 1
    settled(podium, here, standin)


@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.parametrize("call", CALLS)
def test_a_problem_that_stays_ends_in_one_line(podium, here, standin, call, fault):
    standin.fail(call, LASTING[fault], times=None)
    code, _, err = podium("submit", FILE, "-m", "x")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert len(sent(standin)) == (call == "GetSubmission")
    settled(podium, here, standin)


def test_when_kaggle_cannot_be_asked_what_became_of_it_the_next_call_asks(podium, here, standin):
    standin.fail("CreateSubmission", Fault.reset_before(after_effect=True))
    standin.fail("ListSubmissions", Fault.status(503), times=None, after=1)
    code, _, err = podium("submit", FILE, "-m", "x")
    assert code == 1
    assert "Kaggle's answer was lost, and whether it has the submission cannot be asked now" in err
    assert len(err.splitlines()) == 1
    assert [row["status"] for row in rows()] == ["uploading"]
    settled(podium, here, standin)
    assert standin.count("CreateSubmission") == 1


def test_a_submission_that_arrives_late_is_still_not_sent_twice(podium, here, standin):
    """Kaggle took it after podium had looked and given it up."""
    standin.fail("CreateSubmission", Fault.stall())
    assert podium("submit", FILE, "-m", "x")[0] == 1
    marker = rows()[0]["marker"]
    competition = standin.competitions["cars"]
    standin.competition_methods._made(competition, NAME, csv_of(15).encode(), f"x [podium {marker}]")
    assert podium("submit", FILE, "-m", "x")[0] == 0
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["complete"]


# What a kernel left


KERNEL = ["--kernel", "ada/cars-b3", "--version", "1", "--file", "submission.csv", "-m", "from a kernel"]
KERNEL += ["--competition", "configs/competitions/cars.yaml"]


@pytest.fixture
def kernel(here, standin):
    standin.competitions["cars"].code_only = True
    return standin.add_kernel("ada/cars-b3", {"submission.csv": csv_of(14).encode(), "log.txt": b"done"})


def test_the_output_of_a_kernels_version_is_submitted_once(podium, kernel, standin, here):
    (here / "runs" / "kernels" / "ada" / "cars-b3" / "v1").mkdir(parents=True)
    record = {"kernel": "ada/cars-b3/1", "commit": "abc123", "config_digest": "5f6a7b8c"}
    (here / "runs" / "kernels" / "ada" / "cars-b3" / "v1" / "kernel.json").write_text(json.dumps(record))
    code, out, err = podium("submit", *KERNEL)
    assert (code, err) == (0, "")
    one = sent(standin)[0]
    assert (one.kernel, one.file_name) == ("ada/cars-b3/1", "submission.csv")
    assert out.splitlines()[0] == f"submission.csv of ada/cars-b3/1: sent to cars as {one.ref}, 1 of 5 today"
    row = rows()[0]
    assert (row["kernel"], row["kernel_version"], row["file"], row["sha256"]) == (
        "ada/cars-b3",
        "1",
        "submission.csv",
        "",
    )
    assert (row["commit"], row["config_hash"], row["status"]) == ("abc123", "5f6a7b8c", "complete")
    code, _, err = podium("submit", *KERNEL)
    assert code == 1
    assert err.startswith("podium: submission.csv of ada/cars-b3/1 was submitted already, on ")
    assert len(sent(standin)) == 1


@pytest.mark.parametrize(("state", "word"), [("error", "error"), ("queued", "queued"), ("running", "running")])
def test_a_version_that_is_not_complete_is_refused(podium, kernel, standin, state, word):
    standin.version("ada/cars-b3/1").state = state
    code, _, err = podium("submit", *KERNEL)
    assert code == 1
    assert f"ada/cars-b3/1 is {word}" in err
    assert len(err.splitlines()) == 1
    assert sent(standin) == []


def test_a_file_that_the_kernel_did_not_leave_is_refused_also_with_force(podium, kernel, standin):
    arguments = ["other.csv" if part == "submission.csv" else part for part in KERNEL]
    for more in ([], ["--force"]):
        code, _, err = podium("submit", *arguments, *more)
        assert (code, sent(standin)) == (1, [])
        assert "ada/cars-b3/1 left no other.csv; it left log.txt, submission.csv: name that with --file" in err


def test_a_kernels_file_of_a_dry_run_is_refused(podium, kernel, standin):
    arguments = ["cars_b3_dry-run__20260101-120000.csv" if part == "submission.csv" else part for part in KERNEL]
    assert "is partial or of a dry run" in podium("submit", *arguments)[2]
    assert standin.calls == []


def test_a_days_allowance_holds_for_kernels_too(podium, kernel, standin):
    standin.competitions["cars"].daily = 0
    assert "today's submissions are used up (0 sent)" in podium("submit", *KERNEL)[2]
    assert sent(standin) == []


def test_a_csv_for_a_competition_that_takes_only_kernels_is_kaggles_refusal(podium, kernel, standin, here):
    code, _, err = podium("submit", FILE, "-m", "x")
    assert code == 1
    assert "only accepts Submissions from Notebooks" in err
    assert [row["status"] for row in rows()] == ["failed"]


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("call", ["GetKernelSessionStatus", "ListKernelSessionOutput", "CreateCodeSubmission"])
def test_problems_on_the_way_of_a_kernels_output(podium, kernel, standin, here, call, fault):
    standin.fail(call, PASSING[fault])
    code, _, err = podium("submit", *KERNEL)
    assert code == (call == "CreateCodeSubmission" and fault != "429")
    assert len(err.splitlines()) == code
    standin.heal()
    podium("submit", *KERNEL)
    assert len(sent(standin)) == 1
    assert rows()[-1]["status"] == "complete"
