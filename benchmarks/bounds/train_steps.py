"""Training steps alone: podium's model of a stage in `fit`, on one batch in memory, without validation or saving.

And `predict` alone: the same model on arrays in memory.
"""

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from podium.config.loading import Member, load_member
from podium.data.targets import target_of
from podium.models.backbone import unfreeze
from podium.models.classifier import BACKBONE, build_classifier


def load_bench_member(folder: str, member: dict[str, Any]) -> Member:
    """The member on that competition, as podium reads it."""
    from benchmarks.podium_side import write_member

    return load_member(write_member(folder, member))


class Clock(keras.callbacks.Callback):
    """The end of the last step. Excludes what `fit` and `predict` do afterwards: tf.data may wait for seconds there."""

    ended = 0.0

    def on_train_end(self, logs=None):
        self.ended = time.perf_counter()

    on_predict_end = on_train_end


def build(member: Member, precision: str) -> keras.Model:
    settings, stage = member.settings, member.settings.stages[0]
    keras.config.set_dtype_policy(precision)
    model = build_classifier(settings, target_of(member.competition), stage.image_size)
    unfreeze(model.get_layer(BACKBONE), stage.unfreeze, settings.backbone.freeze_batchnorm)
    model.compile(
        optimizer=keras.optimizers.Adam(stage.learning_rate), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def random_images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def seconds(
    folder: str, member: dict[str, Any], precision: str, steps: int, epochs: int, validation: int
) -> dict[str, Any]:
    """Seconds including building the model, as in a stage; and separately those of `predict` after every epoch."""
    read = load_bench_member(folder, member)
    stage = read.settings.stages[0]
    classes = len(read.competition.labels)
    batch = (
        random_images(stage.batch_size, stage.image_size),
        np.eye(classes, dtype="float32")[[0] * stage.batch_size],
    )
    to_validate = random_images(validation, stage.image_size)
    start = time.perf_counter()
    model = build(read, precision)
    data = tf.data.Dataset.from_tensors(batch).repeat()
    clock = Clock()
    model.fit(data, steps_per_epoch=steps, epochs=epochs, verbose=0, callbacks=[clock])
    seconds = clock.ended - start
    validation = 0.0
    for _ in range(epochs):
        start = time.perf_counter()
        model.predict(to_validate, batch_size=stage.batch_size, verbose=0, callbacks=[clock])
        validation += clock.ended - start
    return {"seconds": seconds, "validation_seconds": validation}


def predict_seconds(folder: str, member: dict[str, Any], precision: str, images: int) -> dict[str, Any]:
    read = load_bench_member(folder, member)
    model = build(read, precision)
    ready = random_images(images, read.settings.stages[0].image_size)
    start = time.perf_counter()
    clock = Clock()
    model.predict(ready, batch_size=read.settings.stages[0].batch_size, verbose=0, callbacks=[clock])
    return {"seconds": clock.ended - start}
