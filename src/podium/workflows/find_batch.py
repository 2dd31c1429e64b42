"""The largest and the fastest batch of a member's stages on this machine, by timed training steps."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.config.loading import Member
from podium.config.stage import Precision, Stage
from podium.errors import ConfigError, MachineError
from podium.hardware import free_memory
from podium.reports.png import open_style, save_png
from podium.training.precision import choose_cpu_precision
from podium.training.step_timing import COMMAND, StepTimer, StepTiming

FIRST, MULTIPLE = 8, 8
"""The first batch size, and what larger ones are multiples of."""
AS_FAST = 1.02
"""Speeds within this factor count as equal: the smaller batch then needs less memory."""
LONG_STEP, MAX_NO_GAIN = 10.0, 2
"""If steps take this many seconds, the search ends after this many batches without a gain in speed."""
RESERVED = 0.1
"""Share of the free memory that is not used for batches."""


@dataclass(frozen=True)
class TooLarge:
    """A batch that does not fit."""

    batch_size: int
    estimated_memory: int | None = None
    """Bytes, by the memory of smaller batches; None if it was tried."""


OnTried = Callable[[StepTiming | TooLarge], None]


@dataclass(frozen=True)
class FoundBatch:
    """The batches of one stage: all that were timed, and those that do not fit."""

    member: str
    stage_number: int
    stage: Stage
    precision: Precision
    gpus: int
    timings: list[StepTiming]
    too_large: list[TooLarge]
    memory_limit: int | None
    ended_early: bool
    """Whether larger batches were not tried, because they were slow and no faster."""
    estimated_largest: int | None
    """An estimate by memory, if the search ended early."""

    @property
    def own(self) -> StepTiming | None:
        """With the stage's own batch size; None if it was not timed."""
        return next((timing for timing in self.timings if timing.batch_size == self.stage.batch_size), None)

    @property
    def largest(self) -> StepTiming:
        return self.timings[-1]

    @property
    def fastest(self) -> StepTiming:
        return _fastest(self.timings)

    def speedup(self, timing: StepTiming) -> float | None:
        """Compared with the stage's own batch size."""
        return timing.images_per_second / self.own.images_per_second if self.own else None

    def learning_rate(self, batch_size: int) -> float:
        return scaled_learning_rate(self.stage, batch_size)

    def to_dict(self) -> dict[str, Any]:
        return {
            "member": self.member,
            "stage": self.stage.model_dump(mode="json", by_alias=True),
            "precision": self.precision,
            "gpus": self.gpus,
            "memory_limit": self.memory_limit,
            "batches": [
                {
                    "batch_size": timing.batch_size,
                    "seconds_per_step": timing.seconds,
                    "images_per_second": timing.images_per_second,
                    "memory": timing.memory,
                    "speedup": self.speedup(timing),
                    "learning_rate": self.learning_rate(timing.batch_size),
                }
                for timing in self.timings
            ],
            "too_large": [asdict(batch) for batch in self.too_large],
            "ended_early": self.ended_early,
            "largest": self.largest.batch_size,
            "fastest": self.fastest.batch_size,
        }


@dataclass
class BatchFinder:
    """Finds the batch sizes of stages, one after another. Stages with the same steps are timed only once."""

    member: Member
    precision: Precision
    largest: int = 512
    on_tried: OnTried = lambda _: None
    """Called after each batch size."""
    memory_limit: int | None = None
    """Bytes on a CPU; by default most of the free memory."""
    command: Sequence[str] = COMMAND
    _searches: dict[tuple[Any, ...], "_Search"] = field(default_factory=dict)

    def find(self, stage_number: int) -> FoundBatch:
        stages = self.member.settings.stages
        stage, key = stages[stage_number], _step_key(stages[stage_number])
        if key not in self._searches:
            from podium.data.targets import target_of

            own_sizes = [other.batch_size for other in stages if _step_key(other) == key]
            target, channels = target_of(self.member.competition), self.member.competition.reading.channels
            with StepTimer(self.member.settings, target, stage, self.command, channels) as timer:
                timer.start()
                limit = None if timer.gpus else self._memory_limit()
                search = _Search(timer, self.precision, limit, self.on_tried)
                search.run(own_sizes, self.largest)
            self._searches[key] = search
        search = self._searches[key]
        return FoundBatch(
            self.member.name,
            stage_number,
            stage,
            self.precision,
            search.timer.gpus,
            [search.timings[size] for size in sorted(search.timings)],
            [search.too_large[size] for size in sorted(search.too_large)],
            search.memory_limit,
            search.ended_early,
            search.estimate_largest() if search.ended_early else None,
        )

    def is_found(self, stage_number: int) -> bool:
        return _step_key(self.member.settings.stages[stage_number]) in self._searches

    def _memory_limit(self) -> int | None:
        if self.memory_limit is not None:
            return self.memory_limit
        free = free_memory()
        return None if free is None else round((1 - RESERVED) * free)


@dataclass
class _Search:
    timer: StepTimer
    precision: Precision
    memory_limit: int | None
    """None on GPUs, which report a lack of memory, and where it is unknown."""
    on_tried: OnTried
    timings: dict[int, StepTiming] = field(default_factory=dict)
    too_large: dict[int, TooLarge] = field(default_factory=dict)
    ended_early: bool = False

    def run(self, own_sizes: Sequence[int], largest: int) -> None:
        """Doubles the batch, with the stages' own sizes in between, then bisects between the last that fits and the
        first that does not."""
        doubled = [FIRST * 2**power for power in range(largest.bit_length()) if FIRST * 2**power <= largest]
        sizes = sorted({*doubled, largest, *(size for size in own_sizes if size <= largest)})
        if not self._try(sizes[0]):
            smaller = sizes[0] // 2
            while smaller and not self._try(smaller):
                smaller //= 2
            if not smaller:
                raise MachineError(
                    "not even a batch of one image fits into memory; use a machine with more memory, smaller images or"
                    " a smaller backbone"
                )
        for size in sizes[1:]:
            if self.too_large or self._is_slow_without_gain():
                break
            self._try(size)
        while self.too_large and not self._is_slow_without_gain() and (size := self._bisect()):
            self._try(size)
        self.ended_early = not self.too_large and max(self.timings) < largest
        self._time_again(own_sizes)

    def _try(self, size: int) -> bool:
        estimate = self._estimate_memory(size)
        if self.memory_limit is not None and estimate is not None and estimate > self.memory_limit:
            tried: StepTiming | TooLarge = TooLarge(size, estimate)
        else:
            tried = self.timer.time(size, self.precision) or TooLarge(size)
        if isinstance(tried, TooLarge):
            self.too_large[size] = tried
        else:
            self.timings[size] = tried
        self.on_tried(tried)
        return isinstance(tried, StepTiming)

    def _time_again(self, own_sizes: Sequence[int]) -> None:
        """Time the batches that a speedup compares again, in direct succession."""
        compared = {_fastest(self.timings.values()).batch_size, *self.timings.keys() & set(own_sizes)}
        if len(compared) > 1:
            for size in sorted(compared):
                self.timings[size] = self.timer.time_again(self.timings[size], self.precision)

    def _estimate_memory(self, size: int) -> int | None:
        """By linear extrapolation; None on GPUs and before the first batch."""
        if self.timer.gpus or not self.timings:
            return None
        last = self.timings[max(self.timings)]
        return round(last.memory + (size - last.batch_size) * self._memory_per_image())

    def _memory_per_image(self) -> float:
        """From the last batch and one well below it, else from the last one and the memory before any step."""
        sizes = sorted(self.timings)
        last = self.timings[sizes[-1]]
        if well_below := [size for size in sizes if 1.5 * size <= last.batch_size]:
            other = self.timings[well_below[-1]]
            return max(0.0, (last.memory - other.memory) / (last.batch_size - other.batch_size))
        return max(0.0, (last.memory - self.timings[sizes[0]].memory_before) / last.batch_size)

    def estimate_largest(self) -> int | None:
        per_image = self._memory_per_image()
        if self.memory_limit is None or not per_image:
            return None
        last = self.timings[max(self.timings)]
        return int(last.batch_size + (self.memory_limit - last.memory) / per_image) // MULTIPLE * MULTIPLE

    def _is_slow_without_gain(self) -> bool:
        sizes = sorted(self.timings)
        if len(sizes) <= MAX_NO_GAIN or self.timings[sizes[-1]].seconds < LONG_STEP:
            return False
        best = max(self.timings[size].images_per_second for size in sizes[:-MAX_NO_GAIN])
        return all(self.timings[size].images_per_second < AS_FAST * best for size in sizes[-MAX_NO_GAIN:])

    def _bisect(self) -> int | None:
        """The next size to try; None if the search is precise enough."""
        low, high = max(self.timings), min(self.too_large)
        unit = MULTIPLE if low >= MULTIPLE else 1
        middle = (low + high) // 2 // unit * unit
        return middle if low < middle < high and high - low > low // 8 else None


def _fastest(timings: Iterable[StepTiming]) -> StepTiming:
    """The smallest batch that is as fast as the fastest."""
    ordered = sorted(timings, key=lambda timing: timing.batch_size)
    best = max(timing.images_per_second for timing in ordered)
    return next(timing for timing in ordered if AS_FAST * timing.images_per_second >= best)


def scaled_learning_rate(stage: Stage, batch_size: int) -> float:
    """Linear scaling for SGD, square root scaling for optimizers that normalize the gradients."""
    factor = batch_size / stage.batch_size
    return stage.learning_rate * (factor if stage.optimizer.name == "SGD" else math.sqrt(factor))


def _step_key(stage: Stage) -> tuple[Any, ...]:
    """What determines the time and the memory of a stage's steps."""
    of_optimizer = stage.optimizer.model_dump_json(), stage.layer_decay, stage.ema, stage.accumulate, stage.clip_norm
    return stage.image_size, stage.unfreeze.model_dump_json(), *of_optimizer


def find_stages(member: Member, name: str | None) -> list[int]:
    """The number of the stage with this name, or of all stages."""
    names = [stage.name for stage in member.settings.stages]
    if name is None:
        return list(range(len(names)))
    if name not in names:
        raise ConfigError(f"{member.name} has no stage {name!r}; expected one of {', '.join(names)}")
    return [names.index(name)]


def choose_precision(
    member: Member, console: Console, command: Sequence[str] = COMMAND, rows: int | None = None
) -> Precision:
    """The precision that a training of this member on so many rows uses; by default on many."""
    from podium.data.targets import target_of

    settings, target, channels = member.settings, target_of(member.competition), member.competition.reading.channels
    if settings.precision != "auto":
        return settings.precision
    with StepTimer(settings, target, settings.stages[0], command, channels) as timer:
        timer.start()
        if timer.gpus:
            return timer.auto_precision
    return choose_cpu_precision(settings, target, rows, console, channels=channels, command=command)


def draw_chart(found: FoundBatch, path: Path) -> None:
    """Images per second and memory by batch size, as PNG."""
    from matplotlib.figure import Figure

    timings, stage, gigabyte = found.timings, found.stage, 1e9
    sizes = [timing.batch_size for timing in timings]
    with open_style():
        figure = Figure(figsize=(7.6, 6.4), dpi=130, layout="constrained")
        speed, memory = figure.subplots(2, 1, sharex=True)
    speed.set_title(
        f"{found.member}, stage {stage.name}: {stage.image_size} px, {found.precision}", loc="left", parse_math=False
    )
    speed.plot(sizes, [timing.images_per_second for timing in timings], "o-")
    speed.plot(found.fastest.batch_size, found.fastest.images_per_second, "o", ms=9, label="fastest")
    if found.own:
        speed.plot(found.own.batch_size, found.own.images_per_second, "ko", ms=13, mfc="none", label="own batch size")
    speed.set(ylabel="images per second")
    memory.plot(sizes, [timing.memory / gigabyte for timing in timings], "o-", label="measured")
    if estimates := [batch for batch in found.too_large if batch.estimated_memory is not None]:
        estimated = [(batch.estimated_memory or 0) / gigabyte for batch in estimates]
        memory.plot([batch.batch_size for batch in estimates], estimated, "kx", label="estimated")
        if found.memory_limit is not None:
            memory.axhline(found.memory_limit / gigabyte, color="C3", label="limit")
    if tried := [batch.batch_size for batch in found.too_large if batch.estimated_memory is None]:
        memory.vlines(tried, 0, 1, transform=memory.get_xaxis_transform(), color="0.6", ls="--", label="did not fit")
    memory.set(xlabel="batch size", ylabel="memory of one GPU (GB)" if found.gpus else "memory (GB)")
    memory.set_xscale("log", base=2)
    memory.xaxis.set_major_formatter("{x:.0f}")
    for axes in (speed, memory):
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.legend(frameon=False)
    save_png(figure, path)
