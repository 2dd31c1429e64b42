import os

import pytest

from podium.data.cache import GB, available, delete, entry_of, make_room, mark_used, size_of
from podium.locks import wait_for_lock


@pytest.fixture
def fill():
    """Creates an entry of this size, last used at this time."""

    def make(kind, name, size, used):
        entry = entry_of(kind, name)
        entry.mkdir(parents=True)
        (entry / "content.bin").write_bytes(bytes(size))
        os.utime(entry, (used, used))
        return entry

    return make


def gb(size):
    return size / GB


def test_the_least_recently_used_entries_are_deleted_and_no_more_than_needed(fill):
    old, older, new = (
        fill("images", "old", 400, 20),
        fill("features", "older", 400, 10),
        fill("images", "new", 400, 30),
    )
    assert make_room(entry_of("images", "mine"), 300, gb(1200))
    assert (old.exists(), older.exists(), new.exists()) == (True, False, True)


def test_an_entry_that_was_used_again_is_kept(fill):
    first, second = fill("images", "first", 400, 10), fill("images", "second", 400, 20)
    mark_used(first)
    assert make_room(entry_of("images", "mine"), 400, gb(1000))
    assert first.exists()
    assert not second.exists()


def test_nothing_is_deleted_if_that_would_not_be_enough(fill):
    other = fill("images", "other", 400, 10)
    assert not make_room(entry_of("images", "mine"), 1001, gb(1000))
    assert other.exists()


def test_the_size_of_the_entry_itself_counts(fill):
    mine = fill("images", "mine", 700, 10)
    assert available(mine, gb(1000)) == 300
    assert not make_room(mine, 301, gb(1000))
    assert make_room(mine, 300, gb(1000))


def test_an_entry_that_is_being_written_is_kept(fill):
    busy = fill("images", "busy", 600, 10)
    with wait_for_lock(busy):
        assert not make_room(entry_of("features", "mine"), 500, gb(1000))
        assert busy.exists()
    assert make_room(entry_of("features", "mine"), 500, gb(1000))
    assert not busy.exists()


def test_a_limit_of_zero_has_no_room(fill):
    assert available(entry_of("images", "mine"), 0) == 0


def test_an_entry_that_a_killed_process_left_half_deleted_is_removed(fill):
    fill("images", ".deleted-old-1-2", 400, 10)
    assert make_room(entry_of("images", "mine"), 900, gb(1000))
    assert not entry_of("images", ".deleted-old-1-2").exists()


def test_deleting_an_entry_that_does_not_exist_is_no_error(fill):
    delete(entry_of("images", "nothing"))
    assert size_of(entry_of("images", "nothing")) == 0
