"""podium's client at the stand-in: what it sends, and how it reads responses, well formed or not."""

import copy
import json
import os
import signal
import threading
from pathlib import Path

import pytest
from kaggle_calls import METADATA, REF, submit
from pydantic import BaseModel
from standin.faults import Fault

from podium import retries
from podium.config.kaggle_names import KernelRef
from podium.errors import CredentialsError, ForbiddenError, KaggleError, NotFoundError, UnreachableError
from podium.kaggle.client import sign_in
from podium.signals import Interrupted, interruptible

CALLS = {
    "GetAcceleratorQuotaStatistics": lambda kaggle: kaggle.gpu_quota(),
    "SaveKernel": lambda kaggle: kaggle.push(METADATA, "print()"),
    "GetKernelSessionStatus": lambda kaggle: kaggle.kernel_status(REF),
    "GetKernel": lambda kaggle: kaggle.kernel_source(REF),
    "ListKernelSessionOutput": lambda kaggle: [*kaggle.output_files(REF), *kaggle.log(REF)],
    "ListKernelFiles": lambda kaggle: kaggle.output_files(REF),
    "GetCompetition": lambda kaggle: kaggle.has_joined("cars"),
    "ListSubmissions": lambda kaggle: kaggle.submissions("cars"),
    "GetSubmission": lambda kaggle: kaggle.submission(1),
    "GetSubmissionLimits": lambda kaggle: kaggle.allowance("cars"),
    "StartSubmissionUpload": submit,
    "CreateSubmission": submit,
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
    "GetCompetition": {"id": 1, "ref": "cars", "title": "Cars", "userHasEntered": True},
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


def paths_in(content, path=()):
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from paths_in(value, (*path, key))


def changed_at(content, path, value):
    if not path:
        return value
    changed = copy.deepcopy(content)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return changed


def wrong_responses(method):
    """A right response with each value replaced by each wrong one."""
    for path in paths_in(ANSWERS[method]):
        yield from (changed_at(ANSWERS[method], path, value) for value in WRONG)


def respond_with(standin, method, content, times=None):
    standin.heal()
    standin.fail(method, Fault.malformed(json.dumps(content).encode()), times=times)


def check_types(result):
    """Models validate themselves; this is about what is built without them."""
    for item in result if isinstance(result, list) else [result]:
        assert (
            item is None
            or isinstance(item, BaseModel | str | int)
            or all(
                isinstance(value, str | int | float | KernelRef | type(None)) or hasattr(value, "isoformat")
                for value in vars(item).values()
            )
        )


@pytest.mark.parametrize("method", [method for method in CALLS if method != "StartSubmissionUpload"])
def test_a_well_formed_response_is_read(method, kaggle, standin):
    respond_with(standin, method, ANSWERS[method], times=1)
    result = CALLS[method](kaggle)
    assert result
    check_types(result)


OPTIONAL = ("GetAcceleratorQuotaStatistics", "ListKernelFiles")
"""Information that is optional."""


def check_wrong_responses(method, kaggle, standin, monkeypatch):
    monkeypatch.setattr(retries, "ATTEMPTS", 1)
    errors = []
    for content in wrong_responses(method):
        respond_with(standin, method, content)
        try:
            check_types(CALLS[method](kaggle))
        except KaggleError as error:
            errors.append(str(error))
    assert len(errors) > 20 or method in OPTIONAL
    assert [text for text in errors if len(text.splitlines()) != 1] == []
    assert standin.submissions["cars"] == []


def test_a_malformed_response_is_valid_or_one_line(kaggle, standin, monkeypatch):
    check_wrong_responses("SaveKernel", kaggle, standin, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("method", CALLS)
def test_every_malformed_response_of_every_call_is_valid_or_one_line(method, kaggle, standin, monkeypatch):
    check_wrong_responses(method, kaggle, standin, monkeypatch)


@pytest.mark.parametrize("method", ["SaveKernel", "CreateSubmission", "CreateCodeSubmission"])
@pytest.mark.parametrize("content", [{}, {"ref": "x", "versionNumber": 0}, {"ref": [7], "versionNumber": "1"}], ids=str)
def test_a_push_or_submission_with_a_malformed_response_is_not_repeated(method, content, kaggle, standin):
    respond_with(standin, method, content)
    with pytest.raises(UnreachableError, match="unexpected response from Kaggle"):
        CALLS[method](kaggle)
    assert standin.count(method) == 1


def test_an_error_code_in_a_response_with_status_200_is_an_error(kaggle, standin):
    respond_with(standin, "GetKernelSessionStatus", {"code": 404, "message": "no such version"})
    with pytest.raises(NotFoundError, match="no such version"):
        kaggle.kernel_status(REF)


def test_pages_that_repeat_are_an_error(kaggle, standin):
    respond_with(standin, "ListDataFiles", {"files": [], "nextPageToken": "the same"})
    with pytest.raises(KaggleError, match="the same page twice"):
        kaggle.data_files("cars")


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_request_that_hangs_without_a_retry(number, kaggle, standin):
    standin.fail("GetCompetition", Fault.stall(), times=None)
    standin.when("GetCompetition", lambda: os.kill(os.getpid(), number))
    with interruptible(), pytest.raises(Interrupted, match=number.name):
        kaggle.has_joined("cars")
    assert standin.count("GetCompetition") == 1


def test_a_signal_ends_the_download_of_a_file_that_hangs_and_the_next_one_resumes(kaggle, standin):
    standin.fail("data-zip", Fault.stall_midway(), after=1, times=None)
    standin.when("data-zip", lambda: os.kill(os.getpid(), signal.SIGTERM), call=2)
    with interruptible(), pytest.raises(Interrupted):
        kaggle.download_data("cars", Path("cars.zip"))
    assert not Path("cars.zip").exists()
    standin.heal()
    kaggle.download_data("cars", Path("cars.zip"))
    assert Path("cars.zip").is_file()


def test_an_interrupted_download_does_not_write_after_its_end(kaggle, standin, tmp_path):
    """The server's response may still arrive, when the next download of the file is under way."""
    sent, ended = threading.Event(), threading.Event()

    class Late:
        status_code, headers = 200, {"Content-Length": "4"}

        def __enter__(self):
            os.kill(os.getpid(), signal.SIGINT)
            sent.wait(60)
            return self

        def __exit__(self, *_):
            ended.set()

        def raise_for_status(self):
            pass

        def iter_content(self, size):
            yield b"late"

    from podium.kaggle.transfers import download

    with interruptible(), pytest.raises(Interrupted):
        download(lambda headers: Late(), Path("file.bin"), 4, lambda done: None)
    sent.set()
    assert ended.wait(60)
    assert not list(tmp_path.glob("*file.bin*"))


# Kernels


def test_a_push_sends_every_field_explicitly(kaggle, standin):
    standin.datasets["bob/weights"] = {}
    metadata = METADATA | {
        "enable_gpu": True, "machine_shape": "NvidiaTeslaT4", "keywords": ["gpu"], "dataset_sources": ["bob/weights"],
        "competition_sources": ["cars"], "kernel_sources": ["ada/some-kernel"],
    }  # fmt: skip
    pushed = kaggle.push(metadata, "print(1)\n", timeout_seconds=3600)
    assert str(pushed.ref) == "ada/new-kernel/1"
    assert pushed.url == "https://www.kaggle.com/code/ada/new-kernel"
    assert standin.version(pushed.ref).request.to_dict() == {
        "slug": "ada/new-kernel", "newTitle": "new-kernel", "text": "print(1)\n", "language": "python",
        "kernelType": "script", "isPrivate": True, "enableGpu": True, "enableTpu": False, "enableInternet": False,
        "machineShape": "NvidiaTeslaT4", "categoryIds": ["gpu"], "datasetDataSources": ["bob/weights"],
        "competitionDataSources": ["cars"], "kernelDataSources": ["ada/some-kernel"], "sessionTimeoutSeconds": 3600,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"dataset_sources": ["bob/none"]}, "there is no dataset bob/none .*; version 1 was created anyway"),
        ({"competition_sources": ["none"]}, "there is no competition none"),
        ({"kernel_sources": ["bob/none"]}, "there is no kernel bob/none"),
        ({"model_sources": ["a/b/c/d/1"]}, "there is no model a/b/c/d/1"),
        ({"keywords": ["no-such-tag"]}, "unknown tags no-such-tag"),
        ({"title": "another-name"}, "the kernel is named ada/another-name on Kaggle"),
    ],
)
def test_every_problem_in_the_response_to_a_push_is_an_error(change, problem, kaggle, one_line):
    with pytest.raises(KaggleError, match=problem) as error:
        kaggle.push(METADATA | change, "print()")
    one_line(error)


def test_a_refused_push_reports_the_reason_and_no_version(kaggle):
    with pytest.raises(KaggleError, match=r"Kaggle reports Kernel source is empty\.$"):
        kaggle.push(METADATA, "")


def test_versions_are_requested_exactly(kaggle, standin):
    first = kaggle.push(METADATA, "print(1)").ref
    standin.finish(first, {"a.txt": b"first"}, log="version 1\n")
    second = kaggle.push(METADATA, "print(2)").ref
    standin.finish(second, {"a.txt": b"second"}, state="error", failure="no", log="version 2\n")
    assert [kaggle.kernel_status(ref).state for ref in (first, second)] == ["complete", "error"]
    for ref, content in ((first, b"first"), (second, b"second")):
        (file,) = kaggle.output_files(ref)
        kaggle.fetch(file, Path("a.txt"))
        assert Path("a.txt").read_bytes() == content
    assert kaggle.log(first) == list(kaggle.follow_log(first)) == ["version 1"]
    with pytest.raises(NotFoundError):
        kaggle.kernel_status(first.at(3))


@pytest.mark.parametrize(
    ("state", "failure", "expected", "is_over"),
    [
        ("queued", "", "queued", False),
        ("running", "", "running", False),
        ("complete", "", "complete", True),
        ("error", "out of memory", "error", True),
        ("cancel_requested", "", "running", False),
        ("cancelled", "", "cancelled", True),
    ],
)
def test_the_status_of_a_version(state, failure, expected, is_over, kaggle, standin):
    version = standin.version(REF)
    version.state, version.failure = state, failure
    status = kaggle.kernel_status(REF)
    assert (status.state, status.failure, status.is_over) == (expected, failure, is_over)


def test_the_source_is_that_of_the_newest_version(kaggle):
    kaggle.push(METADATA, "print(1)\n")
    kaggle.push(METADATA, "print(2)\n")
    source = kaggle.kernel_source(KernelRef("ada", "new-kernel"))
    assert (source.version, source.text) == (2, "print(2)\n")


def test_an_unknown_kernel_has_no_source_and_a_private_one_is_denied(kaggle, standin, one_line):
    standin.add_kernel("bob/secret")
    assert kaggle.kernel_source(KernelRef("ada", "nothing")) is None
    with pytest.raises(ForbiddenError) as error:
        kaggle.kernel_source(KernelRef("bob", "secret"))
    one_line(error)


# Kernels that do not exist, or not any more


@pytest.mark.parametrize("is_forbidden", [False, True], ids=["404", "403"])
@pytest.mark.parametrize("ask", ["kernel_status", "log", "output_files"])
def test_a_kernel_that_was_deleted_does_not_exist(ask, is_forbidden, kaggle, standin, one_line):
    standin.reported.unknown_is_forbidden = is_forbidden
    standin.delete_kernel(REF.name)
    standin.add_kernel("ada/some-kernels")
    with pytest.raises(NotFoundError, match=r"deleted, or never pushed; did you mean ada/some-kernels\?") as error:
        getattr(kaggle, ask)(REF)
    assert one_line(error)


def test_a_kernel_that_exists_and_is_denied_lacks_a_permission(kaggle, standin):
    standin.fail("GetKernelSessionStatus", Fault.status(403), times=None)
    with pytest.raises(ForbiddenError, match="Kaggle denied access"):
        kaggle.kernel_status(REF)


def test_a_version_that_does_not_exist_is_no_deleted_kernel(kaggle):
    with pytest.raises(NotFoundError, match="check the name and the version"):
        kaggle.kernel_status(REF.at(7))


def test_a_denied_kernel_of_another_user_may_be_a_mistyped_one(kaggle, standin):
    standin.reported.unknown_is_forbidden = True
    for ask in (kaggle.kernel_status, kaggle.kernel_source):
        with pytest.raises(ForbiddenError, match=r"; did you mean ada/some-kernel\?"):
            ask(KernelRef("adaa", "some-kernel"))
    standin.add_kernel("bob/secret")
    with pytest.raises(ForbiddenError, match="Kaggle denied access"):
        kaggle.kernel_status(KernelRef("bob", "secret"))


def test_a_missing_kernel_is_reported_without_a_list_of_kernels_too(kaggle, standin):
    standin.reported.unknown_is_forbidden = True
    standin.fail("ListKernels", Fault.status(500), times=None)
    with pytest.raises(NotFoundError, match="there is no kernel ada/nothing on Kaggle"):
        kaggle.kernel_status(KernelRef("ada", "nothing"))


# Optional information


def test_an_unknown_gpu_quota_is_mentioned_once(kaggle, standin, capsys):
    standin.reported.no_quota = True
    assert (kaggle.gpu_quota(), kaggle.gpu_quota()) == (None, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("podium: the GPU quota: not found on Kaggle")
    assert line.endswith("; GPU hours are not checked")


@pytest.mark.parametrize("is_refused", [False, True])
def test_unknown_sizes_are_mentioned_once(is_refused, kaggle, standin, capsys):
    standin.reported.no_sizes = True
    if is_refused:
        standin.fail("ListKernelFiles", Fault.status(404), times=None)
    for _ in range(2):
        assert [(file.name, file.size) for file in kaggle.output_files(REF)] == [("a.txt", None), ("b.bin", None)]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("; downloads are shown without a total")


def test_a_log_that_cannot_be_streamed_is_polled(kaggle, standin, capsys):
    standin.reported.no_stream = True
    ref = kaggle.push(METADATA, "print()").ref
    standin.begin(ref)
    standin.when("GetKernelSessionLogsStream", lambda: standin.finish(ref, log="one\ntwo\n"), call=3)
    assert list(kaggle.follow_log(ref)) == ["one", "two"]
    assert standin.count("GetKernelSessionLogsStream") == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("; reading the stored log instead")


# Output


def test_output_files_of_all_pages_have_their_sizes(kaggle, standin):
    content = {f"part-{number:03}.bin": b"x" * number for number in range(1, 251)}
    standin.add_kernel("ada/many-files", content)
    files = kaggle.output_files(KernelRef("ada", "many-files", 1))
    assert {file.name: file.size for file in files} == {name: len(data) for name, data in content.items()}
    assert (standin.count("ListKernelSessionOutput"), standin.count("ListKernelFiles")) == (3, 3)


def test_the_gpu_quota(kaggle, standin):
    standin.gpu_hours(12.5, 30)
    quota = kaggle.gpu_quota()
    assert (quota.hours_used, quota.hours_allowed, quota.hours_left) == (12.5, 30, 17.5)


# Logs


def test_a_log_is_split_into_lines(kaggle, standin):
    version = standin.version(REF)
    for data in ("one\n", "two\nthree\n", "\n", "four", "five\n\n"):
        version.tell(data)
    assert kaggle.log(REF) == ["a line", "one", "two", "three", "", "four", "five", ""]


def test_a_log_may_be_plain_text(kaggle, standin):
    respond_with(standin, "ListKernelSessionOutput", {"log": "one\ntwo\n"})
    assert kaggle.log(REF) == ["one", "two"]


def test_a_log_is_followed_from_the_queue_to_the_end(kaggle, standin):
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
def test_a_log_stream_that_breaks_is_resumed_without_repeating_lines(fault, kaggle, standin):
    ref = kaggle.push(METADATA, "print()").ref
    version = standin.begin(ref)
    version.tell("one\n")
    version.tell("two\n")
    standin.fail("GetKernelSessionLogsStream", fault)
    standin.when("GetKernelSessionLogsStream", lambda: standin.finish(ref, log="three\n"), call=2)
    assert list(kaggle.follow_log(ref)) == ["one", "two", "three"]


# Competitions


@pytest.mark.parametrize("is_forbidden", [False, True], ids=["404", "403"])
@pytest.mark.parametrize("ask", ["has_joined", "submissions", "allowance", "leaderboard", "data_files"])
def test_a_mistyped_competition_is_reported_with_the_nearest_entered_one(ask, is_forbidden, kaggle, standin, one_line):
    standin.reported.unknown_is_forbidden = is_forbidden
    with pytest.raises(NotFoundError, match=r"no competition 'boatz' on Kaggle .*; did you mean boats\?") as error:
        getattr(kaggle, ask)("boatz")
    assert one_line(error)


def test_a_competition_that_was_not_joined_is_no_mistyped_one(kaggle, standin):
    standin.reported.unknown_is_forbidden = True
    standin.competitions["cars"].rules_accepted = False
    with pytest.raises(ForbiddenError, match="accept its rules at https://www"):
        kaggle.data_files("cars")


def test_the_files_of_a_competition_are_listed_in_large_pages(kaggle, standin):
    kaggle.data_files("cars")
    assert [call.request.page_size for call in standin.calls if call.method == "ListDataFiles"] == [200]


def test_a_signed_url_is_used_until_it_expires(kaggle, standin):
    standin.fail("data-zip", Fault.reset_midway(), after=1, times=2)
    kaggle.download_data("cars", Path("cars.zip"))
    assert standin.count("DownloadDataFiles") == 1
    standin.fail("data-zip", Fault.reset_midway(), after=1)
    standin.when("data-zip", standin.expire_links, call=3)
    kaggle.download_data("cars", Path("again.zip"))
    assert standin.count("DownloadDataFiles") == 3
    assert Path("again.zip").read_bytes() == Path("cars.zip").read_bytes()


def test_submissions_of_all_pages_are_listed_newest_first(kaggle, standin):
    standin.largest_page = 2
    numbers = [standin.add_submission("cars", b"Id,Category\n", f"number {number}").ref for number in range(5)]
    found = kaggle.submissions("cars")
    assert [submission.ref for submission in found] == numbers[::-1]
    assert found[0].description == "number 4"
    assert standin.count("ListSubmissions") == 3


def test_a_submission_arrives_with_its_message(kaggle, standin):
    number = submit(kaggle)
    (arrived,) = standin.submissions["cars"]
    assert arrived.ref == number
    assert (arrived.file_name, arrived.description) == ("answer.csv", "a message")
    submission = kaggle.submission(number)
    assert (submission.status, submission.public_score, submission.description) == ("complete", 0.5, "a message")


def test_an_incomplete_upload_is_repeated_before_the_submission(kaggle, standin):
    standin.fail("upload", Fault("status", 308))
    submit(kaggle)
    assert (standin.count("upload"), standin.count("CreateSubmission")) == (2, 1)


def test_a_file_is_not_uploaded_without_encryption(kaggle, standin, one_line):
    start = {"token": "upload-1", "createUrl": "http://storage.example/upload"}
    respond_with(standin, "StartSubmissionUpload", start)
    with pytest.raises(KaggleError, match="not encrypted") as error:
        submit(kaggle)
    one_line(error)
    assert standin.count("upload") == standin.count("CreateSubmission") == 0


def test_a_response_with_a_message_but_no_number_is_a_refused_submission(kaggle, standin):
    respond_with(standin, "CreateSubmission", {"message": "The competition\nis over"})
    with pytest.raises(KaggleError, match="did not accept the submission: The competition is over"):
        submit(kaggle)


def test_the_leaderboard_keeps_its_order(kaggle):
    submit(kaggle)
    assert [(place.team, place.score) for place in kaggle.leaderboard("cars")] == [("grace", 0.9), ("ada", 0.5)]


# Signing in


def test_the_official_client_prints_nothing(kaggle, capfd):
    sign_in()
    with pytest.raises(NotFoundError):
        kaggle.has_joined("nothing")
    submit(kaggle)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org", "http://192.168.0.1:80", "http://evil.example", "http://127.0.0.1:80/path",
        "ftp://localhost", "nonsense", "http://[::1", "http://evil.example\\@127.0.0.1", "http://user:word@127.0.0.1",
        "http://127.0.0.1?a", "127.0.0.1",
    ],
)  # fmt: skip
def test_the_test_server_must_be_on_this_machine(address, standin, monkeypatch, one_line):
    monkeypatch.setenv("PODIUM_KAGGLE_ENDPOINT", address)
    with pytest.raises(KaggleError, match="expected a local URL") as error:
        sign_in()
    one_line(error)
    assert standin.connections == 0


def test_a_key_file_without_a_key_is_one_line(standin, monkeypatch, tmp_path, one_line):
    from podium.kaggle.connection import _client_class

    (tmp_path / "kaggle.json").write_text('["not", "a key"]')
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(_client_class().__mro__[1], "config", str(tmp_path / "kaggle.json"))
    with pytest.raises(CredentialsError, match=r"kaggle\.json contains no key") as error:
        sign_in()
    one_line(error)
