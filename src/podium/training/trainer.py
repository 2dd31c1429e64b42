"""The trainer: read this page to know what podium does with a model."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from rich.console import Console

from podium.changes import forget_request, requests
from podium.config.stage import Stage
from podium.errors import ConfigError
from podium.files import SMALL_FILES, report_full_disk
from podium.models import devices
from podium.models.devices import make_repeatable, precision_of
from podium.training.callbacks import ProgressReport, stage_callbacks
from podium.training.checkpoint_callbacks import TakeUpMetrics
from podium.training.checkpoints import Arrays, Checkpoint
from podium.training.model_state import seeds_of, take_up_model, take_up_optimizer
from podium.training.session import Session
from podium.training.task import StageSetup, Task
from podium.training.training_progress import Progress, spell_position


def train(session: Session, stages: Sequence[Stage]) -> None:
    """Fine-tune stage after stage, each from the best weights so far, and leave the best of all in the run folder.

    A session that found a checkpoint goes on from there: the end is the same, bit for bit, as without the break.
    """
    with session.stop_condition.defer_signals(), report_full_disk(session.run.path, SMALL_FILES, "the training"):
        train_stages(session, stages)


def train_stages(session: Session, stages: Sequence[Stage]) -> None:
    progress, task = session.progress, session.task
    if session.saved and progress.is_complete and progress.stage == len(stages) - 1:
        finish(session, stages[-1], session.saved.arrays)
        return
    model = built(stages[progress.stage], task, progress, pretrained=session.saved is None)
    check_stages(model, stages, task)
    if session.saved:
        take_up_model(model, session.saved)
        session.write_history()
    for number, stage in enumerate(stages):
        if number < progress.stage or (number == progress.stage and progress.is_over(stage)):
            continue
        if number > progress.stage:
            model = grown(model, stages[number - 1], stage, task, progress)
            take_best_weights(model, session)
        goes_on = number == progress.stage and progress.position != (number, 0, 0)
        if not goes_on:
            progress.enter(number, stage)
        task.unfreeze(model, stage)
        describe(model, stage, session.console)
        with session.telling_of_full_memory(number, stage):
            learner = task.learner(model, number, stage, session.watch(stage))
            with devices.scope_of(learner.model):
                task.compile(learner.model, make_optimizer(stage))
            fit(learner, session, number, stage, session.saved if goes_on else None)
    finish(session, stages[-1], seeds_of(model))


def check_stages(model: Any, stages: Sequence[Stage], task: Task) -> None:
    """Find now what a later stage would stumble over hours from here."""
    for stage in stages:
        task.unfreeze(model, stage)
        make_optimizer(stage)


def built(stage: Stage, task: Task, progress: Progress, *, pretrained: bool) -> Any:
    make_repeatable(progress.seed)  # Keras also numbers nameless layers anew, so that a stage's `from` finds them again
    with precision_of(progress.precision):
        return task.build(stage.image_size, pretrained=pretrained)


def grown(model: Any, before: Stage, stage: Stage, task: Task, progress: Progress) -> Any:
    """The model for this stage: the same one, or one built for larger images."""
    return model if stage.image_size == before.image_size else built(stage, task, progress, pretrained=False)


def take_best_weights(model: Any, session: Session) -> None:
    assert session.progress.best
    session.task.plain(model).load_weights(session.run.path / session.progress.best["file"])


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
        f" {learning:,} of {model.count_params():,} weights learn{devices.described(model, stage)}"
    )


def fit(learner: StageSetup, session: Session, number: int, stage: Stage, saved: Checkpoint | None) -> None:
    """The rest of the stage. Of an epoch that was broken off, first what it lacks: Keras knows only whole ones."""
    progress, model, batches = session.progress, learner.model, learner.batches
    session.pace_of(learner)
    batches.epoch = progress.epoch
    batches.resume_after(progress.step, progress.rows)
    callbacks = stage_callbacks(session, number, stage, learner)
    if saved:
        session.console.print(f"  going on from {spell_position(stage, progress)}", highlight=False)
        take_up_optimizer(model, saved)
    session.tell_state("training", stage, batches.steps)
    session.stop_if_asked(stage, session.seconds_to_begin(learner))

    def fit_until(epochs: int, *more: Any) -> None:
        with devices.fed(model, batches) as feed:
            # Shuffling is the batches' own work: Keras would do it from a state that no one saved.
            model.fit(
                feed,
                initial_epoch=progress.epoch,
                epochs=epochs,
                callbacks=[*callbacks, *more],
                shuffle=False,
                verbose=0,
            )

    try:
        if saved and progress.step:
            fit_until(progress.epoch + 1, TakeUpMetrics(saved, batches))
        if not progress.is_over(stage):
            fit_until(stage.epochs)
    finally:
        for callback in callbacks:
            if isinstance(callback, ProgressReport):
                callback.close()
        session.saves.forget_unfinished()


def finish(session: Session, last: Stage, seeds: Arrays) -> None:
    """The best weights take their place; of the checkpoints stays what a further stage would need."""
    progress = session.progress
    assert progress.best
    progress.best = session.saves.bring_out_best(progress.best)
    progress.is_complete = True
    session.saves.write(progress, {**seeds, **session.losses_to_save()})
    session.run.record_seconds(
        {"training": sum(progress.seconds.values())}
        | {f"stage {name}": spent for name, spent in progress.seconds.items()}
    )
    session.tell_state("trained", last)
    session.saves.keep_only_newest()
    for request in requests(session.run.path):
        session.console.print(
            f"  learning_rate {request.learning_rate:g} was asked for after the last step: nothing changed"
        )
        forget_request(session.run.path, request.name)
