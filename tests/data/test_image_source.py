import os
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from podium.data import image_source as supply_module
from podium.data import images as images_module
from podium.data.cache import size_of
from podium.data.image_source import Cache, Loader, Supply, read_and_keep, store_of
from podium.data.images import Frame, read_framed

SMALL, LARGE = Frame(24, "squash"), Frame(40, "squash")


@pytest.fixture
def photographs(tmp_path):
    """Twelve JPEGs of 96 × 80."""
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.jpg" for number in range(12)]
    for path in paths:
        cv2.imwrite(str(path), cv2.resize(random.integers(0, 256, (8, 8, 3), dtype=np.uint8), (96, 80)))
    return paths


@pytest.fixture
def decodings(monkeypatch):
    """The names of the files that were decoded, by whatever way."""
    names = []
    real = images_module.decoded

    def noted(path, content, reduction=1):
        names.append(Path(path).name)
        return real(path, content, reduction)

    monkeypatch.setattr(images_module, "decoded", noted)
    return names


def cache(gigabytes=1.0, name="cars", console=None):
    return Cache(name, gigabytes, console)


def kept(supply, frames=(SMALL,)):
    return [row for row in range(len(supply)) if all(supply.source(row, frames).kept)]


def seen(supply, row, *frames):
    return list(Loader()(supply.source(row, frames), frames))


def same(left, right):
    return all((one == other).all() for one, other in zip(left, right, strict=True))


@pytest.mark.parametrize("frame", [SMALL, Frame(24, "crop"), Frame(24, "pad"), Frame(200, "squash")])
def test_a_image_is_the_same_from_the_cache_and_from_its_file(photographs, frame):
    with_cache, without = Supply(photographs, cache()), Supply(photographs)
    with_cache.keep([frame])
    assert kept(with_cache, [frame]) == list(range(12))
    for row in range(12):
        expected = read_framed(photographs[row], [frame])
        assert same(seen(with_cache, row, frame), expected)
        assert same(seen(without, row, frame), expected)


def test_each_image_is_decoded_once_for_all_its_frames_and_for_whoever_comes_after(photographs, decodings):
    Supply(photographs, cache()).keep([SMALL, LARGE])
    # 96 × 80 halved is large enough for both.
    assert sorted(decodings) == sorted(path.name for path in photographs)
    decodings.clear()
    other_fold = Supply(photographs[3:7], cache())
    other_fold.keep([LARGE])
    for row in range(4):
        seen(other_fold, row, LARGE)
    assert decodings == []


def test_looking_at_new_files_keeps_them_on_the_way(photographs, decodings):
    read_and_keep(photographs, [SMALL], cache())
    supply = Supply(photographs, cache())
    supply.keep([SMALL])
    assert kept(supply) == list(range(12))
    assert sorted(decodings) == sorted(path.name for path in photographs)


def test_the_cache_can_be_off(photographs):
    supply = Supply(photographs, cache(gigabytes=0))
    supply.keep([SMALL])
    assert kept(supply) == []
    assert not store_of("cars", SMALL).exists()


def test_the_bound_holds_and_the_rest_is_decoded_as_ever(photographs):
    bytes_each = 3 * 24 * 24
    supply = Supply(photographs, cache(gigabytes=(5 * bytes_each + 1000) / 1e9))
    supply.keep([SMALL])
    assert len(kept(supply)) == 5
    assert size_of(store_of("cars", SMALL)) <= 5 * bytes_each + 1000
    for row in range(12):
        assert same(seen(supply, row, SMALL), read_framed(photographs[row], [SMALL]))


def test_a_changed_image_is_noticed_even_of_the_same_size_and_time(photographs):
    Supply(photographs, cache()).keep([SMALL])
    before = photographs[3].stat()
    content = photographs[5].read_bytes().ljust(before.st_size, b"\0")[: before.st_size]
    photographs[3].write_bytes(content)
    os.utime(photographs[3], ns=(before.st_atime_ns, before.st_mtime_ns))
    after = Supply(photographs, cache())
    after.keep([SMALL])
    expected = read_framed(photographs[3], [SMALL])
    assert same(seen(after, 3, SMALL), expected)
    assert not same(seen(after, 4, SMALL), expected)


def test_a_moved_folder_is_read_but_not_decoded_again(photographs, decodings, tmp_path):
    Supply(photographs, cache()).keep([SMALL])
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    there = [path.rename(moved / path.name) for path in photographs]
    decodings.clear()
    supply = Supply(there, cache())
    supply.keep([SMALL])
    assert kept(supply) == list(range(12))
    assert decodings == []


def test_two_files_of_one_content_share_their_place(photographs):
    photographs[1].write_bytes(photographs[0].read_bytes())
    supply = Supply(photographs, cache())
    supply.keep([SMALL])
    assert supply.source(0, [SMALL]).kept == supply.source(1, [SMALL]).kept
    assert size_of(store_of("cars", SMALL)) < 12 * 3 * 24 * 24


def test_a_image_that_cannot_be_read_is_passed_over(photographs):
    photographs[2].write_text("no image")
    supply = Supply(photographs, cache())
    supply.keep([SMALL])
    assert kept(supply) == [row for row in range(12) if row != 2]


def test_several_writers_at_once_keep_each_image_once(photographs):
    def keep(_):
        supply = Supply(photographs, cache())
        supply.keep([SMALL, LARGE])
        return kept(supply, [SMALL, LARGE])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(keep, range(4))) == [list(range(12))] * 4
    assert len(supply_module.Store(store_of("cars", SMALL)).contents()) == 12


def test_a_store_that_was_dropped_meanwhile_is_done_without(photographs):
    supply = Supply(photographs, cache())
    supply.keep([SMALL])
    for file in store_of("cars", SMALL).iterdir():
        file.unlink()
    assert same(seen(supply, 0, SMALL), read_framed(photographs[0], [SMALL]))


def test_a_disk_that_is_full_for_a_while_is_done_without(photographs, monkeypatch):
    added, add = [], supply_module.Writer.add

    def full_at_the_fifth(writer, content, image):
        added.append(content)
        if len(added) == 5:
            writer._pixels.write(b"half an image")
            raise OSError(28, "No space left on device")
        add(writer, content, image)

    monkeypatch.setattr(supply_module.Writer, "add", full_at_the_fifth)
    supply = Supply(photographs, cache())
    supply.keep([SMALL])
    assert len(kept(supply)) == 4
    for row in range(12):
        assert same(seen(supply, row, SMALL), read_framed(photographs[row], [SMALL]))


def test_a_cache_that_cannot_be_written_is_done_without(photographs, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "file"))
    console = Console(file=StringIO(), width=300)
    supply = Supply(photographs, cache(console=console))
    supply.keep([SMALL])
    assert same(seen(supply, 0, SMALL), read_framed(photographs[0], [SMALL]))
    assert "images are not kept in" in console.file.getvalue()
    assert "PODIUM_CACHE names another folder" in console.file.getvalue()


def test_others_are_dropped_for_less_than_a_look_s_worth(photographs):
    large, small = Cache("cars", 1.0), Cache("cars", 13 * 3 * 40 * 40 / 1e9)
    Supply(photographs, large).keep([Frame(60, "squash")])
    Supply(photographs, small).keep([LARGE])
    assert not store_of("cars", Frame(60, "squash")).exists()
    assert size_of(store_of("cars", LARGE)) <= 13 * 3 * 40 * 40


def test_a_long_making_is_told(photographs, monkeypatch):
    monkeypatch.setattr(supply_module, "TOLD_FROM", 12)
    console = Console(file=StringIO(), width=120)
    Supply(photographs, cache(console=console)).keep([SMALL, LARGE])
    assert "kept 12 images decoded to 24 and 40 px" in console.file.getvalue()
