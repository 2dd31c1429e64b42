"""`podium plan`: what a member or an ensemble takes on this machine, estimated before anything is trained.

Training steps are timed on random images in a child process, reading and augmentation on some of the training images.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.loading import Member, is_ensemble
from podium.config.member import MemberSettings
from podium.config.stage import Precision, Stage, Unfreeze
from podium.errors import ConfigError, DataError, ImageError, MachineError
from podium.hardware import worker_count
from podium.options import RunOptions
from podium.training.step_timing import COMMAND, StepTimer
from podium.workflows.configs import load_ensemble, load_member
from podium.workflows.find_batch import choose_precision
from podium.workflows.fold_runs import folds_to_train
from podium.workflows.prepare import read_tables, scalings_for_test, scalings_for_training

if TYPE_CHECKING:
    from podium.data.folds import Folds
    from podium.data.image_paths import ImagePaths
    from podium.data.images import Image, Scaling
    from podium.data.table import CompetitionRows

SAMPLE = 64
"""Images that are read and augmented for the measurement."""
BYTES_PER_ROW = 170
"""Memory of a training for each row: benchmarks/results.md."""


@dataclass(frozen=True)
class Part:
    """A stage of a member, or its predictions."""

    member: str
    name: str
    folds: int
    """How many are trained."""
    images: int
    """That pass through the model for one fold; those of every epoch, and of every view."""
    seconds: float
    """Of one fold."""
    memory: int
    """Bytes of the process, or of a GPU."""


@dataclass(frozen=True)
class Plan:
    train: int
    test: int
    parts: list[Part]
    reading: float
    """Seconds until every file has been decoded once."""
    cache: int
    """Bytes of the decoded images."""

    @property
    def hours(self) -> float:
        return (self.reading + sum(part.folds * part.seconds for part in self.parts)) / 3600

    @property
    def memory(self) -> int:
        return max(part.memory for part in self.parts) + BYTES_PER_ROW * (self.train + self.test)

    def to_dict(self) -> dict[str, Any]:
        return {
            "train": self.train,
            "test": self.test,
            "parts": [vars(part) for part in self.parts],
            "reading_seconds": self.reading,
            "cache_bytes": self.cache,
            "memory_bytes": self.memory,
            "hours": self.hours,
        }


def make_plan(
    config: Path,
    options: RunOptions,
    console: Console,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    command: Sequence[str] = COMMAND,
) -> Plan:
    """Read the tables, and measure about a minute for each member."""
    from podium.data.folds import make_folds

    members = _members_of(config, overrides, seed)
    competition, rows, sample = read_tables(members[0].competition, options.data)
    folds = make_folds(competition, rows, options.runs)
    train, test = len(rows.train) + len(rows.extra), len(sample.ids) if sample else 0
    parts = list[Part]()
    for member in (replace(member, competition=competition) for member in members):
        console.print(f"timing {member.name}", highlight=False)
        numbers = folds_to_train(member, folds, options)
        counts = _Counts.of(rows, folds, numbers, test, len(competition.ignore))
        precision = choose_precision(member, console, command, counts.training)
        parts += _parts_of(member, counts, rows.paths, precision, command)
    of_train = {scaling for member in members for scaling in scalings_for_training(member.settings)}
    of_test = {scaling for member in members for scaling in scalings_for_test(member.settings)}
    reading = train * _seconds_to_read(rows.paths, of_train | of_test) + test * _seconds_to_read(rows.paths, of_test)
    pixels = train * _pixels(of_train | of_test) + test * _pixels(of_test)
    return Plan(train, test, parts, reading / worker_count(), competition.reading.channels * pixels)


def _pixels(scalings: "Iterable[Scaling]") -> int:
    return sum(scaling.size**2 for scaling in scalings)


def _members_of(config: Path, overrides: Sequence[str], seed: int | None) -> list[Member]:
    if not is_ensemble(config):
        return [load_member(config, overrides, seed)]
    members = [member for member in load_ensemble(config, overrides, seed).members if not member.settings.soup]
    if not members:
        raise ConfigError(f"{config} has only soups, which are made of finished runs in seconds")
    return members


@dataclass(frozen=True)
class _Counts:
    """The folds that are trained, and images of one of them."""

    folds: int
    training: int
    validation: int
    test: int
    """And those of the final test."""

    @classmethod
    def of(cls, rows: "CompetitionRows", folds: "Folds", numbers: Sequence[int], test: int, ignored: int) -> "_Counts":
        from podium.data.folds import TEST

        validation = round(sum(int((folds.of_row == str(number)).sum()) for number in numbers) / len(numbers))
        final = int((folds.of_row == TEST).sum())
        training = len(rows.train) + len(rows.extra) - validation - final - ignored
        return cls(len(numbers), max(1, training), validation, test + final)


def _parts_of(
    member: Member, counts: _Counts, paths: "ImagePaths", precision: Precision, command: Sequence[str]
) -> Iterator[Part]:
    """Each stage, and the predictions."""
    from podium.inference.tta import make_views

    settings, last = member.settings, member.settings.stages[-1]
    forward = _Timing.of(member, _frozen(last), precision, command)
    for stage in settings.stages:
        scale = (stage.image_size / last.image_size) ** 2
        validating = counts.validation * forward.seconds * scale
        if views := stage.shared_views:
            images = views * counts.training + counts.validation
            yield Part(member.name, stage.name, counts.folds, images, images * forward.seconds * scale, forward.memory)
            continue
        step = _Timing.of(member, stage, precision, command)
        seconds = counts.training * step.with_preparation(_seconds_to_augment(settings, stage, paths)) + validating
        images = stage.epochs * (counts.training + counts.validation)
        yield Part(member.name, stage.name, counts.folds, images, stage.epochs * seconds, step.memory)
    sizes = settings.tta.image_sizes or [last.image_size]
    of_test = sizes if settings.tta.average_sizes else sizes[-1:]
    views = len(make_views(settings.tta))
    passes = [(size, counts.validation) for size in sizes] + [(size, counts.test) for size in of_test]
    seconds = sum(views * count * forward.seconds * (size / last.image_size) ** 2 for size, count in passes)
    yield Part(
        member.name, "predictions", counts.folds, views * sum(count for _, count in passes), seconds, forward.memory
    )


def _frozen(stage: Stage) -> Stage:
    """Its steps take about as long as predictions."""
    return stage.model_copy(update={"unfreeze": Unfreeze.model_validate("none"), "layer_decay": None})


@dataclass(frozen=True)
class _Timing:
    """A training step."""

    seconds: float
    """Of one image."""
    memory: int
    gpus: int

    @classmethod
    def of(cls, member: Member, stage: Stage, precision: Precision, command: Sequence[str]) -> "_Timing":
        from podium.data.targets import target_of

        target, channels = target_of(member.competition), member.competition.reading.channels
        with StepTimer(member.settings, target, stage, command, channels) as timer:
            timing = timer.time(stage.batch_size, precision)
        if timing is None:
            raise MachineError(
                f"{member.name}, stage {stage.name}: a batch of {stage.batch_size} does not fit into memory; podium"
                " find-batch finds one that does"
            )
        return cls(timing.seconds / stage.batch_size, timing.memory, timer.gpus)

    def with_preparation(self, seconds: float) -> float:
        """A GPU computes while the CPU prepares the next images; on the CPU both share the cores."""
        preparing = seconds / worker_count()
        return max(self.seconds, preparing) if self.gpus else self.seconds + preparing


def _read(paths: "ImagePaths", scalings: "Iterable[Scaling]") -> "Iterator[list[Image]]":
    """Some images of the training set, those that can be read, in each of these scalings."""
    from podium.data.images import read_scaled

    for row in range(0, len(paths), max(1, len(paths) // SAMPLE)):
        with suppress(DataError, ImageError):
            yield read_scaled(paths.text(row), list(scalings), paths.reading)


def _seconds_to_read(paths: "ImagePaths", scalings: "Iterable[Scaling]") -> float:
    """Of one image, on one core."""
    start = time.perf_counter()
    count = sum(1 for _ in _read(paths, scalings))
    return (time.perf_counter() - start) / max(1, count)


def _seconds_to_augment(settings: MemberSettings, stage: Stage, paths: "ImagePaths") -> float:
    """Of one image, on one core."""
    from podium.data.augmentation import Augmentation, TrainingView

    before = settings.size_to_augment(stage)
    augmentation = Augmentation(settings.transforms_of(stage), before)
    view = TrainingView(stage.image_size, settings.resize, augmentation, (0,), before)
    images = [image for (image,) in _read(paths, [view.scaling])]
    for image in images[:1]:
        view(image, 0, 0)  # builds the transforms
    start = time.perf_counter()
    for row, image in enumerate(images):
        view(image, row, 0)
    return (time.perf_counter() - start) / max(1, len(images))
