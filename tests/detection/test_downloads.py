"""Downloads from a server that fails in every way: retried, checked, complete or listed as failed."""

import base64
import csv
import hashlib
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from podium.detection import downloads
from podium.detection.downloads import ATTEMPTS, Download, download_images, write_failed_downloads
from podium.detection.openimages import Address
from podium.errors import MachineError

IMAGE = cv2.imencode(".jpg", np.full((24, 32, 3), 200, np.uint8))[1].tobytes()
MD5 = base64.b64encode(hashlib.md5(IMAGE).digest()).decode()


class Server(ThreadingHTTPServer):
    """Serves the image under every path; `answers[path]` are functions that answer before that, one call each."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.asked = {}, []
        self.let_go = threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path.removeprefix("/"))
        waiting = self.server.answers.get(self.path.removeprefix("/"), [])
        with suppress(ConnectionError):
            (waiting.pop(0) if waiting else whole)(self)

    def log_message(self, *arguments):
        pass


def whole(handler, content=IMAGE):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def status(number, **headers):
    def answer(handler):
        handler.send_response(number)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def cut_off(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(IMAGE)))
    handler.end_headers()
    handler.wfile.write(IMAGE[: len(IMAGE) // 2])


def stalled(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(IMAGE)))
    handler.end_headers()
    handler.wfile.write(IMAGE[:10])
    handler.wfile.flush()
    handler.server.let_go.wait(60)


def other(content):
    return lambda handler: whole(handler, content)


@pytest.fixture
def server():
    served = Server()
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.let_go.set()
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    """`fetch(path, ...)`: download these paths of the server; returns the failures and the waits before retries."""

    def fetched(*paths, size=None, md5=None, at_once=4, progress=lambda done: None):
        waits = []
        wanted = [
            Download(path, tmp_path / "images" / f"{path}.jpg", (Address(server.url(path), size, md5),))
            for path in paths
        ]
        return list(download_images(wanted, at_once, progress, waits.append)), waits

    return fetched


def there(tmp_path):
    """All files of the folder, hidden ones too."""
    folder = tmp_path / "images"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_images_are_downloaded_and_progress_reported(fetch, tmp_path):
    message = []
    failed, waits = fetch(*"abcdefghij", size=len(IMAGE), md5=MD5, progress=message.append)
    assert (failed, waits) == ([], [])
    assert there(tmp_path) == [f"{name}.jpg" for name in "abcdefghij"]
    assert (tmp_path / "images" / "a.jpg").read_bytes() == IMAGE
    assert (message, message[-1]) == (sorted(message), 10)


@pytest.mark.parametrize("answer", [status(500), status(503), status(429), status(408), cut_off])
def test_temporary_failures_are_retried(fetch, server, tmp_path, answer):
    server.answers["a"] = [answer, answer]
    failed, waits = fetch("a")
    assert failed == []
    assert server.asked == ["a"] * 3
    assert len(waits) == 2
    assert there(tmp_path) == ["a.jpg"]


def test_waits_grow_exponentially(fetch, server, monkeypatch):
    monkeypatch.setattr("podium.retries.random.uniform", lambda least, most: most)
    server.answers["a"] = [status(500)] * 3
    assert fetch("a")[1] == [1.0, 2.0, 4.0]


def test_retry_after_is_respected(fetch, server):
    server.answers["a"] = [status(429, Retry_After="7")]
    assert fetch("a")[1] == [7.0]


def test_too_long_retry_after_fails(fetch, server):
    server.answers["a"] = [status(429, Retry_After="7200")]
    failed, waits = fetch("a")
    assert waits == []
    assert "status 429" in failed[0].reason


def test_permanent_server_error_fails_after_all_attempts(fetch, server, tmp_path):
    server.answers["a"] = [status(500)] * 99
    failed, waits = fetch("a", "b")
    assert [(one.id, one.url, one.reason) for one in failed] == [
        ("a", server.url("a"), f"status 500, after {ATTEMPTS} attempts")
    ]
    assert len(waits) == ATTEMPTS - 1
    assert there(tmp_path) == ["b.jpg"]


@pytest.mark.parametrize("number", [404, 410, 403, 401])
def test_client_errors_are_not_retried(fetch, server, tmp_path, number):
    server.answers["a"] = [status(number)]
    failed, waits = fetch("a")
    assert ([one.reason for one in failed], waits) == ([f"status {number}"], [])
    assert server.asked == ["a"]
    assert there(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "facts", "reason"),
    [
        (IMAGE, {"md5": base64.b64encode(bytes(16)).decode()}, "wrong checksum"),
        (IMAGE, {"size": 5}, f"expected 5 bytes, got {len(IMAGE)}"),
        (b"<html>gone</html>", {}, "not a complete image"),
        (IMAGE[: len(IMAGE) // 2], {}, "not a complete image"),
        (b"", {}, "not a complete image"),
    ],
)
def test_wrong_content_fails(fetch, server, tmp_path, content, facts, reason):
    server.answers["a"] = [other(content)]
    failed, waits = fetch("a", **facts)
    assert ([one.reason for one in failed], waits) == ([reason], [])
    assert there(tmp_path) == []


def test_placeholder_of_a_removed_image_fails(fetch, server, tmp_path):
    server.answers["a"] = [status(302, Location=server.url("images/photo_unavailable.png"))]
    failed, _ = fetch("a")
    assert failed[0].reason == "the image was removed"
    assert there(tmp_path) == []


def test_stalled_response_is_retried(fetch, server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "READ_SECONDS", 0.1)
    server.answers["a"] = [stalled]
    failed, waits = fetch("a")
    assert (failed, len(waits)) == ([], 1)
    assert there(tmp_path) == ["a.jpg"]


def test_too_slow_response_fails(fetch, server, monkeypatch):
    monkeypatch.setattr(downloads, "TOTAL_SECONDS", -1.0)
    failed, _ = fetch("a")
    assert failed[0].reason.startswith("the response took too long")


def test_endless_response_is_aborted(fetch, monkeypatch):
    monkeypatch.setattr(downloads, "MAX_BYTES", 100)
    assert fetch("a")[0][0].reason == "more than 100 bytes"


def test_next_url_is_tried(server, tmp_path):
    server.answers["a"] = [status(404)]
    path = tmp_path / "images" / "x.jpg"
    addresses = (Address(server.url("a")), Address("ftp://a/b"), Address("http://"), Address(server.url("b")))
    assert list(download_images([Download("x", path, addresses)], 1, lambda done: None)) == []
    assert server.asked == ["a", "b"]
    assert path.read_bytes() == IMAGE


def test_image_without_url_fails(tmp_path):
    (failed,) = download_images([Download("x", tmp_path / "x.jpg", ())], 1, lambda done: None)
    assert (failed.url, failed.reason) == ("", "no URL is known")


def test_number_of_parallel_downloads_is_limited(fetch, server):
    together, most, lock = 0, 0, threading.Lock()
    barrier = threading.Barrier(3)

    def counted(handler):
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        with suppress(threading.BrokenBarrierError):
            barrier.wait(10)  # three are there at once
        with lock:
            together -= 1
        whole(handler)

    names = [f"p{number}" for number in range(9)]
    server.answers = {name: [counted] for name in names}
    assert fetch(*names, at_once=3)[0] == []
    assert most == 3


def test_offline_machine_is_reported_once(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    wanted = [
        Download(str(number), tmp_path / "images" / f"{number}.jpg", (Address(f"http://127.0.0.1:{port}/{number}"),))
        for number in range(200)
    ]
    with pytest.raises(MachineError, match=r"no server was reached for 40 images in a row .*; check the internet"):
        list(download_images(wanted, 4, lambda done: None, lambda seconds: None))
    assert there(tmp_path) == []


def test_interruption_leaves_complete_images_and_no_threads(server, tmp_path):
    names = [f"p{number}" for number in range(50)]
    server.answers = {"p20": [stalled]}
    wanted = [Download(name, tmp_path / "images" / f"{name}.jpg", (Address(server.url(name)),)) for name in names]

    def stop(done):
        if done >= 10:
            server.let_go.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(download_images(wanted, 4, stop))
    assert 10 <= len(there(tmp_path)) < 50
    assert all((tmp_path / "images" / name).read_bytes() == IMAGE for name in there(tmp_path))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_failed_downloads_are_listed_by_id(fetch, server, tmp_path):
    server.answers = {"b": [status(404)], "a": [status(410)]}
    failed, _ = fetch("b", "a", "c")
    path = write_failed_downloads(failed, tmp_path)
    assert list(csv.reader(path.read_text().splitlines())) == [
        ["id", "url", "reason"],
        ["a", server.url("a"), "status 410"],
        ["b", server.url("b"), "status 404"],
    ]
