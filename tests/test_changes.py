import pytest

from podium.changes import (
    Change,
    changes_file,
    delete_request,
    format_value,
    merge_changes,
    parse_request,
    pending_requests,
    read_changes,
    request_learning_rate,
    requests_folder,
    write_changes,
)
from podium.errors import ConfigError, RunError

SET = Change(0, 2, 7, "learning_rate", 0.1 + 0.2, 1e-5, "set", "2026-01-01T12:00:00", "123")
RESUMED = Change(1, 0, 0, "schedule", {"kind": "constant"}, {"kind": "cosine", "final": 0.1}, "resume", "later")
ADDED = Change(2, 0, 0, "stage", None, "fine, slow", "resume", "later")


def test_changes_are_read_as_written(tmp_path):
    write_changes(tmp_path, [SET, RESUMED, ADDED])
    assert read_changes(tmp_path) == [SET, RESUMED, ADDED]


def test_changes_file_is_a_readable_table(tmp_path):
    write_changes(tmp_path, [SET])
    assert changes_file(tmp_path).read_text() == (
        "stage,epoch,step,key,before,after,by,at,request\n"
        "0,2,7,learning_rate,0.30000000000000004,1e-05,set,2026-01-01T12:00:00,123\n"
    )


def test_without_changes_there_is_no_file(tmp_path):
    assert read_changes(tmp_path) == []
    write_changes(tmp_path, [SET])
    write_changes(tmp_path, [])
    assert not changes_file(tmp_path).exists()


@pytest.mark.parametrize("content", [b"stage,epoch\n1,\n", b"\xff\xfe\x00", b"stage,epoch,step\na,b,c\n"])
def test_damaged_file_is_an_error_with_the_fix(tmp_path, content):
    changes_file(tmp_path).write_bytes(content)
    with pytest.raises(RunError, match=r"changes\.csv cannot be read .* fix it, or remove it"):
        read_changes(tmp_path)


@pytest.mark.parametrize("bit", [0x01, 0x04, 0x10, 0x80])
def test_flipped_byte_is_an_error_or_gives_other_changes(tmp_path, bit):
    """Never another exception; what was read can be merged, formatted and written."""
    write_changes(tmp_path, [SET, RESUMED, ADDED])
    whole = changes_file(tmp_path).read_bytes()
    for place in range(0, len(whole), 3):
        changes_file(tmp_path).write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            found = merge_changes([SET], read_changes(tmp_path))
        except RunError:
            continue
        assert all(str(change) for change in found)
        write_changes(tmp_path, found)


def test_truncated_file_is_an_error_or_has_the_earlier_changes(tmp_path):
    write_changes(tmp_path, [SET, RESUMED])
    whole = changes_file(tmp_path).read_bytes()
    for size in range(0, len(whole), 10):
        changes_file(tmp_path).write_bytes(whole[:size])
        try:
            found = read_changes(tmp_path)
        except RunError:
            continue
        assert [change.position for change in found] == [SET.position, RESUMED.position][: len(found)]


def test_changes_at_one_position_keep_their_order():
    first, second = (Change(0, 1, 2, "learning_rate", 0.1, after, "set", "then") for after in (0.2, 0.3))
    assert merge_changes([], [first, second]) == [first, second]
    assert merge_changes([first], [second]) == [first, second]


@pytest.mark.parametrize(
    "positions",
    [[(0, 0, 1), (0, 0, 2)], [(0, 0, 9), (0, 1, 0)], [(0, 9, 9), (1, 0, 0)], [(0, 9, 0), (0, 10, 0)]],
)
def test_changes_are_sorted_by_stage_then_epoch_then_step(positions):
    changes = [Change(*position, "epochs", 1, 2, "resume", "then") for position in positions]
    assert [change.position for change in merge_changes([], reversed(changes))] == positions


def test_merged_changes_are_unique_and_sorted():
    early = Change(0, 1, 9, "epochs", 3, 5, "resume", "then")
    assert merge_changes([SET, RESUMED], [early, SET]) == [early, SET, RESUMED]


def test_change_is_formatted_on_one_line():
    assert str(SET) == "learning_rate 0.3 -> 1e-05"
    assert str(RESUMED) == 'schedule {"kind": "constant"} -> {"kind": "cosine", "final": 0.1}'
    assert str(ADDED) == "stage null -> fine, slow"
    assert format_value(16) == "16"


@pytest.mark.parametrize(("text", "rate"), [("learning_rate=1e-5", 1e-5), (" learning_rate = 3E-4 ", 3e-4)])
def test_request_is_parsed(text, rate):
    assert parse_request(text) == rate


@pytest.mark.parametrize("text", ["learning_rate", "epochs=3", "=1", "lr=1", ""])
def test_only_the_learning_rate_can_be_requested(text):
    with pytest.raises(ConfigError, match=r"expected learning_rate=NUMBER; for anything else stop the run"):
        parse_request(text)


@pytest.mark.parametrize("value", ["", "0", "-1", "nan", "inf", "fast", "1,5"])
def test_learning_rate_must_be_a_number_above_0(value):
    with pytest.raises(ConfigError, match=r"learning_rate: expected a number above 0, such as 1e-5: got "):
        parse_request(f"learning_rate={value}")


def test_requests_stay_in_order_until_they_are_deleted(tmp_path):
    assert pending_requests(tmp_path) == []
    first, second = request_learning_rate(tmp_path, 0.1), request_learning_rate(tmp_path, 0.2)
    assert [(one.name, one.learning_rate) for one in pending_requests(tmp_path)] == [
        (first.stem, 0.1),
        (second.stem, 0.2),
    ]
    delete_request(tmp_path, first.stem)
    delete_request(tmp_path, first.stem)
    assert [one.learning_rate for one in pending_requests(tmp_path)] == [0.2]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "0", "-1", "true", "null", "1" + 400 * "0"])
def test_request_with_an_invalid_learning_rate_is_ignored(tmp_path, value):
    path = request_learning_rate(tmp_path, 0.1)
    path.write_text(f'{{"learning_rate": {value}, "at": "now"}}')
    assert pending_requests(tmp_path) == []


def test_request_is_found_next_to_damaged_files(tmp_path):
    request_learning_rate(tmp_path, 0.1).write_bytes(b"\xff")
    good = request_learning_rate(tmp_path, 0.2)
    (requests_folder(tmp_path) / "1.json").mkdir()
    (requests_folder(tmp_path) / ".writing-abc.json").write_text("{")
    assert [(one.name, one.learning_rate) for one in pending_requests(tmp_path)] == [(good.stem, 0.2)]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"learning_rate": "fast", "at": ""}'])
def test_damaged_request_is_ignored(tmp_path, content):
    path = request_learning_rate(tmp_path, 0.1)
    path.write_text(content)
    assert pending_requests(tmp_path) == []
