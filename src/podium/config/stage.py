"""The schema of one stage of fine-tuning: what learns, for how long, how fast, on what size of image."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_serializer, model_validator

from podium.config.problems import one_of, raise_key_problems
from podium.config.settings import Count, Positive, Settings, short_form

OPTIMIZERS = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion", "Muon", "Nadam", "RMSprop",
    "SGD",
)  # fmt: skip
"""Keras's optimizers, by their names there. A test compares."""
EPOCHS_A_VIEW = 5
"""Of a frozen backbone, where `views` is left out."""


class Unfreeze(Settings):
    """Which part of the backbone learns; the head always does. `none`, `all`, or one of the three keys."""

    from_: str | None = Field(default=None, alias="from")
    """From the first layer whose name starts so, and every later layer, shortcut layers too."""
    parameters: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """The last layers that together hold at least this share of the backbone's parameters."""
    layers: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """The last layers, at least this share of their number."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, dict | Unfreeze):
            return value
        if value not in ("none", "all"):
            raise ValueError(
                f"expected none, all, {{from: BLOCK}}, {{parameters: 0.3}} or {{layers: 0.3}}: got {value!r}"
            )
        return {"layers": 0.0 if value == "none" else 1.0}

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.from_, self.parameters, self.layers)) != 1:
            raise ValueError("expected one of the keys from, parameters and layers (or just none, or all)")
        return self

    @property
    def is_nothing(self) -> bool:
        return 0.0 in (self.parameters, self.layers)

    @model_serializer
    def _as_yaml(self) -> Any:
        if self.layers is not None:
            return {0.0: "none", 1.0: "all"}.get(self.layers, {"layers": self.layers})
        return {"from": self.from_} if self.from_ is not None else {"parameters": self.parameters}


class Optimizer(Settings):
    name: str
    arguments: dict[str, Any] = {}
    """Passed to the Keras optimizer, such as `{weight_decay: 1e-4}` or `{momentum: 0.9, nesterov: true}`."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return one_of(name, OPTIMIZERS, "a Keras optimizer")

    @field_validator("arguments")
    @classmethod
    def _rate_has_its_place(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if "learning_rate" in arguments:
            raise ValueError("the learning rate is the stage's own key learning_rate")
        return arguments


class Constant(Settings):
    kind: Literal["constant"]


class Exponential(Settings):
    """Times `decay` after every epoch."""

    kind: Literal["exponential"]
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9


class Step(Settings):
    """Times `factor` after every `every` epochs."""

    kind: Literal["step"]
    every: Count
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1


class Cosine(Settings):
    """Up from near nothing over the warm-up, then down along a cosine to `final` of the learning rate."""

    kind: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0.0)] = 0.0
    final: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class OneCycle(Settings):
    """Up from `1/start` of the learning rate over the `warmup` share of the stage, then down to `1/end` of it."""

    kind: Literal["one_cycle"]
    warmup: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    start: Annotated[float, Field(gt=1.0)] = 25.0
    end: Annotated[float, Field(gt=1.0)] = 1e4


class Plateau(Settings):
    """Times `factor` when the monitored figure has not improved for `patience` epochs."""

    kind: Literal["plateau"]
    patience: Count = 2
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    minimum: Annotated[float, Field(ge=0.0)] = 1e-7


Schedule = Annotated[
    Constant | Exponential | Step | Cosine | OneCycle | Plateau, Field(discriminator="kind"), short_form("kind")
]


def _written_as_transforms(transforms: list[Any]) -> list[Any]:
    raise_key_problems(
        [
            (
                str(number),
                f"expected a transform such as HorizontalFlip or {{Rotate: {{limit: 10}}}}: got {transform!r}",
            )
            for number, transform in enumerate(transforms)
            if not _is_written_as_transform(transform)
        ]
    )
    return transforms


def _is_written_as_transform(transform: Any) -> bool:
    if isinstance(transform, str):
        return transform[:1].isupper()
    if not isinstance(transform, dict) or len(transform) != 1:
        return False
    name, arguments = next(iter(transform.items()))
    return isinstance(name, str) and name[:1].isupper() and isinstance(arguments, dict)


Augmentation = Annotated[list[Any], AfterValidator(_written_as_transforms)]
"""Albumentations by name: `HorizontalFlip`, or `Rotate: {limit: 10}`; `data/augmentation.py` builds and checks them."""


class Stage(Settings):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    unfreeze: Unfreeze
    epochs: Count
    batch_size: Count
    image_size: Annotated[int, Field(ge=16, le=2048)]
    optimizer: Optimizer = Optimizer(name="Adam")
    learning_rate: Positive
    schedule: Schedule = Constant(kind="constant")
    augmentation: Augmentation | None = None
    """In this stage instead of the member's."""
    early_stopping: Count | None = None
    """Epochs without improvement after which the stage ends."""
    views: Count | None = None
    """Only with `unfreeze: none`: so many augmented views of each image take turns, epoch after epoch, and what the
    backbone makes of them is computed once. When left out, one for every five epochs begun. With as many as epochs,
    each epoch has its own, as in any other stage."""

    @property
    def shared_views(self) -> int | None:
        """How many views the epochs take turns with; none where each epoch has its own."""
        if not self.unfreeze.is_nothing:
            return None
        views = self.views or math.ceil(self.epochs / EPOCHS_A_VIEW)
        return views if views < self.epochs else None

    @field_validator("optimizer", mode="before")
    @classmethod
    def _short_optimizer(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "name" in value and "arguments" not in value:
            return {"name": value["name"], "arguments": {key: part for key, part in value.items() if key != "name"}}
        return value

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if isinstance(self.schedule, Cosine) and self.schedule.warmup_epochs >= self.epochs:
            ends = f"the warm-up ends before the stage does, after {self.epochs} epochs"
            raise_key_problems([("schedule.warmup_epochs", f"{ends}: got {self.schedule.warmup_epochs:g}")])
        return self

    @model_validator(mode="after")
    def _views_are_of_a_frozen_backbone(self) -> Self:
        if self.views is not None and not self.unfreeze.is_nothing:
            raise_key_problems(
                [("views", "epochs share views only where the backbone is frozen (unfreeze: none): leave it out")]
            )
        return self
