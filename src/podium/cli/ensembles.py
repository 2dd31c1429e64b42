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
    make_options,
)
from podium.config import loading
from podium.workflows import configs
from podium.workflows.blend import print_blend, write_checked_submission
from podium.workflows.run import blend_ensemble, run_ensemble


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

    A stopped training is resumed automatically; --resume is only needed if the config has changed since.

    podium run configs/ensembles/sf_dl_cars.yaml --data data/sf-dl-car-classification
    """
    loaded = configs.load_ensemble(ensemble, set_ or (), seed)
    options, console = make_options(data, runs, fold, limit, limit_test, dry_run, resume, time_limit), make_console()
    blended = run_ensemble(loaded, options, console)
    print_blend(blended, console)
    write_checked_submission(blended, console)


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
    """Blend the predictions of the members, and write a checked submission.

    podium blend configs/ensembles/sf_dl_cars.yaml --set blend=hill_climb
    """
    options, console = make_options(data, runs, fold, limit, limit_test, dry_run), make_console()
    blended = blend_ensemble(loading.load_ensemble(ensemble, set_ or (), seed), options, console)
    print_blend(blended, console)
    write_checked_submission(blended, console)
