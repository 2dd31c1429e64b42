"""`podium --help` against `kaggle --version`: what a light command takes to start.

Both run without a credential that anyone would accept, and neither asks a server.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Outcome, column, compared, details
from benchmarks.plan import Bench
from benchmarks.rounds import Contender, Machine

WHAT, TARGET = "`podium --help` against `kaggle --version`", "at most half the time"


def seconds(words: list[str], times: int) -> dict[str, Any]:
    """The middle of some starts; one before them, so that all that is read lies in memory."""
    program = Path(sys.executable).parent / words[0]
    spent = []
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": home, "KAGGLE_CONFIG_DIR": home}
        environment |= {"KAGGLE_USERNAME": "no-one", "KAGGLE_KEY": "none"}
        for _ in range(times + 1):
            began = time.perf_counter()
            subprocess.run([program, *words[1:]], env=environment, capture_output=True, check=True)
            spent.append(time.perf_counter() - began)
    return {"seconds": median(spent[1:])}


def measure(bench: Bench, machine: Machine) -> Outcome:
    contenders = [
        Contender(
            " ".join(words), "benchmarks.measures.start_up:seconds", {"words": words, "times": bench.plan.commands}
        )
        for words in (["podium", "--help"], ["kaggle", "--version"])
    ]
    results = machine.in_turns(contenders, bench.plan.turns, "start-up")
    mine, theirs = (column(turns, "seconds") for turns in results.values())
    row = compared(WHAT, "–", TARGET, mine, theirs, "kaggle", at_most=0.5, unit=" s")
    return Outcome([row], details("Start-up", results, {"seconds": "seconds"}), results)
