"""`podium pseudo`: labels by a finished ensemble, for other members to train on."""

from pathlib import Path
from typing import Annotated

import typer

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


def pseudo(
    ensemble: EnsembleFile,
    hard: Annotated[
        bool, typer.Option("--hard", help="Label only test images that the ensemble is sure of, with one answer.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0.0,
            max=1.0,
            help="The lowest confidence of hard labels.",
            show_default="from which on 95% of out-of-fold answers are right",
        ),
    ] = None,
    sharpen: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            min=0.05,
            max=20.0,
            help="The temperature of soft labels: below 1 sharper, above 1 flatter.",
            show_default="that with the lowest out-of-fold loss",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The folder in runs/pseudo.", show_default="the ensemble's")
    ] = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    fold: Fold = None,
    limit: TrainedLimit = None,
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Label the test images with a finished ensemble, for other members to train on (extra: [{pseudo: NAME}]).

    Each fold's labels come only from models of that fold, so that its validation rows stay unseen. Soft labels are
    probabilities.

    podium pseudo configs/ensembles/sf_dl_cars.yaml

    podium pseudo configs/ensembles/sf_dl_cars.yaml --hard
    """
    from podium.workflows.configs import load_ensemble
    from podium.workflows.pseudo import make_labels

    if threshold is not None and not hard:
        raise typer.BadParameter("--threshold is for hard labels: add --hard")
    if sharpen is not None and hard:
        raise typer.BadParameter("--sharpen is for soft labels: remove --hard")
    loaded = load_ensemble(ensemble, set_ or (), seed)
    options, chosen = make_options(data, runs, fold, limit), threshold if hard else sharpen
    make_labels(loaded, options, make_console(), hard=hard, chosen=chosen, name=name)
