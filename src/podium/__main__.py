"""`podium …`, which `python -m podium …` is as well: listens for signals before anything is imported."""

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
    finally:  # leaving takes a second; a signal then should not change how it ended
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _stop_at_once(number: int, frame: Any) -> None:
    with suppress(OSError):  # nobody may be reading any more
        os.write(2, f"podium: {signal.Signals(number).name}: stopped before it began; type the same again\n".encode())
    sys.exit(75)  # podium.signals.EXIT_STOPPED, which is not imported yet


if __name__ == "__main__":
    main()
