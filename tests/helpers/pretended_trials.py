"""A process that answers as the one that times train steps does, at once: of a machine that is made up.

python pretended_trials.py JSON    `asked` is a file, to which each question is added as a line.
"""

import json
import os
import signal
import sys
from pathlib import Path

MACHINE = {
    "gpus": 0,
    "auto": "float32",
    "fixed": 0.1,  # seconds of a step, and more for each image
    "a_image": 0.01,
    "slower": {},  # times as slow, by precision
    "memory": 10**9,  # bytes, and more for each image
    "memory_a_image": 10**8,
    "dies_above": 10**9,  # batches that end it by a signal, or that it says do not fit
    "refuses_above": 10**9,
    "error": None,
    "exit": None,
    "asked": os.devnull,
}


def command(**changes):
    """For `Trials`: this machine, but for some changes."""
    return [sys.executable, __file__, json.dumps(MACHINE | changes, default=str)]


def asked_in(path):
    """(batch size, precision) of every question, in order; "begin" where a process was begun."""
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


def note(machine, *words):
    with Path(machine["asked"]).open("a") as file:
        file.write(json.dumps(words) + "\n")


def answer(machine, size, precision):
    if size > machine["dies_above"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if machine["exit"] is not None:
        print("what it said last", file=sys.stderr)
        sys.exit(machine["exit"])
    if machine["error"]:
        return {"error": machine["error"]}
    if size > machine["refuses_above"]:
        return {"fits": False}
    seconds = (machine["fixed"] + size * machine["a_image"]) * machine["slower"].get(precision, 1)
    memory = machine["memory"] + size * machine["memory_a_image"]
    return {"fits": True, "seconds": [seconds, 9 * seconds, seconds], "memory": memory, "before": machine["memory"]}


if __name__ == "__main__":
    machine = json.loads(sys.argv[1])
    sys.stdin.readline()
    note(machine, "begin", os.getpid())
    print(json.dumps({"gpus": machine["gpus"], "auto": machine["auto"]}), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        note(machine, question["batch_size"], question["precision"])
        print(json.dumps(answer(machine, question["batch_size"], question["precision"])), flush=True)
