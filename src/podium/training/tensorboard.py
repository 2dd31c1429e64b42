"""TensorBoard logs of a stage: Keras's scalars, its settings, and images of its first batch."""

from typing import Any

import keras
import numpy as np

from podium.training.session import StageRun

IMAGES = 8


def tensorboard_callbacks(stage_run: StageRun) -> list[Any]:
    folder = stage_run.session.run.path / "tensorboard" / f"{stage_run.number}-{stage_run.stage.name}"
    return [keras.callbacks.TensorBoard(folder), StageDetails(stage_run, str(folder))]


class StageDetails(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Writes the settings of the stage as hyperparameters, and some images as the model gets them."""

    def __init__(self, stage_run: StageRun, folder: str) -> None:
        super().__init__()
        self._stage_run, self._folder = stage_run, folder

    def on_train_begin(self, logs: Any = None) -> None:
        import tensorflow as tf
        from tensorboard.plugins.hparams import api

        session, stage = self._stage_run.session, self._stage_run.stage
        settings = {"seed": session.progress.seed, **stage.model_dump(mode="json", by_alias=True)}
        images = np.asarray(keras.tree.flatten(self._stage_run.setup.batches[0])[0])
        writer = tf.summary.create_file_writer(self._folder)
        with writer.as_default():
            api.hparams({name: _plain(value) for name, value in settings.items() if value is not None})
            if images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] in (1, 3):
                tf.summary.image("first batch", images[:IMAGES], step=session.progress.epoch, max_outputs=IMAGES)
        writer.close()


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
