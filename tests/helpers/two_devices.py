"""Trainings on one and on two devices, in a process of its own: logical devices must be made before anything else.

python two_devices.py FOLDER        prints the results as JSON
"""

import hashlib
import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from line_task import Line, LineTask, fit, stage, started, stopped, trained, weights_in
from rich.console import Console

from podium.config.member import MemberSettings
from podium.data.image_cache import Cache
from podium.data.metadata import Metadata
from podium.data.targets import SingleLabelTarget
from podium.evaluation.metrics import METRICS
from podium.models import devices
from podium.training.classification import ClassificationTask, LabelledImages

TWO = ["CPU:0", "CPU:1"]
ROWS, BATCH = 13, 4
STEPS = 4
"""In an epoch: three batches of four rows, and one of a single row, which two devices cannot share."""


def draw(folder, count, start):
    random = np.random.default_rng(start)
    paths = [folder / f"{start + number}.png" for number in range(count)]
    for path in paths:
        cv2.imwrite(str(path), random.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    return LabelledImages(paths, np.arange(count) % 2, None, np.linspace(0.5, 2, count, dtype=np.float32))


class Trainings:
    def __init__(self, folder):
        self.folder, self.cache = folder, None
        self.training, self.validation = draw(folder, ROWS, 0), draw(folder, 6, 100)
        self.count = 0

    def place(self):
        self.count += 1
        return self.folder / str(self.count)

    def task(self, stages, **changes):
        content = {
            "competition": "none.yaml",
            "backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25},
            "head": {"l2": 0.01},
            "stages": [one.model_dump(mode="json", by_alias=True) for one in stages],
        }
        settings = MemberSettings.model_validate(content | changes)
        target, metric = SingleLabelTarget(["a", "b"]), METRICS["accuracy"]
        parts = [self.training, self.validation]
        if settings.metadata:
            numbers = [np.arange(len(part.truth), dtype=np.float32)[:, None] for part in parts]
            parts = [replace(part, metadata=column) for part, column in zip(parts, numbers, strict=True)]
        return ClassificationTask(
            settings, target, metric, *parts, 0, cache=self.cache, metadata=Metadata({"number": None})
        )

    def whole(self, names, stages, **changes):
        use(names)
        task, precision = self.task(stages, **changes), changes.get("precision", "auto")
        return message(trained(self.place(), stages, task, precision=precision))

    def broken(self, names, stages, steps, **changes):
        use(names)
        run, precision = started(self.place()), changes.get("precision", "auto")
        stopped(run, stages, steps, self.task(stages, **changes), precision=precision)
        fit(run, stages, self.task(stages, **changes), precision=precision)
        return message(run)


class Placed(keras.layers.Layer):
    """Adds a trained number for each place, as models of patches do."""

    def build(self, shape):
        self.places = keras.layers.Embedding(shape[1], 1)
        self.places.build((shape[1],))

    def call(self, signals):
        return signals + self.places(np.arange(signals.shape[1]))


class SharedLine(LineTask):
    """The line on all devices, in batches that two cannot share evenly."""

    def __init__(self, odd=None, placed=False):
        super().__init__()
        self.odd, self.placed = odd, placed

    def build(self, image_size, *, pretrained):
        together = devices.all_devices()
        with together.scope():
            signals = keras.Input((image_size, 1))
            placed = Placed()(signals) if self.placed else signals
            answers = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(placed))
            return together.make_model(signals, answers, name="line")

    def compile(self, model, optimizer):
        model.compile(optimizer=optimizer, loss=keras.losses.MeanSquaredError(), metrics=["mae"])

    def batches(self, number, stage):
        made = Line(stage.image_size, stage.batch_size)
        made._rows, made.means = 61, np.random.default_rng(0).uniform(-1, 1, (61, 1)).astype("float32")
        if self.odd is not None:
            made.means[made.order(0)[self.odd]] = 300
        return made


class Lines:
    def __init__(self, folder):
        self.folder, self.count = folder, 0

    def line(self, names, odd=None, stop_at=None, precision="auto", placed=False, **changes):
        """The metrics of an epoch; `odd` is the position of a signal of another magnitude."""
        use(names)
        self.count += 1
        stages, run, log = (
            [stage(epochs=1, batch_size=5, **changes)],
            started(self.folder / f"line{self.count}"),
            StringIO(),
        )
        if stop_at:
            stopped(run, stages, stop_at, SharedLine(odd, placed), precision=precision)
        fit(run, stages, SharedLine(odd, placed), precision=precision, console=Console(file=log, width=200))
        history = pd.read_csv(run.history)
        figures = {name: float(history[name][0]) for name in ("loss", "mae", "val_error")}
        return {**figures, "message": log.getvalue().splitlines()[0].partition(" trainable, ")[2]}


def lines(folder):
    line = Lines(folder).line
    together = {"optimizer": "AdamW", "accumulate": 3, "ema": 0.9, "layer_decay": 0.5, "clip_norm": 0.1}
    return {
        "whole": line(TWO),
        "whole, stopped": line(TWO, stop_at=7),
        "clipped": [line(names, clip_norm=0.1) for names in ([], TWO)],
        "overflown": line(TWO, odd=4, precision="mixed_float16", learning_rate=1e-3),
        "placed": [line(names, placed=True) for names in ([], TWO)],
        "together": [line(names, **together) for names in ([], TWO)],
        "together, stopped": line(TWO, stop_at=7, **together),
        "together, half": line(TWO, precision="mixed_float16", **together),
    }


def use(names):
    devices.gpu_names = lambda: names


def message(run):
    history = pd.read_csv(run.history)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in weights_in(run.best_weights).values()))
    figures = {name: history[name].tolist() for name in ("loss", "accuracy", "val_loss", "learning_rate")}
    return {**figures, "weights": digest.hexdigest()}


def main():
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    trainings = Trainings(Path(sys.argv[1]))
    plain = [stage(epochs=2, batch_size=BATCH, image_size=32, learning_rate=0.002)]
    rich = [
        stage(epochs=2, batch_size=BATCH, image_size=32, learning_rate=0.01, optimizer="Adam", schedule="cosine"),
        stage("two", epochs=1, batch_size=3, image_size=40, learning_rate=0.01, optimizer="AdamW"),
    ]
    learning = {"backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25, "freeze_batchnorm": False}}
    learning["head"] = {"l2": 0.01, "dropout": 0.2, "batchnorm": True, "dense": [4]}
    averaged = [
        stage(
            epochs=2,
            batch_size=BATCH,
            image_size=32,
            learning_rate=0.002,
            ema=0.9,
        )
    ]
    mixed = [stage(epochs=2, batch_size=BATCH, image_size=32, learning_rate=0.002, mixup=0.5, cutmix=1.0)]
    balanced = {"class_weights": {"b": 3.0}, "sampling": "sqrt", "loss": "focal"}
    half = {"precision": "mixed_float16"}
    results = {
        "one": trainings.whole([], plain),
        "two": trainings.whole(TWO, plain),
        "two, stopped": trainings.broken(TWO, plain, 2),
    }
    trainings.cache = Cache("two", 1.0)
    frozen = [stage(unfreeze="none", epochs=3, batch_size=BATCH, image_size=32, learning_rate=0.002)]
    results |= {
        "frozen, one": trainings.whole([], frozen),
        "frozen, two": trainings.whole(TWO, frozen),
        "frozen, two, stopped": trainings.broken(TWO, frozen, STEPS + 2),
    }
    trainings.cache = None
    results |= {
        "lines": lines(trainings.folder),
        "rich": trainings.whole(TWO, rich, **learning),
        "rich, stopped": trainings.broken(TWO, rich, STEPS + 3, **learning),
        "mixed, one": trainings.whole([], mixed, **balanced),
        "mixed, two": trainings.whole(TWO, mixed, **balanced),
        "averages, one": trainings.whole([], averaged),
        "averages, two": trainings.whole(TWO, averaged),
        "half, two": trainings.whole(TWO, plain, **half),
        "half, two, stopped": trainings.broken(TWO, plain, STEPS + 2, **half),
        "metadata, one": trainings.whole([], plain, metadata="all"),
        "metadata, two": trainings.whole(TWO, plain, metadata="all"),
        "bfloat": trainings.whole([], plain, precision="mixed_bfloat16"),
    }
    print(json.dumps(results))


main()
