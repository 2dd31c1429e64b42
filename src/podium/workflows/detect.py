"""Object detection: build and export datasets, train and evaluate detectors, detect objects in images."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from podium.detection.config import SPLITS, DetectorSettings, FolderSource, OpenImagesSource
from podium.detection.detector_run import DetectorRun, TrainedDetector, detector_run
from podium.detection.loading import Detector
from podium.errors import ConfigError, DataError, RunError, StoppedError
from podium.files import digest_of, read_json, write_text
from podium.locks import locked
from podium.options import RunOptions
from podium.paths import boxes_folder, data_folder
from podium.signals import StopCondition
from podium.training.run_training import train_run

if TYPE_CHECKING:
    import pandas as pd

    from podium.detection.building import BuildResult
    from podium.detection.evaluation import Evaluation
    from podium.detection.openimages_build import BuildContext

ExportFormat = Literal["yolo", "voc", "coco", "transfer"]
ExportedImages = Literal["copy", "link", "none"]
_BUILD_VERSION = 2
"""Increased when podium builds another dataset from the same files and settings."""
_DATASET_FILES = ("index.json", "images.csv", "boxes.csv")
_DEFAULT_THRESHOLD = 0.5
_DRAWN = "drawn"


# Build a dataset


def build_dataset(
    detector: Detector,
    *,
    data: Path | None = None,
    runs: Path = Path("runs"),
    console: Console,
    stop_condition: StopCondition | None = None,
    command: str = "podium detect build",
) -> Path:
    """Build the dataset of a detector in RUNS/boxes/<slug>, unless nothing has changed since it was built."""
    from podium.detection.downloads import FAILED_DOWNLOADS

    start, settings = time.monotonic(), detector.settings
    data, folder = _folders(detector, data, runs)
    stop_condition = stop_condition or StopCondition()

    def stop_if_requested() -> None:
        if reason := stop_condition.reason(0.0):
            raise StoppedError(f"{reason}: stopped; downloaded images are kept; resume with: {command}")

    with locked(folder):
        digest = _build_digest(settings, data)
        built = _built_from(folder)
        if built and built["digest"] == digest and not (folder / FAILED_DOWNLOADS).exists():
            console.print(f"{folder}: {built['images']:,} images, {built['boxes']:,} boxes; nothing has changed")
            return folder
        if isinstance(settings.source, OpenImagesSource):
            from podium.detection.openimages_build import build_from_open_images

            result = build_from_open_images(_context(detector, data, folder, console, stop_if_requested))
        else:
            from podium.detection.building import build_from_folder

            result = build_from_folder(settings, settings.source, data, console)
        _write_result(result, _build_digest(settings, data), folder)
    for line in _describe(result, settings, folder, time.monotonic() - start):
        console.print(line, highlight=False)
    return folder


def _folders(detector: Detector, data: Path | None, runs: Path) -> tuple[Path, Path]:
    """The data folder, and the folder of the dataset."""
    settings = detector.settings
    return data_folder(settings.slug, data, settings.kaggle_source), boxes_folder(runs, settings.slug)


def _context(detector: Detector, data: Path, folder: Path, console: Console, stop_if_requested: Any) -> "BuildContext":
    from podium.detection.openimages_build import BuildContext

    source = detector.settings.source
    assert isinstance(source, OpenImagesSource)
    return BuildContext(detector.settings, source, data, folder, console, stop_if_requested)


def _write_result(result: "BuildResult", digest: str, folder: Path) -> None:
    from podium.detection.dataset import write_dataset
    from podium.detection.downloads import FAILED_DOWNLOADS, write_failed_downloads

    dataset = result.dataset
    source = {**dataset.source, "digest": digest, "images": len(dataset.images), "boxes": len(dataset.boxes)}
    write_dataset(replace(dataset, source=source), folder)
    if result.failed:
        write_failed_downloads(result.failed, folder)
    else:
        (folder / FAILED_DOWNLOADS).unlink(missing_ok=True)
    used = set(dataset.images.loc[dataset.images["rotated"], "file"])
    for path in (folder / "rotated").glob("*.png"):
        if f"rotated/{path.name}" not in used:
            path.unlink()


def _built_from(folder: Path) -> dict[str, Any] | None:
    """The source of an existing dataset; None if it is missing or damaged."""
    if not all((folder / name).is_file() for name in _DATASET_FILES):
        return None
    try:
        source = read_json(folder / _DATASET_FILES[0]).get("source")
    except RunError:
        return None
    return source if isinstance(source, dict) and {"digest", "images", "boxes"} <= set(source) else None


def _build_digest(settings: DetectorSettings, data: Path) -> str:
    """Changes with the settings, the tables, and the times of image folders, which change when an image is added."""
    source = settings.source
    if isinstance(source, OpenImagesSource):
        names = [source.boxes, source.classes, *([source.image_table] if source.image_table else []), *source.urls]
        tables = [data / name for name in names]
        folders = [path for pattern in source.images for path in sorted(data.glob(str(Path(pattern).parent)))]
    else:
        tables, folders = _source_files(source, data / source.folder)
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in tables if path.is_file()]
    times = [(str(path.relative_to(data)), path.stat().st_mtime_ns) for path in folders if path.is_dir()]
    return digest_of([_BUILD_VERSION, settings.model_dump(mode="json", exclude={"data_at_kaggle"}), facts, times])


def _source_files(source: FolderSource, folder: Path) -> tuple[list[Path], list[Path]]:
    """The annotation files and the folders."""
    suffixes = {"yolo": (".txt", ".yaml", ".names"), "voc": (".xml", ".txt"), "coco": (".json",)}[source.kind]
    paths = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    return [path for path in paths if path.suffix in suffixes], [path for path in paths if path.is_dir()]


def _describe(result: "BuildResult", settings: DetectorSettings, folder: Path, seconds: float) -> list[str]:
    from podium.detection.downloads import FAILED_DOWNLOADS

    images, boxes, classes = result.dataset.images, result.dataset.boxes, result.dataset.classes
    lines = [f"{folder}: {len(images):,} images, {len(boxes):,} boxes, in {seconds:.1f} s"]
    split_of = boxes["id"].map(images.set_index("id")["split"])
    for split in SPLITS:
        counts = boxes.loc[split_of == split, "class"].value_counts()
        by_class = ", ".join(f"{name} {counts.get(name, 0):,}" for name in classes)
        lines.append(
            f"  {split:<10}  {(images['split'] == split).sum():>7,} images, {counts.sum():>8,} boxes: {by_class}"
        )
    empty = int((~images["id"].isin(boxes["id"])).sum())
    if empty or settings.empty_images:
        lines.append(f"  images without boxes: {empty:,}")
    if rotated := int(images["rotated"].sum()):
        lines.append(f"  rotated upright: {rotated:,} images, written to {folder / 'rotated'}")
    if result.excluded:
        excluded = ", ".join(f"{count:,} {flag}" for flag, count in result.excluded.items())
        lines.append(f"  excluded by keep: {excluded} boxes")
    lines.append(f"  cleaning: {result.cleaned}")
    if result.without_boxes:
        lines.append(f"  left out: {result.without_boxes:,} images, none of whose boxes was kept")
    if result.failed:
        first = result.failed[0]
        lines.append(
            f"  left out: {len(result.failed):,} unavailable images (first: {first.id}: {first.reason}); see"
            f" {folder / FAILED_DOWNLOADS}"
        )
    if absent := [name for name in classes if name not in set(boxes["class"])]:
        lines.append(f"  note: no box of {', '.join(absent)}")
    return lines


# Export a dataset


def export_dataset(
    detector: Detector,
    target: Path,
    export_format: ExportFormat,
    *,
    images: ExportedImages = "copy",
    data: Path | None = None,
    runs: Path = Path("runs"),
    console: Console,
) -> None:
    """Write a built dataset in another format; or, before any image exists, the list of their URLs."""
    data, folder = _folders(detector, data, runs)
    if export_format == "transfer":
        _export_transfer_list(_transfer_context(detector, data, folder, console), target)
        return
    from podium.detection.coco import write_coco
    from podium.detection.dataset import read_dataset
    from podium.detection.formats import ImageFiles
    from podium.detection.voc import write_voc
    from podium.detection.yolo import write_yolo

    if _built_from(folder) is None:
        raise DataError(f"no dataset in {folder}: build it with podium detect build")
    dataset = read_dataset(folder)
    write = {"yolo": write_yolo, "voc": write_voc, "coco": write_coco}[export_format]
    write(dataset, target, None if images == "none" else ImageFiles(images, data, folder, console))
    suffix = {"none": ", without images", "link": ", with links to the images"}.get(images, "")
    console.print(
        f"{target}: {len(dataset.images):,} images, {len(dataset.boxes):,} boxes in {export_format} format{suffix}"
    )


def _transfer_context(detector: Detector, data: Path, folder: Path, console: Console) -> "BuildContext":
    source = detector.settings.source
    if not isinstance(source, OpenImagesSource) or source.image_table is None:
        raise ConfigError("--as transfer needs source: openimages with an image_table")
    return _context(detector, data, folder, console, lambda: None)


def _export_transfer_list(context: "BuildContext", target: Path) -> None:
    """Write the input of a storage transfer service."""
    if target.is_dir():
        raise DataError(f"{target} is a folder; expected a file such as boats.tsv")
    from podium.detection.openimages import Address, transfer_list
    from podium.detection.openimages_build import listed_addresses, select

    selection = select(context)
    listed = listed_addresses(context, selection.known)
    addresses: dict[str, Address] = {}
    for image_id in selection.ids:
        known = selection.known.get(image_id)
        for address in (listed.get(image_id), known.original if known else None):
            if address is not None and address.size is not None and address.md5 is not None:
                addresses.setdefault(image_id, address)
    if not addresses:
        raise DataError(f"{context.source.image_table} has no URL with size and checksum for these images")
    write_text(target, transfer_list(addresses.values()))
    missing = len(selection.ids) - len(addresses)
    note = f"; {missing:,} images have no URL with size and checksum" if missing else ""
    context.console.print(f"{target}: {len(addresses):,} URLs{note}", highlight=False)


# Train and evaluate


def train_detector(detector: Detector, options: RunOptions, console: Console) -> DetectorRun:
    """Train on the dataset built for the detector, unless it is already trained with this config."""
    run = detector_run(detector, options, console)
    if run.run.is_trained:
        console.print(f"{run.name}: already trained with this config, skipped ({run.run.path})")
    elif options.live_page and not options.dry_run:
        from podium.workflows.live_page import train_with_page  # no kernel has it

        train_with_page(run, console)
    else:
        train_run(run, console)
    best = run.run.best
    console.print(f"{run.name}: {best['monitor']} {best['score']:.4f} on the validation part  {run.run.path}")
    return run


def evaluate_detector(
    detector: Detector,
    options: RunOptions,
    console: Console,
    *,
    parts: Sequence[str] = SPLITS,
    threshold: float | None = None,
) -> "Evaluation":
    """Evaluate a trained detector on these parts of its dataset. Default threshold: best F1 on the validation part."""
    run = detector_run(detector, options, console)
    evaluation, folder = run.evaluate(parts, threshold, console)
    print_evaluation(run, evaluation, folder, console)
    return evaluation


def print_evaluation(run: DetectorRun, evaluation: "Evaluation", folder: Path, console: Console) -> None:
    console.print(evaluation.table())
    if len(run.dataset.classes) > 1:
        console.print(evaluation.class_table())
    for note in evaluation.notes():
        console.print(note, highlight=False)
    console.print(f"{run.name}: metrics, boxes and curves in {folder}")


# Detect objects in images


def detect_objects(
    trained: TrainedDetector,
    paths: Sequence[Path],
    out: Path,
    *,
    threshold: float | None = None,
    draw: bool = True,
    console: Console,
) -> "pd.DataFrame":
    """Detect objects in images and folders of images; write boxes.csv, coco.json and drawn/ to `out`.

    The default threshold is the one chosen by the last evaluation, else 0.5.
    """
    from podium.detection.detections import write_coco_results, write_detections

    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is not a folder; choose another --out")
    images = _readable(_find_images(paths, out / _DRAWN), console)
    if threshold is None:
        threshold = _DEFAULT_THRESHOLD if trained.threshold is None else trained.threshold
    detections = trained.detect(images, console)
    detections = detections[detections["score"] >= threshold].reset_index(drop=True)
    write_detections(out / "boxes.csv", detections)
    write_coco_results(out / "coco.json", detections, trained.classes, list(images))
    if draw:
        for name, drawn_name in _drawn_names(images).items():
            boxes = detections[detections["id"] == name]
            _draw(images[name], boxes, trained.classes, out / _DRAWN / drawn_name)
    with_boxes = detections["id"].nunique()
    console.print(
        f"{trained.name}: {len(detections):,} box{'es' * (len(detections) != 1)} with score >= {threshold:.2f} in"
        f" {with_boxes:,} of {len(images):,} images, written to {out}"
    )
    return detections


def _find_images(paths: Sequence[Path], drawn: Path) -> dict[str, Path]:
    """Images by name, relative to the given folder. Images drawn by an earlier call are skipped."""
    from podium.data.find_images import has_image_suffix

    found: dict[str, Path] = {}
    for given in paths:
        if given.is_dir():
            root, drawn_root = given.resolve(), drawn.resolve()
            files = (path for path in sorted(given.rglob("*")) if has_image_suffix(path) and path.is_file())
            named = {path.relative_to(given).as_posix(): path for path in files}
            named = {name: path for name, path in named.items() if drawn_root not in (root / name).parents}
            if not named:
                raise DataError(f"{given} contains no image, such as a .jpg or .png file")
        elif given.is_file():
            named = {given.name: given}
        else:
            raise DataError(f"{given} does not exist; expected images or folders of images")
        for name, path in named.items():
            if name in found and found[name].resolve() != path.resolve():
                raise DataError(f"two images are named {name} ({found[name]}, {path}); process them separately")
            try:
                name.encode()
            except UnicodeEncodeError:
                raise DataError(f"the file name {str(path)!r} is not UTF-8; rename the file") from None
            found[name] = path
    return found


def _readable(images: dict[str, Path], console: Console) -> dict[str, Path]:
    from podium.data.catalogue import unreadable

    bad = set(unreadable(list(images.values()), "found", console))
    if not bad:
        return images
    first = next(path for path in images.values() if path in bad)
    if bad.issuperset(images.values()):
        raise DataError(f"none of the {len(images):,} files is an image that can be read (first: {first})")
    console.print(f"skipped {len(bad):,} of {len(images):,} files that cannot be read (first: {first})")
    return {name: path for name, path in images.items() if path not in bad}


def _drawn_names(names: Iterable[str]) -> dict[str, str]:
    """17.png is drawn as 17.jpg, or as 17.png.jpg if there is a 17.jpg too."""
    drawn = {name: PurePosixPath(name).with_suffix(".jpg").as_posix() for name in names}
    count = Counter(drawn.values())
    return {name: copy if count[copy] == 1 or copy == name else f"{name}.jpg" for name, copy in drawn.items()}


def _draw(path: Path, boxes: "pd.DataFrame", classes: Sequence[str], target: Path) -> None:
    import cv2

    from podium.data.images import read_image
    from podium.detection.drawing import draw_boxes
    from podium.files import atomic_write

    image = cv2.cvtColor(draw_boxes(read_image(path), boxes, classes), cv2.COLOR_RGB2BGR)
    with atomic_write(target, fsync=False) as draft:
        draft.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())


# Darknet logs


def import_darknet_log(log: Path, out: Path | None, console: Console) -> Path:
    """Write the iterations of a darknet log as log.csv, and charts of its loss, IoU and mAP."""
    from podium.detection.charts import draw_darknet_log
    from podium.detection.darknet_log import read_darknet_log, summarize_log, write_log_table

    table = read_darknet_log(log)
    folder = out or Path("runs/darknet") / log.stem
    write_log_table(folder / "log.csv", table)
    charts = draw_darknet_log(folder, log.name, table)
    for line in (*summarize_log(log.name, table), folder / "log.csv", *charts):
        console.print(line)
    return folder
