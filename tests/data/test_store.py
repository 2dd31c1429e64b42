import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from podium.data import store as store_module
from podium.data.cache import entry_of
from podium.data.store import RECORD, Reader, Store


def image(number, height=4, width=6):
    return np.full((height, width, 3), number, np.uint8)


def digest(number):
    return number.to_bytes(16, "big")


def digests(*numbers):
    return np.array([digest(number) for number in numbers], dtype="S16")


@pytest.fixture
def store():
    return Store(entry_of("images", "squash-6"))


def add(store, *numbers, **shape):
    with store.writing():
        writer = store.writer()
        for number in numbers:
            writer.add(digest(number), image(number % 256, **shape))
        writer.close()


def read(store, *numbers):
    """The first value of each image, or None where there is none."""
    places, reader = store.places(digests(*numbers)), Reader()
    kept = [places.of(row) for row in range(len(numbers))]
    return [None if one is None else int(reader(one)[0, 0, 0]) for one in kept]


def test_images_come_back_by_their_digest(store):
    add(store, 3, 1, 2)
    assert read(store, 1, 2, 3, 4) == [1, 2, 3, None]


def test_digests_that_end_in_a_zero_are_told_apart(store):
    add(store, 256, 1)  # NumPy leaves out the zeros at the end of bytes
    assert read(store, 256, 1, 0) == [256 % 256, 1, None]


def test_a_image_keeps_its_shape(store):
    add(store, 1)
    add(store, 2, height=9, width=3)
    places = store.places(digests(1, 2))
    assert [Reader()(places.of(row)).shape for row in (0, 1)] == [(4, 6, 3), (9, 3, 3)]


def test_an_empty_store_has_nothing(store):
    assert read(store, 1) == [None]
    assert store.places(digests()).missing.tolist() == []
    assert store.contents().tolist() == []


def test_more_is_added_behind_what_is_there(store):
    add(store, 1)
    add(store, 2)
    assert read(store, 1, 2) == [1, 2]


def test_the_pixels_cannot_be_written_to(store):
    add(store, 1)
    kept = store.places(digests(1)).of(0)
    with pytest.raises(ValueError, match="read-only"):
        Reader()(kept)[0] = 7


def test_half_a_record_of_a_killed_writer_is_overwritten(store):
    add(store, 1, 2)
    index = store.entry / "index.bin"
    index.write_bytes(index.read_bytes()[:-7])
    assert read(store, 1, 2) == [1, None]
    add(store, 3)
    assert read(store, 1, 2, 3) == [1, None, 3]
    assert index.stat().st_size == 2 * RECORD.itemsize


def test_pixels_without_a_record_are_overwritten(store):
    add(store, 1)
    with (store.entry / "images.bin").open("ab") as opened:
        opened.write(bytes(1000))
    add(store, 2)
    assert read(store, 1, 2) == [1, 2]


def test_records_whose_pixels_are_gone_do_not_count(store):
    add(store, 1, 2, 3)
    pixels = store.entry / "images.bin"
    os.truncate(pixels, 2 * image(1).nbytes - 1)
    assert read(store, 1, 2, 3) == [1, None, None]


@pytest.mark.parametrize(("field", "value"), [("start", -(2**60)), ("height", 0), ("height", 2), ("width", -5)])
def test_records_that_cannot_be_do_not_count(store, field, value):
    add(store, 1, 2, 3)
    index = store.entry / "index.bin"
    records = np.frombuffer(index.read_bytes(), dtype=RECORD).copy()
    records[field][1] = value
    index.write_bytes(records.tobytes())
    assert read(store, 1, 3) == [1, None]
    add(store, 4)
    assert read(store, 1, 4) == [1, 4]


def test_an_index_of_garbage_is_an_empty_store(store):
    add(store, 1)
    (store.entry / "index.bin").write_bytes(np.random.default_rng(0).bytes(10 * RECORD.itemsize))
    assert read(store, 1) == [None]
    add(store, 1)
    assert read(store, 1) == [1]


def test_damaged_pixels_are_not_given_out(store):
    add(store, 1, 2)
    with (store.entry / "images.bin").open("r+b") as opened:
        opened.write(b"\x07")
    places = store.places(digests(1, 2))
    assert Reader()(places.of(0)) is None
    assert Reader()(places.of(1)) is not None


def test_after_a_power_cut_only_what_was_synced_counts(store, monkeypatch):
    add(store, 1)
    store.sync()
    add(store, 2)
    assert read(store, 1, 2) == [1, 2]
    monkeypatch.setattr(store_module, "_boot", lambda: "another start")
    assert read(store, 1, 2) == [1, None]
    add(store, 3)
    assert read(store, 1, 2, 3) == [1, None, 3]


def test_a_reader_finds_nothing_in_a_store_that_was_made_anew(store):
    add(store, 1)
    old = store.places(digests(1)).of(0)
    (store.entry / "images.bin").rename(store.entry / "dropped.bin")
    (store.entry / "index.bin").unlink()
    add(store, 2)
    assert Reader()(old) is None
    assert read(store, 2) == [2]


def test_a_reader_goes_on_with_what_it_has_mapped_when_the_store_is_dropped(store):
    add(store, 1)
    reader, kept = Reader(), store.places(digests(1)).of(0)
    reader(kept)
    (store.entry / "images.bin").unlink()
    assert int(reader(kept)[0, 0, 0]) == 1


KEEPS_ADDING = """
import sys
import numpy as np
from podium.data.cache import entry_of
from podium.data.store import Store
store = Store(entry_of("images", "squash-6"))
with store.writing():
    writer = store.writer()
    for number in range(100_000):
        writer.add(number.to_bytes(16, "big"), np.full((4, 6, 3), number % 251, np.uint8))
        if number == 1_000:
            print("going", flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_images(store):
    with subprocess.Popen([sys.executable, "-c", KEEPS_ADDING], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "going\n"
        writer.send_signal(signal.SIGKILL)
    there = [int.from_bytes(content.ljust(16, b"\0"), "big") for content in store.contents().tolist()]
    assert len(there) >= 900
    assert read(store, *there) == [number % 251 for number in there]
    add(store, 200_000, height=5)  # and the next one goes on behind them
    assert read(store, 200_000, there[-1]) == [200_000 % 256, there[-1] % 251]
