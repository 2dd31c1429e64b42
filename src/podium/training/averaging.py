"""The mean of the weights after several epochs of a stage: `average: {last: 3}` or `{best: 3}`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from podium.config.stage import Average
from podium.training.checkpoints import Arrays, Checkpoint

if TYPE_CHECKING:
    from podium.training.callbacks import Validation
    from podium.training.session import StageRun

Weights = Sequence[NDArray[Any]]
_SCORES, _WEIGHTS = "scores", "epoch"
"""The parts of a checkpoint: the score of each epoch, and the weights of each in a part of its own."""


@dataclass
class EpochWeights:
    """The validated weights of the epochs to average, by epoch."""

    average: Average
    mode: Literal["max", "min"]
    weights: dict[int, Weights] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    def add(self, epoch: int, score: float, model: Any) -> None:
        """Keep the model's weights after an epoch, and forget those of an epoch that is not averaged any more."""
        self.weights[epoch] = copy_weights(model)
        self.scores[epoch] = score
        if len(self.weights) > self.average.count:
            dropped = min(self.weights) if self.average.last else self._worst()
            del self.weights[dropped], self.scores[dropped]

    def _worst(self) -> int:
        """Of equal scores, the later epoch."""
        sign = 1 if self.mode == "max" else -1
        return min(self.scores, key=lambda epoch: (sign * self.scores[epoch], -epoch))

    def mean(self) -> list[NDArray[Any]]:
        return mean_weights(self.weights.values())

    def capture(self) -> Arrays:
        """For a checkpoint."""
        scores = {f"{_SCORES}/{epoch:05d}": np.array(score) for epoch, score in self.scores.items()}
        weights = {
            f"{_WEIGHTS}{epoch}/{number:05d}": array
            for epoch, arrays in self.weights.items()
            for number, array in enumerate(arrays)
        }
        return {**scores, **weights}

    def restore(self, checkpoint: Checkpoint) -> None:
        self.scores = {epoch: float(score) for epoch, score in checkpoint.part(_SCORES).items()}
        self.weights = {epoch: list(checkpoint.part(f"{_WEIGHTS}{epoch}").values()) for epoch in self.scores}


def copy_weights(model: Any) -> Weights:
    return [keras.ops.convert_to_numpy(weight).copy() for weight in model.weights]


class AverageEpochs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """At the end of the stage's last epoch, validates the mean of the weights, and saves it if it is the best."""

    def __init__(self, stage_run: "StageRun", validation: "Validation", kept: EpochWeights) -> None:
        super().__init__()
        self._session, self._stage = stage_run.session, stage_run.stage
        self._validation, self._kept = validation, kept

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """After early stopping has decided, and before the checkpoint."""
        is_last = epoch + 1 >= self._stage.epochs or self.model.stop_training
        epochs = sorted(self._kept.weights)
        if not is_last or len(epochs) < 2:
            return
        progress, monitor = self._session.progress, self._session.task.monitor
        best, weights = progress.best, copy_weights(self.model)
        assert best
        self.model.set_weights(self._kept.mean())
        score = self._validation.validate(epoch, averaged=epochs)[monitor]
        self.model.set_weights(weights)
        result = "not better than" if progress.best is best else "better than"
        self._session.console.print(
            f"  {self._stage.name}: the mean of epochs {', '.join(str(epoch + 1) for epoch in epochs)} has"
            f" {monitor} {score:.4f}, {result} {best['score']:.4f}",
            highlight=False,
        )


def mean_weights(models: Iterable[Sequence[NDArray[Any]]]) -> list[NDArray[Any]]:
    """Of all variables of these models, statistics of BatchNormalization included."""
    return [np.mean(parts, axis=0, dtype=np.float64).astype(parts[0].dtype) for parts in zip(*models, strict=True)]
