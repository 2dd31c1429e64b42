"""Blend predictions, and write the blend as a submission.

runs/<name>-<digest>/
  blend.json                  what was blended and how, the nested score, the name of the submission
  oof.csv test.csv            the blend's predictions; out of fold, by blends that were not fitted on the row
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.config.problems import Problem, raise_problems
from podium.errors import RunError
from podium.evaluation.metrics import metric_of
from podium.files import digest_of, read_json, sha256_of, write_json
from podium.paths import submissions_folder
from podium.runs import Run, git_commit
from podium.submission.check import DRY_RUN, LIMITED, find_problems, report_problems
from podium.submission.spec import SubmissionSpec
from podium.workflows.predict import FoldPredictions, read_frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from podium.ensemble.blend import EnsembleResult, MemberResult
    from podium.evaluation.decisions import Decision


MOST_SHOWN = 20
"""Thresholds of more columns are only summarized."""


@dataclass(frozen=True, repr=False)
class Blend:
    """A blend of predictions: its folder, its score, and the submission it makes."""

    path: Path
    """The folder with blend.json, oof.csv and test.csv."""
    members: "list[MemberResult]"
    competition: Competition
    sample: Path
    """The sample submission."""
    is_partial: bool
    """Whether test images were left out with --limit-test."""

    def __repr__(self) -> str:
        return f"<Blend {self.facts['ensemble']}, {self.competition.metric} {self.score:.4f}, {self.path}>"

    def __fspath__(self) -> str:
        return str(self.path)

    def plot(self) -> "Figure":
        """The weights of the members and the correlation of their errors, as a matplotlib figure."""
        from podium.workflows.plots import plot_blend

        return plot_blend(self.path)

    @property
    def facts(self) -> dict[str, Any]:
        """The content of blend.json."""
        return read_json(self.path / "blend.json")

    @property
    def score(self) -> float:
        """The competition's metric, estimated by nested cross-validation."""
        return float(self.facts["score"])

    @property
    def weights(self) -> dict[str, float] | None:
        """The weight of each member; None for methods without weights."""
        weights: dict[str, float] | None = self.facts["blend"].get("weights")
        return weights

    @property
    def decision(self) -> "Decision | None":
        """How predictions become answers: thresholds or cut points; None if the metric takes predictions."""
        from podium.evaluation.decisions import Decision

        content = self.facts["decision"]
        return Decision.from_dict(content) if content else None

    @property
    def oof(self) -> "pd.DataFrame":
        """The out-of-fold predictions, by blends that were not fitted on the row."""
        return read_frame(self.path / "oof.csv", self.competition)

    @property
    def test(self) -> "pd.DataFrame":
        """The predictions of the test images: the predicted columns `p_…`, by id."""
        return read_frame(self.path / "test.csv", self.competition)

    @property
    def scores(self) -> "pd.DataFrame":
        """The out-of-fold scores: a row per member and one for the blend, a column per fold."""
        import pandas as pd

        rows: dict[str, dict[str, float]] = {}
        for member in self.members:
            folds = {f"fold {fold}": score for fold, score in zip(member.folds, member.fold_scores, strict=True)}
            mean = sum(member.fold_scores) / len(member.fold_scores)
            rows[member.name] = {**folds, "mean": mean, "spread": member.spread, "all rows": member.score}
        rows["blend"] = {"all rows": self.score}
        numbers = sorted({fold for member in self.members for fold in member.folds})
        columns = [*(f"fold {number}" for number in numbers), "mean", "spread", "all rows"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    def write_submission(self) -> Path:
        """Write the blend as a CSV in `submissions/` and return its path.

        If a CSV of the same predictions exists, its path is returned. No CSV is ever overwritten.
        """
        from podium.predictions import read_predictions
        from podium.submission.write import write_submission

        if self.submission:
            return self.submission
        facts = self.facts
        limited = f"{LIMITED}{facts['limit']}" if facts.get("limit") else ""
        test = read_predictions(self.path / "test.csv")
        path = write_submission(
            SubmissionSpec.of(self.competition, self.sample),
            test.ids,
            test.values,
            self.decision,
            folder=submissions_folder(),
            name=f"{self.competition.slug}_{facts['ensemble']}{DRY_RUN * facts['dry_run']}{limited}",
            partial=self.is_partial,
        )
        write_json(self.path / "blend.json", {**facts, "submission": path.name})
        return path

    @property
    def submission(self) -> Path | None:
        """The path of the CSV, if it exists."""
        path = submissions_folder() / self.facts.get("submission", "")
        return path if path.is_file() else None


def blend(
    predictions: Sequence[FoldPredictions],
    method: str | Mapping[str, Any] = "mean",
    *,
    calibrate: bool = False,
    select: Literal["all", "auto"] = "all",
    name: str = "blend",
    seed: int = 42,
) -> Blend:
    """Blend the predictions of members, each with one or more folds.

    Args:
        predictions: From `predict`. Folds of one member are joined; all members need the same folds.
        method: "mean", "geometric", "rank_mean", "weights", "hill_climb" or "stacking", or a mapping with arguments,
            such as `{"method": "hill_climb", "rounds": 20}` or `{"method": "stacking", "metadata": "all"}`.
        calibrate: Divide the logits of each member by the temperature with the lowest out-of-fold loss.
        select: "auto" leaves out members, one at a time, as long as the blend scores as well without them.
        name: The name in the file name of the submission.
        seed: For the folds of the nested cross-validation.

    Returns:
        The blend, with `score`, `weights`, `scores`, `oof`, `test` and `write_submission()`.
    """
    members = list(dict.fromkeys(fold.member for fold in predictions))
    if not members:
        raise RunError("no predictions to blend; expected those of at least one member")
    keys: dict[str, Any] = {"members": members, "blend": method, "calibrate": calibrate, "select": select, "seed": seed}
    settings = EnsembleSettings(**keys)
    problems = settings.problems_with(predictions[0].competition)
    raise_problems(Problem(name, key, message) for key, message in problems)
    return blend_as(settings, predictions, name)


def blend_as(settings: EnsembleSettings, predictions: Sequence[FoldPredictions], name: str) -> Blend:
    """Blend as configured in an ensemble. A finished blend of the same predictions is reused."""
    from podium.ensemble.blend import blend_members

    first = predictions[0]
    for other in predictions:
        if other.competition != first.competition:
            raise RunError(
                f"{first.member} and {other.member} predict different competitions; expected one competition file"
            )
    members = _member_results(predictions, settings.seed)
    folder = first.runs / f"{name}-{_digest(settings, predictions)}"
    is_partial = any(fold.is_partial for fold in predictions)
    if not read_json(folder / "blend.json"):
        result = blend_members(members, settings, first.competition)
        _write(folder, _facts(name, settings, predictions, result), result)
    return Blend(folder, members, first.competition, first.sample, is_partial)


def _member_results(predictions: Sequence[FoldPredictions], seed: int) -> "list[MemberResult]":
    from podium.ensemble.blend import read_member

    competition = predictions[0].competition
    names = dict.fromkeys(fold.member for fold in predictions)
    return [
        read_member(name, [(fold.fold, fold.path) for fold in predictions if fold.member == name], competition, seed)
        for name in names
    ]


def _digest(settings: EnsembleSettings, predictions: Sequence[FoldPredictions]) -> str:
    first = predictions[0]
    inputs = list(zip(_folders(predictions), (fold.best for fold in predictions), strict=True))
    competition, sample = first.competition, sha256_of(first.sample)
    form = [competition.submission.model_dump(), sample]
    return digest_of([inputs, settings.blending, settings.seed, form, competition.metadata])


def _folders(predictions: Sequence[FoldPredictions]) -> list[str]:
    """The folders of predictions, relative to the folder of runs."""
    return [os.path.relpath(fold.path, fold.runs) for fold in predictions]


def _write(folder: Path, facts: dict[str, Any], result: "EnsembleResult") -> None:
    from podium.predictions import write_predictions

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_predictions(folder / "oof.csv", result.oof)
    write_predictions(folder / "test.csv", result.test)
    write_json(folder / "blend.json", facts)


def _facts(
    name: str, settings: EnsembleSettings, predictions: Sequence[FoldPredictions], result: "EnsembleResult"
) -> dict[str, Any]:
    competition = predictions[0].competition
    limits = [limit for fold in predictions if (limit := Run(fold.path.parent).state.get("limit"))]
    return {
        "ensemble": name,
        "competition": competition.slug,
        "metric": competition.metric,
        "members": {member.name: {"folds": member.folds, "score": member.score} for member in result.members},
        "predictions": _folders(predictions),
        "digests": [fold.best.get("digest") for fold in predictions],
        "sample": str(predictions[0].sample),
        "blend": {**settings.blending, **result.blend},
        "decision": result.decision.to_dict() if result.decision else None,
        "score": result.estimate.score,
        "standard_error": result.estimate.standard_error,
        "optimistic_score": result.estimate.optimistic,
        "dry_run": any(fold.is_dry_run for fold in predictions),
        "limit": min(limits, default=None),
        "commit": git_commit(),
        "config": competition.model_dump(mode="json", by_alias=True),
    }


def print_blend(blend: Blend, console: Console, scores: "pd.DataFrame | None" = None) -> None:
    """Print the out-of-fold scores (or this table of scores), the nested score and the weights."""
    facts = blend.facts
    console.print(_table(blend.scores if scores is None else scores, f"out-of-fold {facts['metric']}"))
    direction = "higher" if metric_of(blend.competition).higher_is_better else "lower"
    console.print(
        f"blend ({facts['blend']['method']}): {facts['metric']} {facts['score']:.4f} ± {facts['standard_error']:.4f} by"
        f" nested cross-validation ({direction} is better);"
        f" {facts['optimistic_score']:.4f} on the rows it was fitted on"
    )
    for line in describe_members(facts["blend"]):
        console.print(line, highlight=False)
    if text := _describe_decision(blend):
        console.print(text)


def describe_members(facts: dict[str, Any]) -> Iterator[str]:
    """Weights, temperatures, and members that were or can be left out."""
    if weights := facts.get("weights"):
        errors = facts["weight_errors"]
        texts = [
            f"{name} {weight:.3f}" + (f" ± {errors[name]:.3f}" if errors else "") for name, weight in weights.items()
        ]
        yield f"weights: {', '.join(texts)}"
    if temperatures := facts.get("temperatures"):
        yield f"temperatures: {', '.join(f'{name} {value:.2f}' for name, value in temperatures.items())}"
    if left_out := facts.get("left_out"):
        yield f"left out, since the blend scores as well without: {', '.join(left_out)}"
    if useless := facts["adds_nothing"]:
        one = "" if len(useless) == 1 else "any one of "
        yield (
            f"the blend scores as well without {one}{', '.join(useless)}; select: auto leaves out such members,"
            " one at a time"
        )


def _describe_decision(blend: Blend) -> str:
    """The fitted thresholds or cut points, or the default decision, if the metric wants any."""
    from podium.evaluation.decisions import needs_decision

    decision, names = blend.decision, blend.competition.answer_columns
    if decision is None or not needs_decision(metric_of(blend.competition), decision.target):
        return ""
    if not (decision.thresholds or decision.cut_points):
        default = {"ordinal": "the most probable class", "regression": "rounding"}.get(decision.target, "0.5")
        what = "cut points" if decision.target in ("ordinal", "regression") else "thresholds"
        return f"decision: {default}, as fitted {what} score no better on rows they were not fitted on"
    what = "thresholds" if decision.thresholds else "cut points"
    columns = [[threshold] for threshold in decision.thresholds] or decision.cut_points
    if len(columns) > MOST_SHOWN:
        numbers = [number for column in columns for number in column]
        return f"{what}: {len(numbers):,} from {min(numbers):.3f} to {max(numbers):.3f}, in {blend.path / 'blend.json'}"
    texts = [" ".join(f"{number:.3f}" for number in column) for column in columns]
    if len(texts) > 1:
        texts = [f"{name} {text}" for name, text in zip(names, texts, strict=True)]
    return f"{what}: {', '.join(texts)}"


def _table(scores: "pd.DataFrame", title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("member")
    for heading in scores.columns:
        table.add_column(heading, justify="right")
    for name, row in scores.iterrows():
        table.add_row(str(name), *("" if score != score else f"{score:.4f}" for score in row))
    return table


def write_checked_submission(blend: Blend, console: Console) -> Path:
    """Write the blend as a CSV and check it."""
    if blend.submission:
        console.print("blend: already written from these predictions, skipped")
    path = blend.write_submission()
    if blend.is_partial:
        console.print(f"{path}: partial because of --limit-test; do not submit it")
    else:
        report_problems(path, find_problems(path, SubmissionSpec.of(blend.competition, blend.sample)), console)
    return path
