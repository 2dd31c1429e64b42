"""A detector file, read and validated; and the same config, small, for a dry run."""

from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from podium.config.dry_run import LARGER, SMALL, shortened
from podium.config.loading import ExtraCheck, load_settings
from podium.config.stage import Unfreeze
from podium.config.yaml_file import Overrides, read_yaml
from podium.detection.config import STAND_IN, DetectorSettings

DRY_RUN_IMAGES = 8
"""Of each part of a detector's set."""


@dataclass(frozen=True)
class Detector:
    """A detector file, read: its name is the file's stem."""

    name: str
    settings: DetectorSettings


def load_detector(
    path: Path, overrides: Overrides = (), seed: int | None = None, check: ExtraCheck | None = None
) -> Detector:
    return Detector(path.stem, load_settings(DetectorSettings, path, overrides, seed, check))


def is_detector(path: Path) -> bool:
    """Whether a file is a detector's; one that cannot be read is told when it is loaded."""
    return "source" in read_yaml(path).content


def as_dry_run_of_detector(detector: Detector) -> Detector:
    """One epoch a stage, and random weights unless a path is given.

    Where a stage learns from a layer on that only a preset has, it learns from the middle of what stands in for that.
    """
    settings = detector.settings
    smallest = next(size for size in count(SMALL, LARGER) if size >= settings.backbone.minimum_size)
    stages, backbone = shortened(settings.stages, smallest), settings.backbone.for_dry_run()
    if backbone is STAND_IN:
        half = {"unfreeze": Unfreeze(layers=0.5)}
        stages = [stage.model_copy(update=half) if stage.unfreeze.from_ else stage for stage in stages]
    return replace(detector, settings=settings.model_copy(update={"stages": stages, "backbone": backbone}))
