"""The trainer: read this page to know what podium does with a model."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from rich.console import Console

from podium.config.stage import Stage
from podium.errors import ConfigError
from podium.models.devices import make_repeatable
from podium.runs import Run
from podium.training.callbacks import HistoryLog, ProgressReport, stage_callbacks
from podium.training.task import Task


def train(run: Run, stages: Sequence[Stage], task: Task, *, seed: int, tensorboard: bool, console: Console) -> None:
    """Fine-tune stage after stage, each from the best weights so far, and leave the best of all in the run folder."""
    make_repeatable(seed)
    with run.timed("training"):
        model = task.build(stages[0].image_size, pretrained=True)
        check_stages(model, stages, task)
        for number, stage in enumerate(stages):
            if number > 0:
                model = grown(model, stages[number - 1], stage, task, seed)
                take_best_weights(model, run, task)
            task.unfreeze(model, stage)
            task.compile(model, make_optimizer(stage))
            describe(model, stage, console)
            with run.timed(f"stage {stage.name}"):
                fit(model, run, task, number, stage, tensorboard, console)
            run.save_state(stages_done=number + 1)
    run.save_state(status="trained")


def check_stages(model: Any, stages: Sequence[Stage], task: Task) -> None:
    """Find now what a later stage would stumble over hours from here."""
    for stage in stages:
        task.unfreeze(model, stage)
        make_optimizer(stage)


def grown(model: Any, before: Stage, stage: Stage, task: Task, seed: int) -> Any:
    """The model for this stage: the same one, or one built for larger pictures."""
    if stage.image_size == before.image_size:
        return model
    make_repeatable(seed)  # Keras numbers nameless layers anew, so that a stage's `from` finds them again
    return task.build(stage.image_size, pretrained=False)


def take_best_weights(model: Any, run: Run, task: Task) -> None:
    task.plain(model).load_weights(run.best_weights)


def make_optimizer(stage: Stage) -> Any:
    kind = getattr(keras.optimizers, stage.optimizer.name)
    try:
        return kind(learning_rate=stage.learning_rate, **stage.optimizer.arguments)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"stage {stage.name}: {stage.optimizer.name} does not take {stage.optimizer.arguments} ({reason});"
            f" see keras.optimizers.{stage.optimizer.name} for its arguments"
        ) from None


def describe(model: Any, stage: Stage, console: Console) -> None:
    learning = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    epochs = f"{stage.epochs} epoch{'s' * (stage.epochs > 1)}"
    console.print(
        f"  stage {stage.name}: {epochs} at {stage.image_size} px, batches of {stage.batch_size},"
        f" {learning:,} of {model.count_params():,} weights learn"
    )


def fit(model: Any, run: Run, task: Task, number: int, stage: Stage, tensorboard: bool, console: Console) -> None:
    batches = task.batches(number, stage)
    callbacks = stage_callbacks(run, task, number, stage, batches, console, tensorboard)
    try:
        # Shuffling is the batches' own work: Keras would do it from a state that no one saved.
        model.fit(batches, epochs=stage.epochs, callbacks=callbacks, shuffle=False, verbose=0)
    finally:
        for callback in callbacks:
            if isinstance(callback, HistoryLog | ProgressReport):
                callback.close()
