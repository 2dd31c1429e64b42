"""Keras's guide to transfer learning: image_dataset_from_directory, augmentation layers, a frozen base, a head.

As in the guide, the base model runs with training=False, and images are cached and prefetched. The guide caches after
the augmentation, so that every epoch has the same images; here the cache comes before it.
"""

import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from benchmarks.peers.progress import print_epoch, print_trained, write_answers
from benchmarks.recipe import BATCH_SIZE

AUGMENTATION = keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)])


def read(folder: Path, size: int, shuffle: bool) -> tf.data.Dataset:
    data = keras.utils.image_dataset_from_directory(
        folder,
        image_size=(size, size),
        batch_size=BATCH_SIZE,
        label_mode="categorical",
        shuffle=shuffle,
        seed=42,
        verbose=False,
    )
    return data.cache()


def training_data(folder: Path, size: int) -> tf.data.Dataset:
    data = read(folder, size, shuffle=True)
    data = data.map(lambda x, y: (AUGMENTATION(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    return data.prefetch(tf.data.AUTOTUNE)


def validation_data(folder: Path, size: int) -> tf.data.Dataset:
    return read(folder, size, shuffle=False).prefetch(tf.data.AUTOTUNE)


def build(size: int, classes: int, weights: str | None) -> keras.Model:
    base = keras.applications.MobileNetV2(weights=weights, input_shape=(size, size, 3), include_top=False)
    base.trainable = False
    inputs = keras.Input(shape=(size, size, 3))
    x = keras.layers.Rescaling(scale=1 / 127.5, offset=-1)(inputs)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


def frozen_stage(
    training: str, validation: str, size: int, epochs: int, weights: str | None, seed: int
) -> dict[str, Any]:
    """The guide's first training, from folders of images to a validated head."""
    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    train_ds, validation_ds = training_data(Path(training), size), validation_data(Path(validation), size)
    model = build(size, len(list(Path(training).iterdir())), weights)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3), loss=keras.losses.CategoricalCrossentropy(), metrics=["accuracy"]
    )
    history = model.fit(train_ds, epochs=epochs, validation_data=validation_ds, verbose=0)
    return {"seconds": time.perf_counter() - start, "accuracy": history.history["val_accuracy"][-1]}


def whole_guide(split: str, test: str, size: int, epochs: int, fine_epochs: int, weights: str, seed: int) -> None:
    """The guide's two trainings, and predictions with and without a flip.

    The head trains for 20 epochs, or until the validation accuracy stops rising; then all layers for 10 at 1e-5.
    """
    keras.utils.set_random_seed(seed)
    training, validation = Path(split) / "training", Path(split) / "validation"
    train_ds, validation_ds = training_data(training, size), validation_data(validation, size)
    classes = sorted(path.name for path in training.iterdir())
    model = build(size, len(classes), weights)
    stop = keras.callbacks.EarlyStopping(monitor="val_accuracy", patience=3, restore_best_weights=True)
    _fit(model, 1e-3, train_ds, validation_ds, epochs, [stop])
    model.get_layer(index=2).trainable = True  # the base; it still runs in inference mode
    _fit(model, 1e-5, train_ds, validation_ds, fine_epochs, [])
    print_trained()
    images = sorted(Path(test).iterdir())
    test_ds = keras.utils.image_dataset_from_directory(
        test, labels=None, image_size=(size, size), batch_size=BATCH_SIZE, shuffle=False, verbose=False
    )
    probabilities = model.predict(test_ds, verbose=0)
    write_answers("plain", images, [classes[column] for column in probabilities.argmax(axis=1)])
    flipped = test_ds.map(tf.image.flip_left_right)
    probabilities = model.predict(test_ds, verbose=0) + model.predict(flipped, verbose=0)
    write_answers("flip", images, [classes[column] for column in probabilities.argmax(axis=1)])


def _fit(model: keras.Model, rate: float, train_ds: Any, validation_ds: Any, epochs: int, callbacks: list[Any]) -> None:
    model.compile(
        optimizer=keras.optimizers.Adam(rate), loss=keras.losses.CategoricalCrossentropy(), metrics=["accuracy"]
    )
    report = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print_epoch(epoch + 1, epochs, logs["val_accuracy"])
    )
    model.fit(train_ds, epochs=epochs, validation_data=validation_ds, verbose=0, callbacks=[report, *callbacks])
