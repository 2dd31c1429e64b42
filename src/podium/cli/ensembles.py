"""`podium blend` and `podium run`: an ensemble."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

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
    choices_of,
    make_console,
)
from podium.config.loading import Ensemble, load_ensemble
from podium.errors import SubmissionError
from podium.metrics import METRICS
from podium.steps import ensemble as steps
from podium.steps.choices import Choices
from podium.steps.ensemble import DRY_RUN, Answer, Blended
from podium.steps.member import prepare

HiddenScores = Callable[[Blended], Mapping[str, float]]
"""Scores of the members and of `blend` on answers kept apart."""


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
    """Train, predict and blend whatever is not done yet, and write a checked submission.

    A training that was stopped goes on where it was; --resume is for a config that was changed since.

    podium run configs/ensembles/sf_dl_cars.yaml --data data/sf-dl-car-classification
    """
    from podium.data.augmentation import transform_faults

    choices = choices_of(data, runs, fold, limit, limit_test, dry_run, resume, time_limit)
    run_ensemble(load_ensemble(ensemble, set_ or (), seed, check=transform_faults), choices, make_console())


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
    choices = choices_of(data, runs, fold, limit, limit_test, dry_run)
    console = make_console()
    loaded = load_ensemble(ensemble, set_ or (), seed)
    prepared = prepare(loaded.competition, choices, console)
    answers = steps.answers_of(steps.ensemble_runs(loaded, prepared, choices))
    finish(loaded, answers, steps.sample_of(prepared), choices, console)


def run_ensemble(ensemble: Ensemble, choices: Choices, console: Console, hidden: HiddenScores | None = None) -> None:
    """Do what is not done yet; `hidden` adds scores on answers that no one trained on to the table."""
    prepared = prepare(ensemble.competition, choices, console, ensemble.members)
    runs = steps.ensemble_runs(ensemble, prepared, choices)
    steps.train_and_predict(runs, console)
    finish(ensemble, steps.answers_of(runs), steps.sample_of(prepared), choices, console, hidden)


def finish(
    ensemble: Ensemble,
    answers: Sequence[Answer],
    sample: Path,
    choices: Choices,
    console: Console,
    hidden: HiddenScores | None = None,
) -> Blended:
    """Blend, tell what members and blend are worth, and check the CSV."""
    blended = steps.blend(ensemble, answers, sample, choices, console)
    console.print(members_table(blended, hidden(blended) if hidden else None))
    tell_blend(blended, console)
    if choices.limit_test is not None:
        console.print(f"{blended.submission}: partial, as asked with --limit-test; to look at, not to send")
        return blended
    faults = steps.submission_faults(blended.submission, ensemble.competition, sample)
    report_faults(blended.submission, faults, console)
    return blended


def members_table(blended: Blended, hidden: Mapping[str, float] | None = None) -> Table:
    """Each member's out-of-fold scores; with `hidden`, beside those on answers that no one trained on."""
    folds = sorted({fold for member in blended.members for fold in member.folds})
    table = Table(title=f"out-of-fold {blended.facts['metric']}", title_justify="left", box=None, pad_edge=False)
    table.add_column("member")
    for heading in [
        *(f"fold {fold}" for fold in folds),
        "mean",
        "spread",
        "all rows",
        *(["hidden test"] if hidden else []),
    ]:
        table.add_column(heading, justify="right")
    for member in blended.members:
        of_fold = dict(zip(member.folds, member.fold_scores, strict=True))
        mean = sum(member.fold_scores) / len(member.fold_scores)
        table.add_row(
            member.name,
            *(_figure(of_fold.get(fold)) for fold in folds),
            _figure(mean),
            _figure(member.spread),
            _figure(member.score),
            *([_figure(hidden[member.name])] if hidden else []),
        )
    if hidden:
        facts = blended.facts
        table.add_row("blend", *("" for _ in folds), "", "", _figure(facts["score"]), _figure(hidden["blend"]))
    return table


def _figure(score: float | None) -> str:
    return "" if score is None or score != score else f"{score:.4f}"


def tell_blend(blended: Blended, console: Console) -> None:
    facts = blended.facts
    direction = "higher" if METRICS[facts["metric"]].higher_is_better else "lower"
    console.print(
        f"blend ({facts['blend']['method']}): {facts['metric']} {facts['score']:.4f} ± {facts['standard_error']:.4f} by"
        f" nested cross-validation ({direction} is better);"
        f" {facts['optimistic_score']:.4f} on the rows it was fitted on"
    )
    weights = facts["blend"].get("weights")
    if weights:
        console.print("weights: " + ", ".join(f"{name} {weight:.3f}" for name, weight in weights.items()))


def report_faults(path: Path, faults: Sequence[str], console: Console) -> None:
    """Say that a CSV may be sent, or fail with all that speaks against it."""
    if faults:
        listed = f" {faults[0]}" if len(faults) == 1 else "".join(f"\n  {fault}" for fault in faults)
        raise SubmissionError(f"{path} must not be sent:{listed}")
    if DRY_RUN in path.name:
        console.print(f"{path}: valid in form; of a dry run, so to look at, not to send")
    else:
        console.print(f"{path}: valid, ready to be sent")
