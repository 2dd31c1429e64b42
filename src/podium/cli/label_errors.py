"""`podium data errors`: labels that are probably wrong."""

from pathlib import Path

from podium.cli.options import (
    Data,
    Debug,
    EnsembleFile,
    Fold,
    Runs,
    Seed,
    Set,
    TrainedLimit,
    make_console,
    make_options,
)


def errors(
    ensemble: EnsembleFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    fold: Fold = None,
    limit: TrainedLimit = None,
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """List the training images whose label is probably wrong, by the out-of-fold predictions of a finished ensemble.

    Look at them, and list those that are wrong in a CSV file with the column id, which ignore of the competition file
    names: they are then left out of training.

    podium data errors configs/ensembles/sf_dl_cars.yaml
    """
    from podium.workflows.configs import load_ensemble
    from podium.workflows.label_errors import list_label_errors

    loaded = load_ensemble(ensemble, set_ or (), seed)
    list_label_errors(loaded, make_options(data, runs, fold, limit), make_console())
