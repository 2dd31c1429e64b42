"""A training killed (SIGKILL) at random moments and resumed ends with the same files as an uninterrupted one."""

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
from killing import Moment, Starter, kill_at, torn_files
from rich.console import Console

from podium.changes import Position
from podium.config.stage import Stage
from podium.runs import Run
from podium.training.checkpoints import CheckpointStore

SEED = int(os.environ.get("PODIUM_KILL_SEED", "0"))
"""Of the random moments; the parts of the long test count from here. A failing test prints it."""
KILLS = int(os.environ.get("PODIUM_KILLS", "30"))
"""In the long test."""
PART = 50
"""Kills per part of the long test: a stopped test continues with the seed of its next part."""
STAGES = [
    {
        "name": "one",
        "unfreeze": "none",
        "epochs": 5,
        "batch_size": 8,
        "image_size": 32,
        "learning_rate": 0.1,
        "schedule": {"kind": "plateau", "patience": 1, "factor": 0.5},
    },
    {
        "name": "two",
        "unfreeze": "all",
        "epochs": 9,
        "batch_size": 8,
        "image_size": 40,
        "learning_rate": 0.005,
        "schedule": "cosine",
        "early_stopping": 2,
    },
]
MEMBER = {
    "head": {"dropout": 0.5},
    "augmentation": ["HorizontalFlip", {"Rotate": {"limit": 15}}],
    "stages": STAGES,
    "save_every": 0.0001,  # six milliseconds, so after every step
    "tta": ["identity", "horizontal_flip"],
}
COMPARED = (
    "best.weights.h5",
    "history.csv",
    "confusion_matrix.csv",
    "classification_report.csv",
    "predictions-*/oof.csv",
    "predictions-*/test.csv",
    "predictions-*/views.csv",
    "predictions-*/predictions.json",
)


@dataclass(frozen=True)
class Uninterrupted:
    competition: Any
    member: Path
    run: Path
    """The run folder, relative to the folder that podium runs in."""
    files: dict[str, bytes]

    def train(self, *more):
        return ["train", *self._on, *more]

    def predict(self):
        return ["predict", *self._on]

    @property
    def _on(self):
        return [str(self.member), "--data", str(self.competition.folder), "--fold", "0"]


def files_of(run):
    """The compared files, by name."""
    paths = [path for pattern in COMPARED for path in sorted(run.glob(pattern))]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


def assert_counters_were_used(history):
    """The plateau lowered the learning rate, and early stopping ended a stage."""
    one, two = (history[history["stage"] == stage["name"]] for stage in STAGES)
    assert one["learning_rate"].nunique() > 1
    assert 1 < len(two) < STAGES[1]["epochs"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, make_tiny_competition):
    """A training that is not killed, and its predictions, by the command line."""
    root = tmp_path_factory.mktemp("uninterrupted")
    competition = make_tiny_competition(root / "tiny", train=96)
    one = Uninterrupted(competition, competition.member(**MEMBER), Path(), {})
    for arguments in (one.train(), one.predict()):
        subprocess.run([sys.executable, "-m", "podium", *arguments], cwd=root, check=True, capture_output=True)
    (run,) = root.glob("runs/tiny-*/fold0")
    files = files_of(run)
    assert len(files) == len(COMPARED)
    assert_counters_were_used(pd.read_csv(run / "history.csv"))
    return Uninterrupted(competition, one.member, run.relative_to(root), files)


@dataclass(frozen=True)
class Kill:
    moment: Moment
    torn: list[str]
    """Temporary files that it left."""
    newest: str
    """Where the newest valid checkpoint is."""
    position: Position
    """Of that checkpoint."""

    def __str__(self):
        return f"{self.moment}: newest state {self.newest}, torn {', '.join(self.torn) or 'nothing'}"


def newest_state(run):
    """Where the newest valid checkpoint is, in words and as a position."""
    saved = CheckpointStore(run.path).load_newest(Console(quiet=True))
    if saved is None:
        return "none", (0, 0, 0)
    progress = saved.progress
    if progress.step:
        return "mid-epoch", progress.position
    if not progress.has_finished(Stage(**STAGES[progress.stage])):
        return "between epochs", progress.position
    return "the end" if progress.stage_name == "two" else "between stages", progress.position


MESSAGES = {
    "none": "from scratch",
    "mid-epoch": ", after step",
    "between epochs": "resuming at",
    "between stages": "stage two: 9 epochs",
    "the end": "best: stage two",
}
"""What podium prints when it resumes, by the newest checkpoint."""


class Killer:
    """Trains in new folders, kills each training at the given moments, resumes it to its end, and compares files."""

    def __init__(self, uninterrupted, starter, folder, seed):
        self._unbroken, self._starter, self._folder, self._seed = uninterrupted, starter, folder, seed
        self.kills = []
        self.trainings = 0

    def train_killed_at(self, *moments):
        self.trainings += 1
        place = self._folder / f"training{self.trainings}"
        place.mkdir()
        run, here = Run(place / self._unbroken.run), []
        for moment in moments:
            process, log = self._start(place, self._unbroken.train(*["--resume"] * bool(here)))
            code = kill_at(process, run, moment)
            if code != -signal.SIGKILL:
                assert code == 0, log.read_text()
                break
            here.append(Kill(moment, sorted(torn_files(run)), *newest_state(run)))
        self.kills += here
        story = f"seed {self._seed}, {place}: " + ("; then ".join(map(str, here)) or "not killed")
        positions = [kill.position for kill in here]
        assert positions == sorted(positions), f"a kill lost an older checkpoint ({story})"
        output = self._run(place, self._unbroken.train("--resume"), story)
        message = MESSAGES[here[-1].newest if here else "the end"]
        assert message in output or "already trained" in output, f"{story}: {output}"
        assert "already trained" in output or not torn_files(run), story
        self._run(place, self._unbroken.predict(), story)
        found = files_of(run.path)
        assert found.keys() == self._unbroken.files.keys(), story
        differ = [name for name, content in self._unbroken.files.items() if found[name] != content]
        assert not differ, f"different from the uninterrupted training: {', '.join(differ)} ({story})"

    def _start(self, place, arguments):
        log = place / f"{len(list(place.glob('*.log')))}.log"
        return self._starter.start(place, log, *arguments), log

    def _run(self, place, arguments, story):
        process, log = self._start(place, arguments)
        code, output = process.wait(), log.read_text()
        assert code == 0, f"{story}: {output}"
        return output

    def met(self):
        """How many kills left which newest checkpoint, and how many left temporary files."""
        met = Counter(kill.newest for kill in self.kills)
        met["torn"] = sum(bool(kill.torn) for kill in self.kills)
        met["torn state"] = sum(
            any(name.startswith(".writing-checkpoint") for name in kill.torn) for kill in self.kills
        )
        return met


@pytest.fixture
def start_killer(uninterrupted, tmp_path):
    """`start_killer(seed)`: a Killer; the seed is for its messages."""
    with Starter() as starter:
        yield lambda seed: Killer(uninterrupted, starter, tmp_path, seed)


def random_moment(random, sign, most):
    """A moment in a process, after it saved at most `most` times."""
    nth = {"saving": random.randint(1, most), "mid-epoch": random.randint(1, most)}
    nth["between epochs"] = random.randint(1, 2)
    seconds = {"begun": 6.0, "saving": 0.003, "mid-epoch": 0.03, "between epochs": 0.01, "between stages": 1.0}
    return Moment(sign, nth.get(sign, 1), random.uniform(0, seconds.get(sign, 0.02)))


@pytest.mark.slow
def test_killed_training_resumes_to_the_same_files(start_killer):
    """Killed while it saves, within an epoch, between its stages, and while it saves again; `make test-kill` does more.

    On a busy machine a kill may come too late: then another training is killed.
    """
    random, killer = Random(SEED), start_killer(SEED)
    for _ in range(3):
        killer.train_killed_at(
            random_moment(random, "saving", most=15),
            random_moment(random, "mid-epoch", most=5),
            random_moment(random, "between stages", most=1),
            random_moment(random, "saving", most=15),
        )
        met = killer.met()
        if met["torn"] and met["mid-epoch"]:
            break
    assert met["torn"], killer.kills
    assert met["mid-epoch"], killer.kills


SIGNS_OF_A_TRAINING = (
    *("saving", "mid-epoch", "saving", "begun", "between epochs", "saving", "between stages"),
    *("saving", "mid-epoch", "saving", "begun", "between epochs", "saving", "the end"),
)
"""A process that starts costs far more than a step, so each training is killed many times before it is compared."""


@pytest.mark.kill
@pytest.mark.parametrize("seed", range(SEED, SEED - (-KILLS // PART)))
def test_training_killed_at_many_moments_resumes_to_the_same_files(start_killer, seed):
    kills = min(PART, KILLS - (seed - SEED) * PART)
    random, killer = Random(seed), start_killer(seed)
    while len(killer.kills) < kills:
        most = random.choice([4, 8, 40])
        killer.train_killed_at(*(random_moment(random, sign, most) for sign in SIGNS_OF_A_TRAINING))
    met, trainings = killer.met(), killer.trainings
    print(*killer.kills, dict(met), sep="\n")
    print(f"seed {seed}: {len(killer.kills)} kills in {trainings} trainings, none lost, none different")
    assert met["torn"] >= kills // 4, met
    assert met["torn state"] >= kills // 30, met
    assert met["mid-epoch"] >= kills // 6, met
    assert met["between epochs"] >= kills // 15, met
    assert met["between stages"] >= kills // 30, met
