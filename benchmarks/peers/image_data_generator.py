"""Keras's ImageDataGenerator, as in many courses, with Albumentations as its preprocessing_function.

It is a legacy class of Keras 3. `workers` was an argument of fit and is now an attribute of the iterator.
"""

from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import tensorflow as tf

from benchmarks.feeding import measure_arrays, measure_fit
from benchmarks.recipe import BATCH_SIZE, IMAGE_SIZE, transforms

AUGMENTATION = A.Compose(transforms())


def augment(image: np.ndarray) -> np.ndarray:
    return AUGMENTATION(image=image.astype("uint8"))["image"].astype("float32")


def training_data(folder: Path, workers: int = 1, use_multiprocessing: bool = False) -> Any:
    generator = tf.keras.preprocessing.image.ImageDataGenerator(preprocessing_function=augment)
    data = generator.flow_from_directory(
        folder,
        target_size=(IMAGE_SIZE, IMAGE_SIZE),
        batch_size=BATCH_SIZE,
        class_mode="categorical",
        shuffle=True,
        seed=42,
    )
    data.workers, data.use_multiprocessing = workers, use_multiprocessing
    return data


def arrays(folder: str, images: int) -> dict[str, Any]:
    return measure_arrays(
        lambda: training_data(Path(folder)), lambda data, _: (next(data) for _ in range(len(data))), images
    )


def fit(folder: str, images: int, workers: int = 1, use_multiprocessing: bool = False) -> dict[str, Any]:
    return measure_fit(lambda: training_data(Path(folder), workers, use_multiprocessing), images)
