"""Everything from images to a blend: train, predict and blend the members of an ensemble."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import podium
from podium.config.loading import Ensemble
from podium.console import make_console
from podium.options import RunOptions
from podium.signals import StopCondition
from podium.workflows.blend import Blend, blend_as
from podium.workflows.fold_runs import FoldRun, fold_runs
from podium.workflows.predict import all_predictions, predict_if_needed
from podium.workflows.prepare import Prepared, prepare
from podium.workflows.train import seconds_of, train_if_needed


def run(
    ensemble: Ensemble | str | Path,
    *,
    folds: Sequence[int] = (),
    data: str | Path | None = None,
    runs: str | Path = "runs",
    limit: int | None = None,
    limit_test: int | None = None,
    dry_run: bool = False,
    resume: bool = False,
    time_limit: float | str | None = None,
    console: Console | None = None,
) -> Blend:
    """Train, predict and blend all members of an ensemble. Steps that are finished are skipped.

    Args:
        ensemble: From `load_ensemble` or `make_ensemble`, or an ensemble file.
        folds: Only these folds. By default those of the config, else all.
        data: The folder of the competition's data. By default PODIUM_DATA, else `data/<slug>`.
        runs: Where run folders are created.
        limit: Train on at most this many rows per fold, with all classes represented.
        limit_test: Predict only this many test images.
        dry_run: Train one epoch per stage on a few small images, to check that everything works.
        resume: Continue stopped runs of these members even if their config has changed since.
        time_limit: Stop in time to have saved a checkpoint after so many seconds, or a text such as "8h30m".
        console: Where to print. By default the notebook or the terminal; `Console(quiet=True)` prints nothing.

    Returns:
        The blend, with `score`, `scores`, `weights` and `write_submission()`.

    Raises:
        PodiumError: If the config, the data or the machine has a problem; the message says what to do.
        StoppedError: If a training was interrupted or reached the time limit. A checkpoint is saved.
    """
    options = RunOptions(
        data=Path(data) if data is not None else None,
        runs=Path(runs),
        folds=tuple(folds),
        limit=limit,
        limit_test=limit_test,
        dry_run=dry_run,
        resume=resume,
        stop_condition=StopCondition(seconds_of(time_limit)),
        command="the same podium.run(…) call",
        live_page=True,
    )
    loaded = ensemble if isinstance(ensemble, Ensemble) else podium.load_ensemble(ensemble)
    return run_ensemble(loaded, options, console or make_console())


def run_ensemble(ensemble: Ensemble, options: RunOptions, console: Console) -> Blend:
    prepared = prepare(ensemble.competition, options, console, ensemble.members)
    runs = ensemble_runs(ensemble, prepared, options)
    train_and_predict(runs, console)
    return blend_as(ensemble.settings, all_predictions(runs), ensemble.name)


def blend_ensemble(ensemble: Ensemble, options: RunOptions, console: Console) -> Blend:
    """Blend existing predictions of the members."""
    prepared = prepare(ensemble.competition, options, console)
    return blend_as(ensemble.settings, all_predictions(ensemble_runs(ensemble, prepared, options)), ensemble.name)


def ensemble_runs(ensemble: Ensemble, prepared: Prepared, options: RunOptions) -> list[FoldRun]:
    return [fold_run for member in ensemble.members for fold_run in fold_runs(member, prepared, options)]


def train_and_predict(runs: Sequence[FoldRun], console: Console) -> None:
    """Train and predict each fold; finished steps are skipped. The test set is checked before anything trains."""
    _ = runs[0].prepared.test
    for position, fold_run in enumerate(runs, start=1):
        console.print(f"{fold_run.name} ({position} of {len(runs)})", style="bold")
        train_if_needed(fold_run, console, resume=True)
        predict_if_needed(fold_run, console)
