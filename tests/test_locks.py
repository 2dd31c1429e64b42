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
    with locked(folder) as dead_process:
        return dead_process


def test_folder_is_unlocked_before_and_after(folder):
    with locked(folder) as dead_process:
        assert dead_process == ""
        assert re.match(rf"process {os.getpid()} on \S+ since ", lock_holder(folder))
    assert lock_holder(folder) is None
    assert take(folder) == ""


def test_second_process_is_refused_and_the_holder_named(folder, holder):
    message = (
        rf"{re.escape(str(folder))} is in use by process {holder.pid} on \S+ since .* \(-c .*\): wait until it ends"
    )
    with pytest.raises(RunError, match=message):
        take(folder)
    assert lock_holder(folder).startswith(f"process {holder.pid} ")


def test_second_lock_in_the_same_process_is_refused(folder):
    with locked(folder), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        take(folder)


def test_lock_of_a_killed_process_is_taken_and_its_holder_named(folder, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock_holder(folder) is None
    assert take(folder).startswith(f"process {holder.pid} ")
    assert take(folder) == ""


def test_lock_is_released_after_an_error(folder):
    def fail():
        with locked(folder):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert take(folder) == ""


def test_locked_folder_can_be_removed_and_recreated(folder):
    with locked(folder):
        folder.mkdir()
        shutil.rmtree(folder)
        folder.mkdir()
        with pytest.raises(RunError):
            take(folder)
    assert list(folder.iterdir()) == []


def test_lock_file_is_next_to_the_folder(folder):
    take(folder)
    assert lock_file(folder) == folder.parent / ".fold0.lock"
    assert lock_file(folder).read_text() == ""
    assert not folder.exists()


def test_damaged_lock_file_can_be_locked(folder):
    folder.parent.mkdir()
    lock_file(folder).write_bytes(b"process 12 \xff\x00 on")
    assert lock_holder(folder) is None
    assert take(folder).startswith("process 12 ")
    assert take(folder) == ""


def test_holder_with_a_damaged_name_still_holds_the_lock(folder, holder):
    lock_file(folder).write_bytes(b"process 12 \xff on")
    assert lock_holder(folder).startswith("process 12 ")
    with pytest.raises(RunError, match="is in use by process 12 "):
        take(folder)


def test_command_that_is_not_utf_8_can_be_named(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["podium", "train", os.fsdecode(b"caf\xe9.yaml")])
    with locked(folder):
        assert "podium train " in lock_holder(folder)


def test_python_m_podium_is_called_podium(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/site-packages/podium/__main__.py", "train", "a.yaml"])
    with locked(folder):
        assert lock_holder(folder).endswith("(podium train a.yaml)")


def test_holder_is_named_on_one_line(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["podium", "train", "a\nb.yaml"])
    with locked(folder), pytest.raises(RunError) as message:
        take(folder)
    assert "\n" not in str(message.value)


def test_process_that_just_released_the_lock_is_not_reported_as_killed(folder, holder, monkeypatch):
    def release_first(*arguments):
        holder.communicate()
        return try_lock(*arguments)

    try_lock = locks._try_lock
    monkeypatch.setattr(locks, "_try_lock", release_first)
    assert take(folder) == ""


def test_folds_are_locked_separately(folder):
    with locked(folder):
        assert take(folder.with_name("fold1")) == ""
        assert lock_holder(folder.with_name("fold1")) is None


def test_folder_that_was_never_locked_has_no_holder(folder):
    assert lock_holder(folder) is None


def test_lock_file_that_cannot_be_written_is_an_os_error(folder):
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_text("a file in the way")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        take(folder)


def test_without_flock_nothing_is_locked(folder, monkeypatch):
    monkeypatch.setattr("podium.locks.fcntl", None)
    with locked(folder), locked(folder):
        assert lock_holder(folder) is None
