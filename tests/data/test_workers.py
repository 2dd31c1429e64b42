"""Worker processes: that they give the images that threads give, and that nothing depends on them."""

import os
import pickle
import select
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from podium.data import batches as batches_module
from podium.data import workers as workers_module
from podium.data.augmentation import Augmentation, PlainView, TrainingView
from podium.data.batches import TrainingBatches, ViewLoader
from podium.data.catalogue import ImageSource
from podium.data.image_cache import Cache
from podium.data.workers import WorkerPool
from podium.errors import ConfigError, DataError

AUGMENTATION = ["HorizontalFlip", {"Rotate": {"limit": 10, "p": 0.5}}, {"GaussNoise": {"p": 0.5}}]


@pytest.fixture
def paths(tmp_path):
    random = np.random.default_rng(0)
    names = [tmp_path / f"{number}.png" for number in range(10)]
    for name in names:
        cv2.imwrite(str(name), random.integers(0, 256, (30, 30, 3), dtype=np.uint8))
    return names


@pytest.fixture
def use_pool(monkeypatch):
    """Makes batches use this pool, with two workers."""
    monkeypatch.setenv("PODIUM_WORKERS", "2")

    def use(pool):
        monkeypatch.setattr(batches_module, "worker_pool", lambda: pool)
        return pool

    return use


@pytest.fixture
def two_workers(monkeypatch, request, use_pool):
    monkeypatch.setattr(workers_module, "HAS_FORK_SERVER", getattr(request, "param", True))
    pool = use_pool(WorkerPool())
    pool.start()
    pool.wait_until_ready()
    assert pool.count == 2
    yield pool
    pool.end()


def an_epoch(paths, cache=None):
    batches = TrainingBatches(
        ImageSource(paths, cache),
        np.eye(2, dtype=np.float32)[np.arange(len(paths)) % 2],
        image_size=24,
        resize="squash",
        batch_size=4,
        augmentation=Augmentation(AUGMENTATION, 24),
        seed=(1, 0, 0),
    )
    return np.concatenate([batches[number][0] for number in range(len(batches))])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("two_workers", "cached"),
    [(True, False), (True, True), (False, True)],
    indirect=["two_workers"],
    ids=["forked", "forked, cached", "started alone, cached"],
)
def test_processes_prepare_what_threads_prepare(paths, two_workers, use_pool, cached):
    cache = Cache("cars", 1.0) if cached else None
    by_processes = an_epoch(paths, cache)
    use_pool(WorkerPool())
    assert (an_epoch(paths, cache) == by_processes).all()


def test_work_continues_without_workers_that_were_killed(paths, two_workers):
    expected = an_epoch(paths)
    for pid in two_workers.pids:
        handle = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        select.select([handle], [], [])  # until it has ended
        os.close(handle)
    assert (an_epoch(paths) == expected).all()
    assert two_workers.count == 0


def test_an_exception_in_a_worker_is_raised_in_this_process(paths, two_workers):
    paths[3].write_text("no image")
    with pytest.raises(DataError, match=r"3\.png is not a readable image"):
        ViewLoader(ImageSource(paths), [PlainView(24, "squash")])(range(10))
    cropped = TrainingView(24, "squash", Augmentation([{"RandomCrop": {"height": 9, "width": 9}}], 24), (1,))
    with pytest.raises(ConfigError, match="with a size"):
        ViewLoader(ImageSource(paths[:2]), [cropped])(range(2))
    assert two_workers.count == 2


def test_paths_are_relative_to_the_current_folder(paths, two_workers, monkeypatch):
    monkeypatch.chdir(paths[0].parent.parent)
    expected = an_epoch([path.relative_to(Path.cwd()) for path in paths])
    monkeypatch.chdir(paths[0].parent)
    assert two_workers.count
    assert (an_epoch([Path(path.name) for path in paths]) == expected).all()


def test_the_shared_memory_grows_with_the_blocks(paths, two_workers):
    for size in (8, 64, 16):
        view = PlainView(size, "squash")
        assert ViewLoader(ImageSource(paths), [view])(range(10)).shape == (10, size, size, 3)


@pytest.mark.parametrize(("minimum_seconds", "count"), [(0.0, 2), (60.0, 0)])
def test_processes_start_only_if_images_take_long(paths, monkeypatch, use_pool, minimum_seconds, count):
    monkeypatch.setattr(workers_module, "MIN_BUSY_SECONDS", minimum_seconds)
    monkeypatch.setattr(workers_module, "BUSY_SHARE", 0.0)
    pool = use_pool(WorkerPool())
    an_epoch(paths)
    pool.wait_until_ready()
    assert pool.count == count
    pool.end()


def test_threads_do_all_the_work_without_a_fork_server(paths, monkeypatch, use_pool):
    def fails():
        raise BrokenPipeError

    monkeypatch.setattr(workers_module, "_fork_server", fails)
    pool = use_pool(WorkerPool())
    pool.start()
    pool.wait_until_ready()
    assert pool.count == 0
    assert an_epoch(paths).shape == (10, 24, 24, 3)


def test_an_augmentation_can_be_pickled():
    augmentation = Augmentation(AUGMENTATION, 24)
    copied = pickle.loads(pickle.dumps(augmentation))
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    assert (copied(image, 7) == augmentation(image, 7)).all()


STARTS_WORKERS = """
from podium.data.workers import worker_pool
worker_pool().start()
worker_pool().wait_until_ready()
print(*worker_pool().pids, flush=True)
input()
"""


def test_workers_end_with_a_process_that_is_killed():
    command = [sys.executable, "-c", STARTS_WORKERS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert len(process.stdout.readline().split()) >= 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout.read() == ""  # the pipe is their stderr too, so it ends when the last worker does


IMPORTS_OF_A_WORKER = """
import sys
from podium.data.workers import IMPORTS
__import__(IMPORTS)
print([name for name in ("tensorflow", "keras", "sklearn", "matplotlib") if name in sys.modules])
"""


def test_a_worker_does_not_import_tensorflow():
    done = subprocess.run([sys.executable, "-c", IMPORTS_OF_A_WORKER], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
