"""What `precision: auto` means on CPUs that compute in bfloat16.

Some models are faster in it, others slower, so a few training steps are timed in both, once per machine and model.
"""

from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.member import MemberSettings
from podium.config.reading import RGB
from podium.config.stage import Precision, Stage
from podium.errors import PodiumError
from podium.files import digest_of, read_json, write_json
from podium.hardware import cpu_name, has_bfloat16
from podium.paths import cache_folder
from podium.training.step_timing import COMMAND, StepTimer

if TYPE_CHECKING:
    from podium.data.target import Target

FLOAT32: Precision = "float32"
BFLOAT16: Precision = "mixed_bfloat16"
MIN_SPEEDUP = 1.15
"""The required speedup of bfloat16: its gradients are coarser, and timings vary."""
MAX_ROUNDS, CLOSE = 3, (1.0, 1.5)
"""Both precisions are timed in turn; a speedup outside this range needs no more rounds."""
MIN_PIXELS = 2e9
"""Trainings with fewer pixels are not timed. About 1,250 steps of 32 images of 224 pixels, which take much longer than
the timing."""


def choose_cpu_precision(
    settings: MemberSettings,
    target: "Target",
    rows: int | None,
    console: Console,
    *,
    channels: int = RGB,
    supported: bool | None = None,
    command: Sequence[str] = COMMAND,
) -> Precision:
    """Choose the faster precision, from a cached or a new timing. `rows` is the number of training rows.

    Short trainings use float32 without timing; `rows=None` always times. `supported` and `command` are for tests.
    """
    stages = [stage for stage in settings.stages if not stage.unfreeze.is_none]
    if not stages or not (has_bfloat16() if supported is None else supported):
        return FLOAT32
    if rows is not None and rows * sum(map(_pixels, stages)) < MIN_PIXELS:
        return FLOAT32
    stage = max(stages, key=_pixels)
    key = _cache_key(settings, stage, channels)
    path = cache_folder() / "precision" / f"{digest_of(key)}.json"
    seconds, note = _read_seconds(path), " when timed before"
    if seconds is None:
        seconds, note = _time_both(settings, target, stage, channels, command), ""
        if seconds is None:
            return FLOAT32
        with suppress(OSError):  # timed again next time
            write_json(path, {"key": key, "seconds": seconds})
    chosen = BFLOAT16 if seconds[FLOAT32] >= MIN_SPEEDUP * seconds[BFLOAT16] else FLOAT32
    other = FLOAT32 if chosen == BFLOAT16 else BFLOAT16
    steps = {name: f"{1000 * value:.0f} ms" for name, value in seconds.items()}
    console.print(f"  precision: {chosen} ({steps[chosen]} per step, {other} {steps[other]}{note})", highlight=False)
    return chosen


def _pixels(stage: Stage) -> int:
    """The number of pixels of a row over all epochs."""
    return int(stage.epochs * stage.image_size**2)


def _cache_key(settings: MemberSettings, stage: Stage, channels: int) -> dict[str, Any]:
    """Everything that the timing depends on."""
    return {
        "cpu": cpu_name(),
        **{library: metadata.version(library) for library in ("tensorflow", "keras")},
        "backbone": settings.backbone.model_dump(mode="json", exclude={"weights"}),
        "channels": channels,
        "head": settings.head.model_dump(mode="json"),
        **stage.model_dump(mode="json", by_alias=True, include={"image_size", "batch_size", "unfreeze", "optimizer"}),
    }


def _read_seconds(path: Path) -> dict[str, float] | None:
    with suppress(PodiumError, TypeError, KeyError, ValueError):
        seconds = {str(name): float(read_json(path)["seconds"][name]) for name in (FLOAT32, BFLOAT16)}
        return seconds if min(seconds.values()) > 0 else None
    return None


def _time_both(
    settings: MemberSettings, target: "Target", stage: Stage, channels: int, command: Sequence[str]
) -> dict[str, float] | None:
    """Seconds of a step; None if they cannot be timed. In turn, so that other load on the machine affects both."""
    seconds: dict[Precision, list[float]] = {FLOAT32: [], BFLOAT16: []}
    with suppress(PodiumError, OSError), StepTimer(settings, target, stage, command, channels) as timer:
        for _ in range(MAX_ROUNDS):
            for precision, timings in seconds.items():
                timing = timer.time(stage.batch_size, precision)
                if timing is None:
                    return None
                timings.append(timing.seconds)
            medians = {str(precision): median(timings) for precision, timings in seconds.items()}
            if not CLOSE[0] < medians[FLOAT32] / medians[BFLOAT16] < CLOSE[1]:
                break
        return medians
    return None
