"""The entry point of `podium` and `python -m podium`. It handles signals before anything else is imported."""

import os
import signal
import sys
from contextlib import suppress
from typing import Any


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_at_once)
    from podium.cli.main import main as run

    try:
        run()
    finally:  # the exit takes a second; a signal then should not change the exit code
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _stop_at_once(number: int, frame: Any) -> None:
    with suppress(OSError):  # stderr may be closed
        name = signal.Signals(number).name
        os.write(2, f"podium: {name}: stopped before it started; run the same command again\n".encode())
    sys.exit(75)  # podium.signals.EXIT_STOPPED, which is not imported yet


if __name__ == "__main__":
    main()
