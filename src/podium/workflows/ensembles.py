"""The steps of an ensemble: its members trained and predicted where they are not yet, blended, and written as a CSV.

runs/<ensemble>-<digest>/
  blend.json                  what was blended and how, the honest score and the optimistic one, the CSV's name
  oof.csv test.csv            the blend's predictions, out of fold by blends that had not seen the row
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from podium.config.competition import Competition
from podium.config.loading import Ensemble
from podium.errors import RunError, SubmissionError
from podium.evaluation.metrics import METRICS
from podium.files import digest_of, read_json, write_json
from podium.options import RunOptions
from podium.paths import submissions_folder
from podium.runs import git_commit
from podium.training.run_training import train_run
from podium.workflows.members import FoldRun, Prepared, fold_runs, predict_fold, prepare

if TYPE_CHECKING:
    from podium.ensemble.result import EnsembleResult, MemberResult

DRY_RUN = "_dry-run"
"""In the name of a CSV that a dry run wrote."""


@dataclass(frozen=True)
class Blended:
    """Where an ensemble's answer lies, and what it is worth."""

    folder: Path
    facts: dict[str, Any]
    submission: Path
    members: "list[MemberResult]"


@dataclass(frozen=True)
class Answer:
    """What one fold of a member predicted, here or on another machine: all that a blend needs of it."""

    member: str
    fold: int
    predictions: Path
    best: dict[str, Any]
    """The epoch whose weights predicted it, as the run's state tells it."""


def ensemble_runs(ensemble: Ensemble, prepared: Prepared, options: RunOptions) -> list[FoldRun]:
    return [one for member in ensemble.members for one in fold_runs(member, prepared, options)]


def train_and_predict(runs: Sequence[FoldRun], console: Console) -> None:
    """Whatever is not done yet; what is done is said to be."""
    for position, one in enumerate(runs, start=1):
        console.print(f"[bold]{one.name}[/bold] ({position} of {len(runs)})")
        if one.run.is_trained:
            console.print(f"  trained already with this config: skipped ({one.run.path})")
        else:
            train_run(one, console, resume=True)
        if one.is_predicted:
            console.print(f"  predicted already with these views: skipped ({one.predictions})")
        else:
            predict_fold(one, console)


def answers_of(runs: Sequence[FoldRun]) -> list[Answer]:
    """All of them are needed: without one of its folds a member has no answer to some rows."""
    missing = [one.name for one in runs if not one.is_predicted]
    if missing:
        raise RunError(
            f"{', '.join(missing)}: not predicted yet with this config; run podium run, or podium train and then"
            " podium predict, with the same options"
        )
    return [Answer(one.member.name, one.fold, one.predictions, one.run.state["best"]) for one in runs]


def sample_of(prepared: Prepared) -> Path:
    return prepared.rows.folder / prepared.competition.submission.sample


def blend(
    ensemble: Ensemble, answers: Sequence[Answer], sample: Path, options: RunOptions, console: Console
) -> Blended:
    """Blend what the members predicted. The CSV of a blend that was made before is kept, not written twice."""
    from podium.ensemble.result import blend_members

    folder = options.runs / f"{ensemble.name}-{_digest(ensemble, answers, sample, options)}"
    facts = read_json(folder / "blend.json")
    members = member_results(answers, ensemble.competition)
    if facts and (submissions_folder() / facts["submission"]).is_file():
        submission = submissions_folder() / facts["submission"]
        console.print(f"blend: made already of these predictions, skipped ({submission})")
        return Blended(folder, facts, submission, members)
    result = blend_members(members, ensemble.settings, ensemble.competition)
    submission = write_csv(ensemble, result, sample, options)
    facts = _facts(ensemble, answers, options, result, submission)
    _write_blend(folder, facts, result)
    return Blended(folder, facts, submission, members)


def member_results(answers: Sequence[Answer], competition: Competition) -> "list[MemberResult]":
    from podium.ensemble.result import read_member

    names = dict.fromkeys(one.member for one in answers)
    return [
        read_member(name, [(one.fold, one.predictions) for one in answers if one.member == name], competition)
        for name in names
    ]


def write_csv(ensemble: Ensemble, result: "EnsembleResult", sample: Path, options: RunOptions) -> Path:
    """The CSV under a name of its own; `submission_problems` says whether it may be sent."""
    from podium.submission.write import write_submission

    asked = ensemble.competition.submission
    return write_submission(
        result.test.ids,
        result.test.classes,
        result.test.probs,
        sample=sample,
        format=asked.format,
        id_column=asked.id,
        label_column=asked.label if asked.format == "label" else None,
        columns=asked.columns,
        folder=submissions_folder(),
        name=f"{ensemble.competition.slug}_{ensemble.name}" + (DRY_RUN if options.dry_run else ""),
        partial=options.limit_test is not None,
    )


def submission_problems(path: Path, competition: Competition, sample: Path) -> list[str]:
    """Everything that is wrong with a CSV, in the competition's own terms."""
    from podium.submission.check import check_submission

    if not path.is_file():
        raise SubmissionError(f"no file {path} to check; give a submission CSV")
    asked = competition.submission
    return check_submission(
        path,
        sample=sample,
        id_column=asked.id,
        label_column=asked.label if asked.format == "label" else None,
        format=asked.format,
        classes=competition.labels,
        columns=asked.columns,
    )


def _digest(ensemble: Ensemble, answers: Sequence[Answer], sample: Path, options: RunOptions) -> str:
    made_of = list(zip(_made_of(answers, options.runs), (one.best for one in answers), strict=True))
    asked = ensemble.competition.submission
    answer = [asked.model_dump(), hashlib.sha256(sample.read_bytes()).hexdigest()]
    return digest_of([made_of, ensemble.settings.blend.model_dump(), ensemble.settings.seed, answer])


def _made_of(answers: Sequence[Answer], runs: Path) -> list[str]:
    return [str(one.predictions.relative_to(runs)) for one in answers]


def _write_blend(folder: Path, facts: dict[str, Any], result: "EnsembleResult") -> None:
    from podium.predictions import write_predictions

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_predictions(folder / "oof.csv", result.oof)
    write_predictions(folder / "test.csv", result.test)
    write_json(folder / "blend.json", facts)


def _facts(
    ensemble: Ensemble, answers: Sequence[Answer], options: RunOptions, result: "EnsembleResult", submission: Path
) -> dict[str, Any]:
    """What a blend says of itself; where its members' predictions lie is seen from the folder of runs."""
    return {
        "ensemble": ensemble.name,
        "competition": ensemble.competition.slug,
        "metric": ensemble.competition.metric,
        "members": {member.name: {"folds": member.folds, "score": member.score} for member in result.members},
        "made_of": _made_of(answers, options.runs),
        "dry_run": options.dry_run,
        "blend": {**ensemble.settings.blend.model_dump(), **result.blend},
        "score": result.estimate.score,
        "standard_error": result.estimate.standard_error,
        "optimistic_score": result.estimate.optimistic,
        "submission": submission.name,
        "commit": git_commit(),
    }


HiddenScores = Callable[[Blended], Mapping[str, float]]
"""Scores of the members and of `blend` on answers kept apart."""


def run_ensemble(ensemble: Ensemble, options: RunOptions, console: Console, hidden: HiddenScores | None = None) -> None:
    """Do what is not done yet; `hidden` adds scores on answers that no one trained on to the table."""
    prepared = prepare(ensemble.competition, options, console, ensemble.members)
    runs = ensemble_runs(ensemble, prepared, options)
    train_and_predict(runs, console)
    finish(ensemble, answers_of(runs), sample_of(prepared), options, console, hidden)


def finish(
    ensemble: Ensemble,
    answers: Sequence[Answer],
    sample: Path,
    options: RunOptions,
    console: Console,
    hidden: HiddenScores | None = None,
) -> Blended:
    """Blend, tell what members and blend are worth, and check the CSV."""
    blended = blend(ensemble, answers, sample, options, console)
    console.print(members_table(blended, hidden(blended) if hidden else None))
    tell_blend(blended, console)
    if options.limit_test is not None:
        console.print(f"{blended.submission}: partial, as asked with --limit-test; to look at, not to send")
        return blended
    problems = submission_problems(blended.submission, ensemble.competition, sample)
    report_problems(blended.submission, problems, console)
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


def report_problems(path: Path, problems: Sequence[str], console: Console) -> None:
    """Say that a CSV may be sent, or fail with all that speaks against it."""
    if problems:
        listed = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n  {problem}" for problem in problems)
        raise SubmissionError(f"{path} must not be sent:{listed}")
    if DRY_RUN in path.name:
        console.print(f"{path}: valid in form; of a dry run, so to look at, not to send")
    else:
        console.print(f"{path}: valid, ready to be sent")
