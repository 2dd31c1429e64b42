import os
import pickle
import select
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from podium.data import workers as workers_module
from podium.data.augmentation import Augmentation
from podium.data.batches import Preparation, TrainingBatches
from podium.data.image_source import Cache, Supply
from podium.data.preprocessing import PlainLook, TrainingLook
from podium.data.workers import Workers
from podium.errors import ConfigError, DataError

AUGMENTATION = ["HorizontalFlip", {"Rotate": {"limit": 10, "p": 0.5}}, {"GaussNoise": {"p": 0.5}}]


@pytest.fixture
def paths(tmp_path):
    random = np.random.default_rng(0)
    names = [tmp_path / f"{number}.png" for number in range(10)]
    for name in names:
        cv2.imwrite(str(name), random.integers(0, 256, (30, 30, 3), dtype=np.uint8))
    return names


@pytest.fixture(params=[True, False], ids=["forked", "at pipes"])
def two_workers(monkeypatch, request):
    """Processes that are ready; those of this process, until the test ends."""
    monkeypatch.setenv("PODIUM_WORKERS", "2")
    monkeypatch.setattr(workers_module, "CAN_FORK", request.param)
    workers = Workers()
    monkeypatch.setattr(workers_module, "_ours", [workers])
    workers.start()
    workers.wait_until_ready()
    assert workers.count == 2
    yield workers
    workers.end()


def an_epoch(paths, cache=None):
    batches = TrainingBatches(
        Supply(paths, cache),
        np.eye(2, dtype=np.float32)[np.arange(len(paths)) % 2],
        image_size=24,
        resize="squash",
        batch_size=4,
        augmentation=Augmentation(AUGMENTATION, 24),
        seed=(1, 0, 0),
    )
    return np.concatenate([batches[number][0] for number in range(len(batches))])


@pytest.mark.parametrize("cached", [False, True])
def test_processes_prepare_what_threads_prepare(paths, two_workers, monkeypatch, cached):
    cache = Cache("cars", 1.0) if cached else None
    by_processes = an_epoch(paths, cache)
    monkeypatch.setattr(workers_module, "_ours", [Workers()])
    assert (an_epoch(paths, cache) == by_processes).all()


def test_a_worker_that_was_ended_is_done_without(paths, two_workers):
    expected = an_epoch(paths)
    for pid in two_workers.pids:
        handle = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        select.select([handle], [], [])  # until it has ended
        os.close(handle)
    assert (an_epoch(paths) == expected).all()
    assert two_workers.count == 0


def test_a_problem_in_a_worker_comes_out_as_itself(paths, two_workers):
    paths[3].write_text("no image")
    with pytest.raises(DataError, match=r"3\.png is not an image"):
        Preparation(Supply(paths), [PlainLook(24, "squash")])(range(10))
    turned = TrainingLook(24, "squash", Augmentation([{"RandomCrop": {"height": 9, "width": 9}}], 24), (1,))
    with pytest.raises(ConfigError, match="sets a size"):
        Preparation(Supply(paths[:2]), [turned])(range(2))
    assert two_workers.count == 2


def test_larger_blocks_after_smaller_ones_find_room(paths, two_workers):
    for size in (8, 64, 16):
        look = PlainLook(size, "squash")
        assert Preparation(Supply(paths), [look])(range(10)).shape == (10, size, size, 3)


@pytest.mark.parametrize(("enough", "count"), [(0.0, 2), (60.0, 0)])
def test_processes_start_only_where_images_take_long(paths, monkeypatch, enough, count):
    monkeypatch.setenv("PODIUM_WORKERS", "2")
    monkeypatch.setattr(workers_module, "ENOUGH", enough)
    monkeypatch.setattr(workers_module, "BUSY", 0.0)
    workers = Workers()
    monkeypatch.setattr(workers_module, "_ours", [workers])
    an_epoch(paths)
    workers.wait_until_ready()
    assert workers.count == count
    workers.end()


def test_an_augmentation_travels_to_another_process():
    augmentation = Augmentation(AUGMENTATION, 24)
    again = pickle.loads(pickle.dumps(augmentation))
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    assert (again(image, 7) == augmentation(image, 7)).all()


STARTS_WORKERS = """
from podium.data.workers import workers
workers().start()
workers().wait_until_ready()
print(*workers().pids, flush=True)
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
        # The workers' stderr is this pipe as well: it ends when the last of them does.
        assert process.stdout.read() == ""


IMPORTS_OF_A_WORKER = """
import sys, podium.data.preprocessing, podium.data.image_source, podium.data.worker
print([name for name in ("tensorflow", "keras", "sklearn", "matplotlib") if name in sys.modules])
"""


def test_without_a_template_threads_do_it(paths, monkeypatch):
    class Gone:
        def fork(self):
            raise BrokenPipeError

    monkeypatch.setattr(workers_module, "template", Gone)
    workers = Workers()
    monkeypatch.setattr(workers_module, "_ours", [workers])
    workers.start()
    workers.wait_until_ready()
    assert workers.count == 0
    assert an_epoch(paths).shape == (10, 24, 24, 3)


def test_a_worker_imports_no_tensorflow():
    done = subprocess.run([sys.executable, "-c", IMPORTS_OF_A_WORKER], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
