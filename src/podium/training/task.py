"""What the trainer asks of the thing it trains: the one small interface between classifiers and detectors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from rich.console import Console

from podium.config.stage import Stage
from podium.data.batches import EpochBatches


@dataclass(frozen=True)
class StageContext:
    """Who looks on while a task gets ready for a stage, which may take as long as an epoch."""

    console: Console
    stop_if_asked: Callable[[float], None]
    """Between two parts of the work: stops here if that is asked for, or if the next one, of so many seconds, would
    take too long."""


@dataclass(frozen=True)
class StageSetup:
    """What Keras fits in a stage."""

    whole: Any
    """The task's model: what is saved, and gone on with in the next stage."""
    model: Any
    """The whole, or another model of the same layers that holds all that learns: a head on kept features."""
    batches: EpochBatches
    """What that model takes."""
    seconds_per_image: float | None = None
    """What it takes to predict one with the whole, where only getting ready has shown it."""


class Task(Protocol):
    monitor: str
    """The figure of `validate` that decides which weights are best."""
    mode: Literal["max", "min"]

    def build(self, image_size: int, *, pretrained: bool) -> Any:
        """A Keras model for images of this size."""

    def unfreeze(self, model: Any, stage: Stage) -> None:
        """Say which layers learn in this stage."""

    def compile(self, model: Any, optimizer: Any) -> None:
        """Give the model its loss."""

    def plain(self, model: Any) -> Any:
        """The same layers as a model that is never compiled, to predict with and to save: no optimizer hangs on it."""

    def learner(self, whole: Any, number: int, stage: Stage, watch: StageContext) -> StageSetup:
        """What is fitted in this stage, and on what. The layers that learn are told already; it is compiled later."""

    def validate(self, model: Any, stage: Stage) -> dict[str, float]:
        """The figures of the validation rows, each named `val_…`, by the model that is fitted."""

    @property
    def validation_count(self) -> int:
        """How many images `validate` predicts."""

    def report(self, folder: Path) -> None:
        """Write what a person wants to know of the rows last validated."""


@runtime_checkable
class SupportsCharts(Protocol):
    """A task with charts, which are drawn again after every epoch."""

    def draw(self, folder: Path, losses: Sequence[float], history: Sequence[Mapping[str, Any]]) -> None:
        """`losses` are those of all steps so far, `history` has the figures of each epoch."""
