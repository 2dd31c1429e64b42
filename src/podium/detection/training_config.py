"""The schema of a detector file's second half: the model, and how it is trained."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from podium.config.member import BackboneSettings, Precision
from podium.config.problems import raise_key_problems
from podium.config.settings import Positive, Settings
from podium.config.stage import Augmentation, Stage
from podium.detection.preset_config import DetectorBackbone

SHRINKS_BY = 32
"""The smallest features of the backbone are so many times smaller than the image."""
LEVELS = (3, 4, 5)
"""Of the backbone's features: 8, 16 and 32 times smaller than the image."""


class Anchors(Settings):
    """The boxes that are corrected into those that are found: at every place of every level, each in each shape."""

    size: Positive = 4.0
    """Times what the level shrinks by: 4 makes boxes of 32 pixels on the finest level, and doubles from each to the
    next."""
    scales: Annotated[int, Field(ge=1, le=5)] = 3
    """Sizes between one level and the next."""
    ratios: Annotated[list[Positive], Field(min_length=1)] = [0.5, 1.0, 2.0]
    """Height to width."""


class DetectionHead(Settings):
    layers: Annotated[int, Field(ge=1, le=8)] = 4
    """Convolutions before the last, for the classes and for the boxes each."""
    norm: bool = True
    """GroupNormalization after each, without which random weights hardly begin to learn."""


class DetectorTraining(Settings):
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    backbone: DetectorBackbone = BackboneSettings(name="ResNet50")
    levels: Annotated[int, Field(ge=5, le=7)] = 7
    """The coarsest level of features; each is half as fine as the one before. The backbone's end with 5, unless it is a
    whole RetinaNet's: then it ends as that does."""
    anchors: Anchors = Anchors()
    head: DetectionHead = DetectionHead()
    box_weight: Positive = 10.0
    """What the boxes' loss counts, against that of the classes."""
    resize: Literal["squash", "pad"] = "pad"
    augmentation: Augmentation = []
    stages: list[Stage] = []
    """None in a file that is only for building a set."""
    monitor: Literal["ap50", "ap", "iou"] = "ap50"
    """What decides which weights are best, on the validation part."""
    precision: Precision = "auto"
    cache_gb: Annotated[float, Field(ge=0.0)] = 10.0
    save_every: Positive = 10.0
    tensorboard: bool = False

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        names = [stage.name for stage in self.stages]
        smallest = self.backbone.minimum_size
        problems = []
        for number, stage in enumerate(self.stages):
            key = f"stages.{number}"
            if stage.name in names[:number]:
                problems.append((f"{key}.name", f"a stage before it is called {stage.name!r} too"))
            if stage.image_size % SHRINKS_BY or stage.image_size < smallest:
                least = f"a multiple of {SHRINKS_BY} pixels" + (f" from {smallest} on" * (smallest > SHRINKS_BY))
                problems.append((f"{key}.image_size", f"a detector takes {least}: got {stage.image_size}"))
            if stage.views is not None:
                problems.append((f"{key}.views", "a detector sees each image anew in every epoch: leave it out"))
        raise_key_problems(problems)
        return self
