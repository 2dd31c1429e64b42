"""A small version of a config that runs every step in a minute or two, for `--dry-run`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from podium.config.backbone_settings import STAND_IN, AnyBackbone, PresetSettings
from podium.config.loading import Member
from podium.config.stage import Cosine, Schedule, Stage, Unfreeze

MIN_SIZE, SIZE_STEP = 64, 32
PRESET_SIZE = 224
"""A multiple of the patches of all transformers, of 14, 16 and 32 pixels."""
BATCH_SIZE = 16
ROWS_PER_CLASS = 3
VIEWS = 2
ROWS_OF_NUMBERS = 24
"""For regression, which has no classes."""

IsAtHand = Callable[[PresetSettings], bool]
"""Whether a preset that is not a folder can be built without internet."""


def as_dry_run(member: Member, is_at_hand: IsAtHand = lambda preset: False) -> Member:
    """One epoch per stage, at most two views, and random weights unless they are a local file."""
    settings = member.settings
    is_preset = isinstance(settings.backbone, PresetSettings)
    sizes = (PRESET_SIZE, PRESET_SIZE) if is_preset else (max(MIN_SIZE, settings.backbone.minimum_size), SIZE_STEP)
    changes = smaller_training(settings.stages, settings.backbone, is_at_hand, *sizes)
    if changes["backbone"] is STAND_IN and settings.head.pooling == "token":
        changes["head"] = settings.head.model_copy(update={"pooling": "avg"})
    changes["soup"] = None  # trained like any other member
    one_size = {"image_sizes": [], "average_sizes": False}
    changes["tta"] = settings.tta.model_copy(update={"views": settings.tta.views[:VIEWS], **one_size})
    return replace(member, settings=settings.model_copy(update=changes))


def smaller_training(
    stages: Sequence[Stage],
    backbone: AnyBackbone,
    is_at_hand: IsAtHand,
    smallest: int,
    step: int = SIZE_STEP,
) -> dict[str, Any]:
    """The stages with one epoch of small images each, and a backbone that needs no download.

    Image sizes keep their order, so that larger images are still tested. A preset that is not at hand is replaced; a
    stage that unfreezes from one of its layers unfreezes half of the other backbone.
    """
    sizes = sorted({stage.image_size for stage in stages})
    stages = [_shortened(stage, smallest + step * sizes.index(stage.image_size)) for stage in stages]
    small = _without_download(backbone, is_at_hand)
    if small is STAND_IN:
        half = {"unfreeze": Unfreeze(layers=0.5)}
        stages = [stage.model_copy(update=half) if stage.unfreeze.from_ else stage for stage in stages]
    return {"stages": stages, "backbone": small}


def _without_download(backbone: AnyBackbone, is_at_hand: IsAtHand) -> AnyBackbone:
    if isinstance(backbone, PresetSettings):
        if backbone.is_a_folder:
            return backbone
        random = backbone.model_copy(update={"weights": "none"})
        return random if is_at_hand(random) else STAND_IN
    return backbone if backbone.weights_are_a_path else backbone.model_copy(update={"weights": "none"})


def _shortened(stage: Stage, image_size: int) -> Stage:
    changes: dict[str, Any] = {"epochs": 1, "batch_size": BATCH_SIZE, "image_size": min(stage.image_size, image_size)}
    return stage.model_copy(update={**changes, "plain_epochs": 0, "schedule": _schedule(stage)})


def _schedule(stage: Stage) -> Schedule:
    """The stage's schedule; a warm-up keeps its share of the stage."""
    schedule = stage.schedule
    if isinstance(schedule, Cosine):
        return schedule.model_copy(update={"warmup_epochs": schedule.warmup_epochs / stage.epochs})
    return schedule


def dry_run_rows(member: Member) -> int:
    """The number of training rows of a dry run, and of its validation rows."""
    return ROWS_PER_CLASS * len(member.competition.labels) or ROWS_OF_NUMBERS
