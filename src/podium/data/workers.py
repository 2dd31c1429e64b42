"""Processes that prepare images beside this one, past its interpreter lock.

They are started in the background once threads of this process can hardly keep up with the model, and kept for all its
trainings and predictions. Until they are ready, and where they are not needed, those threads do the same work. Which of
them prepares what changes nothing in the images.
"""

import atexit
import math
import mmap
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from podium.data.boxes import Boxes
from podium.data.fork_server import CAN_FORK, environment, template
from podium.data.image_source import Loader
from podium.data.images import Image
from podium.data.preprocessing import Block, Look, prepare, shape_of
from podium.data.worker import Stream, receive, send
from podium.paths import worker_count

ENOUGH = 0.2
"""Seconds of a core that threads have spent on images lately, before it is judged whether processes are needed."""
BUSY = 0.5
"""Of a core: where images take more than this all the time, the model is waiting for them."""
LATELY = 5.0
"""Seconds."""
_COMMAND = "from podium.data.worker import serve_at_pipes; serve_at_pipes()"


class Worker:
    """One process. Only one thread at a time may ask it."""

    def __init__(self, questions: Stream, answers: Stream, child: subprocess.Popen[bytes] | None = None) -> None:
        """OSError or EOFError where it does not begin to work."""
        self._questions, self._answers, self._child = questions, answers, child
        self.pid: int = receive(answers)

    def ask(self, question: Any) -> Any:
        """EOFError or OSError where the process is gone."""
        send(self._questions, question)
        return receive(self._answers)

    def end(self) -> None:
        """It finds nothing more to read, and ends."""
        for stream in (self._questions, self._answers):
            with suppress(OSError):
                stream.close()
        if self._child is not None:
            self._child.wait()


def new_worker() -> Worker:
    if CAN_FORK:
        with template().fork() as connection:  # which stays open for as long as the stream does
            stream = connection.makefile("rwb")
        return Worker(stream, stream)
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return Worker(process.stdin, process.stdout, process)


class Workers:
    """Those of this process."""

    def __init__(self) -> None:
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.pids: list[int] = []
        self._starting: list[threading.Thread] = []
        self._started = self._ready = 0
        self._busy, self._since = 0.0, time.perf_counter()
        self._memory = SharedMemory()
        self._of_thread = threading.local()

    def start(self) -> None:
        """In the background; once."""
        with self._lock:
            missing = worker_count() - self._started
            self._started += max(0, missing)
        for _ in range(missing):
            thread = threading.Thread(target=self._start_one, daemon=True)
            self._starting.append(thread)
            thread.start()

    @property
    def count(self) -> int:
        """How many processes are ready to work."""
        return self._ready

    def wait_until_ready(self) -> None:
        """For measurements and tests: work goes on without."""
        while self._starting:
            self._starting.pop().join()

    def end(self) -> None:
        """Let the processes go; nothing may be asked of them any more."""
        self._ready = 0
        while not self._free.empty():
            self._free.get().end()

    def prepare(self, block: Block, looks: Sequence[Look], packed_looks: bytes) -> tuple[Image, list[Boxes]]:
        """By a process if there is one, else here. The boxes are those of a block that has some."""
        shape = shape_of(block, looks)
        while self._ready:
            with suppress(queue.Empty):  # another thread may have found that there is none left
                return self._prepared_by(self._free.get(timeout=1.0), block, packed_looks, shape)
        pixels, began = np.empty(shape, np.uint8), time.thread_time()
        boxes = prepare(block, looks, self._loader(), pixels)
        self._note(time.thread_time() - began)
        return pixels, boxes

    def _note(self, seconds: float) -> None:
        """Start processes where threads of this one can hardly keep up. A model that computes on the same cores needs
        images slowly; then processes would only take their memory."""
        with self._lock:
            self._busy += seconds
            wall = time.perf_counter() - self._since
            is_needed = self._busy > max(ENOUGH, BUSY * wall)
            if wall > LATELY:
                self._busy, self._since = 0.0, time.perf_counter()
        if is_needed:
            self.start()

    def _prepared_by(
        self, worker: Worker, block: Block, packed_looks: bytes, shape: tuple[int, ...]
    ) -> tuple[Image, list[Boxes]]:
        with self._memory.lent(math.prod(shape)) as memory:
            try:
                answer = worker.ask((block, packed_looks, memory.place, memory.size, shape))
            except (OSError, EOFError, pickle.UnpicklingError):
                self._lose(worker)
                raise queue.Empty from None
            self._free.put(worker)
            if isinstance(answer, Exception):
                raise answer
            return memory.pixels(shape).copy(), answer

    def _start_one(self) -> None:
        try:
            worker = new_worker()
        except (OSError, EOFError):  # threads do it all
            return
        with self._lock:
            self._ready += 1
            self.pids.append(worker.pid)
        self._free.put(worker)

    def _lose(self, worker: Worker) -> None:
        """It was ended, perhaps by the system for want of memory: the others go on, or threads alone."""
        worker.end()
        with self._lock:
            self._ready -= 1

    def _loader(self) -> Loader:
        if not hasattr(self._of_thread, "loader"):
            self._of_thread.loader = Loader()
        loader: Loader = self._of_thread.loader
        return loader


@dataclass
class Memory:
    """A piece of memory that another process finds under `place`."""

    handle: int
    place: str
    size: int = 0
    mapped: mmap.mmap | None = None

    def grow(self, size: int) -> None:
        if size > self.size:
            os.ftruncate(self.handle, size)
            self.mapped, self.size = mmap.mmap(self.handle, size), size

    def pixels(self, shape: tuple[int, ...]) -> Image:
        assert self.mapped is not None
        return np.frombuffer(self.mapped, np.uint8, count=math.prod(shape)).reshape(shape)


class SharedMemory:
    """Pieces of memory, as many as are lent at a time. Not in /dev/shm, which is too small in many containers."""

    def __init__(self) -> None:
        self._idle: list[Memory] = []
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, size: int) -> Iterator[Memory]:
        with self._lock:
            memory = self._idle.pop() if self._idle else _new_memory()
        memory.grow(size)
        try:
            yield memory
        finally:
            with self._lock:
                self._idle.append(memory)


def _new_memory() -> Memory:
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("podium")
        return Memory(handle, f"/proc/{os.getpid()}/fd/{handle}")
    handle, name = tempfile.mkstemp(prefix="podium-")
    atexit.register(Path(name).unlink, missing_ok=True)
    return Memory(handle, name)


_ours: list[Workers] = []


def workers() -> Workers:
    """Those of this process, made when they are first asked for."""
    if not _ours:
        _ours.append(Workers())
        atexit.register(_ours[0].end)
    return _ours[0]
