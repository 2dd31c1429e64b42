"""What `precision: auto` means on processors that compute in bfloat16: some models gain by it and others lose, so a few
train steps of the member's own are timed in both, once for a machine."""

from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from podium.config.member import MemberSettings, Precision
from podium.config.stage import Stage
from podium.errors import PodiumError
from podium.files import digest_of, read_json, write_json
from podium.hardware import has_bfloat16, processor_name
from podium.paths import cache_folder
from podium.training.trials import COMMAND, Trials

FULL, HALF = "float32", "mixed_bfloat16"
CLEARLY = 1.15
"""How many times as fast bfloat16 must be: its gradients are coarser, and timing has noise."""
ROUNDS, CLOSE = 3, (1.0, 1.5)
"""How often both take their turn, at most: outside this range the first turn has decided."""
PAYS_FROM = 2e9
"""Pixels that a training sees: about 1,250 steps of 32 images of 224 pixels, many times what the trial takes."""


def precision_by_trial(
    settings: MemberSettings,
    classes: int,
    rows: int | None,
    console: Console,
    *,
    able: bool | None = None,
    command: Sequence[str] = COMMAND,
) -> str:
    """Measured, or as it was on this machine before. `rows` are those that an epoch trains on.

    Without `rows` it is measured however short the training may be. `able` says what the processors can, in tests.
    """
    learning = [stage for stage in settings.stages if not stage.unfreeze.is_nothing]
    if not learning or not (has_bfloat16() if able is None else able):
        return FULL
    if rows is not None and rows * sum(map(_pixels, learning)) < PAYS_FROM:
        return FULL
    stage = max(learning, key=_pixels)
    place = _remembered_at(settings, stage)
    known, when = _remembered(place), " when measured here before"
    if known is None:
        known, when = _measured(settings, classes, stage, command), ""
        if known is None:
            return FULL
        with suppress(OSError):  # it is measured again next time
            write_json(place, {"of": _decisive(settings, stage), **known})
    chosen, other = (HALF, FULL) if known["precision"] == HALF else (FULL, HALF)
    steps = {name: f"{1000 * known['seconds'][name]:.0f} ms" for name in (FULL, HALF)}
    console.print(f"  precision: {chosen} ({steps[chosen]} a step, {other} {steps[other]}{when})", highlight=False)
    return chosen


def _pixels(stage: Stage) -> int:
    """That one row counts for, in all its epochs."""
    return int(stage.epochs * stage.image_size**2)


def _decisive(settings: MemberSettings, stage: Stage) -> dict[str, Any]:
    """All that the choice depends on, and nothing else: where this is the same, so is the choice."""
    parts: dict[str, Any] = stage.model_dump(
        mode="json", by_alias=True, include={"image_size", "batch_size", "unfreeze", "optimizer"}
    )
    return {
        "processor": processor_name(),
        **{library: metadata.version(library) for library in ("tensorflow", "keras")},
        "backbone": settings.backbone.model_dump(mode="json", exclude={"weights"}),
        "head": settings.head.model_dump(mode="json"),
        **parts,
    }


def _remembered_at(settings: MemberSettings, stage: Stage) -> Path:
    return cache_folder() / "precision" / f"{digest_of(_decisive(settings, stage))}.json"


def _remembered(place: Path) -> dict[str, Any] | None:
    with suppress(PodiumError, TypeError, KeyError, ValueError):
        known = read_json(place)
        if known.get("precision") in (FULL, HALF) and all(float(known["seconds"][name]) > 0 for name in (FULL, HALF)):
            return known
    return None


def _measured(settings: MemberSettings, classes: int, stage: Stage, command: Sequence[str]) -> dict[str, Any] | None:
    """By turns, so that whatever else the machine does meets both. None where it cannot be measured."""
    seconds: dict[Precision, list[float]] = {"float32": [], "mixed_bfloat16": []}
    with suppress(PodiumError, OSError), Trials(settings, classes, stage, command) as trials:
        for _ in range(ROUNDS):
            for precision, steps in seconds.items():
                timed = trials.run(stage.batch_size, precision)
                if timed is None:
                    return None
                steps.append(timed.seconds)
            medians = {str(precision): median(steps) for precision, steps in seconds.items()}
            if not CLOSE[0] < medians[FULL] / medians[HALF] < CLOSE[1]:
                break
        return {"precision": HALF if medians[FULL] >= CLEARLY * medians[HALF] else FULL, "seconds": medians}
    return None
