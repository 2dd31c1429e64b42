"""podium's client at the stand-in: what it sends, and what it makes of Kaggle's answers, whatever they look like."""

import copy
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
from pydantic import TypeAdapter
from standin.faults import Fault

from podium import retries
from podium.config.kaggle_names import KernelRef
from podium.errors import CredentialsError, ForbiddenError, KaggleError, NotFoundError, UnreachableError
from podium.kaggle import client as client_module
from podium.kaggle import connection
from podium.kaggle.answers import KernelStatus, Place
from podium.kaggle.client import sign_in

REF = KernelRef("ada", "some-kernel", 1)
METADATA = {
    "id": "ada/new-kernel", "title": "new-kernel", "language": "python", "kernel_type": "script", "is_private": True,
    "enable_gpu": False, "enable_tpu": False, "enable_internet": False, "machine_shape": "", "keywords": [],
    "dataset_sources": [], "competition_sources": [], "kernel_sources": [], "model_sources": [],
}  # fmt: skip


@pytest.fixture
def kaggle(standin, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retries, "sleep", lambda seconds: None)
    monkeypatch.setattr(client_module, "pause", lambda seconds: None)
    standin.add_kernel(REF.name, {"a.txt": b"a", "b.txt": b"bb"})
    standin.add_competition("cars", {"train.csv": b"Id\na\n"}, lambda content: 0.5, others={"grace": 0.9})
    Path("answer.csv").write_text("Id,Category\na,0\n")
    return sign_in()


def told(error):
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


# Answers of the wrong form


CALLS = {
    "GetAcceleratorQuotaStatistics": lambda kaggle: kaggle.gpu_quota(),
    "SaveKernel": lambda kaggle: kaggle.push(METADATA, "print()"),
    "GetKernelSessionStatus": lambda kaggle: kaggle.kernel_status(REF),
    "GetKernel": lambda kaggle: kaggle.kernel_source(REF),
    "ListKernelSessionOutput": lambda kaggle: [*kaggle.output_files(REF), *kaggle.log(REF)],
    "ListKernelFiles": lambda kaggle: kaggle.output_files(REF),
    "GetCompetition": lambda kaggle: kaggle.competition("cars"),
    "ListSubmissions": lambda kaggle: kaggle.submissions("cars"),
    "GetSubmission": lambda kaggle: kaggle.submission(1),
    "GetSubmissionLimits": lambda kaggle: kaggle.allowance("cars"),
    "StartSubmissionUpload": lambda kaggle: kaggle.submit("cars", Path("answer.csv"), "a message"),
    "CreateSubmission": lambda kaggle: kaggle.submit("cars", Path("answer.csv"), "a message"),
    "CreateCodeSubmission": lambda kaggle: kaggle.submit_code("cars", REF, "a.txt", "a message"),
    "GetLeaderboard": lambda kaggle: kaggle.leaderboard("cars"),
    "ListDataFiles": lambda kaggle: kaggle.data_files("cars"),
}
ANSWERS = {
    "GetAcceleratorQuotaStatistics": {
        "quotaRefreshTime": "2026-01-03T00:00:00.000Z",
        "gpuQuota": {"timeUsed": "3600s", "timeReserved": "1.500s", "totalTimeAllowed": "108000s"},
    },
    "SaveKernel": {
        "ref": "/code/ada/new-kernel", "url": "https://www.kaggle.com/code/ada/new-kernel", "versionNumber": 1,
        "error": "", "invalidTags": [], "invalidDatasetSources": [], "invalidCompetitionSources": [],
        "invalidKernelSources": [], "invalidModelSources": [], "kernelId": 3,
    },
    "GetKernelSessionStatus": {"status": "ERROR", "failureMessage": "no"},
    "GetKernel": {"metadata": {"currentVersionNumber": 3, "id": 1}, "blob": {"source": "pass"}},
    "ListKernelSessionOutput": {
        "files": [{"fileName": "a.txt", "url": "https://storage.example/a"}],
        "log": '[{"stream_name": "stdout", "time": 1, "data": "one\\n"}]',
        "nextPageToken": "",
    },
    "ListKernelFiles": {"files": [{"name": "a.txt", "size": 1}], "nextPageToken": ""},
    "GetCompetition": {
        "id": 1, "ref": "cars", "title": "Cars", "deadline": "2026-01-03T00:00:00Z", "teamCount": 2,
        "userHasEntered": True, "userRank": 1, "maxDailySubmissions": 5, "evaluationMetric": "accuracy",
        "isKernelsSubmissionsOnly": True,
    },
    "ListSubmissions": {
        "submissions": [
            {
                "ref": 7, "date": "2026-01-03T00:00:00Z", "description": "m", "errorDescription": "e", "fileName": "f",
                "publicScore": "0.5", "privateScore": "0.4", "status": "COMPLETE",
            }
        ],
        "nextPageToken": "",
    },
    "GetSubmission": {"ref": 7, "date": "2026-01-03T00:00:00Z", "publicScore": "", "status": "PENDING"},
    "GetSubmissionLimits": {"numToday": 1, "numTotal": 5, "numAllowedNow": 4},
    "StartSubmissionUpload": {"token": "upload-1", "createUrl": "https://127.0.0.1:9/upload"},
    "CreateSubmission": {"message": "", "ref": 7},
    "CreateCodeSubmission": {"message": "", "ref": 7},
    "GetLeaderboard": {"submissions": [{"teamId": 1, "teamName": "ada", "score": "0.5"}], "nextPageToken": ""},
    "ListDataFiles": {"files": [{"name": "train.csv", "totalBytes": 5}], "nextPageToken": ""},
}  # fmt: skip
WRONG = [None, 5, -1, 0.5, True, "x", "", [], [5], [None], {}, {"a": 1}]


def places_in(content, place=()):
    yield place
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inside:
        yield from places_in(value, (*place, key))


def changed_at(content, place, value):
    if not place:
        return value
    changed = copy.deepcopy(content)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def wrong_answers(method):
    """Each place in a right answer with every wrong value there, and without it."""
    for place in places_in(ANSWERS[method]):
        yield from (changed_at(ANSWERS[method], place, value) for value in WRONG)


def check_types(answer):
    """Whether every field holds what its annotation promises."""
    for one in answer if isinstance(answer, list) else [answer]:
        if is_dataclass(one):
            hints = get_type_hints(type(one))
            for field in fields(one):
                TypeAdapter(hints[field.name]).validate_python(getattr(one, field.name), strict=True)


@pytest.mark.parametrize("method", [method for method in CALLS if method != "StartSubmissionUpload"])
def test_right_answer_is_read(method, kaggle, standin):
    standin.fail(method, Fault.malformed(json.dumps(ANSWERS[method]).encode()))
    answer = CALLS[method](kaggle)
    assert answer
    check_types(answer)


@pytest.mark.parametrize("method", CALLS)
def test_answer_of_the_wrong_form_is_read_as_promised_or_told_in_one_line(method, kaggle, standin, monkeypatch):
    monkeypatch.setattr(retries, "TRIES", 1)
    refusals = []
    for content in wrong_answers(method):
        standin.heal()
        standin.fail(method, Fault.malformed(json.dumps(content).encode()), times=None)
        try:
            check_types(CALLS[method](kaggle))
        except KaggleError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert [text for text in refusals if len(text.splitlines()) != 1] == []
    assert standin.submissions["cars"] == []


@pytest.mark.parametrize("method", ["SaveKernel", "CreateSubmission", "CreateCodeSubmission"])
@pytest.mark.parametrize("content", [{}, {"ref": "x", "versionNumber": 0}, {"ref": [7], "versionNumber": "1"}], ids=str)
def test_effect_whose_answer_says_nothing_is_unknown(method, content, kaggle, standin):
    standin.fail(method, Fault.malformed(json.dumps(content).encode()))
    with pytest.raises(UnreachableError):
        CALLS[method](kaggle)
    assert standin.count(method) == 1


def test_refusal_within_an_answer_of_status_200_is_one(kaggle, standin):
    standin.fail("GetKernelSessionStatus", Fault.malformed(b'{"code": 404, "message": "no such version"}'))
    with pytest.raises(NotFoundError, match="no such version"):
        kaggle.kernel_status(REF)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(429, retry_after=0), Fault.status(500), Fault.status(503), Fault.reset_before(),
        Fault.reset_midway(), Fault.stall(), Fault.stall_midway(), Fault.truncated(), Fault.malformed(),
    ],
    ids=lambda fault: f"{fault.kind}{fault.code or ''}",
)  # fmt: skip
def test_one_submission_is_asked_for_again_after_what_passes(fault, kaggle, standin, monkeypatch):
    ref = kaggle.submit("cars", Path("answer.csv"), "a message")
    if fault.kind.startswith("stall"):
        monkeypatch.setattr(connection, "READ_SECONDS", 0.3)
    standin.fail("GetSubmission", fault)
    assert kaggle.submission(ref).ref == ref
    assert standin.count("GetSubmission") == 2


@pytest.mark.parametrize("code", [400, 401, 403, 404])
def test_one_submission_that_kaggle_refuses_is_asked_for_once(code, kaggle, standin):
    standin.fail("GetSubmission", Fault.status(code, message="the reason"), times=None)
    with pytest.raises(KaggleError, match="the reason") as error:
        kaggle.submission(7)
    assert told(error)
    assert standin.count("GetSubmission") == 1


def test_pages_that_go_in_a_circle_are_told(kaggle, standin):
    page = {"files": [], "nextPageToken": "the same"}
    standin.fail("ListDataFiles", Fault.malformed(json.dumps(page).encode()), times=None)
    with pytest.raises(KaggleError, match="in a circle"):
        kaggle.data_files("cars")


# Kernels


def test_push_names_every_field_and_leaves_nothing_to_kaggle(kaggle, standin):
    standin.datasets["bob/weights"] = {}
    chosen = METADATA | {
        "enable_gpu": True, "machine_shape": "NvidiaTeslaT4", "keywords": ["gpu"], "dataset_sources": ["bob/weights"],
        "competition_sources": ["cars"], "kernel_sources": ["ada/some-kernel"],
    }  # fmt: skip
    pushed = kaggle.push(chosen, "print(1)\n", timeout_seconds=3600)
    assert str(pushed.ref) == "ada/new-kernel/1"
    assert pushed.url == "https://www.kaggle.com/code/ada/new-kernel"
    asked = standin.version(pushed.ref).request
    assert asked.to_dict() == {
        "slug": "ada/new-kernel", "newTitle": "new-kernel", "text": "print(1)\n", "language": "python",
        "kernelType": "script", "isPrivate": True, "enableGpu": True, "enableTpu": False, "enableInternet": False,
        "machineShape": "NvidiaTeslaT4", "categoryIds": ["gpu"], "datasetDataSources": ["bob/weights"],
        "competitionDataSources": ["cars"], "kernelDataSources": ["ada/some-kernel"], "sessionTimeoutSeconds": 3600,
    }  # fmt: skip


def test_push_that_kaggle_took_in_part_says_that_a_version_exists(kaggle, standin):
    with pytest.raises(KaggleError, match=r"no dataset bob/none.*no kernel ada/none.*; version 1 exists") as error:
        kaggle.push(METADATA | {"dataset_sources": ["bob/none"], "kernel_sources": ["ada/none"]}, "print()")
    assert told(error)
    assert len(standin.kernels["ada", "new-kernel"].versions) == 1


def test_push_that_kaggle_refuses_says_why_and_of_no_version(kaggle, standin):
    with pytest.raises(KaggleError, match=r"Kaggle says Kernel source is empty\.$"):
        kaggle.push(METADATA, "")


def test_invalid_sources_are_named_even_where_no_version_was_made(kaggle, standin):
    standin.fail("SaveKernel", Fault.malformed(b'{"invalidModelSources": ["a/b/c/d/1"]}'))
    with pytest.raises(KaggleError, match=r"no model a/b/c/d/1 that you may attach$"):
        kaggle.push(METADATA, "print()")


@pytest.mark.parametrize(
    ("state", "failure", "said", "is_over"),
    [
        ("queued", "", "queued", False),
        ("running", "", "running", False),
        ("complete", "", "complete", True),
        ("error", "out of memory", "error", True),
        ("cancel_requested", "", "running", False),
        ("cancelled", "", "cancelled", True),
    ],
)
def test_status(state, failure, said, is_over, kaggle, standin):
    version = standin.version(REF)
    version.state, version.failure = state, failure
    status = kaggle.kernel_status(REF)
    assert status == KernelStatus(said, failure)
    assert status.is_over == is_over


def test_source_is_that_of_the_newest_version(kaggle):
    kaggle.push(METADATA, "print(1)\n")
    kaggle.push(METADATA, "print(2)\n")
    found = kaggle.kernel_source(KernelRef("ada", "new-kernel"))
    assert (found.version, found.text) == (2, "print(2)\n")


def test_kernel_that_is_not_there_has_no_source_and_somebody_elses_is_refused(kaggle, standin):
    standin.add_kernel("bob/secret")
    assert kaggle.kernel_source(KernelRef("ada", "nothing")) is None
    with pytest.raises(ForbiddenError) as error:
        kaggle.kernel_source(KernelRef("bob", "secret"))
    assert told(error)


def test_outputs_of_all_pages_have_their_sizes(kaggle, standin):
    content = {f"part-{number:03}.bin": b"x" * number for number in range(1, 251)}
    standin.add_kernel("ada/many-files", content)
    files = kaggle.output_files(KernelRef("ada", "many-files", 1))
    assert {file.name: file.size for file in files} == {name: len(data) for name, data in content.items()}
    assert (standin.count("ListKernelSessionOutput"), standin.count("ListKernelFiles")) == (3, 3)


def test_hours_of_the_week(kaggle, standin):
    standin.gpu_hours(12.5, 30)
    quota = kaggle.gpu_quota()
    assert (quota.hours_used, quota.hours_allowed, quota.hours_left) == (12.5, 30, 17.5)


# Logs


def test_log_comes_line_by_line(kaggle, standin):
    version = standin.version(REF)
    for data in ("one\n", "two\nthree\n", "\n", "four", "five\n\n"):
        version.tell(data)
    assert list(kaggle.log(REF)) == ["one", "two", "three", "", "four", "five", ""]


def test_log_that_is_plain_text_is_one_too(kaggle, standin):
    standin.fail("ListKernelSessionOutput", Fault.malformed(json.dumps({"log": "one\ntwo\n"}).encode()))
    assert list(kaggle.log(REF)) == ["one", "two"]


def test_log_is_followed_from_the_queue_to_the_end(kaggle, standin):
    ref = kaggle.push(METADATA, "print()").ref
    version = standin.version(ref)
    standin.when("GetKernelSessionStatus", lambda: standin.begin(ref), call=3)
    standin.when("GetKernelSessionLogsStream", lambda: version.tell("one\n"))
    lines = kaggle.follow_log(ref)
    assert next(lines) == "one"
    version.tell("two\n")
    assert next(lines) == "two"
    standin.finish(ref, log="three\n")
    assert list(lines) == ["three"]
    assert standin.count("GetKernelSessionStatus") == 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault.reset_midway(),
        Fault.truncated(),
        Fault.malformed(b'data: {"data": "one\\n"}\n\ndata: {"stream_na', content_type="text/event-stream"),
        Fault.malformed(b"", content_type="text/event-stream"),
    ],
    ids=["reset", "truncated", "cut within an event", "nothing"],
)
def test_log_that_breaks_is_told_once_and_whole(fault, kaggle, standin):
    ref = kaggle.push(METADATA, "print()").ref
    version = standin.begin(ref)
    version.tell("one\n")
    version.tell("two\n")
    standin.fail("GetKernelSessionLogsStream", fault)
    standin.when("GetKernelSessionLogsStream", lambda: standin.finish(ref, log="three\n"), call=2)
    assert list(kaggle.follow_log(ref)) == ["one", "two", "three"]


def test_log_of_another_version_is_not_told(kaggle, standin):
    for number in (1, 2):
        ref = kaggle.push(METADATA, f"print({number})").ref
        standin.finish(ref, log=f"version {number}\n")
    first = KernelRef("ada", "new-kernel", 1)
    assert list(kaggle.log(first)) == list(kaggle.follow_log(first)) == ["version 1"]


# Competitions


def test_submissions_of_all_pages_come_newest_first(kaggle, standin):
    standin.largest_page = 2
    refs = [standin.add_submission("cars", b"Id,Category\n", f"number {number}").ref for number in range(5)]
    found = kaggle.submissions("cars")
    assert [one.ref for one in found] == refs[::-1]
    assert found[0].description == "number 4"
    assert standin.count("ListSubmissions") == 3


def test_submitted_file_arrives_with_its_message(kaggle, standin):
    ref = kaggle.submit("cars", Path("answer.csv"), "a message")
    (arrived,) = standin.submissions["cars"]
    assert arrived.ref == ref
    assert (arrived.file_name, arrived.description) == ("answer.csv", "a message")
    one = kaggle.submission(ref)
    assert (one.status, one.public_score, one.description) == ("complete", 0.5, "a message")


def test_upload_that_did_not_come_whole_is_made_again_before_it_is_submitted(kaggle, standin):
    standin.fail("upload", Fault("status", 308))
    kaggle.submit("cars", Path("answer.csv"), "a message")
    assert (standin.count("upload"), standin.count("CreateSubmission")) == (2, 1)


def test_file_is_not_sent_where_it_could_be_read_on_the_way(kaggle, standin):
    begun = {"token": "upload-1", "createUrl": "http://storage.example/upload"}
    standin.fail("StartSubmissionUpload", Fault.malformed(json.dumps(begun).encode()))
    with pytest.raises(KaggleError, match="not encrypted") as error:
        kaggle.submit("cars", Path("answer.csv"), "a message")
    assert told(error)
    assert standin.count("upload") == standin.count("CreateSubmission") == 0


def test_submission_that_kaggle_only_speaks_about_was_not_taken(kaggle, standin):
    standin.fail("CreateSubmission", Fault.malformed(b'{"message": "The competition\\nis over"}'))
    with pytest.raises(KaggleError, match="did not take the submission: The competition is over"):
        kaggle.submit("cars", Path("answer.csv"), "a message")


def test_leaderboard_keeps_its_order(kaggle):
    kaggle.submit("cars", Path("answer.csv"), "a message")
    assert kaggle.leaderboard("cars") == [Place("grace", 0.9), Place("ada", 0.5)]


# The way there


def test_client_says_nothing_to_a_person(kaggle, capfd):
    sign_in()
    with pytest.raises(NotFoundError):
        kaggle.competition("nothing")
    kaggle.submit("cars", Path("answer.csv"), "a message")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "address",
    ["http://[::1", "http://evil.example\\@127.0.0.1", "http://user:word@127.0.0.1", "http://127.0.0.1?a", "127.0.0.1"],
)
def test_seam_that_could_be_read_in_two_ways_is_refused(address, standin, monkeypatch):
    monkeypatch.setenv("PODIUM_KAGGLE_ENDPOINT", address)
    with pytest.raises(KaggleError, match="may name only this machine") as error:
        sign_in()
    assert told(error)
    assert standin.connections == 0


def test_key_file_that_holds_something_else_is_told(standin, monkeypatch, tmp_path):
    from podium.kaggle.connection import _client_class

    (tmp_path / "kaggle.json").write_text('["not", "a key"]')
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(_client_class().__mro__[1], "config", str(tmp_path / "kaggle.json"))
    with pytest.raises(CredentialsError, match=r"kaggle\.json holds no key") as error:
        sign_in()
    assert told(error)
