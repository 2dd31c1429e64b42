"""podium, called through the functions that training and prediction use."""

# ruff: noqa: E402
from podium.training.run_training import import_libraries

import_libraries()  # as `podium train` does

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from benchmarks.feeding import measure_arrays, measure_fit
from benchmarks.recipe import BATCH_SIZE, IMAGE_SIZE, MEMBER
from podium.data.augmentation import Augmentation
from podium.data.batches import TrainingBatches
from podium.data.catalogue import ImageSource
from podium.data.image_cache import Cache
from podium.models.feed import as_dataset

QUIET = Console(quiet=True)
CACHE_GB = 10.0
FOLD = 0


def training_batches(folder: Path, augmented: bool = True, cached: bool = True) -> TrainingBatches:
    classes = sorted(path.name for path in folder.iterdir())
    paths = sorted(folder.glob("*/*.jpg"))
    labels = [classes.index(path.parent.name) for path in paths]
    transforms = yaml.safe_load(MEMBER.read_text())["augmentation"] if augmented else []
    return TrainingBatches(
        ImageSource(paths, Cache("benchmark", CACHE_GB) if cached else None),
        np.eye(len(classes), dtype=np.float32)[labels],
        image_size=IMAGE_SIZE,
        resize="squash",
        batch_size=BATCH_SIZE,
        augmentation=Augmentation(transforms, IMAGE_SIZE),
        seed=(42, FOLD, 0),
    )


@dataclass
class Opened:
    """Training batches, and the dataset of them that Keras trains on."""

    batches: TrainingBatches
    feed: Any

    def epoch(self, number: int) -> Iterator[Any]:
        self.batches.epoch = number
        return self.feed.as_numpy_iterator()


@contextmanager
def opened(batches: TrainingBatches) -> Iterator[Opened]:
    with as_dataset(batches) as feed:
        yield Opened(batches, feed)


def arrays(folder: str, images: int, **options: bool) -> dict[str, Any]:
    with ExitStack() as stack:
        return measure_arrays(
            lambda: stack.enter_context(opened(training_batches(Path(folder), **options))),
            lambda data, number: data.epoch(number),
            images,
        )


def fit(folder: str, images: int) -> dict[str, Any]:
    with ExitStack() as stack:
        made: list[Opened] = []

        def make() -> Any:
            made.append(stack.enter_context(opened(training_batches(Path(folder)))))
            return made[0].feed

        def before_epoch(number: int) -> None:
            made[0].batches.epoch = number

        return measure_fit(make, images, before_epoch)


def write_member(folder: str, member: dict[str, Any]) -> Path:
    """A member file in the current folder, for the competition of an ImageSet."""
    path = Path("member.yaml").resolve()
    path.write_text(yaml.safe_dump({"competition": str(Path(folder) / "competition.yaml"), **member}))
    return path


def stage(folder: str, member: dict[str, Any], seed: int, predict: bool = False) -> dict[str, Any]:
    """`podium train` for one fold of a member, and `podium predict`, after TensorFlow was imported."""
    import podium.inference.predict
    import podium.training.trainer  # noqa: F401
    from podium.config.loading import load_member
    from podium.files import read_json
    from podium.options import RunOptions
    from podium.training.run_training import train_run
    from podium.workflows.fold_runs import fold_runs
    from podium.workflows.predict import predict_fold
    from podium.workflows.prepare import prepare

    options = RunOptions(data=Path(folder), runs=Path("runs"), folds=(FOLD,))
    start = time.perf_counter()
    settings = load_member(write_member(folder, member), [f"seed={seed}"])
    (fold_run,) = fold_runs(settings, prepare(settings.competition, options, QUIET, [settings]), options)
    train_run(fold_run, QUIET)
    trained = time.perf_counter()
    head, *_, last = fold_run.run.history.read_text().splitlines()
    figures = dict(zip(head.split(","), last.split(","), strict=True))
    result = {
        "seconds": trained - start,
        "accuracy": float(figures["val_accuracy"]),
        "precision": fold_run.run.state["best"].get("precision", "float32"),
    }
    if predict:
        predict_fold(fold_run, QUIET)
        result["predict_seconds"] = time.perf_counter() - trained
        result["prediction_seconds"] = read_json(fold_run.run.path / "timings.json")["prediction"]
    return result
