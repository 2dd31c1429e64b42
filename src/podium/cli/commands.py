"""The commands: the function of each and the first sentence of its help, so that listing them imports no command."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Command:
    target: str
    """Its module in this package and its function, such as "members.train"."""
    help: str
    """The first paragraph of the function's docstring."""

    def function(self) -> Callable[..., None]:
        module, name = self.target.split(".")
        function: Callable[..., None] = getattr(import_module(f"podium.cli.{module}"), name)
        return function


COMMANDS = {
    "demo": Command(
        "demo.demo",
        "Draw a car competition, train a small ensemble on it, and write a checked submission, on two laptop cores.",
    ),
    "init": Command(
        "init.init",
        "Look at a competition's data, and write commented config files for it: competition, member and ensemble.",
    ),
    "train": Command("members.train", "Fine-tune one member, stage after stage, on each of its folds."),
    "predict": Command(
        "members.predict",
        "Predict the validation and test images with a trained member, or any images with a member or an ensemble.",
    ),
    "blend": Command("ensembles.blend", "Blend the predictions of the members, and write a checked submission."),
    "run": Command("ensembles.run", "Run only the missing steps of an ensemble, and write a checked submission."),
    "pseudo": Command(
        "pseudo.pseudo",
        "Label the test images with a finished ensemble, for other members to train on (extra: [{pseudo: NAME}]).",
    ),
    "runs": Command(
        "runs.runs",
        "List every run: its progress, its best score, the time spent on it, and the command that resumes it.",
    ),
    "jobs": Command(
        "jobs.jobs", "List the jobs that were started with --on ray or podium fleet up, with their states."
    ),
    "compare": Command(
        "compare.compare",
        "Compare runs: which is better, is the difference significant, which settings differ, how long each took.",
    ),
    "report": Command(
        "report.report",
        "Write a page about a run, a member, an ensemble or a detector: curves, scores, mistakes with their images.",
    ),
    "mistakes": Command(
        "report.mistakes",
        "List the images that a run, a member or an ensemble predicts wrong: a CSV file and a sheet, the worst first.",
    ),
    "export": Command(
        "export.export", "Copy the settings and histories of all runs into an MLflow store, without a server."
    ),
    "set": Command(
        "runs.set_",
        "Change the learning rate of a training run from its next step on; its schedule continues from there.",
    ),
    "plan": Command(
        "plan.plan",
        "Estimate the hours, the disk space and the memory of a training on this machine; a minute for each member.",
    ),
    "find-batch": Command(
        "find_batch.find_batch",
        "Find the largest and the fastest batch size for this machine by timing training steps of a member.",
    ),
    "find-lr": Command(
        "find_lr.find_lr",
        "Find a learning rate for each stage of a member: train steps at rising rates until the loss diverges.",
    ),
    "soup": Command(
        "soup.soup",
        "Average the weights of finished runs of one architecture, as far as that improves the validation score.",
    ),
    "search": Command(
        "search.search",
        "Search for better settings: Optuna tries values of the keys under `search` in a member file.",
    ),
    "check": Command(
        "leaderboard.check",
        "Check a submission against the sample: columns, ids, predictions, duplicates. Reports all problems at once.",
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
        "Show the environment of this machine, and name what is missing and how to get it.",
    ),
}
GROUPS = {
    "config": "Config files: check them and the data that they describe.",
    "data": "Download, draw or check the data of a competition, find wrong labels, push a folder to a Kaggle dataset.",
    "detect": "Detect objects: build datasets, train and evaluate detectors, detect objects in images, crop images.",
    "kernel": "Kaggle kernels: build the script, rehearse, push, follow, download.",
    "fleet": "Train an ensemble on Kaggle's GPUs: up, status, down.",
}
