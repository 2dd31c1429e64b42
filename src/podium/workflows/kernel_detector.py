"""The job of a kernel for a detector: `podium detect build`, `train` and `evaluate`, on the mounted inputs.

The dataset is packed in the script, is in the output of the version to resume from, or is built in the kernel.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.data.augmentation import transform_problems
from podium.detection.config import SPLITS, OpenImagesSource
from podium.detection.dataset import INDEX
from podium.detection.detector_run import detector_run
from podium.detection.loading import Detector
from podium.errors import StoppedError
from podium.kernel.job import Job, load_config
from podium.kernel.report import run_entry
from podium.options import RunOptions
from podium.paths import boxes_folder
from podium.training.run_training import train_run
from podium.workflows.detect import build_dataset, print_evaluation


def run(job: Job, configs: Path, options: RunOptions, console: Console) -> dict[str, Any]:
    """Build the dataset if needed, train and evaluate the detector, and return the report."""
    check = partial(transform_problems, takes_boxes=True)
    detector = load_config(configs / job.config, job.overrides_in(configs), job.seed, check)
    assert isinstance(detector, Detector)
    boxes = boxes_folder(options.runs, detector.settings.slug)
    report: dict[str, Any] = {"status": "done", "runs": []}
    training = None
    try:
        if not (boxes / INDEX).is_file():
            build_from_inputs(detector, options, console)
        training = detector_run(detector, options, console)
        train_run(training, console, resume=True)
        if reason := options.stop_condition.reason(training.seconds_to_evaluate):
            raise StoppedError(
                f"{reason}: {training.name} is trained; evaluating it takes about {training.seconds_to_evaluate:.0f} s"
            )
        evaluation, folder = training.evaluate(SPLITS, None, console)
        print_evaluation(training, evaluation, folder, console)
    except StoppedError as stopped:
        console.print(str(stopped))
        report |= {"status": "stopped", "reason": str(stopped)}
    if training:
        report["runs"] = [run_entry(training.name, 0, training.run)]
    if (boxes / INDEX).is_file():
        report["boxes"] = boxes.as_posix()
    return report


def build_from_inputs(detector: Detector, options: RunOptions, console: Console) -> None:
    """Build the dataset from the mounted files only: without internet, no images can be downloaded."""
    source = detector.settings.source
    if isinstance(source, OpenImagesSource):
        source = source.model_copy(update={"fetch": None, "urls": []})
        detector = replace(detector, settings=detector.settings.model_copy(update={"source": source}))
    build_dataset(
        detector,
        runs=options.runs,
        console=console,
        stop_condition=options.stop_condition,
        command=options.command,
    )
