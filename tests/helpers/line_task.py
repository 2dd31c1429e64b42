"""A regression line, learned in milliseconds: the smallest task that the trainer can train."""

import gc
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
from rich.console import Console

from podium.config.stage import Stage
from podium.data.batches import EpochBatches
from podium.errors import ConfigError, StoppedError
from podium.options import RunOptions
from podium.runs import Run
from podium.signals import StopCondition
from podium.training import trainer
from podium.training.session import Session
from podium.training.task import StageSetup

gc.freeze()  # as podium does: Keras collects garbage for every model, and TensorFlow's own objects would take long


def stage(name="one", **changes):
    settings = {"unfreeze": "all", "epochs": 2, "batch_size": 4, "image_size": 16, "learning_rate": 0.1}
    return Stage.model_validate(settings | {"name": name, "optimizer": "SGD"} | changes)


class Line(EpochBatches):
    """Signals of this length; the target is twice their mean, plus one."""

    def __init__(self, length, batch_size):
        super().__init__(16, batch_size, (0,))
        self.means = np.random.default_rng(0).uniform(-1, 1, (16, 1)).astype("float32")
        self.length = length
        self.epochs_seen = []

    def batch(self, rows, epoch):
        self.epochs_seen.append(epoch)
        return np.repeat(self.means[rows][..., None], self.length, axis=1), 2 * self.means[rows] + 1


class LineTask:
    """A regression, without classes, images or a backbone."""

    monitor, mode = "val_error", "min"

    def __init__(self, errors=None):
        self.errors = iter(errors) if errors else None
        self.built, self.made, self.reported = [], [], 0

    def build(self, image_size, *, pretrained):
        signals = keras.Input((image_size, 1))
        self.built.append((image_size, pretrained))
        self.model = keras.Model(signals, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(signals)))
        return self.model

    def backbone(self, model):
        return model

    def unfreeze(self, model, stage):
        if stage.unfreeze.from_ is not None:
            try:
                model.get_layer(stage.unfreeze.from_)
            except ValueError as error:
                raise ConfigError(str(error)) from None

    def compile(self, model, optimizer):
        model.compile(optimizer, "mse")

    def uncompiled(self, model):
        return keras.Model(model.inputs, model.outputs)

    def load_weights(self, model, file, image_size):
        self.uncompiled(model).load_weights(file)

    def batches(self, number, stage):
        self.made.append(Line(stage.image_size, stage.batch_size))
        return self.made[-1]

    def prepare_stage(self, model, number, stage, context):
        return StageSetup(model, model, self.batches(number, stage))

    def validate(self, model, stage):
        signals, targets = zip(*(Line(stage.image_size, 16)[0],), strict=True)
        error = float(np.square(keras.ops.convert_to_numpy(model(signals[0])) - targets[0]).mean())
        return {"val_error": next(self.errors) if self.errors else error}

    validation_count = 16

    def write_reports(self, folder):
        self.reported += 1


def started(folder):
    run, folds = Run(folder / "run" / "fold0"), folder / "folds.csv"
    folder.mkdir(exist_ok=True)
    folds.write_text("id,label,fold\n0.png,0,0\n", encoding="utf-8")
    run.start({"name": "tiny"}, folds)
    return run


def fit(run, stages, task=None, *, console=None, stop_condition=None, **settings):
    """Train the run, or resume it; `settings` are those of a member."""
    defaults = {"seed": 1, "tensorboard": False, "save_every": 10, "precision": "auto"}
    options = RunOptions(stop_condition=stop_condition or StopCondition(), command="podium train tiny.yaml --resume")
    settings = SimpleNamespace(**defaults | settings)
    session = Session.open(run, task or LineTask(), settings, options, console or Console(quiet=True))
    trainer.train(session, stages)


def trained(folder, stages, task=None, **options):
    run = started(folder)
    fit(run, stages, task, **options)
    return run


def weights_in(path):
    """All arrays of a weights file, by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, part: found.update({name: part[()]}) if isinstance(part, h5py.Dataset) else None)
    return found


def assert_same_weights(one, other):
    one, other = weights_in(one), weights_in(other)
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


class Rates(keras.callbacks.Callback):
    """The optimizer's own learning rate at every step, as `seen`."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(self.model.optimizer.learning_rate))


def watch(monkeypatch, *callbacks):
    """Add these callbacks after the trainer's own, but before the one that writes checkpoints."""
    made = trainer.stage_callbacks

    def with_more(*arguments):
        *most, last = made(*arguments)
        return [*most, *callbacks, last]

    monkeypatch.setattr(trainer, "stage_callbacks", with_more)


class Stop(keras.callbacks.Callback):
    """Calls `act` after this many steps."""

    def __init__(self, steps, act):
        super().__init__()
        self.left, self.act = steps, act

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.act()


def stopped(run, stages, steps, task=None, **options):
    """Train, and stop after this many steps; returns the message."""
    stop_condition = StopCondition()
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, Stop(steps, lambda: stop_condition.request("SIGTERM")))
        with pytest.raises(StoppedError) as error:
            fit(run, stages, task, stop_condition=stop_condition, **options)
    return str(error.value)


class Fail:
    """Replaces a function, and fails at its n-th call.

    With `under`, only calls whose `dir` argument is in that folder count.
    """

    def __init__(self, function, error, at, under=None):
        self.function, self.error, self.left, self.under = function, error, at, under

    def __get__(self, owner, kind=None):
        return partial(self, owner)  # for methods

    def __call__(self, *arguments, **options):
        if self.under is None or Path(options["dir"]).resolve().is_relative_to(self.under.resolve()):
            self.left -= 1
            if self.left == 0:
                raise self.error
        return self.function(*arguments, **options)
