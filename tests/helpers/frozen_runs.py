"""A classifier with a frozen backbone on a few small images, for the tests of cached features.

python frozen_runs.py FOLDER BATCHES      trains it in FOLDER, and kills itself after the features of this many batches
"""

import os
import signal
import sys
from io import StringIO
from pathlib import Path

import cv2
import keras
import numpy as np
from line_task import fit, stage, started
from rich.console import Console

from podium.config.member import MemberSettings
from podium.data.image_cache import Cache
from podium.data.targets import SingleLabelTarget
from podium.evaluation.metrics import METRICS
from podium.training.classification import ClassificationTask, LabelledImages

ROWS, VALIDATION, BATCH = 14, 6, 4
BATCHES = 4
"""In an epoch, and so in a view; the validation rows have two more."""
CLASSES = ["a", "b", "c"]


def frozen(name="head", **changes):
    settings = {"unfreeze": "none", "epochs": 6, "batch_size": BATCH, "image_size": 32, "learning_rate": 0.01}
    return stage(name, **settings | {"optimizer": "Adam"} | changes)


def member(stages=(), **changes):
    content = {
        "competition": "-",
        "backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25},
        "head": {"dropout": 0.2, "dense": [8], "l2": 0.001},
        "augmentation": ["HorizontalFlip", {"Rotate": {"limit": 20}}],
        "stages": [one.model_dump(mode="json", by_alias=True) for one in stages or [frozen()]],
    }
    return MemberSettings.model_validate(content | changes)


def drawn(folder, count, seed):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    paths = [folder / f"{seed}-{number:02}.png" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            image = random.integers(0, 120, (40, 40, 3), dtype=np.uint8)
            image[:20, :, number % len(CLASSES)] += 100
            cv2.imwrite(str(path), image)
    return LabelledImages(paths, np.arange(count) % len(CLASSES))


class Frozen:
    """Trainings on the same images, each in its own folder."""

    target, metric = SingleLabelTarget(CLASSES), METRICS["accuracy"]

    def __init__(self, folder):
        self.folder = folder
        self.training, self.validation = drawn(folder / "images", ROWS, 1), drawn(folder / "images", VALIDATION, 2)
        self.said = ""

    def task(self, settings, cache_gb=1.0, recipe=None):
        cache = Cache("frozen", cache_gb) if cache_gb else None
        return ClassificationTask(
            settings, self.target, self.metric, self.training, self.validation, fold=0, cache=cache, recipe=recipe
        )

    def run(self, name):
        return started(self.folder / name)

    def fit(self, run, settings=None, cache_gb=1.0, **options):
        """Train; what was printed is in `said`."""
        settings, log = settings or member(), StringIO()
        console = Console(file=log, width=300)
        try:
            fit(run, settings.stages, self.task(settings, cache_gb, run.recipe), console=console, **options)
        finally:
            self.said = log.getvalue()
        return run

    def trained(self, name, settings=None, cache_gb=1.0, **options):
        return self.fit(self.run(name), settings, cache_gb, **options)


def entries():
    """The cached features."""
    return sorted((Path(os.environ["PODIUM_CACHE"]) / "features").glob("*/"))


class AtBatch:
    """Replaces `Model.predict_on_batch`, and calls `act` at its n-th call."""

    def __init__(self, number, act):
        self.left, self.act, self.predict = number, act, keras.Model.predict_on_batch

    def __get__(self, model, kind=None):
        def predict(batch):
            self.left -= 1
            if self.left == 0:
                self.act()
            return self.predict(model, batch)

        return predict


if __name__ == "__main__":
    keras.Model.predict_on_batch = AtBatch(int(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL))
    Frozen(Path(sys.argv[1])).trained("killed")
