import os

import pytest

from podium.data.cache import GB, available, drop, entry_of, make_room, mark_used, size_of
from podium.locks import wait_for_lock


@pytest.fixture
def fill():
    """Makes an entry of so many bytes, last used so many seconds after 1970."""

    def make(shelf, name, size, used):
        entry = entry_of(shelf, name)
        entry.mkdir(parents=True)
        (entry / "content.bin").write_bytes(bytes(size))
        os.utime(entry, (used, used))
        return entry

    return make


def gb(size):
    return size / GB


def test_the_longest_unused_goes_first_and_only_as_much_as_is_needed(fill):
    old, older, new = (
        fill("images", "old", 400, 20),
        fill("features", "older", 400, 10),
        fill("images", "new", 400, 30),
    )
    assert make_room(entry_of("images", "mine"), 300, gb(1200))
    assert (old.exists(), older.exists(), new.exists()) == (True, False, True)


def test_what_was_used_again_stays(fill):
    first, second = fill("images", "first", 400, 10), fill("images", "second", 400, 20)
    mark_used(first)
    assert make_room(entry_of("images", "mine"), 400, gb(1000))
    assert first.exists()
    assert not second.exists()


def test_nothing_is_dropped_where_it_would_not_be_enough(fill):
    other = fill("images", "other", 400, 10)
    assert not make_room(entry_of("images", "mine"), 1001, gb(1000))
    assert other.exists()


def test_what_the_entry_holds_already_counts(fill):
    mine = fill("images", "mine", 700, 10)
    assert available(mine, gb(1000)) == 300
    assert not make_room(mine, 301, gb(1000))
    assert make_room(mine, 300, gb(1000))


def test_an_entry_that_is_being_written_stays(fill):
    busy = fill("images", "busy", 600, 10)
    with wait_for_lock(busy):
        assert not make_room(entry_of("features", "mine"), 500, gb(1000))
        assert busy.exists()
    assert make_room(entry_of("features", "mine"), 500, gb(1000))
    assert not busy.exists()


def test_a_bound_of_nothing_has_room_for_nothing(fill):
    assert available(entry_of("images", "mine"), 0) == 0


def test_what_a_kill_left_half_dropped_goes_with_the_next_look(fill):
    fill("images", ".gone-old-1-2", 400, 10)
    assert make_room(entry_of("images", "mine"), 900, gb(1000))
    assert not entry_of("images", ".gone-old-1-2").exists()


def test_dropping_what_is_gone_already_is_no_error(fill):
    drop(entry_of("images", "nothing"))
    assert size_of(entry_of("images", "nothing")) == 0
