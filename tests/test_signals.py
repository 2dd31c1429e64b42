import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest

from podium import signals
from podium.signals import Interrupted, StopCondition, format_duration, interruptible, parse_duration, run_interruptibly


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
def test_duration_is_parsed(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "0h0m", "8", "8.5h", "-1h", "30m8h", "8h30", "soon", "1d"])
def test_invalid_duration_is_an_error(text):
    with pytest.raises(ValueError, match="expected a time such as 8h30m, 90m or 45s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(30600, "8h30m"), (5400, "1h30m"), (45, "45s"), (3601, "1h1s"), (0, "0s"), (59.7, "1m")]
)
def test_duration_is_formatted(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [1, 59, 60, 61, 3599, 3600, 3660, 43200, 86399, 90061])
def test_formatted_duration_can_be_parsed(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


def test_no_reason_without_a_limit_or_a_signal(clock):
    condition = StopCondition()
    clock.now += 1e9
    assert condition.reason(1e9) is None


def test_time_limit_is_a_reason_once_the_next_part_exceeds_it(clock):
    condition = StopCondition(time_limit=3600)
    clock.now += 3000
    assert condition.reason(600) is None
    assert condition.reason(601) == "--time-limit 1h"
    clock.now += 601
    assert condition.reason(0) == "--time-limit 1h"


def test_request_is_a_reason_at_any_time(clock):
    condition = StopCondition(time_limit=3600)
    condition.request("SIGTERM")
    assert condition.reason(0) == "SIGTERM"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_only_recorded(number, capfd):
    condition, before = StopCondition(), [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with condition.defer_signals():
        assert condition.reason(0) is None
        os.kill(os.getpid(), number)
        assert condition.reason(0) == signal.Signals(number).name
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    assert (
        f"podium: {signal.Signals(number).name}: stopping after this step; send it again to stop at once"
        in capfd.readouterr().err
    )


def test_signal_repeated_at_once_is_the_same_signal(clock):
    """As from `timeout`, which signals the process and its group."""
    condition = StopCondition()
    with condition.defer_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        clock.now += 0.9 * signals.SAME_SIGNAL_SECONDS
        os.kill(os.getpid(), signal.SIGTERM)
    assert condition.reason(0) == "SIGTERM"


TWICE = """
import os, signal
from podium import signals
signals.SAME_SIGNAL_SECONDS = -1
condition = signals.StopCondition()
with signals.interruptible(), condition.defer_signals():
    os.kill(os.getpid(), signal.{first})
    while condition.reason(0) is None:  # two equal signals at once would be one
        pass
    os.kill(os.getpid(), signal.{second})
    print("never reached")
"""


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT")])
def test_second_signal_ends_the_process(first, second):
    script = TWICE.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + getattr(signal, second)
    assert done.stdout == ""
    assert f"podium: {second} again: stopped; saved checkpoints are intact" in done.stderr


@pytest.fixture
def closed_pipe():
    """The write end of a pipe without a reader, as after Ctrl-C ended the tee in `2>&1 | tee log`."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


ONCE = """
import os, signal
from podium.signals import StopCondition
condition = StopCondition()
with condition.defer_signals():
    os.kill(os.getpid(), signal.SIGINT)
    print("this step ended", flush=True)
print(condition.reason(0))
"""


def test_signal_is_recorded_when_stderr_is_closed(closed_pipe):
    done = subprocess.run([sys.executable, "-c", ONCE], stdout=subprocess.PIPE, stderr=closed_pipe, text=True)
    assert (done.returncode, done.stdout) == (0, "this step ended\nSIGINT\n")


def test_second_signal_ends_the_process_when_stderr_is_closed(closed_pipe):
    script = TWICE.format(first="SIGINT", second="SIGTERM")
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=closed_pipe, text=True)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")


STOPPED = """
from podium.cli import main
from podium.errors import StoppedError
def stopped(**_):
    raise StoppedError("stopped")
main.command_line = lambda asked: stopped
main.main()
"""


def test_stop_exits_with_75_when_stderr_is_closed(closed_pipe):
    done = subprocess.run([sys.executable, "-c", STOPPED], stderr=closed_pipe)
    assert done.returncode == 75


def test_signal_handlers_are_restored_after_an_error():
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def fail():
        with StopCondition().defer_signals():
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_thread_does_not_handle_signals():
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
def test_signal_raises_interrupted_by_default(number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=number.name), interruptible():
        interrupt(number)
    assert signal.getsignal(number) == before
    assert StopCondition().reason(0) is None


def test_lost_interrupt_is_still_a_reason_to_stop():
    with interruptible():
        with suppress(Interrupted):
            interrupt()
        assert StopCondition().reason(0) == "SIGTERM"


# Waiting for work that may take too long


@pytest.mark.parametrize("is_main", [True, False], ids=["main thread", "another thread"])
def test_work_is_left_behind_when_its_time_is_over(is_main):
    released, ended = threading.Event(), []

    def wait():
        with pytest.raises(TimeoutError):
            run_interruptibly(lambda: released.wait(60), is_over=lambda: True)
        ended.append(True)

    if is_main:
        wait()
    else:
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(60)
    assert ended == [True]
    released.set()


def test_work_that_is_done_in_time_returns_its_result():
    assert run_interruptibly(lambda: 5, is_over=lambda: False) == 5
