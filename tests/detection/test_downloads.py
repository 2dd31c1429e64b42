"""Images from a server that fails in every way: asked again, checked, whole in the folder or listed as dead."""

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
from podium.detection.downloads import TRIES, Wanted, fetch_images, write_dead
from podium.detection.openimages_images import Address
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
    """`fetch(path, …)`: fetches these paths of the server as images of that name; gives the dead and the waits."""

    def fetched(*paths, size=None, md5=None, at_once=4, tell=lambda done: None):
        waits = []
        wanted = [
            Wanted(path, tmp_path / "images" / f"{path}.jpg", (Address(server.url(path), size, md5),)) for path in paths
        ]
        return list(fetch_images(wanted, at_once, tell, waits.append)), waits

    return fetched


def there(tmp_path):
    """All files of the folder, hidden ones too."""
    folder = tmp_path / "images"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_images_are_fetched_whole_and_their_number_told(fetch, tmp_path):
    told = []
    dead, waits = fetch(*"abcdefghij", size=len(IMAGE), md5=MD5, tell=told.append)
    assert (dead, waits) == ([], [])
    assert there(tmp_path) == [f"{name}.jpg" for name in "abcdefghij"]
    assert (tmp_path / "images" / "a.jpg").read_bytes() == IMAGE
    assert (told, told[-1]) == (sorted(told), 10)


@pytest.mark.parametrize("answer", [status(500), status(503), status(429), status(408), cut_off])
def test_what_may_pass_is_asked_for_again(fetch, server, tmp_path, answer):
    server.answers["a"] = [answer, answer]
    dead, waits = fetch("a")
    assert dead == []
    assert server.asked == ["a"] * 3
    assert len(waits) == 2
    assert there(tmp_path) == ["a.jpg"]


def test_waits_grow(fetch, server, monkeypatch):
    monkeypatch.setattr("podium.retries.random.uniform", lambda least, most: most)
    server.answers["a"] = [status(500)] * 3
    assert fetch("a")[1] == [1.0, 2.0, 4.0]


def test_a_server_that_says_how_long_to_wait_is_obeyed(fetch, server):
    server.answers["a"] = [status(429, Retry_After="7")]
    assert fetch("a")[1] == [7.0]


def test_a_server_that_asks_for_hours_is_not_waited_for(fetch, server):
    server.answers["a"] = [status(429, Retry_After="7200")]
    dead, waits = fetch("a")
    assert waits == []
    assert "status 429" in dead[0].reason


def test_what_goes_on_failing_is_dead(fetch, server, tmp_path):
    server.answers["a"] = [status(500)] * 99
    dead, waits = fetch("a", "b")
    assert [(one.id, one.url, one.reason) for one in dead] == [
        ("a", server.url("a"), f"status 500, also when asked {TRIES} times")
    ]
    assert len(waits) == TRIES - 1
    assert there(tmp_path) == ["b.jpg"]


@pytest.mark.parametrize("number", [404, 410, 403, 401])
def test_what_is_gone_is_not_asked_for_again(fetch, server, tmp_path, number):
    server.answers["a"] = [status(number)]
    dead, waits = fetch("a")
    assert ([one.reason for one in dead], waits) == ([f"status {number}"], [])
    assert server.asked == ["a"]
    assert there(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "facts", "reason"),
    [
        (IMAGE, {"md5": base64.b64encode(bytes(16)).decode()}, "another checksum: another image"),
        (IMAGE, {"size": 5}, f"{len(IMAGE)} bytes, not 5: another image"),
        (b"<html>gone</html>", {}, "no whole image"),
        (IMAGE[: len(IMAGE) // 2], {}, "no whole image"),
        (b"", {}, "no whole image"),
    ],
)
def test_another_content_is_dead(fetch, server, tmp_path, content, facts, reason):
    server.answers["a"] = [other(content)]
    dead, waits = fetch("a", **facts)
    assert ([one.reason for one in dead], waits) == ([reason], [])
    assert there(tmp_path) == []


def test_the_placeholder_of_a_removed_image_is_none(fetch, server, tmp_path):
    server.answers["a"] = [status(302, Location=server.url("images/photo_unavailable.png"))]
    dead, _ = fetch("a")
    assert dead[0].reason == "the image was removed there"
    assert there(tmp_path) == []


def test_a_server_that_stalls_is_not_waited_for_long(fetch, server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "READ_SECONDS", 0.1)
    server.answers["a"] = [stalled]
    dead, waits = fetch("a")
    assert (dead, len(waits)) == ([], 1)
    assert there(tmp_path) == ["a.jpg"]


def test_an_answer_that_takes_too_long_is_asked_for_again(fetch, server, monkeypatch):
    monkeypatch.setattr(downloads, "LONGEST_SECONDS", -1.0)
    dead, _ = fetch("a")
    assert dead[0].reason.startswith("the answer took too long")


def test_an_answer_without_end_is_broken_off(fetch, monkeypatch):
    monkeypatch.setattr(downloads, "LARGEST", 100)
    assert fetch("a")[0][0].reason == "more than 100 bytes"


def test_the_next_address_is_tried(server, tmp_path):
    server.answers["a"] = [status(404)]
    path = tmp_path / "images" / "x.jpg"
    addresses = (Address(server.url("a")), Address("ftp://a/b"), Address("http://"), Address(server.url("b")))
    assert list(fetch_images([Wanted("x", path, addresses)], 1, lambda done: None)) == []
    assert server.asked == ["a", "b"]
    assert path.read_bytes() == IMAGE


def test_a_image_without_any_address_is_dead(tmp_path):
    (dead,) = fetch_images([Wanted("x", tmp_path / "x.jpg", ())], 1, lambda done: None)
    assert (dead.url, dead.reason) == ("", "no address is known")


def test_no_more_are_asked_for_at_once_than_is_said(fetch, server):
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


def test_a_machine_without_a_line_says_so_once(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    wanted = [
        Wanted(str(number), tmp_path / "images" / f"{number}.jpg", (Address(f"http://127.0.0.1:{port}/{number}"),))
        for number in range(200)
    ]
    with pytest.raises(MachineError, match=r"40 images in a row could not be asked for .*; is there a line"):
        list(fetch_images(wanted, 4, lambda done: None, lambda seconds: None))
    assert there(tmp_path) == []


def test_what_stops_it_leaves_whole_images_and_no_threads(server, tmp_path):
    names = [f"p{number}" for number in range(50)]
    server.answers = {"p20": [stalled]}
    wanted = [Wanted(name, tmp_path / "images" / f"{name}.jpg", (Address(server.url(name)),)) for name in names]

    def stop(done):
        if done >= 10:
            server.let_go.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(fetch_images(wanted, 4, stop))
    assert 10 <= len(there(tmp_path)) < 50
    assert all((tmp_path / "images" / name).read_bytes() == IMAGE for name in there(tmp_path))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_the_dead_are_listed_by_id(fetch, server, tmp_path):
    server.answers = {"b": [status(404)], "a": [status(410)]}
    dead, _ = fetch("b", "a", "c")
    path = write_dead(dead, tmp_path)
    assert list(csv.reader(path.read_text().splitlines())) == [
        ["id", "url", "reason"],
        ["a", server.url("a"), "status 410"],
        ["b", server.url("b"), "status 404"],
    ]
