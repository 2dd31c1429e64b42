"""The cache of decoded images: what is in it, and that nothing goes wrong where it is full, damaged or deleted."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from podium.config.reading import Intensity, Reading
from podium.data import catalogue as catalogue_module
from podium.data import image_cache, images
from podium.data.cache import size_of
from podium.data.catalogue import ImageSource, read_catalogue
from podium.data.image_cache import RECORD, VERSION, Cache, ImageReader, ImageStore, open_writer
from podium.data.image_paths import ImagePaths
from podium.data.images import Scaling, read_scaled

SMALL, LARGE = Scaling(24, "squash"), Scaling(40, "squash")


@pytest.fixture
def photographs(tmp_path):
    """Twelve JPEGs of 96×80."""
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.jpg" for number in range(12)]
    for path in paths:
        cv2.imwrite(str(path), cv2.resize(random.integers(0, 256, (8, 8, 3), dtype=np.uint8), (96, 80)))
    return paths


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that were decoded."""
    names = []
    decode = images.decode

    def recording(path, *arguments):
        names.append(Path(path).name)
        return decode(path, *arguments)

    monkeypatch.setattr(images, "decode", recording)
    return names


def make_cache(gigabytes=1.0, console=None):
    return Cache("cars", gigabytes, console)


def cached_source(paths, *scalings, gigabytes=1.0, console=None):
    source = ImageSource(paths, make_cache(gigabytes, console))
    source.cache_images(scalings or (SMALL,))
    return source


def cached_rows(source, *scalings):
    return [row for row in range(len(source)) if all(source.location(row, scalings or (SMALL,)).cached)]


def read(source, row, *scalings):
    return ImageReader()(source.location(row, scalings or (SMALL,)), scalings or (SMALL,))


def same(left, right):
    return all((one == other).all() for one, other in zip(left, right, strict=True))


def reads_right(source, paths, scaling=SMALL):
    return all(same(read(source, row, scaling), read_scaled(path, [scaling])) for row, path in enumerate(paths))


# What is cached


@pytest.mark.parametrize("scaling", [SMALL, Scaling(24, "crop"), Scaling(24, "pad"), Scaling(200, "squash")])
def test_an_image_is_the_same_from_the_cache_and_from_its_file(photographs, scaling):
    source = cached_source(photographs, scaling)
    assert cached_rows(source, scaling) == list(range(12))
    assert reads_right(source, photographs, scaling)
    assert reads_right(ImageSource(photographs), photographs, scaling)


def test_each_image_is_decoded_once_for_all_scalings_and_later_sources(photographs, decoded):
    cached_source(photographs, SMALL, LARGE)  # 96×80 at half its size is large enough for both
    assert sorted(decoded) == sorted(path.name for path in photographs)
    decoded.clear()
    fold = cached_source(photographs[3:7], LARGE)
    for row in range(4):
        read(fold, row, LARGE)
    assert decoded == []


def test_only_new_images_can_be_cached(photographs, decoded):
    cached_source(photographs[:5], SMALL)
    decoded.clear()
    source = ImageSource(photographs, make_cache())
    source.cache_images([SMALL, LARGE], only_new=True)
    assert cached_rows(source, SMALL) == list(range(12))
    assert cached_rows(source, LARGE) == list(range(5, 12))
    assert sorted(decoded) == sorted(path.name for path in photographs[5:])


def test_the_cache_can_be_off(photographs):
    source = cached_source(photographs, gigabytes=0)
    assert cached_rows(source) == []
    assert not ImageStore("cars", SMALL).entry.exists()


def test_a_changed_file_is_decoded_again_even_if_its_size_and_time_are_the_same(photographs):
    cached_source(photographs)
    before = photographs[3].stat()
    photographs[3].write_bytes(photographs[5].read_bytes().ljust(before.st_size, b"\0")[: before.st_size])
    os.utime(photographs[3], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reads_right(cached_source(photographs), photographs)


def test_images_of_a_moved_folder_are_not_decoded_again(photographs, decoded, tmp_path):
    cached_source(photographs)
    (tmp_path / "moved").mkdir()
    moved = [path.rename(tmp_path / "moved" / path.name) for path in photographs]
    decoded.clear()
    assert cached_rows(cached_source(moved)) == list(range(12))
    assert decoded == []


def test_files_with_the_same_content_are_cached_once(photographs):
    photographs[1].write_bytes(photographs[0].read_bytes())
    source = cached_source(photographs)
    assert source.location(0, [SMALL]).cached == source.location(1, [SMALL]).cached
    assert len(ImageStore("cars", SMALL).read_index()) == 11


def test_unreadable_images_are_not_cached(photographs):
    photographs[2].write_text("no image")
    assert cached_rows(cached_source(photographs)) == [row for row in range(12) if row != 2]


def test_images_from_the_cache_are_read_only(photographs):
    (image,) = read(cached_source(photographs), 0)
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 7


def test_several_writers_at_a_time_cache_each_image_once(photographs):
    with ThreadPoolExecutor(4) as pool:
        sources = list(pool.map(lambda _: cached_source(photographs, SMALL, LARGE), range(4)))
    assert [cached_rows(source, SMALL, LARGE) for source in sources] == [list(range(12))] * 4
    assert len(ImageStore("cars", SMALL).read_index()) == 12


def test_a_long_run_prints_how_many_images_it_cached(photographs, monkeypatch):
    monkeypatch.setattr(catalogue_module, "_MANY", 12)
    console = Console(file=StringIO(), width=120)
    cached_source(photographs, SMALL, LARGE, console=console)
    assert "cached 12 images at 24 and 40 px" in console.file.getvalue()


# Limits and errors


def test_images_beyond_the_size_limit_are_decoded_from_their_files(photographs):
    limit = 5 * 3 * 24 * 24 + 1000
    source = cached_source(photographs, gigabytes=limit / 1e9)
    assert len(cached_rows(source)) == 5
    assert size_of(ImageStore("cars", SMALL).entry) <= limit
    assert reads_right(source, photographs)


def test_less_recently_used_entries_are_deleted_to_make_room(photographs):
    cached_source(photographs, Scaling(60, "squash"))
    limit = 13 * 3 * 40 * 40
    assert len(cached_rows(cached_source(photographs, LARGE, gigabytes=limit / 1e9), LARGE)) == 12
    assert not ImageStore("cars", Scaling(60, "squash")).entry.exists()
    assert size_of(ImageStore("cars", LARGE).entry) <= limit


def test_a_disk_that_is_full_for_a_while_leaves_correct_images(photographs, monkeypatch):
    added, add = [], image_cache._StoreWriter.add

    def full_at_the_fifth(writer, digest, image):
        added.append(digest)
        if len(added) == 5:
            writer._pixels.write(b"half an image")
            raise OSError(28, "No space left on device")
        add(writer, digest, image)

    monkeypatch.setattr(image_cache._StoreWriter, "add", full_at_the_fifth)
    source = cached_source(photographs)
    assert len(cached_rows(source)) == 4
    assert reads_right(source, photographs)
    monkeypatch.undo()
    assert reads_right(cached_source(photographs), photographs)


def test_a_cache_folder_that_cannot_be_written_is_reported(photographs, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "file"))
    console = Console(file=StringIO(), width=300)
    assert reads_right(cached_source(photographs, console=console), photographs)
    assert "images are not cached in" in console.file.getvalue()
    assert "set PODIUM_CACHE to another folder" in console.file.getvalue()


def test_images_that_are_read_in_another_way_are_cached_apart(tmp_path):
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.linspace(0, 4095, 24 * 24).reshape(24, 24).astype(np.uint16))
    contents = set()
    for reading in (Reading(), Reading(Intensity(rule="full")), Reading(Intensity(low=0, high=4095))):
        paths = ImagePaths.of([path]).read_as(reading)
        source = cached_source(paths)
        assert same(read(source, 0), read_scaled(path, [SMALL], reading))
        assert cached_rows(source) == [0]
        contents |= {source.content(), read_catalogue(paths).digest}
    assert len(contents) == 6
    assert {entry.name for entry in ImageStore("cars", SMALL).entry.parent.iterdir() if entry.is_dir()} == {
        f"cars{name}-squash-24-v{VERSION}" for name in ("", "-full", "-0-to-4095")
    }


# Damage


def damage_index(store, field, value):
    records = np.frombuffer(store.index.read_bytes(), dtype=RECORD).copy()
    records[field][1] = value
    store.index.write_bytes(records.tobytes())


def change_pixel(store):
    with store.pixels.open("r+b") as opened:
        opened.seek(100)
        value = opened.read(1)[0]
        opened.seek(100)
        opened.write(bytes([value ^ 1]))


DAMAGES = {
    "files deleted": lambda store: [file.unlink() for file in store.entry.iterdir()],
    "pixels deleted": lambda store: store.pixels.unlink(),
    "pixels cut off": lambda store: os.truncate(store.pixels, 5000),
    "a changed pixel": change_pixel,
    "pixels of zeros": lambda store: store.pixels.write_bytes(bytes(store.pixels.stat().st_size)),
    "half a record": lambda store: os.truncate(store.index, RECORD.itemsize * 5 - 7),
    "an index of noise": lambda store: store.index.write_bytes(np.random.default_rng(0).bytes(12 * RECORD.itemsize)),
    "a negative start": lambda store: damage_index(store, "start", -(2**60)),
    "no height": lambda store: damage_index(store, "height", 0),
    "a huge width": lambda store: damage_index(store, "width", 2**31 - 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("when", ["before it is opened", "while it is open"])
def test_a_damaged_cache_never_changes_an_image(photographs, damage, when):
    source = cached_source(photographs)
    damage(ImageStore("cars", SMALL))
    if when == "before it is opened":
        source = cached_source(photographs)
    assert reads_right(source, photographs)


def test_a_reader_notices_that_the_cache_was_replaced(photographs):
    reader, old = ImageReader(), cached_source(photographs)
    reader(old.location(0, [SMALL]), [SMALL])
    for file in ImageStore("cars", SMALL).entry.iterdir():
        file.unlink()
    new = cached_source(photographs[::-1])
    for source, paths in ((new, photographs[::-1]), (old, photographs)):
        for row, path in enumerate(paths):
            assert same(reader(source.location(row, [SMALL]), [SMALL]), read_scaled(path, [SMALL]))


ADDS_IMAGES = """
import numpy as np
from podium.data.image_cache import Cache, open_writer
from podium.data.images import Scaling
with open_writer([Scaling(6, "squash")], Cache("cars", 1.0)) as writer:
    for number in range(100_000):
        image = np.full((4, 6, 3), number % 251, np.uint8)
        writer.add(number.to_bytes(15, "big") + b".", [(Scaling(6, "squash"), image)])
        if number == 1_000:
            print("running", flush=True)
"""


def test_a_killed_writer_leaves_complete_images(photographs):
    scaling = Scaling(6, "squash")
    with subprocess.Popen([sys.executable, "-c", ADDS_IMAGES], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGKILL)
    store = ImageStore("cars", scaling)
    there = [digest for digest in store.read_index()["digest"].tolist() if digest]
    assert len(there) >= 900
    with open_writer([scaling], make_cache()) as writer:  # the next writer continues after them
        writer.add(b"new", [(scaling, np.full((5, 6, 3), 7, np.uint8))])
    found, reader = store.find(np.array([*there, b"new"])), ImageReader()
    values = [int(reader._read(found[row], 3)[0, 0, 0]) for row in range(len(there) + 1)]
    assert values == [int.from_bytes(digest[:15], "big") % 251 for digest in there] + [7]
