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
    TrainedLimit,
    make_console,
    make_options,
)
from podium.cli.queues import SUBMITTED, CpusPerRun, Detach, GpusPerRun, On, StorageOption, cluster_of, show_queue
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
    on: On = None,
    storage: StorageOption = None,
    cpus_per_run: CpusPerRun = None,
    gpus_per_run: GpusPerRun = None,
    detach: Detach = False,
    debug: Debug = False,
) -> None:
    """Run only the missing steps of an ensemble, and write a checked submission.

    A stopped training is resumed automatically; --resume is only needed if the config has changed since. With --on,
    each member and fold is a task of a Ray cluster.

    podium run configs/ensembles/sf_dl_cars.yaml --data data/sf-dl-car-classification
    """
    loaded = configs.load_ensemble(ensemble, set_ or (), seed)
    options, console = make_options(data, runs, fold, limit, limit_test, dry_run, resume, time_limit), make_console()
    if cluster := cluster_of(on, storage, cpus_per_run, gpus_per_run, detach, resume, time_limit):
        from podium.workflows.cluster import run_on_cluster

        with show_queue(console) as show:
            blended = run_on_cluster(loaded, options, cluster, console, show, ensemble)
        if blended is None:
            console.print(SUBMITTED.format(options.command))
            return
    else:
        blended = run_ensemble(loaded, options, console)
    print_blend(blended, console)
    write_checked_submission(blended, console)


def blend(
    ensemble: EnsembleFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    fold: Fold = None,
    limit: TrainedLimit = None,
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
