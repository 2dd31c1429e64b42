import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from podium import locks
from podium.errors import RunError
from podium.locks import lock_file, lock_holder, locked

HOLD = """
import sys
from pathlib import Path
from podium.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "one-12345678" / "fold0"


@pytest.fixture
def holder(folder):
    """Another process that holds the folder until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    if not process.stdin.closed:
        process.communicate()


def take(folder):
    with locked(folder) as left_by:
        return left_by


def test_a_folder_is_free_before_and_after(folder):
    with locked(folder) as left_by:
        assert left_by == ""
        assert re.match(rf"process {os.getpid()} on \S+ since ", lock_holder(folder))
    assert lock_holder(folder) is None
    assert take(folder) == ""


def test_the_second_process_is_refused_and_the_first_one_named(folder, holder):
    told = rf"{re.escape(str(folder))} is in use by process {holder.pid} on \S+ since .* \(-c .*\); one at a time"
    with pytest.raises(RunError, match=told):
        take(folder)
    assert lock_holder(folder).startswith(f"process {holder.pid} ")


def test_the_same_process_is_refused_too(folder):
    with locked(folder), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        take(folder)


def test_a_lock_left_by_a_dead_process_is_taken_over_and_its_name_given(folder, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock_holder(folder) is None
    assert take(folder).startswith(f"process {holder.pid} ")
    assert take(folder) == ""


def test_a_lock_is_given_back_when_the_work_fails(folder):
    def fail():
        with locked(folder):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert take(folder) == ""


def test_the_folder_may_be_removed_and_made_again_while_it_is_held(folder):
    with locked(folder):
        folder.mkdir()
        shutil.rmtree(folder)
        folder.mkdir()
        with pytest.raises(RunError):
            take(folder)
    assert list(folder.iterdir()) == []


def test_the_lock_stands_beside_the_folder(folder):
    take(folder)
    assert lock_file(folder) == folder.parent / ".fold0.lock"
    assert lock_file(folder).read_text() == ""
    assert not folder.exists()


def test_a_lock_file_that_was_damaged_is_no_obstacle(folder):
    folder.parent.mkdir()
    lock_file(folder).write_bytes(b"process 12 \xff\x00 on")
    assert lock_holder(folder) is None
    assert take(folder).startswith("process 12 ")
    assert take(folder) == ""


def test_a_holder_whose_name_was_damaged_is_still_one(folder, holder):
    lock_file(folder).write_bytes(b"process 12 \xff on")
    assert lock_holder(folder).startswith("process 12 ")
    with pytest.raises(RunError, match="is in use by process 12 "):
        take(folder)


def test_a_command_in_another_encoding_than_utf_8_can_be_named(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["podium", "train", os.fsdecode(b"caf\xe9.yaml")])
    with locked(folder):
        assert "podium train " in lock_holder(folder)


def test_python_m_podium_is_called_podium(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/site-packages/podium/__main__.py", "train", "a.yaml"])
    with locked(folder):
        assert lock_holder(folder).endswith("(podium train a.yaml)")


def test_a_holder_is_named_in_one_line(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["podium", "train", "a\nb.yaml"])
    with locked(folder), pytest.raises(RunError) as told:
        take(folder)
    assert "\n" not in str(told.value)


def test_a_process_that_let_go_just_before_is_not_taken_for_dead(folder, holder, monkeypatch):
    def let_go_first(*arguments):
        holder.communicate()
        return taken(*arguments)

    taken = locks._taken
    monkeypatch.setattr(locks, "_taken", let_go_first)
    assert take(folder) == ""


def test_folds_are_locked_each_for_itself(folder):
    with locked(folder):
        assert take(folder.with_name("fold1")) == ""
        assert lock_holder(folder.with_name("fold1")) is None


def test_who_holds_a_folder_that_was_never_locked(folder):
    assert lock_holder(folder) is None


def test_a_lock_that_cannot_be_written_is_an_error_of_the_system(folder):
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_text("a file in the way")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        take(folder)


def test_where_the_system_has_no_locks_nothing_is_locked(folder, monkeypatch):
    monkeypatch.setattr("podium.locks.fcntl", None)
    with locked(folder), locked(folder):
        assert lock_holder(folder) is None
