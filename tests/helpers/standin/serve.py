"""Serves the stand-in to try podium's commands by hand, with the drawn competition in it.

.venv/bin/python tests/helpers/standin/serve.py --data DIR [--runner] [--as-reported] [--port N]

DIR is what `podium demo` drew. Type what is printed in another terminal; Ctrl-C ends it, and all is forgotten.
"""

import argparse
import csv
import shutil
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from standin.kernels import Version
from standin.reported import as_reported
from standin.service import StandIn
from standin.sessions import Inputs, Ran, run_pushed

SLUG = "podium-demo-cars"
_ANSWERS = "hidden-answers.csv"
_SECONDS_OF_NOTHING = 3


def run_nothing(version: Version, inputs: Inputs, working: Path) -> Ran:
    """A session that only waits."""
    version.stopped.wait(_SECONDS_OF_NOTHING)
    return 0, ["Nothing was run: the stand-in was started without --runner.\n"]


def fill(standin: StandIn, folder: Path) -> None:
    """Add the competition, without its answers."""
    with (folder / _ANSWERS).open(newline="", encoding="utf-8") as file:
        answers = {row["Id"]: row["Category"] for row in csv.DictReader(file)}
    data = standin.folder / SLUG
    shutil.copytree(folder, data, ignore=shutil.ignore_patterns(_ANSWERS))
    others = {"Grace": 0.985, "Edsger": 0.91, "Barbara": 0.84, "Alan": 0.66, "Tony": 0.31}
    standin.add_competition(SLUG, data, answers=answers, title="Podium demo cars", pending=3, others=others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the drawn competition's folder")
    parser.add_argument("--runner", action="store_true", help="run pushed scripts, by podium's rehearsal")
    parser.add_argument("--as-reported", action="store_true", help="behave as users of the real service report")
    parser.add_argument("--port", type=int, default=0, help="any free one if not given")
    arguments = parser.parse_args()
    if not (arguments.data / _ANSWERS).is_file():
        parser.error(f"{arguments.data} has no {_ANSWERS}; give the folder that podium demo drew")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with StandIn(port=arguments.port) as standin:
        fill(standin, arguments.data)
        standin.runner = run_pushed if arguments.runner else run_nothing
        if arguments.as_reported:  # but a token in the environment cannot be renewed
            standin.reported = replace(as_reported(), calls_per_token=None)
        print(f"# the stand-in serves {SLUG}; in another terminal:")
        print(f"export PODIUM_KAGGLE_ENDPOINT={standin.endpoint}")
        print(f"export KAGGLE_API_TOKEN={standin.token}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
