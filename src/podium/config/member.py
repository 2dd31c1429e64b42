"""The schema of a member file: one model of the ensemble, from its backbone to its test-time views."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from podium.config.backbones import BACKBONES
from podium.config.kaggle_place import KaggleKind, KagglePlace, is_at_kaggle
from podium.config.problems import one_of, raise_key_problems
from podium.config.settings import Count, Positive, Settings
from podium.config.stage import Augmentation, Stage
from podium.config.tta import TestTimeViews

NAMED_WEIGHTS = ("imagenet", "noisy-student", "none")
Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]


class BackboneSettings(Settings):
    name: str
    weights: str = "imagenet"
    """imagenet, noisy-student, none, a path (seen from where podium is run, or absolute), or a file at Kaggle:
    `kaggle-dataset:<owner>/<slug>/<file>`, or `kaggle-kernel:` the same, which a kernel's metadata then attaches."""
    freeze_batchnorm: bool = True
    """BatchNormalization of the backbone keeps ImageNet's statistics, also where its neighbours learn."""
    alpha: Positive | None = None
    """Width multiplier, for the MobileNets and SmallResNet."""

    @model_validator(mode="before")
    @classmethod
    def _of_the_table(cls, value: Any) -> Any:
        if isinstance(value, dict) and "preset" in value:  # a detector's is read as another kind, in config/preset.py
            only = "only a detector's backbone may be a preset of KerasHub: name one of keras.applications instead"
            raise_key_problems([("preset", f"{only}, such as name: ResNet50")])
        return value

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return one_of(name, BACKBONES, "a backbone")

    @field_validator("weights")
    @classmethod
    def _named_or_a_path(cls, weights: str) -> str:
        if is_at_kaggle(weights):
            return _checked_place(weights)
        is_a_path = bool(set(weights) & set("/\\."))
        return weights if is_a_path else one_of(weights, NAMED_WEIGHTS, "a name of weights or a path to a file of them")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = []
        row = BACKBONES[self.name]
        if self.weights == "noisy-student" and self.weights not in row.weights:
            exist = "noisy-student weights exist for efficientnet.EfficientNetB0 to B7"
            problems.append(("weights", f"{exist}, not for {self.name}"))
        elif self.weights == "imagenet" and self.weights not in row.weights:
            problems.append(("weights", f"{self.name} has no imagenet weights: say none, or a path to a file of them"))
        if self.alpha is not None and not row.widths:
            problems.append(("alpha", f"alpha is a width for the MobileNets; {self.name} has none: leave it out"))
        raise_key_problems(problems)
        return self

    @property
    def weights_are_a_path(self) -> bool:
        """On this machine."""
        return self.weights not in NAMED_WEIGHTS and self.kaggle_source is None

    @property
    def is_fetched(self) -> bool:
        """From the internet."""
        return self.weights in NAMED_WEIGHTS and not self.begins_at_random

    @property
    def begins_at_random(self) -> bool:
        return self.weights == "none"

    @property
    def minimum_size(self) -> int:
        """Of its images."""
        return BACKBONES[self.name].minimum_size

    def rehearsed(self) -> "BackboneSettings":
        """As a dry run builds it: with random weights unless a path is given."""
        return self if self.weights_are_a_path else self.model_copy(update={"weights": "none"})

    @property
    def kaggle_source(self) -> tuple[KaggleKind, str] | None:
        """What a kernel has to attach for them: a dataset or a kernel, and its owner/slug."""
        place = KagglePlace.parse(self.weights)
        return place.source if place else None

    @property
    def kaggle_file(self) -> str | None:
        """The file's path within that source."""
        place = KagglePlace.parse(self.weights)
        return place.inside if place else None


def _checked_place(weights: str) -> str:
    place = KagglePlace.parse(weights)
    if place is None or place.kind == "competition" or not place.inside:
        raise ValueError(
            "expected kaggle-dataset:<owner>/<slug>/<file> or kaggle-kernel:<owner>/<slug>/<file>, such as"
            f" kaggle-kernel:ada/podium-weights/Xception-imagenet.weights.h5: got {weights!r}"
        )
    return weights


class Head(Settings):
    pooling: Literal["avg", "max", "gem"] = "avg"
    """Average, maximum, or the generalised mean between the two, whose exponent is learned."""
    batchnorm: bool = False
    dense: list[Count] = []
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    l2: Annotated[float, Field(ge=0.0)] = 0.0


class MemberSettings(Settings):
    competition: str
    """The competition file, seen from this one."""
    folds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    """Which of the competition's folds to train; all when left out."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    backbone: BackboneSettings
    head: Head = Head()
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    resize: Literal["squash", "crop", "pad"] = "squash"
    augmentation: Augmentation = []
    stages: Annotated[list[Stage], Field(min_length=1)]
    monitor: Literal["metric", "loss"] = "metric"
    """What decides which weights are best: the competition's metric or the loss, both on the validation rows."""
    precision: Precision = "auto"
    """What is computed in; weights are float32 always. auto: mixed_float16 on GPUs that gain from it; on processors
    mixed_bfloat16 where a long training's own steps are clearly faster in it; else float32."""
    cache_gb: Annotated[float, Field(ge=0.0)] = 10.0
    """What decoded images and features may take of the disk, in the cache folder; 0 keeps none."""
    save_every: Positive = 10.0
    """Minutes between checkpoints within an epoch. At the end of an epoch one is saved anyway."""
    tensorboard: bool = False
    tta: TestTimeViews = TestTimeViews()

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        names = [stage.name for stage in self.stages]
        smallest = self.backbone.minimum_size
        problems = []
        for number, stage in enumerate(self.stages):
            if stage.name in names[:number]:
                problems.append((f"stages.{number}.name", f"a stage before it is called {stage.name!r} too"))
            if stage.image_size < smallest:
                least = f"{self.backbone.name} takes images of {smallest} pixels or more"
                problems.append((f"stages.{number}.image_size", f"{least}: got {stage.image_size}"))
        raise_key_problems(problems)
        return self
