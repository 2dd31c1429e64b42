"""Work on images for a model, in threads of this process or, if they are too slow, in worker processes.

Worker processes are started in the background and kept until this process ends. They import neither TensorFlow nor
Keras. On Linux they are forked from a fork server, which imports what they need while this process imports TensorFlow;
on other POSIX systems each process imports it, and on Windows only threads are used. The images are identical.

This is not multiprocessing's own fork server because that imports the main module in every process: a script without
`if __name__ == "__main__"` would run again in each of them.
"""

import atexit
import gc
import math
import mmap
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from podium.data.images import Image
from podium.hardware import worker_count

HAS_FORK_SERVER = sys.platform == "linux"
"""On macOS, system libraries do not survive a fork."""
HAS_PROCESSES = os.name == "posix"
MIN_BUSY_SECONDS = 0.2
"""CPU time that threads must have spent on images before processes are started."""
BUSY_SHARE = 0.5
"""Processes are started if threads spend more than this share of a core on images: the model then waits for images."""
WINDOW = 5.0
"""Seconds over which that share is measured."""
IMPORTS = "podium.data.augmentation"
"""What the processes import before they get any work."""
END_SECONDS = 2.0
"""How long the end waits for a process that is at work."""


class Work(Protocol):
    """Something that fills an array of bytes of this shape, and may return more. Must be picklable."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __call__(self, into: Image, /) -> Any: ...


class WorkerPool:
    """The threads and processes that prepare images for this process."""

    def __init__(self) -> None:
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._starting: list[threading.Thread] = []
        self._started = 0
        self.pids: list[int] = []
        self.count = 0
        """Processes that are ready."""
        self._has_ended = False
        self._busy, self._since = 0.0, time.perf_counter()

    def do(self, work: Work) -> tuple[Image, Any]:
        """The array and what else the work returns, from a process if there are any, otherwise from this thread."""
        while self.count:
            with suppress(queue.Empty):  # the last process may just have ended
                worker = self._free.get(timeout=1.0)
                try:
                    pixels, result = worker.do(work)
                except (OSError, EOFError, pickle.UnpicklingError):  # killed, perhaps for lack of memory
                    self._remove(worker)
                    continue
                self._free.put(worker)
                if isinstance(result, Exception):
                    raise result
                return pixels, result
        pixels, began = np.empty(work.shape, np.uint8), time.thread_time()
        result = work(pixels)
        self._start_if_busy(time.thread_time() - began)
        return pixels, result

    def start(self) -> None:
        """Start the processes in the background, once."""
        with self._lock:
            missing = worker_count() - self._started if HAS_PROCESSES else 0
            self._started += max(0, missing)
            if missing > 0:
                start_fork_server()
        for _ in range(missing):
            thread = threading.Thread(target=self._start_one, daemon=True)
            self._starting.append(thread)
            thread.start()

    def wait_until_ready(self) -> None:
        """For tests. Until then, threads do the work."""
        while self._starting:
            self._starting.pop().join()

    def end(self) -> None:
        """End the processes, those at work after their block."""
        with self._lock:
            count, self.count, self._has_ended = self.count, 0, True
        for _ in range(count):
            with suppress(queue.Empty):  # a process that was killed
                self._free.get(timeout=END_SECONDS).end()

    def _start_if_busy(self, seconds: float) -> None:
        """If the model computes on the same cores, it uses images slowly, and processes would only take memory."""
        with self._lock:
            self._busy += seconds
            elapsed = time.perf_counter() - self._since
            is_busy = self._busy > max(MIN_BUSY_SECONDS, BUSY_SHARE * elapsed)
            if elapsed > WINDOW:
                self._busy, self._since = 0.0, time.perf_counter()
        if is_busy:
            self.start()

    def _start_one(self) -> None:
        try:
            worker = _Worker()
        except (OSError, EOFError):  # threads do all the work then
            return
        with self._lock:
            if not self._has_ended:
                self.count += 1
                self.pids.append(worker.pid)
                self._free.put(worker)
                return
        worker.end()

    def _remove(self, worker: "_Worker") -> None:
        worker.end()
        with self._lock:
            self.count = max(0, self.count - 1)


@cache
def worker_pool() -> WorkerPool:
    """The pool of this process."""
    return WorkerPool()


def start_fork_server() -> None:
    """Call it before slow imports, so that the server does its own imports at the same time."""
    if HAS_FORK_SERVER:
        with suppress(OSError):  # threads do all the work then
            _fork_server()


@atexit.register
def end_processes() -> None:
    """End the worker processes and their fork server, and wait for them; they start again if they are needed."""
    for started in (worker_pool, _fork_server):
        if started.cache_info().currsize:
            started().end()
            started.cache_clear()


class _Worker:
    """A worker process, as seen from this one: a connection and shared memory. Not thread-safe.

    Raises OSError or EOFError if the process cannot be started or has ended.
    """

    def __init__(self) -> None:
        self._memory = _create_memory()
        self._mapped: mmap.mmap | None = None
        self._process: subprocess.Popen[bytes] | None = None
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        try:
            with theirs:
                handles = theirs.fileno(), self._memory
                if HAS_FORK_SERVER:
                    _fork_server().fork(*handles)
                else:
                    self._process = _start_python(f"run_worker{handles}", pass_fds=handles)
            self.pid: int = _receive(self._connection)
        except BaseException:
            self.end()
            raise

    def do(self, work: Work) -> tuple[Image, Any]:
        """The array, and what else the work returns or an exception."""
        shape = work.shape
        size = math.prod(shape)
        if self._mapped is None or len(self._mapped) < size:
            os.ftruncate(self._memory, size)
            self._mapped = mmap.mmap(self._memory, size)
        _send(self._connection, (Path.cwd(), work))
        result = _receive(self._connection)
        return np.frombuffer(self._mapped, np.uint8, count=size).reshape(shape).copy(), result

    def end(self) -> None:
        """The process ends when its connection is closed, and then closes it too."""
        with suppress(OSError, EOFError), socket.socket(fileno=os.dup(self._connection.fileno())) as connection:
            connection.settimeout(END_SECONDS)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
        self._connection.close()
        os.close(self._memory)
        if self._process is not None:
            self._process.wait()


def _create_memory() -> int:
    """Not in /dev/shm, which is too small in many containers."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("podium")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class _ForkServer:
    """A process that imports what workers need, and forks a worker within milliseconds of each request."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair()
        with theirs:
            self._process = _start_python("run_fork_server()", stdin=theirs.fileno())

    def fork(self, *handles: int) -> None:
        """The worker gets these file handles: its connection and its memory."""
        socket.send_fds(self._requests, [b"fork"], handles)

    def end(self) -> None:
        with suppress(OSError):
            self._requests.close()
        self._process.wait()


@cache
def _fork_server() -> _ForkServer:
    return _ForkServer()


def _start_python(call: str, **options: Any) -> "subprocess.Popen[bytes]":
    """A process that calls a function of this module."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # By default glibc returns the memory of each image to the system, and the next image has to fault it in again.
    keep_memory = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)}
    python_path = os.pathsep.join(part for part in sys.path if part)
    environment = {**os.environ, **one_thread, **keep_memory, "PYTHONPATH": python_path}
    command = f"import {IMPORTS}; from podium.data import workers; workers.{call}"
    return subprocess.Popen([sys.executable, "-c", command], env=environment, **options)


# Code of the other processes. They end when this process does, even if it is killed: their sockets are closed then.


def run_fork_server() -> None:
    """Its standard input is the socket with the requests."""
    _set_up_process()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # exited workers are reaped automatically
    gc.freeze()  # so that the imported modules stay in shared memory
    requests = socket.socket(fileno=0)
    while True:
        request, handles, *_ = socket.recv_fds(requests, 4, 2)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            _work(*handles)
            os._exit(0)
        for handle in handles:
            os.close(handle)


def run_worker(connection: int, memory: int) -> None:
    _set_up_process()
    _work(connection, memory)


def _set_up_process() -> None:
    os.dup2(2, 1)  # so that libraries cannot print to a command's output
    for number in (signal.SIGINT, signal.SIGTERM):  # the main process handles them
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _work(connection_handle: int, memory: int) -> None:
    connection = Connection(connection_handle)
    mapped: mmap.mmap | None = None
    _send(connection, os.getpid())
    while True:
        try:
            folder, work = _receive(connection)
            os.chdir(folder)  # paths are relative to that of the main process, which a notebook may change
            size = math.prod(work.shape)
            if mapped is None or len(mapped) < size:
                mapped = mmap.mmap(memory, size)
            _send(connection, _result(work, np.frombuffer(mapped, np.uint8, count=size).reshape(work.shape)))
        except (EOFError, OSError):
            return


def _result(work: Work, into: Image) -> Any:
    try:
        return work(into)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # exceptions with their own arguments often cannot be unpickled
            return RuntimeError(f"{type(error).__name__}: {error}")
        return error


def _send(connection: Connection, content: Any) -> None:
    """Faster than `connection.send`, whose pickler looks for a reducer of every object."""
    connection.send_bytes(pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL))


def _receive(connection: Connection) -> Any:
    return pickle.loads(connection.recv_bytes())
