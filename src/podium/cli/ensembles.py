"""`podium blend` and `podium run`: an ensemble."""

from pathlib import Path

from podium.cli.options import (
    Data,
    Debug,
    DryRun,
    EnsembleFile,
    Fold,
    Limit,
    LimitTest,
    Resume,
    Runs,
    Seed,
    Set,
    TimeLimit,
    make_console,
    options_of,
)
from podium.config.loading import load_ensemble
from podium.workflows.ensembles import answers_of, ensemble_runs, finish, run_ensemble, sample_of
from podium.workflows.members import prepare


def run(
    ensemble: EnsembleFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    fold: Fold = None,
    limit: Limit = None,
    limit_test: LimitTest = None,
    dry_run: DryRun = False,
    resume: Resume = False,
    time_limit: TimeLimit = None,
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Run only the missing steps of an ensemble, and write a checked submission.

    A training that was stopped goes on where it was; --resume is for a config that was changed since.

    podium run configs/ensembles/sf_dl_cars.yaml --data data/sf-dl-car-classification
    """
    from podium.data.augmentation import transform_problems

    options = options_of(data, runs, fold, limit, limit_test, dry_run, resume, time_limit)
    run_ensemble(load_ensemble(ensemble, set_ or (), seed, check=transform_problems), options, make_console())


def blend(
    ensemble: EnsembleFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    fold: Fold = None,
    limit: Limit = None,
    limit_test: LimitTest = None,
    dry_run: DryRun = False,
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Blend what the members have predicted, and write a checked submission.

    podium blend configs/ensembles/sf_dl_cars.yaml --set blend=hill_climb
    """
    options = options_of(data, runs, fold, limit, limit_test, dry_run)
    console = make_console()
    loaded = load_ensemble(ensemble, set_ or (), seed)
    prepared = prepare(loaded.competition, options, console)
    answers = answers_of(ensemble_runs(loaded, prepared, options))
    finish(loaded, answers, sample_of(prepared), options, console)
