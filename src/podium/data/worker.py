"""A process that prepares images for another one: blocks come in, pixels go into memory that both share.

It imports neither TensorFlow nor Keras. It ends when the other process does, however that one ends: then there is
nothing left to read.
"""

import gc
import math
import mmap
import os
import pickle
import signal
import socket
import struct
import sys
from collections.abc import Callable
from functools import lru_cache
from io import BufferedRWPair
from pathlib import Path
from typing import IO, Any

import numpy as np

LENGTH = struct.Struct("<q")
Stream = IO[bytes] | BufferedRWPair


def send(stream: Stream, content: Any) -> None:
    packed = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(LENGTH.pack(len(packed)) + packed)
    stream.flush()


def receive(stream: Stream) -> Any:
    """EOFError where the other side is gone."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    return pickle.loads(stream.read(LENGTH.unpack(head)[0]))


def fork_when_asked() -> None:
    """The template's whole life: each connection that comes through the standard input goes to a worker of its own."""
    _be_quiet()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no one waits for the workers
    serve = _server()
    gc.freeze()  # what is imported stays shared
    orders = socket.socket(fileno=0)
    while True:
        order, handles, *_ = socket.recv_fds(orders, 4, 1)
        if not order:
            return
        if os.fork() == 0:
            orders.close()
            with socket.socket(fileno=handles[0]) as connection, connection.makefile("rwb") as stream:
                serve(stream, stream)
            os._exit(0)
        os.close(handles[0])


def serve_at_pipes() -> None:
    """Where there is no template."""
    answers = os.fdopen(os.dup(1), "wb")
    _be_quiet()
    _server()(sys.stdin.buffer, answers)


def _be_quiet() -> None:
    os.dup2(2, 1)  # whatever a library prints is no answer
    for number in (signal.SIGINT, signal.SIGTERM):  # they are the other process's to act on
        signal.signal(number, signal.SIG_IGN)


def _server() -> Callable[[Stream, Stream], None]:
    """What answers questions until no more come; all that it needs is imported by then."""
    import cv2

    from podium.data.image_source import Loader
    from podium.data.preprocessing import prepare

    cv2.setNumThreads(1)

    def serve(questions: Stream, answers: Stream) -> None:
        load = Loader()
        send(answers, os.getpid())
        while True:
            try:
                block, looks, place, size, shape = receive(questions)
            except (EOFError, ConnectionError):
                return
            try:
                pixels = np.frombuffer(_shared(place, size), np.uint8, count=math.prod(shape)).reshape(shape)
                answer: Any = prepare(block, _unpacked(looks), load, pixels)
            except Exception as error:
                answer = _portable(error)
            try:
                send(answers, answer)
            except OSError:  # no one is there to take it
                return

    return serve


@lru_cache(maxsize=64)
def _shared(place: str, size: int) -> mmap.mmap:
    """The same place is mapped anew where it has grown."""
    with Path(place).open("r+b") as opened:
        return mmap.mmap(opened.fileno(), size)


@lru_cache(maxsize=8)
def _unpacked(looks: bytes) -> Any:
    return pickle.loads(looks)


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the error's own class raises when it is made again
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
