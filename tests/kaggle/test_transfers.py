"""Files from Kaggle: whole under their name or not there, and gone on with where they were broken off."""

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
from podium.kaggle.transfers import CHUNK, fetch

REF = KernelRef("ada", "some-kernel", 1)
CONTENT = bytes(range(256)) * 4096
PATH, PARTIAL, NOTE = Path("whole.bin"), Path(".partial-whole.bin"), Path(".partial-whole.bin.json")
TAG = '"of-this-file"'


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retries, "sleep", lambda seconds: None)


@pytest.fixture
def kaggle(standin):
    standin.add_kernel(REF.name, {"whole.bin": CONTENT})
    return sign_in()


def listed(kaggle):
    (file,) = kaggle.output_files(REF)
    return file


def ranges(standin):
    return [call.request.headers.get("Range") for call in standin.calls if call.method == "output-file"]


def response(status=200, content=CONTENT, **headers):
    """As a server would answer that does what the stand-in never does."""
    made = requests.Response()
    made.status_code, made.raw = status, io.BytesIO(content)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    made.headers.update({"Content-Length": str(len(content)), **named})
    return made


class Server:
    """Answers one after the other, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, headers):
        self.asked.append(headers.get("Range"))
        return self.answers.pop(0)


def leave_partial(content, validator=TAG):
    PARTIAL.write_bytes(content)
    NOTE.write_text(json.dumps({"validator": validator}))


def nothing(done):
    pass


def only_the_whole_is_here():
    return [path.name for path in Path().iterdir()] == [PATH.name] and PATH.read_bytes() == CONTENT


def test_a_later_command_goes_on_where_the_last_was_broken_off(kaggle, standin):
    standin.fail("output-file", Fault.reset_midway())
    standin.fail("output-file", Fault.status(403))
    with pytest.raises(ForbiddenError):
        kaggle.fetch(listed(kaggle), PATH)
    assert not PATH.exists()
    came = PARTIAL.stat().st_size
    assert came >= CHUNK
    standin.expire_links()
    sign_in().fetch(listed(kaggle), PATH)
    assert ranges(standin)[-1] == f"bytes={came}-"
    assert only_the_whole_is_here()


def test_a_line_that_breaks_again_and_again_brings_the_file_home(kaggle, standin):
    for _ in range(4):
        standin.fail("output-file", Fault.reset_midway())
    standin.fail("output-file", Fault.status(503), times=4)
    kaggle.fetch(listed(kaggle), PATH)
    assert standin.count("output-file") == 9
    assert only_the_whole_is_here()


def test_a_line_that_brings_nothing_is_given_up(kaggle, standin):
    standin.fail("output-file", Fault.status(503), times=None)
    with pytest.raises(UnreachableError):
        kaggle.fetch(listed(kaggle), PATH)
    assert standin.count("output-file") == retries.TRIES


def test_another_file_of_the_same_name_is_begun_anew(kaggle, standin):
    leave_partial(b"of another file" * 10_000, '"another"')
    kaggle.fetch(listed(kaggle), PATH)
    assert ranges(standin) == ["bytes=150000-"]
    assert only_the_whole_is_here()


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"validator": null}', '{"validator": 5}', '{"valid'])
def test_what_no_note_speaks_for_is_begun_anew(note, kaggle, standin):
    PARTIAL.write_bytes(b"whose is this")
    NOTE.write_text(note)
    kaggle.fetch(listed(kaggle), PATH)
    assert ranges(standin) == [None]
    assert only_the_whole_is_here()


def test_a_kill_between_two_files_never_mixes_them(kaggle, standin, monkeypatch):
    leave_partial(b"of another file" * 10_000, '"another"')

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transfers, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            kaggle.fetch(listed(kaggle), PATH)
    assert PARTIAL.read_bytes() == b""
    kaggle.fetch(listed(kaggle), PATH)
    assert only_the_whole_is_here()


@pytest.mark.parametrize(
    "wrong",
    [
        {"Content_Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"},
        {"Content_Range": f"bytes 2000-{len(CONTENT) - 1}/{len(CONTENT)}"},
        {"Content_Range": f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}", "ETag": '"another"'},
        {},
    ],
    ids=["from the beginning", "from elsewhere", "of another file", "from who knows where"],
)
def test_a_part_that_does_not_fit_is_not_appended(wrong):
    leave_partial(CONTENT[:1000])
    server = Server(response(206, b"garbage", **wrong), response(200, ETag=TAG))
    fetch(server, PATH, len(CONTENT), nothing)
    assert server.asked == ["bytes=1000-", None]
    assert only_the_whole_is_here()


def test_what_had_come_whole_before_the_kill_is_not_fetched_again(kaggle, standin):
    standin.fail("output-file", Fault.reset_midway())
    standin.fail("output-file", Fault.status(403))
    with pytest.raises(ForbiddenError):
        kaggle.fetch(listed(kaggle), PATH)
    PARTIAL.write_bytes(CONTENT)  # the rest came too, and then the process was killed
    kaggle.fetch(listed(kaggle), PATH)
    assert ranges(standin)[-1] == f"bytes={len(CONTENT)}-"
    assert standin.count("output-file") == 3
    assert only_the_whole_is_here()


def test_more_than_there_is_is_begun_anew(kaggle, standin):
    server = Server(response(416, b"", Content_Range=f"bytes */{len(CONTENT)}"), response(200, ETag=TAG))
    leave_partial(CONTENT + b"more")
    fetch(server, PATH, len(CONTENT), nothing)
    assert only_the_whole_is_here()


def test_a_weak_tag_is_no_word_for_a_part():
    server = Server(response(200, CONTENT[:5000], ETag='W/"weak"', Content_Length=str(len(CONTENT))), response(200))
    fetch(server, PATH, len(CONTENT), nothing)
    assert server.asked == [None, None]
    assert only_the_whole_is_here()


def test_by_its_date_a_part_is_known_too():
    dated = {"Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    first = response(200, CONTENT[:CHUNK], Content_Length=str(len(CONTENT)), **dated)
    rest = response(206, CONTENT[CHUNK:], Content_Range=f"bytes {CHUNK}-{len(CONTENT) - 1}/{len(CONTENT)}", **dated)
    server = Server(first, rest)
    fetch(server, PATH, None, nothing)
    assert server.asked == [None, f"bytes={CHUNK}-"]
    assert only_the_whole_is_here()


def test_the_bytes_that_are_there_are_told(kaggle, standin):
    standin.fail("output-file", Fault.truncated())
    told = []
    kaggle.fetch(listed(kaggle), PATH, told.append)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, len(CONTENT))


def test_whoever_is_told_may_end_it_and_nothing_is_lost(kaggle, standin):
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
    assert only_the_whole_is_here()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_is_told_at_once(kaggle, standin):
    PARTIAL.symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"the disk is full: whole\.bin from Kaggle"):
        kaggle.fetch(listed(kaggle), PATH)
    assert standin.count("output-file") == 1
    assert not PATH.exists()


def test_a_folder_that_cannot_be_written_is_no_problem_of_kaggles(kaggle, standin):
    PARTIAL.mkdir()
    with pytest.raises(IsADirectoryError):
        kaggle.fetch(listed(kaggle), PATH)
    assert standin.count("output-file") == 1


def test_an_empty_file_is_a_file(standin):
    standin.add_kernel(REF.name, {"empty.txt": b""})
    kaggle = sign_in()
    kaggle.fetch(listed(kaggle), Path("empty.txt"))
    assert Path("empty.txt").read_bytes() == b""


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"more"])
def test_another_number_of_bytes_than_listed_is_refused(content):
    server = Server(response(200, content, ETag=TAG))
    with pytest.raises(KaggleError, match="Kaggle lists 1,048,576 bytes and sends"):
        fetch(server, PATH, len(CONTENT), nothing)
    assert not PATH.exists()


def test_an_answer_that_tells_no_length_is_measured_by_the_list():
    answers = [response(200, CONTENT[:100_000]), response(200, CONTENT)]
    for one in answers:
        del one.headers["Content-Length"]
    fetch(Server(*answers), PATH, len(CONTENT), nothing)
    assert only_the_whole_is_here()


@pytest.mark.parametrize(
    "address",
    [
        "http://storage.example/a", "ftp://127.0.0.1/a", "file:///etc/hosts", "", "a", "http://[::1",
        "//storage.example/a", "http://storage.example\\@127.0.0.1/a", "http://127.0.0.1@storage.example/a",
        "http://127.0.0.1.example/a", "http://127.0.0.1:80:80/a",
        "http://user:word@127.0.0.1/a", "http://127.0.0.1\n.example/a",
    ],
)  # fmt: skip
def test_only_encrypted_addresses_are_asked_and_the_stand_ins(address, standin):
    with pytest.raises(KaggleError, match="not encrypted") as error:
        check_address(address)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "address", ["https://storage.example/a?b", "http://127.0.0.1:80/a", "http://[::1]/a", "http://localhost?a"]
)
def test_encrypted_addresses_and_those_of_this_machine_are_asked(address, standin):
    assert check_address(address) == address


def test_this_machine_is_not_asked_without_the_seam(standin, monkeypatch):
    address = standin.sign("/kf/1/a")
    monkeypatch.delenv("PODIUM_KAGGLE_ENDPOINT")
    with plain_session() as session, pytest.raises(KaggleError, match="not encrypted"):
        session.get(address)
    assert standin.connections == 0


def test_files_are_asked_for_with_no_key_of_any_kind(standin, monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("default login ada password a-made-up-word\n")
    with plain_session() as session:
        asked = session.prepare_request(requests.Request("GET", "https://storage.example/a"))
        assert "Authorization" not in asked.headers
        session.rebuild_auth(asked, response(302))
        assert "Authorization" not in asked.headers


def test_files_come_through_the_proxy_and_by_the_certificates_of_the_environment(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "certificates.pem")
    with plain_session() as session:
        settings = session.merge_environment_settings("https://storage.example/a", {}, None, None, None)
    assert settings["proxies"]["https"] == "http://proxy.example:3128"
    assert settings["verify"] == "certificates.pem"
