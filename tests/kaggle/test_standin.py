"""The stand-in for Kaggle's service, asked by the real client: kernels, competitions, keys."""

import io
import json
import signal
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import requests
from kagglesdk.competitions.types.competition_api_service import (
    ApiCreateCodeSubmissionRequest,
    ApiCreateSubmissionRequest,
    ApiDownloadDataFilesRequest,
    ApiGetCompetitionRequest,
    ApiGetLeaderboardRequest,
    ApiGetSubmissionLimitsRequest,
    ApiGetSubmissionRequest,
    ApiListDataFilesRequest,
    ApiListSubmissionsRequest,
    ApiStartSubmissionUploadRequest,
)
from kagglesdk.competitions.types.submission_status import SubmissionStatus
from kagglesdk.kernels.types.kernels_api_service import (
    ApiCancelKernelSessionRequest,
    ApiGetKernelRequest,
    ApiGetKernelSessionLogsStreamRequest,
    ApiGetKernelSessionStatusRequest,
    ApiListKernelFilesRequest,
    ApiListKernelSessionOutputRequest,
    ApiListKernelsRequest,
    ApiSaveKernelRequest,
)
from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus
from standin import serve
from standin.pushed import run_pushed
from standin.scoring import accuracy_against
from standin.service import StandIn

ANSWERS = {f"{row}.jpg": str(row % 2) for row in range(20)}
RIGHT = b"Id,Category\n" + "".join(f"{name},{label}\n" for name, label in ANSWERS.items()).encode()


def make(request_type, **fields):
    request = request_type()
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def push(client, name="my-kernel", **fields):
    request = {"slug": f"ada/{name}", "new_title": name, "text": "print(1)\n", "language": "python"}
    request |= {"kernel_type": "script", "machine_shape": "NvidiaTeslaT4", "enable_internet": False}
    return client.kernels.kernels_api_client.save_kernel(make(ApiSaveKernelRequest, **(request | fields)))


def status(client, name="my-kernel", label=None, owner="ada"):
    request = make(ApiGetKernelSessionStatusRequest, user_name=owner, kernel_slug=name, version_label=label)
    return client.kernels.kernels_api_client.get_kernel_session_status(request)


def output(client, **fields):
    request = make(ApiListKernelSessionOutputRequest, **({"user_name": "ada", "kernel_slug": "my-kernel"} | fields))
    return client.kernels.kernels_api_client.list_kernel_session_output(request)


def upload(client, content, slug="cars", name="answers.csv"):
    """The token of an upload that is done."""
    request = make(ApiStartSubmissionUploadRequest, competition_name=slug, file_name=name, content_length=len(content))
    started = client.competitions.competition_api_client.start_submission_upload(request)
    assert requests.put(started.create_url, data=content).status_code == 201
    return started.token


def submit(client, token, slug="cars"):
    request = make(
        ApiCreateSubmissionRequest, competition_name=slug, blob_file_tokens=token, submission_description="the first"
    )
    return client.competitions.competition_api_client.create_submission(request).ref


def refused(code, call, *arguments, **fields):
    """The message with which a call is refused."""
    with pytest.raises(requests.HTTPError) as refusal:
        call(*arguments, **fields)
    assert refusal.value.response.status_code == code
    return str(refusal.value)


# Kernels


def test_versions_are_numbered_and_asked_for_by_their_labels(client, standin):
    first = push(client)
    assert (first.ref, first.version_number, first.error) == ("/code/ada/my-kernel", 1, None or "")
    standin.finish("ada/my-kernel", state="error", failure="out of memory")
    assert push(client).version_number == 2
    assert status(client, label="v1").status == KernelWorkerStatus.ERROR
    assert status(client, label="v1").failure_message == "out of memory"
    assert status(client).status == status(client, label="v2").status == KernelWorkerStatus.QUEUED
    standin.begin("ada/my-kernel/2")
    assert status(client).status == KernelWorkerStatus.RUNNING
    refused(404, status, client, label="2")
    refused(404, status, client, label="v3")


def test_source_comes_back_with_the_number_of_the_newest_version(client):
    push(client, text="print('one')\n")
    push(client, text="print('two')\n")
    api = client.kernels.kernels_api_client
    newest = api.get_kernel(make(ApiGetKernelRequest, user_name="ada", kernel_slug="my-kernel"))
    assert (newest.blob.source, newest.metadata.current_version_number) == ("print('two')\n", 2)
    first = api.get_kernel(make(ApiGetKernelRequest, user_name="ada", kernel_slug="my-kernel", version_label="v1"))
    assert (first.blob.source, first.metadata.current_version_number) == ("print('one')\n", 2)


def test_title_makes_the_slug_when_the_two_disagree(client, standin):
    answer = push(client, name="my-kernel", new_title="Another Name")
    assert (answer.ref, answer.url) == ("/code/ada/another-name", "https://www.kaggle.com/code/ada/another-name")
    assert list(standin.kernels) == [("ada", "another-name")]


def test_third_gpu_session_is_refused_within_a_good_answer_until_one_ends(client, standin):
    push(client, "kernel-one"), push(client, "kernel-two")
    third = push(client, "kernel-three")
    assert (third.error, third.version_number) == ("Maximum batch GPU session count of 2 reached.", 0)
    assert push(client, "kernel-on-a-cpu", machine_shape="").version_number == 1
    standin.finish("ada/kernel-one")
    assert push(client, "kernel-three").version_number == 1


def test_gpu_hours_are_counted_and_when_used_up_refused(client, api, standin):
    standin.gpu_hours(used=29, allowed=30)
    push(client)
    standin.finish("ada/my-kernel", hours=2.5)
    quota = api.quota_view().gpu_quota
    assert (quota.time_used, quota.total_time_allowed) == (timedelta(hours=31.5), timedelta(hours=30))
    assert "GPU quota of 30 hours" in push(client).error


def test_sources_it_does_not_know_are_reported_and_the_version_is_made(client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS)
    standin.datasets["ada/weights"] = {}
    standin.add_kernel("bob/secret", {"a.txt": b""})
    standin.add_kernel("bob/shown", {"a.txt": b""}, is_private=False)
    answer = push(
        client,
        dataset_data_sources=["ada/weights", "ada/nothing"],
        competition_data_sources=["cars", "no-cars"],
        kernel_data_sources=["bob/shown", "bob/secret"],
        model_data_sources=["ada/model/keras/small/1"],
        category_ids=["no-tag"],
    )
    assert answer.invalid_dataset_sources == ["ada/nothing"]
    assert answer.invalid_competition_sources == ["no-cars"]
    assert answer.invalid_kernel_sources == ["bob/secret"]
    assert answer.invalid_model_sources == ["ada/model/keras/small/1"]
    assert answer.invalid_tags == ["no-tag"]
    assert standin.version("ada/my-kernel").sources == [
        ("dataset", "ada/weights"),
        ("competition", "cars"),
        ("kernel", "bob/shown"),
    ]


def test_private_kernels_of_others_are_forbidden_and_unknown_ones_not_found(client, standin):
    standin.add_kernel("bob/secret")
    standin.add_kernel("bob/shown", is_private=False)
    assert "denied" in refused(403, status, client, "secret", owner="bob")
    assert status(client, "shown", owner="bob").status == KernelWorkerStatus.COMPLETE
    refused(404, status, client, "nothing", owner="bob")
    refused(403, push, client, slug="bob/my-kernel")


def test_own_kernels_are_listed_page_by_page(api, client, standin):
    for name in ("kernel-one", "kernel-two", "kernel-three", "kernel-four"):
        push(client, name, machine_shape="")
    standin.add_kernel("bob/secret")
    assert [kernel.ref for kernel in api.kernels_list(mine=True, page_size=2)] == ["ada/kernel-one", "ada/kernel-two"]
    request = make(ApiListKernelsRequest, user="ada", page_size=3)
    first = client.kernels.kernels_api_client.list_kernels(request)
    request.page_token = first.next_page_token
    assert [kernel.slug for kernel in client.kernels.kernels_api_client.list_kernels(request).kernels] == [
        "kernel-four"
    ]


def test_outputs_come_in_small_pages_and_the_log_with_the_first(client, standin):
    push(client)
    assert (output(client).files, output(client).log) == ([], "")
    standin.finish("ada/my-kernel", {f"runs/{number}.csv": b"x" * number for number in range(5)}, "one\ntwo\n")
    first = output(client)
    second = output(client, page_token=first.next_page_token)
    names = [file.file_name for file in first.files + second.files]
    assert names == [f"runs/{number}.csv" for number in range(5)]
    assert [line["data"] for line in json.loads(first.log)] == ["one\n", "two\n"]
    assert (second.log, second.next_page_token) == ("", "")
    assert len(output(client, page_size=5, version_label="v1").files) == 5
    listing = make(ApiListKernelFilesRequest, user_name="ada", kernel_slug="my-kernel", page_size=20)
    files = client.kernels.kernels_api_client.list_kernel_files(listing).files
    assert [(file.name, file.size) for file in files][-1] == ("runs/4.csv", 4)
    refused(400, client.kernels.kernels_api_client.list_kernel_files, make(
        ApiListKernelFilesRequest, user_name="ada", kernel_slug="my-kernel", page_token=first.next_page_token
    ))  # fmt: skip


def test_output_files_are_fetched_whole_or_in_part_by_signature_alone(client, standin):
    push(client)
    standin.finish("ada/my-kernel", {"a b.bin": b"0123456789"})
    url = output(client).files[0].url
    whole = requests.get(url)
    assert (whole.content, whole.headers["Content-Length"], whole.headers["Accept-Ranges"]) == (
        b"0123456789",
        "10",
        "bytes",
    )
    tag = whole.headers["ETag"]
    part = requests.get(url, headers={"Range": "bytes=4-", "If-Range": tag})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"456789", "bytes 4-9/10")
    assert requests.get(url, headers={"Range": "bytes=2-3"}).content == b"23"
    assert requests.get(url, headers={"Range": "bytes=-3"}).content == b"789"
    assert requests.get(url, headers={"Range": "bytes=10-"}).status_code == 416
    standin.version("ada/my-kernel").files["a b.bin"] = b"another"
    changed = requests.get(url, headers={"Range": "bytes=4-", "If-Range": tag})
    assert (changed.status_code, changed.content) == (200, b"another")
    assert requests.get(url, auth=("ada", standin.key)).status_code == 400
    assert requests.get(url.partition("?")[0]).status_code == 403
    standin.expire_links()
    assert requests.get(url).status_code == 403
    assert requests.head(output(client).files[0].url).headers["Content-Length"] == "7"


def test_log_is_streamed_while_it_runs_and_an_array_afterwards(client, api, standin):
    push(client)
    version = standin.begin("ada/my-kernel")
    version.tell("one\n")
    request = make(ApiGetKernelSessionLogsStreamRequest, user_name="ada", kernel_slug="my-kernel", version_label="v1")
    with client.kernels.kernels_api_client.get_kernel_session_logs_stream(request) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        lines = (line for line in response.iter_lines(chunk_size=1, decode_unicode=True) if line)
        assert json.loads(next(lines).removeprefix("data: "))["data"] == "one\n"
        version.tell("two\n", "stderr")
        assert json.loads(next(lines).removeprefix("data: "))["stream_name"] == "stderr"
        standin.finish("ada/my-kernel", log="three\n")
        assert [line.removeprefix("data: ") for line in lines][-1] == "END_OF_LOG"
    with client.kernels.kernels_api_client.get_kernel_session_logs_stream(request) as response:
        assert "application/json" in response.headers["Content-Type"]
        assert [line["data"] for line in response.json()] == ["one\n", "two\n", "three\n"]
    assert [entry["data"] for entry in api.kernels_logs_stream("ada/my-kernel")] == ["one\n", "two\n", "three\n"]


def test_log_of_a_queued_session_is_not_there_after_the_wait(client):
    push(client)
    request = make(ApiGetKernelSessionLogsStreamRequest, user_name="ada", kernel_slug="my-kernel")
    request.wait_for_logs_url_seconds = 0
    standin_says = refused(404, client.kernels.kernels_api_client.get_kernel_session_logs_stream, request)
    assert "not available yet" in standin_says


def test_runner_runs_versions_with_their_inputs_and_keeps_what_they_leave(client, standin):
    standin.add_competition("cars", {"train/a.txt": b"data"}, answers=ANSWERS)
    standin.add_kernel("ada/before", {"state.json": b"{}"})

    def run(version, inputs, working):
        version.tell("begins\n")
        found = inputs["competition", "cars"] / "train" / "a.txt"
        (working / "out").mkdir()
        (working / "out" / "copy.txt").write_bytes(found.read_bytes())
        assert (inputs["kernel", "ada/before"] / "state.json").is_file()
        assert version.state == "running"
        return (3 if "fail" in version.request.text else 0), ["begins\n", "ends\n"]

    standin.runner = run
    sources = {"competition_data_sources": ["cars"], "kernel_data_sources": ["ada/before"]}
    push(client, **sources)
    assert standin.wait_until(lambda: standin.version("ada/my-kernel").is_over)
    push(client, text="fail", **sources)
    assert standin.wait_until(lambda: standin.version("ada/my-kernel").is_over)
    one, two = standin.kernels["ada", "my-kernel"].versions
    assert (one.state, one.log, one.files) == ("complete", "begins\nends\n", {"out/copy.txt": b"data"})
    assert (two.state, two.failure, two.files) == ("error", "Exit code 3.", {"out/copy.txt": b"data"})
    assert standin.gpu_used == pytest.approx(timedelta(seconds=one.seconds + two.seconds), abs=timedelta(seconds=0.001))


def test_no_more_sessions_run_at_once_than_there_are_slots(client, standin):
    def run(version, inputs, working):
        standin.wait_until(lambda: is_let_go or version.stopped.is_set())
        return 0, []

    is_let_go, standin.runner, standin.at_once = False, run, 1
    push(client, "kernel-one"), push(client, "kernel-two")
    assert standin.wait_until(lambda: "running" in [version.state for version in standin.versions()])
    assert sorted(version.state for version in standin.versions()) == ["queued", "running"]
    with standin.changed:
        is_let_go = True
        standin.changed.notify_all()
    assert standin.wait_until(lambda: all(version.state == "complete" for version in standin.versions()))


def test_session_out_of_time_fails_and_leaves_nothing(client, standin):
    def run(version, inputs, working):
        (working / "half.txt").write_text("half")
        return (124 if version.time_limit == 60 else 0), []

    standin.runner = run
    push(client, session_timeout_seconds=60)
    assert standin.wait_until(lambda: standin.version("ada/my-kernel").is_over)
    assert "exceeded the max allowed execution duration" in status(client).failure_message
    assert output(client).files == []


def test_cancelled_session_is_told_so_and_ends(client, standin):
    def run(version, inputs, working):
        assert version.stopped.wait(60)
        return 1, ["told to stop\n"]

    standin.runner = run
    push(client)
    version = standin.version("ada/my-kernel")
    assert standin.wait_until(lambda: version.state == "running")
    request = make(ApiCancelKernelSessionRequest, kernel_session_id=version.session_id)
    assert client.kernels.kernels_api_client.cancel_kernel_session(request).error_message == ""
    assert standin.wait_until(lambda: version.is_over)
    assert status(client).status == KernelWorkerStatus.CANCEL_ACKNOWLEDGED
    assert "already ended" in client.kernels.kernels_api_client.cancel_kernel_session(request).error_message


# Competitions


def test_submission_goes_from_upload_to_a_place_on_the_leaderboard(api, client, standin, tmp_path):
    standin.add_competition("cars", {}, answers=ANSWERS, pending=2, others={"Grace": 0.95, "Edsger": 0.25})
    path = tmp_path / "answers.csv"
    path.write_bytes(RIGHT)
    answer = api.competition_submit(str(path), "the first", "cars", quiet=True)
    assert answer.message == "Successfully submitted to Cars"
    ask = make(ApiGetSubmissionRequest, ref=answer.ref)
    told = [client.competitions.competition_api_client.get_submission(ask) for _ in range(3)]
    assert [one.status for one in told] == [
        SubmissionStatus.PENDING,
        SubmissionStatus.PENDING,
        SubmissionStatus.COMPLETE,
    ]
    assert (told[0].public_score, told[2].public_score, told[2].private_score) == ("", "1.00000", "")
    assert (told[2].file_name, told[2].description, told[2].total_bytes) == ("answers.csv", "the first", len(RIGHT))
    board = client.competitions.competition_api_client.get_leaderboard(
        make(ApiGetLeaderboardRequest, competition_name="cars")
    )
    assert [(row.team_name, row.score) for row in board.submissions] == [
        ("ada", "1.00000"),
        ("Grace", "0.95000"),
        ("Edsger", "0.25000"),
    ]
    facts = client.competitions.competition_api_client.get_competition(
        make(ApiGetCompetitionRequest, competition_name="cars")
    )
    assert (facts.user_rank, facts.team_count, facts.max_daily_submissions) == (1, 3, 5)
    assert standin.submissions["cars"][0].content == RIGHT


def test_submissions_are_listed_newest_first_and_page_by_page(client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS, shows_private=True)
    refs = [submit(client, upload(client, RIGHT)) for _ in range(5)]
    api = client.competitions.competition_api_client
    first = api.list_submissions(make(ApiListSubmissionsRequest, competition_name="cars"))
    rest = make(ApiListSubmissionsRequest, competition_name="cars", page_token=first.next_page_token)
    assert [one.ref for one in first.submissions + api.list_submissions(rest).submissions] == refs[::-1]
    assert first.submissions[0].private_score == "1.00000"
    by_number = make(ApiListSubmissionsRequest, competition_name="cars", page=2, page_size=2)
    assert [one.ref for one in api.list_submissions(by_number).submissions] == [refs[2], refs[1]]


def test_submission_made_elsewhere_is_listed_too(client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS)
    made = standin.add_submission("cars", RIGHT, "by hand")
    listing = client.competitions.competition_api_client.list_submissions(
        make(ApiListSubmissionsRequest, competition_name="cars")
    )
    assert [(one.ref, one.description) for one in listing.submissions] == [(made.ref, "by hand")]


def test_allowance_is_of_the_day_in_utc(client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS, daily=2)
    standin.now = lambda: datetime(2026, 3, 1, 22, 30)
    limits = make(ApiGetSubmissionLimitsRequest, competition_name="cars")
    submit(client, upload(client, RIGHT)), submit(client, upload(client, RIGHT))
    said = client.competitions.competition_api_client.get_submission_limits(limits)
    assert (said.num_today, said.num_allowed_now) == (2, 0)
    token = upload(client, RIGHT)
    assert "daily Submission allowance (2)" in refused(400, submit, client, token)
    standin.now = lambda: datetime(2026, 3, 2, 0, 1)
    submit(client, token)
    said = client.competitions.competition_api_client.get_submission_limits(limits)
    assert (said.num_today, said.num_allowed_now, said.num_total) == (1, 1, 3)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"Id,Category\n1.jpg,1\n", "must have 20 rows"),
        (b"Id,Label\n1.jpg,1\n", "no column Category"),
        (b"\xff\xfe\x00", "cannot be read"),
        (RIGHT + b"21.jpg,0\n", "21.jpg is not one"),
        (RIGHT + b"1.jpg,0\n", "twice"),
    ],
)
def test_csv_that_cannot_be_scored_ends_as_an_error_with_its_reason(content, told, client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS)
    ref = submit(client, upload(client, content))
    said = client.competitions.competition_api_client.get_submission(make(ApiGetSubmissionRequest, ref=ref))
    assert said.status == SubmissionStatus.ERROR
    assert told in said.error_description


def test_score_has_a_public_and_a_private_part():
    half = RIGHT.replace(b",1", b",0")
    public, private = accuracy_against(ANSWERS)(half)
    assert 0 < public < 1
    assert 0 < private < 1
    assert accuracy_against(ANSWERS)(RIGHT) == (1.0, 1.0)


def test_upload_is_whole_and_good_for_one_submission(client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS)
    request = make(
        ApiStartSubmissionUploadRequest, competition_name="cars", file_name="a.csv", content_length=len(RIGHT)
    )
    started = client.competitions.competition_api_client.start_submission_upload(request)
    assert "not finished" in refused(400, submit, client, started.token)
    size, url = len(RIGHT), started.create_url
    begun = requests.put(url, data=RIGHT[:100], headers={"Content-Range": f"bytes 0-99/{size}"})
    assert (begun.status_code, begun.headers["Range"]) == (308, "bytes=0-99")
    asked = requests.put(url, headers={"Content-Range": f"bytes */{size}"})
    assert (asked.status_code, asked.headers["Range"]) == (308, "bytes=0-99")
    wrong = requests.put(url, data=RIGHT[100:], headers={"Content-Range": f"bytes 150-{size - 1}/{size}"})
    assert wrong.status_code == 400
    rest = {"Content-Range": f"bytes 100-{size - 1}/{size}"}
    assert requests.put(url, data=RIGHT[100:], headers=rest).status_code == 201
    assert requests.put(url, headers={"Content-Range": f"bytes */{size}"}).status_code == 201
    submit(client, started.token)
    assert "already" in refused(400, submit, client, started.token)
    refused(404, submit, client, "no-token")
    assert [one.content for one in standin.submissions["cars"]] == [RIGHT]


def test_upload_without_a_length_is_taken(client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS)
    request = make(
        ApiStartSubmissionUploadRequest, competition_name="cars", file_name="a.csv", content_length=len(RIGHT)
    )
    url = client.competitions.competition_api_client.start_submission_upload(request).create_url
    assert requests.put(url, data=(RIGHT[at : at + 50] for at in range(0, len(RIGHT), 50))).status_code == 201
    assert requests.put(url, data=b"short").status_code == 400


def test_data_comes_as_one_zip_from_a_signed_address(api, client, standin, tmp_path):
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train" / "a.jpg").write_bytes(b"image")
    (tmp_path / "data" / "train.csv").write_bytes(b"Id,Category\n")
    standin.add_competition("cars", tmp_path / "data", answers=ANSWERS)
    listing = client.competitions.competition_api_client.list_data_files(
        make(ApiListDataFilesRequest, competition_name="cars")
    )
    assert [(file.name, file.total_bytes) for file in listing.files] == [("train.csv", 12), ("train/a.jpg", 5)]
    request = make(ApiDownloadDataFilesRequest, competition_name="cars")
    with client.competitions.competition_api_client.download_data_files(request) as response:
        assert response.url.startswith("http://localhost:")
        content = response.content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("train/a.jpg") == b"image"
    part = requests.get(response.url, headers={"Range": "bytes=10-", "If-Range": response.headers["ETag"]})
    assert part.content == content[10:]
    api.competition_download_files("cars", str(tmp_path / "got"))
    assert (tmp_path / "got" / "cars.zip").read_bytes() == content
    api.competition_download_file("cars", "train.csv", str(tmp_path / "got"))
    assert (tmp_path / "got" / "train.csv").read_bytes() == b"Id,Category\n"


def test_rules_that_are_not_accepted_keep_data_and_submissions_away(client, standin):
    standin.add_competition("cars", {"a.csv": b""}, answers=ANSWERS, rules_accepted=False)
    api = client.competitions.competition_api_client
    for call, request in (
        (api.list_data_files, ApiListDataFilesRequest),
        (api.download_data_files, ApiDownloadDataFilesRequest),
        (api.list_submissions, ApiListSubmissionsRequest),
        (api.start_submission_upload, ApiStartSubmissionUploadRequest),
    ):
        assert "must accept this competition's rules" in refused(403, call, make(request, competition_name="cars"))
        refused(404, call, make(request, competition_name="no-cars"))
    assert api.get_competition(make(ApiGetCompetitionRequest, competition_name="cars")).user_has_entered is False
    assert push(client, competition_data_sources=["cars"]).invalid_competition_sources == ["cars"]


def test_code_competition_takes_the_output_of_a_complete_version_only(client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS, code_only=True)
    assert "only accepts Submissions from Notebooks" in refused(400, submit, client, upload(client, RIGHT))
    push(client)
    call = client.competitions.competition_api_client.create_code_submission
    request = make(
        ApiCreateCodeSubmissionRequest,
        competition_name="cars",
        kernel_owner="ada",
        kernel_slug="my-kernel",
        kernel_version=1,
        file_name="submission.csv",
    )
    assert "not completed" in refused(400, call, request)
    standin.finish("ada/my-kernel", {"submission.csv": RIGHT})
    ref = call(request).ref
    assert (standin.submissions["cars"][0].ref, standin.submissions["cars"][0].kernel) == (ref, "ada/my-kernel/1")
    request.file_name = "nothing.csv"
    assert "no output file" in refused(400, call, request)
    request.kernel_version = 7
    refused(404, call, request)


def test_submissions_of_others_are_forbidden(client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS)
    ref = submit(client, upload(client, RIGHT))
    standin.submissions["cars"][0].user = "bob"
    call = client.competitions.competition_api_client.get_submission
    refused(403, call, make(ApiGetSubmissionRequest, ref=ref))
    refused(404, call, make(ApiGetSubmissionRequest, ref=ref + 1))


# Keys and the rest


def test_wrong_key_is_not_taken(api, monkeypatch):
    api.config_values["key"] = "another"
    assert refused(401, api.quota_view) == "Unauthenticated"


def test_access_token_is_looked_up_and_signs_in(api, standin, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", standin.token)
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    api.authenticate()
    assert api.config_values["username"] == "ada"
    assert api.quota_view().gpu_quota.total_time_allowed == timedelta(hours=30)
    monkeypatch.setenv("KAGGLE_API_TOKEN", "another")
    assert api._introspect_token("another") is None


def test_calls_are_kept_as_they_were_asked(client, standin):
    push(client, text="print(7)\n")
    status(client, label="v1")
    assert [call.method for call in standin.calls] == ["SaveKernel", "GetKernelSessionStatus"]
    assert standin.calls[0].request.text == "print(7)\n"
    assert standin.calls[1].request.version_label == "v1"


def test_fields_that_a_type_does_not_have_are_refused(standin):
    url = f"{standin.endpoint}/v1/kernels.KernelsApiService/GetKernel"
    answer = requests.post(url, json={"userName": "ada", "kernelName": "x"}, auth=("ada", standin.key))
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "Invalid JSON payload received. Unknown name 'kernelName'",
    )


def test_action_happens_at_the_call_it_was_queued_for(client, standin):
    push(client)
    standin.when("GetKernelSessionStatus", lambda: standin.finish("ada/my-kernel"), call=3)
    told = [status(client).status for _ in range(3)]
    assert told == [KernelWorkerStatus.QUEUED, KernelWorkerStatus.QUEUED, KernelWorkerStatus.COMPLETE]


def test_method_that_it_does_not_have_is_a_fault_of_the_test():
    with StandIn() as standin:
        answer = requests.post(f"{standin.endpoint}/v1/kernels.KernelsApiService/DeleteKernel", json={})
        assert answer.status_code == 404
    assert standin.crashes == ["the stand-in has no method kernels.KernelsApiService/DeleteKernel"]


# Run as a kernel, and by hand


def test_pushed_script_runs_as_on_kaggle(client, standin):
    standin.add_competition("cars", {"a.txt": b"data"}, answers=ANSWERS)
    standin.runner = run_pushed
    script = (
        "import os, pathlib\n"
        "root = pathlib.Path(os.environ['PODIUM_KAGGLE_INPUT'])\n"
        "print('reads', (root / 'competitions' / 'cars' / 'a.txt').read_text())\n"
        "pathlib.Path('out.txt').write_text('made')\n"
    )
    push(client, text=script, competition_data_sources=["cars"])
    assert standin.wait_until(lambda: standin.version("ada/my-kernel").is_over)
    version = standin.version("ada/my-kernel")
    assert (version.state, version.files) == ("complete", {"out.txt": b"made"})
    assert "reads data\n" in version.log


def test_stand_in_can_be_served_by_hand(tmp_path):
    (tmp_path / "train.csv").write_text("Id,Category\n")
    (tmp_path / "hidden-answers.csv").write_text("Id,Category\n1.jpg,0\n")
    script = Path(serve.__file__)
    command = [sys.executable, str(script), "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline().strip() for _ in range(3)]
        said = dict(line.removeprefix("export ").split("=") for line in lines[1:])
        answer = requests.post(
            f"{said['PODIUM_KAGGLE_ENDPOINT']}/v1/competitions.CompetitionApiService/ListDataFiles",
            json={"competitionName": "podium-demo-cars"},
            headers={"Authorization": f"Bearer {said['KAGGLE_API_TOKEN']}"},
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert [file["name"] for file in answer.json()["files"]] == ["train.csv"]
