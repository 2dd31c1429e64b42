"""A stand-in for the child process that times training steps: it answers at once for an imaginary machine.

python fake_step_timing.py JSON    each question is appended to the file `log`.
"""

import json
import os
import signal
import sys
from pathlib import Path

MACHINE = {
    "gpus": 0,
    "auto_precision": "float32",
    "seconds": 0.1,  # of a step, plus those per image
    "seconds_per_image": 0.01,
    "slowdown": {},  # by precision
    "memory": 10**9,
    "memory_per_image": 10**8,
    "killed_above": 10**9,  # larger batches kill it, or do not fit
    "too_large_above": 10**9,
    "error": None,
    "exit": None,
    "log": os.devnull,
}


def command(**changes):
    """For `StepTimer`: MACHINE with these changes."""
    return [sys.executable, __file__, json.dumps(MACHINE | changes, default=str)]


def read_log(path):
    """(batch size, precision) of every question, and ("start", pid) of every process."""
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


def note(machine, *words):
    with Path(machine["log"]).open("a") as file:
        file.write(json.dumps(words) + "\n")


def answer(machine, size, precision):
    if size > machine["killed_above"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if machine["exit"] is not None:
        print("last line of its output", file=sys.stderr)
        sys.exit(machine["exit"])
    if machine["error"]:
        return {"error": machine["error"]}
    if size > machine["too_large_above"]:
        return {"fits": False}
    seconds = (machine["seconds"] + size * machine["seconds_per_image"]) * machine["slowdown"].get(precision, 1)
    memory = machine["memory"] + size * machine["memory_per_image"]
    return {
        "fits": True,
        "seconds": [seconds, 9 * seconds, seconds],
        "memory": memory,
        "memory_before": machine["memory"],
    }


if __name__ == "__main__":
    machine = json.loads(sys.argv[1])
    sys.stdin.readline()
    note(machine, "start", os.getpid())
    print(json.dumps({"gpus": machine["gpus"], "auto_precision": machine["auto_precision"]}), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        note(machine, question["batch_size"], question["precision"])
        print(json.dumps(answer(machine, question["batch_size"], question["precision"])), flush=True)
