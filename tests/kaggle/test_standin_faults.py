"""The stand-in's faults, as the real client meets them."""

import contextlib
import socket
import threading
import time

import pytest
import requests
from kagglesdk.competitions.types.competition_api_service import (
    ApiDownloadDataFilesRequest,
    ApiStartSubmissionUploadRequest,
)
from kagglesdk.kernels.types.kernels_api_service import (
    ApiGetKernelSessionLogsStreamRequest,
    ApiListKernelSessionOutputRequest,
    ApiSaveKernelRequest,
)
from standin.faults import Fault
from standin.service import StandIn

CUT = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)


def push(client, name="my-kernel"):
    request = ApiSaveKernelRequest()
    request.slug, request.new_title, request.text = f"ada/{name}", name, "print(1)\n"
    return client.kernels.kernels_api_client.save_kernel(request)


def output_url(client, standin, content):
    push(client)
    standin.finish("ada/my-kernel", {"a.bin": content})
    request = ApiListKernelSessionOutputRequest()
    request.user_name, request.kernel_slug = "ada", "my-kernel"
    return client.kernels.kernels_api_client.list_kernel_session_output(request).files[0].url


def upload_of(path):
    request = ApiStartSubmissionUploadRequest()
    request.competition_name, request.file_name, request.content_length = "cars", path.name, path.stat().st_size
    return request


@pytest.fixture
def hasty(client):
    """`with hasty(): ...` the client waits for an answer only as long as it takes to see that none comes."""
    client.http_client()._init_session()
    session = client.http_client()._session
    send = session.send

    @contextlib.contextmanager
    def waits_little():
        session.send = lambda request, **settings: send(request, **(settings | {"timeout": 0.2}))
        yield
        session.send = send

    return waits_little


def lines_of(response):
    """As they come; what came before a break is in the list all the same."""
    lines = []
    with contextlib.suppress(*CUT):
        for line in response.iter_lines(1, decode_unicode=True):
            lines += [line] if line else []
        lines.append("the end")
    return lines


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
def test_status_is_answered_as_often_as_told_and_then_no_more(code, client, api, standin):
    standin.fail("GetAcceleratorQuotaStatistics", Fault.status(code, message="no luck"), times=2)
    for _ in range(2):
        with pytest.raises(requests.HTTPError, match="no luck") as refusal:
            api.quota_view()
        assert refusal.value.response.status_code == code
    assert api.quota_view().gpu_quota
    assert standin.count("GetAcceleratorQuotaStatistics") == 3


def test_retry_after_is_sent_as_it_was_given(api, standin):
    for given in (7, "Wed, 21 Oct 2026 07:28:00 GMT"):
        standin.fail("GetAcceleratorQuotaStatistics", Fault.status(429, retry_after=given))
        with pytest.raises(requests.HTTPError) as refusal:
            api.quota_view()
        assert refusal.value.response.headers["Retry-After"] == str(given)


FAULTS = {
    "reset_before": (Fault.reset_before, CUT),
    "reset_midway": (Fault.reset_midway, CUT),
    "stall": (Fault.stall, requests.exceptions.ReadTimeout),
    "stall_midway": (Fault.stall_midway, (requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout)),
    "truncated": (Fault.truncated, CUT),
    "malformed": (Fault.malformed, requests.exceptions.JSONDecodeError),
    "status": (lambda **more: Fault.status(500, **more), requests.HTTPError),
}


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("kind", FAULTS)
def test_work_is_done_only_when_the_fault_comes_after_it(kind, after_effect, client, standin, hasty):
    fault, expected = FAULTS[kind]
    standin.fail("SaveKernel", fault(after_effect=after_effect))
    with hasty() if "stall" in kind else contextlib.nullcontext(), pytest.raises(expected):
        push(client)
    assert standin.wait_until(lambda: len(standin.versions()) == after_effect)
    assert push(client).version_number == 1 + after_effect


@pytest.mark.parametrize("kind", FAULTS)
def test_questions_fail_the_same_way_and_then_are_answered(kind, client, standin, hasty):
    fault, expected = FAULTS[kind]
    ask = client.kernels.kernels_api_client.get_accelerator_quota_statistics
    standin.fail("GetAcceleratorQuotaStatistics", fault())
    with hasty() if "stall" in kind else contextlib.nullcontext(), pytest.raises(expected):
        ask()
    assert ask().gpu_quota


def test_malformed_answers_may_be_of_any_kind(client, standin):
    standin.fail("GetAcceleratorQuotaStatistics", Fault.malformed(b"<html>Sign in</html>", content_type="text/html"))
    with pytest.raises(ValueError, match="Expecting value"):
        client.kernels.kernels_api_client.get_accelerator_quota_statistics()


def test_file_breaks_off_in_the_middle_and_the_rest_is_to_be_had(client, standin):
    content = bytes(range(256)) * 4000
    url = output_url(client, standin, content)
    for fault in (Fault.reset_midway(), Fault.truncated(), Fault.stall_midway()):
        standin.fail("output-file", fault)
        got = bytearray()
        with pytest.raises(CUT), requests.get(url, stream=True, timeout=1) as response:  # noqa: PT012
            for piece in response.iter_content(1000):
                got += piece
        assert 0 < len(got) <= len(content) // 2
        rest = requests.get(url, headers={"Range": f"bytes={len(got)}-"})
        assert bytes(got) + rest.content == content


def test_upload_that_is_reset_midway_has_left_its_first_half(client, api, standin, tmp_path):
    from kaggle.api.kaggle_api_extended import ResumableUploadResult

    standin.add_competition("cars", {}, lambda content: 0.5)
    path = tmp_path / "answers.csv"
    path.write_bytes(b"x" * 1000)
    request = upload_of(path)
    started = client.competitions.competition_api_client.start_submission_upload(request)
    standin.fail("upload", Fault.reset_midway(), times=1)
    with pytest.raises(CUT):
        requests.put(started.create_url, data=path.read_bytes())
    assert len(standin.uploads.get(started.token).content) == 500
    assert api.upload_complete(str(path), started.create_url, True, resume=True) == ResumableUploadResult.COMPLETE
    assert standin.uploads.get(started.token).content == b"x" * 1000


@pytest.mark.parametrize("fault", [Fault.reset_before(), Fault.status(503), Fault.truncated()])
def test_upload_that_fails_has_left_nothing(fault, client, standin, tmp_path):
    standin.add_competition("cars", {}, lambda content: 0.5)
    path = tmp_path / "answers.csv"
    path.write_bytes(b"x" * 1000)
    started = client.competitions.competition_api_client.start_submission_upload(upload_of(path))
    standin.fail("upload", fault)
    with contextlib.suppress(CUT):
        assert requests.put(started.create_url, data=path.read_bytes()).status_code == 503
    assert standin.uploads.get(started.token).content == b""
    assert requests.put(started.create_url, data=path.read_bytes()).status_code == 201


def test_data_zip_fails_apart_from_the_call_that_leads_to_it(client, standin):
    standin.add_competition("cars", {"a.csv": b"x" * 1000}, lambda content: 0.5)
    request = ApiDownloadDataFilesRequest()
    request.competition_name = "cars"
    standin.fail("data-zip", Fault.status(503))
    with pytest.raises(requests.HTTPError):
        client.competitions.competition_api_client.download_data_files(request)
    assert (standin.count("DownloadDataFiles"), standin.count("data-zip")) == (1, 1)


@pytest.mark.parametrize("fault", [Fault.reset_midway(), Fault.truncated(), Fault.stall_midway()])
def test_stream_of_a_log_breaks_off_after_half_of_what_is_there(fault, client, standin, hasty):
    push(client)
    version = standin.begin("ada/my-kernel")
    for number in range(6):
        version.tell(f"line {number}\n")
    standin.fail("log-stream", fault)
    request = ApiGetKernelSessionLogsStreamRequest()
    request.user_name, request.kernel_slug = "ada", "my-kernel"
    stream = client.kernels.kernels_api_client.get_kernel_session_logs_stream
    with hasty() if fault.kind == "stall_midway" else contextlib.nullcontext(), stream(request) as response:
        lines = lines_of(response)
    assert len(lines) == 3
    assert "line 2" in lines[-1]


def test_some_calls_may_go_well_first_and_any_call_may_be_meant(api, client, standin):
    standin.fail("*", Fault.status(500), times=None, after=2)
    push(client, "kernel-one"), push(client, "kernel-two")
    for _ in range(3):
        with pytest.raises(requests.HTTPError):
            api.quota_view()
    standin.heal()
    assert api.quota_view().gpu_quota


def test_connection_serves_many_calls_and_also_after_an_error(standin):
    url = f"{standin.endpoint}/v1/kernels.KernelsApiService/GetAcceleratorQuotaStatistics"
    standin.fail("GetAcceleratorQuotaStatistics", Fault.status(500), after=1)
    with requests.Session() as session:
        session.auth = ("ada", standin.key)
        assert [session.post(url, json={}).status_code for _ in range(3)] == [200, 500, 200]
    assert standin.connections == 1


def test_caller_that_is_killed_within_its_request_has_asked_nothing(standin):
    host, _, port = standin.endpoint.removeprefix("http://").partition(":")
    head = b"POST /v1/kernels.KernelsApiService/SaveKernel HTTP/1.1\r\nHost: x\r\n"
    for rest in (b'Content-Length: 100\r\n\r\n{"slug"', b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"slug"'):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + rest)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
    assert standin.calls == []


def test_stop_ends_stalls_streams_and_idle_connections_at_once():
    standin = StandIn().start()
    standin.fail("GetAcceleratorQuotaStatistics", Fault.stall())
    url = f"{standin.endpoint}/v1/kernels.KernelsApiService/GetAcceleratorQuotaStatistics"
    failures = []

    def ask():
        try:
            requests.post(url, json={}, auth=("ada", standin.key), timeout=60)
        except CUT as error:
            failures.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    assert standin.wait_until(lambda: standin.count("GetAcceleratorQuotaStatistics") == 1)
    with socket.create_connection(("127.0.0.1", int(standin.endpoint.rpartition(":")[2]))) as idle:
        began = time.monotonic()
        standin.stop()
        with contextlib.suppress(ConnectionResetError):
            assert idle.recv(1) == b""
    asker.join()
    assert len(failures) == 1
    assert time.monotonic() - began < 10
    assert not [thread for thread in threading.enumerate() if "stand-in" in thread.name or "session" in thread.name]
