import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from podium import stopping
from podium.stopping import Stopping, parse_duration, spell_duration


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(stopping, "time", clock)
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
    assert spell_duration(seconds) == text


def test_without_a_limit_or_a_signal_there_is_no_reason(clock):
    one = Stopping()
    clock.now += 1e9
    assert one.reason(1e9) is None


def test_a_limit_is_a_reason_as_soon_as_what_comes_next_does_not_fit(clock):
    one = Stopping(time_limit=3600)
    clock.now += 3000
    assert one.reason(600) is None
    assert one.reason(601) == "--time-limit 1h"
    clock.now += 601
    assert one.reason(0) == "--time-limit 1h"


def test_what_was_asked_is_a_reason_whatever_the_time(clock):
    one = Stopping(time_limit=3600)
    one.ask("SIGTERM")
    assert one.reason(0) == "SIGTERM"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_is_only_noted(number, capfd):
    one, before = Stopping(), [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with one.at_the_next_step():
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
    one = Stopping()
    with one.at_the_next_step():
        os.kill(os.getpid(), signal.SIGTERM)
        clock.now += 0.9 * stopping.SAME_PRESS
        os.kill(os.getpid(), signal.SIGTERM)
    assert one.reason(0) == "SIGTERM"


TWICE = """
import os, signal, time
from podium import stopping
stopping.SAME_PRESS = -1
with stopping.Stopping().at_the_next_step():
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
    assert f"podium: {second} again: stopped; the last saved state holds" in done.stderr


def test_another_thread_leaves_signals_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with Stopping().at_the_next_step():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
