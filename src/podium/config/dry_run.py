"""The same config, small: one epoch a stage on a few small pictures, to see the whole chain run before it counts."""

from dataclasses import replace
from itertools import count
from typing import Any

from podium.config.detector import DetectorSettings
from podium.config.loading import Detector, Member
from podium.config.member import MemberSettings
from podium.config.preset import STAND_IN
from podium.config.stage import Cosine, Schedule, Stage, Unfreeze

SMALL = 64
LARGER = 32
BATCH = 16
ROWS_PER_CLASS = 3
VIEWS = 2
DRY_RUN_PICTURES = 8
"""Of each part of a detector's set."""


def as_dry_run(member: Member) -> Member:
    """One epoch a stage, two views at the most, and random weights unless a path is given.

    Picture sizes keep their order, so that a stage with larger pictures is rehearsed as one.
    """
    settings = member.settings
    tta = settings.tta.model_copy(update={"views": settings.tta.views[:VIEWS]})
    smallest = max(SMALL, settings.backbone.minimum_size)
    return replace(member, settings=settings.model_copy(update={**_small(settings, smallest), "tta": tta}))


def as_dry_run_of_detector(detector: Detector) -> Detector:
    """One epoch a stage, and random weights unless a path is given.

    Where a stage learns from a layer on that only a preset has, it learns from the middle of what stands in for that.
    """
    settings = detector.settings
    smallest = next(size for size in count(SMALL, LARGER) if size >= settings.backbone.minimum_size)
    small = _small(settings, smallest)
    if small["backbone"] is STAND_IN:
        half = {"unfreeze": Unfreeze(layers=0.5)}
        small["stages"] = [
            stage.model_copy(update=half) if stage.unfreeze.from_ else stage for stage in small["stages"]
        ]
    return replace(detector, settings=settings.model_copy(update=small))


def _small(settings: MemberSettings | DetectorSettings, smallest: int) -> dict[str, Any]:
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
