"""Downloads: complete or not there, and resumed where they were interrupted."""

import io
import json
from pathlib import Path

import pytest
import requests
from standin.faults import Fault

from podium import retries
from podium.config.kaggle_names import KernelRef
from podium.errors import DiskFullError, ForbiddenError, KaggleError, UnreachableError
from podium.kaggle import transfers
from podium.kaggle.client import sign_in
from podium.kaggle.connection import check_address, plain_session
from podium.kaggle.transfers import CHUNK, download

REF = KernelRef("ada", "some-kernel", 1)
CONTENT = bytes(range(256)) * 4096
PATH, PARTIAL, NOTE = Path("file.bin"), Path(".partial-file.bin"), Path(".partial-file.bin.json")
TAG = '"of-this-file"'


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retries, "sleep", lambda seconds: None)


@pytest.fixture
def kaggle(standin):
    standin.add_kernel(REF.name, {"file.bin": CONTENT})
    return sign_in()


def listed(kaggle):
    (file,) = kaggle.output_files(REF)
    return file


def ranges(standin):
    return [call.request.headers.get("Range") for call in standin.calls if call.method == "output-file"]


def response(status=200, content=CONTENT, **headers):
    """A response that the stand-in never sends."""
    made = requests.Response()
    made.status_code, made.raw = status, io.BytesIO(content)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    made.headers.update({"Content-Length": str(len(content)), **named})
    return made


class Server:
    """Sends these responses in turn, and records the requested ranges."""

    def __init__(self, *responses):
        self.responses, self.ranges = list(responses), []

    def __call__(self, headers):
        self.ranges.append(headers.get("Range"))
        return self.responses.pop(0)


def leave_partial(content, validator=TAG):
    PARTIAL.write_bytes(content)
    NOTE.write_text(json.dumps({"validator": validator}))


def ignore(done):
    pass


def only_the_file_exists():
    return [path.name for path in Path().iterdir()] == [PATH.name] and PATH.read_bytes() == CONTENT


def test_a_later_download_resumes_an_interrupted_one(kaggle, standin):
    standin.fail("output-file", Fault.reset_midway())
    standin.fail("output-file", Fault.status(403))
    with pytest.raises(ForbiddenError):
        kaggle.fetch(listed(kaggle), PATH)
    assert not PATH.exists()
    arrived = PARTIAL.stat().st_size
    assert arrived >= CHUNK
    standin.expire_links()
    sign_in().fetch(listed(kaggle), PATH)
    assert ranges(standin)[-1] == f"bytes={arrived}-"
    assert only_the_file_exists()


def test_a_connection_that_breaks_repeatedly_still_completes_the_file(kaggle, standin):
    for _ in range(4):
        standin.fail("output-file", Fault.reset_midway())
    standin.fail("output-file", Fault.status(503), times=4)
    kaggle.fetch(listed(kaggle), PATH)
    assert standin.count("output-file") == 9
    assert only_the_file_exists()


def test_a_download_that_drips_is_started_again(kaggle, standin, monkeypatch):
    """Each byte arrives within the time-out of a read, but a chunk would take an hour."""
    monkeypatch.setattr(transfers, "CHUNK_SECONDS", 0.3)
    monkeypatch.setattr(retries, "ATTEMPTS", 100)  # a busy machine may need longer for the others too
    standin.fail("output-file", Fault.drip())
    kaggle.fetch(listed(kaggle), PATH)
    assert standin.count("output-file") > 1
    assert only_the_file_exists()


def test_an_attempt_that_was_left_behind_does_not_write_any_more():
    attempts = transfers._Attempts()
    first = attempts.begin()
    with first():
        pass
    second = attempts.begin()
    with pytest.raises(transfers.AbandonedError), first():
        pass
    with second():
        pass


def test_a_download_without_any_progress_is_an_error(kaggle, standin):
    standin.fail("output-file", Fault.status(503), times=None)
    with pytest.raises(UnreachableError):
        kaggle.fetch(listed(kaggle), PATH)
    assert standin.count("output-file") == retries.ATTEMPTS


def test_a_changed_file_is_downloaded_from_scratch(kaggle, standin):
    leave_partial(b"of another file" * 10_000, '"another"')
    kaggle.fetch(listed(kaggle), PATH)
    assert ranges(standin) == ["bytes=150000-"]
    assert only_the_file_exists()


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"validator": null}', '{"validator": 5}', '{"valid'])
def test_a_partial_file_without_a_valid_note_is_downloaded_from_scratch(note, kaggle, standin):
    PARTIAL.write_bytes(b"whose is this")
    NOTE.write_text(note)
    kaggle.fetch(listed(kaggle), PATH)
    assert ranges(standin) == [None]
    assert only_the_file_exists()


def test_a_kill_while_starting_over_mixes_no_files(kaggle, standin, monkeypatch):
    leave_partial(b"of another file" * 10_000, '"another"')

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transfers, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            kaggle.fetch(listed(kaggle), PATH)
    assert PARTIAL.read_bytes() == b""
    kaggle.fetch(listed(kaggle), PATH)
    assert only_the_file_exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"Content_Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"},
        {"Content_Range": f"bytes 2000-{len(CONTENT) - 1}/{len(CONTENT)}"},
        {"Content_Range": f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}", "ETag": '"another"'},
        {},
    ],
    ids=["from the beginning", "from elsewhere", "of another file", "without a range"],
)
def test_a_range_that_was_not_requested_is_not_appended(wrong):
    leave_partial(CONTENT[:1000])
    server = Server(response(206, b"garbage", **wrong), response(200, ETag=TAG))
    download(server, PATH, len(CONTENT), ignore)
    assert server.ranges == ["bytes=1000-", None]
    assert only_the_file_exists()


def test_a_complete_partial_file_is_not_downloaded_again(kaggle, standin):
    standin.fail("output-file", Fault.reset_midway())
    standin.fail("output-file", Fault.status(403))
    with pytest.raises(ForbiddenError):
        kaggle.fetch(listed(kaggle), PATH)
    PARTIAL.write_bytes(CONTENT)  # the rest arrived too, before the process was killed
    kaggle.fetch(listed(kaggle), PATH)
    assert ranges(standin)[-1] == f"bytes={len(CONTENT)}-"
    assert standin.count("output-file") == 3
    assert only_the_file_exists()


def test_a_partial_file_that_is_too_long_is_downloaded_from_scratch(kaggle, standin):
    server = Server(response(416, b"", Content_Range=f"bytes */{len(CONTENT)}"), response(200, ETag=TAG))
    leave_partial(CONTENT + b"more")
    download(server, PATH, len(CONTENT), ignore)
    assert only_the_file_exists()


def test_a_weak_etag_does_not_identify_a_file():
    server = Server(response(200, CONTENT[:5000], ETag='W/"weak"', Content_Length=str(len(CONTENT))), response(200))
    download(server, PATH, len(CONTENT), ignore)
    assert server.ranges == [None, None]
    assert only_the_file_exists()


def test_a_date_identifies_a_file_without_an_etag():
    dated = {"Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    first = response(200, CONTENT[:CHUNK], Content_Length=str(len(CONTENT)), **dated)
    rest = response(206, CONTENT[CHUNK:], Content_Range=f"bytes {CHUNK}-{len(CONTENT) - 1}/{len(CONTENT)}", **dated)
    server = Server(first, rest)
    download(server, PATH, None, ignore)
    assert server.ranges == [None, f"bytes={CHUNK}-"]
    assert only_the_file_exists()


def test_progress_counts_the_bytes(kaggle, standin):
    standin.fail("output-file", Fault.truncated())
    counts = []
    kaggle.fetch(listed(kaggle), PATH, counts.append)
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, len(CONTENT))


def test_an_exception_in_the_progress_callback_ends_a_download_that_can_be_resumed(kaggle, standin):
    class EnoughError(Exception):
        pass

    def stop(done):
        if done > CHUNK:
            raise EnoughError

    with pytest.raises(EnoughError):
        kaggle.fetch(listed(kaggle), PATH, stop)
    assert standin.count("output-file") == 1
    assert PARTIAL.stat().st_size > CHUNK
    kaggle.fetch(listed(kaggle), PATH)
    assert only_the_file_exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_is_not_retried(kaggle, standin):
    PARTIAL.symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"the disk is full: file\.bin from Kaggle"):
        kaggle.fetch(listed(kaggle), PATH)
    assert standin.count("output-file") == 1
    assert not PATH.exists()


def test_a_local_error_is_not_retried(kaggle, standin):
    PARTIAL.mkdir()
    with pytest.raises(IsADirectoryError):
        kaggle.fetch(listed(kaggle), PATH)
    assert standin.count("output-file") == 1


def test_an_empty_file_is_downloaded(standin):
    standin.add_kernel(REF.name, {"empty.txt": b""})
    kaggle = sign_in()
    kaggle.fetch(listed(kaggle), Path("empty.txt"))
    assert Path("empty.txt").read_bytes() == b""


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"more"])
def test_a_size_other_than_listed_is_an_error(content):
    server = Server(response(200, content, ETag=TAG))
    with pytest.raises(KaggleError, match="Kaggle lists 1,048,576 bytes and sends"):
        download(server, PATH, len(CONTENT), ignore)
    assert not PATH.exists()


def test_a_response_without_a_length_is_checked_against_the_listed_size():
    responses = [response(200, CONTENT[:100_000]), response(200, CONTENT)]
    for each in responses:
        del each.headers["Content-Length"]
    download(Server(*responses), PATH, len(CONTENT), ignore)
    assert only_the_file_exists()


@pytest.mark.parametrize(
    "address",
    [
        "http://storage.example/a", "ftp://127.0.0.1/a", "file:///etc/hosts", "", "a", "http://[::1",
        "//storage.example/a", "http://storage.example\\@127.0.0.1/a", "http://127.0.0.1@storage.example/a",
        "http://127.0.0.1.example/a", "http://127.0.0.1:80:80/a",
        "http://user:word@127.0.0.1/a", "http://127.0.0.1\n.example/a",
    ],
)  # fmt: skip
def test_unencrypted_addresses_are_refused(address, standin):
    with pytest.raises(KaggleError, match="not encrypted") as error:
        check_address(address)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "address", ["https://storage.example/a?b", "http://127.0.0.1:80/a", "http://[::1]/a", "http://localhost?a"]
)
def test_encrypted_addresses_and_the_test_server_are_accepted(address, standin):
    assert check_address(address) == address


def test_localhost_is_refused_without_a_test_server(standin, monkeypatch):
    address = standin.sign("/kf/1/a")
    monkeypatch.delenv("PODIUM_KAGGLE_ENDPOINT")
    with plain_session() as session, pytest.raises(KaggleError, match="not encrypted"):
        session.get(address)
    assert standin.connections == 0


def test_signed_urls_are_requested_without_a_key(standin, monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("default login ada password a-made-up-word\n")
    with plain_session() as session:
        request = session.prepare_request(requests.Request("GET", "https://storage.example/a"))
        assert "Authorization" not in request.headers
        session.rebuild_auth(request, response(302))
        assert "Authorization" not in request.headers


def test_proxy_and_certificates_of_the_environment_are_used(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "certificates.pem")
    with plain_session() as session:
        settings = session.merge_environment_settings("https://storage.example/a", {}, None, None, None)
    assert settings["proxies"]["https"] == "http://proxy.example:3128"
    assert settings["verify"] == "certificates.pem"
