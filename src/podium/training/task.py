"""What the trainer asks of the thing it trains: the one small interface between classifiers and detectors."""

from pathlib import Path
from typing import Any, Literal, Protocol

from podium.config.stage import Stage
from podium.data.batches import EpochBatches


class Task(Protocol):
    monitor: str
    """The figure of `validate` that decides which weights are best."""
    mode: Literal["max", "min"]

    def build(self, image_size: int, *, pretrained: bool) -> Any:
        """A Keras model for pictures of this size."""

    def unfreeze(self, model: Any, stage: Stage) -> None:
        """Say which layers learn in this stage."""

    def compile(self, model: Any, optimizer: Any) -> None:
        """Give the model its loss."""

    def plain(self, model: Any) -> Any:
        """The same layers as a model that is never compiled, to predict with and to save: no optimizer hangs on it."""

    def batches(self, number: int, stage: Stage) -> EpochBatches:
        """What the stage trains on."""

    def validate(self, model: Any, stage: Stage) -> dict[str, float]:
        """The figures of the validation rows, each named `val_…`."""

    @property
    def validation_count(self) -> int:
        """How many pictures `validate` predicts."""

    def report(self, folder: Path) -> None:
        """Write what a person wants to know of the rows last validated."""
