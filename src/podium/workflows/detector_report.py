"""The page of a detector: its training, precision and recall, and the images with the most mistakes."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from podium.config.resolved import validated
from podium.data.images import read_image
from podium.detection.average_precision import average_precision
from podium.detection.config import DetectorSettings
from podium.detection.dataset import BoxDataset, image_paths, read_dataset
from podium.detection.detections import read_detections
from podium.detection.detector_run import EVALUATION, METRICS
from podium.detection.drawing import draw_boxes
from podium.detection.evaluation import PartMetrics, evaluate_part, format_metric
from podium.errors import PodiumError
from podium.evaluation.comparison import read_config
from podium.files import read_json
from podium.options import RunOptions
from podium.paths import boxes_folder, data_folder
from podium.reports.charts import COLOURS, curves, history_chart, learning_curves
from podium.reports.page import as_source
from podium.reports.report_page import Mistake, Report, Section, Table, versions_table, write_report
from podium.runs import Run

MOST_SHOWN, SIDE = 60, 320
"""Images with mistakes, and their long side in pixels."""


def is_detector_run(run: Run) -> bool:
    return "detector" in read_config(run)


def write_detector_page(run: Run, options: RunOptions, out: Path | None = None) -> Path:
    """Write the page of a detector's run, report.html in its folder by default, and return its path."""
    content = read_config(run)
    settings = validated(DetectorSettings, content["detector"], run.config)
    sections = [_training(history)] if run.history.is_file() and len(history := run.read_history()) else []
    mistakes, text, notes = list[Mistake](), "", []
    headline = f"best {run.best['monitor']} {run.best['score']:.4f}" if run.state.get("best") else ""
    part = next((name for name in ("test", "validation") if (run.path / EVALUATION / f"{name}.csv").is_file()), None)
    if part is None:
        notes.append("It is not evaluated yet: podium detect evaluate adds precision, recall and images.")
    else:
        try:
            dataset = read_dataset(boxes_folder(options.runs, settings.slug))
            detections = read_detections(run.path / EVALUATION / f"{part}.csv", dataset.classes)
            metrics = evaluate_part(dataset, detections, part, _threshold(run))
            sections.append(_precision_recall(metrics))
            headline = f"AP@0.5 {format_metric(metrics.ap50)}, AP@0.5:0.95 {format_metric(metrics.ap)}"
            headline += f" on {metrics.images:,} {part} images."
            mistakes, text = _worst_images(dataset, detections, metrics, settings, options)
        except PodiumError as error:  # the dataset or its images are elsewhere
            notes.append(f"Without images: {error}")
    path = out or run.path / "report.html"
    report = Report(
        f"{content.get('name', '')}: {settings.slug}", headline, sections, versions_table([run]), notes, mistakes, text
    )
    write_report(report, path)
    return path


def _threshold(run: Run) -> float | None:
    path = run.path / EVALUATION / METRICS
    found = read_json(path).get("threshold") if path.is_file() else None
    return float(found) if isinstance(found, int | float) else None


def _training(history: pd.DataFrame) -> Section:
    known = {"val_iou": "mean IoU of true positives", "val_ap50": "AP@0.5", "val_ap": "AP@0.5:0.95"}
    lines = {text: history[name] for name, text in known.items() if name in history}
    charts = [learning_curves(history, "", "Loss and learning rate")]
    if lines:
        charts.append(history_chart(lines, "IoU and AP of the validation images"))
    return Section("training", "Training", charts=charts)


def _precision_recall(metrics: PartMetrics) -> Section:
    recalls = np.linspace(0, 1, 101)
    lines = [
        (f"{found.name[:24]} {format_metric(found.ap50)}", recalls, np.asarray(found.precisions))
        for found in metrics.classes
        if len(found.precisions)
    ]
    rows = [
        [found.name, format_metric(found.ap50), format_metric(found.ap), f"{found.counts.precision:.3f}",
         f"{found.counts.recall:.3f}", f"{found.counts.boxes:,}"]
        for found in metrics.classes
    ]  # fmt: skip
    columns = ["class", "AP@0.5", "AP@0.5:0.95", "precision", "recall", "boxes"]
    text = f"Precision and recall at the threshold {metrics.threshold:.3f}, chosen by F1 on the validation images."
    title = "Precision and recall at IoU 0.5 (AP)"
    charts = [curves(lines[: len(COLOURS)], title, "recall", "precision")] if lines else []
    return Section("classes", "Classes", [text], Table(columns, rows, frozenset(columns[1:])), charts)


def _worst_images(
    dataset: BoxDataset, detections: pd.DataFrame, metrics: PartMetrics, settings: DetectorSettings, options: RunOptions
) -> tuple[list[Mistake], str]:
    """The images with the most missed boxes and false detections, with true boxes and detections side by side."""
    images = dataset.images[dataset.images["split"] == metrics.part]
    ids = images["id"].tolist()
    sure = detections[(detections["score"] >= metrics.threshold) & detections["id"].isin(ids)]
    boxes = dataset.boxes[dataset.boxes["id"].isin(ids)]
    matches = average_precision(sure, boxes, dataset.classes, ids).matches
    right = np.bincount(matches.images[matches.is_true_positive], minlength=len(ids))
    false = np.bincount(matches.images[~matches.is_true_positive], minlength=len(ids))
    counted = boxes[~boxes["group"].to_numpy(dtype=bool)]
    missed = counted["id"].value_counts().reindex(ids, fill_value=0).to_numpy() - right
    order = np.argsort(-(missed + false), kind="stable")
    wrong = [int(row) for row in order if missed[row] + false[row]]
    folder = boxes_folder(options.runs, settings.slug)
    paths = image_paths(images, data_folder(settings.slug, options.data, settings.kaggle_source), folder)
    found = [
        Mistake(
            ids[row], f"{int((counted['id'] == ids[row]).sum())} boxes",
            f"{int((sure['id'] == ids[row]).sum())} detections", f"{missed[row]} missed, {false[row]} false",
            _with_boxes(paths[row], boxes[boxes["id"] == ids[row]], dataset.classes),
            _with_boxes(paths[row], sure[sure["id"] == ids[row]], dataset.classes),
        )
        for row in wrong[:MOST_SHOWN]
    ]  # fmt: skip
    text = (
        f"{len(wrong):,} of {len(ids):,} images have a missed box or a false detection; the {len(found)} worst, true"
        " boxes first, then detections."
    )
    return found, text


def _with_boxes(path: Path, boxes: pd.DataFrame, classes: list[str]) -> str | None:
    try:
        image = read_image(path)
    except PodiumError:
        return None
    scale = min(1.0, SIDE / max(image.shape[:2]))
    small = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    corners = ["left", "top", "right", "bottom"]
    return as_source(draw_boxes(small, boxes.assign(**{name: boxes[name] * scale for name in corners}), classes))


def find_detector_run(place: Path) -> Run | None:
    """The run in a folder, or the one fold of a detector's folder; None for others."""
    for path in (place, place / "fold0"):
        if is_detector_run(Run(path)):
            return Run(path)
    return None
