import pytest

from podium.changes import (
    Change,
    ask,
    changes_file,
    forget_request,
    merged,
    parse_request,
    read_changes,
    requests,
    spell,
    write_changes,
)
from podium.errors import ConfigError, RunError

SET = Change(0, 2, 7, "learning_rate", 0.1 + 0.2, 1e-5, "set", "2026-01-01T12:00:00", "123")
RESUMED = Change(1, 0, 0, "schedule", {"kind": "constant"}, {"kind": "cosine", "final": 0.1}, "resume", "later")
ADDED = Change(2, 0, 0, "stage", None, "fine, slow", "resume", "later")


def test_changes_come_back_as_they_were(tmp_path):
    write_changes(tmp_path, [SET, RESUMED, ADDED])
    assert read_changes(tmp_path) == [SET, RESUMED, ADDED]


def test_changes_are_a_table_that_a_person_reads(tmp_path):
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
def test_a_damaged_file_is_told_with_the_way_out(tmp_path, content):
    changes_file(tmp_path).write_bytes(content)
    with pytest.raises(RunError, match=r"changes\.csv cannot be read .* mend it, or remove it"):
        read_changes(tmp_path)


def test_changes_are_merged_each_once_in_the_order_of_their_positions():
    early = Change(0, 1, 9, "epochs", 3, 5, "resume", "then")
    assert merged([SET, RESUMED], [early, SET]) == [early, SET, RESUMED]


def test_a_change_is_spelled_in_one_line():
    assert str(SET) == "learning_rate 0.3 -> 1e-05"
    assert str(RESUMED) == 'schedule {"kind": "constant"} -> {"kind": "cosine", "final": 0.1}'
    assert str(ADDED) == "stage null -> fine, slow"
    assert spell(16) == "16"


@pytest.mark.parametrize(("text", "rate"), [("learning_rate=1e-5", 1e-5), (" learning_rate = 3E-4 ", 3e-4)])
def test_a_request_is_read(text, rate):
    assert parse_request(text) == rate


@pytest.mark.parametrize("text", ["learning_rate", "epochs=3", "=1", "lr=1", ""])
def test_only_the_learning_rate_can_be_asked_for(text):
    with pytest.raises(ConfigError, match=r"only learning_rate=NUMBER can; for anything else stop the run"):
        parse_request(text)


@pytest.mark.parametrize("value", ["", "0", "-1", "nan", "inf", "fast", "1,5"])
def test_a_learning_rate_is_a_number_above_0(value):
    with pytest.raises(ConfigError, match=r"learning_rate: expected a number above 0, such as 1e-5: got "):
        parse_request(f"learning_rate={value}")


def test_requests_wait_in_their_order_until_they_are_forgotten(tmp_path):
    assert requests(tmp_path) == []
    first, second = ask(tmp_path, 0.1), ask(tmp_path, 0.2)
    assert [(name, rate) for name, rate, _ in requests(tmp_path)] == [(first.stem, 0.1), (second.stem, 0.2)]
    forget_request(tmp_path, first.stem)
    forget_request(tmp_path, first.stem)
    assert [rate for _, rate, _ in requests(tmp_path)] == [0.2]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"learning_rate": "fast", "at": ""}'])
def test_what_is_no_request_is_passed_over(tmp_path, content):
    path = ask(tmp_path, 0.1)
    path.write_text(content)
    assert requests(tmp_path) == []
