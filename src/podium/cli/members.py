"""`podium train` and `podium predict`: one member."""

from pathlib import Path

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
    make_console,
    make_options,
)
from podium.workflows.configs import load_member
from podium.workflows.fold_runs import fold_runs, prepare
from podium.workflows.predict import predict_if_needed
from podium.workflows.train import train_member


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
    member: MemberFile,
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
    """Predict the validation and test images with a trained member, using its test-time augmentation.

    podium predict configs/members/xception.yaml --fold 0
    """
    loaded = load_member(member, set_ or (), seed)
    options, console = make_options(data, runs, fold, limit, limit_test, dry_run), make_console()
    for fold_run in fold_runs(loaded, prepare(loaded.competition, options, console), options):
        predict_if_needed(fold_run, console)
