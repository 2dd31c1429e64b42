"""Which of several runs is better: classifiers and blends by out-of-fold predictions, detectors by detections."""

import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from podium.config.competition import Competition
from podium.config.differences import differences
from podium.config.problems import problems_of
from podium.detection.compare_detectors import PARTS, compare_detectors, is_detector, read_detector
from podium.errors import RunError
from podium.evaluation.compare_classifiers import ClassifierCandidate, compare_classifiers, read_classifier
from podium.evaluation.comparison import Candidate, Comparison
from podium.evaluation.metrics import metric_of
from podium.evaluation.statistics import Progress

FEW = 100
"""Rows or images; with fewer, bootstrap intervals are too narrow."""


def compare(
    runs: Sequence[str | Path],
    *,
    folder: str | Path = "runs",
    part: str | None = None,
    progress: Progress = iter,
) -> Comparison:
    """Compare the runs of classifiers or of detectors; the first is the baseline.

    `runs` are folders of members, folds, blends or detectors, as paths or as names in `folder`. `part` is the part of
    the dataset that detectors are compared on: "test" or "validation".
    """
    folder = Path(folder)
    if not 2 <= len(runs) <= len(string.ascii_uppercase):
        raise RunError(f"cannot compare {len(runs)} runs; expected 2 to {len(string.ascii_uppercase)}, named A to Z")
    if part not in (None, *PARTS):
        raise RunError(f"cannot compare on the part {part!r}; expected {' or '.join(PARTS)}")
    paths = [_find(Path(run), folder) for run in runs]
    are_detectors = [is_detector(path) for path in paths]
    if len(set(are_detectors)) > 1:
        raise RunError(
            f"{paths[are_detectors.index(True)]} is a detector and {paths[are_detectors.index(False)]} is not; expected"
            " runs of one kind"
        )
    comparison: Comparison
    if are_detectors[0]:
        detectors = [read_detector(*pair) for pair in zip(string.ascii_uppercase, paths, strict=False)]
        _check_distinct(detectors)
        comparison = compare_detectors(detectors, folder, part, progress)
    else:
        if part:
            raise RunError(f"classifiers have no {part} part to compare on: omit --part")
        classifiers = [read_classifier(*pair) for pair in zip(string.ascii_uppercase, paths, strict=False)]
        _check_distinct(classifiers)
        comparison = _compare_classifiers(classifiers, progress)
    return replace(
        comparison,
        config_differences=_differences(comparison.runs, [run.configs[0] for run in comparison.runs]),
        version_differences=_differences(comparison.runs, [run.versions for run in comparison.runs]),
        notes=[*_notes(comparison.runs), *comparison.notes, *_note_few(comparison)],
    )


def _compare_classifiers(candidates: Sequence[ClassifierCandidate], progress: Progress) -> Comparison:
    from podium.data.targets import target_of

    competition, *_ = [_competition_of(run) for run in candidates]
    target = target_of(competition)
    return compare_classifiers(candidates, metric_of(competition), target.kind, target.truth, target.outputs, progress)


def _competition_of(run: ClassifierCandidate) -> Competition:
    try:
        return Competition.model_validate(run.competition)
    except ValidationError as error:
        key, problem = problems_of(error, Competition)[0]
        raise RunError(
            f"{run.source} is damaged; expected the competition as this version of podium writes it ({key}: {problem}):"
            " train or blend again"
        ) from None


def _find(run: Path, folder: Path) -> Path:
    for path in (run, folder / run):
        if path.is_dir():
            return path
    raise RunError(f"no folder {run}, also not in {folder}; podium runs lists the runs")


def _check_distinct(candidates: Sequence[Candidate]) -> None:
    seen: dict[tuple[Path, ...], Path] = {}
    for run in candidates:
        folders = tuple(folder.resolve() for folder in run.folders)
        if folders in seen:
            raise RunError(f"{seen[folders]} and {run.path} are the same predictions; expected different runs")
        seen[folders] = run.path


def _notes(candidates: Sequence[Candidate]) -> list[str]:
    notes = [note for run in candidates for note in run.notes]
    for run in candidates:
        if uneven := [difference.key for difference in differences(run.configs)]:
            notes.append(f"the folds of {run.letter} differ in {', '.join(uneven)}; shown is {run.folders[0].parent}")
        if run.is_dry_run:
            notes.append(f"{run.letter} is a dry run: its scores are not meaningful")
        elif run.limit:
            notes.append(f"{run.letter} was trained on at most {run.limit:,} images (--limit)")
    return notes


def _note_few(comparison: Comparison) -> list[str]:
    rows = "images" if comparison.part else "rows"
    return [f"only {comparison.count} {rows}: the intervals are too narrow"] if comparison.count < FEW else []


def _differences(candidates: Sequence[Candidate], contents: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Differences among the blends and among the other runs, since blends have other keys than members."""
    found: dict[str, list[str]] = {}
    for is_blend in (False, True):
        numbers = [number for number, run in enumerate(candidates) if (run.kind == "blend") == is_blend]
        for difference in differences([contents[number] for number in numbers]) if numbers else []:
            values = found.setdefault(difference.key, [""] * len(candidates))
            for number, value in zip(numbers, difference.values, strict=True):
                values[number] = value
    return found
