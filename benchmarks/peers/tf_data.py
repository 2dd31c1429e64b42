"""Plain tf.data: decode_jpeg, resize, cache, Albumentations through numpy_function, prefetch."""

from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import tensorflow as tf

from benchmarks.feeding import measure_arrays, measure_fit
from benchmarks.recipe import BATCH_SIZE, IMAGE_SIZE, transforms

AUGMENTATION = A.Compose(transforms())


def read(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    return tf.cast(tf.image.resize(image, (IMAGE_SIZE, IMAGE_SIZE)), tf.uint8), label


def augment_array(image: np.ndarray) -> np.ndarray:
    return AUGMENTATION(image=image)["image"]


def augment(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.numpy_function(augment_array, [image], tf.uint8)
    return tf.ensure_shape(image, (IMAGE_SIZE, IMAGE_SIZE, 3)), label


def training_data(folder: Path) -> tf.data.Dataset:
    classes = sorted(path.name for path in folder.iterdir())
    paths = sorted(folder.glob("*/*.jpg"))
    labels = [classes.index(path.parent.name) for path in paths]
    data = tf.data.Dataset.from_tensor_slices(([str(path) for path in paths], tf.one_hot(labels, len(classes))))
    data = data.map(read, num_parallel_calls=tf.data.AUTOTUNE).cache()
    data = data.shuffle(1000, seed=42).map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def arrays(folder: str, images: int) -> dict[str, Any]:
    return measure_arrays(lambda: training_data(Path(folder)), lambda data, _: data.as_numpy_iterator(), images)


def fit(folder: str, images: int) -> dict[str, Any]:
    return measure_fit(lambda: training_data(Path(folder)), images)
