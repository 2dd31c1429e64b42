"""`podium train` and `podium predict`: one member."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from podium.cli.options import (
    Data,
    Debug,
    DryRun,
    Fold,
    Limit,
    LimitTest,
    MemberFile,
    Resume,
    Runs,
    Seed,
    Set,
    TimeLimit,
    TrainedLimit,
    make_console,
    make_options,
)
from podium.workflows.configs import load_member
from podium.workflows.fold_runs import fold_runs
from podium.workflows.predict import predict_if_needed
from podium.workflows.prepare import prepare
from podium.workflows.train import train_member

if TYPE_CHECKING:
    from podium.options import RunOptions

TrainedFile = Annotated[
    Path,
    typer.Argument(
        metavar="MEMBER.yaml",
        help="A member file; with --images also an ensemble file, or the folder of a run or a blend.",
    ),
]


def train(
    member: MemberFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    fold: Fold = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    resume: Resume = False,
    time_limit: TimeLimit = None,
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Fine-tune one member, stage after stage, on each of its folds.

    Ctrl-C or SIGTERM stops the training after the current step: a checkpoint is saved, and the exit code is 75.
    Continue with --resume.

    podium train configs/members/xception.yaml --fold 0
    """
    loaded = load_member(member, set_ or (), seed)
    options = make_options(data, runs, fold, limit, None, dry_run, resume, time_limit)
    train_member(loaded, options, make_console())


def predict(
    member: TrainedFile,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|CSV",
            help="Other images instead: a folder, or a table with their paths (column path) or ids.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="The predictions of --images.", show_default="<config>_<images>.csv"),
    ] = None,
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
    """Predict the validation and test images with a trained member, or any images with a member or an ensemble.

    Each fold uses the test-time augmentation of its member. Other images (--images) get the mean of the trained folds,
    or of an ensemble its finished blend; their ids are file names.

    podium predict configs/members/xception.yaml --fold 0

    podium predict configs/ensembles/sf_dl_cars.yaml --images holiday/ --out holiday.csv
    """
    options, console = make_options(data, runs, fold, limit, limit_test, dry_run), make_console()
    if images is not None:
        if limit_test is not None:
            raise typer.BadParameter("--limit-test does not apply to --images")
        _predict_other(member, images, out, set_ or (), seed, options, console)
        return
    if out is not None:
        raise typer.BadParameter("--out requires --images; other predictions are in the run folders")
    if member.is_dir():
        raise typer.BadParameter(f"{member} is a folder: name other images with --images, or give a member file")
    loaded = load_member(member, set_ or (), seed)
    for fold_run in fold_runs(loaded, prepare(loaded.competition, options, console), options):
        predict_if_needed(fold_run, console)


def _predict_other(
    config: Path,
    images: Path,
    out: Path | None,
    overrides: Sequence[str],
    seed: int | None,
    options: "RunOptions",
    console: Console,
) -> None:
    from podium.workflows.predict_images import model_of_config, predict_to_file

    out = out or Path(f"{config.stem}_{images.stem}.csv")
    predict_to_file(model_of_config(config, overrides, seed, options), images, out, options.data, console)
