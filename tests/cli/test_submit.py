"""`podium submit` against the stand-in for Kaggle: what it refuses, and that nothing is ever sent twice."""

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
    """A submission with this many correct answers."""
    wrong = {"red": "blue", "blue": "red"}
    rows = [(name, label if place < right else wrong[label]) for place, (name, label) in enumerate(ANSWERS.items())]
    return "Id,Category\n" + "".join(f"{name},{label}\n" for name, label in rows)


@pytest.fixture
def here(tmp_path, monkeypatch, standin):
    """The current folder: a competition with its data, a submission, and the blend that wrote it."""
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
    monkeypatch.setattr("podium.workflows.submit.pause", lambda seconds: None)
    standin.add_competition("cars", {"sample-submission.csv": csv_of(7).encode()}, answers=ANSWERS)
    return tmp_path


def sent(standin):
    return standin.competitions["cars"].submissions


def rows():
    with Path("submissions/ledger.csv").open(newline="") as opened:
        return list(csv.DictReader(opened))


def left_over(here):
    """Temporary files that should have been removed."""
    names = {path.name for path in (here / "submissions").iterdir()}
    return names - {NAME, "ledger.csv", ".ledger.csv.lock", ".sending.lock"}


# Sending


def test_file_is_sent_scored_and_recorded(podium, here, standin):
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
        f"{NAME}: public score {score:.5f}; cross-validation 0.9740 ± 0.0029; recorded in submissions/ledger.csv",
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


def test_file_without_a_blend_has_no_cross_validation(podium, here, standin):
    (here / "runs" / "blend-1a2b3c4d" / "blend.json").write_text('{"submission": ')
    assert podium("submit", FILE, "-m", "by hand")[0] == 0
    assert (rows()[0]["cross_validation"], rows()[0]["commit"]) == ("", "")


def test_waiting_for_a_score_prints_a_line_per_minute(podium, here, standin):
    standin.competitions["cars"].pending = 12
    code, out, _ = podium("submit", FILE, "-m", "slow")
    assert code == 0
    assert f"waiting for the score of {NAME}: 1m1s so far" in out.splitlines()
    assert rows()[0]["status"] == "complete"
    assert standin.count("GetSubmission") == 13


def test_no_wait_leaves_a_pending_row_and_the_same_command_waits_for_it(podium, here, standin):
    standin.competitions["cars"].pending = 2
    code, out, _ = podium("submit", FILE, "-m", "later", "--no-wait")
    assert (code, out.splitlines()[-1]) == (0, "its score is not known yet: update it with podium board --sync")
    assert [row["status"] for row in rows()] == ["pending"]
    code, out, _ = podium("submit", FILE, "-m", "later")
    assert code == 0
    assert re.search(rf"{FILE}: already sent on .* UTC as {sent(standin)[0].ref}; not sent again", out)
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["complete"]


def test_submission_that_cannot_be_scored_is_an_error_and_recorded(podium, here, standin):
    def broken(content):
        raise ValueError("Evaluation Exception: ids do not match")

    standin.competitions["cars"].score = broken
    code, _, err = podium("submit", FILE, "-m", "broken")
    assert code == 1
    assert err == (
        f"podium: Kaggle could not score {NAME} (Evaluation Exception: ids do not match); compare it with the"
        " competition's requirements, and submit another file\n"
    )
    assert (rows()[0]["status"], rows()[0]["error"]) == ("error", "Evaluation Exception: ids do not match")
    assert "Kaggle could not score it (Evaluation Exception" in podium("submit", FILE, "-m", "again")[2]


def test_competition_file_and_sample_can_be_named(podium, here, standin):
    (here / "data").rename(here / "elsewhere")
    (here / FILE).rename(here / "answers.csv")
    options_ = ["--competition", "configs/competitions/cars.yaml", "--sample", "elsewhere/cars/sample-submission.csv"]
    assert podium("submit", "answers.csv", "-m", "named", *options_)[0] == 0
    assert rows()[0]["file"] == "answers.csv"


# Refusals


def refused(podium, standin, *arguments):
    """The error of a refusal; nothing was sent."""
    before = [one.ref for one in sent(standin)]
    code, _, err = podium("submit", *arguments)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert [one.ref for one in sent(standin)] == before
    assert standin.count("StartSubmissionUpload") == len(before)
    return err


def test_missing_file_is_refused_also_with_force(podium, here, standin):
    for more in ([], ["--force"]):
        error = refused(podium, standin, "none.csv", "-m", "x", *more)
        assert error.startswith("podium: there is no file none.csv; ")
    assert standin.calls == []


def test_invalid_file_is_refused_as_by_podium_check(podium, here, standin):
    (here / FILE).write_text(csv_of().replace("0.jpg,blue", "0.jpg,bleu", 1))
    printed = refused(podium, standin, FILE, "-m", "x")
    assert printed == podium("check", FILE)[2]
    assert "did you mean 'blue'?" in printed
    assert standin.calls == []


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("cars_blend_dry-run__20260101-120000.csv", "the file name marks a dry run"),
        ("cars_blend_dry-run__20260101-120000-2.csv", "the file name marks a dry run"),
        ("cars_blend__20260101-120000.partial.csv", "the file name marks a partial submission"),
    ],
)
def test_partial_and_dry_run_files_are_refused(podium, here, standin, name, printed):
    (here / FILE).rename(here / "submissions" / name)
    assert printed in refused(podium, standin, f"submissions/{name}", "-m", "x")
    code, out, _ = podium("submit", f"submissions/{name}", "-m", "x", "--force")
    assert code == 0
    assert f"{printed}" in out
    assert "sent because of --force" in out
    assert len(sent(standin)) == 1


def test_file_that_cannot_be_checked_is_sent_only_with_force(podium, here, standin):
    (here / "data").rename(here / "elsewhere")
    assert "no data for cars" in refused(podium, standin, FILE, "-m", "x")
    assert podium("submit", FILE, "-m", "x", "--force")[0] == 0


def test_same_content_is_refused_under_any_name_and_sent_again_with_force(podium, here, standin):
    assert podium("submit", FILE, "-m", "first")[0] == 0
    copy = "submissions/cars_other__20260102-120000.csv"
    (here / copy).write_bytes((here / FILE).read_bytes())
    (here / FILE).unlink()
    calls = len(standin.calls)
    printed = refused(podium, standin, copy, "-m", "second")
    assert re.fullmatch(
        rf"podium: {copy} was already submitted on \d{{4}}-\d\d-\d\d \d\d:\d\d UTC as {sent(standin)[0].ref}: public"
        r" score [01]\.\d{5}; --force sends it again and uses one of the day's submissions\n",
        printed,
    )
    assert len(standin.calls) == calls  # the ledger knew
    assert podium("submit", copy, "-m", "second", "--force")[0] == 0
    digest = hashlib.sha256(csv_of(15).encode()).hexdigest()[:12]
    assert [one.description for one in sent(standin)] == [
        f"first [podium {digest}]",
        f"second [podium {digest} 2]",
    ]
    assert [row["marker"] for row in rows()] == [digest, f"{digest} 2"]


def test_submission_from_another_machine_is_found_at_kaggle_and_recorded(podium, here, standin):
    assert podium("submit", FILE, "-m", "from there")[0] == 0
    (here / "submissions" / "ledger.csv").unlink()
    printed = refused(podium, standin, FILE, "-m", "from here")
    assert f"UTC, from elsewhere, as {sent(standin)[0].ref}: public score" in printed
    row = rows()[0]
    assert (row["message"], row["status"], row["sha256"]) == ("from there", "complete", "")
    assert podium("submit", FILE, "-m", "from here", "--force")[0] == 0
    assert len(sent(standin)) == 2


def test_same_file_can_be_sent_to_another_competition(podium, here, standin):
    assert podium("submit", FILE, "-m", "here")[0] == 0
    standin.add_competition("boats", {}, answers=ANSWERS)
    (here / "boats.yaml").write_text(COMPETITION.replace("cars", "boats"))
    sample = ["--sample", "data/cars/sample-submission.csv"]
    assert podium("submit", FILE, "-m", "there", "--competition", "boats.yaml", *sample)[0] == 0
    assert [row["competition"] for row in rows()] == ["cars", "boats"]


def test_daily_limit_is_an_error_with_the_time_left(podium, here, standin):
    standin.competitions["cars"].daily = 1
    assert podium("submit", FILE, "-m", "first")[0] == 0
    (here / FILE).write_text(csv_of(16))
    printed = refused(podium, standin, FILE, "-m", "second")
    assert re.fullmatch(
        r"podium: the daily limit of submissions is reached \(1 sent\); run the same command after midnight UTC, in"
        r" (\d+h)?(\d+m)?\n",
        printed,
    )
    assert [row["status"] for row in rows()] == ["complete"]
    code, _, err = podium("submit", FILE, "-m", "second", "--force")
    assert code == 1
    assert "has used its daily Submission allowance (1) today" in err
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["complete", "failed"]


def test_unaccepted_rules_are_an_error(podium, here, standin):
    standin.competitions["cars"].rules_accepted = False
    assert "accept its rules at https://www.kaggle.com/competitions/cars/rules" in refused(
        podium, standin, FILE, "-m", "x"
    )
    assert not (here / "submissions" / "ledger.csv").exists()


def test_limits_that_are_all_zero_mean_that_the_competition_was_not_joined(podium, here, standin):
    standin.reported.zero_limits = True
    standin.competitions["cars"].rules_accepted = False
    error = refused(podium, standin, FILE, "-m", "x")
    assert "you have not joined cars: accept its rules at https://www.kaggle.com/competitions/cars/rules" in error
    assert sent(standin) == []


def test_unknown_limits_of_a_competition_that_was_joined_are_left_to_kaggle(podium, here, standin):
    limits = b'{"numToday": 0, "numTotal": 0, "numAllowedNow": 0}'
    standin.fail("GetSubmissionLimits", Fault.malformed(limits))
    code, out, err = podium("submit", FILE, "-m", "x")
    assert (code, err) == (0, "")
    assert f"sent to cars as {sent(standin)[0].ref}\n" in out


def test_a_mistyped_competition_is_named_with_a_suggestion(podium, here, standin):
    standin.reported.unknown_is_forbidden = True
    (here / "configs" / "competitions" / "cars.yaml").write_text(COMPETITION.replace("slug: cars", "slug: carz"))
    (here / "data" / "cars").rename(here / "data" / "carz")
    error = podium("submit", FILE, "-m", "x", "--competition", "configs/competitions/cars.yaml").err
    assert "there is no competition 'carz' on Kaggle that you can see; did you mean cars?" in error


def test_wrong_key_is_an_error_before_anything_is_written(podium, here, standin, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "a-wrong-one")
    refused(podium, standin, FILE, "-m", "x")
    assert not (here / "submissions" / "ledger.csv").exists()


def test_a_message_with_a_key_is_refused(podium, here, standin):
    assert "the message, line 1: a key" in refused(podium, standin, FILE, "-m", "as in KGAT_" + "0123456789abcdef" * 2)


def test_invalid_ledger_is_an_error_and_nothing_is_sent(podium, here, standin):
    (here / "submissions" / "ledger.csv").write_text("time,file\n")
    printed = refused(podium, standin, FILE, "-m", "x")
    assert printed.startswith("podium: submissions/ledger.csv line 1 has no column competition, status, ref; nothing")
    assert (here / "submissions" / "ledger.csv").read_text() == "time,file\n"


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], "give a submission CSV, or --kernel"),
        ([FILE, "--kernel", "ada/cars-b3", "--version", "1"], "give FILE or --kernel, not both"),
        ([FILE, "--version", "1"], "--version and --file require --kernel"),
        (
            ["--kernel", "ada/cars-b3", "--file", "a.csv", "--competition", "configs/competitions/cars.yaml"],
            "--kernel requires --version",
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
def test_options_that_exclude_each_other_are_wrong_usage(podium, here, standin, arguments, printed):
    code, _, err = podium("submit", *arguments, "-m", "x")
    assert code == 2
    assert printed in " ".join(re.sub("[│╭╮╰╯─]", " ", err).split())
    assert standin.calls == []


# Two processes, and kills


HOLD = """
import sys
from pathlib import Path
from podium.locks import locked
with locked(Path("submissions/sending")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_only_one_submission_is_sent_at_a_time(podium, here, standin):
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


@pytest.mark.parametrize("force", [[], pytest.param(["--force"], marks=pytest.mark.slow)], ids=["", "force"])
def test_after_a_kill_before_submitting_the_same_command_sends_it_once(podium, here, standin, force):
    run_dying("before", FILE, "-m", "x", *force)
    assert sent(standin) == []
    assert [row["status"] for row in rows()] == ["uploading"]
    assert podium("submit", FILE, "-m", "x", *force)[0] == 0
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["failed", "complete"]
    assert left_over(here) == set()


@pytest.mark.parametrize("force", [[], pytest.param(["--force"], marks=pytest.mark.slow)], ids=["", "force"])
def test_after_a_kill_after_submitting_it_is_found_and_not_sent_again(podium, here, standin, force):
    run_dying("after", FILE, "-m", "x", *force)
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["uploading"]
    code, out, err = podium("submit", FILE, "-m", "x", *force)
    assert (code, err) == (0, "")
    assert f"as {sent(standin)[0].ref}; not sent again" in out
    assert len(sent(standin)) == 1
    row = rows()[0]
    assert (row["status"], row["ref"], row["cross_validation"]) == ("complete", str(sent(standin)[0].ref), "0.974")


def test_after_a_kill_a_submission_that_kaggle_lists_late_is_not_sent_again(podium, here, standin, monkeypatch):
    run_dying("after", FILE, "-m", "x")
    late = [sent(standin).pop()]
    monkeypatch.setattr("podium.workflows.submit.pause", lambda seconds: sent(standin).extend(late[:1]) or late.clear())
    code, out, _ = podium("submit", FILE, "-m", "x")
    assert code == 0
    assert "not sent again" in out
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["complete"]


def test_after_a_kill_in_a_forced_second_submission_the_first_is_not_confused_with_it(podium, here, standin):
    assert podium("submit", FILE, "-m", "first")[0] == 0
    run_dying("before", FILE, "-m", "second", "--force")
    assert podium("submit", FILE, "-m", "second", "--force")[0] == 0
    assert [one.description.partition(" [")[0] for one in sent(standin)] == ["first", "second"]
    assert [row["status"] for row in rows()] == ["complete", "failed", "complete"]


def test_sending_another_file_completes_an_interrupted_row(podium, here, standin):
    run_dying("after", FILE, "-m", "lost")
    other = "submissions/cars_other__20260102-120000.csv"
    (here / other).write_text(csv_of(16))
    assert podium("submit", other, "-m", "next")[0] == 0
    assert [(row["message"], row["status"]) for row in rows()] == [("lost", "complete"), ("next", "complete")]


def test_unexpected_response_is_not_a_refusal(podium, here, standin):
    standin.fail("CreateSubmission", Fault.malformed(b'{"message": "", "ref": 0}', after_effect=True))
    code, _, err = podium("submit", FILE, "-m", "x")
    assert (code, err) == (0, "")
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["complete"]


def test_signal_while_sending_loses_nothing(podium, here, standin):
    command = [sys.executable, "-m", "podium", "submit", FILE, "-m", "x"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    standin.when("CreateSubmission", lambda: os.kill(process.pid, signal.SIGINT))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert len(err.splitlines()) == 1
    assert standin.wait_until(lambda: len(sent(standin)) == 1)
    assert [row["status"] for row in rows()] == ["uploading"]
    settled(podium, here, standin)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_signal_while_waiting_prints_the_command_to_resume(podium, here, standin, number):
    standin.competitions["cars"].pending = 4
    command = [sys.executable, "-m", "podium", "submit", FILE, "-m", "x"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    standin.when("GetSubmission", lambda: os.kill(process.pid, number), call=2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert err.endswith(f"; resume with: podium submit {FILE} -m x\n")
    assert [row["status"] for row in rows()] == ["pending"]
    assert podium("submit", FILE, "-m", "x")[0] == 0
    assert len(sent(standin)) == 1


# Failing requests


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


def one_of_each(calls, faults):
    """Every pair of call and fault; by default only one fault of each call is tested."""
    return [
        pytest.param(call, fault, marks=() if number == at % len(faults) else pytest.mark.slow)
        for at, call in enumerate(calls)
        for number, fault in enumerate(faults)
    ]


def settled(podium, here, standin):
    """Whatever happened, the same command later leads to one submission, recorded in the ledger."""
    standin.heal()
    podium("submit", FILE, "-m", "x")
    assert len(sent(standin)) == 1
    last = rows()[-1]
    assert (last["status"], last["ref"]) == ("complete", str(sent(standin)[0].ref))
    assert {row["status"] for row in rows()[:-1]} <= {"failed"}
    assert left_over(here) == set()


@pytest.mark.parametrize(("call", "fault"), one_of_each(CALLS, PASSING))
def test_temporary_failure_ends_with_one_submission(podium, here, standin, call, fault):
    standin.fail(call, PASSING[fault])
    code, _, err = podium("submit", FILE, "-m", "x")
    if call == "CreateSubmission" and fault != "429":
        assert code == 1
        assert len(err.splitlines()) == 1
        assert f"{FILE} was not submitted: the connection failed before it reached Kaggle" in err
        assert [row["status"] for row in rows()] == ["failed"]
        assert sent(standin) == []
    else:
        assert (code, err) == (0, "")
        assert len(sent(standin)) == 1
    settled(podium, here, standin)


@pytest.mark.parametrize(
    "fault",
    ["reset", *(pytest.param(name, marks=pytest.mark.slow) for name in PASSING if name not in ("429", "503", "reset"))],
)
def test_submission_whose_response_is_lost_is_found_and_not_sent_again(podium, here, standin, fault):
    lost = PASSING[fault]
    standin.fail("CreateSubmission", type(lost)(**{**vars(lost), "after_effect": True}))
    code, out, err = podium("submit", FILE, "-m", "x")
    assert (code, err) == (0, "")
    assert f"sent to cars as {sent(standin)[0].ref}, 1 of 5 today" in out
    assert standin.count("CreateSubmission") == 1
    settled(podium, here, standin)


@pytest.mark.parametrize(("call", "fault"), one_of_each(CALLS, LASTING))
def test_permanent_failure_is_one_line(podium, here, standin, call, fault):
    standin.fail(call, LASTING[fault], times=None)
    code, _, err = podium("submit", FILE, "-m", "x")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert len(sent(standin)) == (call == "GetSubmission")
    settled(podium, here, standin)


def test_unknown_outcome_is_resolved_by_the_next_command(podium, here, standin):
    standin.fail("CreateSubmission", Fault.reset_before(after_effect=True))
    standin.fail("ListSubmissions", Fault.status(503), times=None, after=1)
    code, _, err = podium("submit", FILE, "-m", "x")
    assert code == 1
    assert "Kaggle's response was lost, and it is unknown whether it has the submission" in err
    assert len(err.splitlines()) == 1
    assert [row["status"] for row in rows()] == ["uploading"]
    settled(podium, here, standin)
    assert standin.count("CreateSubmission") == 1


def test_submission_that_arrives_late_is_not_sent_twice(podium, here, standin):
    """Kaggle processed it after podium had stopped looking."""
    standin.fail("CreateSubmission", Fault.stall())
    assert podium("submit", FILE, "-m", "x")[0] == 1
    marker = rows()[0]["marker"]
    standin.add_submission("cars", csv_of(15).encode(), f"x [podium {marker}]", NAME)
    assert podium("submit", FILE, "-m", "x")[0] == 0
    assert len(sent(standin)) == 1
    assert [row["status"] for row in rows()] == ["complete"]


# Kernel outputs


KERNEL = ["--kernel", "ada/cars-b3", "--version", "1", "--file", "submission.csv", "-m", "from a kernel"]
KERNEL += ["--competition", "configs/competitions/cars.yaml"]


@pytest.fixture
def kernel(here, standin):
    standin.competitions["cars"].code_only = True
    return standin.add_kernel("ada/cars-b3", {"submission.csv": csv_of(14).encode(), "log.txt": b"done"})


def test_output_of_a_kernel_is_submitted_once(podium, kernel, standin, here):
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
    assert err.startswith("podium: submission.csv of ada/cars-b3/1 was already submitted on ")
    assert len(sent(standin)) == 1


@pytest.mark.parametrize("state", ["error", "running"])
def test_incomplete_version_is_refused(podium, kernel, standin, state):
    standin.version("ada/cars-b3/1").state = state
    code, _, err = podium("submit", *KERNEL)
    assert code == 1
    assert f"ada/cars-b3/1 is {state}" in err
    assert len(err.splitlines()) == 1
    assert sent(standin) == []


def test_missing_output_is_refused_also_with_force(podium, kernel, standin):
    arguments = ["other.csv" if part == "submission.csv" else part for part in KERNEL]
    for more in ([], ["--force"]):
        code, _, err = podium("submit", *arguments, *more)
        assert (code, sent(standin)) == (1, [])
        assert "ada/cars-b3/1 has no output other.csv; it has log.txt, submission.csv: name one with --file" in err


def test_dry_run_output_is_refused(podium, kernel, standin):
    arguments = ["cars_b3_dry-run__20260101-120000.csv" if part == "submission.csv" else part for part in KERNEL]
    assert "is named as partial or as a dry run" in podium("submit", *arguments)[2]
    assert standin.calls == []


def test_kernel_that_was_not_pushed_from_here_needs_a_competition(podium, kernel, standin):
    error = podium("submit", *KERNEL[:-2])[2]
    assert "ada/cars-b3/1 was not pushed from this machine for a single competition: add --competition" in error
    assert standin.calls == []


def test_daily_limit_applies_to_kernels_too(podium, kernel, standin):
    standin.competitions["cars"].daily = 1
    standin.add_submission("cars", b"Id,Category\n" + csv_of(3).encode().partition(b"\n")[2])
    assert "the daily limit of submissions is reached (1 sent)" in podium("submit", *KERNEL)[2]
    assert len(sent(standin)) == 1


def test_csv_is_refused_by_a_code_competition(podium, kernel, standin, here):
    code, _, err = podium("submit", FILE, "-m", "x")
    assert code == 1
    assert "only accepts Submissions from Notebooks" in err
    assert [row["status"] for row in rows()] == ["failed"]


@pytest.mark.parametrize(
    ("call", "fault"),
    one_of_each(["GetKernelSessionStatus", "ListKernelSessionOutput", "CreateCodeSubmission"], PASSING),
)
def test_failures_while_submitting_a_kernels_output(podium, kernel, standin, here, call, fault):
    standin.fail(call, PASSING[fault])
    code, _, err = podium("submit", *KERNEL)
    assert code == (call == "CreateCodeSubmission" and fault != "429")
    assert len(err.splitlines()) == code
    standin.heal()
    podium("submit", *KERNEL)
    assert len(sent(standin)) == 1
    assert rows()[-1]["status"] == "complete"
