"""The HTTP server: reads requests, lets the stand-in answer them, and fails where a fault is queued."""

import contextlib
import itertools
import select
import socket
import socketserver
import struct
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from standin.faults import CUTS, Fault
from standin.replies import Refusal, Reply, bytes_reply, refusal_reply

if TYPE_CHECKING:
    from standin.service import StandIn

_DRIP_SECONDS = 0.05
_DRIPPED = 10_000
"""Bytes of a dripping response, at least, which would take eight minutes."""
_CUT_SHORT = bytes_reply(b'{"message": "this answer is cut, and nothing was done"}')


class Route(Protocol):
    """One request. `name` is what a fault is queued for."""

    name: str

    @property
    def is_safe(self) -> bool:
        """Whether it changes nothing."""

    def read(self, body: bytes) -> None:
        """Understand the body; what cannot be is refused."""

    def respond(self) -> Reply: ...


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for every connection. Closing it ends the connections and waits for their threads."""

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, service: "StandIn", port: int) -> None:
        self.service = service
        self.woken, self._waker = socket.socketpair()
        self._lock = threading.Lock()
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._abrupt: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._serve, name="stand-in")
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def _serve(self) -> None:
        while not self.service.stopping:
            self.handle_request()

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        with self._lock:
            self.connections += 1
            self._open.add(connection)
        return connection, address

    def reset_later(self, connection: socket.socket) -> None:
        """Once its handler is done, this connection ends without a farewell."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with self._lock:
            self._abrupt.add(connection)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self._lock:
            self._open.discard(request)
            is_abrupt = request in self._abrupt
            self._abrupt.discard(request)
        if is_abrupt:
            request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that disconnects is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            self.service.crashes.append(traceback.format_exc())

    def close(self) -> None:
        """The stand-in is stopping: end what stalls, accept nothing more, close what is open."""
        self._waker.close()
        with socket.create_connection(("127.0.0.1", self.port)):
            self._thread.join()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self.woken.close()


class Handler(BaseHTTPRequestHandler):
    """One connection, kept for several requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: `calls` has it all."""

    def _handle(self) -> None:
        service = self.server.service
        route = service.route(self.command, urlsplit(self.path), self.headers)
        fault = service.faults.take(route.name, "*") or service.usual_fault(route)
        try:
            self._answer(route, fault)
        except ConnectionError:
            self.close_connection = True
        except Exception as error:
            service.crashes.append(traceback.format_exc())
            self.close_connection = True
            self._send(refusal_reply(500, f"the stand-in failed: {error!r}"), None)

    do_GET = do_POST = do_PUT = _handle  # noqa: N815

    def _answer(self, route: Route, fault: Fault | None) -> None:
        if fault and fault.kind == "reset_before" and not fault.after_effect:
            self.server.service.note(route, is_read=False)
            self._reset()
            return
        body = self._body()
        refused = self._read(route, body)
        self.server.service.note(route)
        if fault is None:
            self._send(refused or self._respond(route), None)
        else:
            self._fail(route, fault, refused)

    def _fail(self, route: Route, fault: Fault, refused: Reply | None) -> None:
        reply = refused or _CUT_SHORT
        # Status 200 means that an upload arrived, whatever the body.
        is_uploaded = route.name == "upload" and fault.kind == "malformed"
        is_sent = fault.kind in (*CUTS, "drip") and route.is_safe
        if not refused and (fault.after_effect or is_uploaded or is_sent):
            reply = self._respond(route)
        if fault.kind == "stall":
            self._hold()
        elif fault.kind == "reset_before":
            self._reset()
        elif fault.kind == "status":
            self._send(refusal_reply(fault.code, fault.message, fault.retry_after), None)
        elif fault.kind == "malformed":
            self._send(bytes_reply(fault.body, fault.content_type), None)
        else:
            self._send(reply, fault)

    def _read(self, route: Route, body: bytes) -> Reply | None:
        try:
            route.read(body)
        except Refusal as refusal:
            return refusal_reply(refusal.code, refusal.message)
        return None

    def _respond(self, route: Route) -> Reply:
        try:
            return route.respond()
        except Refusal as refusal:
            return refusal_reply(refusal.code, refusal.message)

    def _body(self) -> bytes:
        """The complete body: a request of a client that is killed while it sends has no effect."""
        size = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(size)
        if len(content) != size:
            raise ConnectionAbortedError
        return content

    def _send(self, reply: Reply, fault: Fault | None) -> None:
        cut = fault.kind if fault else ""
        is_stream = reply.stream is not None
        if cut:
            self.close_connection = True
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if is_stream:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            size = max(_DRIPPED if cut == "drip" else 2, reply.size) if cut else reply.size
            self.send_header("Content-Length", str(size))
        self.end_headers()
        if cut == "drip":
            self._drip(reply)
            return
        self._send_stream(reply, cut) if is_stream else self._send_content(reply, cut)
        if cut == "reset_midway":
            self._reset()
        elif cut == "stall_midway":
            self._hold()

    def _send_content(self, reply: Reply, cut: str) -> None:
        for piece in reply.pieces(reply.size // 2 if cut else reply.size):
            self.wfile.write(piece)

    def _send_stream(self, reply: Reply, cut: str) -> None:
        assert reply.stream is not None
        sent = 0
        with contextlib.closing(reply.stream) as stream:  # type: ignore[type-var]
            if not (cut and reply.ready < 2):
                for piece in stream:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    sent += 1
                    if cut and sent >= reply.ready // 2:
                        break
        if not cut:
            self.wfile.write(b"0\r\n\r\n")

    def _drip(self, reply: Reply) -> None:
        """The answer and then spaces, until the caller hangs up, or the stand-in stops."""
        for piece in itertools.chain(reply.pieces(reply.size), [b" " * (_DRIPPED - reply.size)]):
            for place in range(len(piece)):
                self.wfile.write(piece[place : place + 1])
                if select.select([self.connection, self.server.woken], [], [], _DRIP_SECONDS)[0]:
                    return

    def _reset(self) -> None:
        self.close_connection = True
        self.server.reset_later(self.connection)

    def _hold(self) -> None:
        """Until the caller hangs up, or the stand-in stops."""
        self.close_connection = True
        select.select([self.connection, self.server.woken], [], [])
