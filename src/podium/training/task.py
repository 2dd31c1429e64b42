"""The interface between the trainer and a task: model, loss, batches and validation metrics.

Implemented by training/classification.py and detection/task.py."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from rich.console import Console

from podium.config.stage import Stage
from podium.data.batches import EpochBatches


@dataclass(frozen=True)
class StageContext:
    """Passed to a task when it prepares a stage, which can take as long as an epoch."""

    console: Console
    stop_if_requested: Callable[[float], None]
    """Called between two parts of the work. Stops if requested, or if the next part, which takes this many seconds,
    would exceed the time limit."""


@dataclass(frozen=True)
class StageSetup:
    """What Keras fits in a stage."""

    full_model: Any
    """The task's model, which is saved in checkpoints and used by the next stage."""
    model: Any
    """The full model, or one that shares all its trainable layers: a head on cached features."""
    batches: EpochBatches
    """The inputs of `model`."""
    seconds_per_image: float | None = None
    """Prediction time of the full model; None if it is measured during validation."""


class Task(Protocol):
    monitor: str
    """The metric of `validate` that decides which weights are best."""
    mode: Literal["max", "min"]

    def build(self, image_size: int, *, pretrained: bool) -> Any:
        """A Keras model for images of this size."""

    def backbone(self, model: Any) -> Any:
        """The part of the model below its head, whose groups of layers may have learning rates of their own."""

    def unfreeze(self, model: Any, stage: Stage) -> None:
        """Set which layers are trainable in this stage."""

    def compile(self, model: Any, optimizer: Any) -> None:
        """Compile the model with the task's loss."""

    def uncompiled(self, model: Any) -> Any:
        """A model with the same layers that is never compiled, to predict and save weights without an optimizer."""

    def load_weights(self, model: Any, file: Path, image_size: int) -> None:
        """Load weights that were saved of an uncompiled model for images of this size, which may be another one."""

    def prepare_stage(self, model: Any, number: int, stage: Stage, context: StageContext) -> StageSetup:
        """Return the model and the batches of this stage. Called after `unfreeze` and before `compile`."""

    def validate(self, model: Any, stage: Stage) -> dict[str, float]:
        """Compute the metrics of the fitted model on the validation rows, each named `val_…`."""

    @property
    def validation_count(self) -> int:
        """The number of images that `validate` predicts."""

    def write_reports(self, folder: Path) -> None:
        """Write reports about the last validation."""


@runtime_checkable
class SupportsCharts(Protocol):
    """A task with charts, drawn after every epoch."""

    def draw_charts(self, folder: Path, losses: Sequence[float], history: Sequence[Mapping[str, Any]]) -> None:
        """`losses` has one value for each step so far, `history` the metrics of each epoch."""
