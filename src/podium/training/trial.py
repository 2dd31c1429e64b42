"""Train steps of a member's own model on images made in memory, timed: what batches and precisions are chosen by."""

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from podium.config.member import MemberSettings, Precision
from podium.config.stage import Stage
from podium.data.batches import EpochBatches
from podium.hardware import peak_memory
from podium.models import devices
from podium.training.classification import ClassificationTask, LabelledImages
from podium.training.trainer import built, make_optimizer
from podium.training.training_progress import Progress

WARM_UP = 2
"""Steps before any counts: the first makes the graph, the second still takes memory."""
TIMED_SECONDS, FEWEST, MOST = 3.0, 3, 20
"""For how long steps are timed, and how many at least and at most."""
LONG, FEWEST_OF_LONG = 5.0, 2
"""Seconds of a step from which fewer will do: they vary little."""


class StageTrial:
    """One stage of a member, with as many classes as its competition has and weights as they are drawn."""

    def __init__(self, settings: MemberSettings, classes: int, stage: Stage) -> None:
        self._settings, self._classes, self._stage = settings, classes, stage
        self._models: dict[str, Any] = {}

    def measure(self, batch_size: int, precision: Precision) -> dict[str, Any]:
        """Seconds of each timed step, and the most memory that they took."""
        model = self._model(precision)
        before, gpus = peak_memory(), devices.names_of_gpus()
        for gpu in gpus:
            tf.config.experimental.reset_memory_stats(gpu.removeprefix("/device:"))
        try:
            warm = self._fit(model, batch_size, WARM_UP)[-1]
            few = FEWEST if warm < LONG else FEWEST_OF_LONG
            timed = self._fit(model, batch_size, 1 + min(MOST, max(few, round(TIMED_SECONDS / max(warm, 1e-3)))))[1:]
        except Exception as error:
            if devices.is_out_of_memory(error):
                return {"fits": False}
            raise
        peaks = [tf.config.experimental.get_memory_info(gpu.removeprefix("/device:"))["peak"] for gpu in gpus]
        memory = max(peaks) if peaks else peak_memory()
        return {"fits": True, "seconds": timed, "memory": int(memory), "before": 0 if peaks else before}

    def _model(self, precision: Precision) -> Any:
        """As the trainer makes it for the stage."""
        if precision not in self._models:
            names, none = [str(one) for one in range(self._classes)], LabelledImages([], np.zeros(0, np.int64))
            task = ClassificationTask(self._settings, names, "accuracy", none, none, fold=0)
            progress = Progress(self._settings.seed, devices.resolved(precision))
            model = built(self._stage, task, progress, pretrained=False)
            task.unfreeze(model, self._stage)
            with devices.scope_of(model):
                task.compile(model, make_optimizer(self._stage))
            self._models[precision] = model
        return self._models[precision]

    def _fit(self, model: Any, batch_size: int, steps: int) -> list[float]:
        batches = MadeUp(self._stage.image_size, self._classes, batch_size, steps)
        clock = Clock()
        with devices.fed(model, batches) as feed:
            model.fit(feed, callbacks=[clock], shuffle=False, verbose=0)
        return clock.seconds


class MadeUp(EpochBatches):
    """Batches that need no files, each in memory of its own, as those of a training are."""

    def __init__(self, image_size: int, classes: int, batch_size: int, steps: int) -> None:
        super().__init__(steps * batch_size, batch_size, (0,))
        random = np.random.default_rng(0)
        self._images = random.integers(0, 256, (batch_size, image_size, image_size, 3), dtype=np.uint8)
        self._targets = np.eye(classes, dtype=np.float32)[random.integers(0, classes, batch_size)]

    def batch(self, rows: NDArray[np.int64], epoch: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        return self._images.copy(), self._targets


class Clock(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Seconds of each step, from the end of the one before: waiting for the batch is part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._last = 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        float((logs or {})["loss"])  # of a GPU, which answers before it is done, the number itself is waited for
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now
