"""The steps of a detector: its set of boxes -> train_run -> what it finds, in a run folder of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from podium.config.settings import decisive
from podium.detection.config import STAND_IN, DetectorSettings, PresetSettings, fingerprint
from podium.detection.loading import DRY_RUN_IMAGES, Detector, as_dry_run_of_detector
from podium.errors import ConfigError, DataError, RunError
from podium.files import digest_of, read_json, write_json
from podium.locks import locked
from podium.options import RunOptions
from podium.paths import boxes_folder, data_folder
from podium.runs import Run
from podium.training.libraries import import_libraries

if TYPE_CHECKING:
    import pandas as pd

    from podium.data.image_cache import Cache
    from podium.detection.dataset import BoxDataset
    from podium.detection.figures import Figures
    from podium.detection.task import DetectionTask, ImagesWithBoxes

EVALUATION, FIGURES = "evaluation", "figures.json"
"""The folder in the run folder, and the file in it that holds all figures."""


@dataclass(frozen=True)
class DetectorRun:
    """A detector on its set: what decides its weights, and the folder that holds them."""

    detector: Detector
    boxset: "BoxDataset"
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
        return set_folder(self.detector, self.options) / "images.csv"

    def task(self, console: Console) -> "DetectionTask":
        from podium.detection.task import DetectionTask

        training, validation = self.part("train", self.options.limit), self.part("validation")
        console.print(
            f"{self.name}: training on {len(training.ids):,} images with {training.count:,} boxes of"
            f" {len(self.boxset.classes)} class{'es' * (len(self.boxset.classes) > 1)}, validating on"
            f" {len(validation.ids):,}, in {self.run.path}"
        )
        cache = _cache(self, console)
        return DetectionTask(
            self.settings,
            self.boxset,
            training,
            validation,
            eager=self.options.dry_run,
            cache=cache,
            recipe=self.run.recipe,
        )

    def precision_on_cpu(self, console: Console) -> str:
        return "float32"

    @property
    def seconds_to_evaluate(self) -> float:
        """About, as the validation images took in training."""
        return float(1.3 * self.run.state.get("seconds_per_image", 0.0) * len(self.boxset.images))

    def part(self, name: str, limit: int | None = None) -> "ImagesWithBoxes":
        """One part of the set, or the first so many images of it."""
        from podium.detection.task import ImagesWithBoxes

        if self.options.dry_run:
            limit = min(limit or DRY_RUN_IMAGES, DRY_RUN_IMAGES)
        return ImagesWithBoxes.of(self.boxset, name, self.data, set_folder(self.detector, self.options), limit)


def set_folder(detector: Detector, options: RunOptions) -> Path:
    """Where the set lies that was built for it."""
    return boxes_folder(options.runs, detector.settings.slug)


def detector_run(detector: Detector, options: RunOptions, console: Console) -> DetectorRun:
    """The run of a detector on the set that was built for it, every image of which is looked at."""
    from podium.data.catalogue import read_catalogue
    from podium.detection.dataset import image_path, read_dataset

    if not detector.settings.stages:
        raise ConfigError(
            f"{detector.name} names no stages: say how it is trained, as configs/detectors/boats.yaml does"
        )
    if options.dry_run:
        whole, detector = detector, as_dry_run_of_detector(detector)
        asked = whole.settings.backbone
        if isinstance(asked, PresetSettings) and detector.settings.backbone is STAND_IN:
            console.print(f"  {STAND_IN.name} stands in for the preset {asked.preset}", highlight=False)
    own = set_folder(detector, options)
    if not own.is_dir():
        raise DataError(f"there is no set of boxes in {own}: build it with podium detect build first")
    boxset = read_dataset(own)
    data = data_folder(detector.settings.slug, options.data, detector.settings.kaggle_source)
    paths = [
        image_path(file, turned, data, own)
        for file, turned in zip(boxset.images["file"], boxset.images["turned"], strict=True)
    ]
    known = read_catalogue(paths, detector.settings.slug, console)
    bad = [str(path) for path, is_whole in zip(paths, known.readable, strict=True) if not is_whole]
    if bad:
        raise DataError(
            f"{len(bad)} images of the set cannot be read: {', '.join(bad[:5])}{' …' * (len(bad) > 5)};"
            " put them back, or build the set again"
        )
    for part in ("train", "validation"):
        if not (boxset.images["split"] == part).any():
            raise DataError(f"the set in {own} has no image in its {part} part: build it with more images")
    resolved = _resolved(detector, boxset, known.digest, options)
    folder = options.runs / f"{detector.name}-{resolved['digest']}"
    return DetectorRun(detector, boxset, data, options, Run(folder / "fold0"), resolved)


def _resolved(detector: Detector, boxset: "BoxDataset", contents: str, options: RunOptions) -> dict[str, Any]:
    """The resolved config, with the digest of the parts that decide the weights."""
    settings = detector.settings.model_dump(mode="json", by_alias=True)
    made_of = {
        "labels": boxset.classes,  # a list: their order is that of the model's outputs
        "weights": fingerprint(detector.name, detector.settings.backbone),
        "rows": digest_of([_digest_of_table(boxset.boxes), contents]),
        "folds": _digest_of_table(boxset.images),
    }
    decides = {
        "detector": decisive(detector.settings),
        "limit": options.limit,
        "dry_run": options.dry_run,
        **made_of,
    }
    return {
        "name": detector.name,
        "digest": digest_of(decides),
        "dry_run": options.dry_run,
        "limit": options.limit,
        "made_of": made_of,
        "detector": settings,
    }


def _digest_of_table(table: Any) -> str:
    return digest_of(table.to_csv(index=False, lineterminator="\n"))


def evaluate_detector(
    one: DetectorRun, parts: Sequence[str], threshold: float | None, console: Console
) -> "tuple[Figures, Path]":
    """What it is worth on these parts of its set, and the folder where that is written: figures, boxes, curves."""
    import pandas as pd

    from podium.detection.charts import draw_curves
    from podium.detection.dataset import only
    from podium.detection.detections import write_detections
    from podium.detection.evaluation import CHOOSING, evaluate

    if not one.run.is_trained:
        raise RunError(_not_trained(one))
    import_libraries()
    from podium.detection.inference import Searched, TrainedDetector

    opened = TrainedDetector(one.run, one.settings, one.boxset.classes)
    searched = {part: one.part(part) for part in dict.fromkeys([*parts, *([CHOOSING] if threshold is None else [])])}
    with locked(one.run.path), one.run.timed("prediction"):
        found = {
            name: opened.find(Searched(part.ids, part.paths, part.shapes), _cache(one, console), console)
            for name, part in searched.items()
        }
    boxset = only(one.boxset, {name for part in searched.values() for name in part.ids})
    figures = evaluate(boxset, pd.concat(found.values(), ignore_index=True), threshold, parts)
    folder = one.run.path / EVALUATION
    for its in figures.parts:
        write_detections(folder / f"{its.part}.csv", found[its.part])
        draw_curves(folder / f"{its.part}.png", title=f"{one.name}: {its.part}", part=its)
    write_json(folder / FIGURES, {**figures.to_json(), "weights": one.run.state["best"].get("digest")})
    return figures, folder


def _not_trained(one: DetectorRun) -> str:
    """Which is also so where the set was built again since."""
    made_of = one.resolved["made_of"]
    others = [
        trained.run.path
        for trained in _trained_runs(one.detector, one.options.runs)
        if any(trained.made_of.get(key) != made_of[key] for key in ("rows", "folds"))
    ]
    if others and not one.options.dry_run:
        return (
            f"{one.name} was trained on the set as it was before it was built again ({others[0]}), and is judged by"
            " that only: build it again as it was then, or train on the new one"
        )
    return (
        f"{one.name} is not trained (looked in {one.run.path}); run podium detect train with the same config and"
        " options"
    )


def tell_evaluation(one: DetectorRun, figures: "Figures", folder: Path, console: Console) -> None:
    console.print(figures.table())
    if len(one.boxset.classes) > 1:
        console.print(figures.class_table())
    for note in figures.notes():
        console.print(note, highlight=False)
    console.print(f"{one.name}: figures, boxes and curves in {folder}")


@dataclass(frozen=True)
class Trained:
    """A detector that is trained, as its run folder tells: to find things with, its set need not be there."""

    name: str
    run: Run
    settings: DetectorSettings
    classes: list[str]
    made_of: Mapping[str, Any] = field(default_factory=dict)
    """Digests of the set it was trained on, and of more."""

    @property
    def threshold(self) -> float | None:
        """The score that an evaluation of these weights chose."""
        known, is_of_these = last_evaluation(self.run)
        threshold = known.get("threshold")
        return float(threshold) if is_of_these and isinstance(threshold, int | float) else None

    def search(self, images: Mapping[str, Path], console: Console) -> "pd.DataFrame":
        """A table of what is found in these images, each by its id."""
        import_libraries()
        from podium.detection.inference import Searched, TrainedDetector
        from podium.detection.sizes import upright_sizes

        paths = list(images.values())
        shapes = [(height, width) for width, height in upright_sizes(paths, console)]
        searched = Searched(list(images), paths, shapes)
        return TrainedDetector(self.run, self.settings, self.classes).find(searched, None, console)


def last_evaluation(run: Run) -> tuple[dict[str, Any], bool]:
    """The figures that it wrote, none where there was none, and whether they are of the run's present weights."""
    known = read_json(run.path / EVALUATION / FIGURES)
    return known, known.get("weights") == run.state["best"].get("digest")


def find_trained(detector: Detector, runs: Path) -> Trained:
    """The last trained run of this very config, on whichever set."""
    found = _trained_runs(detector, runs)
    if not found:
        raise RunError(
            f"no run of {detector.name} in {runs} is trained with this config: run podium detect train, or give the"
            " same --set and --runs as then"
        )
    return max(found, key=lambda one: one.run.best_weights.stat().st_mtime)


def _trained_runs(detector: Detector, runs: Path) -> list[Trained]:
    wanted = decisive(detector.settings)
    found = []
    for path in runs.glob(f"{detector.name}-*/fold0"):
        run = Run(path)
        if run.is_trained and not run.state.get("dry_run"):
            trained = _trained_at(run)
            if trained and decisive(trained.settings) == wanted:
                found.append(trained)
    return found


def _trained_at(run: Run) -> Trained | None:
    try:
        content = yaml.safe_load(run.config.read_text(encoding="utf-8"))
        settings = DetectorSettings.model_validate(content["detector"])
        return Trained(content["name"], run, settings, list(content["made_of"]["labels"]), content["made_of"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _cache(one: DetectorRun, console: Console) -> "Cache":
    from podium.data.image_cache import Cache

    return Cache(one.boxset.slug, one.settings.cache_gb, console)
