"""`podium train` and `podium predict`: one member."""

from pathlib import Path

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
    make_console,
    options_of,
)
from podium.config.loading import load_member
from podium.options import RunOptions
from podium.training.run_training import train_run
from podium.workflows.members import FoldRun, fold_runs, predict_fold, prepare


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

    Ctrl-C or SIGTERM stop it after the step under way, saved, with exit code 75; --resume goes on.

    podium train configs/members/xception.yaml --fold 0
    """
    options = options_of(data, runs, fold, limit, None, dry_run, resume, time_limit)
    console = make_console()
    for one in _fold_runs(member, options, set_, seed, console, to_train=True):
        if one.run.is_trained:
            console.print(f"{one.name}: trained already with this config, skipped ({one.run.path})")
        else:
            train_run(one, console)
        best = one.run.state["best"]
        console.print(f"{one.name}: {best['monitor']} {best['score']:.4f} on its validation rows  {one.run.path}")


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
    """Predict the validation and the test images with a trained member, through its test-time views.

    podium predict configs/members/xception.yaml --fold 0
    """
    options = options_of(data, runs, fold, limit, limit_test, dry_run)
    console = make_console()
    for one in _fold_runs(member, options, set_, seed, console):
        if one.is_predicted:
            console.print(f"{one.name}: predicted already with these views, skipped")
        else:
            predict_fold(one, console)
        tell_predictions(one, console)


def tell_predictions(one: FoldRun, console: Console) -> None:
    from podium.files import read_json

    facts = read_json(one.predictions / "predictions.json")
    views = f"{len(facts['views'])} view{'s' * (len(facts['views']) > 1)}"
    apart = f", {facts['score_apart']:.4f} on the rows kept apart" if "score_apart" in facts else ""
    console.print(
        f"{one.name}: out-of-fold {facts['metric']} {facts['score']:.4f} by {views}"
        f" ({facts['score_of_first_view']:.4f} by the first alone){apart}  {one.predictions}"
    )


def _fold_runs(
    path: Path,
    options: RunOptions,
    overrides: list[str] | None,
    seed: int | None,
    console: Console,
    to_train: bool = False,
) -> list[FoldRun]:
    from podium.data.augmentation import transform_problems

    member = load_member(path, overrides or (), seed, check=transform_problems)
    return fold_runs(member, prepare(member.competition, options, console, [member] if to_train else []), options)
