"""What commands there are, where each is, and how its own help begins: so listing them imports none."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Command:
    place: str
    """Its file here, and its function there."""
    does: str

    def function(self) -> Callable[..., None]:
        file, name = self.place.split(".")
        function: Callable[..., None] = getattr(import_module(f"podium.cli.{file}"), name)
        return function


COMMANDS = {
    "demo": Command(
        "demo.demo",
        "Draw a car competition, train a small ensemble on it, and write a checked submission, on two laptop cores.",
    ),
    "train": Command("members.train", "Fine-tune one member, stage after stage, on each of its folds."),
    "predict": Command(
        "members.predict",
        "Predict the validation and the test images with a trained member, through its test-time views.",
    ),
    "blend": Command("ensembles.blend", "Blend what the members have predicted, and write a checked submission."),
    "run": Command("ensembles.run", "Run only the missing steps of an ensemble, and write a checked submission."),
    "runs": Command(
        "runs.runs",
        "Tell of every run: how far it is, its best score, the time spent on it, and what would go on with it.",
    ),
    "compare": Command(
        "compare.compare",
        "Say which of several runs is better, whether that can be trusted, what differs between them, what each cost.",
    ),
    "set": Command(
        "runs.set_",
        "Change the learning rate of a run that is going on, from its next step; the run's schedule goes on from"
        " there.",
    ),
    "find-batch": Command(
        "find_batch.find_batch",
        "Find the largest and the fastest batch for this machine, by train steps of the member's own model.",
    ),
    "check": Command(
        "leaderboard.check",
        "Check a submission against the sample: columns, ids, answers, repeats. All problems are reported at once.",
    ),
    "submit": Command(
        "leaderboard.submit",
        "Check a CSV, submit it once, wait for its score, and record it in the ledger.",
    ),
    "board": Command(
        "leaderboard.board",
        "Show the submissions, how well cross-validation and leaderboard agree, and which submission to trust.",
    ),
    "schema": Command(
        "schema.schema", "Print the JSON Schema of a kind of config, for editors that check and complete YAML."
    ),
    "doctor": Command(
        "doctor.doctor",
        "Tell what podium finds here: Python, libraries, processors, memory, disk, GPUs, Kaggle's client and its key.",
    ),
}
GROUPS = {
    "data": "Get data.",
    "detect": "Find objects: build a set of boxes, train a detector on it, evaluate it, search and cut images.",
    "kernel": "Kaggle kernels: build the script, rehearse, push, follow, download.",
    "fleet": "A whole ensemble on Kaggle's GPUs: up, status, down.",
}
