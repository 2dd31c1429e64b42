"""Labels by a finished ensemble, for the members of another one.

runs/pseudo/<name>/
  fold-0.csv fold-1.csv …     labels of the test images, for trainings that validate on this fold
  oof.csv                     the out-of-fold predictions of the labelled rows
  pseudo.json                 how the labels came about
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.loading import Ensemble
from podium.evaluation.metrics import metric_of
from podium.files import write_json
from podium.options import RunOptions
from podium.paths import labels_folder
from podium.runs import git_commit
from podium.workflows.predict import FoldPredictions, all_predictions
from podium.workflows.prepare import Prepared, prepare
from podium.workflows.run import ensemble_runs

if TYPE_CHECKING:
    from podium.ensemble.pseudo import FoldBlend, FoldLabels


@dataclass(frozen=True)
class FinishedFolds:
    """The predictions of a finished ensemble, blended for each fold as was fitted on the other folds."""

    prepared: Prepared
    predictions: list[FoldPredictions]
    blends: "dict[int, FoldBlend]"


def blend_finished(ensemble: Ensemble, options: RunOptions, console: Console) -> FinishedFolds:
    from podium.ensemble.pseudo import blend_by_fold

    prepared = prepare(ensemble.competition, options, console)
    predictions = all_predictions(ensemble_runs(ensemble, prepared, options))
    folders: dict[str, dict[int, Path]] = {}
    for part in predictions:
        folders.setdefault(part.member, {})[part.fold] = part.path
    return FinishedFolds(prepared, predictions, blend_by_fold(folders, ensemble.settings, prepared.competition))


def make_labels(
    ensemble: Ensemble,
    options: RunOptions,
    console: Console,
    *,
    hard: bool = False,
    chosen: float | None = None,
    name: str | None = None,
) -> Path:
    """Label the test images with the predictions of a finished ensemble, for each of its folds."""
    from podium.data.targets import target_of
    from podium.ensemble.pseudo import label_test_images
    from podium.predictions import concatenate, write_predictions

    finished = blend_finished(ensemble, options, console)
    competition, blends = finished.prepared.competition, finished.blends
    labels = label_test_images(blends, competition, hard=hard, chosen=chosen)
    oof = concatenate([blend.oof for blend in blends.values()])
    folder = labels_folder(options.runs, name or ensemble.name)
    for old in folder.glob("fold-*.csv"):
        old.unlink()
    for fold, of_fold in labels.items():
        write_predictions(folder / f"fold-{fold}.csv", of_fold.labels)
    write_predictions(folder / "oof.csv", oof)
    facts = {
        "ensemble": ensemble.name,
        "competition": competition.slug,
        "labels": "hard" if hard else "soft",
        "metric": competition.metric,
        "score": metric_of(competition)(target_of(competition).truth(oof.known_truth), oof.values),
        "folds": {str(fold): of_fold.facts for fold, of_fold in labels.items()},
        "weights": {f"{part.member} fold {part.fold}": part.best.get("digest") for part in finished.predictions},
        "commit": git_commit(),
    }
    write_json(folder / "pseudo.json", facts)
    _print(facts, labels, blends, folder, console)
    return folder


def _print(
    facts: Mapping[str, Any],
    labels: "Mapping[int, FoldLabels]",
    blends: "Mapping[int, FoldBlend]",
    folder: Path,
    console: Console,
) -> None:
    console.print(f"{facts['ensemble']}: out-of-fold {facts['metric']} {facts['score']:.4f}", highlight=False)
    for fold, part in labels.items():
        count, key = f"{part.facts['images']:,} of {len(blends[fold].test.ids):,} images", "temperature"
        key = "threshold" if "threshold" in part.facts else key
        how = f", {key} {part.facts[key]:.3f}" if key in part.facts else ""
        console.print(f"  fold {fold}: {facts['labels']} labels of {count}{how}{_right([part.facts])}", highlight=False)
    if len(labels) > 1 and (right := _right([part.facts for part in labels.values()])):
        console.print(f"  all folds{right}", highlight=False)
    console.print(f"{folder}: use them in a member with extra: [{{pseudo: {folder.name}}}]", highlight=False)


def _right(facts: list[Mapping[str, Any]]) -> str:
    """The share of right labels to expect: that of the fold's own rows from the same confidence on."""
    rows = sum(part.get("rows", 0) for part in facts)
    return f", right out of fold {sum(part['right'] for part in facts) / rows:.1%} of {rows:,} rows" if rows else ""
