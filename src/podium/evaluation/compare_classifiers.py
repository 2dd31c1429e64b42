"""Classifiers and blends compared by their out-of-fold predictions, on the rows that all of them have.

runs/xception-1a2b3c4d                               a member: all of its predicted folds
runs/xception-1a2b3c4d/fold0                         one fold
runs/xception-1a2b3c4d/fold0/predictions-7481c133    one fold, with one of several choices of test-time views
runs/sf_dl_cars-5e6f7a8b                             a blend
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.errors import DataError, RunError
from podium.evaluation.comparison import (
    TIMED_PARTS,
    Candidate,
    Comparison,
    damaged_config,
    few,
    not_trained,
    note_left_out,
    read_config,
    read_seconds,
    read_versions,
)
from podium.evaluation.decisions import better_answers, cross_fitted_answers, default_decision
from podium.evaluation.metrics import Metric
from podium.evaluation.statistics import (
    RESAMPLES,
    SEED,
    Progress,
    Statistics,
    bootstrap,
    compare_scores,
    compare_with_baseline,
    mcnemar,
    stratified_folds,
)
from podium.files import digest_of, read_json
from podium.predictions import Predictions, align, concatenate, read_predictions
from podium.runs import CONFIG_TYPES, Run, has_types, read_predictions_facts

OUT_OF_FOLD = "oof.csv"
DECIDED_BY_MCNEMAR = "accuracy"
"""The metric that McNemar's test compares, where the truth of a row is one class."""
DECISION_FOLDS = 5
Truth = NDArray[Any]
ReadTruth = Callable[[pd.DataFrame], Truth]
"""The truth from the columns of out-of-fold predictions, `Target.truth`."""


@dataclass(frozen=True, kw_only=True)
class ClassifierCandidate(Candidate):
    competition: dict[str, Any]
    """The keys of its competition file."""
    source: Path
    """The file that has them."""

    @property
    def metric(self) -> str:
        return str(self.competition["metric"])


@dataclass(frozen=True, eq=False)
class PairedPredictions:
    """The rows common to all runs, in the order of the first run. Lists have one item per run."""

    ids: list[str]
    truth: Truth
    predictions: list[NDArray[np.float64]]
    left_out: list[int]
    """Rows that are not common to all."""
    in_other_folds: list[int]
    """Common rows that are in another fold than in the first run."""

    @property
    def share_of_smallest(self) -> float:
        """The share of common rows in the run with the fewest rows."""
        return max(len(self.ids) / (len(self.ids) + count) for count in self.left_out)


def compare_classifiers(
    candidates: Sequence[ClassifierCandidate],
    metric: Metric,
    target: str,
    read_truth: ReadTruth,
    outputs: Sequence[str],
    progress: Progress = iter,
) -> Comparison:
    """Compare by the metric of the first run's competition, with this kind of target and these outputs."""

    def read(run: ClassifierCandidate) -> Predictions:
        expected = outputs if run is candidates[0] else None  # the others are compared with it
        return concatenate([read_predictions(folder / OUT_OF_FOLD, expected) for folder in run.folders])

    tables = {f"{run.letter} ({run.path})": read(run) for run in candidates}
    paired = pair(tables, read_truth)
    _check_same_competition(candidates, paired)
    return Comparison(
        **vars(compare_predictions(paired, metric, target, progress=progress)),
        runs=candidates,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        uses_mcnemar=_uses_mcnemar(metric, paired.truth),
        notes=[*_note_rows(candidates, paired), *_note_competitions(candidates)],
    )


def compare_predictions(
    paired: PairedPredictions,
    metric: Metric,
    target: str = "single_label",
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    progress: Progress = iter,
) -> Statistics:
    """Where the metric takes answers, each run's decisions are fitted on other rows than those they are made for."""
    count, truth = len(paired.ids), paired.truth
    fold_of = stratified_folds(truth, min(DECISION_FOLDS, count), SEED)
    answers = [
        better_answers(metric, truth, part, cross_fitted_answers(metric, target, truth, part, fold_of))
        for part in paired.predictions
    ]
    tables = [_compact(part, metric, target) for part in answers]

    def scores(rows: NDArray[np.int64]) -> list[float]:
        drawn = truth[rows]  # the function itself: the metric's checks have passed for all rows
        return [metric.function(drawn, table[rows]) for table in tables]

    values = [metric(truth, part) for part in answers]
    resampled = bootstrap(scores, count, len(tables), resamples=resamples, seed=seed, progress=progress)
    deciding = compare_scores(metric.name, values, resampled)
    if deciding is None:
        defined = int((~np.isnan(resampled).any(axis=1)).sum())
        raise DataError(
            f"{metric.name} is defined in only {defined:,} of {resamples:,} resamples of the {count:,} common rows;"
            " expected at least half: compare more folds, with rows of several classes"
        )
    correct = [_is_correct(part, truth, target) for part in answers] if truth.ndim == 1 else []
    return compare_with_baseline(
        deciding,
        count,
        [mcnemar(correct[0], other) for other in correct[1:]] or [None] * (len(answers) - 1),
        higher_is_better=metric.higher_is_better,
        use_mcnemar=_uses_mcnemar(metric, truth),
    )


def _uses_mcnemar(metric: Metric, truth: Truth) -> bool:
    return metric.name == DECIDED_BY_MCNEMAR and truth.ndim == 1


def _is_correct(predictions: NDArray[np.float64], truth: Truth, target: str) -> NDArray[np.bool_]:
    answers = default_decision(target).apply(predictions)
    classes = answers.argmax(axis=1) if answers.shape[1] > 1 else answers[:, 0]
    return np.asarray(classes == truth)


def _compact(predictions: NDArray[np.float64], metric: Metric, target: str) -> NDArray[Any]:
    """Answers need one byte per class: indexing the rows of a resample takes most of the time."""
    if not metric.takes_answers or metric.is_own or target == "regression":
        return predictions
    return default_decision(target).apply(predictions).astype(np.bool_)


def pair(tables: Mapping[str, Predictions], read_truth: ReadTruth) -> PairedPredictions:
    """The common rows of several runs. The keys of `tables` are the names in error messages.

    Different classes, or different truth for the same id, are errors. Different folds are only counted.
    """
    for name, table in tables.items():
        if table.truth is None:
            raise DataError(f"The predictions of {name} have no truth; expected out-of-fold ones: predict again")
    (first_name, first), *others = tables.items()
    ordered = [first, *(_with_columns_of(first_name, first, name, table) for name, table in others)]
    common = set(first.ids).intersection(*(table.ids for table in ordered[1:]))
    if not common:
        counts = ", ".join(f"{name} {len(table.ids):,}{_folds_of(table)}" for name, table in tables.items())
        raise DataError(
            f"No row was validated in all of these runs ({counts}); expected common rows: compare the same folds of"
            " one competition, or all folds of each"
        )
    ids = [name for name in first.ids if name in common]
    aligned = [align(table, ids) for table in ordered]
    for (name, _), table in zip(others, aligned[1:], strict=True):
        _check_same_truth(first_name, aligned[0], name, table)
    return PairedPredictions(
        ids,
        read_truth(aligned[0].known_truth),
        [table.values for table in aligned],
        [len(table.ids) - len(ids) for table in ordered],
        [int(np.sum(aligned[0].folds != table.folds)) for table in aligned],
    )


def _with_columns_of(first_name: str, first: Predictions, name: str, table: Predictions) -> Predictions:
    if different := sorted(set(first.outputs) ^ set(table.outputs)):
        raise DataError(
            f"{first_name} and {name} have different classes ({len(first.outputs)} and {len(table.outputs)}; only in"
            f" one of them: {few(different)}); expected runs of one competition"
        )
    columns = [table.outputs.index(label) for label in first.outputs]
    names = list(first.known_truth)
    if set(names) != set(table.known_truth):
        raise DataError(f"{first_name} and {name} have different kinds of truth; expected runs of one competition")
    return replace(table, outputs=first.outputs, values=table.values[:, columns], truth=table.known_truth[names])


def _check_same_truth(first_name: str, first: Predictions, name: str, table: Predictions) -> None:
    one, other = (part.known_truth.to_numpy(dtype=object) for part in (first, table))
    if len(different := np.flatnonzero((one != other).any(axis=1))):
        row = different[0]
        one_answer, other_answer = (", ".join(map(str, part[row])) for part in (one, other))
        raise DataError(
            f"{len(different):,} of {len(first.ids):,} common rows have different labels in {first_name} and {name}"
            f" (first: {first.ids[row]!r} is {one_answer!r} and {other_answer!r}); expected runs of the same labels:"
            " the labels were changed since, or these are different competitions"
        )


def _folds_of(table: Predictions) -> str:
    numbers = sorted(set(table.folds.tolist())) if table.folds is not None else []
    return f" in fold {' and '.join(map(str, numbers))}" if len(numbers) < 3 else ""


def _check_same_competition(candidates: Sequence[ClassifierCandidate], paired: PairedPredictions) -> None:
    """Compare ids, not names: a competition of cropped images has another name and the same rows. With few common
    rows, ids such as 0001.jpg may be equal by chance."""
    slugs = list(dict.fromkeys(run.slug for run in candidates))
    if len(slugs) > 1 and paired.share_of_smallest < 1 / 2:
        raise RunError(
            f"these are runs of different competitions ({', '.join(slugs)}) with {len(paired.ids):,} common rows,"
            " less than half of each; expected the same images: compare runs of one competition"
        )


def _note_rows(candidates: Sequence[ClassifierCandidate], paired: PairedPredictions) -> list[str]:
    count = len(paired.ids)
    moved = [
        f"{run.letter} has {number:,} of {count:,} rows in another fold than {candidates[0].letter}: each was still"
        " predicted by a model that had not seen it, but those models were trained on different rows"
        for run, number in zip(candidates, paired.in_other_folds, strict=True)
        if number
    ]
    return [*note_left_out(candidates, paired.left_out, f"{count:,} rows"), *moved]


def _note_competitions(candidates: Sequence[ClassifierCandidate]) -> list[str]:
    first, notes = candidates[0], []
    if others := [f"{run.letter} to {run.slug}" for run in candidates if run.slug != first.slug]:
        notes.append(
            f"{first.letter} belongs to {first.slug}, {', '.join(others)}: comparable, since ids, labels and classes"
            " are equal"
        )
    notes += [
        f"the competition of {run.letter} is scored by {run.metric}; all are compared by {first.metric}"
        for run in candidates
        if run.metric != first.metric
    ]
    return notes


def read_classifier(letter: str, path: Path) -> ClassifierCandidate:
    if (path / "blend.json").is_file():
        return _read_blend(letter, path)
    if (path / "predictions.json").is_file():
        return _read_member(letter, path, [Run(path.parent)], path.name)
    folds = [fold for fold in path.glob("fold[0-9]*") if fold.name[4:].isdecimal()]
    if folds:
        return _read_member(letter, path, [Run(fold) for fold in sorted(folds, key=lambda fold: int(fold.name[4:]))])
    if any((path / name).exists() for name in ("config.yaml", "state.json")):
        return _read_member(letter, path, [Run(path)])
    raise RunError(
        f"{path} is not a run; expected the folder of a member, such as runs/xception-1a2b3c4d, of one of its folds, of"
        " a blend, or of a detector: podium runs lists them"
    )


def _read_blend(letter: str, path: Path) -> ClassifierCandidate:
    facts = read_json(path / "blend.json")
    try:
        competition = dict(facts["config"])
        slug, _ = str(competition["slug"]), competition["metric"]
        folds = {name: member["folds"] for name, member in facts["members"].items()}
        config = {"blend": dict(facts["blend"]), "members": folds}
        members = [Run((path.parent / predictions).parent) for predictions in facts.get("predictions", [])]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunError(f"{path / 'blend.json'} is damaged; expected what podium blend writes: blend again") from None
    return ClassifierCandidate(
        letter=letter,
        path=path,
        kind="blend",
        folders=[path],
        slug=slug,
        competition=competition,
        source=path / "blend.json",
        configs=[config],
        versions={"commit": str(facts.get("commit", "unknown"))},
        seconds=read_seconds(members) if members else dict.fromkeys(TIMED_PARTS),
        is_dry_run=bool(facts.get("dry_run")),
        notes=[f"{letter} is a blend: its time is that of its members" + ", all folds together" * bool(members)],
    )


def _read_member(letter: str, path: Path, runs: Sequence[Run], predictions: str | None = None) -> ClassifierCandidate:
    """The folds that are predicted, all with the same views: those of `predictions`, else of the config."""
    available = {run.path: _prediction_folders(run) for run in runs}
    predicted = [run for run in runs if available[run.path]]
    if not predicted:
        raise RunError(_why_unpredicted(runs[0]))
    notes = [f"{letter} lacks a fold: {_why_unpredicted(run)}" for run in runs if run not in predicted]
    shared = [name for name in available[predicted[0].path] if all(name in available[run.path] for run in predicted)]
    if predictions is None and not shared:
        raise RunError(
            f"the folds of {path} were predicted with different views or test images; expected the same for all: run"
            " podium predict with the same config for each"
        )
    if predictions is not None and predictions not in shared:
        raise RunError(_outdated(path))
    chosen = predictions or shared[0]
    folders = [run.path / chosen for run in predicted]
    if predictions is None and len(shared) > 1:
        notes.append(
            f"{letter} has predictions with {len(shared)} choices of views or test images; {chosen} is compared, but"
            f" the prediction time is that of the last: to compare another, pass {predicted[0].path / shared[1]}"
        )
    configs = [_read_member_config(run) for run in predicted]
    return ClassifierCandidate(
        letter=letter,
        path=path,
        kind="member",
        folders=folders,
        slug=configs[0]["competition"]["slug"],
        competition=configs[0]["competition"],
        source=predicted[0].config,
        configs=[_config_keys(config, folder) for config, folder in zip(configs, folders, strict=True)],
        versions=_merge_versions([read_versions(run) for run in predicted]),
        seconds=read_seconds(predicted),
        is_dry_run=bool(configs[0].get("dry_run")),
        limit=configs[0].get("limit"),
        notes=notes,
    )


def _prediction_folders(run: Run) -> list[str]:
    """Folders of predictions by the best weights: first those with the views of the config, then the newest."""
    best = run.state.get("best") or {}
    found = []
    for path in run.path.glob("predictions-*/predictions.json"):
        try:
            facts = read_predictions_facts(path.parent)
        except RunError:  # damaged: predicting again replaces it
            continue
        if facts.get("weights") == best.get("digest", facts.get("weights")) and (path.parent / OUT_OF_FOLD).is_file():
            found.append((facts["settings"], path.stat().st_mtime_ns, path.parent.name))
    member = _read_member_config(run)["member"] if found else {}
    found.sort(key=lambda folder: (folder[0].items() <= member.items(), *folder[1:]), reverse=True)
    return [name for _, _, name in found]


def _why_unpredicted(run: Run) -> str:
    if any(run.path.glob(f"predictions-*/{OUT_OF_FOLD}")):
        return _outdated(run.path)
    if run.state.get("status") == "trained":
        return f"{run.path} is trained but not predicted: run podium predict with the same config"
    return not_trained(run, "podium train")


def _outdated(path: Path) -> str:
    return f"{path} has no complete predictions by its best weights: run podium predict with the same config"


def _read_member_config(run: Run) -> dict[str, Any]:
    match config := read_config(run):
        case {"competition": {"slug": str(), "metric": str()}, "member": dict()} if has_types(config, CONFIG_TYPES):
            return dict(config)
    raise damaged_config(run, "podium train")


def _config_keys(config: Mapping[str, Any], predictions: Path) -> dict[str, Any]:
    """The keys as in a config file, with the views of these predictions instead of the config's."""
    facts, competition = read_predictions_facts(predictions), config["competition"]
    sizes = ("image_size",) if "scores_of_sizes" in facts else ()
    return {
        "precision": "auto",
        **config["member"],
        "tta": {key: facts.get(key) for key in ("views", "mean", "select", *sizes)},
        "neighbours": facts.get("settings", {}).get("neighbours"),
        **{key: config.get(key) for key in ("limit", "dry_run")},
        "competition": {key: value for key, value in competition.items() if key not in ("title", "metric_code")},
        **({"metric_code": digest_of(code)} if (code := competition.get("metric_code")) else {}),
        "inputs": {key: value for key, value in (config.get("inputs") or {}).items() if key != "labels"},
    }


def _merge_versions(folds: Sequence[Mapping[str, str]]) -> dict[str, str]:
    names = dict.fromkeys(name for fold in folds for name in fold)
    return {name: " and ".join(dict.fromkeys(fold[name] for fold in folds if name in fold)) for name in names}
