"""The largest and the fastest batch of a member's stages, by train steps of its own model on images made up."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.config.loading import Member
from podium.config.member import Precision
from podium.config.stage import Optimizer, Stage
from podium.errors import ConfigError, MachineError
from podium.files import write_json
from podium.hardware import free_memory
from podium.training.precision import precision_by_trial
from podium.training.trials import COMMAND, Timed, Trials

FIRST, STEP = 8, 8
"""The batch that is tried first, and what larger ones are multiples of."""
AS_FAST = 1.02
"""A rate that the best does not pass by more counts as the best: the smaller batch then takes less memory."""
LONG, PATIENCE = 10.0, 2
"""Where steps take so many seconds, batches in a row that were no faster and are enough: larger ones would take
minutes, and only memory would be learned."""
SPARED = 0.1
"""Of the memory that is free, what no trial may be foreseen to take."""


@dataclass(frozen=True)
class Refused:
    """A batch that does not fit: tried, or foreseen from the memory of smaller ones."""

    batch_size: int
    foreseen: int | None = None
    """Bytes; none where it was tried."""


@dataclass
class Search:
    """What is known of one kind of stage: every batch that was timed, and those that do not fit."""

    trials: Trials
    precision: Precision
    limit: int | None
    """Bytes that a trial may take; none on a GPU, which says so itself, and where nothing tells."""
    tell: Callable[[Timed | Refused], None]
    timed: dict[int, Timed] = field(default_factory=dict)
    refused: dict[int, Refused] = field(default_factory=dict)
    ended_early: bool = False

    def run(self, own: Sequence[int], largest: int) -> None:
        """Doubling, and the stages' own batches too; then between the last that fits and the first that does not."""
        doubled = [FIRST * 2**power for power in range(largest.bit_length()) if FIRST * 2**power <= largest]
        sizes = sorted({*doubled, largest, *(size for size in own if size <= largest)})
        if not self._fits(sizes[0]):
            smaller = sizes[0] // 2
            while smaller and not self._fits(smaller):
                smaller //= 2
            if not smaller:
                raise MachineError(
                    "not even a batch of one image fits into the memory there is; give this machine more, or the"
                    " stage smaller images or a smaller backbone"
                )
        for size in sizes[1:]:
            if self.refused or self._is_enough():
                break
            self._fits(size)
        while self.refused and not self._is_enough() and (between := self._between()):
            self._fits(between)
        self.ended_early = not self.refused and max(self.timed) < largest
        self._look_again(own)

    def _look_again(self, own: Sequence[int]) -> None:
        """At what a gain will be told of: the fastest and the stages' own, one right after the other."""
        compared = {fastest_of(self.timed.values()).batch_size, *self.timed.keys() & set(own)}
        if len(compared) > 1:
            for size in sorted(compared):
                self.timed[size] = self.trials.again(self.timed[size], self.precision)

    def _fits(self, size: int) -> bool:
        foreseen = self.foreseen(size)
        if self.limit is not None and foreseen is not None and foreseen > self.limit:
            self.refused[size] = Refused(size, foreseen)
            self.tell(self.refused[size])
            return False
        timed = self.trials.run(size, self.precision)
        if timed is None:
            self.refused[size] = Refused(size)
            self.tell(self.refused[size])
            return False
        self.timed[size] = timed
        self.tell(timed)
        return True

    def foreseen(self, size: int) -> int | None:
        """Bytes that a larger batch takes, on a straight line through what was measured."""
        if self.trials.gpus or not self.timed:
            return None
        last = self.timed[max(self.timed)]
        return round(last.memory + (size - last.batch_size) * self._bytes_a_image())

    def _bytes_a_image(self) -> float:
        """From two batches that lie well apart; else from the last one and what was taken before any step."""
        sizes = sorted(self.timed)
        last, first = self.timed[sizes[-1]], self.timed[sizes[0]]
        well_apart = [self.timed[size] for size in sizes if 1.5 * size <= last.batch_size]
        if well_apart:
            near = well_apart[-1]
            return max(0.0, (last.memory - near.memory) / (last.batch_size - near.batch_size))
        return max(0.0, (last.memory - first.before) / last.batch_size)

    def foreseen_largest(self) -> int | None:
        each = self._bytes_a_image()
        if not self.ended_early or self.limit is None or not each:
            return None
        last = self.timed[max(self.timed)]
        return int(last.batch_size + (self.limit - last.memory) / each) // STEP * STEP

    def _is_enough(self) -> bool:
        """The last batches were no faster than a smaller one, and took long."""
        sizes = sorted(self.timed)
        if len(sizes) <= PATIENCE or self.timed[sizes[-1]].seconds < LONG:
            return False
        best = max(self.timed[size].rate for size in sizes[:-PATIENCE])
        return all(self.timed[size].rate < AS_FAST * best for size in sizes[-PATIENCE:])

    def _between(self) -> int | None:
        """Half-way to the first that does not fit; none where that is near enough."""
        low, high = max(self.timed), min(self.refused)
        unit = STEP if low >= STEP else 1
        middle = (low + high) // 2 // unit * unit
        return middle if low < middle < high and high - low > low // 8 else None


def fastest_of(timed: Iterable[Timed]) -> Timed:
    by_size = sorted(timed, key=lambda one: one.batch_size)
    best = max(one.rate for one in by_size)
    return next(one for one in by_size if AS_FAST * one.rate >= best)


@dataclass(frozen=True)
class Finding:
    """What is said of one stage."""

    member: str
    number: int
    stage: Stage
    precision: str
    gpus: int
    timed: list[Timed]
    refused: list[Refused]
    limit: int | None
    ended_early: bool
    asked_largest: int
    foreseen_largest: int | None
    """Where the search ended early: about what would fit, on the straight line."""

    @classmethod
    def of(cls, member: Member, number: int, search: Search, largest: int) -> "Finding":
        timed = [search.timed[size] for size in sorted(search.timed)]
        refused = [search.refused[size] for size in sorted(search.refused)]
        stage, trials = member.settings.stages[number], search.trials
        return cls(
            member.name, number, stage, search.precision, trials.gpus, timed, refused, search.limit,
            search.ended_early, largest, search.foreseen_largest(),
        )  # fmt: skip

    @property
    def own(self) -> Timed | None:
        """At the stage's own batch size, unless that was too large."""
        return next((one for one in self.timed if one.batch_size == self.stage.batch_size), None)

    @property
    def largest(self) -> Timed:
        return self.timed[-1]

    @property
    def fastest(self) -> Timed:
        return fastest_of(self.timed)

    def gain(self, one: Timed) -> float | None:
        return one.rate / self.own.rate if self.own else None

    def learning_rate(self, batch_size: int) -> float:
        return scaled_learning_rate(self.stage, batch_size)

    def to_json(self) -> dict[str, Any]:
        batches = [
            {
                "batch_size": one.batch_size,
                "seconds_a_step": one.seconds,
                "images_a_second": one.rate,
                "memory": one.memory,
                "gain": self.gain(one),
                "learning_rate": self.learning_rate(one.batch_size),
            }
            for one in self.timed
        ]
        return {
            "member": self.member,
            "stage": self.stage.model_dump(mode="json", by_alias=True),
            "precision": self.precision,
            "gpus": self.gpus,
            "memory_limit": self.limit,
            "batches": batches,
            "do_not_fit": [asdict(one) for one in self.refused],
            "ended_early": self.ended_early,
            "largest": self.largest.batch_size,
            "fastest": self.fastest.batch_size,
        }


def is_linear(optimizer: Optimizer) -> bool:
    return optimizer.name == "SGD"


def scaled_learning_rate(stage: Stage, batch_size: int) -> float:
    """In step with the batch for SGD; with its square root for optimizers that divide by the gradients' own size."""
    times = batch_size / stage.batch_size
    return stage.learning_rate * (times if is_linear(stage.optimizer) else math.sqrt(times))


def kind_of(stage: Stage) -> tuple[Any, ...]:
    """What decides the time and the memory of a stage's steps."""
    return stage.image_size, stage.unfreeze.model_dump_json(), stage.optimizer.model_dump_json()


def stages_asked_for(member: Member, name: str | None) -> list[int]:
    names = [stage.name for stage in member.settings.stages]
    if name is None:
        return list(range(len(names)))
    if name not in names:
        raise ConfigError(f"{member.name} has no stage {name!r}; it has {', '.join(names)}")
    return [names.index(name)]


def precision_for(member: Member, console: Console, command: Sequence[str] = COMMAND) -> Precision:
    """That of a training: on processors what auto means is measured; with GPUs they say it."""
    settings = member.settings
    if settings.precision != "auto":
        return settings.precision
    with Trials(settings, len(member.competition.labels), settings.stages[0], command) as trials:
        trials.start()
        if trials.gpus:
            return trials.auto
    found = precision_by_trial(settings, len(member.competition.labels), None, console, command=command)
    return "mixed_bfloat16" if found == "mixed_bfloat16" else "float32"


@dataclass
class Finder:
    """Stages of a member, one after the other; those of the same kind share what was measured."""

    member: Member
    precision: Precision
    largest: int
    tell: Callable[[Timed | Refused], None]
    limit: int | None = None
    """Bytes that a trial on processors may take; else what is free, but for a little."""
    command: Sequence[str] = COMMAND
    _searches: dict[tuple[Any, ...], Search] = field(default_factory=dict)

    def find(self, number: int) -> Finding:
        stages = self.member.settings.stages
        kind = kind_of(stages[number])
        if kind not in self._searches:
            own = [stage.batch_size for stage in stages if kind_of(stage) == kind]
            with Trials(self.member.settings, len(self.member.competition.labels), stages[number], self.command) as on:
                on.start()
                search = Search(on, self.precision, None if on.gpus else self._may_take(), self.tell)
                search.run(own, self.largest)
            self._searches[kind] = search
        return Finding.of(self.member, number, self._searches[kind], self.largest)

    def is_known(self, number: int) -> bool:
        return kind_of(self.member.settings.stages[number]) in self._searches

    def _may_take(self) -> int | None:
        free = free_memory() if self.limit is None else None
        return self.limit if free is None else round((1 - SPARED) * free)


def write_figures(finding: Finding, path: Path) -> None:
    write_json(path, finding.to_json(), fsync=False)
