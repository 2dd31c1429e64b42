"""`podium plan`: what a member or an ensemble takes on this machine, estimated before anything is trained.

Training steps are timed on random images in a child process, reading and augmentation on some of the training images.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.loading import Member, is_ensemble
from podium.config.member import MemberSettings
from podium.config.stage import Precision, Stage, Unfreeze
from podium.errors import MachineError
from podium.hardware import worker_count
from podium.options import RunOptions
from podium.paths import data_folder
from podium.training.step_timing import COMMAND, StepTimer
from podium.workflows.configs import load_ensemble, load_member
from podium.workflows.find_batch import choose_precision

if TYPE_CHECKING:
    from podium.data.image_paths import ImagePaths
    from podium.data.images import Scaling

SAMPLE = 64
"""Images that are read and augmented for the measurement."""
BYTES_PER_ROW = 170
"""Memory of a training for each row: benchmarks/results.md."""


@dataclass(frozen=True)
class Part:
    """A stage of a member, or its predictions: of one fold."""

    member: str
    name: str
    images: int
    """That pass through the model; those of every epoch, and of every view."""
    seconds: float
    memory: int = 0
    """Bytes of the process, or of a GPU."""


@dataclass(frozen=True)
class Plan:
    train: int
    test: int
    folds: list[int]
    """Those that are trained."""
    parts: list[Part]
    reading: float
    """Seconds until every file has been decoded once."""
    cache: int
    """Bytes of the decoded images."""

    @property
    def hours(self) -> float:
        return (self.reading + len(self.folds) * sum(part.seconds for part in self.parts)) / 3600

    @property
    def memory(self) -> int:
        return max(part.memory for part in self.parts) + BYTES_PER_ROW * (self.train + self.test)

    def to_dict(self) -> dict[str, Any]:
        return {
            "train": self.train,
            "test": self.test,
            "folds": self.folds,
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
    from podium.data.classes import with_classes
    from podium.data.folds import make_folds
    from podium.data.metadata import with_categories
    from podium.data.table import read_rows
    from podium.workflows.prepare import read_sample

    members, chosen = _members_of(config, overrides, seed)
    competition = members[0].competition
    folder = data_folder(competition.slug, options.data, competition.kaggle_source)
    competition = with_classes(competition, folder)
    rows = read_rows(competition, folder)
    competition = with_categories(competition, [rows.train, rows.extra])
    sample = read_sample(competition, folder)
    folds = make_folds(competition, rows, options.runs)
    train, test = len(rows.train) + len(rows.extra), len(sample.ids) if sample else 0
    numbers = list(options.folds or chosen or folds.numbers)
    validated = max(1, round(sum((folds.of_row == str(number)).sum() for number in numbers) / len(numbers)))
    counts = _Counts(train - validated, validated, test)
    parts, scalings = list[Part](), set["Scaling"]()
    for member in members:
        console.print(f"timing {member.name}", highlight=False)
        member = Member(member.name, member.settings, competition)
        parts += _parts_of(member, counts, rows.paths, choose_precision(member, console, command), command)
        scalings |= _scalings_of(member.settings)
    reading = sum(_seconds_to_read(rows.paths, scaling) for scaling in scalings) * (train + test) / worker_count()
    channels = competition.reading.channels
    return Plan(
        train, test, numbers, parts, reading, sum(channels * scaling.size**2 for scaling in scalings) * (train + test)
    )


def _members_of(config: Path, overrides: Sequence[str], seed: int | None) -> tuple[list[Member], Sequence[int] | None]:
    """The members of a file, and the folds that it names."""
    if is_ensemble(config):
        ensemble = load_ensemble(config, overrides, seed)
        return [member for member in ensemble.members if not member.settings.soup], ensemble.settings.folds
    return [load_member(config, overrides, seed)], [0]


@dataclass(frozen=True)
class _Counts:
    """Images of one fold."""

    training: int
    validation: int
    test: int


def _parts_of(
    member: Member, counts: _Counts, paths: "ImagePaths", precision: Precision, command: Sequence[str]
) -> Iterator[Part]:
    """Each stage, and the predictions."""
    settings, last = member.settings, member.settings.stages[-1]
    forward = _Timing.of(member, _frozen(last), precision, command)
    for stage in settings.stages:
        scale = (stage.image_size / last.image_size) ** 2
        validating = counts.validation * forward.seconds * scale
        if views := stage.shared_views:
            images = views * counts.training + counts.validation
            yield Part(member.name, stage.name, images, images * forward.seconds * scale, forward.memory)
            continue
        step = _Timing.of(member, stage, precision, command)
        seconds = counts.training * step.with_preparation(_seconds_to_augment(settings, stage, paths)) + validating
        images = stage.epochs * (counts.training + counts.validation)
        yield Part(member.name, stage.name, images, stage.epochs * seconds, step.memory)
    sizes = settings.tta.image_sizes or [last.image_size]
    of_test = sizes if settings.tta.average_sizes else sizes[-1:]
    views = _view_count(settings)
    passes = [(size, counts.validation) for size in sizes] + [(size, counts.test) for size in of_test]
    seconds = sum(views * count * forward.seconds * (size / last.image_size) ** 2 for size, count in passes)
    yield Part(member.name, "predictions", views * sum(count for _, count in passes), seconds, forward.memory)


def _frozen(stage: Stage) -> Stage:
    """Its steps take about as long as predictions."""
    return stage.model_copy(update={"unfreeze": Unfreeze.model_validate("none")})


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


def _sample(paths: "ImagePaths") -> list[int]:
    return list(range(0, len(paths), max(1, len(paths) // SAMPLE)))[:SAMPLE]


def _seconds_to_read(paths: "ImagePaths", scaling: "Scaling") -> float:
    """Of one image, on one core."""
    from podium.data.images import read_scaled

    rows = _sample(paths)
    start = time.perf_counter()
    for row in rows:
        read_scaled(paths.text(row), [scaling], paths.reading)
    return (time.perf_counter() - start) / len(rows)


def _seconds_to_augment(settings: MemberSettings, stage: Stage, paths: "ImagePaths") -> float:
    """Of one image, on one core."""
    from podium.data.augmentation import Augmentation, TrainingView
    from podium.data.images import read_scaled

    before = settings.size_to_augment(stage)
    view = TrainingView(stage.image_size, settings.resize, Augmentation(settings.augmentation, before), (0,), before)
    images = [read_scaled(paths.text(row), [view.scaling], paths.reading)[0] for row in _sample(paths)]
    view(images[0], 0, 0)  # builds the transforms
    start = time.perf_counter()
    for row, image in enumerate(images):
        view(image, row, 0)
    return (time.perf_counter() - start) / len(images)


def _scalings_of(settings: MemberSettings) -> "set[Scaling]":
    from podium.data.images import Scaling

    sizes = {size for stage in settings.stages for size in (stage.image_size, settings.size_to_augment(stage))}
    return {Scaling(size, settings.resize) for size in sizes | set(settings.tta.image_sizes)}


def _view_count(settings: MemberSettings) -> int:
    from podium.inference.tta import make_views

    return len(make_views(settings.tta))
