"""What a report is about: a run, a member or an ensemble, with its runs and out-of-fold predictions."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from podium.config.competition import Competition
from podium.config.loading import kind_in, load_ensemble, load_member
from podium.config.resolved import read_resolved, resolved_competition
from podium.config.yaml_file import read_yaml
from podium.data.image_paths import ImagePaths
from podium.data.target import Target
from podium.data.targets import target_of
from podium.detection.detector_run import find_trained
from podium.detection.loading import load_detector
from podium.errors import DataError, PodiumError, RunError
from podium.evaluation.compare_classifiers import OUT_OF_FOLD, read_classifier
from podium.evaluation.metrics import Metric, metric_of
from podium.options import RunOptions
from podium.paths import data_folder
from podium.predictions import Predictions, concatenate, read_predictions
from podium.reports.mistakes import list_mistakes
from podium.runs import Run
from podium.workflows.finished import find_blend, find_member, read_blend

Images = tuple[ImagePaths, dict[str, int]]
"""The training images, and the position of each id."""


@dataclass(frozen=True)
class Part:
    """A member in a report: its runs, and its out-of-fold predictions if it has any."""

    name: str
    runs: list[Run]
    predictions: list[Path]
    """Folders of predictions, one for each predicted fold."""
    outputs: list[str]
    """Of its competition."""

    @cached_property
    def oof(self) -> Predictions | None:
        parts = [read_predictions(folder / OUT_OF_FOLD, self.outputs) for folder in self.predictions]
        return concatenate(parts) if parts else None


@dataclass(frozen=True)
class Subject:
    """What a report is about: a run, a member, or a blend of members."""

    name: str
    path: Path
    """The folder of the run, the member or the blend."""
    competition: Competition
    parts: list[Part]
    blend: dict[str, Any] = field(default_factory=dict)
    """The content of blend.json; empty for others."""

    @cached_property
    def target(self) -> Target:
        return target_of(self.competition)

    @cached_property
    def metric(self) -> Metric:
        return metric_of(self.competition)

    @cached_property
    def oof(self) -> Predictions | None:
        """The out-of-fold predictions: those of the blend, or of the member."""
        return read_predictions(self.path / OUT_OF_FOLD, self.target.outputs) if self.blend else self.parts[0].oof

    @cached_property
    def mistakes(self) -> pd.DataFrame:
        if self.oof is None:
            raise RunError(f"{self.path} has no predictions yet: run podium predict with the same config")
        members = {part.name: part.oof for part in self.parts if part.oof is not None} if self.blend else {}
        return list_mistakes(self.target, self.oof, members, self.competition.classes)


def find_subject(place: Path | None, options: RunOptions) -> Subject:
    """The subject of a run folder, a member's or a blend's folder, or a config file; by default of the newest run."""
    return subject_at(find_folder(place, options))


def find_folder(place: Path | None, options: RunOptions) -> Path:
    if place is None:
        return _newest(options.runs)
    if (place / "predictions.json").is_file():  # of a fold
        return place.parent
    if place.is_dir():
        return place
    if not place.is_file():
        raise RunError(
            f"{place} does not exist; expected a folder in {options.runs}, or the file of a member, an ensemble or a"
            " detector"
        )
    kind = kind_in(read_yaml(place))
    if kind == "detector":
        return find_trained(load_detector(place), options.runs).run.path
    if kind == "ensemble":
        return find_blend(load_ensemble(place), options.runs).path
    return find_member(load_member(place), options)[0].path.parent


def newest_runs(runs: Path) -> list[Path]:
    """The folders of all runs that have trained, the newest first."""
    found = runs.glob("*/fold[0-9]*/history.csv")
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def _newest(runs: Path) -> Path:
    found = newest_runs(runs)
    if not found:
        raise RunError(f"there is no run in {runs}; start one with podium train")
    return found[0]


def subject_at(path: Path) -> Subject:
    if (path / "blend.json").is_file():
        blend = read_blend(path)
        members: dict[str, list[Path]] = {name: [] for name in blend.facts["members"]}
        for folder in blend.predictions:
            members.setdefault(read_resolved(Run(folder.parent))["name"], []).append(folder)
        outputs = target_of(blend.competition).outputs
        parts = [
            Part(name, [Run(folder.parent) for folder in folders], folders, outputs)
            for name, folders in members.items()
        ]
        return Subject(blend.facts["ensemble"], path, blend.competition, parts, blend.facts)
    runs = [Run(path)] if (path / "config.yaml").is_file() else [Run(fold) for fold in sorted(path.glob("fold[0-9]*"))]
    if not runs or not runs[0].config.is_file():
        raise RunError(f"{path} is not a run; expected runs/<member>-<digest>, a fold of it, or a blend")
    try:
        folders = read_classifier("", path).folders
    except (RunError, DataError):  # not predicted yet
        folders = []
    name = read_resolved(runs[0])["name"]
    title = name if len(runs) > 1 or path != runs[0].path else f"{name}, {path.name}"
    competition = resolved_competition(runs[0])
    return Subject(title, path, competition, [Part(name, runs, folders, target_of(competition).outputs)])


def image_paths(competition: Competition, options: RunOptions) -> Images | None:
    """The training images, and the position of each id; None without the competition's data."""
    from podium.data.table import read_rows

    try:
        rows = read_rows(competition, data_folder(competition.slug, options.data, competition.kaggle_source))
    except PodiumError:
        return None
    paths = rows.paths_of(rows.train)
    return paths, {str(name): position for position, name in enumerate(rows.train["id"])}
