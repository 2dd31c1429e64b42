"""The schema of training: the stages of fine-tuning, and the keys that members and detectors share."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_serializer, model_validator

from podium.config.mixing import Mix
from podium.config.problems import one_of, raise_key_problems
from podium.config.settings import Count, NotInDigest, Positive, Seed, Settings, Share, short_form

OPTIMIZERS = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion", "Muon", "Nadam", "RMSprop",
    "SGD",
)  # fmt: skip
"""The optimizers of Keras. A test compares the two."""
STAGE_KEYS = {
    "learning_rate": "learning_rate", "global_clipnorm": "clip_norm", "gradient_accumulation_steps": "accumulate",
    "use_ema": "ema", "ema_momentum": "ema", "ema_overwrite_frequency": "ema",
}  # fmt: skip
"""Arguments of Keras's optimizers that are keys of a stage."""
DECAYING = ("AdamW", "Muon")
"""The optimizers with a weight decay by default."""
EPOCHS_PER_VIEW = 5
"""The default number of epochs that share a view of the images, while the backbone is frozen."""
Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]


class Unfreeze(Settings):
    """Which layers of the backbone are trained; the head always is. `none`, `all`, or one of the three keys."""

    from_: str | None = Field(default=None, alias="from")
    """The first layer whose name starts with this, and every later layer, including shortcut layers."""
    parameters: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """The last layers that together have at least this share of the backbone's parameters."""
    layers: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """The last layers, at least this share of all."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, dict | Unfreeze):
            return value
        if value not in ("none", "all"):
            raise ValueError(
                f"expected none, all, {{from: BLOCK}}, {{parameters: 0.3}} or {{layers: 0.3}}, got {value!r}"
            )
        return {"layers": 0.0 if value == "none" else 1.0}

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.from_, self.parameters, self.layers)) != 1:
            raise ValueError("expected one of the keys from, parameters and layers, or none, or all")
        return self

    @property
    def is_none(self) -> bool:
        """Whether the whole backbone is frozen."""
        return 0.0 in (self.parameters, self.layers)

    @model_serializer
    def _as_yaml(self) -> Any:
        if self.layers is not None:
            return {0.0: "none", 1.0: "all"}.get(self.layers, {"layers": self.layers})
        return {"from": self.from_} if self.from_ is not None else {"parameters": self.parameters}


class Optimizer(Settings):
    """A Keras optimizer and its arguments."""

    name: str
    """A class of keras.optimizers."""
    arguments: dict[str, Any] = {}
    """Arguments of the Keras optimizer, such as {weight_decay: 1e-4} or {momentum: 0.9, nesterov: true}."""
    decay_kernels_only: bool = False
    """Apply weight_decay to kernels only: not to biases, the scales of normalization layers, or embeddings."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return one_of(name, OPTIMIZERS, "a Keras optimizer")

    @field_validator("arguments")
    @classmethod
    def _have_no_keys_of_the_stage(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        raise_key_problems(
            [("", f"set {name} with the stage's key {key}") for name, key in STAGE_KEYS.items() if name in arguments]
        )
        return arguments

    @model_validator(mode="after")
    def _decays(self) -> Self:
        if self.decay_kernels_only and self.name not in DECAYING and not self.arguments.get("weight_decay"):
            raise_key_problems([("decay_kernels_only", f"{self.name} decays no weights: set its weight_decay")])
        return self


class Constant(Settings):
    """The learning rate does not change."""

    kind: Literal["constant"]


class Exponential(Settings):
    """Multiplied by `decay` after every epoch."""

    kind: Literal["exponential"]
    decay: Share = 0.9


class Step(Settings):
    """Multiplied by `factor` after every `every` epochs."""

    kind: Literal["step"]
    every: Count
    factor: Share = 0.1


class Cosine(Settings):
    """A linear warm-up, then a cosine decay to `final` times the learning rate."""

    kind: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0.0)] = 0.0
    """The length of the warm-up, which may be a part of an epoch."""
    final: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class OneCycle(Settings):
    """A cosine from `1/start` of the learning rate up to it, for a share `warmup` of the stage, then to `1/end`."""

    kind: Literal["one_cycle"]
    warmup: Share = 0.3
    start: Annotated[float, Field(gt=1.0)] = 25.0
    """How many times smaller the first learning rate is."""
    end: Annotated[float, Field(gt=1.0)] = 1e4
    """How many times smaller the last learning rate is."""


class Plateau(Settings):
    """Multiplied by `factor` when the monitored value has not improved for `patience` epochs."""

    kind: Literal["plateau"]
    patience: Count = 2
    factor: Share = 0.3
    minimum: Annotated[float, Field(ge=0.0)] = 1e-7
    """The learning rate does not fall below it."""


Schedule = Annotated[
    Constant | Exponential | Step | Cosine | OneCycle | Plateau, Field(discriminator="kind"), short_form("kind")
]


def _are_transforms(transforms: list[Any]) -> list[Any]:
    raise_key_problems(
        [
            (
                str(number),
                f"expected a transform such as HorizontalFlip or {{Rotate: {{limit: 10}}}}, got {transform!r}",
            )
            for number, transform in enumerate(transforms)
            if not _is_transform(transform)
        ]
    )
    return transforms


def _is_transform(transform: Any) -> bool:
    if isinstance(transform, str):
        return transform[:1].isupper()
    if not isinstance(transform, dict) or len(transform) != 1:
        return False
    name, arguments = next(iter(transform.items()))
    return isinstance(name, str) and name[:1].isupper() and isinstance(arguments, dict)


Augmentation = Annotated[list[Any], AfterValidator(_are_transforms)]
"""Albumentations by name: `HorizontalFlip`, or `Rotate: {limit: 10}`; `data/augmentation.py` checks and builds them."""


class Average(Settings):
    """The epochs of a stage whose weights are averaged: one of these keys."""

    last: Annotated[int, Field(ge=2)] | None = None
    """How many of the last epochs."""
    best: Annotated[int, Field(ge=2)] | None = None
    """How many of the epochs with the best validation metric."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.last is None) == (self.best is None):
            raise ValueError("expected one of the keys last and best, such as {last: 3}")
        return self

    @property
    def count(self) -> int:
        return self.last or self.best or 0


class Stage(Settings):
    """A stage of fine-tuning: which layers are trained, for how long, how fast, on which image size."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    """In messages, charts and `history.csv`."""
    unfreeze: Unfreeze
    """Which layers of the backbone are trained: none, all, {from: BLOCK}, {parameters: 0.3} or {layers: 0.3}."""
    epochs: Count
    """The largest number of epochs."""
    batch_size: Count
    """Images per step; `podium find-batch` finds the fastest."""
    image_size: Annotated[int, Field(ge=16, le=2048)]
    """Width and height in pixels."""
    optimizer: Optimizer = Optimizer(name="Adam")
    """A Keras optimizer: its name, or {name: SGD, momentum: 0.9}."""
    learning_rate: Positive
    """The largest learning rate of its schedule."""
    schedule: Schedule = Constant(kind="constant")
    """How the learning rate changes: its kind alone, or {kind: cosine, warmup_epochs: 1}."""
    layer_decay: Share | None = None
    """Lower learning rates for earlier layers: each group of the backbone's layers has the rate of the next group times
    this, such as 0.8; the head has the full rate."""
    ema: Share | None = None
    """Validate and save moving averages of the weights instead of the weights; this is their momentum, such as 0.999.
    Training continues without them."""
    average: Average | None = None
    """At the end of the stage, the mean of the weights after several epochs, {last: 3} or {best: 3}, replaces the best
    weights if it has a better validation metric."""
    accumulate: Annotated[int, Field(ge=2)] | None = None
    """Update the weights with the mean gradient of this many batches, when a large batch does not fit into memory."""
    clip_norm: Positive | None = None
    """The largest norm of all gradients together; longer ones are shortened to it."""
    augmentation: Augmentation | None = None
    """Replaces the config's augmentation in this stage."""
    mixup: Mix | None = None
    """Blend each image with another one of its batch, and their targets: alpha, or {alpha: 0.2, probability: 0.5}."""
    cutmix: Mix | None = None
    """Replace a rectangle of each image by that of another one, and mix their targets: alpha, or
    {alpha: 1, probability: 0.5}. With mixup too, each batch is mixed by one of the two, drawn at random."""
    plain_epochs: Annotated[int, Field(ge=0)] = 0
    """So many epochs at the end of the stage do not mix images."""
    early_stopping: Count | None = None
    """End the stage after this many epochs without improvement."""
    views: Count | None = None
    """Only with `unfreeze: none`: the number of augmented views of each image, used by the epochs in turn, so
    that the backbone computes each view once. One per five epochs by default; with as many views as epochs, each epoch
    has its own, as in any other stage."""

    @property
    def mixes_images(self) -> bool:
        return self.mixup is not None or self.cutmix is not None

    @property
    def shared_views(self) -> int | None:
        """How many views the epochs share; None if each epoch has its own, as mixed images have."""
        if not self.unfreeze.is_none or self.mixes_images:
            return None
        views = self.views or math.ceil(self.epochs / EPOCHS_PER_VIEW)
        return views if views < self.epochs else None

    @field_validator("optimizer", mode="before")
    @classmethod
    def _short_optimizer(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "name" in value and "arguments" not in value:
            own = {key: part for key, part in value.items() if key in Optimizer.model_fields}
            return {**own, "arguments": {key: part for key, part in value.items() if key not in own}}
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        if isinstance(self.schedule, Cosine) and self.schedule.warmup_epochs >= self.epochs:
            shorter = f"the warm-up must be shorter than the stage's {self.epochs} epochs"
            problems.append(("schedule.warmup_epochs", f"{shorter}, got {self.schedule.warmup_epochs:g}"))
        if self.views is not None and not self.unfreeze.is_none:
            problems.append(("views", "epochs share views only if the backbone is frozen (unfreeze: none): remove it"))
        elif self.views is not None and self.mixes_images:
            problems.append(("views", "with mixup or cutmix every epoch has its own images: remove it"))
        if self.layer_decay is not None and self.unfreeze.is_none:
            problems.append(("layer_decay", "the backbone is frozen (unfreeze: none): remove it"))
        if self.average is not None and self.average.count > self.epochs:
            problems.append(("average", f"the stage has only {self.epochs} epochs, got {self.average.count}"))
        others = [name for name in ("clipnorm", "clipvalue") if self.optimizer.arguments.get(name) is not None]
        if self.clip_norm is not None and others:
            problems.append(("clip_norm", f"the optimizer clips by {others[0]} already: remove one of the two"))
        if self.plain_epochs and not self.mixes_images:
            problems.append(("plain_epochs", "no epoch mixes images: add mixup or cutmix, or remove it"))
        elif self.plain_epochs >= self.epochs:
            problems.append(("plain_epochs", f"expected fewer than the stage's {self.epochs} epochs"))
        if self.mixes_images and self.batch_size == 1:
            problems.append(("batch_size", "mixup and cutmix need batches of two images or more"))
        raise_key_problems(problems)
        return self


class TrainingSettings(Settings):
    """The keys that member and detector files share."""

    seed: Seed = 42
    """Decides all random numbers of the training."""
    augmentation: Augmentation = []
    """Albumentations transforms, such as [HorizontalFlip, {Rotate: {limit: 10}}]."""
    stages: list[Stage] = []
    """The stages of fine-tuning, in order; each starts from the best weights so far."""
    precision: Precision = "auto"
    """The dtype of computations; weights are always float32. auto: mixed_float16 on GPUs that benefit from it; on CPUs
    mixed_bfloat16 if it makes the steps of a long training clearly faster; else float32."""
    cache_gb: Annotated[float, Field(ge=0.0), NotInDigest] = 10.0
    """Disk space for decoded images and features, in the cache folder; 0 disables the cache."""
    save_every: Annotated[Positive, NotInDigest] = 10.0
    """Minutes between checkpoints within an epoch. A checkpoint is always saved at the end of an epoch."""
    tensorboard: Annotated[bool, NotInDigest] = False
    """Write TensorBoard logs into the run folder."""

    def transforms_of(self, stage: Stage) -> list[Any]:
        """The augmentation of a stage."""
        return self.augmentation if stage.augmentation is None else stage.augmentation

    def problems_of_stage(self, stage: Stage) -> list[tuple[str, str]]:
        """Problems of a stage with these settings, as (key, message)."""
        return []

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        names = [stage.name for stage in self.stages]
        problems = []
        for number, stage in enumerate(self.stages):
            if stage.name in names[:number]:
                problems.append((f"stages.{number}.name", f"duplicate stage name {stage.name!r}"))
            problems += [(f"stages.{number}.{key}", message) for key, message in self.problems_of_stage(stage)]
        raise_key_problems(problems)
        return self
