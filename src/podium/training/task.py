"""The interface between the trainer and what it trains: implemented for classifiers and for detectors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from rich.console import Console

from podium.config.stage import Stage
from podium.data.batches import EpochBatches


@dataclass(frozen=True)
class StageContext:
    """What a task may use while it prepares a stage, which can take as long as an epoch."""

    console: Console
    stop_if_requested: Callable[[float], None]
    """Called between two parts of the work: stops if requested, or if the next part, which takes this many seconds,
    would exceed the time limit."""


@dataclass(frozen=True)
class StageSetup:
    """What Keras fits in a stage."""

    full_model: Any
    """The task's model, which checkpoints contain and the next stage continues with."""
    model: Any
    """The full model, or one that shares all its trainable layers: a head on cached features."""
    batches: EpochBatches
    """The inputs of `model`."""
    seconds_per_image: float | None = None
    """To predict one with the full model; None where validation measures it."""


class Task(Protocol):
    monitor: str
    """The metric of `validate` that decides which weights are best."""
    mode: Literal["max", "min"]

    def build(self, image_size: int, *, pretrained: bool) -> Any:
        """A Keras model for images of this size."""

    def unfreeze(self, model: Any, stage: Stage) -> None:
        """Set which layers are trainable in this stage."""

    def compile(self, model: Any, optimizer: Any) -> None:
        """Compile the model with the task's loss."""

    def uncompiled(self, model: Any) -> Any:
        """A model of the same layers that is never compiled, so it predicts and saves without an optimizer."""

    def prepare_stage(self, model: Any, number: int, stage: Stage, context: StageContext) -> StageSetup:
        """What is fitted in this stage, and on what. Called after `unfreeze` and before `compile`."""

    def validate(self, model: Any, stage: Stage) -> dict[str, float]:
        """The metrics of the validation rows, each named `val_…`, by the model that is fitted."""

    @property
    def validation_count(self) -> int:
        """How many images `validate` predicts."""

    def write_reports(self, folder: Path) -> None:
        """Write reports about the last validation."""


@runtime_checkable
class SupportsCharts(Protocol):
    """A task with charts, drawn after every epoch."""

    def draw_charts(self, folder: Path, losses: Sequence[float], history: Sequence[Mapping[str, Any]]) -> None:
        """`losses` has one value for each step so far, `history` the metrics of each epoch."""
