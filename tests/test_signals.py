import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest

from podium import signals
from podium.signals import Interrupted, StopCondition, format_duration, interruptible, parse_duration


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(signals, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h30m", 30600), ("90m", 5400), ("45s", 45), ("1h", 3600), ("1h1s", 3601), (" 8H 30M ", 30600), ("12h0m", 43200)],
)
def test_a_time_is_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "0h0m", "8", "8.5h", "-1h", "30m8h", "8h30", "soon", "1d"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="expected a time such as 8h30m, 90m or 45s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(30600, "8h30m"), (5400, "1h30m"), (45, "45s"), (3601, "1h1s"), (0, "0s"), (59.7, "1m")]
)
def test_a_time_is_spelled_as_it_is_read(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [1, 59, 60, 61, 3599, 3600, 3660, 43200, 86399, 90061])
def test_a_time_that_was_spelled_is_read_again(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


def test_without_a_limit_or_a_signal_there_is_no_reason(clock):
    one = StopCondition()
    clock.now += 1e9
    assert one.reason(1e9) is None


def test_a_limit_is_a_reason_as_soon_as_what_comes_next_does_not_fit(clock):
    one = StopCondition(time_limit=3600)
    clock.now += 3000
    assert one.reason(600) is None
    assert one.reason(601) == "--time-limit 1h"
    clock.now += 601
    assert one.reason(0) == "--time-limit 1h"


def test_what_was_asked_is_a_reason_whatever_the_time(clock):
    one = StopCondition(time_limit=3600)
    one.request("SIGTERM")
    assert one.reason(0) == "SIGTERM"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_is_only_noted(number, capfd):
    one, before = StopCondition(), [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with one.defer_signals():
        assert one.reason(0) is None
        os.kill(os.getpid(), number)
        assert one.reason(0) == signal.Signals(number).name
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    assert (
        f"podium: {signal.Signals(number).name}: stopping after this step; once more stops at once"
        in capfd.readouterr().err
    )


def test_the_same_signal_twice_in_a_moment_is_one(clock):
    """As from `timeout`, which signals the process and its group."""
    one = StopCondition()
    with one.defer_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        clock.now += 0.9 * signals.SAME_SIGNAL_SECONDS
        os.kill(os.getpid(), signal.SIGTERM)
    assert one.reason(0) == "SIGTERM"


TWICE = """
import os, signal, time
from podium import signals
signals.SAME_SIGNAL_SECONDS = -1
with signals.StopCondition().defer_signals():
    os.kill(os.getpid(), signal.{first})
    os.kill(os.getpid(), signal.{second})
    print("never reached")
"""


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT")])
def test_a_second_signal_ends_the_process_at_once(first, second):
    script = TWICE.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + getattr(signal, second)
    assert done.stdout == ""
    assert f"podium: {second} again: stopped; the last checkpoint holds" in done.stderr


@pytest.fixture
def nobody_reads():
    """The end of a pipe that no one reads from, as `2>&1 | tee log` leaves it when Ctrl-C has ended tee as well."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


ONCE = """
import os, signal
from podium.signals import StopCondition
one = StopCondition()
with one.defer_signals():
    os.kill(os.getpid(), signal.SIGINT)
    print("this step ended", flush=True)
print(one.reason(0))
"""


def test_a_signal_is_noted_where_nobody_reads_stderr(nobody_reads):
    done = subprocess.run([sys.executable, "-c", ONCE], stdout=subprocess.PIPE, stderr=nobody_reads, text=True)
    assert (done.returncode, done.stdout) == (0, "this step ended\nSIGINT\n")


def test_a_second_signal_ends_the_process_where_nobody_reads_stderr(nobody_reads):
    script = TWICE.format(first="SIGINT", second="SIGTERM")
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=nobody_reads, text=True)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")


STOPPED = """
from podium.cli import main
from podium.errors import StoppedError
def stopped():
    raise StoppedError("stopped")
main.command_line = lambda asked: stopped
main.main()
"""


def test_a_stop_exits_with_75_where_nobody_reads_stderr(nobody_reads):
    done = subprocess.run([sys.executable, "-c", STOPPED], stderr=nobody_reads)
    assert done.returncode == 75


def test_handlers_are_put_back_after_an_error():
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def fail():
        with StopCondition().defer_signals():
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_leaves_signals_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with StopCondition().defer_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def interrupt(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_where_nothing_else_listens(number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=number.name), interruptible():
        interrupt(number)
    assert signal.getsignal(number) == before
    assert StopCondition().reason(0) is None


def test_an_interrupt_that_was_lost_is_still_a_reason_to_stop():
    with interruptible():
        with suppress(Interrupted):
            interrupt()
        assert StopCondition().reason(0) == "SIGTERM"
