"""Loading a detector file, and its smaller config for a dry run."""

from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from podium.config.dry_run import MIN_SIZE, SIZE_STEP, IsAtHand, smaller_training
from podium.config.loading import ExtraCheck, load_settings
from podium.config.yaml_file import Overrides
from podium.detection.config import DetectorSettings

DRY_RUN_IMAGES = 8
"""Per part of the dataset."""


@dataclass(frozen=True)
class Detector:
    """A loaded detector file; the name is the file's stem."""

    name: str
    settings: DetectorSettings


def load_detector(
    path: Path, overrides: Overrides = (), seed: int | None = None, check: ExtraCheck | None = None
) -> Detector:
    return Detector(path.stem, load_settings(DetectorSettings, path, overrides, seed, check))


def as_dry_run_of_detector(detector: Detector, is_at_hand: IsAtHand = lambda preset: False) -> Detector:
    """One epoch per stage, small images, and random weights unless a path is given."""
    settings = detector.settings
    smallest = next(size for size in count(MIN_SIZE, SIZE_STEP) if size >= settings.backbone.minimum_size)
    changes = smaller_training(settings.stages, settings.backbone, is_at_hand, smallest)
    return replace(detector, settings=settings.model_copy(update=changes))
