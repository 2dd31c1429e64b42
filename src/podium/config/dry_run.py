"""The same config, small: one epoch a stage on a few small images, to see the whole chain run before it counts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from podium.config.loading import Member
from podium.config.stage import Cosine, Schedule, Stage

SMALL = 64
LARGER = 32
BATCH = 16
ROWS_PER_CLASS = 3
VIEWS = 2


class RehearsableBackbone(Protocol):
    def rehearsed(self) -> Any: ...


class Rehearsable(Protocol):
    """Settings of anything that is trained in stages."""

    @property
    def stages(self) -> Sequence[Stage]: ...

    @property
    def backbone(self) -> RehearsableBackbone: ...


def as_dry_run(member: Member) -> Member:
    """One epoch a stage, two views at the most, and random weights unless a path is given.

    Image sizes keep their order, so that a stage with larger images is rehearsed as one.
    """
    settings = member.settings
    tta = settings.tta.model_copy(update={"views": settings.tta.views[:VIEWS]})
    smallest = max(SMALL, settings.backbone.minimum_size)
    return replace(member, settings=settings.model_copy(update={**shortened(settings, smallest), "tta": tta}))


def shortened(settings: Rehearsable, smallest: int) -> dict[str, Any]:
    """Its stages and its backbone."""
    sizes = sorted({stage.image_size for stage in settings.stages})
    stages = [
        stage.model_copy(
            update={
                "epochs": 1,
                "batch_size": BATCH,
                "image_size": min(stage.image_size, smallest + LARGER * sizes.index(stage.image_size)),
                "schedule": _shortened(stage),
            }
        )
        for stage in settings.stages
    ]
    return {"stages": stages, "backbone": settings.backbone.rehearsed()}


def _shortened(stage: Stage) -> Schedule:
    """A warm-up keeps its share of the stage."""
    schedule = stage.schedule
    if isinstance(schedule, Cosine):
        return schedule.model_copy(update={"warmup_epochs": schedule.warmup_epochs / stage.epochs})
    return schedule


def dry_run_rows(member: Member) -> int:
    """How many rows a dry run trains on and validates on."""
    return ROWS_PER_CLASS * len(member.competition.labels)
