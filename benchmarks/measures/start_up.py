"""`podium --help` compared with `kaggle --version`: the start-up time of a light command.

Both run with invalid credentials, and neither sends a request.
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
from benchmarks.rounds import Candidate, Machine

WHAT, TARGET = "`podium --help` compared with `kaggle --version`", "at most half the time"
COMMANDS = (["podium", "--help"], ["kaggle", "--version"])


def seconds(words: list[str], times: int) -> dict[str, Any]:
    """The median of several starts, after one that reads all files into the page cache."""
    program = Path(sys.executable).parent / words[0]
    spent = []
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": home, "KAGGLE_CONFIG_DIR": home}
        environment |= {"KAGGLE_USERNAME": "no-one", "KAGGLE_KEY": "none"}
        for _ in range(times + 1):
            start = time.perf_counter()
            subprocess.run([program, *words[1:]], env=environment, capture_output=True, check=True)
            spent.append(time.perf_counter() - start)
    return {"seconds": median(spent[1:])}


def measure(bench: Bench, machine: Machine) -> Outcome:
    candidates = [
        Candidate(
            " ".join(words), "benchmarks.measures.start_up:seconds", {"words": words, "times": bench.plan.commands}
        )
        for words in COMMANDS
    ]
    results = machine.run_rounds(candidates, bench.plan.rounds, "start-up")
    mine, theirs = (column(rounds, "seconds") for rounds in results.values())
    row = compared(WHAT, "–", TARGET, mine, theirs, "kaggle", at_most=0.5, unit=" s")
    return Outcome([row], details("Start-up", results, {"seconds": "seconds"}), results)
