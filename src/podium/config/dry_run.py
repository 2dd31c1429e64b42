"""A small version of a config that runs every step in a minute or two, for `--dry-run`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from podium.config.loading import Member
from podium.config.stage import Cosine, Schedule, Stage

MIN_SIZE = 64
SIZE_STEP = 32
BATCH_SIZE = 16
ROWS_PER_CLASS = 3
VIEWS = 2
ROWS_OF_NUMBERS = 24
"""For regression, which has no classes."""


def as_dry_run(member: Member) -> Member:
    """One epoch per stage, at most two views, and random weights unless they are a local file."""
    settings = member.settings
    changes = {
        "stages": shortened(settings.stages, max(MIN_SIZE, settings.backbone.minimum_size)),
        "backbone": settings.backbone.for_dry_run(),
        "tta": settings.tta.model_copy(update={"views": settings.tta.views[:VIEWS]}),
    }
    return replace(member, settings=settings.model_copy(update=changes))


def shortened(stages: Sequence[Stage], smallest: int) -> list[Stage]:
    """One epoch of small batches each. Image sizes keep their order, so that larger images are still tested."""
    sizes = sorted({stage.image_size for stage in stages})
    return [_shortened(stage, smallest + SIZE_STEP * sizes.index(stage.image_size)) for stage in stages]


def _shortened(stage: Stage, image_size: int) -> Stage:
    changes: dict[str, Any] = {"epochs": 1, "batch_size": BATCH_SIZE, "image_size": min(stage.image_size, image_size)}
    return stage.model_copy(update={**changes, "schedule": _schedule(stage)})


def _schedule(stage: Stage) -> Schedule:
    """The stage's schedule; a warm-up keeps its share of the stage."""
    schedule = stage.schedule
    if isinstance(schedule, Cosine):
        return schedule.model_copy(update={"warmup_epochs": schedule.warmup_epochs / stage.epochs})
    return schedule


def dry_run_rows(member: Member) -> int:
    """The number of training rows of a dry run, and of its validation rows."""
    return ROWS_PER_CLASS * len(member.competition.labels) or ROWS_OF_NUMBERS
