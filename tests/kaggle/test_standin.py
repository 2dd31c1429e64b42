"""Contract of the stand-in for Kaggle: the official client works with it from a push to the leaderboard."""

import json
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import requests
from kagglesdk.competitions.types.competition_api_service import (
    ApiCreateCodeSubmissionRequest,
    ApiGetSubmissionLimitsRequest,
    ApiListDataFilesRequest,
)
from kagglesdk.kernels.types.kernels_api_service import (
    ApiGetKernelRequest,
    ApiGetKernelSessionLogsStreamRequest,
    ApiGetKernelSessionStatusRequest,
    ApiListKernelSessionOutputRequest,
    ApiSaveKernelRequest,
)
from standin import serve
from standin.faults import Fault
from standin.service import StandIn
from standin.sessions import run_pushed

ANSWERS = {f"{row}.jpg": str(row % 2) for row in range(20)}
RIGHT = b"Id,Category\n" + "".join(f"{name},{label}\n" for name, label in ANSWERS.items()).encode()
CUT = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)


def make(request_type, **fields):
    request = request_type()
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def push(client, name="my-kernel", **fields):
    request = {"slug": f"ada/{name}", "new_title": name, "text": "print(1)\n", "machine_shape": "NvidiaTeslaT4"}
    return client.kernels.kernels_api_client.save_kernel(make(ApiSaveKernelRequest, **(request | fields)))


def status(client, **fields):
    fields = {"user_name": "ada", "kernel_slug": "my-kernel"} | fields
    return client.kernels.kernels_api_client.get_kernel_session_status(make(ApiGetKernelSessionStatusRequest, **fields))


def output_url(client):
    request = make(ApiListKernelSessionOutputRequest, user_name="ada", kernel_slug="my-kernel")
    return client.kernels.kernels_api_client.list_kernel_session_output(request).files[0].url


def refused(code, call, *arguments, **fields):
    """The message of a refusal with this status."""
    with pytest.raises(requests.HTTPError) as refusal:
        call(*arguments, **fields)
    assert refusal.value.response.status_code == code
    return str(refusal.value)


def test_a_kernel_from_push_to_output_with_the_official_client(api, client, standin, tmp_path, monkeypatch):
    standin.add_competition("cars", {"train/a.txt": b"data"}, answers=ANSWERS)

    def run(version, inputs, working):
        data = (inputs["competition", "cars"] / "train" / "a.txt").read_bytes()
        (working / "out").mkdir()
        (working / "out" / "copy.txt").write_bytes(data)
        return (3 if "fail" in version.request.text else 0), ["first line\n", "last line\n"]

    standin.runner = run
    folder = tmp_path / "kernel"
    folder.mkdir()
    (folder / "script.py").write_text("print(1)\n")
    metadata = {
        "id": "ada/my-kernel", "title": "my-kernel", "code_file": "script.py", "language": "python",
        "kernel_type": "script", "is_private": True, "enable_gpu": False, "competition_sources": ["cars"],
    }  # fmt: skip
    (folder / "kernel-metadata.json").write_text(json.dumps(metadata))
    pushed = api.kernels_push(str(folder))
    assert (pushed.ref, pushed.version_number) == ("/code/ada/my-kernel", 1)
    assert standin.wait_until(lambda: standin.version("ada/my-kernel").is_over)
    assert str(api.kernels_status("ada/my-kernel").status).endswith("COMPLETE")
    api.kernels_output("ada/my-kernel", str(tmp_path / "output"))
    assert (tmp_path / "output" / "out" / "copy.txt").read_bytes() == b"data"
    assert [entry["data"] for entry in json.loads((tmp_path / "output" / "my-kernel.log").read_text())] == [
        "first line\n", "last line\n",
    ]  # fmt: skip

    (folder / "script.py").write_text("fail\n")
    assert api.kernels_push(str(folder)).version_number == 2
    assert standin.wait_until(lambda: standin.version("ada/my-kernel").is_over)
    assert status(client, version_label="v2").failure_message == "Exit code 3."
    assert str(status(client, version_label="v1").status).endswith("COMPLETE")
    refused(404, status, client, version_label="2")
    source = client.kernels.kernels_api_client.get_kernel(
        make(ApiGetKernelRequest, user_name="ada", kernel_slug="my-kernel")
    )
    assert (source.blob.source, source.metadata.current_version_number) == ("fail\n", 2)


def test_a_competition_from_its_data_to_the_leaderboard_with_the_official_client(api, standin, tmp_path):
    data = {"train.csv": b"Id,Category\n", "train/a.jpg": b"image"}
    standin.add_competition("cars", data, answers=ANSWERS, others={"Grace": 0.95, "Edsger": 0.25})
    assert [file.name for file in api.competition_list_files("cars").files] == ["train.csv", "train/a.jpg"]
    api.competition_download_files("cars", str(tmp_path))
    assert (tmp_path / "cars.zip").stat().st_size > 0
    (tmp_path / "answers.csv").write_bytes(RIGHT)
    answer = api.competition_submit(str(tmp_path / "answers.csv"), "the first", "cars", quiet=True)
    assert answer.message == "Successfully submitted to Cars"
    (submission,) = api.competition_submissions("cars")
    assert (submission.ref, submission.public_score, submission.description) == (answer.ref, "1.00000", "the first")
    board = [(place.team_name, place.score) for place in api.competition_leaderboard_view("cars")]
    assert board == [("ada", "1.00000"), ("Grace", "0.95000"), ("Edsger", "0.25000")]


# Kernels


def test_a_third_gpu_session_and_used_up_hours_are_refused_with_status_200(client, api, standin):
    push(client, "kernel-one"), push(client, "kernel-two")
    third = push(client, "kernel-three")
    assert (third.error, third.version_number) == ("Maximum batch GPU session count of 2 reached.", 0)
    assert push(client, "kernel-on-a-cpu", machine_shape="").version_number == 1
    standin.gpu_hours(used=29, allowed=30)
    standin.finish("ada/kernel-one", hours=2.5)
    quota = api.quota_view().gpu_quota
    assert (quota.time_used, quota.total_time_allowed) == (timedelta(hours=31.5), timedelta(hours=30))
    assert "GPU quota of 30 hours" in push(client, "kernel-three").error


def test_unknown_sources_are_reported_and_the_version_is_created(client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS)
    standin.add_kernel("bob/secret", {"a.txt": b""})
    standin.add_kernel("bob/shown", {"a.txt": b""}, is_private=False)
    answer = push(
        client, dataset_data_sources=["ada/nothing"], competition_data_sources=["cars", "no-cars"],
        kernel_data_sources=["bob/shown", "bob/secret"], model_data_sources=["ada/model/keras/small/1"],
        category_ids=["no-tag"],
    )  # fmt: skip
    assert answer.invalid_dataset_sources == ["ada/nothing"]
    assert answer.invalid_competition_sources == ["no-cars"]
    assert answer.invalid_kernel_sources == ["bob/secret"]
    assert answer.invalid_model_sources == ["ada/model/keras/small/1"]
    assert answer.invalid_tags == ["no-tag"]
    assert standin.version("ada/my-kernel").sources == [("competition", "cars"), ("kernel", "bob/shown")]


def test_the_title_becomes_the_slug_and_private_kernels_of_others_are_denied(client, standin):
    assert push(client, new_title="Another Name").ref == "/code/ada/another-name"
    standin.add_kernel("bob/secret")
    assert "denied" in refused(403, status, client, user_name="bob", kernel_slug="secret")
    refused(403, push, client, slug="bob/my-kernel")
    refused(404, status, client, user_name="bob", kernel_slug="nothing")


def test_output_files_support_ranges_and_signed_urls_that_expire(client, standin):
    push(client)
    standin.finish("ada/my-kernel", {"a b.bin": b"0123456789"})
    url = output_url(client)
    complete = requests.get(url)
    etag = complete.headers["ETag"]
    assert complete.content == b"0123456789"
    part = requests.get(url, headers={"Range": "bytes=4-", "If-Range": etag})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"456789", "bytes 4-9/10")
    assert requests.get(url, headers={"Range": "bytes=10-"}).status_code == 416
    standin.version("ada/my-kernel").files["a b.bin"] = b"another"
    changed = requests.get(url, headers={"Range": "bytes=4-", "If-Range": etag})
    assert (changed.status_code, changed.content) == (200, b"another")
    assert requests.get(url, auth=("ada", standin.key)).status_code == 400
    standin.expire_links()
    assert requests.get(url).status_code == 403


def test_a_log_is_streamed_while_the_kernel_runs(client, standin):
    push(client)
    version = standin.begin("ada/my-kernel")
    version.tell("one\n")
    request = make(ApiGetKernelSessionLogsStreamRequest, user_name="ada", kernel_slug="my-kernel", version_label="v1")
    with client.kernels.kernels_api_client.get_kernel_session_logs_stream(request) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        lines = (line for line in response.iter_lines(chunk_size=1, decode_unicode=True) if line)
        assert json.loads(next(lines).removeprefix("data: "))["data"] == "one\n"
        standin.finish("ada/my-kernel", log="two\n")
        assert [line.removeprefix("data: ") for line in lines][-1] == "END_OF_LOG"


def test_a_kernel_out_of_time_fails_and_keeps_nothing(client, standin):
    def run(version, inputs, working):
        (working / "half.txt").write_text("half")
        return (124 if version.time_limit == 60 else 0), []

    standin.runner = run
    push(client, session_timeout_seconds=60)
    version = standin.version("ada/my-kernel")
    assert standin.wait_until(lambda: version.is_over)
    assert "exceeded the max allowed execution duration" in status(client).failure_message
    assert version.files == {}


@pytest.mark.slow
def test_a_pushed_script_runs_in_kaggles_folders(client, standin):
    standin.add_competition("cars", {"a.txt": b"data"}, answers=ANSWERS)
    standin.runner = run_pushed
    script = (
        "import os, pathlib\n"
        "root = pathlib.Path(os.environ['PODIUM_KAGGLE_INPUT'])\n"
        "print('reads', (root / 'competitions' / 'cars' / 'a.txt').read_text())\n"
        "pathlib.Path('out.txt').write_text('made')\n"
    )
    push(client, text=script, competition_data_sources=["cars"])
    version = standin.version("ada/my-kernel")
    assert standin.wait_until(lambda: version.is_over)
    assert (version.state, version.files) == ("complete", {"out.txt": b"made"})
    assert "reads data\n" in version.log


# Competitions


def test_the_daily_allowance_is_per_day_in_utc(api, client, standin, tmp_path):
    standin.add_competition("cars", {}, answers=ANSWERS, daily=1)
    path = tmp_path / "answers.csv"
    path.write_bytes(RIGHT)

    def submit():
        return api.competition_submit(str(path), "a message", "cars", quiet=True)

    def allowance():
        request = make(ApiGetSubmissionLimitsRequest, competition_name="cars")
        answer = client.competitions.competition_api_client.get_submission_limits(request)
        return answer.num_today, answer.num_allowed_now

    standin.now = lambda: datetime(2026, 3, 1, 22, 30)
    submit()
    assert allowance() == (1, 0)
    assert "daily Submission allowance (1)" in refused(400, submit)
    standin.now = lambda: datetime(2026, 3, 2, 0, 1)
    assert allowance() == (0, 1)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"Id,Category\n1.jpg,1\n", "must have 20 rows"),
        (b"Id,Label\n1.jpg,1\n", "no column Category"),
        (RIGHT + b"21.jpg,0\n", "21.jpg is not one"),
    ],
)
def test_a_csv_that_cannot_be_scored_has_the_status_error(content, error, api, standin, tmp_path):
    standin.add_competition("cars", {}, answers=ANSWERS)
    (tmp_path / "answers.csv").write_bytes(content)
    api.competition_submit(str(tmp_path / "answers.csv"), "a message", "cars", quiet=True)
    (submission,) = api.competition_submissions("cars")
    assert error in submission.error_description


def test_rules_must_be_accepted_first(api, client, standin):
    standin.add_competition("cars", {"a.csv": b""}, answers=ANSWERS, rules_accepted=False)
    listing = client.competitions.competition_api_client.list_data_files
    request = make(ApiListDataFilesRequest, competition_name="cars")
    assert "must accept this competition's rules" in refused(403, listing, request)
    assert push(client, competition_data_sources=["cars"]).invalid_competition_sources == ["cars"]


def test_a_code_competition_accepts_only_outputs_of_complete_versions(client, standin):
    standin.add_competition("cars", {}, answers=ANSWERS, code_only=True)
    push(client)
    submit = client.competitions.competition_api_client.create_code_submission
    request = make(
        ApiCreateCodeSubmissionRequest, competition_name="cars", kernel_owner="ada", kernel_slug="my-kernel",
        kernel_version=1, file_name="submission.csv",
    )  # fmt: skip
    assert "not completed" in refused(400, submit, request)
    standin.finish("ada/my-kernel", {"submission.csv": RIGHT})
    assert standin.submissions["cars"] == [] != [submit(request)]
    request.file_name = "nothing.csv"
    assert "no output file" in refused(400, submit, request)


# Faults


FAULTS = {
    "reset_before": (Fault.reset_before, CUT),
    "reset_midway": (Fault.reset_midway, CUT),
    "truncated": (Fault.truncated, CUT),
    "malformed": (Fault.malformed, requests.exceptions.JSONDecodeError),
    "status": (lambda **more: Fault.status(500, **more), requests.HTTPError),
}


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_happens_before_or_after_the_effect(kind, after_effect, client, standin):
    fault, error = FAULTS[kind]
    standin.fail("SaveKernel", fault(after_effect=after_effect))
    with pytest.raises(error):
        push(client)
    assert standin.wait_until(lambda: len(standin.versions()) == after_effect)
    assert push(client).version_number == 1 + after_effect


def test_a_stalled_request_ends_when_the_stand_in_stops(monkeypatch):
    with StandIn() as standin:
        standin.fail("GetAcceleratorQuotaStatistics", Fault.stall())
        url = f"{standin.endpoint}/v1/kernels.KernelsApiService/GetAcceleratorQuotaStatistics"
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.post(url, json={}, auth=("ada", standin.key), timeout=0.1)
        assert standin.wait_until(lambda: standin.count("GetAcceleratorQuotaStatistics") == 1)


@pytest.mark.parametrize("fault", [Fault.reset_midway(), Fault.truncated()], ids=lambda fault: fault.kind)
def test_a_file_is_cut_in_the_middle(fault, client, standin):
    content = bytes(range(256)) * 4000
    push(client)
    standin.finish("ada/my-kernel", {"a.bin": content})
    url = output_url(client)
    standin.fail("output-file", fault)
    received = bytearray()
    with pytest.raises(CUT), requests.get(url, stream=True) as response:  # noqa: PT012
        for piece in response.iter_content(1000):
            received += piece
    rest = requests.get(url, headers={"Range": f"bytes={len(received)}-"})
    assert bytes(received) + rest.content == content


def test_faults_follow_a_number_of_good_calls_and_actions_their_call(api, client, standin):
    standin.fail("*", Fault.status(429, retry_after=7), after=1)
    standin.when("GetKernelSessionStatus", lambda: standin.finish("ada/my-kernel"), call=2)
    push(client)
    with pytest.raises(requests.HTTPError) as refusal:
        api.quota_view()
    assert refusal.value.response.headers["Retry-After"] == "7"
    states = [str(status(client).status).rpartition(".")[2] for _ in range(2)]
    assert states == ["QUEUED", "COMPLETE"]
    assert standin.calls[0].method == "SaveKernel"


def test_unknown_methods_and_fields_are_reported():
    with StandIn() as standin:
        url = f"{standin.endpoint}/v1/kernels.KernelsApiService"
        assert requests.post(f"{url}/DeleteKernel", json={}).status_code == 404
        answer = requests.post(f"{url}/GetKernel", json={"kernelName": "x"}, auth=("ada", standin.key))
        assert answer.json()["message"] == "Invalid JSON payload received. Unknown name 'kernelName'"
    assert standin.crashes == ["the stand-in has no method kernels.KernelsApiService/DeleteKernel"]


def test_keys_and_tokens_are_checked(api, standin, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", standin.token)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    api.authenticate()
    assert api.config_values["username"] == "ada"
    assert api._introspect_token("another") is None
    api.config_values.pop("token", None)


@pytest.mark.slow
def test_the_stand_in_can_be_started_from_the_command_line(tmp_path):
    (tmp_path / "train.csv").write_text("Id,Category\n")
    (tmp_path / "hidden-answers.csv").write_text("Id,Category\n1.jpg,0\n")
    command = [sys.executable, str(Path(serve.__file__)), "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline().strip() for _ in range(3)]
        exported = dict(line.removeprefix("export ").split("=") for line in lines[1:])
        answer = requests.post(
            f"{exported['PODIUM_KAGGLE_ENDPOINT']}/v1/competitions.CompetitionApiService/ListDataFiles",
            json={"competitionName": "podium-demo-cars"},
            headers={"Authorization": f"Bearer {exported['KAGGLE_API_TOKEN']}"},
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert [file["name"] for file in answer.json()["files"]] == ["train.csv"]
