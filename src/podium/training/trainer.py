"""The training loop: start here to see how podium trains a model."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from podium.changes import delete_request, pending_requests
from podium.config.stage import Stage
from podium.files import SMALL_FILES, report_full_disk
from podium.models import devices
from podium.models.devices import make_repeatable, precision_scope
from podium.progress import progress_bar
from podium.training.callbacks import RestoreMetrics, stage_callbacks
from podium.training.checkpoints import (
    Arrays,
    Checkpoint,
    capture_random_state,
    restore_model,
    restore_optimizer,
)
from podium.training.optimizers import describe_optimizer, make_optimizer
from podium.training.session import Session, StageRun
from podium.training.task import StageSetup, Task


def train(session: Session, stages: Sequence[Stage]) -> None:
    """Fine-tune in stages, each from the best weights so far, and copy the best weights to the run folder.

    A session with a checkpoint resumes from it, and gives the same bits as an uninterrupted training.
    """
    with (
        session.options.stop_condition.defer_signals(),
        report_full_disk(session.run.path, SMALL_FILES, "the training"),
    ):
        if session.restored and session.progress.is_complete and session.progress.stage == len(stages) - 1:
            finish(session, stages[-1], session.restored.arrays)
            return
        try:
            model = train_stages(session, stages)
        finally:
            session.checkpoints.delete_temporary_files()
        finish(session, stages[-1], capture_random_state(model))


def train_stages(session: Session, stages: Sequence[Stage]) -> Any:
    """Train all stages that are not finished; returns the last one's model."""
    progress, task, checkpoint = session.progress, session.task, session.restored
    model = build_model(task, stages[progress.stage], progress.seed, progress.precision, pretrained=checkpoint is None)
    check_stages(task, model, stages)
    if checkpoint:
        restore_model(model, checkpoint)
        session.write_history()
    for number, stage in enumerate(stages):
        if number < progress.stage or (number == progress.stage and progress.has_finished(stage)):
            continue
        if number > progress.stage:
            if stage.image_size != stages[number - 1].image_size:
                model = build_model(task, stage, progress.seed, progress.precision, pretrained=False)
            load_best_weights(session, model)
        if number > progress.stage or progress.position == (number, 0, 0):
            progress.start_stage(number, stage)
            checkpoint = None
        task.unfreeze(model, stage)
        print_stage(session.console, task, model, stage)
        with session.explain_full_memory(number, stage):
            setup = compile_stage(session, model, number, stage)
            fit(StageRun(session, number, stage, setup), checkpoint)
    return model


def build_model(task: Task, stage: Stage, seed: int, precision: str, *, pretrained: bool) -> Any:
    make_repeatable(seed)  # also restarts Keras's numbering of layers, so a stage's `from` finds the same names
    with precision_scope(precision):
        return task.build(stage.image_size, pretrained=pretrained)


def check_stages(task: Task, model: Any, stages: Sequence[Stage]) -> None:
    """Report problems of later stages before the first one trains."""
    for stage in stages:
        task.unfreeze(model, stage)
        make_optimizer(stage, task.backbone(model))


def compile_stage(session: Session, model: Any, number: int, stage: Stage) -> StageSetup:
    """Prepare the model and the batches of a stage for `fit`."""
    setup = session.task.prepare_stage(model, number, stage, session.context(stage))
    with devices.model_scope(setup.model):
        session.task.compile(setup.model, make_optimizer(stage, session.task.backbone(model)))
    return setup


def load_best_weights(session: Session, model: Any) -> None:
    best = session.progress.best
    assert best
    session.task.load_weights(model, session.run.path / best["file"], best["image_size"])


def print_stage(console: Console, task: Task, model: Any, stage: Stage) -> None:
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    epochs = f"{stage.epochs} epoch{'s' * (stage.epochs > 1)}"
    console.print(
        f"  stage {stage.name}: {epochs} at {stage.image_size} px, batches of {stage.batch_size},"
        f" {trainable:,} of {model.count_params():,} weights trainable"
        f"{describe_optimizer(stage, task.backbone(model))}{devices.describe_devices(model)}"
    )


def fit(stage_run: StageRun, checkpoint: Checkpoint | None) -> None:
    """Train the rest of the stage: first the rest of an interrupted epoch, since Keras has only complete ones."""
    session, stage, setup = stage_run.session, stage_run.stage, stage_run.setup
    progress, model, batches = session.progress, setup.model, setup.batches
    batches.epoch = progress.epoch
    batches.resume_after(progress.step, progress.rows)
    if checkpoint:
        session.console.print(f"  resuming at {progress.describe(stage)}", highlight=False)
        session.run.record_resume(stage.name, progress.epoch, progress.step)
        restore_optimizer(model, checkpoint)
    session.update_state("training", stage, batches.steps)
    session.stop_if_requested(stage, stage_run.seconds_until_first_stop())

    total, completed = stage.epochs * batches.steps, progress.epoch * batches.steps + progress.step
    with progress_bar(session.console, stage.name, total, completed) as advance:
        callbacks = stage_callbacks(stage_run, advance)

        def fit_until(epochs: int, *more: Any) -> None:
            with devices.training_dataset(model, batches, batches.note_waiting) as dataset:
                model.fit(
                    dataset,
                    initial_epoch=progress.epoch,
                    epochs=epochs,
                    callbacks=[*callbacks, *more],
                    shuffle=False,  # the batches are already shuffled
                    verbose=0,
                )

        if checkpoint and progress.step:
            fit_until(progress.epoch + 1, RestoreMetrics(checkpoint, stage_run))
        if not progress.has_finished(stage):
            fit_until(stage.epochs)


def finish(session: Session, last: Stage, arrays: Arrays) -> None:
    """Copy the best weights to the run folder, and keep only what a further stage would need in a checkpoint."""
    progress = session.progress
    assert progress.best
    progress.best = session.checkpoints.copy_best_to_run(progress.best)
    progress.is_complete = True
    session.write_checkpoint(arrays)
    session.run.record_seconds(
        {"training": sum(progress.seconds.values())}
        | {f"stage {name}": seconds for name, seconds in progress.seconds.items()}
        | {f"input of stage {name}": seconds for name, seconds in progress.seconds_waited.items() if seconds}
    )
    session.update_state("trained", last)
    session.checkpoints.keep_only_newest()
    for request in pending_requests(session.run.path):
        session.console.print(f"  learning_rate {request.learning_rate:g} was requested after the last step: no effect")
        delete_request(session.run.path, request.name)
