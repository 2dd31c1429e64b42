"""Detectors compared by their detections on the same images of one dataset.

    runs/boats-1a2b3c4d          a detector
    runs/boats-1a2b3c4d/fold0    the same

AP@0.5 decides. AP@0.5:0.95 and the mean IoU of true positives are secondary, as is McNemar's test of the boxes that
each detector hits. It assumes independent boxes, although boxes of one image are related. The bootstrap resamples
images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.detection.average_precision import (
    AveragePrecision,
    Flags,
    Floats,
    Ints,
    average_precision,
    mean_of_known,
    resampled_average_precision,
)
from podium.detection.dataset import BoxDataset, read_dataset, read_images, select_images
from podium.detection.detections import read_detections
from podium.detection.detector_run import EVALUATION, last_evaluation
from podium.detection.detector_run import METRICS as METRICS_FILE
from podium.detection.evaluation import count_matches
from podium.errors import DataError, RunError
from podium.evaluation.comparison import (
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
from podium.evaluation.statistics import (
    RESAMPLES,
    SEED,
    Progress,
    Statistics,
    compare_scores,
    compare_with_baseline,
    mcnemar,
)
from podium.files import read_json
from podium.paths import boxes_folder
from podium.runs import Run

AP50 = "AP@0.5"
METRICS = (AP50, "AP@0.5:0.95", "mean IoU of true positives")
PARTS = ("test", "validation")
"""Parts of a dataset that detectors can be compared on."""
ROUNDING = 1e-6
"""Differences of an AP below are rounding errors."""
_CELLS_AT_ONCE = 2_000_000
"""Detections times resamples held in memory together."""


@dataclass(frozen=True)
class PartDetections:
    """A file of detections on one part of the dataset, and the reported scores."""

    file: Path
    images: int
    """The number of images; in a dry run only the first of the part."""
    threshold: float
    ap50: float | None


@dataclass(frozen=True, kw_only=True)
class DetectorCandidate(Candidate):
    run: Run
    classes: list[str]

    def why_not_on_test(self) -> str | None:
        evaluation, is_of_best_weights = last_evaluation(self.run)
        if "test" not in (evaluation.get("parts") or ()):
            return "not evaluated on the test part (podium detect evaluate)"
        if not is_of_best_weights:
            return "evaluated with earlier weights (repeat podium detect evaluate)"
        return None

    def detections_on(self, part: str) -> PartDetections:
        """Those of the evaluation for the test part, those of the training for the validation part."""
        if part == "test":
            folder, figures = self.run.path / EVALUATION, (last_evaluation(self.run)[0].get("parts") or {}).get(part)
            return _read_part_detections(folder / METRICS_FILE, figures, folder / f"{part}.csv")
        file = self.run.path / "validation.json"
        return _read_part_detections(file, read_json(file), self.run.path / "validation_boxes.csv")


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one run on the images of a dataset, and its score threshold."""

    found: pd.DataFrame
    threshold: float


def compare_detectors(
    candidates: Sequence[DetectorCandidate], runs: Path, part: str | None, progress: Progress = iter
) -> Comparison:
    """On the given part; by default on the test part if all are evaluated on it, else on the validation part."""
    folder = _dataset_folder(candidates, runs)
    dataset = read_dataset(folder)
    _check_classes(candidates, dataset)
    part, notes = _choose_part(candidates, part)
    evaluated = [run.detections_on(part) for run in candidates]
    common, left_out = _common_images(candidates, evaluated, part, dataset)
    dataset = select_images(dataset, common)
    detections = []
    for files in evaluated:
        table = read_detections(files.file, dataset.classes)
        detections.append(Detections(table[table["id"].isin(common)], files.threshold))
    statistics = compare_detections(dataset, detections, progress=progress)
    return Comparison(
        **vars(statistics),
        runs=candidates,
        metric=AP50,
        higher_is_better=True,
        uses_mcnemar=False,
        part=part,
        thresholds=[found.threshold for found in detections],
        notes=[
            *notes,
            *note_left_out(candidates, left_out, f"{len(common):,} images of the {part} part"),
            *_note_other_build(candidates, folder),
            *_note_changed_boxes(candidates, evaluated, left_out, statistics),
            *_note_undefined(dataset, statistics),
        ],
    )


def compare_detections(
    dataset: BoxDataset,
    detectors: Sequence[Detections],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    progress: Progress = iter,
) -> Statistics:
    """All detectors have been run on every image of the dataset, and on no others.

    A secondary metric that is undefined is left out, such as the mean IoU of true positives where a detector has none.
    """
    images = dataset.images["id"].tolist()
    measured = [_Measured.of(dataset, detections, images) for detections in detectors]
    resampled = _resample(measured, len(images), resamples, seed, progress)
    deciding, *secondary = (
        compare_scores(name, [run.values[number] for run in measured], resampled[number])
        for number, name in enumerate(METRICS)
    )
    if deciding is None:
        raise DataError(
            f"these {len(images):,} images of {dataset.slug} have no boxes, or too few for an interval of {AP50};"
            " expected images with boxes: compare on another part, or build a larger dataset"
        )
    hit = [run.boxes_hit(dataset) for run in measured]
    return compare_with_baseline(
        deciding,
        len(images),
        [mcnemar(hit[0], other) for other in hit[1:]],
        higher_is_better=True,
        use_mcnemar=False,
        secondary=[scores for scores in secondary if scores],
    )


@dataclass(frozen=True, eq=False)
class _Measured:
    """What does not depend on the resample."""

    precision: AveragePrecision
    is_counted_hit: Flags
    """Of each match, whether it is a hit with a score above the threshold."""
    values: list[float]
    """In the order of METRICS."""

    @classmethod
    def of(cls, dataset: BoxDataset, detections: Detections, images: Sequence[str]) -> "_Measured":
        precision = average_precision(detections.found, dataset.boxes, dataset.classes, images)
        matches = precision.matches
        mean_iou = count_matches(matches, detections.threshold).mean_iou
        values = [mean_of_known(precision.ap50), mean_of_known(precision.ap), mean_iou]
        is_counted = matches.scores >= detections.threshold
        return cls(precision, matches.is_true_positive & is_counted, values)

    def boxes_hit(self, dataset: BoxDataset) -> Flags:
        """Whether each box that is not a group box was detected."""
        is_hit: Flags = np.zeros(len(dataset.boxes), dtype=bool)
        is_hit[self.precision.matches.matched[self.is_counted_hit]] = True
        is_single: Flags = ~dataset.boxes["group"].to_numpy(dtype=bool)
        return is_hit[is_single]

    def resampled(self, times: Ints) -> list[Floats]:
        """The same values for each resample, which contains each image this many times."""
        precision = resampled_average_precision(times, self.precision.detections)
        matches = self.precision.matches
        images, ious = matches.images[self.is_counted_hit], matches.ious[self.is_counted_hit]
        hits = times @ np.bincount(images, minlength=times.shape[1])
        sums = times @ np.bincount(images, weights=ious, minlength=times.shape[1])
        return [precision.ap50, precision.ap, np.where(hits > 0, sums / np.maximum(hits, 1), np.nan)]


def _resample(
    measured: Sequence[_Measured], images: int, resamples: int, seed: int, progress: Progress
) -> NDArray[np.float64]:
    """Values as (metrics, resamples, detectors), of images drawn with replacement."""
    random = np.random.default_rng(seed)
    most = max([images, *(len(of_class.images) for run in measured for of_class in run.precision.detections)])
    at_once = max(1, _CELLS_AT_ONCE // most)
    values = np.full((len(METRICS), resamples, len(measured)), np.nan)
    for start in progress(range(0, resamples, at_once)):
        end = min(start + at_once, resamples)
        times = random.multinomial(images, np.full(images, 1 / images), end - start)
        for number, run in enumerate(measured):
            values[:, start:end, number] = run.resampled(times)
    return values


def is_detector(path: Path) -> bool:
    """Whether the folder is the run of a detector; unreadable configs count as a member's."""
    folders = [path, *sorted(path.glob("fold[0-9]*"))]
    return any("detector" in read_config(Run(folder)) for folder in folders[:2])


def read_detector(letter: str, path: Path) -> DetectorCandidate:
    run = Run(path if (path / "config.yaml").is_file() else path / "fold0")
    config = read_config(run)
    match config:
        case {"detector": {"slug": str(slug)} as detector, "inputs": {"labels": [str(), *_] as classes} as inputs}:
            keys = {
                **{key: value for key, value in detector.items() if key != "title"},
                **{key: config.get(key) for key in ("limit", "dry_run")},
                "inputs": {key: value for key, value in inputs.items() if key != "labels"},
            }
        case _:
            raise damaged_config(run, "podium detect train")
    if run.state.get("status") != "trained":
        raise RunError(not_trained(run, "podium detect train"))
    return DetectorCandidate(
        letter=letter,
        path=path,
        kind="detector",
        folders=[run.path],
        slug=slug,
        configs=[keys],
        versions=read_versions(run),
        seconds=read_seconds([run]),
        is_dry_run=bool(config.get("dry_run")),
        limit=config.get("limit"),
        run=run,
        classes=list(classes),
    )


def _read_part_detections(source: Path, figures: Any, file: Path) -> PartDetections:
    try:
        ap50 = figures["ap50"]
        threshold = float(figures["threshold"])
        return PartDetections(file, int(figures["images"]), threshold, None if ap50 is None else float(ap50))
    except (KeyError, TypeError, ValueError):
        raise RunError(
            f"{source} is damaged; expected images, threshold and ap50 as podium writes them: restore a copy of it, or"
            " evaluate again"
        ) from None


def _dataset_folder(candidates: Sequence[DetectorCandidate], runs: Path) -> Path:
    """Next to the first run, else in the folder of runs."""
    slugs = list(dict.fromkeys(run.slug for run in candidates))
    if len(slugs) > 1:
        raise RunError(
            f"these are detectors of different datasets ({', '.join(slugs)}); expected one dataset: compare detectors"
            " with the same slug"
        )
    folders = [boxes_folder(root, slugs[0]) for root in (candidates[0].run.path.parent.parent, runs)]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise DataError(f"no dataset in {' or '.join(dict.fromkeys(map(str, folders)))}: build it with podium detect build")


def _check_classes(candidates: Sequence[DetectorCandidate], dataset: BoxDataset) -> None:
    first = candidates[0]
    for run in candidates[1:]:
        if different := sorted(set(run.classes) ^ set(first.classes)):
            raise RunError(
                f"{first.path} and {run.path} have different classes ({len(first.classes)} and {len(run.classes)}; only"
                f" in one of them: {few(different)}); expected detectors of the same classes"
            )
    if different := sorted(set(dataset.classes) ^ set(first.classes)):
        raise RunError(
            f"the classes of the dataset {dataset.slug} have changed since these runs were trained (only before or"
            f" after: {few(different)}); build it again with the same classes, or train again"
        )


def _choose_part(candidates: Sequence[DetectorCandidate], part: str | None) -> tuple[str, list[str]]:
    """The part to compare on, and a note if it is the validation part."""
    reasons = [f"{run.letter} {why}" for run in candidates if (why := run.why_not_on_test())]
    if part == "test" and reasons:
        raise RunError(
            f"cannot compare on the test part: {'; '.join(reasons)}; evaluate them, or use --part validation"
        )
    if part == "test" or not (part or reasons):
        return "test", []
    because = f" ({'; '.join(reasons)})" if reasons and not part else ""
    return "validation", [
        f"compared on the validation part{because}: weights and thresholds were chosen on it, so all scores are"
        " optimistic"
    ]


def _common_images(
    candidates: Sequence[DetectorCandidate], evaluated: Sequence[PartDetections], part: str, dataset: BoxDataset
) -> tuple[set[str], list[int]]:
    """The ids of images that all have evaluated and the dataset still has, and how many more each run has evaluated.

    The part is that of each run's own copy of the image table."""
    ids = []
    for run, detections in zip(candidates, evaluated, strict=True):
        images = read_images(run.run.folds)
        ids.append(set(images["id"][images["split"] == part][: detections.images]))
    common = set(dataset.images["id"]).intersection(*ids)
    if not common:
        counts = ", ".join(f"{run.letter} {len(own):,}" for run, own in zip(candidates, ids, strict=True))
        raise DataError(
            f"no image of the {part} part was evaluated by all of these runs ({counts}) and is in the dataset"
            f" {dataset.slug} now; expected common images: train and evaluate on one dataset"
        )
    return common, [len(own - common) for own in ids]


def _note_other_build(candidates: Sequence[DetectorCandidate], folder: Path) -> list[str]:
    digests = [[run.configs[0]["inputs"].get(key) for key in ("rows", "folds")] for run in candidates]
    others = [run.letter for run, digest in zip(candidates, digests, strict=True) if digest != digests[0]]
    if not others:
        return []
    return [
        f"{', '.join(others)} was trained on another build of the dataset than {candidates[0].letter}; all are scored"
        f" with the boxes that are in {folder} now"
    ]


def _note_changed_boxes(
    candidates: Sequence[DetectorCandidate],
    evaluated: Sequence[PartDetections],
    left_out: Sequence[int],
    statistics: Statistics,
) -> list[str]:
    """On the same images the AP equals the reported one, unless their boxes were changed."""
    return [
        f"the boxes of the dataset have changed since {run.letter} was evaluated: its AP@0.5 was {before.ap50:.4f}"
        for run, before, left, score in zip(candidates, evaluated, left_out, statistics.scores, strict=True)
        if not left and before.ap50 is not None and abs(before.ap50 - score.value) > ROUNDING
    ]


def _note_undefined(dataset: BoxDataset, statistics: Statistics) -> list[str]:
    present = set(dataset.boxes["class"][~dataset.boxes["group"]])
    missing = [name for name in dataset.classes if name not in present]
    defined = {scores.metric for scores in statistics.secondary}
    notes = [f"no box of {few(missing)} on these images: AP is the mean over the other classes"] if missing else []
    return notes + [f"no {name}: a run has no hit above its threshold" for name in METRICS[1:] if name not in defined]
