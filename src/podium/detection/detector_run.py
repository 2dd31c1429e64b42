"""Run folders of detectors: a detector with its dataset, and a trained detector that needs no dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.settings import decisive
from podium.detection.config import DetectorSettings
from podium.detection.loading import DRY_RUN_IMAGES, Detector, as_dry_run_of_detector
from podium.errors import ConfigError, DataError, RunError
from podium.files import digest_of, read_json, write_json
from podium.locks import locked
from podium.models.preset_places import is_at_hand, print_preset_of_dry_run
from podium.models.weights import weights_digest
from podium.options import RunOptions
from podium.paths import boxes_folder, data_folder
from podium.runs import Run
from podium.training.run_training import import_libraries
from podium.yaml_text import read_saved

if TYPE_CHECKING:
    import pandas as pd

    from podium.data.image_cache import Cache
    from podium.detection.dataset import BoxDataset
    from podium.detection.evaluation import Evaluation
    from podium.detection.inference import LoadedDetector
    from podium.detection.task import DetectionTask, ImagesWithBoxes

EVALUATION, METRICS = "evaluation", "metrics.json"
"""The folder in the run folder, and its file with all metrics."""


@dataclass(frozen=True)
class DetectorRun:
    """A detector, its dataset, and the folder of its weights."""

    detector: Detector
    dataset: "BoxDataset"
    data: Path
    options: RunOptions
    run: Run
    resolved: dict[str, Any]

    @property
    def name(self) -> str:
        return self.detector.name

    @property
    def settings(self) -> DetectorSettings:
        return self.detector.settings

    @property
    def folds_file(self) -> Path:
        return dataset_folder(self.detector, self.options) / "images.csv"

    def task(self, console: Console) -> "DetectionTask":
        from podium.detection.task import DetectionTask

        training, validation = self.part("train", self.options.limit), self.part("validation")
        classes = len(self.dataset.classes)
        console.print(
            f"{self.name}: training on {len(training.ids):,} images with {training.count:,} boxes of {classes}"
            f" class{'es' * (classes > 1)}, validating on {len(validation.ids):,}, in {self.run.path}"
        )
        return DetectionTask(
            self.settings,
            self.dataset,
            training,
            validation,
            eager=self.options.dry_run,
            cache=self.cache(console),
            recipe=self.run.recipe,
        )

    def precision_on_cpu(self, console: Console) -> str:
        return "float32"

    def cache(self, console: Console) -> "Cache":
        from podium.data.image_cache import Cache

        return Cache(self.dataset.slug, self.settings.cache_gb, console)

    @property
    def seconds_to_evaluate(self) -> float:
        """An estimate from the validation in training."""
        return float(1.3 * self.run.state.get("seconds_per_image", 0.0) * len(self.dataset.images))

    def part(self, name: str, limit: int | None = None) -> "ImagesWithBoxes":
        """A part of the dataset, or its first `limit` images."""
        from podium.detection.task import ImagesWithBoxes

        if self.options.dry_run:
            limit = min(limit or DRY_RUN_IMAGES, DRY_RUN_IMAGES)
        return ImagesWithBoxes.of(self.dataset, name, self.data, dataset_folder(self.detector, self.options), limit)

    def evaluate(self, parts: Sequence[str], threshold: float | None, console: Console) -> "tuple[Evaluation, Path]":
        """Evaluate the trained detector on parts of its dataset, and write metrics, boxes and curves to a folder."""
        import pandas as pd

        from podium.detection.charts import draw_curves
        from podium.detection.dataset import select_images
        from podium.detection.detections import write_detections
        from podium.detection.evaluation import THRESHOLD_PART, evaluate

        if not self.run.is_trained:
            raise RunError(_why_not_trained(self))
        import_libraries()
        from podium.detection.inference import InferenceImages, LoadedDetector

        loaded = LoadedDetector(self.run, self.settings, self.dataset.classes)
        needed = dict.fromkeys([*parts, *([THRESHOLD_PART] if threshold is None else [])])
        images = {part: self.part(part) for part in needed}
        with locked(self.run.path), self.run.timed("prediction"):
            detections = {
                part: loaded.detect(
                    InferenceImages(chosen.ids, chosen.paths, chosen.shapes), self.cache(console), console
                )
                for part, chosen in images.items()
            }
        dataset = select_images(self.dataset, {image_id for chosen in images.values() for image_id in chosen.ids})
        evaluation = evaluate(dataset, pd.concat(detections.values(), ignore_index=True), threshold, parts)
        folder = self.run.path / EVALUATION
        for metrics in evaluation.parts:
            write_detections(folder / f"{metrics.part}.csv", detections[metrics.part])
            draw_curves(folder / f"{metrics.part}.png", title=f"{self.name}: {metrics.part}", part=metrics)
        write_json(folder / METRICS, {**evaluation.to_json(), "weights": self.run.best.get("digest")})
        return evaluation, folder


def dataset_folder(detector: Detector, options: RunOptions) -> Path:
    return boxes_folder(options.runs, detector.settings.slug)


def detector_run(detector: Detector, options: RunOptions, console: Console) -> DetectorRun:
    """The run of a detector on its dataset. All images are checked."""
    from podium.data.catalogue import read_catalogue
    from podium.detection.dataset import image_paths, read_dataset

    if not detector.settings.stages:
        raise ConfigError(f"{detector.name} has no stages to train; see configs/detectors/boats.yaml")
    if options.dry_run:
        preset = detector.settings.backbone
        detector = as_dry_run_of_detector(detector, is_at_hand)
        print_preset_of_dry_run(preset, detector.settings.backbone, console)
    folder = dataset_folder(detector, options)
    if not folder.is_dir():
        raise DataError(f"no dataset in {folder}: build it with podium detect build")
    dataset = read_dataset(folder)
    data = data_folder(detector.settings.slug, options.data, detector.settings.kaggle_source)
    paths = image_paths(dataset.images, data, folder)
    known = read_catalogue(paths, detector.settings.slug, console)
    bad = [str(path) for path, readable in zip(paths, known.readable, strict=True) if not readable]
    if bad:
        raise DataError(
            f"{len(bad)} images of the dataset cannot be read: {', '.join(bad[:5])}{', ...' * (len(bad) > 5)};"
            " restore them, or build the dataset again"
        )
    for part in ("train", "validation"):
        if not (dataset.images["split"] == part).any():
            raise DataError(f"the dataset in {folder} has no {part} images: build it with more images")
    resolved = _resolved(detector, dataset, known.digest, options)
    run = Run(options.runs / f"{detector.name}-{resolved['digest']}" / "fold0")
    return DetectorRun(detector, dataset, data, options, run, resolved)


def _resolved(detector: Detector, dataset: "BoxDataset", contents: str, options: RunOptions) -> dict[str, Any]:
    """The resolved config, with a digest of everything that affects the weights."""
    settings = detector.settings.model_dump(mode="json", by_alias=True)
    inputs = {
        "labels": dataset.classes,  # in the order of the model's outputs
        "weights": weights_digest(detector.name, detector.settings.backbone),
        "rows": digest_of([_table_digest(dataset.boxes), contents]),
        "folds": _table_digest(dataset.images),
    }
    digest_content = {
        "detector": decisive(detector.settings),
        "limit": options.limit,
        "dry_run": options.dry_run,
        **inputs,
    }
    return {
        "name": detector.name,
        "digest": digest_of(digest_content),
        "dry_run": options.dry_run,
        "limit": options.limit,
        "inputs": inputs,
        "detector": settings,
    }


def _table_digest(table: "pd.DataFrame") -> str:
    return digest_of(table.to_csv(index=False, lineterminator="\n"))


def _why_not_trained(run: DetectorRun) -> str:
    inputs = run.resolved["inputs"]
    on_other_data = [
        trained.run.path
        for trained in _trained_detectors(run.detector, run.options.runs)
        if any(trained.inputs.get(key) != inputs[key] for key in ("rows", "folds"))
    ]
    if on_other_data and not run.options.dry_run:
        return (
            f"{run.name} was trained on an earlier build of the dataset ({on_other_data[0]}) and can only be evaluated"
            " on that: build it again as it was, or train on the new one"
        )
    return f"{run.name} is not trained ({run.run.path}): run podium detect train with the same config and options"


@dataclass(frozen=True)
class TrainedDetector:
    """A trained detector from its run folder; its dataset is not needed."""

    name: str
    run: Run
    settings: DetectorSettings
    classes: list[str]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Digests of its dataset and of its initial weights."""

    @property
    def threshold(self) -> float | None:
        """The confidence threshold that the evaluation of these weights chose."""
        metrics, is_of_best_weights = last_evaluation(self.run)
        threshold = metrics.get("threshold")
        return float(threshold) if is_of_best_weights and isinstance(threshold, int | float) else None

    def load(self) -> "LoadedDetector":
        import_libraries()
        from podium.detection.inference import LoadedDetector

        return LoadedDetector(self.run, self.settings, self.classes)

    def detect(self, images: Mapping[str, Path], console: Console) -> "pd.DataFrame":
        """A table of the detections in images, given by id."""
        return detect_in(self.load(), images, console)


def detect_in(loaded: "LoadedDetector", images: Mapping[str, Path], console: Console) -> "pd.DataFrame":
    from podium.detection.inference import InferenceImages
    from podium.detection.orientation import upright_sizes

    paths = list(images.values())
    shapes = [(height, width) for width, height in upright_sizes(paths, console)]
    return loaded.detect(InferenceImages(list(images), paths, shapes), None, console)


def last_evaluation(run: Run) -> tuple[dict[str, Any], bool]:
    """The metrics of the last evaluation, empty if there is none, and whether they are of the current best weights."""
    metrics = read_json(run.path / EVALUATION / METRICS)
    return metrics, metrics.get("weights") == run.best.get("digest")


def find_trained(detector: Detector, runs: Path) -> TrainedDetector:
    """The most recently trained run with this config, on any dataset."""
    found = _trained_detectors(detector, runs)
    if not found:
        raise RunError(
            f"{detector.name} is not trained with this config in {runs}: run podium detect train, or use the same --set"
            " and --runs as in training"
        )
    return max(found, key=lambda trained: trained.run.best_weights.stat().st_mtime)


def _trained_detectors(detector: Detector, runs: Path) -> list[TrainedDetector]:
    expected = decisive(detector.settings)
    found = []
    for path in runs.glob(f"{detector.name}-*/fold0"):
        run = Run(path)
        if run.is_trained and not run.state.get("dry_run"):
            trained = _read_trained(run)
            if trained and decisive(trained.settings) == expected:
                found.append(trained)
    return found


def _read_trained(run: Run) -> TrainedDetector | None:
    try:
        content = read_saved(run.config)
        settings = DetectorSettings.model_validate(content["detector"])
        return TrainedDetector(content["name"], run, settings, list(content["inputs"]["labels"]), content["inputs"])
    except (ValueError, KeyError, TypeError):
        return None
